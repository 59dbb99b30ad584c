"""A network's derivative as a network: the Clarke Jacobian by the chain rule.

Source: Shi et al., *Efficiently Computing Local Lipschitz Constants via Bound Propagation*, 2022.  What pulls rows back
through a network is a graph like any other, next to the network that it shares its values with, so that whatever
bounds, folds and splits graphs serves it.
"""

from __future__ import annotations

import numpy as np

from verifier.graph.chain import Chain, Known, Rows
from verifier.graph.graph import Graph
from verifier.graph.passes.maxima import maxima_to_relu


def jacobian(graph: Graph, rows: np.ndarray | None = None) -> Graph:
    """`(K, n)`: the derivative of each of K linear functions `rows` `[K, m]` of the outputs by each of the n inputs.

    See `vjp`.  All m outputs without rows.
    """
    return vjp(graph, np.eye(graph.nodes[graph.outputs[0]].size) if rows is None else rows)


def vjp(graph: Graph, rows: np.ndarray) -> Graph:
    """Rows `[K, m]` times the Jacobian, `(K, n)`, in reverse: what is computed at a node is `(K, *shape)`.

    Args:
        graph: of one input (n entries) and one output (m entries), on numpy in double precision.
        rows: in double precision.

    Where the network is differentiable it is the Jacobian; elsewhere what the chain rule makes of derivatives that
    rectifiers have to either side.  What bounds of the graph mean there is said in `relax.gate`.

    Raises:
        ModelError: some operator that the rows depend on has no derivative.
    """
    graph = maxima_to_relu(graph)
    nodes, (out,), (x,) = graph.nodes, graph.outputs, graph.inputs
    rows = np.asarray(rows, np.float64)
    t = Chain(graph, len(rows))
    start = rows.reshape(len(rows), *nodes[out].shape)
    return t.finish(pull(t, Known(start, abs(start)), x), nodes[x].shape)


def jvp(graph: Graph, directions: np.ndarray) -> Graph:
    """The Jacobian times directions `[D, n]`: how the outputs move along them, `(D, m)`; else as `vjp`."""
    graph = maxima_to_relu(graph)
    nodes, (out,), (x,) = graph.nodes, graph.outputs, graph.inputs
    directions = np.asarray(directions, np.float64)
    t = Chain(graph, len(directions))
    start = directions.reshape(len(directions), *nodes[x].shape)
    return t.finish(push(t, Known(start, abs(start)), x), nodes[out].shape)


def pull(t: Chain, g: Rows, x: int) -> Rows:
    """Rows g over the output of `t.graph` pulled back to node x, before which nothing depends on it."""
    nodes, (out,) = t.graph.nodes, t.graph.outputs
    parts: dict[int, list[Rows]] = {out: [g]}
    for i in range(out, x, -1):
        if i not in parts:
            continue
        g = t.sum(parts.pop(i))
        if isinstance(g, Known) and not g.value.any():
            continue
        for j, part in zip(nodes[i].inputs, nodes[i].op.vjp(t, g, i), strict=True):
            if part is not None:
                parts.setdefault(j, []).append(part)
    zero = np.zeros((t.K, *nodes[x].shape))
    return t.sum(parts.get(x) or [Known(zero, zero)])


def push(t: Chain, dx: Rows, x: int) -> Rows:
    """How the output of `t.graph` moves where node x does by dx, and no other that does not depend on it."""
    nodes, (out,) = t.graph.nodes, t.graph.outputs
    moves, needed = {x: dx}, _needed(t.graph)
    for i, node in enumerate(nodes):
        if i == x or i not in needed:
            continue
        zero = np.zeros((t.K, *node.shape))
        inputs = tuple(moves[j] for j in node.inputs)
        still = all(isinstance(g, Known) and not g.value.any() for g in inputs)
        moves[i] = Known(zero, zero) if still else node.op.jvp(t, inputs, i)
    return moves[out]


def _needed(graph: Graph) -> set[int]:
    """The nodes that the outputs depend on."""
    needed = set(graph.outputs)
    for i in range(len(graph.nodes) - 1, -1, -1):
        if i in needed:
            needed.update(graph.nodes[i].inputs)
    return needed
