"""Accuracy traded for outputs that stay as they are nearby, without any guarantee."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor
from torch.nn import functional as F

from verifier.train.method import Batch, Robust, check_number
from verifier.train.methods.adversarial import Adversarial


@dataclass(frozen=True)
class TRADES(Adversarial):
    """`CE(clean) + beta·max KL(clean ‖ attacked)`, the maximum as gradient ascent finds it: a baseline, not a bound.

    Source: Zhang et al., *Theoretically Principled Trade-off between Robustness and Accuracy*, 2019, Algorithm 1, with
    the divergence of the predicted distributions as its surrogate loss.

    Attributes:
        beta: weight of the divergence, the paper's `1/λ`; not negative.

    Raises:
        UserError: a field out of range.
    """

    beta: float = 6.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "beta", 0)

    def robust(self, batch: Batch) -> Robust:
        """See `Method.robust`."""
        clean = F.log_softmax(batch.clean.logits, 1)
        fixed = clean.detach()
        x = self.attack().points(
            batch.clean, batch.y, batch.lower, batch.upper, batch.generator, lambda z: _divergence(fixed, z)
        )
        (logits,) = batch.clean.graph.evaluate(x)
        return Robust(batch.cross_entropy(batch.clean.logits) + self.beta * _divergence(clean, logits))


def _divergence(clean: Tensor, logits: Tensor) -> Tensor:
    """`KL(p ‖ q)` `[B]`, p given by its logarithms `[B, K]`, q by its logits `[B, K]`."""
    return (clean.exp() * (clean - F.log_softmax(logits, 1))).sum(1)
