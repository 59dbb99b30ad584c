"""Maxima over windows as rectifiers, so that everything that bounds rectifiers bounds them too."""

from __future__ import annotations

import numpy as np

from verifier.graph.graph import Graph, Node
from verifier.graph.ops.affine import Add
from verifier.graph.ops.moves import Concat, Reshape, Take
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.relu import Relu
from verifier.graph.passes.edit import Editor, rewrite


def maxima_to_relu(graph: Graph) -> Graph:
    """Every `MaxOf` as a tournament of `max(a, b) = b + relu(a − b)`, one round a halving of the window."""
    return rewrite(graph, _rule)


def _rule(edit: Editor, node: Node, inputs: tuple[int, ...]) -> int | None:
    if not isinstance(node.op, MaxOf):
        return None
    windows = np.asarray(node.op.windows)
    N, w = windows.shape
    x, index = inputs[0], windows.T  # index[k, p]: where player k of window p stands in the flattened x
    while w > 1:
        h = w // 2
        left = edit.add(Take(index[:h].reshape(-1).copy(), (h * N,)), (x,), node.name)
        right = edit.add(Take(index[h : 2 * h].reshape(-1).copy(), (h * N,)), (x,), node.name)
        lead = edit.add(Relu(), (edit.add(Add((1, -1)), (left, right), node.name),), node.name)
        winners = edit.add(Add((1, 1)), (right, lead), node.name)
        if w % 2:  # the odd one out goes to the next round unplayed
            odd = edit.add(Take(index[2 * h :].reshape(-1).copy(), (N,)), (x,), node.name)
            winners = edit.add(Concat(0), (winners, odd), node.name)
        x, w = winners, h + w % 2
        index = np.arange(w * N).reshape(w, N)
    last = edit.add(Take(index[0].copy(), (N,)), (x,), node.name)
    return edit.add(Reshape(node.shape), (last,), node.name)
