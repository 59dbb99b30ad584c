"""Linear bounds of functions that jump, with any slope whatever (as for curves: see `relax.curves`)."""

from __future__ import annotations

import numpy as np

from verifier.graph.ops.steps import MANY, STAIRS, Step
from verifier.relax.lines import Lines
from verifier.values.arrays import Array, namespace
from verifier.values.rounding import dtype_of, tiny, unit


def least(
    f: Step, sign: int, s: Array, lower: Array, upper: Array, beyond: Beyond | None = None
) -> tuple[Array, Array]:
    """A lower bound of `sign·f(z) − s·z` on `[lower, upper]`, and where it is attained or come near to.

    Shapes: all `[B, *shape]`.  `beyond`: see `Beyond`.

    Sound because: between jumps f is straight, so the ends of every straight part decide (with the limits there).
    Between many jumps of a staircase the first and the last two count: the others lie on a straight line with these,
    and do so when z is taken away from all.
    """
    xp = namespace(lower)
    best = where = None
    stair = _stair(f)
    if stair is not None:
        corners: list[Corner] = [(z, y - z, counts) for z, y, counts in _stairs(stair, lower, upper, None)]
    elif f.stairs:
        corners = _stairs(f, lower, upper, beyond)
    else:
        corners = (_teeth if f.kind == "rest" else _jump)(f, lower, upper)
    for z, y, counts in corners:
        product = s * z
        v = sign * y - product
        v = v - 4 * unit(dtype_of(v)) * (xp.abs(y) + xp.abs(product)) - tiny(dtype_of(v))
        v = v if counts is None else xp.where(counts, v, xp.inf)
        if best is None or where is None:
            best, where = v, xp.where(v < 0, z, z)  # one for each of v
        else:
            less = v < best
            where, best = xp.where(less, z, where), xp.where(less | (v != v), v, best)
    assert best is not None and where is not None
    return xp.where(xp.isfinite(best), best, -xp.inf), xp.where(where == where, where, lower)


Corner = tuple[Array, Array, "Array | None"]
"""A point, a value that f takes there or comes near to, and where it counts (None: everywhere)."""
Beyond = tuple[Array, Array]
"""For a lower and for an upper end of intervals, where it is a split that leaves the value of the step beyond it to the
other part: points at the end itself count to the part in which the function has their value."""


def _stair(f: Step) -> Step | None:
    """The staircase, with ends, that something is the rest of."""
    return Step("nearest", 0.0, f.low, f.high) if f.kind == "rest" and f.high < np.inf else None


def _stairs(f: Step, lower: Array, upper: Array, beyond: Beyond | None) -> list[Corner]:
    xp, (first, last) = namespace(lower), steps_between(f, lower, upper, beyond)
    a = STAIRS[f.kind]
    corners: list[Corner] = [(lower, first, None), (upper, last, None)]
    for y in (first, last, last - 1, first + 1):  # a step holds y from y − a to y + 1 − a
        inside = (y >= first) & (y <= last)
        for z in (xp.where(y == f.low, lower, y - a), xp.where(y == f.high, upper, y + 1 - a)):
            corners.append((xp.minimum(xp.maximum(z, lower), upper), y, inside))
    return corners


def steps_between(f: Step, lower: Array, upper: Array, beyond: Beyond | None = None) -> tuple[Array, Array]:
    """The least and the largest value of a staircase on `[lower, upper]`."""
    xp = namespace(lower)
    if f.kind == "nearest":
        first, last = xp.ceil(lower - 0.5), xp.floor(upper + 0.5)
    else:
        first, last = f.evaluate(lower), f.evaluate(upper)
    if beyond is not None:
        shift = STAIRS[f.kind] % 1.0
        at = [
            (z + shift == xp.round(z + shift)) & (2 * z == xp.round(2 * z)) & (xp.abs(z) < MANY) for z in (lower, upper)
        ]
        if f.kind != "floor":
            first = xp.where(at[0] & beyond[0], lower + (0.5 if shift else 1.0), first)
        if f.kind != "ceil":
            last = xp.where(at[1] & beyond[1], upper - (0.5 if shift else 1.0), last)
    if f.low > -xp.inf:
        first, last = xp.maximum(first, f.low), xp.maximum(last, f.low)
    return (first, last) if f.high == xp.inf else (xp.minimum(first, f.high), xp.minimum(last, f.high))


def _teeth(f: Step, lower: Array, upper: Array) -> list[Corner]:
    """Between jumps at halves it falls from 1/2 to −1/2; ends of an interval may lie on either side of one.

    Where numbers are so large that halves are none, all that is said is that values are between 1/2 and −1/2.
    """
    xp = namespace(lower)
    far = ~(xp.maximum(xp.abs(lower), xp.abs(upper)) < MANY)
    corners: list[Corner] = [(z, f.evaluate(z), ~far) for z in (lower, upper)]
    first, last = xp.ceil(lower + 0.5) - 0.5, xp.floor(upper - 0.5) + 0.5
    for z in (xp.where(first < lower, first + 1, first), xp.where(last > upper, last - 1, last)):  # sums round
        inside = (z >= lower) & (z <= upper) & ~far
        corners += [(xp.minimum(xp.maximum(z, lower), upper), z * 0 + side, inside) for side in (0.5, -0.5)]
    return corners + [(z, z * 0 + side, far) for z in (lower, upper) for side in (0.5, -0.5)]


def _jump(f: Step, lower: Array, upper: Array) -> list[Corner]:
    xp, p, zero = namespace(lower), f.parameter, lower * 0
    low, high = _around(p, dtype_of(lower))
    left, right = lower < high, upper > low
    at = (lower <= low) & (upper >= high)
    start, end = xp.maximum(lower, low), xp.minimum(upper, high)
    before, here, after = (
        f.evaluate(zero + v) for v in (p - 1.0 - abs(p), p, p + 1.0 + abs(p))
    )  # constant on either side, but for a threshold
    after_start, after_end = (start, upper) if f.kind == "threshold" else (after, after)
    return [
        (lower, before, left),
        (end, before, left),
        (zero + p, here, at),
        (start, after_start, right),
        (upper, after_end, right),
    ]


def _around(p: float, dtype: str) -> tuple[float, float]:
    """The jump, or its neighbours where it lies between two numbers of a type."""
    near = np.dtype(dtype).type(p)
    if float(near) == p:
        return p, p
    if float(near) < p:
        return float(near), float(np.nextafter(near, near.dtype.type(np.inf)))
    return float(np.nextafter(near, near.dtype.type(-np.inf))), float(near)


def slope(f: Step, sign: int, lower: Array, upper: Array) -> Array:
    """Of a few slopes of `sign·f`, the one whose line is highest in the middle."""
    xp, stair = namespace(lower), _stair(f)
    if stair is not None:
        return slope(stair, sign, lower, upper) - sign
    width = xp.maximum(upper - lower, 1e-6 * (xp.abs(upper) + 1))
    rise = sign * (f.evaluate(upper) - f.evaluate(lower))
    options = [lower * 0, rise / width]
    if f.stairs:
        options.append(lower * 0 + sign)
        if max(-f.low, f.high) < xp.inf:  # from one end to where the other one saturates
            a = STAIRS[f.kind]
            rest = upper - f.low - 1 + a, f.high - a - lower
            options += [rise / xp.where(side > 1e-6 * width, xp.minimum(side, width), width) for side in rest]
    elif f.kind == "rest":
        options.append(lower * 0 - sign)
    else:
        after, before = upper - f.parameter, f.parameter - lower
        options += [rise / xp.where(side > 1e-6 * width, side, width) for side in (after, before)]
    best, found, middle = None, options[0], 0.5 * (lower + upper)
    for s in options:
        value = s * middle + least(f, sign, s, lower, upper)[0]
        found = s if best is None else xp.where(value > best, s, found)
        best = value if best is None else xp.maximum(best, value)
    return found


def slopes(f: Step, lower: Array, upper: Array) -> tuple[Array, Array]:
    """The least and the largest slope that good lines of a staircase have on `[lower, upper]`, roughly."""
    xp = namespace(lower)
    width = xp.maximum(upper - lower, 1e-6 * (xp.abs(upper) + 1))
    return lower * 0, xp.minimum(xp.maximum((f.evaluate(upper) - f.evaluate(lower)) / width, 1.0), 10.0)


def lines(
    f: Step,
    lower: Array,
    upper: Array,
    alpha: tuple[Array, Array] | None = None,
) -> Lines:
    """Lower and upper lines; `alpha` are their slopes, any numbers."""
    s_l, s_u = (slope(f, 1, lower, upper), -slope(f, -1, lower, upper)) if alpha is None else alpha
    return Lines(s_l, least(f, 1, s_l, lower, upper)[0], s_u, -least(f, -1, -s_u, lower, upper)[0])


def parallel(f: Step, lower: Array, upper: Array) -> Lines:
    """Lines of one slope: flat over a jump, along the stairs where there are many."""
    xp, stair = namespace(lower), _stair(f)
    s = lower * 0 if stair is None else parallel(stair, lower, upper).s_l - 1
    if f.stairs:
        options = [s, s + 1] if max(-f.low, f.high) == xp.inf else [s, s + 1, _rise(f, lower, upper)]
        found, best = None, s
        for option in options:
            made = Lines(option, least(f, 1, option, lower, upper)[0], option, -least(f, -1, -option, lower, upper)[0])
            gap = made.t_u - made.t_l
            if found is None:
                found, best = made, gap
                continue
            pairs = zip(vars(made).values(), vars(found).values(), strict=True)
            found, best = Lines(*(xp.where(gap < best, a, b) for a, b in pairs)), xp.minimum(gap, best)
        assert found is not None
        return found
    if f.kind == "threshold":
        s = xp.where(lower > f.parameter, s + 1, s)
    return Lines(s, least(f, 1, s, lower, upper)[0], s, -least(f, -1, -s, lower, upper)[0])


def _rise(f: Step, lower: Array, upper: Array) -> Array:
    xp = namespace(lower)
    s = (f.evaluate(upper) - f.evaluate(lower)) / xp.where(upper > lower, upper - lower, lower * 0 + 1)
    return xp.where(xp.isfinite(s), xp.minimum(s, 1.0), 0.0)


def image(f: Step, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Least and largest value between `lower` and `upper`, rounded outward; ends of staircases may be infinite."""
    xp, zero = namespace(lower), lower * 0
    low, high = least(f, 1, zero, lower, upper)[0], -least(f, -1, zero, lower, upper)[0]
    if not f.stairs:
        return low, high
    first, last = steps_between(f, lower, upper)
    finite = xp.isfinite(lower) & xp.isfinite(upper)
    return xp.where(finite, low, first), xp.where(finite, high, last)
