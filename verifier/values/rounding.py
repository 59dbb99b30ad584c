"""How numbers are rounded to the safe side: every tolerance there is lives here.

Sums and products are analysed with the standard model of floating point (Higham, *Accuracy and Stability of Numerical
Algorithms*, ch. 3): a sum of n products, in any order and with or without fused multiply-add, errs by at most
`gamma(n)` times the sum of the magnitudes of its products.
"""

from __future__ import annotations

import numpy as np

from verifier.values.arrays import Array, Place, namespace, place_of

_UNIT = {"float32": 2.0**-24, "float64": 2.0**-53}
_NAMES = {np.dtype("float32"): "float32", np.dtype("float64"): "float64"}  # asking numpy for a name is slow
_TINY = {"float32": float(np.finfo(np.float32).tiny), "float64": float(np.finfo(np.float64).tiny)}


def unit(dtype: str) -> float:
    """Unit roundoff u of `float32` or `float64`."""
    return _UNIT[dtype]


def gamma(n: int, dtype: str) -> float:
    """`n·u / (1 − n·u)`, the relative error of a sum of n products, rounded up."""
    nu = n * _UNIT[dtype]
    if nu >= 0.5:
        raise OverflowError(f"a sum of {n} products has no error bound in {dtype}")
    return nu / (1.0 - nu) * (1.0 + 1e-9)


def tiny(dtype: str) -> float:
    """The smallest normal number: what a result may lose to underflow, per operation."""
    return _TINY[dtype]


def below(a: Array) -> Array:
    """The next number below each entry."""
    xp = namespace(a)
    return xp.nextafter(a, _full(a, -np.inf))


def above(a: Array) -> Array:
    """The next number above each entry."""
    xp = namespace(a)
    return xp.nextafter(a, _full(a, np.inf))


def _full(a: Array, value: float) -> Array:
    return a.dtype.type(value) if isinstance(a, (np.ndarray, np.generic)) else a.new_full((), value)


def outward(lower: Array, upper: Array, place: Place) -> tuple[Array, Array]:
    """A box of doubles as a box at `place` that contains it; sides that are representable stay as they are."""
    double = Place(place.kind, "float64", place.device)
    lower, upper = double.array(lower), double.array(upper)
    if place.dtype == "float64":
        return lower, upper
    lo, hi = place.array(lower), place.array(upper)
    xp = namespace(lo)
    lo = xp.where(double.array(lo) > lower, below(lo), lo)
    return lo, xp.where(double.array(hi) < upper, above(hi), hi)


def inward(lower: np.ndarray, upper: np.ndarray, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """A box of doubles as the largest box of `dtype` inside it (it may be empty: lower above upper)."""
    lo, hi = lower.astype(dtype), upper.astype(dtype)
    lo = np.where(lo.astype(np.float64) < lower, np.nextafter(lo, lo.dtype.type(np.inf)), lo)
    hi = np.where(hi.astype(np.float64) > upper, np.nextafter(hi, hi.dtype.type(-np.inf)), hi)
    return lo, hi


def dtype_of(a: Array) -> str:
    """`"float32"` or `"float64"`."""
    name = _NAMES.get(a.dtype)
    return place_of(a).dtype if name is None else name
