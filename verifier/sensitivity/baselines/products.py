"""A global Lipschitz constant of any network: norms multiplied along its operators (Szegedy et al. 2014).

Every node is given a constant L with `‖y(x) − y(x')‖_p <= L·‖x − x'‖_p` for all inputs; that of its result follows from
those of its operands.  Loose, as signs and what is active at once count for nothing, but it takes one pass.
"""

from __future__ import annotations

from math import hypot, inf, pi, prod, sqrt

import numpy as np

from verifier.graph.graph import Affine, Elementwise, Graph, Operator, Shape
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Concat
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.product import Share
from verifier.graph.ops.relu import Relu
from verifier.relax.shapes import kinks, pieces
from verifier.search.budget import Budget
from verifier.sensitivity.baselines.spectral import FOREVER, affine_norm_above, ones_at, separate, up
from verifier.values.arrays import Array, Place, to_numpy
from verifier.values.rounding import gamma

ULPS = 16
"""What a computed slope may be off by, in units of rounding of the slope or of 1; see `relax.curves`."""
FAR = 1e6
"""Beyond it slopes are not evaluated, where formulas may overflow."""

_RANGES: dict[str, tuple[float, float]] = {
    "sigmoid": (0.0, 0.25),
    "tanh": (0.0, 1.0),
    "atan": (0.0, 1.0),
    "asinh": (0.0, 1.0),
    "erf": (0.0, float(np.nextafter(2 / sqrt(pi), 2))),
    "softsign": (0.0, 1.0),
    "softplus": (0.0, 1.0),
    "hard_swish": (-0.5, 1.5),
    "sin": (-1.0, 1.0),
    "cos": (-1.0, 1.0),
}
_BUMPS = ("gelu", "gelu_tanh", "silu", "mish")
"""Slopes run from 0 far left to 1 far right, with extremes where the curve's bend changes."""


def product_of_norms(graph: Graph, p: float, budget: Budget = FOREVER) -> float:
    """A constant L with `‖f(x) − f(x')‖_p <= L·‖x − x'‖_p` for all inputs, rounded up; infinity where none is known.

    Several inputs, or outputs, count as one long vector.

    Args:
        p: 1, 2 or infinity.
        budget: where it is used up the constant is infinity; towards its end what takes long is left out.

    Raises:
        ValueError: another norm.
    """
    if p not in (1, 2, inf):
        raise ValueError(f"norm {p} is not supported; use 1, 2 or float('inf')")
    graph = graph.cast(Place("numpy", "float64").array)
    L: list[float] = []
    for i, node in enumerate(graph.nodes):
        if budget.spent():
            return inf
        if i in graph.inputs:
            L.append(1.0)
        else:
            L.append(_constant(node.op, p, tuple(L[j] for j in node.inputs), graph.shapes_in(i), budget))
    return _joined(p, tuple(L[i] for i in graph.outputs))


def _joined(p: float, L: tuple[float, ...]) -> float:
    """Of vectors put side by side."""
    if p == inf:
        return max(L)
    return up(sum(L), len(L)) if p == 1 else up(hypot(*L), len(L) + 4)


def _constant(op: Operator, p: float, L: tuple[float, ...], shapes: tuple[Shape, ...], budget: Budget) -> float:
    """The constant of a node from those of its operands."""
    if not max(L, default=0.0) < inf:
        return inf  # also before a layer of zeros: what is unbounded may have no value
    if isinstance(op, Concat):
        return _joined(p, L)
    if isinstance(op, Affine):
        return _affine(op, p, L, shapes, budget)
    if isinstance(op, Elementwise):
        a, b = (float(v) for v in slope_range(op, -inf, inf))
        return up(L[0] * max(abs(a), abs(b)))
    if isinstance(op, Share):
        return _share(L[0])
    if isinstance(op, MaxOf):
        return _max(op, p, L[0], shapes[0])
    return inf


def _affine(op: Affine, p: float, L: tuple[float, ...], shapes: tuple[Shape, ...], budget: Budget) -> float:
    """`‖Σ_i W_i d_i‖ <= Σ_i ‖W_i‖·L_i`; for p = ∞ row by row, `max_k Σ_i ‖row k of W_i‖₁·L_i`.

    ‖W‖∞ is the largest row sum of |W|, ‖W‖₁ the largest column sum.
    """
    if p == 2:
        parts = [affine_norm_above(op, i, *shapes, budget=budget) * L[i] for i in range(len(L))]
        return up(sum(parts), len(L) + 1)
    plain, record = separate(op)
    terms = op.terms(*shapes) + len(L)
    found = up(_absolute(plain.absolute(), p, L, shapes), terms + 2)
    if record is not None:
        found += up(gamma(terms, "float64") * _absolute(record, p, L, shapes), terms + 3)
    return up(found)


def _absolute(sizes: Affine, p: float, L: tuple[float, ...], shapes: tuple[Shape, ...]) -> float:
    """See `_affine`; of an operator of magnitudes."""
    if p == inf:
        x = [sum(a) for a in zip(*(_scaled(ones_at(i, shapes), c) for i, c in enumerate(L)), strict=True)]
        return float(sizes.linear(*x).max(initial=0.0))
    columns = sizes.adjoint(np.ones((1, *sizes.shape(*shapes))), *shapes)
    return sum(float(a.max(initial=0.0)) * c for a, c in zip(columns, L, strict=True))


def _scaled(x: list[np.ndarray], c: float) -> list[np.ndarray]:
    return [a * c for a in x]


def _share(L: float) -> float:
    """Softmax has the constant 1/2 in every ℓp.

    Its derivative is `J = diag(q) − q·qᵀ` for shares q that sum to 1: row i has the absolute sum `q_i(1 − q_i) +
    q_i·Σ_{j≠i} q_j = 2·q_i(1 − q_i) <= 1/2`.  So ‖J‖∞ <= 1/2; J is symmetric, so ‖J‖₁ = ‖J‖∞, and ‖J‖_p lies below
    both (Riesz, Thorin).  Equality where two shares are 1/2.  Several softmaxes side by side are a block-diagonal J.
    """
    return up(0.5 * L)


def _max(op: MaxOf, p: float, L: float, shape: Shape) -> float:
    """Maxima over windows: `|max_S x − max_S x'| <= max_S |x − x'|`, which is at most the ℓp norm over S.

    Summed over windows, |x_i − x'_i|^p counts as often as entry i is in a window, once in each: `uses^(1/p)`.
    """
    if p == inf:
        return L
    windows = np.sort(to_numpy(op.windows), axis=1)
    new = np.diff(windows, axis=1, prepend=-1) != 0
    uses = int(np.bincount(windows[new], minlength=prod(shape)).max(initial=1))
    return up(L * (uses if p == 1 else sqrt(uses)), 2)


def slope_range(op: Elementwise, lower: Array, upper: Array) -> tuple[np.ndarray, np.ndarray]:
    """Numbers a, b, `[...]` each, with `a <= (f(z) − f(z')) / (z − z') <= b` for `lower <= z' < z <= upper`.

    Infinite where no such numbers are known (jumps, exp, powers, …); ends may be infinite.  Sound because f is the
    integral of its derivative, which is monotone on each of the pieces of `relax.shapes`: its extremes are among its
    values at the ends of the interval and of the pieces inside, from both sides where it jumps.
    """
    lower, upper = np.broadcast_arrays(np.asarray(lower, np.float64), np.asarray(upper, np.float64))
    if isinstance(op, Relu):
        below, above = np.where(lower < 0, op.leak, 1.0), np.where(upper > 0, 1.0, op.leak)
        return np.minimum(below, above), np.maximum(below, above)
    if not isinstance(op, Curve):
        return np.full(lower.shape, -inf), np.full(lower.shape, inf)
    least, most = _everywhere(op)
    a, b = np.full(lower.shape, least), np.full(lower.shape, most)
    if not (np.isfinite(least) and np.isfinite(most)) or op.kind in ("sin", "cos", "power"):
        return a, b
    near = (abs(lower) <= FAR) & (abs(upper) <= FAR)
    l, u = np.where(near, lower, 0.0), np.where(near, upper, 0.0)
    low, high = _hull(op, [l, u])
    for end in {p.end for p in pieces(op, l, u)[:-1]} | set(kinks(op)):
        inside = (l <= end) & (end <= u)
        at = np.float64(end)
        below, above = _hull(op, [at, np.nextafter(at, -inf), np.nextafter(at, inf)])
        low, high = np.where(inside, np.minimum(low, below), low), np.where(inside, np.maximum(high, above), high)
    return np.where(near, np.maximum(low, a), a), np.where(near, np.minimum(high, b), b)


def _hull(f: Curve, points: list[Array]) -> tuple[np.ndarray, np.ndarray]:
    """Least and largest slope at some points, rounded outward."""
    slopes = np.stack([f.slope(z) for z in points])
    slack = ULPS * 2.0**-53 * np.maximum(abs(slopes), 1.0)
    return (slopes - slack).min(0), (slopes + slack).max(0)


def _everywhere(f: Curve) -> tuple[float, float]:
    """The least and the largest slope of a curve on the whole line, or infinities."""
    if f.kind in _RANGES:
        return _RANGES[f.kind]
    if f.kind in _BUMPS:
        ends = [np.float64(p.end) for p in pieces(f, np.float64(-1), np.float64(1))[:-1]]
        low, high = _hull(f, ends)
        return min(0.0, float(low)), max(1.0, float(high))
    if f.kind == "elu" and f.parameters[1] > 0:  # gain above zero, from (a / b)·gain down to nothing below it
        a, b, gain = f.parameters
        slopes = (0.0, gain, up(abs(gain * a / b), 2) * float(np.sign(gain * a)))
        return min(slopes), max(slopes)
    if f.kind == "power" and f.parameters[0] == 1:
        return 1.0, 1.0
    return -inf, inf
