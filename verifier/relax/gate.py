"""Linear bounds of gates: of v times the derivative of a (leaky) rectifier at z.

Where z has one sign the gate is linear in v.  Else, with `y = leak·v + (1 − leak)·v·d`, d is anything between 0 and 1;
more precisely y is `leak·v` for z <= 0 and v for z >= 0, and at z = 0 everything between.  On a box of v and z that is
two pieces of planes (and what lies between them at z = 0), so a plane is below it if it is below its eight corners.

**What bounds mean for a network's derivative.**  A gate counts as decided where z >= 0 throughout (d = 1), or z <= 0
throughout (d = leak), ends included, though at z = 0 the Clarke derivative is all of [leak, 1].  Bounds of a graph of
derivatives so hold for the Jacobian J(x) at almost every x of a box.  For let x be a point where every z_i, a (locally)
Lipschitz function, is differentiable, and has no gradient if z_i(x) = 0; almost every point is one (Rademacher; on the
set {z_i = 0} the gradient of z_i vanishes almost everywhere).  There the chain rule holds with *any* number in the
place of the derivative of a rectifier f at z_i(x) = 0: `|f(z_i) − f(0)| <= max(1, |leak|)·|z_i| = o(|h|)`, so f(z_i)
has gradient zero, which is d times that of z_i, whatever d is.  Hence J(x) is the product that these bounds enclose,
with d = 1 at a zero of z_i where bounds know z_i >= 0, and d = leak where they know z_i <= 0.  That also holds on a
part z_i >= 0 or z_i <= 0 of a box, for almost every point of it; so both halves of a split at zero count as decided.
It follows that

* the largest of a norm of J is bounded almost everywhere, which is the Lipschitz constant on the box (convex); signs of
  derivatives that hold almost everywhere make the network monotone;
* at a point in the interior of the box the Clarke Jacobian, the convex hull of limits of J(x) at points of any set of
  full measure, is enclosed (intervals are closed and convex); on the box's boundary, limits that come from inside.

All this is about the inputs that vary.  By an input that is fixed a derivative is enclosed, too, if all the halves of
splits are taken together: a limit of J from beside the box at a point with z_i(x) = 0 has d = 1 or d = leak, and x lies
in both halves.  (Without a split no interval ends at zero, but for one that is zero and nothing else, which is
undecided: bounds of whatever depends on the input are rounded outward.)
"""

from __future__ import annotations

from verifier.graph.ops.gate import Gate
from verifier.relax.lines import Lines
from verifier.values.arrays import Array, namespace
from verifier.values.rounding import dtype_of, tiny, unit

Plane = tuple[Array, Array, Array]
"""Slopes by v and by z, and an intercept."""


def signs(lower: Array, upper: Array) -> tuple[Array, Array]:
    """Where a gate's z between `lower` and `upper` makes it pass v on as it is, and where `leak` times it."""
    return (lower >= 0) & (upper > 0), (upper <= 0) & (lower < 0)


def gate_lines(op: Gate, lower: Array, upper: Array, alpha: tuple[Array, Array] | None = None) -> Lines:
    """Planes below and above a gate, v and z on the last axis of `lower`, `upper` (`[B, *shape, 2]`).

    Args:
        alpha: two arrays `[B, *shape]` in [0, 1], of the lower and the upper plane: which of three planes it is, 1/2
            the one that does not depend on z (the hull of v·d for d between leak and 1), 0 and 1 the two that do, or a
            mix of neighbours.  1/2 without it.

    Sound because: a plane's slopes may be any numbers, the intercepts are taken from the corners (see above) and
    rounded outward.  Where the sign of z is known the gate is its own plane.

    RecurJac (Zhang, Zhang and Hsieh, *RecurJac: An Efficient Recursive Algorithm for Bounding Jacobian Matrix*, 2019)
    keeps an interval only wherever the sign of v is open, be the gate decided or not.
    """
    below, above = (_slopes(op.leak, side, lower, upper, None if alpha is None else alpha[side]) for side in (0, 1))
    f = _lines(op, below, above, lower, upper)
    return _constant(op, f, lower, upper) if op.recurjac else f


def _constant(op: Gate, f: Lines, lower: Array, upper: Array) -> Lines:
    """Intervals in the place of planes where the sign of v is open."""
    xp, (low, high) = namespace(lower), gate_image(op, lower, upper)
    open_ = (lower[..., 0] < 0) & (upper[..., 0] > 0)
    s_l, s_u = (xp.where(open_[..., None], s * 0, s) for s in (f.s_l, f.s_u))
    return Lines(s_l, xp.where(open_, low, f.t_l), s_u, xp.where(open_, high, f.t_u))


def parallel(op: Gate, lower: Array, upper: Array) -> Lines:
    """Planes of one slope: halfway where z is undecided."""
    zero = lower[..., 0] * 0
    half = (zero + (0.5 + 0.5 * op.leak), zero)
    return _lines(op, half, half, lower, upper)


def _lines(op: Gate, below: tuple[Array, Array], above: tuple[Array, Array], lower: Array, upper: Array) -> Lines:
    """Planes of given slopes by v and by z; that of the gate itself where it is decided."""
    active, inactive = signs(lower[..., 1], upper[..., 1])
    xp, decided = namespace(lower), active | inactive
    size = xp.maximum(xp.abs(lower[..., 0]), xp.abs(upper[..., 0]))
    still = size <= NOTHING * tiny(dtype_of(size))
    zero = size * 0
    exact = xp.where(active, zero + 1, zero + op.leak)
    s_l, s_u = (
        xp.stack([xp.where(decided | still, exact, s), xp.where(decided | still, zero, r)], -1)
        for s, r in (below, above)
    )
    t_l, t_u = _corners(op.leak, 1, s_l, lower, upper), -_corners(op.leak, -1, -s_u, lower, upper)
    off = xp.where(active, zero, _rounded_leak(op.leak, size))
    return Lines(s_l, xp.where(decided, -off, t_l), s_u, xp.where(decided, off, t_u))


NOTHING = 1e6
"""A v of so many of the smallest numbers is what rounding has left of zero: both planes have one slope there."""


def gate_image(op: Gate, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Least and largest value, rounded outward where the leak makes it round."""
    xp = namespace(lower)
    active, inactive = signs(lower[..., 1], upper[..., 1])
    l, u = lower[..., 0], upper[..., 0]
    a, b = (l * op.leak, u * op.leak) if op.leak >= 0 else (u * op.leak, l * op.leak)
    if op.leak not in (0.0, 1.0):
        slack = 4 * unit(dtype_of(l)) * xp.maximum(xp.abs(a), xp.abs(b)) + tiny(dtype_of(l))
        a, b = a - slack, b + slack
    low = xp.where(active, l, xp.where(inactive, a, xp.minimum(l, a)))
    high = xp.where(active, u, xp.where(inactive, b, xp.maximum(u, b)))
    return xp.where(low == low, low, -xp.inf), xp.where(high == high, high, xp.inf)


def mix(q: Array, first: Array, middle: Array, last: Array) -> Array:
    """From `first` at 0 over `middle` at 1/2 to `last` at 1, straight between these."""
    xp = namespace(q)
    left, right = xp.maximum(1 - 2 * q, 0.0), xp.maximum(2 * q - 1, 0.0)
    return left * first + (1 - left - right) * middle + right * last


def facets(lower: Array, upper: Array) -> tuple[Plane, Plane, Plane]:
    """The three planes that bound `v·d` (d is 0 for z <= 0 and 1 for z >= 0) from above where z is undecided.

    With any mix w of McCormick's planes `y <= b·d` and `y <= v − a + a·d`, y is at most `(1 − w)·(v − a) + κ·d` with
    `κ = w·b + (1 − w)·a`; and d, between 0 and 1, is at most `(z − l)/(−l)` and at least `z/u`.
    """
    xp = namespace(lower)
    (a, l), (b, u) = ((v[..., 0], v[..., 1]) for v in (lower, upper))
    zero = a * 0
    open_ = (l < 0) & (u > 0)
    rise, fall = (xp.where(open_, 1 / xp.where(open_, z, zero + 1), zero) for z in (-l, u))  # of d by z, at most, least
    width = xp.where(b > a, b - a, zero + 1)
    negative, mixed = b <= 0, (a < 0) & (b > 0)
    middle_v = xp.where(mixed, b / width, xp.where(negative, zero, zero + 1))
    middle = (middle_v, zero, xp.where(mixed, -middle_v * a, zero))
    up, down = xp.where(negative, b * fall, b * rise), xp.where(a >= 0, a * rise, a * fall)
    first = (zero, up, xp.where(negative, zero, b))
    last = (zero + 1, down, xp.where(a >= 0, zero, -a))
    # Where z is zero and nothing else it says nothing; where it is almost nothing its slope may overflow.
    return _choose(open_ & xp.isfinite(up), first, middle), middle, _choose(open_ & xp.isfinite(down), last, middle)


def _choose(where: Array, p: Plane, q: Plane) -> Plane:
    xp = namespace(where)
    x, y, t = (xp.where(where, one, other) for one, other in zip(p, q, strict=True))
    return x, y, t


def chosen(side: int, lower: Array, upper: Array) -> tuple[Plane, Plane, Plane]:
    """The planes to choose from, below (side 0) or above (1): those below are what is above −v·d, turned over."""
    if side:
        return facets(lower, upper)
    xp = namespace(lower)
    turned = (xp.stack([-v[..., 0], w[..., 1]], -1) for v, w in ((upper, lower), (lower, upper)))
    planes = tuple((p, -r, -t) for p, r, t in facets(*turned))
    return planes  # type: ignore[return-value]


def rise(op: Gate, side: int, lower: Array, upper: Array, q: Array, z: Array) -> Array:
    """How the value at `z` (v and z on the last axis) of the plane below (side 0) or above grows with its choice q.

    At 1/2, where planes meet, towards the one that promises more, and nowhere if neither does.
    """
    xp = namespace(z)
    active, inactive = signs(lower[..., 1], upper[..., 1])
    first, middle, last = (p * z[..., 0] + r * z[..., 1] + t for p, r, t in chosen(side, lower, upper))
    left, right = middle - first, last - middle
    gain = (-left, right) if side == 0 else (left, -right)  # of going there, for bounds
    either = xp.where(gain[1] >= gain[0], right, left) * (xp.maximum(gain[0], gain[1]) > 0)
    way = xp.where(q < 0.5, left, xp.where(q > 0.5, right, either))
    return xp.where(active | inactive, way * 0, 2 * (1 - op.leak) * way)


def _slopes(leak: float, side: int, lower: Array, upper: Array, q: Array | None) -> tuple[Array, Array]:
    """Slopes by v and by z of the plane below or above."""
    planes = chosen(side, lower, upper)
    v, z = planes[1][:2] if q is None else (mix(q, *(p[k] for p in planes)) for k in (0, 1))
    v, z = leak + (1 - leak) * v, (1 - leak) * z
    xp = namespace(z)
    return v, xp.where(xp.isfinite(z), z, 0.0)  # any slope will do, but not one that is no number


def _corners(leak: float, sign: int, s: Array, lower: Array, upper: Array) -> Array:
    """The least of `sign·y − s·(v, z)` over what an undecided gate may do, rounded down."""
    xp, dtype = namespace(s), dtype_of(s)
    (a, l), (b, u) = ((e[..., 0], e[..., 1]) for e in (lower, upper))
    zero, best = a * 0, None
    for v in (a, b):
        sv = s[..., 0] * v
        for y, ends in ((leak * v, (xp.minimum(l, zero), zero)), (v, (zero, xp.maximum(u, zero)))):
            for z in ends:
                sz = xp.where(s[..., 1] == 0, zero, s[..., 1] * z)  # z may be infinite
                w = sign * y - sv - sz
                w = w - 8 * unit(dtype) * (xp.abs(y) + xp.abs(sv) + xp.abs(sz)) - tiny(dtype)
                best = w if best is None else xp.minimum(best, w)
    assert best is not None
    return xp.where(xp.isfinite(best), best, -xp.inf)


def _rounded_leak(leak: float, v: Array) -> Array:
    """What the leak, in the type of v, may be off, times v."""
    import numpy as np

    dtype = dtype_of(v)
    if float(np.dtype(dtype).type(leak)) == leak:
        return v * 0
    return 2 * unit(dtype) * abs(leak) * v + tiny(dtype)
