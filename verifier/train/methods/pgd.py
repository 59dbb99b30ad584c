"""Adversarial training, without any guarantee."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.train.method import Batch, Robust
from verifier.train.methods.adversarial import Adversarial


@dataclass(frozen=True)
class PGD(Adversarial):
    """Cross-entropy at the worst point that gradient ascent finds: a baseline, not a bound.

    Source: Madry et al., *Towards Deep Learning Models Resistant to Adversarial Attacks*, 2018, equation 2.1.
    """

    def robust(self, batch: Batch) -> Robust:
        """See `Method.robust`."""
        x = self.attack().points(batch.clean, batch.y, batch.lower, batch.upper, batch.generator)
        (logits,) = batch.clean.graph.evaluate(x)
        return Robust(batch.cross_entropy(logits))
