"""An output that is an affine function of a few nonlinear nodes (or inputs), written as a sum of dense layers."""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from verifier.graph.graph import Affine, Builder, Graph, Shape
from verifier.graph.ops.affine import Add, Dense
from verifier.graph.ops.moves import Reshape
from verifier.graph.weights import LAYER, finite

ROWS = 64
"""Outputs larger than this are left alone."""


def collapse_tails(graph: Graph) -> Graph:
    """Collapse the affine operators behind each output where that costs no more."""
    for k in range(len(graph.outputs)):
        graph = _collapse(graph, k) or graph
    return graph


def _collapse(graph: Graph, k: int) -> Graph | None:
    root = graph.outputs[k]
    region = _region(graph, root)
    sources = sorted({j for i in region for j in graph.nodes[i].inputs} - region.keys())
    m = graph.nodes[root].size
    works = [op.work(*graph.shapes_in(i)) for i, op in region.items()]
    if sum(w > 0 for w in works) < 2 or m > ROWS:
        return None
    saved = LAYER * max(0, len(region) - len(sources) - (len(sources) > 1))
    if m * sum(graph.nodes[j].size for j in sources) > sum(works) + saved:
        return None
    signed, bias = _pull(graph, root, region, False)
    sizes, size = _pull(graph, root, region, True)
    terms = sum(op.terms(*graph.shapes_in(i)) + 1 for i, op in region.items())
    layers = []
    for j in sources:
        b, b_size = (bias, size) if j == sources[0] else (None, None)
        layer = Dense(signed[j], b if b is None or b.any() else None)
        more = 1.0 + terms / layer.terms() + 1e-9  # see weights.py
        layers.append(replace(layer, magnitude=Dense(sizes[j] * more, None if b_size is None else b_size * more)))
    if not all(finite(layer) for layer in layers):
        return None
    return _replaced(graph, root, sources, layers)


def _region(graph: Graph, root: int) -> dict[int, Affine]:
    """The affine operators that only `root` depends on, its own among them, by position."""
    users: dict[int, list[int]] = {}
    for i, node in enumerate(graph.nodes):
        for j in node.inputs:
            users.setdefault(j, []).append(i)
    region: dict[int, Affine] = {}
    for i in range(root, -1, -1):
        op = graph.nodes[i].op
        only = i == root or (i not in graph.outputs and i in users and all(u in region for u in users[i]))
        if isinstance(op, Affine) and only:
            region[i] = op
    return region


def _pull(graph: Graph, root: int, region: dict[int, Affine], sizes: bool) -> tuple[dict[int, np.ndarray], np.ndarray]:
    """Matrices `[m, n]` from each source to the root, and the constant; of magnitudes where `sizes`."""
    m, shape = graph.nodes[root].size, graph.nodes[root].shape
    rows: dict[int, np.ndarray] = {root: np.eye(m).reshape(m, *shape)}
    constant = np.zeros(m)
    for i, op in region.items():  # last first
        node, op = graph.nodes[i], op.absolute() if sizes else op
        A, b = rows.pop(i), op.bias()
        if b is not None:
            constant += (A * np.broadcast_to(b, node.shape)).reshape(m, -1).sum(1)
        for j, part in zip(node.inputs, op.adjoint(A, *graph.shapes_in(i)), strict=True):
            rows[j] = rows[j] + part if j in rows else np.array(part)
    return {j: a.reshape(m, -1) for j, a in rows.items()}, constant


def _replaced(graph: Graph, root: int, sources: list[int], layers: list[Dense]) -> Graph:
    """The graph with the root computed from the sources by these layers."""
    b = Builder()
    new: list[int] = []
    shape = graph.nodes[root].shape
    lead: Shape = shape[:-1] if shape and prod(shape[:-1]) == 1 else ()
    for i, node in enumerate(graph.nodes):
        if i != root:
            new.append(b.add(node.op, [new[j] for j in node.inputs], node.name))
            continue
        parts = []
        for j, layer in zip(sources, layers, strict=True):
            flat = (*lead, layer.W.shape[1])
            x = new[j] if graph.nodes[j].shape == flat else b.add(Reshape(flat), [new[j]], node.name)
            parts.append(b.add(layer, [x], node.name))
        y = b.add(Add((1,) * len(parts)), parts, node.name) if len(parts) > 1 else parts[0]
        new.append(y if b.nodes[y].shape == shape else b.add(Reshape(shape), [y], node.name))
    return b.graph([new[i] for i in graph.inputs], [new[i] for i in graph.outputs])
