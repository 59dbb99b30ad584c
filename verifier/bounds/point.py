"""Interval arithmetic at single points: what real arithmetic gives there, enclosed."""

from __future__ import annotations

import numpy as np

from verifier.bounds.network import Network
from verifier.graph.graph import Affine, Input
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.relax import table
from verifier.values.arrays import Array
from verifier.values.rounding import gamma, tiny

_FEW = 10_000
"""Entries of a node up to which whole numbers are looked for, which sums do not round: classes, counts, places."""
Ball = tuple[np.ndarray, np.ndarray]


@np.errstate(all="ignore")  # what overflows has infinite bounds
def at_points(net: Network, x: np.ndarray) -> Ball:
    """Lower and upper bounds `[P, m]` of the outputs at points `[P, n]`; infinite where nothing is known.

    Each value is kept as a number and how far it may be off: a fifth of what linear bounds take.

    Args:
        net: in double precision on numpy.

    Sound because: an affine operator moves a deviation by at most its absolute operator, and errs by gamma times the
    sum of magnitudes (`values.rounding`); of a nonlinear one the image of the interval is taken.
    Whole numbers below 2^52 are added and multiplied without rounding.
    """
    graph = net.graph
    last = {j: i for i, node in enumerate(graph.nodes) for j in node.inputs}
    known: dict[int, Ball] = {}
    for i, node in enumerate(graph.nodes):
        if isinstance(node.op, Input):
            value = x.reshape(len(x), *node.shape)
            known[i] = value, np.zeros(value.shape)
        elif isinstance(node.op, Affine):
            known[i] = _affine(net, i, [known[j] for j in node.inputs])
        else:
            known[i] = _image(net, i, known[node.inputs[0]])
        for j in set(node.inputs):
            if last[j] == i and j != net.output:
                known.pop(j, None)
    value, off = (a.reshape(len(x), -1) for a in known[net.output])
    lower, upper = np.nextafter(value - off, -np.inf), np.nextafter(value + off, np.inf)
    return np.where(np.isfinite(lower), lower, -np.inf), np.where(np.isfinite(upper), upper, np.inf)


def _affine(net: Network, i: int, given: list[Ball]) -> Ball:
    op, absolute = net.graph.nodes[i].op, net.absolute[i]
    assert isinstance(op, Affine) and absolute is not None
    value = op.evaluate(*(v for v, _ in given))
    if op.exact:
        return value, absolute.linear(*(e for _, e in given))
    terms = op.terms(*net.graph.shapes_in(i)) + 4
    g, bias = gamma(terms, "float64"), absolute.bias()
    off = absolute.linear(*(e * (1 + 4 * g) + 1.01 * g * np.abs(v) for v, e in given)) + terms * tiny("float64")
    off = off if bias is None else off + 1.01 * g * bias
    if net.graph.nodes[i].size <= _FEW and _whole(op):
        broken = absolute.linear(*(e + np.abs(v - np.rint(v)) for v, e in given))
        size = absolute.evaluate(*(np.abs(v) for v, _ in given))
        off = np.where((broken == 0) & (size < 2.0**52), 0.0, off)
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


def _image(net: Network, i: int, given: Ball) -> Ball:
    op, (value, off) = net.graph.nodes[i].op, given
    if isinstance(op, Relu) and op.leak == 0.0:  # it moves nothing further apart
        return np.maximum(value, 0.0), np.where(value + off <= 0, 0.0, off)
    l, u = np.nextafter(value - off, -np.inf), np.nextafter(value + off, np.inf)
    l, u = np.where(off > 0, l, value), np.where(off > 0, u, value)
    low, high = (np.asarray(a) for a in table.image(op, l, u))
    if isinstance(op, Step):  # its values are whole numbers
        low, high = np.ceil(low), np.floor(high)
    middle = low * 0.5 + high * 0.5
    wide = np.maximum(high - middle, middle - low)
    wide = np.where(wide > 0, wide * (1 + 2.0**-50) + tiny("float64"), 0.0)
    if i in net.fragile:  # there may be no value: nothing is said
        wide = np.where(l < net.fragile[i], np.inf, wide)
    return middle, np.where(np.isfinite(middle) & (wide == wide), wide, np.inf)
