"""Forward linear bounds: every value as one linear function of the box plus an interval.

A value is kept as `c + Σ_j C_j ε_j ± r` with ε in [-1, 1]^k, one ε for each input that varies.  A convex activation
keeps the chord's slope on both sides and moves its width into r (the parallel relaxation of zonotopes; Singh et al.,
*Fast and Effective Robustness Certification*, 2018, without fresh symbols).  Cheap where few inputs vary: a layer
costs k + 2 products, whatever its number of rows.
"""

from __future__ import annotations

from dataclasses import dataclass

from verifier.bounds.network import Network
from verifier.graph.graph import Affine
from verifier.relax.lines import Lines
from verifier.values.arrays import Array, counting, namespace, total
from verifier.values.rounding import gamma, tiny, unit


@dataclass(frozen=True)
class Form:
    """`c + Σ_j C_j ε_j ± r`.

    Attributes:
        C: `[B, k + 1, *shape]`, the last of the k + 1 being c.
        r: `[B, *shape]`, non-negative, rounding included.
        span: `[B, *shape]`, at least `Σ_j |C_j|`.
    """

    C: Array
    r: Array
    span: Array


def input_form(net: Network, center: Array, radius: Array, symbols: Array) -> Form:
    """The box `center ± radius`, `[B, n]`: the inputs `symbols` (`[k]`) get one each, the others stay intervals."""
    xp, (B, n) = namespace(center), center.shape
    k = len(symbols)
    C = xp.broadcast_to((center * 0)[:, None], (B, k + 1, n))
    C = C.copy() if hasattr(C, "copy") else C.clone()
    C[:, counting(k, center), symbols] = radius[:, symbols]
    C[:, k] = center
    shape = net.graph.nodes[net.input].shape
    span = xp.abs(C[:, :-1]).sum(1)
    return Form(C.reshape(B, k + 1, *shape), (radius - span).reshape(B, *shape), span.reshape(B, *shape))


def through_affine(net: Network, i: int, forms: list[Form]) -> Form:
    """The form of an affine node from those of its inputs.

    Sound because: `W(c + C ε ± r)` is `Wc + WC ε ± |W|r`; each computed entry errs by at most gamma times the
    magnitudes behind it, whose sum over the box is |W|(|c| + Σ|C| + r) + |b|, and that goes into r (a tenth more, for
    the rounding of r itself).
    """
    xp, op, absolute = namespace(forms[0].C), net.graph.nodes[i].op, net.absolute[i]
    assert isinstance(op, Affine) and absolute is not None
    B, k1 = forms[0].C.shape[:2]
    C = op.linear(*(f.C.reshape(B * k1, *f.C.shape[2:]) for f in forms))
    C = C.reshape(B, k1, *C.shape[1:])
    bias = op.bias()
    if bias is not None:
        C[:, -1] += bias
    if op.exact:
        return Form(C, op.linear(*(f.r for f in forms)), op.linear(*(f.span for f in forms)))
    n, dtype = net.terms[i] + k1, net.place.dtype
    g = 1.1 * gamma(n, dtype)
    spread = net.spread[i]
    if spread is absolute:
        r = absolute.linear(*(f.r * (1 + g) + g * (f.span + xp.abs(f.C[:, -1])) for f in forms))
    else:
        assert spread is not None
        r = spread.linear(*(f.r for f in forms))
        r = r + absolute.linear(*(g * (f.r + f.span + xp.abs(f.C[:, -1])) for f in forms))
    r = r + n * tiny(dtype)
    magnitude = absolute.bias()
    if magnitude is not None:
        r = r + g * magnitude
    return Form(C, r, xp.abs(C[:, :-1]).sum(1))


def concretize(form: Form, dtype: str) -> tuple[Array, Array]:
    """Lower and upper bounds `[B, *shape]`, rounded outward."""
    c, xp = form.C[:, -1], namespace(form.C)
    width = form.span + form.r
    width = width + gamma(form.C.shape[1] + 4, dtype) * (width + xp.abs(c))
    return c - width, c + width


def through_lines(form: Form, f: Lines, dtype: str) -> Form:
    """The form of a nonlinear node from that of its input, with the slope of the upper line on both sides.

    Sound because: `s z + t_l <= f(z) <= s z + t_u`.  (For rectifiers s is the chord's slope, which lies in the range
    of lower slopes, and `t_l = 0`.)
    """
    s, half = f.s_u, 0.5 * f.t_u
    xp, u, middle = namespace(s), unit(dtype), half
    if f.t_l is not None:
        half, middle = 0.5 * (f.t_u - f.t_l), 0.5 * (f.t_u + f.t_l)
        middle = xp.where(xp.isfinite(middle), middle, 0.0)
        half = half + 2 * u * xp.abs(middle)
    C = form.C * s[:, None]
    span, r = form.span * xp.abs(s), form.r * xp.abs(s)
    if s.ndim > f.t_u.ndim:
        size = total(xp.abs(form.C[:, -1]) * xp.abs(s))
        C, span, r = total(C), total(span), total(r)
        r = r + gamma(int(s.shape[-1]) + 2, dtype) * (span + size + r)
    C[:, -1] += middle
    r = r + half
    r = r + 6 * u * (span + xp.abs(C[:, -1]) + r)
    return Form(C, r, span)


def through_interval(form: Form, lower: Array, upper: Array, dtype: str) -> Form:
    """The form of a node that is known to lie between `lower` and `upper` `[B, *shape]`: without symbols."""
    xp, (B, k1) = namespace(lower), form.C.shape[:2]
    middle = 0.5 * lower + 0.5 * upper
    middle = xp.where(xp.isfinite(middle), middle, 0.0)
    r = xp.maximum(upper - middle, middle - lower) * (1 + 2 * unit(dtype)) + tiny(dtype)
    C = xp.broadcast_to((middle * 0)[:, None], (B, k1, *middle.shape[1:])) * 1
    C[:, -1] = middle
    return Form(C, r, middle * 0)
