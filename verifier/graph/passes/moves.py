"""Moves tidied up: what does nothing goes, chains merge, reshapes sink below what works entry by entry."""

from __future__ import annotations

from math import prod

import numpy as np

from verifier.graph.graph import Elementwise, Graph, Node, Shape
from verifier.graph.ops.affine import Add, Scale
from verifier.graph.ops.moves import Concat, Reshape, Take, Transpose
from verifier.graph.passes.edit import Editor, rewrite


def tidy_moves(graph: Graph) -> Graph:
    """Drop moves that do nothing, merge chains of them, and let reshapes meet by sinking them."""
    return rewrite(graph, _rule)


def _rule(e: Editor, node: Node, inputs: tuple[int, ...]) -> int | None:
    op, x = node.op, inputs[0]
    if isinstance(op, Reshape):
        return _reshape(e, node, x)
    if isinstance(op, Transpose):
        return _transpose(e, node, x, op)
    if isinstance(op, Take):
        return _take(e, node, x, np.asarray(op.index))
    if isinstance(op, Concat):
        return _concat(e, node, inputs, op)
    if all(isinstance(e.op(j), Reshape) for j in inputs):
        return _sink(e, node, inputs)
    return None


def _reshape(e: Editor, node: Node, x: int) -> int:
    op = e.op(x)
    if isinstance(op, Take) and e.alone(x) and node.shape != e.shape(x):
        return e.add(Take(op.index, node.shape), e.inputs(x), node.name)
    return e.reshape(x, node.shape, node.name)


def _transpose(e: Editor, node: Node, x: int, op: Transpose) -> int | None:
    axes = op.axes
    before = e.op(x)
    if isinstance(before, Transpose):
        axes, x = tuple(before.axes[a] for a in axes), e.inputs(x)[0]
    shape = e.shape(x)
    if [a for a in axes if shape[a] != 1] == [a for a in range(len(shape)) if shape[a] != 1]:
        return e.reshape(x, node.shape, node.name)
    return e.add(Transpose(axes), (x,), node.name) if axes != op.axes else None


def _take(e: Editor, node: Node, x: int, index: np.ndarray) -> int | None:
    index, start = index.reshape(-1), x
    while isinstance(e.op(x), (Take, Transpose, Reshape)):
        before, source = e.op(x), e.inputs(x)[0]
        if isinstance(before, Take):
            earlier = np.asarray(before.index).reshape(-1)
            index = np.where(index < 0, -1, earlier[index]) if len(earlier) else index
        elif isinstance(before, Transpose):
            earlier = np.arange(prod(e.shape(x))).reshape(e.shape(source)).transpose(before.axes).reshape(-1)
            index = np.where(index < 0, -1, earlier[index])
        x = source
    if len(index) == prod(e.shape(x)) and np.array_equal(index, np.arange(len(index))):
        return e.reshape(x, node.shape, node.name)
    return e.add(Take(index, node.shape), (x,), node.name) if x != start else None


def _concat(e: Editor, node: Node, inputs: tuple[int, ...], op: Concat) -> int | None:
    if len(inputs) == 1:
        return inputs[0]
    flat: list[int] = []
    for j in inputs:
        inner = e.op(j)
        flat.extend(e.inputs(j) if isinstance(inner, Concat) and inner.axis == op.axis else (j,))
    return e.add(op, tuple(flat), node.name) if tuple(flat) != inputs else None


def _sink(e: Editor, node: Node, inputs: tuple[int, ...]) -> int | None:
    """An entrywise operator on reshaped inputs is a reshape of it on the inputs."""
    sources = tuple(e.inputs(j)[0] for j in inputs)
    shape = e.shape(sources[0])
    if not isinstance(node.op, (Elementwise, Scale, Add)) or any(e.shape(j) != shape for j in sources):
        return None
    op = reshaped(node.op, node.shape, shape) if isinstance(node.op, Scale) else node.op
    return e.reshape(e.add(op, sources, node.name), node.shape, node.name)


def reshaped(op: Scale, old: Shape, new: Shape) -> Scale:
    """The Scale of shape `old` on the same entries in shape `new`."""
    if old == new:
        return op
    s, t = (None if a is None else shrunk(np.broadcast_to(a, old).reshape(new)) for a in (op.s, op.t))
    return Scale(s, t, None if op.magnitude is None else reshaped(op.magnitude, old, new))


def shrunk(a: np.ndarray) -> np.ndarray:
    """`a` with one entry left of every axis along which it does not change."""
    for axis in range(a.ndim):
        first = a.take([0], axis) if a.shape[axis] else a
        if a.shape[axis] > 1 and (a == first).all():
            a = first
    return a
