"""What a type makes of a number: whole numbers wrap, short floating-point numbers are rounded, large ones overflow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from verifier.graph.graph import Elementwise
from verifier.values.arrays import Array, namespace
from verifier.values.errors import ModelError

if TYPE_CHECKING:
    from verifier.graph.chain import Chain, Rows

WHOLE = {f"{sign}int{bits}": (sign == "", bits) for sign in ("", "u") for bits in (8, 16, 32, 64)}
"""Whole-number types: whether negative numbers are among them, and how many bits they have."""
FLOATS = {
    "float64": (53, -1022, 1.7976931348623157e308),
    "float32": (24, -126, 3.4028234663852886e38),
    "float16": (11, -14, 65504.0),
    "bfloat16": (8, -126, 3.3895313892515355e38),
}
"""Floating-point types: bits of precision, exponent of the least normal number, largest number."""
HOW = ("wraps", "cut", "rounds", "overflows")


def limits(kind: str) -> tuple[float | int, float | int]:
    """The least and the largest number of a type; of whole types exactly, as `int`."""
    if kind in FLOATS:
        return -FLOATS[kind][2], FLOATS[kind][2]
    signed, bits = WHOLE[kind]
    return (-(1 << (bits - 1)), (1 << (bits - 1)) - 1) if signed else (0, (1 << bits) - 1)


@dataclass(frozen=True)
class Fit(Elementwise):
    """Every entry as a number of a type.

    Between the least and the largest number of the type it stays as it is, or (`rounds`) is rounded to the type's
    precision.  Beyond them, nothing but this is certain: a whole type makes some number of itself, a floating-point
    type any number or infinity.  `evaluate` does there what onnxruntime does on the machines that we know.

    Attributes:
        kind: the type by name.
        how: `wraps` (a whole result of whole numbers), `cut` (a whole number of the type made of a floating-point one
            whose decimals are gone already), `rounds` (a floating-point type that is coarser than the model's own),
            `overflows` (one that only has a smaller range).
    """

    kind: str
    how: str

    def __post_init__(self) -> None:
        if self.how not in HOW or (self.kind in WHOLE) != (self.how in ("wraps", "cut")):
            raise KeyError(f"{self.kind} {self.how}")
        limits(self.kind)

    @property
    def exact(self) -> bool:  # type: ignore[override]
        """Whether what fits stays as it is."""
        return self.how != "rounds"

    @property
    def error(self) -> tuple[float, float]:
        """How far a number that fits may be moved: relative to its magnitude, and in any case.

        bfloat16 is cut off by some kernels and rounded by others: a unit in the last place covers both.
        """
        if self.exact:
            return 0.0, 0.0
        precision, least, _ = FLOATS[self.kind]
        unit = 2.0 ** (1 - precision if self.kind == "bfloat16" else -precision)
        return unit, 2.0 ** (least - precision + 1)

    @np.errstate(all="ignore")  # what does not fit
    def evaluate(self, *x: Array) -> Array:
        """The number of the type."""
        (z,) = x
        xp, (low, high) = namespace(z), (float(v) for v in limits(self.kind))
        if self.how == "rounds":
            z = _rounded(z, *FLOATS[self.kind][:2])
        inside = (z >= low) & (z <= high)
        return xp.where(inside, z, self._beyond(z, low))

    def _beyond(self, z: Array, low: float) -> Array:
        """What becomes of numbers that do not fit."""
        xp = namespace(z)
        if self.how == "rounds":  # kernels of short types compute in float32, and what follows may see that
            return z
        if self.kind in FLOATS:
            return xp.where(z > 0, z * 0 + xp.inf, xp.where(z < 0, z * 0 - xp.inf, z))
        signed, bits = WHOLE[self.kind]
        size = 2.0**bits
        wrapped = z - size * xp.floor((z - low) / size)
        if self.how == "wraps":
            return wrapped
        # A processor converts to 32 or 64 bits with a sign, gives the least of these for what does not fit, and what
        # is narrower keeps the last bits.
        wide = 2.0 ** (31 if bits <= 16 or (signed and bits == 32) else 63)
        missing = low if bits == 64 or (signed and bits == 32) else 0.0
        if not signed and bits == 64:
            missing = wide
        return xp.where((z >= -wide) & (z < wide * (1 if signed or bits < 64 else 2)), wrapped, z * 0 + missing)

    def slope(self, x: Array) -> Array:
        """1: what gradient search follows."""
        return x * 0 + 1

    def chain(self, t: Chain, g: Rows, i: int) -> Rows:
        """Refused: what was shown to fit has been taken out of the graph before (see `bounds.inside`)."""
        if self.how == "rounds":
            raise ModelError(t.refusal(i, f"it rounds to {self.kind} (export it in float32)"))
        raise ModelError(t.refusal(i, f"its values may leave the range of {self.kind}"))


def _rounded(z: Array, precision: int, least: int) -> Array:
    """Numbers rounded to a precision in bits, halves to even; equally spaced below the least normal number."""
    xp = namespace(z)
    own = 53 if "float64" in str(z.dtype) else 24
    step = 2.0 ** (least - precision + 1)
    large = z * (2.0 ** (own - precision) + 1)  # Veltkamp's splitting
    return xp.where(xp.abs(z) < 2.0**least, xp.round(z / step) * step, large - (large - z))
