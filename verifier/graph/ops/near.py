"""A number up to what kernels err by that compute it: what is rounded to a code, near halves to either one."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from verifier.graph.graph import Convert, Elementwise
from verifier.values.arrays import Array, namespace
from verifier.values.errors import ModelError

if TYPE_CHECKING:
    from verifier.graph.chain import Chain, Rows

UNIT = 2.0**-24
"""What float32 rounds by, relative to the number: codes are made there."""
_ROUNDINGS = 4
"""Of a kernel that makes a code of a number: division by a scale (or products with its reciprocal), zero point."""
_CLOSE = 64.0
"""Codes of a size at which even small ones are taken for rounded."""


@dataclass(frozen=True, eq=False)
class Near(Elementwise):
    """Every entry as it is, or any number that is no further from it than `off`.

    Attributes:
        terms: how many roundings stand behind an entry at most, since numbers that were exact (see `graph.kernels`).
        far: the largest code, or zero point: beyond that all numbers make the same one.
        off: `[*shape]`; None where it is not known yet, so that nothing is known of the result (see `bounds.inside`).
    """

    terms: int
    far: float
    off: Array | None = None

    def evaluate(self, *x: Array) -> Array:
        """The number."""
        return x[0] * 1

    def coding(self, size: Array) -> Array:
        """How far off the last step may be, from a number of such a magnitude to one that is rounded to a code."""
        return (_ROUNDINGS * namespace(size).minimum(size, self.far) + self.far + _CLOSE) * UNIT

    def cast(self, convert: Convert) -> Near:
        """Convert what it is off by."""
        return self if self.off is None else replace(self, off=convert(self.off))

    def slope(self, x: Array) -> Array:
        """1."""
        return x * 0 + 1

    def chain(self, t: Chain, g: Rows, i: int) -> Rows:
        """Refused: it is rounded next."""
        raise ModelError(t.refusal(i, "the function jumps there"))
