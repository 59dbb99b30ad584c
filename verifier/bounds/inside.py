"""What types do to numbers on a box: nothing where none leaves its type's range; and what kernels err by."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.bounds.network import prepare
from verifier.bounds.propagate import boxes, propagate
from verifier.graph.graph import Graph, Operator
from verifier.graph.ops.affine import Scale
from verifier.graph.ops.fit import WHOLE, Fit
from verifier.graph.ops.near import Near
from verifier.graph.passes.runner import simplify
from verifier.relax.fit import fits
from verifier.values.arrays import Place

_MOST_SYMBOLS = 100


@np.errstate(all="ignore")  # what overflows is not known to fit
def settled(graph: Graph, lower: np.ndarray, upper: np.ndarray) -> Graph:
    """The network without the `Fit`s through which every number passes unchanged, on a box `[n]`; no `Near` is open.

    Args:
        graph: one input, in double precision on numpy, all operators boundable; lower, upper: they may be infinite.

    Sound because: an operator is left out only if the bounds of what it reads on the box, rounding included, lie in the
    range of the type: then no number is changed.  What a whole type is made of is whole already, so that an end counts
    as the next whole number inside: bounds are rounded outward, and zero must not be taken for what may be below.
    """
    if not any(_open(node.op) for node in graph.nodes):
        return graph
    from verifier.bounds.kernels import known_off  # few networks come to that

    if not (np.isfinite(lower).all() and np.isfinite(upper).all()):
        return known_off(graph, lower, upper, None)
    varying = np.flatnonzero(lower < upper)
    symbols = varying if len(varying) <= _MOST_SYMBOLS else varying[:0]
    box = boxes(lower[None], upper[None], symbols, "float64")
    rough = known_off(graph, lower, upper, None)  # so that something is known of what comes after
    interval = propagate(prepare(rough, Place("numpy", "float64")), box, None, set(), None, 10**6).interval
    nodes = list(graph.nodes)
    for i, node in enumerate(nodes):
        if isinstance(node.op, Fit) and node.op.exact:
            low, high = interval[node.inputs[0]]
            if node.op.kind in WHOLE:
                low, high = np.ceil(low), np.floor(high)
            if fits(node.op, low, high).all():
                nodes[i] = replace(node, op=Scale())
    return simplify(known_off(replace(graph, nodes=tuple(nodes)), lower, upper, interval))


def _open(op: Operator) -> bool:
    return (isinstance(op, Near) and op.off is None) or (isinstance(op, Fit) and op.exact)
