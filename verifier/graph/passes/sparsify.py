"""Large matrices that are mostly zero, kept as scipy matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from verifier.graph.graph import Graph, Node
from verifier.graph.ops.affine import Dense
from verifier.graph.passes.edit import Editor, Rule, rewrite
from verifier.graph.weights import compact, is_sparse

Form = Callable[[Any], Any]

SMALL, THICK = 300, 0.4
"""Entries from which, and share of non-zeros up to which, a matrix is compressed once a large one of the network is."""


def sparsify(graph: Graph) -> Graph:
    """Store the weights of each Dense in the cheaper of the two forms.

    Where one is stored compressed, smaller and thicker ones are, too: rows walked back from a late layer stay
    compressed only as long as every layer on their way is.
    """
    graph = rewrite(graph, _rule(compact))
    if any(isinstance(n.op, Dense) and is_sparse(n.op.W) for n in graph.nodes):
        graph = rewrite(graph, _rule(lambda W: compact(W, SMALL, THICK)))
    return graph


def _rule(form: Form) -> Rule:
    def rule(e: Editor, node: Node, inputs: tuple[int, ...]) -> int | None:
        return e.add(_stored(node.op, form), inputs, node.name) if isinstance(node.op, Dense) else None

    return rule


def _stored(layer: Dense, form: Form) -> Dense:
    """The layer with weights and their magnitudes in another form."""
    magnitude = None if layer.magnitude is None else _stored(layer.magnitude, form)
    return replace(layer, W=form(layer.W), magnitude=magnitude)
