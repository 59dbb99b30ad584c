"""Linear bounds of products (McCormick, 1976)."""

from __future__ import annotations

from verifier.relax.lines import Lines
from verifier.values.arrays import Array, namespace
from verifier.values.rounding import dtype_of, gamma, tiny, unit


def product_lines(lower: Array, upper: Array, alpha: tuple[Array, Array] | None = None) -> Lines:
    """Planes below and above `x·y`, x and y on the last axis of `lower`, `upper` (`[B, *shape, 2]`).

    Args:
        alpha: two arrays `[B, *shape]` in [0, 1]: where between the two planes of McCormick the lower and the upper
            one lie; the middle without it, where both have one slope.

    Sound because: with any slopes, `x·y − s·(x, y)` is linear along each axis, so its least and largest values on the
    rectangle are at corners, and the intercepts are taken from these, whatever rounding made of the slopes.
    """
    xp = namespace(lower)
    (a, c), (b, d) = ((v[..., 0], v[..., 1]) for v in (lower, upper))
    if alpha is None:
        s = xp.stack([0.5 * c + 0.5 * d, 0.5 * a + 0.5 * b], -1)
        s_l = s_u = s
    else:
        r, q = alpha
        s_l = xp.stack([c + r * (d - c), a + r * (b - a)], -1)
        s_u = xp.stack([c + q * (d - c), b + q * (a - b)], -1)
    return Lines(s_l, _corners(1, s_l, a, b, c, d), s_u, -_corners(-1, -s_u, a, b, c, d))


def _corners(sign: int, s: Array, a: Array, b: Array, c: Array, d: Array) -> Array:
    """The least of `sign·x·y − s·(x, y)` over x in [a, b], y in [c, d], rounded down."""
    xp, best = namespace(s), None
    for x in (a, b):
        for y in (c, d):
            xy, sx, sy = x * y, s[..., 0] * x, s[..., 1] * y
            v = sign * xy - sx - sy
            v = v - 4 * unit(dtype_of(v)) * (xp.abs(xy) + xp.abs(sx) + xp.abs(sy)) - tiny(dtype_of(v))
            best = v if best is None else xp.minimum(best, v)
    assert best is not None
    return xp.where(xp.isfinite(best), best, -xp.inf)


def dot_lines(lower: Array, upper: Array, alpha: tuple[Array, Array] | None = None) -> Lines:
    """Planes below and above inner products of the halves of the last axis: sums of planes of the products.

    Args:
        alpha: two arrays `[B, *shape]`, one place between McCormick's planes for all products of a sum.
    """
    xp = namespace(lower)
    pairs = None if alpha is None else (alpha[0][..., None], alpha[1][..., None])
    f = product_lines(_pairs(lower), _pairs(upper), pairs)
    assert f.t_l is not None
    s_l = _halves(f.s_l)
    s_u = s_l if f.s_u is f.s_l else _halves(f.s_u)
    g = gamma(int(f.t_u.shape[-1]) + 2, dtype_of(lower))
    t_l = f.t_l.sum(-1) - g * xp.abs(f.t_l).sum(-1)
    t_u = f.t_u.sum(-1) + g * xp.abs(f.t_u).sum(-1)
    return Lines(s_l, xp.where(xp.isfinite(t_l), t_l, -xp.inf), s_u, xp.where(xp.isfinite(t_u), t_u, xp.inf))


def dot_image(lower: Array, upper: Array) -> tuple[Array, Array]:
    """Least and largest sum of the products on their own, rounded outward."""
    xp = namespace(lower)
    low, high = product_image(_pairs(lower), _pairs(upper))
    g = gamma(int(low.shape[-1]) + 2, dtype_of(lower))
    return low.sum(-1) - g * xp.abs(low).sum(-1), high.sum(-1) + g * xp.abs(high).sum(-1)


def _pairs(a: Array) -> Array:
    """`[.., 2k]` as `[.., k, 2]`."""
    k = int(a.shape[-1]) // 2
    return namespace(a).stack([a[..., :k], a[..., k:]], -1)


def _halves(s: Array) -> Array:
    """`[.., k, 2]` as `[.., 2k]`."""
    return namespace(s).concatenate([s[..., 0], s[..., 1]], -1)


def product_image(lower: Array, upper: Array) -> tuple[Array, Array]:
    """Least and largest product, rounded outward."""
    (a, c), (b, d) = ((v[..., 0], v[..., 1]) for v in (lower, upper))
    zero = lower * 0
    return _corners(1, zero, a, b, c, d), -_corners(-1, zero, a, b, c, d)
