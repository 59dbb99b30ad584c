"""A sum of the loss of bounds and the loss of an attack."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from verifier.train.method import Batch, worst_case
from verifier.train.methods.adversarial import Mixed


@dataclass(frozen=True)
class MTLIBP(Mixed):
    """`alpha·IBP + (1 − alpha)·PGD`, losses mixed.

    Source: De Palma et al., *Expressive Losses for Verified Robustness via Convex Combinations*, 2024, section 4
    (MTL-IBP).
    """

    def combined(self, bound: Tensor, attacked: Tensor, batch: Batch) -> Tensor:
        """See `Mixed.combined`."""
        (ibp, _), (pgd, _) = worst_case(bound, batch.y), worst_case(attacked, batch.y)
        return self.alpha * ibp + (1 - self.alpha) * pgd
