"""Which entries of a network's values some row depends on: nothing else needs to be known."""

from __future__ import annotations

import numpy as np

from verifier.bounds.network import Network
from verifier.graph.graph import Affine
from verifier.graph.ops.product import Share
from verifier.relax import table
from verifier.values import sparse
from verifier.values.arrays import Array


def cone(net: Network, start: dict[int, Array]) -> dict[int, Array]:
    """Node -> `[1, *shape]` boolean: the entries that rows `start` (node -> `[L, size]`) reach.

    A node that no row reaches is missing.  By structure alone: a weight that is not zero is a dependence, whatever
    cancels, and every entry of a nonlinear operator's result depends on all that it reads.  (`net` is in double
    precision: in another type a weight might have become zero.)
    """
    xp, nodes = net.place.xp, net.graph.nodes
    reached = {
        i: (abs(sparse.dense(A)).sum(0) > 0).reshape(1, *nodes[i].shape) for i, A in start.items()
    }  # rows may hold zeros throughout
    for i in range(max(reached, default=-1), -1, -1):
        if i not in reached or i == net.input:
            continue
        node, mask = nodes[i], reached[i]
        one = xp.where(mask, 1.0, 0.0)
        if isinstance(node.op, Affine):
            size = net.absolute[i]
            assert size is not None
            parts = size.adjoint(net.place.array(one, net.place.dtype), *net.graph.shapes_in(i))
        elif isinstance(node.op, Share):
            parts = (one.sum(-1)[..., None] + one * 0,)
        elif table.width(node.op) > 1:
            shape = nodes[node.inputs[0]].shape
            parts = (xp.broadcast_to(one[..., None], (1, *shape)),)
        else:
            parts = (one,)
        for j, part in zip(node.inputs, parts, strict=True):
            here = sparse.dense(part).reshape(1, *nodes[j].shape) > 0
            reached[j] = reached[j] | here if j in reached else here
    return reached


def wanted(net: Network, reached: dict[int, Array]) -> dict[int, Array]:
    """Source -> which of its entries are reached, for those sources of which not all are."""
    masks = {}
    for j in net.sources:
        mask = reached.get(j)
        if mask is None:
            masks[j] = net.place.array(np.zeros((1, *net.graph.nodes[j].shape), bool))
        elif not bool(mask.all()):
            masks[j] = mask
    return masks
