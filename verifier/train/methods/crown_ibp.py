"""Linear bounds of the margins over interval bounds of the layers."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from verifier.train.backward import fused, least, margin_rows
from verifier.train.bounds import Intervals, interval
from verifier.train.method import Batch, Method, Robust, check_number, check_switch, worst_case


@dataclass(frozen=True)
class CROWNIBP(Method):
    """Cross-entropy of margins `beta·CROWN-IBP + (1 − beta)·IBP`; beta goes from its start to its end as eps grows.

    Source: Zhang et al., *Towards Stable and Efficient Training of Verifiably Robust Neural Networks*, 2020, section 3;
    loss fusion: Xu et al., *Automatic Perturbation Analysis for Scalable Certified Robustness and Beyond*, 2020.

    Attributes:
        beta_start, beta_end: the share of the linear bounds when eps is zero and when it has come all the way, in
            [0, 1]; by default training ends on intervals alone.
        fusion: one row a sample bounds the loss itself, instead of one row a class the margins: cheaper with many
            classes.  Then losses are mixed instead of margins, and `verified` is what intervals prove.
        flat: the lower line of an undecided ReLU is flat (`train.backward.least`).

    Raises:
        UserError: a field out of range.
    """

    beta_start: float = 1.0
    beta_end: float = 0.0
    fusion: bool = False
    flat: bool = False

    bounds_worst_case = True

    def __post_init__(self) -> None:
        check_number(self, "beta_start", 0, 1)
        check_number(self, "beta_end", 0, 1)
        check_switch(self, "fusion")
        check_switch(self, "flat")

    @property
    def changes(self) -> bool:
        """Where linear bounds count more or less as eps grows."""
        return self.beta_start != self.beta_end

    def robust(self, batch: Batch) -> Robust:
        """See `Method.robust`."""
        bounds = interval(batch.clean.graph, batch.lower, batch.upper)
        margins = bounds.margins(batch.y)
        beta = self.beta_start + (self.beta_end - self.beta_start) * batch.progress
        if beta <= 0:
            return Robust(*worst_case(margins, batch.y), bounds.layers)
        if not self.fusion:
            crown = self._margins(batch, bounds, margins)
            return Robust(*worst_case(margins + beta * (crown - margins), batch.y), bounds.layers)
        loss, verified = worst_case(margins, batch.y)
        crown = fused(bounds, batch.lower, batch.upper, batch.y, margins, flat=self.flat)
        return Robust(loss + beta * (crown - loss), verified, bounds.layers)

    def _margins(self, batch: Batch, bounds: Intervals, like: Tensor) -> Tensor:
        """Lower bounds `[B, K]` of the margins, by rows walked back."""
        rows = margin_rows(batch.y, like.shape[1]).to(like.dtype)
        return least(bounds, batch.lower, batch.upper, rows, flat=self.flat)
