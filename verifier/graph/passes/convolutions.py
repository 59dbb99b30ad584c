"""Convolutions whose kernel covers their whole input written as dense layers."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import Any

import numpy as np

from verifier.graph.graph import Graph, Node, Shape
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.conv import Conv
from verifier.graph.passes.edit import Editor, rewrite


def conv_to_dense(graph: Graph) -> Graph:
    """Replace each Conv by a Dense where that has no more weights than the Conv has multiply-adds."""
    return rewrite(graph, _rule)


def _rule(e: Editor, node: Node, inputs: tuple[int, ...]) -> int | None:
    op, (x, *_) = node.op, inputs
    if not isinstance(op, Conv):
        return None
    shape = e.shape(x)
    n, m = prod(shape), node.size
    if m * n > op.work(shape):
        return None
    magnitude = None if op.magnitude is None else _dense(op.magnitude, shape, node.shape)
    dense = _dense(op, shape, node.shape)
    layer = Dense(dense.W, dense.b, magnitude)
    y = e.add(layer, (e.reshape(x, (n,), node.name),), node.name)
    return e.reshape(y, node.shape, node.name)


def _dense(op: Conv, shape: Shape, result: Shape) -> Dense:
    """The same map as a matrix and a vector."""
    W = np.zeros((*result, *shape))
    for at in product(*(range(n) for n in result[1:])):
        window: list[slice] = []
        taps: list[slice] = []  # where the kernel lies at this position, and what of it lies inside
        for i, n, k, t, d, p in zip(at, shape[1:], op.W.shape[2:], op.stride, op.dilation, op.pads, strict=True):
            first = i * t - p[0]
            low = -(-max(0, -first) // d)
            high = min(k, -(-(n - first) // d))
            taps.append(slice(low, max(high, low)))
            window.append(slice(first + low * d, first + max(high, low) * d, d) if high > low else slice(0, 0))
        for o, c in zip(_groups(result[0], op.groups), _groups(shape[0], op.groups), strict=True):
            to: tuple[Any, ...] = (o, *at, c, *window)
            W[to] = op.W[(o, slice(None), *taps)]
    b = None if op.b is None else np.repeat(op.b, prod(result[1:]))
    return Dense(W.reshape(prod(result), prod(shape)), b)


def _groups(channels: int, groups: int) -> list[slice]:
    n = channels // groups
    return [slice(i * n, i * n + n) for i in range(groups)]
