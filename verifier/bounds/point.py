"""Interval arithmetic at single points: what real arithmetic gives there, enclosed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifier.bounds.network import fragile
from verifier.graph.graph import Affine, Graph, Input
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.product import Product
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.relax import table
from verifier.values.arrays import Array
from verifier.values.errors import ModelError
from verifier.values.rounding import gamma, tiny

_FEW = 10_000
"""Entries of a node up to which whole numbers are looked for, which sums do not round: classes, counts, places."""
Ball = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Pointwise:
    """A graph ready for `at_points`.

    Attributes:
        graph: one input, one output, in double precision on numpy; maxima may be left as they are.
        absolute: for each node `x -> |W| x + |b|`, or None.
        fragile: as in `Network`.
    """

    graph: Graph
    absolute: tuple[Affine | None, ...]
    fragile: dict[int, tuple[float, float]]

    @staticmethod
    def of(graph: Graph) -> Pointwise:
        """The graph made ready.

        Raises:
            ModelError: an operator has no bounds; the message names the node.
        """
        for node in graph.nodes:
            if not (isinstance(node.op, (Affine, Input, MaxOf)) or table.relaxable(node.op)):
                raise ModelError(f"node {node.name} ({type(node.op).__name__.lower()}): its values cannot be bounded")
        absolute = tuple(node.op.absolute() if isinstance(node.op, Affine) else None for node in graph.nodes)
        return Pointwise(graph, absolute, fragile(graph))


@np.errstate(all="ignore")  # what overflows has infinite bounds
def at_points(net: Pointwise, x: np.ndarray, shared: bool = False) -> Ball:
    """Lower and upper bounds `[P, m]` of the outputs at points `[P, n]`; infinite where nothing is known.

    Each value is kept as a number and how far it may be off: a fifth of what linear bounds take.

    Args:
        shared: keep one deviation for all points, the largest: half the work and nearly as tight, unless some point is
            near a jump.

    Sound because: an affine operator moves a deviation by at most its absolute operator, and errs by gamma times the
    sum of magnitudes (`values.rounding`); of a nonlinear one the image of the interval is taken.
    Whole numbers below 2^52 are added and multiplied without rounding.  All this grows with deviations and magnitudes,
    so the largest of all points serve each.
    """
    graph, (output,) = net.graph, net.graph.outputs
    last = {j: i for i, node in enumerate(graph.nodes) for j in node.inputs}
    known: dict[int, Ball] = {}
    for i, node in enumerate(graph.nodes):
        if isinstance(node.op, Input):
            value = x.reshape(len(x), *node.shape)
            known[i] = value, np.zeros(value[:1].shape if shared else value.shape)
        elif isinstance(node.op, Affine):
            known[i] = _affine(net, i, [known[j] for j in node.inputs], shared)
        else:
            known[i] = _image(net, i, known[node.inputs[0]], shared)
        for j in set(node.inputs):
            if last[j] == i and j != output:
                known.pop(j, None)
    value, off = (a.reshape(len(a), -1) for a in known[output])
    lower, upper = np.nextafter(value - off, -np.inf), np.nextafter(value + off, np.inf)
    return np.where(np.isfinite(lower), lower, -np.inf), np.where(np.isfinite(upper), upper, np.inf)


def _largest(a: np.ndarray, shared: bool) -> np.ndarray:
    """Of all points `[1, ...]`, where that is asked for."""
    return a.max(0, keepdims=True) if shared else a


def _affine(net: Pointwise, i: int, given: list[Ball], shared: bool) -> Ball:
    op, absolute = net.graph.nodes[i].op, net.absolute[i]
    assert isinstance(op, Affine) and absolute is not None
    value = op.evaluate(*(v for v, _ in given))
    if op.exact:
        return value, absolute.linear(*(e for _, e in given))
    terms = op.terms(*net.graph.shapes_in(i)) + 4
    g, bias = gamma(terms, "float64"), absolute.bias()
    size = [_largest(np.abs(v), shared) for v, _ in given]
    off = absolute.linear(*(e * (1 + 4 * g) + 1.01 * g * m for m, (_, e) in zip(size, given, strict=True)))
    off = off + terms * tiny("float64")
    off = off if bias is None else off + 1.01 * g * bias
    if net.graph.nodes[i].size <= _FEW and _whole(op):
        broken = absolute.linear(*(e + _largest(np.abs(v - np.rint(v)), shared) for v, e in given))
        off = np.where((broken == 0) & (absolute.evaluate(*size) < 2.0**52), 0.0, off)
    return value, off


def _whole(op: Affine) -> bool:
    """Whether all its parameters are whole numbers."""
    found: list[bool] = []

    def note(a: Array) -> Array:
        numbers = np.asarray(a.data if hasattr(a, "tocsr") else a)
        found.append(bool((numbers == np.rint(numbers)).all()))
        return a

    op.cast(note)
    return all(found)


def _image(net: Pointwise, i: int, given: Ball, shared: bool) -> Ball:
    op, (value, off) = net.graph.nodes[i].op, given
    if isinstance(op, Relu) and op.leak == 0.0:  # it moves nothing further apart
        return np.maximum(value, 0.0), np.where(_largest(value, shared) + off <= 0, 0.0, off)
    if isinstance(op, MaxOf):  # neither does this; what is not a number stays none
        return op.evaluate(value), op.evaluate(off)
    if isinstance(op, Product):
        return _product(value, off, shared)
    l, u = np.nextafter(value - off, -np.inf), np.nextafter(value + off, np.inf)
    l, u = np.where(off > 0, l, value), np.where(off > 0, u, value)
    low, high = (np.asarray(a) for a in table.image(op, l, u))
    if isinstance(op, Step) and op.whole:
        low, high = np.ceil(low), np.floor(high)
    middle = low * 0.5 + high * 0.5
    wide = np.maximum(high - middle, middle - low)
    wide = np.where(wide > 0, wide * (1 + 2.0**-50) + tiny("float64"), 0.0)
    if i in net.fragile:  # there may be no value: nothing is said
        start, end = net.fragile[i]
        wide = np.where((l < start) | (u > end), np.inf, wide)
    return middle, _largest(np.where(np.isfinite(middle) & (wide == wide), wide, np.inf), shared)


def _product(value: np.ndarray, off: np.ndarray, shared: bool) -> Ball:
    """`(a + α)(b + β)` is off `ab` by at most `|a|β + |b|α + αβ`; what is not whole is rounded, and may underflow."""
    a, b = value[..., 0], value[..., 1]
    alpha, beta = off[..., 0], off[..., 1]
    ma, mb = (_largest(np.abs(v), shared) for v in (a, b))
    whole = (_largest((a != np.rint(a)) | (b != np.rint(b)), shared) == 0) & (ma * mb < 2.0**52)
    parts = [(ma, beta), (mb, alpha), (alpha, beta)]
    if not whole.all():
        parts.append((np.where(whole, 0.0, ma * 2.0**-52), mb))
    total = np.zeros(np.broadcast_shapes(ma.shape, alpha.shape))
    for x, y in parts:  # nothing times infinity is nothing
        total = total + np.where((x > 0) & (y > 0), x * y * (1 + 2.0**-50) + tiny("float64"), 0.0)
    return a * b, np.where(np.isfinite(ma + mb), total * (1 + 2.0**-50), np.inf)
