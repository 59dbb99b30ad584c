"""Scales and shifts folded into the layers next to them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from verifier.graph.graph import Graph, Node, Shape
from verifier.graph.ops.affine import Dense, Scale
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.moves import Reshape
from verifier.graph.passes.edit import Editor, rewrite
from verifier.graph.passes.moves import reshaped, shrunk
from verifier.graph.weights import finite, merge, plus, scaled, short, times, zero


def fold_scales(graph: Graph) -> Graph:
    """Fold every Scale into a Scale, Dense or Conv before or after it, through reshapes."""
    return rewrite(graph, _rule)


def _rule(e: Editor, node: Node, inputs: tuple[int, ...]) -> int | None:
    if isinstance(node.op, Scale):
        return _after(e, node, inputs[0], trimmed(node.op))
    if isinstance(node.op, (Dense, Conv)):
        return _before(e, node, inputs[0], node.op)
    return None


def _source(e: Editor, x: int) -> int | None:
    """What `x` is a reshape of, if nobody else needs `x` or what lies between."""
    while isinstance(e.op(x), Reshape) and e.alone(x):
        x = e.inputs(x)[0]
    return x if e.alone(x) else None


def _after(e: Editor, node: Node, x: int, op: Scale) -> int | None:
    """A Scale after what takes it in."""
    if op.s is None and op.t is None and op.magnitude is None:
        return x
    source = _source(e, x)
    if source is None:
        return None
    before, shape = e.op(source), e.shape(source)
    op = reshaped(op, node.shape, shape)
    if isinstance(before, Scale):
        exact = zero(before.t) and (before.s is None or op.s is None or short(before.s, op.s))
        merged = merge(_scale_scale, op, before, 3, exact)
    elif isinstance(before, (Dense, Conv)):
        along = vector(op, shape, len(shape) - 1 if isinstance(before, Dense) else 0)
        if along is None:
            return None
        exact = (op.s is None or short(op.s, before.W, before.b)) and (zero(before.b) or op.t is None)
        merged = merge(_scale_layer, along, before, 2, exact)
    else:
        return None
    if not finite(merged):
        return None
    return e.reshape(e.add(merged, e.inputs(source), node.name), node.shape, node.name)


def _before(e: Editor, node: Node, x: int, layer: Any) -> int | None:
    """A Dense or Conv after a Scale takes it in; a Conv only if the zeros of its padding stay what they are."""
    source = x
    while isinstance(e.op(source), Reshape):
        source = e.inputs(source)[0]
    before = e.op(source)
    if not isinstance(before, Scale):
        return None
    shape, dense = e.shape(x), isinstance(layer, Dense)
    op = vector(reshaped(trimmed(before), e.shape(source), shape), shape, len(shape) - 1 if dense else 0)
    if op is None or not (dense or zero(op.t) or not any(map(any, layer.pads))):
        return None
    exact = zero(op.t) and (op.s is None or short(op.s, layer.W))
    merged = merge(_dense_scale if dense else _conv_scale, layer, op, layer.terms(), exact)
    if not finite(merged):
        return None
    return e.add(merged, (e.reshape(e.inputs(source)[0], shape, node.name),), node.name)


def trimmed(op: Scale) -> Scale:
    """Without a scale that is one throughout or a shift that is zero throughout, where both are exact."""
    if op.magnitude is not None:
        return op
    return Scale(None if op.s is None or (op.s == 1).all() else op.s, None if zero(op.t) else op.t)


def vector(op: Scale, shape: Shape, axis: int) -> Scale | None:
    """The same Scale on `shape` with vectors along `axis`, or None if it also changes along other axes."""
    s, t = (None if a is None else _along(a, shape, axis) for a in (op.s, op.t))
    magnitude = None if op.magnitude is None else vector(op.magnitude, shape, axis)
    pairs = ((op.s, s), (op.t, t), (op.magnitude, magnitude))
    return None if any(a is not None and v is None for a, v in pairs) else Scale(s, t, magnitude)


def _along(a: np.ndarray, shape: Shape, axis: int) -> np.ndarray | None:
    a = shrunk(np.broadcast_to(a, shape))
    return np.broadcast_to(a.reshape(-1), (shape[axis],)) if a.size == a.shape[axis] else None


# Formulas for `weights.merge`: second and first layer to parameters of the merged one.


def _scale_scale(second: Scale, first: Scale) -> Scale:
    return Scale(times(first.s, second.s), plus(None if first.t is None else times(first.t, second.s), second.t))


def _scale_layer(second: Scale, first: Any) -> Any:
    W, s = first.W, second.s
    if s is not None:
        W = scaled(W, s, 0) if W.ndim == 2 else W * s.reshape(-1, *([1] * (W.ndim - 1)))
    return replace(first, W=W, b=plus(None if first.b is None else times(first.b, s), second.t), magnitude=None)


def _dense_scale(second: Dense, first: Scale) -> Dense:
    W = second.W if first.s is None else scaled(second.W, first.s, 1)
    return Dense(W, plus(None if first.t is None else second.W @ first.t, second.b))


def _conv_scale(second: Conv, first: Scale) -> Conv:
    per_group = (second.groups, -1)
    repeat, ones = second.W.shape[0] // second.groups, [1] * (second.W.ndim - 2)
    s, t = (
        None if a is None else np.repeat(a.reshape(per_group), repeat, 0).reshape(*second.W.shape[:2], *ones)
        for a in (first.s, first.t)
    )
    shift = None if t is None else (second.W * t).reshape(len(second.W), -1).sum(1)
    return replace(second, W=times(second.W, s), b=plus(shift, second.b), magnitude=None)
