"""The loss of margins between those of bounds and those of an attack."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from verifier.train.method import Batch, worst_case
from verifier.train.methods.adversarial import Mixed


@dataclass(frozen=True)
class CCIBP(Mixed):
    """Cross-entropy of `alpha·(interval margins) + (1 − alpha)·(attacked margins)`.

    Source: De Palma et al., *Expressive Losses for Verified Robustness via Convex Combinations*, 2024, section 4
    (CC-IBP).
    """

    def combined(self, bound: Tensor, attacked: Tensor, batch: Batch) -> Tensor:
        """See `Mixed.combined`."""
        return worst_case(self.alpha * bound + (1 - self.alpha) * attacked, batch.y)[0]
