"""Choosing entries among several tensors, some constant: what Where, Scatter and Gather of all kinds come down to."""

from __future__ import annotations

from math import prod

import numpy as np

from verifier.graph.convert import Call, Value
from verifier.graph.convert_affine import scale
from verifier.graph.ops.moves import Concat


def select(call: Call, values: list[Value], index: np.ndarray) -> Value:
    """The entries at `index` (zero where it is -1) of all values flattened and joined, in the shape of `index`.

    Constant where no activation is used.
    """
    sizes = [prod(call.shape(v)) for v in values]
    starts = np.cumsum([0, *sizes])
    constants = np.zeros(starts[-1] + 1)  # the last one is what -1 finds
    where = np.full(starts[-1] + 1, -1, np.int64)
    active: list[int] = []
    count = 0
    for v, start, size in zip(values, starts[:-1], sizes, strict=True):
        part = slice(start, start + size)
        used = bool(((index >= start) & (index < start + size)).any())
        if isinstance(v, int) and used:
            active.append(call.reshape(v, (size,)) if len(values) > 1 else v)
            where[part] = np.arange(count, count + size)
            count += size
        elif used:
            constants[part] = np.asarray(v, np.float64).reshape(-1)
    t = constants[index]
    call.finite(np.where(np.isneginf(t), 0.0, t), call.name)  # minus infinity is for a softmax to take in
    if not active:
        return t
    y = call.add(Concat(0), *active) if len(active) > 1 else active[0]
    y = call.take(y, where[index])
    return scale(call, y, None, t) if t.any() else y
