"""Linear bounds of norms `‖z‖ = (Σ_i |z_i|^r)^(1/r)`.

Above, with s the largest magnitude on the box and `y = z/s`: powers are convex, so `Σ|y_i|^r <= Σ a_i·y_i + C` for any
slopes a, with constants from the ends; and a root is concave, so `t^(1/r) <= R + k·(t − t0)` with its tangent at t0.
Slopes are those of the chords, and t0 is what the chords add up to in the middle, which is between half of the largest
sum of powers and that sum.  Below, norms are at least `⟨w, z⟩` for every w whose dual norm is at most one (Hölder).

Everything is in terms of s, so that powers neither overflow nor underflow where they count.
"""

from __future__ import annotations

from dataclasses import replace
from math import log

from verifier.graph.ops.norm import Norm, shares
from verifier.relax.lines import Lines
from verifier.values.arrays import Array, namespace
from verifier.values.rounding import dtype_of, gamma, tiny, unit

LARGEST = {"float32": 2.0**10, "float64": 2.0**30}
"""Exponents up to which a power of a rounded number is known well.  Norms of larger ones are no larger than this one's
(and than that by a factor of n^(1/LARGEST) at most), and no smaller than the largest magnitude."""


def lines(op: Norm, lower: Array, upper: Array) -> Lines:
    """Planes below and above, `lower`, `upper` `[B, *shape, n]`.

    Rounding: a power of y errs by less than `2·r + 16` units of itself, as y does by one; so much is put on the
    constants C, whatever was made of the slopes.  The root's tangent errs by `_loose` of all that is added up for it,
    the entries of w by `4·r` units and `_loose` of themselves.
    """
    xp, dtype = namespace(lower), dtype_of(lower)
    n, u, r = int(lower.shape[-1]), unit(dtype), min(op.r, LARGEST[dtype])
    size = xp.maximum(xp.abs(lower), xp.abs(upper))
    top = xp.amax(size, -1)
    s = xp.where((top > 0) & xp.isfinite(top), top, top * 0 + 1)
    a, b = lower / s[..., None], upper / s[..., None]
    p, q = xp.power(xp.abs(a), r), xp.power(xp.abs(b), r)
    slope = (q - p) / xp.where(b > a, b - a, a * 0 + 1)
    near = b - a <= 1e3 * u * (xp.abs(a) + xp.abs(b))
    middle = 0.5 * a + 0.5 * b
    slope = xp.where(near, r * xp.sign(middle) * xp.power(xp.abs(middle), r - 1), slope)
    slope = xp.where(xp.isfinite(slope), slope, slope * 0)
    doubt = [(2 * r + 16) * u * v + 8 * u * xp.abs(slope * y) + tiny(dtype) for v, y in ((p, a), (q, b))]
    each = xp.maximum(p - slope * a + doubt[0], q - slope * b + doubt[1])
    C = each.sum(-1) + gamma(n + 2, dtype) * xp.abs(each).sum(-1)
    t0 = xp.maximum((0.5 * p + 0.5 * q).sum(-1), 0.25)
    root = xp.power(t0, 1 / r)
    k = root / t0 * (1 / r)
    added = (xp.abs(slope) * xp.maximum(xp.abs(a), xp.abs(b))).sum(-1) + xp.abs(C) + t0
    t_u = s * (root + k * (C - t0) + _loose(n, dtype) * (root + k * added)) + (n + 4) * tiny(dtype)
    t_u, s_u = xp.where(top == 0, 0.0, t_u), k[..., None] * slope
    bad = ~(xp.isfinite(t_u) & xp.isfinite(top) & xp.isfinite(s_u).all(-1))
    t_u, s_u = xp.where(bad, xp.inf, t_u), xp.where(bad[..., None], 0.0, s_u)
    if op.r > LARGEST[dtype]:
        return Lines(s_u * 0, image(op, lower, upper)[0], s_u, t_u)
    w = op.gradient(top * 0 + 1, middle) * (1 - (4 * r + 16) * u - 2 * _loose(n, dtype))
    return Lines(xp.where(xp.isfinite(w), w, 0.0), xp.where(bad, 0.0, t_u * 0), s_u, t_u)


def _loose(n: int, dtype: str) -> float:
    """What roots of numbers between 1/4 and n, tangents and sums of n products err by, relative to all of it."""
    return 2 * gamma(n + 32, dtype) + 4 * unit(dtype) * log(n + 4)


def image(op: Norm, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Least and largest norm, rounded outward.

    Rounding: a number that errs by a unit makes its power err by r, and the root of the sum by one again.
    """
    xp, dtype = namespace(lower), dtype_of(lower)
    n, known = int(lower.shape[-1]), replace(op, r=min(op.r, LARGEST[dtype]))
    size = xp.maximum(xp.abs(lower), xp.abs(upper))
    small = xp.where((lower > 0) | (upper < 0), xp.minimum(xp.abs(lower), xp.abs(upper)), 0.0)
    high = known.evaluate(size) * (1 + _loose(n, dtype)) + tiny(dtype) * (n + 4)
    low = shares(small)[0] if op.r > LARGEST[dtype] else known.evaluate(small) * (1 - _loose(n, dtype))
    low = xp.maximum(low - tiny(dtype) * (n + 4), 0.0)
    high = xp.where(xp.amax(size, -1) == 0, 0.0, high)
    return xp.where(xp.isfinite(low), low, 0.0), xp.where(xp.isfinite(high), high, xp.inf)
