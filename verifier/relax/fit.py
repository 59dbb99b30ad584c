"""Linear bounds of what a type makes of a number, with any slope whatever."""

from __future__ import annotations

import numpy as np

from verifier.graph.ops.fit import WHOLE, Fit, limits
from verifier.relax.lines import Lines
from verifier.values.arrays import Array, namespace
from verifier.values.rounding import dtype_of, tiny, unit


def fits(f: Fit, lower: Array, upper: Array) -> Array:
    """Where all numbers from `lower` to `upper` are between the least and the largest of the type."""
    low, high = _ends(f, dtype_of(lower), -1)
    return (lower >= low) & (upper <= high)


@np.errstate(over="ignore")  # a double may be too large for float32
def _ends(f: Fit, dtype: str, side: int) -> tuple[float, float]:
    """The type's least and largest number, rounded outward (side 1) or inward (side -1) to numbers of `dtype`."""
    t, found = np.dtype(dtype).type, []
    for end, sign in zip(limits(f.kind), (-1, 1), strict=True):
        near = t(end)
        if side * sign * (_exactly(near) - end) < 0:
            near = np.nextafter(near, t(side * sign * np.inf))
        found.append(float(near))
    return found[0], found[1]


def _exactly(a: np.floating) -> int | float:
    """As a number that compares exactly with whole ones."""
    value = float(a)
    return int(value) if np.isfinite(value) and value == np.floor(value) else value


def least(f: Fit, sign: int, s: Array, lower: Array, upper: Array) -> Array:
    """A lower bound of `sign·f(z) − s·z` on `[lower, upper]`; `[B, *shape]` like its arguments.

    Sound because: where everything fits, f(z) is z up to the type's rounding, so the ends decide; elsewhere f(z) is
    some number of the type (of a floating-point one: anything), and the ends decide about `−s·z`.
    """
    xp, dtype = namespace(lower), dtype_of(lower)
    u, (relative, fixed) = unit(dtype), f.error
    exact = (s == 0) | (xp.abs(s) == 1)
    straight = _lowest(sign - s, exact, lower, upper)
    if fixed:
        size = xp.maximum(xp.abs(lower), xp.abs(upper))
        straight = straight - (relative * size + fixed) * (1 + 8 * u)
    if f.kind in WHOLE:
        edge = _ends(f, dtype, 1)[0 if sign > 0 else 1]
        rest = _lowest(-s, exact, lower, upper)
        beyond = sign * edge + rest
        beyond = beyond - xp.where(s == 0, s * 0, 4 * u * (abs(edge) + xp.abs(rest)))
    else:
        beyond = straight * 0 - xp.inf
    best = xp.where(fits(f, lower, upper), straight, beyond)
    return xp.where(xp.isfinite(best), best, -xp.inf)


def _lowest(d: Array, exact: Array, lower: Array, upper: Array) -> Array:
    """The least of `d·z`, rounded down but where `d` and all its products are exact."""
    xp, dtype = namespace(lower), dtype_of(lower)
    ends = [d * z - 4 * unit(dtype) * xp.abs(d * z) - tiny(dtype) for z in (lower, upper)]
    plain = [xp.where(d == 0, d * 0, d * z) for z in (lower, upper)]
    return xp.where(exact, xp.minimum(*plain), xp.minimum(*ends))


def lines(f: Fit, lower: Array, upper: Array, alpha: tuple[Array, Array] | None = None) -> Lines:
    """Lower and upper lines; `alpha` are their slopes, any numbers.  Exact where everything fits and nothing rounds."""
    zero = _zero(lower)
    s = namespace(lower).where(fits(f, lower, upper), zero + 1, zero)
    s_l, s_u = (s, s) if alpha is None else alpha
    return Lines(s_l, least(f, 1, s_l, lower, upper), s_u, -least(f, -1, -s_u, lower, upper))


def image(f: Fit, lower: Array, upper: Array) -> tuple[Array, Array]:
    """An interval that holds every value."""
    zero = _zero(lower)
    return least(f, 1, zero, lower, upper), -least(f, -1, zero, lower, upper)


def _zero(a: Array) -> Array:
    """Zeros like `a`, infinite or not."""
    xp = namespace(a)
    return xp.minimum(xp.maximum(a, -1.0), 1.0) * 0
