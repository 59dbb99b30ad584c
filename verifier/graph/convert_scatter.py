"""ONNX operators that pick and place entries by constant indices; onnxruntime itself says what goes where."""

from __future__ import annotations

from math import prod

import numpy as np

from verifier.graph.convert import Call, Value
from verifier.graph.convert_affine import scale, total
from verifier.graph.convert_mixed import joined, shaped
from verifier.graph.convert_products import product
from verifier.graph.convert_select import select
from verifier.graph.fold import tried
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.pool import MaxOf


def moved(call: Call) -> int:
    """An operator that moves the entries of its first input, or writes zeros: tried out on their positions."""
    x = call.activation(0)
    constants = {i: call.constant(i) for i in range(1, len(call.inputs)) if call.has(i)}
    # Counted from one, so that zeros are what the operator wrote.
    at = call.positions(x) + 1.0
    try:
        (index,) = tried(call, {0: at, **constants})
    except ValueError:  # some kernels know single precision only
        if at.size >= 1 << 24:
            raise
        (index,) = tried(call, {0: at.astype(np.float32), **constants})
    return call.take(x, index.astype(np.int64) - 1)


def scatter(call: Call) -> Value:
    """ScatterElements and ScatterND: the updates' entries in the place of some of the data's, or added to them."""
    data, updates = (call.inputs[i] if call.has(i) else None for i in (0, 2))
    if data is None or updates is None:
        raise ValueError(f"{call.op} without data or updates")
    indices, how = call.constant(1), call.get("reduction", "none")
    size, shape = prod(call.shape(updates)), call.shape(data)
    marks = np.arange(1, size + 1, dtype=np.int64).reshape(call.shape(updates))
    if how == "none":
        own = -np.arange(1, prod(shape) + 1, dtype=np.int64).reshape(shape)
        (found,) = tried(call, {0: own, 1: indices, 2: marks})
        return select(call, [data, updates], np.where(found < 0, -found - 1, found - 1 + prod(shape)))
    target = _targets(call, indices, shape)
    if how in ("max", "min", "mul"):
        return _combined(call, [data, updates], target, how)
    if how != "add":
        raise ValueError(f"{call.op} with reduction {how}")
    if isinstance(updates, np.ndarray):
        (t,) = tried(call, {0: np.zeros(shape), 1: indices, 2: updates.astype(np.float64)})
        return scale(call, call.activation(0), None, t)
    return _scattered_sum(call, data, updates, target)


def _targets(call: Call, indices: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """For each update, flattened, the flat position in the data that it goes to."""
    if call.op == "ScatterND":
        at = np.moveaxis(np.where(indices < 0, indices + np.array(shape[: indices.shape[-1]]), indices), -1, 0)
        rest = shape[indices.shape[-1] :]
        inner = np.arange(prod(rest)).reshape(rest)
        first = np.ravel_multi_index(tuple(at), shape[: indices.shape[-1]]) * prod(rest)
        return (first.reshape(*first.shape, *([1] * len(rest))) + inner).reshape(-1)
    axis = call.axis(call.get("axis", 0), len(shape))
    grid: list[np.ndarray] = [*np.indices(indices.shape)]
    grid[axis] = np.where(indices < 0, indices + shape[axis], indices)
    return np.ravel_multi_index(tuple(grid), shape).reshape(-1)


def _combined(call: Call, values: list[Value], target: np.ndarray, how: str) -> int:
    """The largest, smallest or product of each entry of the data and the updates that go to it."""
    shape, size = call.shape(values[0]), len(target)
    n = prod(shape)
    flat = [shaped(call, v, prod(call.shape(v))) for v in values]
    order = np.argsort(target, kind="stable")
    counts = np.bincount(target, minlength=n)
    rank = np.arange(size) - np.repeat(np.cumsum(counts) - counts, counts)  # which of its position's updates it is
    nobody = n + size if how == "mul" else -1  # a one, or the entry itself again
    windows = np.full((n, 1 + counts.max(initial=0)), nobody)
    windows[:, 0] = np.arange(n)
    windows[target[order], 1 + rank] = n + order
    y = joined(call, [*flat, np.ones(1)] if how == "mul" else flat, 0)
    assert isinstance(y, int)
    if how == "mul":
        found = call.take(y, windows[:, 0])
        for k in range(1, windows.shape[1]):
            found = product(call, found, call.take(y, windows[:, k]))
        return call.reshape(found, shape)
    windows = np.where(windows < 0, windows[:, :1], windows)
    y = scale(call, y, np.array(-1.0), None) if how == "min" else y
    y = call.add(MaxOf(windows, shape), y)
    return scale(call, y, np.array(-1.0), None) if how == "min" else y


def _scattered_sum(call: Call, data: Value, updates: int, target: np.ndarray) -> int:
    from scipy.sparse import csr_array  # only here: most networks do without

    size, shape = len(target), call.shape(data)
    W = csr_array((np.ones(size), (target, np.arange(size))), shape=(prod(shape), size))
    y = call.reshape(
        call.add(Dense(W.toarray() if prod(W.shape) < 1 << 16 else W), call.reshape(updates, (size,))), shape
    )
    if isinstance(data, np.ndarray):
        return scale(call, y, None, call.parameter(0))
    return total(call, [(1, data), (1, y)])
