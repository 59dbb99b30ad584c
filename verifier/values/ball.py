"""Balls of inputs, and what is inside one of the ℓ1 or ℓ2 norm: points moved into it, boxes clipped by it."""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any

import numpy as np

from verifier.values import given
from verifier.values.arrays import Array
from verifier.values.box import Box
from verifier.values.errors import PropertyError
from verifier.values.hoelder import least
from verifier.values.rounding import gamma, tiny, unit
from verifier.values.shown import Shown

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

FAR = 4.0
"""Distance, where eps is between 1 and 2, that no point of a ball has."""


@dataclass(frozen=True, eq=False, repr=False)
class Ball(Shown):
    """All inputs within `eps` of `center` in the ℓp norm, p = `norm` (1, 2 or infinity), cut to `lo` .. `hi`.

    Args:
        center: an array, flattened row-major; finite.
        eps: one number or, in the maximum norm, one an entry (kept as `[n]`); finite, not negative.
        lo, hi: numbers, or arrays like `center`, may be infinite.

    Raises:
        PropertyError: eps is negative or not finite, the centre is not finite, the norm is another, or sizes differ.
    """

    center: np.ndarray
    eps: Any
    norm: float = float("inf")
    lo: Any = field(default=None, kw_only=True)
    hi: Any = field(default=None, kw_only=True)

    if TYPE_CHECKING:  # what is given may be a list, what is kept is an array

        def __init__(
            self, center: ArrayLike, eps: Any, norm: float = ..., *, lo: Any = None, hi: Any = None
        ) -> None: ...

    def __post_init__(self) -> None:
        center, p = given.vector("center", self.center), given.norm("norm", self.norm)
        eps: Any = given.spread("eps", self.eps, len(center), "the center")
        if (eps < 0).any():
            raise PropertyError(f"eps {given.shown(self.eps)}: give finite numbers that are not negative")
        if len(eps) > 1 and p != float("inf"):
            raise PropertyError(f"eps has {len(eps)} entries; give one number for a ball of norm {p:g}")
        for name in ("lo", "hi"):
            if (end := getattr(self, name)) is not None:
                end = given.spread(name, end, len(center), "the center", finite=False)
                object.__setattr__(self, name, float(end[0]) if len(end) == 1 else end)
        object.__setattr__(self, "center", center)
        object.__setattr__(self, "eps", float(eps[0]) if len(eps) == 1 else eps)
        object.__setattr__(self, "norm", p)

    def _said(self) -> list[tuple[str, Any]]:
        """Centre, radius, norm and range."""
        ends = [(name, value) for name, value in (("lo", self.lo), ("hi", self.hi)) if value is not None]
        return [("center", self.center), ("eps", self.eps), ("norm", self.norm), *ends]

    def box(self) -> Box:
        """The smallest box of doubles around the ball.

        Raises:
            PropertyError: no point of it lies between `lo` and `hi`.
        """
        wide, (low, high) = np.asarray(self.eps) > 0, (self.center - self.eps, self.center + self.eps)
        lower = np.where(wide, np.nextafter(low, -np.inf), self.center)
        upper = np.where(wide, np.nextafter(high, np.inf), self.center)
        if self.lo is not None:
            lower = np.maximum(lower, np.asarray(self.lo, np.float64).reshape(-1))
        if self.hi is not None:
            upper = np.minimum(upper, np.asarray(self.hi, np.float64).reshape(-1))
        if (lower > upper).any():
            i = int(np.flatnonzero(lower > upper)[0])
            raise PropertyError(
                f"entry {i} of the center is {self.center[i]:g}: nothing within eps of it lies in lo .. hi; move the "
                "center, or give the range that it has"
            )
        return Box(lower, upper)

    def balls(self) -> tuple[tuple[np.ndarray, Ball], ...]:
        """Of a product the balls, each with the entries it is about: itself, about all."""
        return ((np.arange(len(self.center)), self),)

    def of(self, owner: Array) -> Ball:
        """What each of several domains is cut to: itself."""
        return self

    def only(self, at: np.ndarray) -> Ball:
        """About some of the entries (one at least): others take nothing from the distance."""
        return Ball(self.center[at], self.eps, self.norm)

    def concretise(self, A: Array, b: Array, center: Array, radius: Array) -> Array:
        """See `InputSet.concretise`; the box is left to whoever asks.  Sound because: see `least`."""
        return least(A, b, self.center, self.eps, self.norm)

    def contains(self, x: np.ndarray) -> bool:
        """See `InputSet.contains`."""
        return holds(self, x)

    def project(self, x: np.ndarray) -> np.ndarray:
        """See `InputSet.project`."""
        return into(self, x)

    def rounded(self, x: np.ndarray, dtype: str) -> np.ndarray:
        """See `InputSet.rounded`."""
        return rounded(self, x, dtype)

    def clip(self, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `InputSet.clip`."""
        return clip(self, lower, upper)

    def minimiser(self, g: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
        """See `InputSet.minimiser`."""
        return lowest(self, g, lower, upper)


def holds(ball: Ball, x: np.ndarray) -> bool:
    """Whether `x` `[n]` is in the ball, exactly."""
    distances = [abs(Fraction(v) - Fraction(c)) for v, c in zip(x.tolist(), ball.center.tolist(), strict=True)]
    eps = Fraction(float(ball.eps))
    if ball.norm == 1:
        return sum(distances, Fraction(0)) <= eps
    if ball.norm == 2:
        return sum((d * d for d in distances), Fraction(0)) <= eps * eps
    return max(distances) <= eps


def into(ball: Ball, x: np.ndarray) -> np.ndarray:
    """Points `[P, n]` pulled towards the centre until they are in the ball, about."""
    away = x - ball.center
    with np.errstate(over="ignore"):
        size = np.linalg.norm(away, ball.norm, axis=1)
        return np.asarray(ball.center + away * np.minimum(1.0, ball.eps / np.maximum(size, 1e-300))[:, None])


def rounded(ball: Ball, x: np.ndarray, dtype: str) -> np.ndarray:
    """Points `[P, n]` near the ball as numbers of `dtype` inside it, where there are some.

    Each entry is rounded towards the centre, so that no distance grows; first all are shortened by what rounding in
    double precision may have made them longer.
    """
    x, n = into(ball, x), x.shape[1]
    grain = 2 * unit("float64") * n * (abs(ball.center).max() + ball.eps)
    short = 1 - 4 * gamma(n + 8, "float64") - (grain / ball.eps if ball.eps > grain else 1.0)
    x = ball.center + (x - ball.center) * max(0.0, short)
    near = x.astype(dtype)
    far = abs(near.astype(np.float64) - ball.center) > abs(x - ball.center)
    towards = np.broadcast_to(ball.center.astype(dtype), near.shape)
    return np.where(far, np.nextafter(near, towards), near).astype(np.float64)


def clip(ball: Ball, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes `[B, n]` shrunk to what the ball leaves of each entry, and which of them `[B]` the ball does not meet.

    Sound because: where the others are as near the centre as their intervals allow, `|x_i − c_i|` is at most what their
    distances leave of eps; that is raised by what rounding may have changed.  Distances count as `FAR` at most, which
    is beyond eps; less is spent that way.
    """
    scale = 2.0 ** (int(np.frexp(float(ball.eps))[1]) - 1)  # of it all: squares of large and of small numbers are none
    with np.errstate(over="ignore", under="ignore"):
        away = np.maximum(np.maximum(lower - ball.center, ball.center - upper), 0.0) / scale
        away, eps = np.minimum(away, FAR), float(ball.eps) / scale
        spent, budget = (away, eps) if ball.norm == 1 else (away * away, eps * eps)
        total = spent.sum(1, keepdims=True)
        slack = gamma(lower.shape[1] + 8, "float64") * (total + budget) * 2 + 1e-300
        room = np.maximum(budget - (total - spent) + slack, 0.0)
        empty = (budget - total + slack < 0).any(1)
        reach = (room if ball.norm == 1 else np.sqrt(room)) * (1 + 4 * unit("float64")) * scale
        reach = reach + 4 * unit("float64") * (abs(ball.center) + reach) + tiny("float64")
        low, high = np.maximum(lower, ball.center - reach), np.minimum(upper, ball.center + reach)
    empty |= (low > high).any(1)
    return np.where(empty[:, None], lower, low), np.where(empty[:, None], upper, high), empty


def lowest(ball: Ball, g: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Where `g·x` is least in the ball and the box, `[P, n]`; for the ℓ2 norm about."""
    c = ball.center
    if ball.norm == 2:
        size = np.linalg.norm(g, axis=1, keepdims=True)
        return np.clip(c - ball.eps * g / np.maximum(size, 1e-300), lower, upper)
    room = np.maximum(np.where(g > 0, c - lower, upper - c), 0.0)
    order = np.argsort(-abs(g), axis=1)
    sorted_room = np.take_along_axis(room, order, 1)
    before = np.cumsum(sorted_room, 1) - sorted_room
    moved = np.empty_like(room)
    np.put_along_axis(moved, order, np.clip(ball.eps - before, 0.0, sorted_room), 1)
    return c - np.sign(g) * moved
