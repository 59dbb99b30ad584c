"""Input sets a user can write down: boxes and balls."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from verifier.values.errors import PropertyError


@dataclass(frozen=True, eq=False)
class Box:
    """All inputs between `lower` and `upper`, entry by entry.

    Args:
        lower, upper: arrays of one shape (flattened row-major where a network is asked); finite.

    Raises:
        PropertyError: shapes differ, a number is not finite, or lower exceeds upper somewhere.
    """

    lower: np.ndarray
    upper: np.ndarray

    def __post_init__(self) -> None:
        lower, upper = (_vector(a, name) for a, name in ((self.lower, "lower"), (self.upper, "upper")))
        if lower.shape != upper.shape:
            raise PropertyError(f"box: lower has {lower.size} entries and upper {upper.size}; give as many")
        if (lower > upper).any():
            i = int(np.flatnonzero(lower > upper)[0])
            raise PropertyError(f"box: lower exceeds upper at entry {i} ({lower[i]} > {upper[i]}); correct them")
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)


@dataclass(frozen=True, eq=False)
class Ball:
    """All inputs within `eps` of `center` in the ℓp norm, p = `norm` (1, 2 or infinity), cut to `lo` .. `hi`.

    Raises:
        PropertyError: eps is negative or not finite, the centre is not finite, or the norm is another.
    """

    center: np.ndarray
    eps: float
    norm: float = float("inf")
    lo: Any = field(default=None, kw_only=True)
    hi: Any = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        center = _vector(self.center, "center")
        if not (np.isfinite(self.eps) and self.eps >= 0):
            raise PropertyError(f"ball: eps is {self.eps}; give a finite number that is not negative")
        if self.norm not in (1, 2, float("inf")):
            raise PropertyError(f"ball: norm {self.norm} is not supported; use 1, 2 or float('inf')")
        for name in ("lo", "hi"):
            size = np.size(0 if getattr(self, name) is None else getattr(self, name))
            if size not in (1, len(center)):
                raise PropertyError(f"ball: {name} has {size} entries, the center {len(center)}; give one, or as many")
        object.__setattr__(self, "center", center)

    def box(self) -> Box:
        """The smallest box of doubles around the ball."""
        lower = np.nextafter(self.center - self.eps, -np.inf) if self.eps else self.center
        upper = np.nextafter(self.center + self.eps, np.inf) if self.eps else self.center
        if self.lo is not None:
            lower = np.maximum(lower, np.asarray(self.lo, np.float64).reshape(-1))
        if self.hi is not None:
            upper = np.minimum(upper, np.asarray(self.hi, np.float64).reshape(-1))
        return Box(lower, upper)


def _vector(value: Any, name: str) -> np.ndarray:
    if hasattr(value, "detach"):
        value = value.detach().cpu().numpy()
    try:
        a = np.asarray(value, np.float64).reshape(-1)
    except (TypeError, ValueError) as e:
        raise PropertyError(f"{name}: not an array of numbers ({e}); correct it") from None
    if not len(a) or not np.isfinite(a).all():
        raise PropertyError(f"{name}: it must hold finite numbers, at least one")
    return a
