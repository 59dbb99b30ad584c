"""Which neuron to split: scores, and a look at what the best candidates would bring.

Sources: BaBSR (Bunel et al., *Branch and Bound for Piecewise Linear Neural Network Verification*, 2020) and filtered
smart branching (De Palma et al., *Improved Branch and Bound for Neural Network Verification via Lagrangian
Decomposition*, 2021), with all candidates and both halves bounded in one batch.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

from verifier.bounds.ascend import Ascent
from verifier.bounds.dual import Multipliers, Objective, Region, Slopes, back, slopes
from verifier.bounds.fold import Folded
from verifier.values.arrays import Array, largest, namespace, repeat


class Score(Protocol):
    """A number for every neuron of every part: more where a split is expected to gain more."""

    def score(self, F: Folded, line: Slopes, up: Ascent) -> Array:
        """`[B, U]`, not negative; what is decided counts for nothing, whatever it scores."""
        ...


@dataclass(frozen=True)
class Intercept:
    """What the upper line's offset costs the bound: it vanishes in both halves."""

    def score(self, F: Folded, line: Slopes, up: Ascent) -> Array:
        """See `Score`."""
        return -namespace(up.a).minimum(up.a, 0.0) * line.offset


@dataclass(frozen=True)
class BaBSR:
    """Offset, and what the change of slope does to the bias before it, in the worse half."""

    def score(self, F: Folded, line: Slopes, up: Ascent) -> Array:
        """See `Score`."""
        xp, a, c = namespace(up.a), up.a, F.z.c[None]
        slope = a * c * (line.upper - 1), a * c * line.upper
        return xp.abs(xp.minimum(*slope) - xp.minimum(a, 0.0) * line.offset)


@dataclass(frozen=True)
class Violation:
    """How far the relaxed network is from the real one, where the bound is least, times what that is worth."""

    def score(self, F: Folded, line: Slopes, up: Ascent) -> Array:
        """See `Score`."""
        xp, z = namespace(up.a), up.point.z
        real = xp.maximum(z, 0.0) + F.leak * xp.minimum(z, 0.0)
        return xp.abs(up.a) * xp.abs(up.point.h - real) - 1e-3 * xp.minimum(up.a, 0.0) * line.offset


@dataclass(frozen=True)
class Filtered:
    """The best few candidates of a score, each bounded in both halves (with the multipliers at hand).

    Attributes:
        first: the score that selects.  few: how many candidates.
    """

    first: Score = Intercept()
    few: int = 4

    def pick(self, F: Folded, r: Region, o: Objective, up: Ascent) -> Array:
        """`[B]` the neuron to split; -1 where everything is decided."""
        xp, m = namespace(r.lower), up.best
        line = slopes(F, r, m.alpha)
        score = xp.where(line.open, self.first.score(F, line, up) + 1e-30, -1.0)
        few = min(self.few, score.shape[1])
        if few <= 1:
            best = xp.argmax(score, 1)
        else:
            at = largest(score, few)  # [B, few]
            B = int(at.shape[0])
            gain = self._look(F, r, o, m, at)
            fine = score[xp.arange(B)[:, None], at] >= 0
            chosen = xp.argmax(xp.where(fine, gain, -xp.inf), 1)
            best = at[xp.arange(B), chosen]
        return xp.where(line.open.any(1), best, best * 0 - 1)

    def _look(self, F: Folded, r: Region, o: Objective, m: Multipliers, at: Array) -> Array:
        """`[B, few]` the sum of both halves' bounds, no more than zero each: what is left to prove."""
        xp, (B, few) = namespace(r.lower), at.shape
        owner = repeat(xp.arange(B), 2 * few)
        neuron = repeat(at.reshape(-1), 2)
        each = xp.arange(2 * B * few)
        lower, upper = r.lower[owner], r.upper[owner]
        lower[each[0::2], neuron[0::2]] = 0
        upper[each[1::2], neuron[1::2]] = 0
        wide = r.center.shape[0] > 1
        half = Region(
            lower, upper, r.sign[owner], r.center[owner] if wide else r.center, r.radius[owner] if wide else r.radius
        )
        mu = None if m.mu is None else m.mu[owner]
        some = Multipliers(m.alpha[owner], m.beta[owner], m.weight[owner], mu)
        bound = back(F, half, slopes(F, half, some.alpha), replace(o, ids=o.ids[owner]), some).bound
        return xp.minimum(bound, 0.0).reshape(B, few, 2).sum(2)
