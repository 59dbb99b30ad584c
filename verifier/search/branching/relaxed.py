"""Which neuron to split: scores, and a look at what the best candidates would bring.

Sources: BaBSR (Bunel et al., *Branch and Bound for Piecewise Linear Neural Network Verification*, 2020) and filtered
smart branching (De Palma et al., *Improved Branch and Bound for Neural Network Verification via Lagrangian
Decomposition*, 2021), with all candidates and both halves bounded in one batch.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from verifier.bounds.dual import Multipliers, Objective, Region, Slopes, Walk, forward
from verifier.bounds.fold import Folded
from verifier.bounds.intermediate import Hull
from verifier.values.arrays import Array, counting, largest, namespace


class Score(Protocol):
    """A number for every neuron of every part: more where a split is expected to gain more."""

    def score(self, F: Folded, r: Region, line: Slopes, w: Walk) -> Array:
        """`[B, U]`, not negative; what is decided counts for nothing, whatever it scores."""
        ...


@dataclass(frozen=True)
class Intercept:
    """What the upper line's offset costs the bound: it vanishes in both halves."""

    def score(self, F: Folded, r: Region, line: Slopes, w: Walk) -> Array:
        """See `Score`."""
        return -namespace(w.a).minimum(w.a, 0.0) * line.offset


@dataclass(frozen=True)
class BaBSR:
    """Offset, and what the change of slope does to the bias before it, in the worse half."""

    def score(self, F: Folded, r: Region, line: Slopes, w: Walk) -> Array:
        """See `Score`."""
        xp, a, c = namespace(w.a), w.a, F.z.c[None]
        slope = a * c * (line.upper - 1), a * c * line.upper
        return xp.abs(xp.minimum(*slope) - xp.minimum(a, 0.0) * line.offset)


@dataclass(frozen=True)
class Violation:
    """How far the relaxed network is from the real one, where the bound is least, times what that is worth."""

    def score(self, F: Folded, r: Region, line: Slopes, w: Walk) -> Array:
        """See `Score`."""
        xp, point = namespace(w.a), forward(F, r, line, w, len(F.blocks))
        real = xp.maximum(point.z, 0.0) + F.leak * xp.minimum(point.z, 0.0)
        return xp.abs(w.a) * xp.abs(point.h - real) - 1e-3 * xp.minimum(w.a, 0.0) * line.offset


@dataclass(frozen=True)
class Filtered:
    """The best few candidates of a score in the layer of the best one, and what both halves of each would bring.

    A half changes the line of one neuron, so only the coefficient of its own input changes, by some d, besides
    constants; d·z is at least d times one of the neuron's planes over the input.  That is a bound of the half for the
    price of a vector instead of a walk, and exact for neurons of the first layer.  In deeper layers planes are looser,
    so that looks do not compare across layers.

    Attributes:
        first: the score that selects.  few: how many candidates.
    """

    first: Score = Intercept()
    few: int = 8

    def pick(self, F: Folded, hull: Hull, r: Region, o: Objective, m: Multipliers, line: Slopes, w: Walk) -> Array:
        """`[B]` the neuron to split; -1 where everything is decided."""
        xp = namespace(r.lower)
        if not len(F):
            return xp.argmax(w.b[:, None], 1) - 1
        score = xp.where(line.open, self.first.score(F, r, line, w) + 1e-30, -1.0)
        few = min(self.few, score.shape[1])
        if few <= 1:
            best = xp.argmax(score, 1)
        else:
            at = largest(score, few)  # [B, few]
            each = counting(int(at.shape[0]), at)[:, None]
            left = xp.minimum(halves(F, hull, r, line, w, at), 0.0).sum(2)  # what is left to prove
            score = score[each, at]
            layer = F.place.array(F.source)[at]
            same = layer == layer[each, xp.argmax(score, 1)[:, None]]
            fine = same & (score >= 0)
            best = at[each[:, 0], xp.argmax(xp.where(fine, left, -xp.inf), 1)]
        return xp.where(line.open.any(1), best, best * 0 - 1)


def halves(F: Folded, hull: Hull, r: Region, line: Slopes, w: Walk, at: Array) -> Array:
    """Bounds `[B, few, 2]` of both halves (z >= 0, z <= 0) of parts split at neurons `at` `[B, few]`."""
    xp = namespace(w.A)
    each = counting(int(at.shape[0]), at)[:, None]
    a, leak = w.a[each, at], F.leak[at]
    slope = xp.where(a > 0, line.lower[each, at], line.upper[each, at])
    offset = xp.minimum(a, 0.0) * line.offset[each, at]
    bounds = []
    for new in (leak * 0 + 1, leak):
        d = (a * (new - slope))[:, :, None]
        up = d < 0
        A = w.A[:, None] + d * xp.where(up, hull.up[at], hull.low[at])
        b = w.b[:, None] - offset + d[:, :, 0] * xp.where(up[:, :, 0], hull.up_b[at], hull.low_b[at])
        bounds.append(b + (A * r.center[:, None]).sum(2) - (xp.abs(A) * r.radius[:, None]).sum(2))
    return xp.stack(bounds, 2)
