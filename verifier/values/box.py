"""Input sets a user can write down: boxes and balls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verifier.values import given
from verifier.values.errors import PropertyError
from verifier.values.shown import Shown


@dataclass(frozen=True, eq=False, repr=False)
class Box(Shown):
    """All inputs between `lower` and `upper`, entry by entry.

    Args:
        lower, upper: arrays of one shape (flattened row-major where a network is asked); finite.

    Raises:
        PropertyError: shapes differ, a number is not finite, or lower exceeds upper somewhere.
    """

    lower: np.ndarray
    upper: np.ndarray

    def __post_init__(self) -> None:
        lower, upper = (given.vector(name, a) for a, name in ((self.lower, "lower"), (self.upper, "upper")))
        if lower.shape != upper.shape:
            raise PropertyError(f"box: lower has {lower.size} entries and upper {upper.size}; give as many")
        if (lower > upper).any():
            i = int(np.flatnonzero(lower > upper)[0])
            raise PropertyError(f"box: lower exceeds upper at entry {i} ({lower[i]} > {upper[i]}); correct them")
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    def _said(self) -> list[tuple[str, Any]]:
        """Its ends."""
        return [("lower", self.lower), ("upper", self.upper)]


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
