"""Complete clipping of neurons' bounds: cached planes minimised where a half-space holds.

Source: Clip-and-Verify (NeurIPS 2025), theorem 3.1.  The half-space is the plane behind a part's own bound, `A·x + b`,
which a counterexample makes `<= 0`; the multipliers of all splits on the part's path are already in it, so it speaks
for all of them and for the property at once.  The dual in its one multiplier `beta`,

    D(beta) = mid + beta·m − Σ_j |o_j + beta·a_j|      (mid, m at the box's centre; o, a times the radius),

is concave.  Its best multiplier is a weighted median of breakpoints; over hundreds of inputs the sum is close to what
it would be for jointly normal o and a, for which the best multiplier has a closed form.  It is corrected once by the
true slope.  Any multiplier is sound, so only how tight the bound is depends on it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifier.bounds.fold import Folded
from verifier.bounds.intermediate import Hull
from verifier.values.arrays import Array, namespace
from verifier.values.rounding import gamma, outward, tiny, unit

GROUP = 32
"""Entries that are summed in the type of the planes, before double precision takes over."""

MOST = 1e6
"""Multipliers stay below this times the ratio of the two functions' sizes."""


@dataclass(frozen=True, eq=False)
class Side:
    """Functions `o·x + …` of the U neurons to be minimised: lower planes, or upper ones negated.

    Attributes:
        o: `[U, n]` coefficients times the box's radius, filled up with zeros to whole groups.
        mid: `[U]` values at the centre, in double precision, rounded down.
        size, square: `[U]` sums of |o| and of o².
    """

    o: Array
    mid: Array
    size: Array
    square: Array


@dataclass(frozen=True, eq=False)
class Clipper:
    """Planes of a tree's neurons, ready to be minimised on its box."""

    fast: Folded
    exact: Folded
    low: Side
    up: Side

    @np.errstate(all="ignore")  # what overflows clips nothing
    def __call__(self, A: Array, b: Array, at: Array, chunk: int = 500_000) -> tuple[Array, Array]:
        """Bounds `[B, K]` of neurons `at` `[B, K]` where `A·x + b <= 0`, at the place of `fast`; rounded outward.

        Args:
            A: `[B, k]`, b: `[B]`: in double precision; true up to what they say.
            chunk: numbers handled at once.
        """
        F, xp = self.fast, self.fast.place.xp
        reach, g = self.exact.reach[0], gamma(A.shape[1] + 4, "float64")
        m = A @ self.exact.center + b - g * (xp.abs(A) @ reach + xp.abs(b))
        a = _fill(F.place.array(A * self.exact.radius, F.place.dtype))
        step = max(1, chunk // max(1, 2 * int(at.shape[1]) * int(a.shape[1])))  # a point: no input varies
        lows, ups = [], []
        for i in range(0, len(at), step):
            part = slice(i, i + step)
            lows.append(_minimise(self.low, a[part], m[part], at[part]))
            ups.append(-_minimise(self.up, a[part], m[part], at[part]))
        return outward(xp.concatenate(lows), xp.concatenate(ups), F.place)


def clipper(exact: Folded, fast: Folded, hull: Hull) -> Clipper:
    """Make planes (at the place of `fast`) ready."""
    return Clipper(fast, exact, _side(exact, fast, hull.low, hull.low_b), _side(exact, fast, -hull.up, -hull.up_b))


def _side(E: Folded, F: Folded, A: Array, b: Array) -> Side:
    xp, double = E.place.xp, E.place
    A, b = double.array(A, "float64"), double.array(b, "float64")
    mid = A @ E.center + b - gamma(A.shape[1] + 4, "float64") * (xp.abs(A) @ E.reach[0] + xp.abs(b))
    o = _fill(F.place.array(A * E.radius, F.place.dtype))
    return Side(o, mid, xp.abs(o).sum(1), (o * o).sum(1))


def _fill(a: Array) -> Array:
    """`[P, n]` with zeros up to a whole number of groups."""
    xp, (P, n) = namespace(a), a.shape
    more = -n % GROUP
    return a if not more else xp.concatenate([a, xp.broadcast_to(a[:, :1] * 0, (P, more))], 1)


def _minimise(s: Side, a: Array, m: Array, at: Array) -> Array:
    """Lower bounds `[B, K]` in double precision.

    Sound because: beta >= 0.  Products with the radius, with beta, and the sum of both err by a unit each; groups are
    summed in the type of the planes, their sums in double precision: together less than `_terms` units of the
    magnitudes, which are at most size + beta·Σ|a|.
    """
    xp = namespace(a)
    o, mid, size = s.o[at], s.mid[at], s.size[at]
    total, square = xp.abs(a).sum(1)[:, None], (a * a).sum(1)[:, None] + 1e-37
    cross = (o @ a[:, :, None])[:, :, 0]
    spread = xp.sqrt(xp.maximum(s.square[at] * square - cross * cross, 0.0))
    level = m[:, None] / (total + 1e-37)  # what the signs' average should be
    best, slack_unit = mid - _up(size, o) - o.shape[-1] * tiny(_dtype(o)), _terms(o) * unit(_dtype(o))
    most = MOST * (size + 1e-37) / (total + 1e-37)
    for turn in range(2):
        e = xp.minimum(xp.maximum(level, -0.999), 0.999)
        beta = (e / xp.sqrt(1 - e * e) * spread - cross) / square
        beta = xp.minimum(xp.maximum(_cast(beta, o), 0.0), most)
        beta = xp.where(xp.isfinite(beta), beta, beta * 0)
        w = beta[:, :, None] * a[:, None] + o
        if turn == 0:
            slope = (xp.sign(w) @ a[:, :, None])[:, :, 0]
            level = level + (m[:, None] - slope) / (total + 1e-37)
        B, K, n = w.shape
        sums = _double(xp.abs(w).reshape(B, K, GROUP, n // GROUP).sum(2)).sum(2)
        times = _double(beta)
        slack = slack_unit * 1.01 * (_double(size) + times * _double(total)) + (2 + times) * n * tiny(_dtype(o))
        bound = mid + times * m[:, None] - sums - slack - 1e-12 * (xp.abs(mid) + times * xp.abs(m[:, None]))
        best = xp.maximum(best, xp.where(xp.isfinite(bound), bound, -xp.inf))
    return best


def _terms(o: Array) -> int:
    """How often one entry is rounded, in units of the planes' type, until it is part of the sum."""
    return GROUP + 8 + (o.shape[-1] // GROUP if _dtype(o) == "float64" else 1)


def _up(size: Array, o: Array) -> Array:
    """At least the true sum of |o|, in double precision."""
    return _double(size) * (1 + 2 * (o.shape[-1] + 4) * unit(_dtype(o)))


def _dtype(a: Array) -> str:
    return str(a.dtype).removeprefix("torch.")


def _double(a: Array) -> Array:
    return a.astype("float64") if hasattr(a, "astype") else a.double()


def _cast(a: Array, like: Array) -> Array:
    return a.astype(like.dtype) if hasattr(a, "astype") else a.to(like.dtype)
