"""Leaving out a last layer that only keeps the order of the outputs, where only their order is asked about.

Whether a class wins is decided before the softmax: `p_a <= p_b` exactly if `x_a <= x_b`, in exact arithmetic, and the
same goes for any strictly increasing function of every output.  Bounds are tighter and gradients larger without it.
(Counterexamples are replayed on the original model, as ever.)
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.graph.graph import Builder, Elementwise, Graph
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Reshape
from verifier.graph.ops.product import Share
from verifier.spec.property import Property

INCREASING = ("sigmoid", "tanh", "atan", "erf", "softsign", "softplus", "exp")
"""Curves that are strictly increasing everywhere."""


def peeled(graph: Graph, prop: Property) -> Graph:
    """The graph without what does not change which literals hold."""
    if not _only_order(prop):
        return graph
    (at,) = graph.outputs
    size = graph.nodes[at].shape
    while (inner := _inner(graph, at)) is not None:
        at = inner
    if at == graph.outputs[0]:
        return graph
    cut = replace(graph, outputs=(at,))
    if graph.nodes[at].shape == size:
        return _trimmed(cut, None)
    return _trimmed(cut, Reshape(size))


def _only_order(prop: Property) -> bool:
    """Whether every literal compares two outputs, and nothing else."""
    if prop.monomials or prop.A_x is not None or prop.d.any() or prop.inner_d.any():
        return False
    if prop.clauses is not None and not prop.clauses.only_order(prop.n_inputs):
        return False
    used = (prop.A_y != 0).sum(1)
    some = bool(len(prop.d)) or prop.clauses is not None
    return bool(some and (used == 2).all() and (prop.A_y.sum(1) == 0).all() and np.isfinite(prop.A_y).all())


def _inner(graph: Graph, i: int) -> int | None:
    """The input of node `i`, if the order of its entries is that of the node's."""
    node = graph.nodes[i]
    alone = isinstance(node.op, Share) and node.shape[-1] == node.size
    rising = isinstance(node.op, Elementwise) and isinstance(node.op, Curve) and node.op.kind in INCREASING
    if not (alone or rising or isinstance(node.op, Reshape)):
        return None
    if isinstance(node.op, Reshape) and _inner(graph, node.inputs[0]) is None:
        return None
    return node.inputs[0]


def _trimmed(graph: Graph, last: Reshape | None) -> Graph:
    """Without nodes that no output needs, and with one more."""
    builder = Builder()
    builder.nodes = list(graph.nodes)
    (out,) = graph.outputs
    if last is not None:
        out = builder.add(last, (out,), "peeled")
    return builder.graph(graph.inputs, (out,))
