"""Lines of curves that can be trained through: the slope and the constant of each carry a gradient.

`relax.curves` finds both by halving, which has no derivative of any use.  By the envelope theorem none is needed: a
least value moves as the function does where it is attained, however that place moves.
"""

from __future__ import annotations

import torch
from torch import Tensor

from verifier.graph.ops.curves import Curve
from verifier.relax import curves
from verifier.relax.lines import Lines
from verifier.relax.shapes import far
from verifier.values.rounding import dtype_of, unit

ULPS = 64
"""What differences of values of a curve may err by, in units of the values."""
CLOSE = 0.05
"""Points of touch on either side of the middle that are closer, as a share of the interval, are looked at again."""


def lines(f: Curve, lower: Tensor, upper: Tensor) -> Lines:
    """Lower and upper lines of a curve on intervals `[B, *shape]`, with a gradient in their ends."""
    s_l, s_u = slope(f, 1, lower, upper), -slope(f, -1, lower, upper)
    return Lines(s_l, least(f, 1, s_l, lower, upper), s_u, -least(f, -1, -s_u, lower, upper))


def least(f: Curve, sign: int, s: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """A lower bound of `sign·f(z) − s·z` on intervals, all `[B, *shape]`, with a gradient in s and in their ends.

    Where the least value is attained inside, moving the ends changes nothing; otherwise it moves as an end does.
    """
    with torch.no_grad():
        value, z = curves.least(f, sign, s, lower, upper)
        within = sign * f.evaluate(z) - s * z
    ends = (sign * f.evaluate(z) - s * z for z in curves.inside(f, lower, upper))
    end = torch.minimum(*ends)
    return value + torch.where(within < end, -z * (s - s.detach()), end - end.detach())


def slope(f: Curve, sign: int, lower: Tensor, upper: Tensor) -> Tensor:
    """The slope of the convex envelope of `sign·f` at the middle of intervals `[B, *shape]`, with a gradient.

    Where the envelope is the curve itself in the middle, its slope is the curve's there.  Elsewhere it is a line that
    touches the curve in p and q on either side, so its slope is `(f(q) − f(p))/(q − p)`: an end of the interval moves
    it, a point inside doesn't, because there the curve has the line's slope.
    """
    lower, upper = curves.inside(f, lower, upper)
    shape, lower, upper = lower.shape, lower.reshape(-1), upper.reshape(-1)
    with torch.no_grad():
        s = curves.slope(f, sign, lower, upper)
        p, q = _touching(f, sign, s, lower, upper)
        # A point; or so short that rounding spoils a chord's slope more than taking it for a point does.
        own = ~(q - p > unit(dtype_of(s)) ** 0.5 * torch.maximum(lower.abs(), upper.abs()))
        fixed = ~torch.isfinite(s + f.slope(0.5 * (lower + upper)) + f.evaluate(p) + f.evaluate(q))
        if f.kind in ("sin", "cos"):
            fixed = fixed | far(lower, upper)
        at_l, at_u, own = (p == lower) & ~fixed, (q == upper) & ~fixed, own & ~fixed
    middle = torch.where(fixed, 0.0, 0.5 * (lower + upper))
    p, q = torch.where(at_l, lower, p), torch.where(at_u, upper, q)
    chord = (f.evaluate(q) - f.evaluate(p)) / torch.where(own | fixed, 1.0, q - p)
    return torch.where(fixed, s, sign * torch.where(own, f.slope(middle), chord)).reshape(shape)


def _touching(f: Curve, sign: int, s: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Where lines of the envelope's slopes s touch `sign·f` left and right of the middle of intervals `[n]`.

    Twice the middle, where the envelope is the curve there.
    """
    middle = 0.5 * (lower + upper)
    own = sign * f.slope(middle)
    p, q = torch.where(s == own, middle, lower), torch.where(s == own, middle, upper)
    hard = torch.nonzero(~((s == own) | (s == sign * curves.chord(f, lower, upper))))[:, 0]
    if not len(hard):
        return p, q
    s, l, m, u = (a[hard] for a in (s, lower, middle, upper))
    p[hard], q[hard] = (_lowest(f, sign, s, m, end) for end in (l, u))
    # Near a point of touch s is not known well enough to say which of two equally low places is lower.  The curve's own
    # slope is: if it touches nowhere else, it is the envelope's, and otherwise the line goes to that side.
    hard = hard[q[hard] - p[hard] < CLOSE * (u - l)]
    l, m, u, own = (a[hard] for a in (lower, middle, upper, own))
    before, after = (_lowest(f, sign, own, m, end) for end in (l, u))
    left, right = (own * (z - m) - sign * (f.evaluate(z) - f.evaluate(m)) for z in (before, after))  # what each gains
    touches = torch.maximum(left, right) <= ULPS * unit(dtype_of(s)) * (f.evaluate(m).abs() + (own * m).abs())
    p[hard] = torch.where(touches, m, torch.where(left > right, before, p[hard]))
    q[hard] = torch.where(touches, m, torch.where(left > right, q[hard], after))
    return p, q


def _lowest(f: Curve, sign: int, s: Tensor, middle: Tensor, end: Tensor) -> Tensor:
    """Where `sign·f(z) − s·z` is least between the middle and an end; the end itself where that is as low."""
    _, z = curves.least(f, sign, s, torch.minimum(middle, end), torch.maximum(middle, end))
    return torch.where(sign * (f.evaluate(end) - f.evaluate(z)) <= s * (end - z), end, z)
