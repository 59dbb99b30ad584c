"""Taking out of a network what a type does to numbers, where none of them leaves the type's range."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.bounds.network import prepare
from verifier.bounds.propagate import boxes, propagate
from verifier.graph.graph import Graph
from verifier.graph.ops.affine import Scale
from verifier.graph.ops.fit import Fit, limits
from verifier.graph.passes.runner import simplify
from verifier.values.arrays import Place

_MOST_SYMBOLS = 100


@np.errstate(all="ignore")  # what overflows is not known to fit
def settled(graph: Graph, lower: np.ndarray, upper: np.ndarray) -> Graph:
    """The network without the `Fit`s through which every number passes unchanged, on a box `[n]`.

    Args:
        graph: one input, in double precision on numpy, all operators boundable.

    Sound because: an operator is left out only if the bounds of its values on the box, rounding included, show that it
    does not have the whole range of the type: then everything that it reads lies in that range, and none is changed.
    """
    if not any(isinstance(node.op, Fit) and node.op.exact for node in graph.nodes):
        return graph
    varying = np.flatnonzero(lower < upper)
    symbols = varying if len(varying) <= _MOST_SYMBOLS else varying[:0]
    box = boxes(lower[None], upper[None], symbols, "float64")
    image = propagate(prepare(graph, Place("numpy", "float64")), box, None, set(), None, 10**6).image
    nodes = list(graph.nodes)
    for i, node in enumerate(nodes):
        if isinstance(node.op, Fit) and node.op.exact:
            least, most = (float(v) for v in limits(node.op.kind))
            low, high = image[i]
            if ((low > least) | (high < most)).all() and np.isfinite(low).all() and np.isfinite(high).all():
                nodes[i] = replace(node, op=Scale())
    return simplify(replace(graph, nodes=tuple(nodes)))
