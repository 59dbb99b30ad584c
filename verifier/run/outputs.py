"""Clauses as outputs of a network."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from verifier.graph.graph import Builder, Graph
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.moves import Concat, Reshape, Take
from verifier.graph.passes.extremes import extremes
from verifier.graph.weights import compact
from verifier.spec.clauses import Clauses

Alternatives = tuple[tuple[int, ...], ...]
"""Of a clause: conjunctions of literals (below L) and of other, earlier clauses (from L on)."""


def with_clauses(
    graph: Graph, c: Clauses, wanted: Sequence[int], kept: Sequence[Alternatives], size: np.ndarray
) -> Graph:
    """The graph with the margins of clauses `wanted` behind its output.

    Clauses of one level are made at once, whatever their widths.
    """
    if not wanted:
        return graph
    L = len(c.d)
    level: dict[int, int] = {}
    todo = list(wanted)
    while todo:  # a clause is made of earlier ones
        k = todo.pop()
        if k not in level:
            level[k] = 0
            todo += [i - L for a in kept[k] for i in a if i >= L]
    for k in sorted(level):
        level[k] = 1 + max((level[i - L] for a in kept[k] for i in a if i >= L), default=-1)
    literals = np.array(sorted({i for k in level for a in kept[k] for i in a if i < L}), np.int64)
    build = Builder()
    build.nodes = list(graph.nodes)
    x, y = graph.inputs[0], graph.outputs[0]
    flat = [build.add(Reshape((graph.nodes[i].size,)), (i,)) for i in (x, y)]
    pool = _literals(build, flat, c, literals, size)
    place = {int(i): at for at, i in enumerate(literals)}
    for now in range(max(level.values()) + 1):
        some = [k for k in sorted(level) if level[k] == now]
        inside = [a for k in some for a in kept[k]]
        index = np.array([place[i] for a in inside for i in a], np.int64)
        largest = extremes(build, pool, starts(inside), index, True, "and")
        least = extremes(build, largest, starts([kept[k] for k in some]), np.arange(len(inside)), False, "or")
        pool = build.add(Concat(0), (pool, least), "clauses")
        for k in some:
            place[L + k] = len(place)
    at = np.array([place[L + k] for k in wanted], np.int64)
    out = build.add(Concat(0), (flat[1], build.add(Take(at, (len(at),)), (pool,), "clauses")), "outputs")
    return build.graph(graph.inputs, (out,))


def starts(parts: Sequence[Any]) -> np.ndarray:
    """Where each part begins when they lie one behind the other, and the end."""
    return np.cumsum([0, *map(len, parts)], dtype=np.int64)


def _literals(build: Builder, flat: list[int], c: Clauses, literals: np.ndarray, size: np.ndarray) -> int:
    """A node with the margins of literals, each times a power of two that brings it near one, rounded down."""
    n = build.nodes[flat[0]].size
    size_of = c.term[literals + 1] - c.term[literals]
    at = np.arange(int(size_of.sum())) - np.repeat(np.cumsum(size_of) - size_of, size_of)
    at = at + np.repeat(c.term[literals], size_of)
    row, column, value = np.repeat(np.arange(len(literals)), size_of), c.column[at], c.value[at]
    begin = np.cumsum(size_of) - size_of
    with np.errstate(over="ignore", invalid="ignore"):
        reach = np.add.reduceat(abs(value) * size[column], begin)
        doubt = np.where(c.inexact[literals], reach * 2.0**-51, 0.0)  # of coefficients that are no doubles
        d = np.where(doubt > 0, np.nextafter(c.d[literals] + doubt, np.inf), c.d[literals])
    scale = _powers(reach + abs(d), np.minimum.reduceat(abs(value), begin), d)
    value, d = value * scale[row], d * scale
    over_inputs = bool((column < n).any())
    column = column if over_inputs else column - n
    width = sum(build.nodes[i].size for i in flat) if over_inputs else build.nodes[flat[1]].size
    x = build.add(Concat(0), flat) if over_inputs else flat[1]
    if len(literals) * width <= 10**7:
        W: Any = np.zeros((len(literals), width))
        W[row, column] = value
        W = compact(W)
    else:
        from scipy.sparse import csr_array  # only here: most questions do without

        W = csr_array((value, (row, column)), shape=(len(literals), width))
    return build.add(Dense(W, -d), (x,), "literals")


def _powers(reach: np.ndarray, least: np.ndarray, d: np.ndarray) -> np.ndarray:
    """Powers of two, about one over `reach`; one wherever numbers would become so small that they are rounded."""
    with np.errstate(all="ignore"):
        power = np.clip(-np.rint(np.log2(reach)), -200, 200)
        scale = np.exp2(np.where(np.isfinite(power), power, 0.0))
        small = np.minimum(least, np.where(d == 0, np.inf, abs(d))) * scale
        exact = np.isfinite(reach * scale) & (small > 1e-290)
    return np.where(exact, scale, 1.0)
