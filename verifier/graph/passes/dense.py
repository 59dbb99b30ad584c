"""Chains of dense layers merged where that lowers the work; moves next to them absorbed."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from verifier.graph.graph import Graph, Node
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.moves import Reshape, Take, Transpose
from verifier.graph.passes.edit import Editor, rewrite
from verifier.graph.weights import LAYER, compact, compose, effort, finite, is_sparse, merge, price

EFFORT = 50_000_000
"""A product of matrices that takes more multiply-adds than this is not tried."""


def absorb_moves(graph: Graph) -> Graph:
    """Turn selections and transpositions next to a Dense into a choice of its rows or columns."""
    return rewrite(graph, _absorb)


def _absorb(e: Editor, node: Node, inputs: tuple[int, ...]) -> int | None:
    op = node.op
    if isinstance(op, (Take, Transpose)):
        return _rows(e, node, inputs[0])
    return _columns(e, node, inputs[0], op) if isinstance(op, Dense) else None


def _index(op: Take | Transpose, shape: tuple[int, ...]) -> np.ndarray:
    if isinstance(op, Take):
        return np.asarray(op.index).reshape(-1)
    return np.arange(prod(shape)).reshape(shape).transpose(op.axes).reshape(-1)


def _rows(e: Editor, node: Node, x: int) -> int | None:
    """A move of the entries of one Dense vector: a choice of rows."""
    index, source = _index(node.op, e.shape(x)), x  # type: ignore[arg-type]
    while isinstance(e.op(source), Reshape) and e.alone(source):
        source = e.inputs(source)[0]
    layer = e.op(source)
    if not isinstance(layer, Dense) or not e.alone(source) or prod(e.shape(source)[:-1]) != 1:
        return None
    if len(index) > len(np.unique(index)):  # rows used twice would be multiplied twice
        return None
    y = e.add(_chosen(layer, index), e.inputs(source), node.name)
    return e.reshape(y, node.shape, node.name)


def _chosen(layer: Dense, index: np.ndarray) -> Dense:
    W = layer.W[np.maximum(index, 0)]
    b = None if layer.b is None else np.where(index < 0, 0.0, layer.b[index])
    if (index < 0).any():
        W = compact(W.multiply((index >= 0)[:, None])) if is_sparse(W) else np.where((index < 0)[:, None], 0.0, W)
    return Dense(W, b, None if layer.magnitude is None else _chosen(layer.magnitude, index))


def _columns(e: Editor, node: Node, x: int, layer: Dense) -> int | None:
    """A Dense of one vector of moved entries: its columns, moved back."""
    source = x
    while isinstance(e.op(source), Reshape):
        source = e.inputs(source)[0]
    move = e.op(source)
    if not isinstance(move, (Take, Transpose)) or prod(node.shape[:-1]) != 1:
        return None
    index, source = _index(move, e.shape(e.inputs(source)[0])), e.inputs(source)[0]
    n, m = prod(e.shape(source)), layer.W.shape[0]
    if m * (n - len(index)) > 4 * LAYER or is_sparse(layer.W):
        return None
    used = index[index >= 0]
    exact = len(used) == len(np.unique(used))

    def moved(second: Dense, _: Dense) -> Dense:
        W = np.zeros((n, m))
        np.add.at(W, used, second.W[:, index >= 0].T)
        return Dense(W.T, second.b)

    merged = moved(layer, layer) if exact and layer.magnitude is None else merge(moved, layer, layer, len(index), exact)
    y = e.reshape(source, (*node.shape[:-1], n), node.name)
    return e.add(merged, (y,), node.name)


def merge_dense(graph: Graph) -> Graph:
    """Replace each chain of Dense layers (with reshapes between them) by the products that cost least."""
    return rewrite(graph, _Chains())


@dataclass(frozen=True)
class _Chain:
    """Dense layers one after the other, and products of neighbours found so far (by first and last plus one)."""

    start: int
    layers: tuple[Dense, ...]
    joined: dict[tuple[int, int], Dense | None]


class _Chains:
    """Collects chains as the graph is rebuilt; at each Dense the best form of the chain that ends there."""

    def __init__(self) -> None:
        self.chains: dict[int, _Chain] = {}  # by the position of the last layer

    def __call__(self, e: Editor, node: Node, inputs: tuple[int, ...]) -> int | None:
        layer, x = node.op, inputs[0]
        if not isinstance(layer, Dense):
            return None
        chain = self._earlier(e, x)
        chain = _Chain(chain.start, (*chain.layers, layer), chain.joined)
        lead, y = e.shape(x)[:-1], chain.start
        for part in _best(chain):
            y = e.reshape(y, (*lead, part.W.shape[1]), node.name)
            y = e.add(part, (y,), node.name)
        self.chains[y] = chain
        return y

    def _earlier(self, e: Editor, x: int) -> _Chain:
        """The chain that a layer at `x` continues, empty if it starts one."""
        source = x
        while isinstance(e.op(source), Reshape) and e.alone(source):
            source = e.inputs(source)[0]
        same_rows = e.shape(source)[-1:] == e.shape(x)[-1:]  # leading axes may change, rows not
        if source in self.chains and e.alone(source) and same_rows:
            return self.chains[source]
        return _Chain(x, (), {})


def _best(chain: _Chain) -> tuple[Dense, ...]:
    """The way to multiply neighbours in a chain that makes it cheapest."""
    n, joined = len(chain.layers), chain.joined
    joined[n - 1, n] = chain.layers[-1]
    for i in reversed(range(n - 1)):
        joined[i, n] = _join(joined, i, n)
    best: list[tuple[int, tuple[Dense, ...]]] = [(0, ())]
    for j in range(1, n + 1):
        ways = [(best[i][0] + price(part.W), (*best[i][1], part)) for i in range(j) if (part := joined[i, j])]
        best.append(min(ways, key=lambda way: way[0]))
    return best[n][1]


def _join(joined: dict[tuple[int, int], Dense | None], i: int, j: int) -> Dense | None:
    """Layers i to j − 1 as one, whichever way takes less effort; None if that is too much."""
    pairs = [(joined[k, j], joined[i, k]) for k in range(i + 1, j)]
    possible = [(effort(b.W, a.W), b, a) for b, a in pairs if a is not None and b is not None]
    if not possible:
        return None
    cost, second, first = min(possible, key=lambda p: p[0])
    if cost > EFFORT:
        return None
    merged = compose(second, first)
    return merged if finite(merged) else None
