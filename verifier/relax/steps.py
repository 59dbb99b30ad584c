"""Linear bounds of functions that jump, with any slope whatever (as for curves: see `relax.curves`)."""

from __future__ import annotations

import numpy as np

from verifier.graph.ops.steps import Step
from verifier.relax.lines import Lines
from verifier.values.arrays import Array, namespace
from verifier.values.rounding import dtype_of, tiny, unit


def least(f: Step, sign: int, s: Array, lower: Array, upper: Array) -> Array:
    """A lower bound of `sign·f(z) − s·z` on `[lower, upper]`; `[B, *shape]` like its arguments.

    Sound because: between jumps f is straight, so the ends of every straight part decide (with the limits there).
    Between many jumps of a staircase the first and the last two count: the others lie on a straight line with these.
    """
    xp = namespace(lower)
    corners = _stairs(f, lower, upper) if f.kind in ("floor", "ceil", "round") else _jump(f, lower, upper)
    best = None
    for z, y, counts in corners:
        product = s * z
        v = sign * y - product
        v = v - 4 * unit(dtype_of(v)) * (xp.abs(y) + xp.abs(product)) - tiny(dtype_of(v))
        v = v if counts is None else xp.where(counts, v, xp.inf)
        best = v if best is None else xp.minimum(best, v)
    assert best is not None
    return xp.where(xp.isfinite(best), best, -xp.inf)


Corner = tuple[Array, Array, "Array | None"]
"""A point, a value that f takes there or comes near to, and where it counts (None: everywhere)."""


def _stairs(f: Step, lower: Array, upper: Array) -> list[Corner]:
    xp = namespace(lower)
    if f.kind == "ceil":  # ceil(z) = −floor(−z)
        return [(-z, -y, c) for z, y, c in _stairs(Step("floor"), -upper, -lower)]
    if f.kind == "round":  # at a half it may be either
        first, last, shift = xp.ceil(lower - 0.5), xp.floor(upper + 0.5), 0.5
    else:
        first, last, shift = xp.floor(lower), xp.floor(upper), 0.0
    corners: list[Corner] = [(lower, first, None), (upper, last, None)]
    for y in (first, last, last - 1, first + 1):  # a step holds y from y − shift to y + 1 − shift
        inside = (y >= first) & (y <= last)
        for z in (y - shift, y + 1 - shift):
            corners.append((xp.minimum(xp.maximum(z, lower), upper), y, inside))
    return corners


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


def _slope(f: Step, sign: int, lower: Array, upper: Array) -> Array:
    """Of a few slopes, the one whose line is highest in the middle."""
    xp = namespace(lower)
    width = xp.maximum(upper - lower, 1e-6 * (xp.abs(upper) + 1))
    rise = sign * (f.evaluate(upper) - f.evaluate(lower))
    options = [lower * 0, rise / width]
    if f.kind in ("floor", "ceil", "round"):
        options.append(lower * 0 + sign)
    else:
        after, before = upper - f.parameter, f.parameter - lower
        options += [rise / xp.where(side > 1e-6 * width, side, width) for side in (after, before)]
    best, slope, middle = None, options[0], 0.5 * (lower + upper)
    for s in options:
        value = s * middle + least(f, sign, s, lower, upper)
        slope = s if best is None else xp.where(value > best, s, slope)
        best = value if best is None else xp.maximum(best, value)
    return slope


def lines(f: Step, lower: Array, upper: Array, alpha: tuple[Array, Array] | None = None) -> Lines:
    """Lower and upper lines; `alpha` are their slopes, any numbers."""
    s_l, s_u = (_slope(f, 1, lower, upper), -_slope(f, -1, lower, upper)) if alpha is None else alpha
    return Lines(s_l, least(f, 1, s_l, lower, upper), s_u, -least(f, -1, -s_u, lower, upper))


def parallel(f: Step, lower: Array, upper: Array) -> Lines:
    """Lines of one slope: flat over a jump, along the stairs where there are many."""
    xp = namespace(lower)
    s = lower * 0
    if f.kind in ("floor", "ceil", "round"):
        s = xp.where(upper - lower > 2, s + 1, s)
    if f.kind == "threshold":
        s = xp.where(lower > f.parameter, s + 1, s)
    return Lines(s, least(f, 1, s, lower, upper), s, -least(f, -1, -s, lower, upper))


def image(f: Step, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Least and largest value between `lower` and `upper`, rounded outward."""
    return least(f, 1, lower * 0, lower, upper), -least(f, -1, lower * 0, lower, upper)
