"""Boxes of inputs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from verifier.values import given
from verifier.values.errors import PropertyError
from verifier.values.shown import Shown

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


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

    if TYPE_CHECKING:  # what is given may be a list, what is kept is an array

        def __init__(self, lower: ArrayLike, upper: ArrayLike) -> None: ...

    def __post_init__(self) -> None:
        lower, upper = (given.vector(name, a) for a, name in ((self.lower, "lower"), (self.upper, "upper")))
        if lower.shape != upper.shape:
            raise PropertyError(f"box: lower has {lower.size} entries and upper {upper.size}; give as many")
        if (lower > upper).any():
            i = int(np.flatnonzero(lower > upper)[0])
            raise PropertyError(f"box: lower exceeds upper at entry {i} ({lower[i]} > {upper[i]}); correct them")
        object.__setattr__(self, "lower", lower)
        object.__setattr__(self, "upper", upper)

    def box(self) -> Box:
        """Itself."""
        return self

    def _said(self) -> list[tuple[str, Any]]:
        """Its ends."""
        return [("lower", self.lower), ("upper", self.upper)]
