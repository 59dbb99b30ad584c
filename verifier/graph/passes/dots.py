"""Sums of products of activations as inner products: one unit for a sum, not one for every product."""

from __future__ import annotations

from dataclasses import replace

from verifier.graph.graph import Graph, Node
from verifier.graph.ops.affine import Sum
from verifier.graph.ops.moves import Concat, Reshape, Take
from verifier.graph.ops.product import Dot, Product
from verifier.graph.passes.edit import Editor, rewrite


def dots(graph: Graph) -> Graph:
    """Every sum over the last axis of products that nobody else needs."""
    return rewrite(graph, _rule)


def _rule(edit: Editor, node: Node, inputs: tuple[int, ...]) -> int | None:
    if not isinstance(node.op, Sum):
        return None
    product = inputs[0]
    if not isinstance(edit.op(product), Product) or not edit.alone(product):
        return None
    shape, pair = edit.shape(product), edit.inputs(product)[0]
    if node.op.axes != (len(shape) - 1,) or not isinstance(edit.op(pair), Concat) or not edit.alone(pair):
        return None
    factors = edit.inputs(pair)
    if [edit.shape(j) for j in factors] != [(*shape, 1)] * 2:
        return None
    sides = tuple(_flat(edit, j, shape, node.name) for j in factors)
    y = edit.add(Dot(), (edit.add(Concat(len(shape) - 1), sides, node.name),), node.name)
    return edit.reshape(y, node.shape, node.name)


def _flat(edit: Editor, j: int, shape: tuple[int, ...], name: str) -> int:
    """A factor without its last axis of one entry."""
    op = edit.op(j)
    if isinstance(op, Take):
        return edit.add(replace(op, size=shape), edit.inputs(j), name)
    return edit.add(Reshape(shape), (j,), name)
