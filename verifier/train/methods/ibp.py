"""Interval bound propagation."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.train.bounds import interval
from verifier.train.method import Batch, Method, Robust, worst_case


@dataclass(frozen=True)
class IBP(Method):
    """Cross-entropy of the interval bounds of the margins.

    Source: Gowal et al., *On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust Models*,
    2018, section 3; with the initialisation, warm-up and regularisers of Shi et al., *Fast Certified Robust Training
    with Short Warmup*, 2021 (`train.initialize`, `train.regularize`).
    """

    bounds_worst_case = True

    def robust(self, batch: Batch) -> Robust:
        """See `Method.robust`."""
        bounds = interval(batch.clean.graph, batch.lower, batch.upper)
        return Robust(*worst_case(bounds.margins(batch.y), batch.y), bounds.layers)
