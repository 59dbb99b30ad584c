"""Functions that jump, on sets where they do not."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.bounds.inside import settled
from verifier.bounds.network import prepare
from verifier.bounds.propagate import Bounds, boxes, propagate
from verifier.graph.graph import Graph
from verifier.graph.ops.adjoint import Constant
from verifier.graph.ops.steps import Step
from verifier.graph.passes.maxima import maxima_to_relu
from verifier.search.query import MOST_SYMBOLS
from verifier.values.arrays import Place
from verifier.values.box import Box

CHUNK = 500_000
"""Numbers in one block of rows."""


@np.errstate(all="ignore")
def intervals(graph: Graph, box: Box) -> Bounds:
    """Bounds of everything that nonlinear operators of a network read and make, on one box, in double precision."""
    varying = np.flatnonzero(box.lower < box.upper)
    symbols = varying if len(varying) <= MOST_SYMBOLS else varying[:0]
    b = boxes(box.lower[None], box.upper[None], symbols, "float64")
    return propagate(prepare(graph, Place("numpy", "float64")), b, None, set(), {}, CHUNK)


def still(graph: Graph, box: Box) -> Graph:
    """The network with constants in the place of steps that do not jump anywhere on a box, and settled there.

    Sound because: where the interval of a step's values holds one value that the step can take, it takes that on the
    whole box.  (Values are whole numbers; the interval's ends are rounded outward.)
    """
    graph = settled(graph, box.lower, box.upper)
    if not any(isinstance(node.op, Step) for node in graph.nodes):
        return graph
    graph = maxima_to_relu(graph)
    image = intervals(graph, box).image
    nodes = list(graph.nodes)
    for i, node in enumerate(nodes):
        if isinstance(node.op, Step) and node.op.whole:
            low, high = image[i][0][0], image[i][1][0]
            if (high - low < 0.5).all() and (abs(high) < 1e9).all():
                nodes[i] = replace(node, op=Constant(np.rint(0.5 * low + 0.5 * high)))
    return replace(graph, nodes=tuple(nodes))
