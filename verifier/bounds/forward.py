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
from verifier.relax.relu import Lines
from verifier.values.arrays import Array, namespace
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
    C[:, xp.arange(k), symbols] = radius[:, symbols]
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
    r = absolute.linear(*(f.r * (1 + g) + g * (f.span + xp.abs(f.C[:, -1])) for f in forms)) + n * tiny(dtype)
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
    """The form of a convex activation from that of its input, with the slope of the upper line on both sides.

    Sound because: `s z <= act(z) <= s z + t` with s the chord's slope, which lies in the range of lower slopes.
    """
    s, half = f.s_u, 0.5 * f.t_u
    xp, u = namespace(s), unit(dtype)
    C = form.C * s[:, None]
    C[:, -1] += half
    span = form.span * xp.abs(s)
    r = form.r * xp.abs(s) + half
    r = r + 6 * u * (span + xp.abs(C[:, -1]) + r)
    return Form(C, r, span)
