"""Interval bounds of a small box about an attacked point."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.train.attack import Attack
from verifier.train.bounds import interval
from verifier.train.method import Batch, Robust, check_number, worst_case
from verifier.train.methods.adversarial import Adversarial


@dataclass(frozen=True)
class SABR(Adversarial):
    """Cross-entropy of interval margins on a small box inside the box, where an attack finds the loss large.

    Source: Müller et al., *Certified Training: Small Boxes Are All You Need*, 2023, section 3.

    Attributes:
        lambda_: the small box's share of the radius, in [0, 1]; 1 is IBP, 0 is PGD.
        shrink: upper bounds behind undecided ReLUs are multiplied by so much (ReLU shrinkage, for small
            perturbations), in (0, 1]; 1 leaves them.
        size: of a step of the attack, as in `Adversarial`.

    Raises:
        UserError: a field out of range.
    """

    lambda_: float = 0.4
    shrink: float = 1.0
    size: float = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "lambda_", 0, 1)
        check_number(self, "shrink", 0, 1, above=True)

    def robust(self, batch: Batch) -> Robust:
        """See `Method.robust`."""
        bounds = interval(batch.clean.graph, *small_box(batch, self.attack(), self.lambda_), shrink=self.shrink)
        return Robust(worst_case(bounds.margins(batch.y), batch.y)[0], None, bounds.layers)


def small_box(batch: Batch, attack: Attack, share: float) -> tuple[Tensor, Tensor]:
    """The box `[B, *shape]` of a share of the radius that lies in the batch's boxes as close to an attacked point as
    can be.
    """
    lower, upper = batch.lower, batch.upper
    x = attack.points(batch.clean, batch.y, lower, upper, batch.generator)
    radius = 0.5 * share * (upper - lower)
    center = torch.minimum(torch.maximum(x, lower + radius), upper - radius)
    return torch.maximum(center - radius, lower), torch.minimum(center + radius, upper)
