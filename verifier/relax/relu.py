"""Linear bounds of ReLU and LeakyReLU between two numbers."""

from __future__ import annotations

from verifier.graph.ops.relu import Relu
from verifier.relax.lines import Lines
from verifier.values.arrays import Array, namespace
from verifier.values.rounding import dtype_of, tiny, unit


def chord(leak: float | Array, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Slope and intercept of an upper line of the (leaky) ReLU, close to the chord from `lower` to `upper`.

    Shapes: lower, upper `[B, *shape]` with lower <= upper, `leak` broadcasts; returns two arrays of that shape.
    Sound because: f is convex (`leak <= 1`), so a line above it at both ends lies above it between them; whatever the
    rounded slope is, the intercept is the larger of what the two ends need, rounded up.
    """
    xp, u = namespace(lower), unit(dtype_of(lower))
    l_neg, u_pos = xp.minimum(lower, 0.0), xp.maximum(upper, 0.0)
    width = u_pos - l_neg
    flat = width <= 0  # both ends zero
    s = (u_pos - leak * l_neg) / xp.where(flat, width + 1, width)
    s = xp.where(lower >= 0, s * 0 + 1, xp.where(upper <= 0, s * 0 + leak, s))
    at_lower, at_upper = (leak - s) * l_neg, (1 - s) * u_pos
    t = xp.maximum(at_lower, at_upper)
    slack = 4 * u * (xp.abs(s) + 1 + abs(leak)) * xp.maximum(u_pos, -l_neg)
    unstable = (lower < 0) & (upper > 0)
    return s, xp.where(unstable, t + slack + tiny(dtype_of(lower)), t * 0)


def lines(op: Relu, lower: Array, upper: Array, alpha: Array | None = None) -> Lines:
    """Lower and upper lines; `alpha` in [leak, 1] is the lower slope where the sign is undecided.

    Without `alpha` the lower slope is 1 where the chord is steeper than halfway and `leak` elsewhere (CROWN,
    Zhang et al. 2018, the adaptive choice), which minimises the area between the lines.
    Sound because: `f(z) = max(z, leak·z)` is at least `alpha·z` for every alpha between leak and 1.
    """
    xp = namespace(lower)
    s_u, t_u = chord(op.leak, lower, upper)
    if alpha is None:
        alpha = xp.where(2 * s_u > 1 + op.leak, s_u * 0 + 1, s_u * 0 + op.leak)
    s_l = xp.where((lower < 0) & (upper > 0), alpha, s_u)
    return Lines(s_l, None, s_u, t_u)


def alpha_range(op: Relu) -> tuple[float, float]:
    """Every slope in this range gives a sound lower line."""
    return (op.leak, 1.0)


def image(op: Relu, lower: Array, upper: Array) -> tuple[Array, Array]:
    """Least and largest value between `lower` and `upper`: at the ends, or at the kink where both ends are positive.

    Rounded outward where the leak makes the values round.
    """
    xp = namespace(lower)
    at_lower, at_upper = op.evaluate(lower), op.evaluate(upper)
    least = at_lower if op.leak >= 0 else xp.minimum(at_lower, xp.where((lower < 0) & (upper > 0), lower * 0, at_upper))
    most = xp.maximum(at_lower, at_upper)
    if op.leak in (0.0, 1.0):
        return least, most
    u, t = 4 * unit(dtype_of(lower)), tiny(dtype_of(lower))
    return least - u * xp.abs(least) - t, most + u * xp.abs(most) + t
