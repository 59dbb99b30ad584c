"""Inner products of two activations, walked back as the matrix products they are.

`MatMul` of two activations is, in the graph, a gather of both factors and an inner product an entry.  A row walked back
through it would be spread over every product.  But where lower and upper planes of each product have one slope, the
centres of the other factor (McCormick's planes in the middle), rows over the factors are products of matrices: for
`z[g, m, n] = Σ_k x[g, m, k]·y[g, n, k]` and rows A over z,

    rows over x = A·Y,   rows over y = Aᵀ·X,   with X, Y the slopes.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TypeGuard

import numpy as np

from verifier.graph.graph import Graph
from verifier.graph.ops.moves import Concat, Take
from verifier.graph.ops.product import Dot
from verifier.relax.lines import Lines
from verifier.values.arrays import Array, namespace, to_numpy


@dataclass(frozen=True, eq=False)
class Attention:
    """Inner products of all pairs of rows of two matrices (or of several pairs of matrices).

    Attributes:
        left, right: nodes that the factors are taken from.
        x, y: `[G, m, k]`, `[G, n, k]` on the host: which entries of them.
        shape: `(G, m, n, k)`.
    """

    left: int
    right: int
    x: np.ndarray
    y: np.ndarray
    shape: tuple[int, int, int, int]


def attentions(graph: Graph) -> dict[int, Attention]:
    """Those in a graph, by the node that multiplies."""
    uses = [0] * len(graph.nodes)
    for j in (*graph.outputs, *(j for n in graph.nodes for j in n.inputs)):
        uses[j] += 1
    found = {}
    for i, node in enumerate(graph.nodes):
        one = _attention(graph, i, uses) if isinstance(node.op, Dot) else None
        if one is not None:
            found[i] = one
    return found


def _attention(graph: Graph, i: int, uses: list[int]) -> Attention | None:
    """What node `i` multiplies, if it is all pairs of rows, gathered for this alone."""
    nodes, joined = graph.nodes, graph.nodes[i].inputs[0]
    pair = nodes[joined].inputs
    if not isinstance(nodes[joined].op, Concat) or len(pair) != 2 or len(nodes[i].shape) < 2:
        return None
    if any(uses[j] > 1 for j in (joined, *pair)) or not all(isinstance(nodes[j].op, Take) for j in pair):
        return None
    m, n, k = nodes[pair[0]].shape[-3:]
    size = (prod(nodes[i].shape[:-2]), m, n, k)
    x, y = (to_numpy(nodes[j].op.index).reshape(size) for j in pair)  # type: ignore[attr-defined]
    if (x != x[:, :, :1]).any() or (y != y[:, :1]).any() or min(x.min(), y.min()) < 0:
        return None
    x, y = x[:, :, 0], y[:, 0]
    if any(len(np.unique(a)) < a.size for a in (x, y)):
        return None
    return Attention(nodes[pair[0]].inputs[0], nodes[pair[1]].inputs[0], x, y, size)


def walk(a: Attention, A: Array, f: Lines, weight: Array, sizes: tuple[int, int]) -> tuple[Array, Array, Array, Array]:
    """Rows `[P, …]` over both factors' nodes, what the intercepts add, and what multiplying rounds.

    Args:
        A: `[P, …]` rows over the sums.
        f: planes on one domain, of one slope.
        weight: `[size]` rounding weights.
        sizes: how many entries the factors' nodes have.

    Sound because: it is what the walk through products and gathers computes, summed in another order; the weights allow
    for sums as long as the node is large.
    """
    xp, (G, m, n, k) = namespace(A), a.shape
    P = A.shape[0]
    assert f.t_l is not None
    s = f.s_l.reshape(G, m, n, 2 * k)
    Y, X = s[:, 0, :, :k], s[:, :, 0, k:]  # slopes over x are the centres of y, the same for all m
    A = A.reshape(P, G, m, n)
    low, up = f.t_l.reshape(-1), f.t_u.reshape(-1)
    flat = A.reshape(P, -1)
    shift = xp.maximum(flat, 0.0) @ low + xp.minimum(flat, 0.0) @ up
    error = xp.abs(flat) @ weight
    by_group = xp.transpose(A, (1, 0, 2, 3))
    over_x = (by_group.reshape(G, P * m, n) @ Y).reshape(G, P, m * k)
    over_y = (xp.transpose(A, (1, 0, 3, 2)).reshape(G, P * n, m) @ X).reshape(G, P, n * k)
    parts = []
    for rows, index, size in ((over_x, a.x, sizes[0]), (over_y, a.y, sizes[1])):
        flat = xp.transpose(rows, (1, 0, 2)).reshape(P, -1)
        out = xp.broadcast_to(flat[:, :1] * 0, (P, size)) * 1
        out[:, index.reshape(-1)] = flat
        parts.append(out)
    return parts[0], parts[1], shift, error


def one_slope(f: object) -> TypeGuard[Lines]:
    """Whether the planes are of one domain and have one slope below and above."""
    return isinstance(f, Lines) and f.s_l is f.s_u and f.t_u.shape[0] == 1
