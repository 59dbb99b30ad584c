"""Sets of inputs that are no boxes: what searches and bounds ask of one, and products of balls."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np

from verifier.values.arrays import Array, namespace, place_of
from verifier.values.ball import Ball
from verifier.values.box import Box
from verifier.values.hoelder import least, on_box
from verifier.values.rounding import gamma
from verifier.values.shown import Shown


class InputSet(Protocol):
    """A convex set that boxes of inputs are cut to.

    Whoever holds one has a box, too, and splits it; a set says what it leaves of boxes.  Which points lie in the box
    is for those to test who have it (ranges `lo` .. `hi` are in the box, and no set looks at them).
    """

    @property
    def center(self) -> np.ndarray:
        """`[n]` its centre."""
        ...

    def balls(self) -> tuple[tuple[np.ndarray, Ball], ...]:
        """The balls of the ℓ1 or ℓ2 norm that it is made of, with the entries `[k]`, ascending, that each is about."""
        ...

    def of(self, owner: Array) -> Any:
        """The sets that rows belong to, where row p is about domain `owner[p]`."""
        ...

    def only(self, at: np.ndarray) -> InputSet:
        """About some of the entries alone, `at` ascending: all points that the others leave room for."""
        ...

    def concretise(self, A: Array, b: Array, center: Array, radius: Array) -> Array:
        """Lower bounds `[...]` of `A·x + b` for x in the set and in a box, or in the set alone, rounded down.

        Args:
            A: `[..., n]`.  b: `[...]`.
            center, radius: `[n]`, or of the rank of A, where A is: boxes `center ± radius`.
        """
        ...

    def contains(self, x: np.ndarray) -> bool:
        """Whether `x` `[n]` is in the set, exactly."""
        ...

    def project(self, x: np.ndarray) -> np.ndarray:
        """Points `[P, n]` moved into the set, about."""
        ...

    def rounded(self, x: np.ndarray, dtype: str) -> np.ndarray:
        """Points `[P, n]` near the set as numbers of `dtype` inside it, where there are some."""
        ...

    def clip(self, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Boxes `[B, n]` shrunk to what the set leaves of each entry, and which of them `[B]` it does not meet."""
        ...

    def minimiser(self, g: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
        """Where `g·x` is least in the set and in boxes, all `[P, n]`; about, and not where the set is only touched."""
        ...


@dataclass(frozen=True, eq=False, repr=False)
class Product(Shown):
    """Inputs each in a set of its own: balls of the ℓ1 or ℓ2 norm about some entries each, the rest in a box.

    Attributes:
        every: the balls, of any norm.  at: the entries `[k]`, ascending, that each is about; no two share one.
        lower, upper: `[n]` the smallest box of doubles around it.
    """

    every: tuple[Ball, ...]
    at: tuple[np.ndarray, ...]
    lower: np.ndarray
    upper: np.ndarray

    def __len__(self) -> int:
        """How many entries an input has."""
        return len(self.lower)

    def _said(self) -> list[tuple[str, Any]]:
        """The balls, and the box."""
        balls = [(f"l{b.norm:g} of {len(at)} entries", b.eps) for at, b in self.parts()]
        return [*balls, ("lower", self.lower), ("upper", self.upper)]

    @property
    def center(self) -> np.ndarray:
        """`[n]` the balls' centres, and the middle of the box."""
        x = 0.5 * self.lower + 0.5 * self.upper
        for at, ball in self.balls():
            x[at] = ball.center
        return x

    @cached_property
    def rest(self) -> np.ndarray:
        """The entries that no ball is about."""
        taken = np.zeros(len(self), bool)
        for at, _ in self.balls():
            taken[at] = True
        return np.flatnonzero(~taken)

    def box(self) -> Box:
        """The smallest box of doubles around it."""
        return Box(self.lower, self.upper)

    def parts(self) -> tuple[tuple[np.ndarray, Ball], ...]:
        """All balls, those of the maximum norm among them, each with its entries."""
        return tuple(zip(self.at, self.every, strict=True))

    def balls(self) -> tuple[tuple[np.ndarray, Ball], ...]:
        """See `InputSet.balls`."""
        return tuple((at, ball) for at, ball in self.parts() if ball.norm != float("inf"))

    def of(self, owner: Array) -> Product:
        """What each of several domains is cut to: itself."""
        return self

    def only(self, at: np.ndarray) -> Product:
        """See `InputSet.only`."""
        balls = []
        for own, ball in self.balls():
            inside = np.isin(own, at)
            if inside.any():
                balls.append((np.searchsorted(at, own[inside]), ball.only(np.flatnonzero(inside))))
        return Product(tuple(b for _, b in balls), tuple(k for k, _ in balls), self.lower[at], self.upper[at])

    def concretise(self, A: Array, b: Array, center: Array, radius: Array) -> Array:
        """See `InputSet.concretise`.

        Sound because: the least of a sum over entries of their own is the sum of the least ones; each is rounded down,
        by a ball or by its box, whichever is larger, and adding them up errs by gamma times their magnitudes.
        """
        xp, place, terms = namespace(A), place_of(A), []
        for entries, ball in (*self.balls(), (self.rest, None)):
            if len(entries):
                at = place.array(entries)
                own = A[..., at]
                term = on_box(own, center[..., at], radius[..., at])
                if ball is not None:
                    term = xp.fmax(term, least(own, b * 0, ball.center, ball.eps, ball.norm))
                terms.append(term)
        total, size = b, xp.abs(b)
        for term in terms:
            total, size = total + term, size + xp.abs(term)
        return total - gamma(2 * len(terms) + 8, place.dtype) * size

    def contains(self, x: np.ndarray) -> bool:
        """See `InputSet.contains`."""
        return all(ball.contains(x[at]) for at, ball in self.balls())

    def project(self, x: np.ndarray) -> np.ndarray:
        """See `InputSet.project`."""
        x = np.array(x, np.float64)
        for at, ball in self.balls():
            x[:, at] = ball.project(x[:, at])
        return x

    def rounded(self, x: np.ndarray, dtype: str) -> np.ndarray:
        """See `InputSet.rounded`."""
        with np.errstate(over="ignore"):
            near = x.astype(dtype).astype(np.float64)
        for at, ball in self.balls():
            near[:, at] = ball.rounded(x[:, at], dtype)
        return near

    def clip(self, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """See `InputSet.clip`.  Sound because: what one ball leaves no room for, all of them do not."""
        low, high, empty = lower.copy(), upper.copy(), np.zeros(len(lower), bool)
        for at, ball in self.balls():
            low[:, at], high[:, at], none = ball.clip(lower[:, at], upper[:, at])
            empty |= none
        return np.where(empty[:, None], lower, low), np.where(empty[:, None], upper, high), empty

    def minimiser(self, g: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
        """See `InputSet.minimiser`."""
        x = np.where(g > 0, lower, upper)
        for at, ball in self.balls():
            x[:, at] = ball.minimiser(g[:, at], lower[:, at], upper[:, at])
        return x


def curved(inputs: Box | Ball | Product) -> InputSet | None:
    """The set where it is more than a box."""
    if isinstance(inputs, Box) or (isinstance(inputs, Ball) and inputs.norm == float("inf")):
        return None
    return inputs
