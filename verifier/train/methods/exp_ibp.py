"""The geometric mean of the loss of bounds and the loss of an attack."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.train.method import Batch, worst_case
from verifier.train.methods.adversarial import Mixed


@dataclass(frozen=True)
class ExpIBP(Mixed):
    """`IBP^alpha · PGD^(1 − alpha)`: losses mixed on a logarithmic scale.

    Source: De Palma et al., *Expressive Losses for Verified Robustness via Convex Combinations*, 2024, section 4
    (Exp-IBP).
    """

    def combined(self, bound: Tensor, attacked: Tensor, batch: Batch) -> Tensor:
        """See `Mixed.combined`."""
        # A loss that rounds to zero has no finite power's derivative; there the gradient is zero.
        ibp, pgd = (worst_case(m, batch.y)[0].clamp(min=torch.finfo(m.dtype).tiny) for m in (bound, attacked))
        return ibp**self.alpha * pgd ** (1 - self.alpha)
