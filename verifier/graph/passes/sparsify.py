"""Large matrices that are mostly zero, kept as scipy matrices."""

from __future__ import annotations

from dataclasses import replace

from verifier.graph.graph import Graph, Node
from verifier.graph.ops.affine import Dense
from verifier.graph.passes.edit import Editor, rewrite
from verifier.graph.weights import compact


def sparsify(graph: Graph) -> Graph:
    """Store the weights of each Dense in the cheaper of the two forms."""
    return rewrite(graph, _rule)


def _rule(e: Editor, node: Node, inputs: tuple[int, ...]) -> int | None:
    return e.add(compacted(node.op), inputs, node.name) if isinstance(node.op, Dense) else None


def compacted(layer: Dense) -> Dense:
    """The layer with weights and their magnitudes in the cheaper form."""
    magnitude = None if layer.magnitude is None else compacted(layer.magnitude)
    return replace(layer, W=compact(layer.W), magnitude=magnitude)
