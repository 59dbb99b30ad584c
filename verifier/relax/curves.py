"""Linear bounds of curves, with any slope whatever.

For a slope s, the line `s·z + t` lies below f on [l, u] exactly if `t <= min of f(z) − s·z` there, which is minus the
convex conjugate of f on the interval.  Here that minimum is bounded from below piece by piece (`relax.shapes`): on a
convex piece by the tangent at a point z*, which may be anywhere,

    f(z) − s·z >= f(z*) − s·z* + (f'(z*) − s)·(z − z*),

on others by the ends.  So every slope is sound, no tangent point has to be exact, and slopes can be optimised freely.
The slope that keeps the line closest on average is that of the convex envelope at the middle of the interval.
"""

from __future__ import annotations

from math import inf

from verifier.graph.ops.curves import Curve
from verifier.graph.ops.slopes import terms
from verifier.relax.lines import Lines
from verifier.relax.shapes import Piece, domain, far, kinks, pieces, poles
from verifier.values.arrays import Array, namespace
from verifier.values.rounding import dtype_of, tiny, unit

ULPS = 16
"""What evaluating a curve, its derivative, or `f − s·z` may err by, in units of the magnitudes involved; functions of
numpy and torch are within 4."""
HALVINGS = {"float32": 14, "float64": 20}
"""Steps to the slope of an envelope.  Any slope is sound, so this decides about tightness only."""
FEW = 100
"""So many envelopes are found by trying many slopes at once."""


def least(f: Curve, sign: int, s: Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """A lower bound of `sign·f(z) − s·z` on `[lower, upper]`, and where it is (nearly) attained.

    Shapes: all `[B, *shape]`.  Minus infinity where the curve has a pole in the interval, or nothing can be said.
    """
    xp = namespace(lower)
    lower, upper = inside(f, lower, upper)
    best, where = None, lower
    for piece in pieces(f, lower, upper):
        a, b = (xp.minimum(xp.maximum(lower, e), upper) for e in (piece.start, piece.end))
        bend = sign * piece.bend
        if isinstance(bend, int):
            y, z = _tangent(f, sign, piece, s, a, b) if bend > 0 else _ends(f, sign, s, a, b)
        else:
            (y, z), (y_ends, z_ends) = _tangent(f, sign, piece, s, a, b), _ends(f, sign, s, a, b)
            y, z = xp.where(bend > 0, y, y_ends), xp.where(bend > 0, z, z_ends)
        if best is None:
            best, where = y, z
        else:
            best, where = xp.where(y < best, y, best), xp.where(y < best, z, where)
            best = xp.where(y == y, best, y)  # NaN stays NaN
    assert best is not None
    if f.kind in ("sin", "cos"):
        constant = -1 - xp.maximum(s * lower, s * upper) - _doubt(f, s * 0 + 1, s * xp.maximum(abs(lower), abs(upper)))
        best = xp.where(far(lower, upper), constant, best)
    bad = poles(f, sign, lower, upper)
    unknown = ~xp.isfinite(best) if bad is None else ~xp.isfinite(best) | bad
    return xp.where(unknown, -xp.inf, best), where


def inside(f: Curve, lower: Array, upper: Array) -> tuple[Array, Array]:
    """The part of the intervals where the curve is defined."""
    xp, (low, high) = namespace(lower), domain(f)
    if low == -inf:
        return lower, upper
    return xp.minimum(xp.maximum(lower, low), high), xp.maximum(xp.minimum(upper, high), low)


def _tangent(f: Curve, sign: int, piece: Piece, s: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """On a convex piece: the tangent at about the least point; see above."""
    xp = namespace(s)
    z = xp.minimum(xp.maximum(_stationary(f, sign, piece, s, a, b), a), b)
    z = xp.where(z == z, z, a)
    y, product, slope = sign * f.evaluate(z), s * z, sign * f.slope(z)
    d = slope - s
    off = xp.minimum(xp.minimum(d * (a - z), d * (b - z)), 0.0)
    unsure = _doubt(f, slope, s, z, 1) * (b - a)
    off = xp.where(b > a, off - unsure, 0.0)  # a point is known as well as its value
    return y - product + off - _doubt(f, y, product, z), z


def _ends(f: Curve, sign: int, s: Array, a: Array, b: Array) -> tuple[Array, Array]:
    """On a concave or straight piece: the lesser end."""
    xp = namespace(s)
    values = []
    for z in (a, b):
        y, product = sign * f.evaluate(z), s * z
        values.append(y - product - _doubt(f, y, product, z))
    return xp.minimum(*values), xp.where(values[1] < values[0], b, a)


def _doubt(f: Curve, y: Array, product: Array, z: Array | None = None, order: int = 0) -> Array:
    """What computing `y − product` may err by, y being f (order 0) or its derivative (order 1) at z."""
    xp, dtype = namespace(y), dtype_of(y)
    size = xp.abs(y)
    if f.kind in CANCELS:
        size = size + (1 if z is None or order else xp.abs(z))
    sums = None if z is None else terms(xp, f.kind, f.parameters, z)
    if sums is not None:
        size = sums[order]
    return ULPS * unit(dtype) * (size + xp.abs(product)) + tiny(dtype)


CANCELS = ("gelu", "gelu_tanh")
"""Curves `z·g(z)` whose g is known up to units of one, not of g."""


def _stationary(f: Curve, sign: int, piece: Piece, s: Array, a: Array, b: Array) -> Array:
    """About where `sign·f' = s` in `[a, b]`."""
    if piece.inverse is not None:
        return piece.inverse(sign * s)
    xp, low, high = namespace(s), a, b
    for _ in range(2 * HALVINGS[dtype_of(s)]):
        middle = 0.5 * (low + high)
        below = sign * f.slope(middle) < s  # the derivative grows along a convex piece
        low, high = xp.where(below, middle, low), xp.where(below, high, middle)
    return 0.5 * (low + high)


def chord(f: Curve, lower: Array, upper: Array) -> Array:
    """The slope from end to end, or that of the curve where the ends are too close to tell."""
    xp = namespace(lower)
    width = upper - lower
    s = (f.evaluate(upper) - f.evaluate(lower)) / xp.where(width > 0, width, width * 0 + 1)
    near = width <= 1e3 * unit(dtype_of(lower)) * (xp.abs(lower) + xp.abs(upper))
    s = xp.where(near, f.slope(0.5 * (lower + upper)), s)
    return _finite(s)


def _finite(s: Array) -> Array:
    xp = namespace(s)
    return xp.where(xp.isfinite(s), s, 0.0)


def slope(f: Curve, sign: int, lower: Array, upper: Array) -> Array:
    """The slope of the convex envelope of `sign·f` on `[lower, upper]` at its middle (of any good line, roughly)."""
    xp = namespace(lower)
    lower, upper = inside(f, lower, upper)
    middle = 0.5 * (lower + upper)
    convex, concave = _bends(f, sign, lower, upper)
    straight = sign * chord(f, lower, upper)
    if f.kind in ("sin", "cos"):
        straight = xp.where(far(lower, upper), 0.0, straight)
        concave = concave | far(lower, upper)
    s = xp.where(convex, sign * f.slope(middle), straight)
    hard = xp.flatnonzero(~(convex | concave) & (upper > lower))
    if len(hard):
        flat = s.reshape(-1) * 1
        flat[hard] = _envelope(f, sign, *(a.reshape(-1)[hard] for a in (lower, upper, middle)))
        s = flat.reshape(s.shape)
    return _finite(s)


def _bends(f: Curve, sign: int, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Whether `sign·f` is convex on each interval, and whether it is concave."""
    convex = lower == lower
    concave = convex
    for piece in pieces(f, lower, upper):
        met, bend = (lower < piece.end) & (upper > piece.start), sign * piece.bend
        convex, concave = convex & ~(met & (bend < 0)), concave & ~(met & (bend > 0))
    for z in kinks(f):
        met = (lower < z) & (upper > z)
        convex, concave = convex & ~met, concave & ~met
    return convex, concave


def _envelope(f: Curve, sign: int, lower: Array, upper: Array, middle: Array) -> Array:
    """By halving: a line whose lowest point lies left of the middle is too flat, else too steep.

    Of a few curves, so many slopes are tried at once that a step is worth five: there calls cost more than numbers.
    """
    xp = namespace(lower)
    low, high = slopes(f, lower, upper)
    low, high = (low, high) if sign > 0 else (-high, -low)
    parts, halvings = pieces(f, lower, upper), HALVINGS[dtype_of(lower)]
    if len(lower) <= FEW:
        for _ in range((halvings + 4) // 5):
            step = (high - low) * (1 / 32)
            s = xp.stack([low + j * step for j in range(1, 32)])
            count = (_lowest(f, sign, parts, s, lower, upper) < middle).sum(0)
            low, high = low + count * step, low + (count + 1) * step
        return 0.5 * (low + high)
    for _ in range(halvings):
        s = 0.5 * (low + high)
        left = _lowest(f, sign, parts, s, lower, upper) < middle
        low, high = xp.where(left, s, low), xp.where(left, high, s)
    return 0.5 * (low + high)


def slopes(f: Curve, lower: Array, upper: Array) -> tuple[Array, Array]:
    """The least and the largest slope of a curve on `[lower, upper]`, roughly: where good lines' slopes lie."""
    xp = namespace(lower)
    lower, upper = inside(f, lower, upper)
    low = high = chord(f, lower, upper)
    ends = [p.end for p in pieces(f, lower, upper)] + [k + side for k in kinks(f) for side in (-1e-3, 1e-3)]
    for z in (lower, upper, *(xp.minimum(xp.maximum(lower, e), upper) for e in ends)):
        d = _finite(f.slope(z))
        low, high = xp.minimum(low, d), xp.maximum(high, d)
    return low, high


def _lowest(f: Curve, sign: int, parts: list[Piece], s: Array, lower: Array, upper: Array) -> Array:
    """About where `sign·f(z) − s·z` is least: `least` without its precautions."""
    xp = namespace(s)
    where = xp.where(sign * f.evaluate(upper) - s * upper < sign * f.evaluate(lower) - s * lower, upper, lower)
    best = sign * f.evaluate(where) - s * where
    for piece in parts:
        bend = sign * piece.bend
        if isinstance(bend, int) and bend <= 0:
            continue
        a, b = (xp.minimum(xp.maximum(lower, e), upper) for e in (piece.start, piece.end))
        z = xp.minimum(xp.maximum(_stationary(f, sign, piece, s, a, b), a), b)
        y = sign * f.evaluate(z) - s * z
        better = (y < best) & (bend > 0)
        best, where = xp.where(better, y, best), xp.where(better, z, where)
    for z in kinks(f):
        z = xp.minimum(xp.maximum(lower, z), upper)
        y = sign * f.evaluate(z) - s * z
        best, where = xp.minimum(best, y), xp.where(y < best, z, where)
    return where


def lines(f: Curve, lower: Array, upper: Array, alpha: tuple[Array, Array] | None = None) -> Lines:
    """Lower and upper lines; `alpha` are their slopes, any numbers."""
    s_l, s_u = (slope(f, 1, lower, upper), -slope(f, -1, lower, upper)) if alpha is None else alpha
    return Lines(s_l, least(f, 1, s_l, lower, upper)[0], s_u, -least(f, -1, -s_u, lower, upper)[0])


def parallel(f: Curve, lower: Array, upper: Array) -> Lines:
    """Lines of one slope."""
    s = chord(f, *inside(f, lower, upper))
    if f.kind in ("sin", "cos"):
        s = namespace(s).where(far(lower, upper), 0.0, s)
    return Lines(s, least(f, 1, s, lower, upper)[0], s, -least(f, -1, -s, lower, upper)[0])


def image(f: Curve, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Least and largest value between `lower` and `upper`, rounded outward."""
    zero = lower * 0
    return least(f, 1, zero, lower, upper)[0], -least(f, -1, zero, lower, upper)[0]
