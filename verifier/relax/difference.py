"""Linear bounds of how far the rectifiers of two copies of a network are apart.

z and e are the inputs of one rectifier in the first and in the second copy, d = e − z.  All three are known between
two numbers, and each is a function of the network's input with linear bounds of its own: those of d are the tightest
where the copies are close, so planes are written with as much of d in them as they allow.
"""

from __future__ import annotations

from verifier.relax.lines import Lines
from verifier.relax.relu import chord
from verifier.values.arrays import Array, namespace
from verifier.values.rounding import dtype_of, tiny, unit

Interval = tuple[Array, Array]
Plane = tuple[Array, Array, Array, Array]
"""Coefficients of z, e and d, and a constant."""


def lines(lower: Array, upper: Array) -> Lines:
    """Planes below and above `relu(e) − relu(z)`; z, e, d on the last axis (`[B, *shape, 3]`), with d = e − z.

    Of the planes that `_above` knows, the closest one in the middle is taken.
    """
    xp = namespace(lower)
    z, e, d = ((lower[..., k], upper[..., k]) for k in range(3))
    up = _above(z, e, d)
    low = _above(e, z, (-d[1], -d[0]))  # of relu(z) − relu(e): the same from the other side
    return Lines(xp.stack([-low[1], -low[0], low[2]], -1), -low[3], xp.stack(up[:3], -1), up[3])


def parallel(lower: Array, upper: Array) -> Lines:
    """Planes of one slope on both sides: the mean of those of `lines`.

    Sound because: half of what the slopes differ by, times z, e and d, is at least its least value between the bounds.
    """
    xp, dtype, f = namespace(lower), dtype_of(lower), lines(lower, upper)
    half = 0.5 * (f.s_u - f.s_l)
    at_l, at_u = half * lower, half * upper
    size = xp.maximum(xp.abs(lower), xp.abs(upper)) * (xp.abs(f.s_l) + xp.abs(f.s_u))
    assert f.t_l is not None
    slack = (8 * unit(dtype)) * (size.sum(-1) + xp.abs(f.t_l) + xp.abs(f.t_u)) + 4 * tiny(dtype)
    s = 0.5 * (f.s_l + f.s_u)
    return Lines(s, f.t_l - xp.maximum(at_l, at_u).sum(-1) - slack, s, f.t_u + xp.maximum(at_l, at_u).sum(-1) + slack)


def image(lower: Array, upper: Array) -> Interval:
    """Bounds of the difference: between `min(d, 0)` and `max(d, 0)`, and of what both rectifiers can be."""
    xp, dtype = namespace(lower), dtype_of(lower)
    (z_l, e_l, d_l), (z_u, e_u, d_u) = (
        [xp.maximum(v[..., k], 0.0) for k in (0, 1)] + [v[..., 2]] for v in (lower, upper)
    )
    size = 2 * unit(dtype) * (z_u + e_u) + tiny(dtype)
    least, most = e_l - z_u - size, e_u - z_l + size
    return xp.maximum(least, xp.minimum(d_l, 0.0)), xp.minimum(most, xp.maximum(d_u, 0.0))


def undecided(z: Interval, e: Interval) -> Array:
    """Where a sign is open; elsewhere the difference is linear, whatever d is."""
    return ((z[0] < 0) & (z[1] > 0)) | ((e[0] < 0) & (e[1] > 0))


def between(z: Interval, e: Interval, d: Interval) -> Interval:
    """Bounds of d improved by what those of z and e leave of it, rounded outward."""
    xp, dtype = namespace(z[0]), dtype_of(z[0])
    slack = 2 * unit(dtype) * sum(xp.maximum(xp.abs(l), xp.abs(u)) for l, u in (z, e)) + tiny(dtype)
    return xp.maximum(d[0], e[0] - z[1] - slack), xp.minimum(d[1], e[1] - z[0] + slack)


def _above(z: Interval, e: Interval, d: Interval) -> Plane:
    """A plane above `relu(e) − relu(z)`.

    Sound because each of the three among which it chooses is:

    * a line above `relu(e)`, less one below `relu(z)`, s·e + t − b·z: linear where both signs are decided; what s and b
      have in common is taken from d instead, `min(s, b)·(e − z) = min(s, b)·d`;
    * the chord of `max(d, 0)`: a rectifier never grows faster than its input;
    * for d > 0, `d + s·z` with `0 <= s <= 1`, `s·|z_l| <= d_l`: at least d for z >= 0, else at least `max(e, 0)`;
      for d < 0, `−s·z` with `0 <= s <= 1`, `s·z_u <= −d_u`: at least 0 for z <= 0, else at least `max(−z, d)`.
    """
    (z_l, z_u), (d_l, d_u) = z, d
    xp, zero, dtype = namespace(z_l), z_l * 0, dtype_of(z_l)
    s, t = chord(0.0, *e)
    b = xp.where(z_l >= 0, zero + 1, xp.where(z_u <= 0, zero, xp.where(z_u > -z_l, zero + 1, zero)))
    common = xp.minimum(s, b)
    reach = xp.maximum(xp.maximum(xp.abs(e[0]), xp.abs(e[1])), xp.maximum(xp.abs(z_l), xp.abs(z_u)))
    slack = xp.where((s == 0) | (s == 1), zero, 4 * unit(dtype) * reach)  # of s − common and b − common
    best = (common - b, s - common, common, t + slack)
    middle = tuple(0.5 * l + 0.5 * u for l, u in (z, e, d))
    s, t = chord(0.0, d_l, d_u)
    grows, open_ = d_l > 0, (z_l < 0) & (z_u > 0)
    room, far = xp.where(grows, d_l, -d_u), xp.where(grows, -z_l, z_u)
    tilt = xp.where(open_ & (room > 0), room / xp.where(open_, far, zero + 1), zero)
    tilt = xp.minimum(tilt, 1.0) * (1 - 4 * unit(dtype))
    one = xp.where(grows, zero + 1, zero)
    for other in (
        (zero, zero, s, t),
        (xp.where(grows, tilt, -tilt), zero, one, xp.where(room > 0, zero, zero + xp.inf)),
    ):
        closer = _at(other, middle) < _at(best, middle)
        best = tuple(xp.where(closer, o, p) for o, p in zip(other, best, strict=True))
    return best


def _at(plane: Plane, point: tuple[Array, ...]) -> Array:
    """The plane's value at a point."""
    return plane[0] * point[0] + plane[1] * point[1] + plane[2] * point[2] + plane[3]
