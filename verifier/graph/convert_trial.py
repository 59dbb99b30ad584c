"""Operators that are linear in one input once the others are decided: onnxruntime says which matrix they are."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from verifier.graph.convert import LARGEST, Call
from verifier.graph.convert_affine import scale
from verifier.graph.fold import tried_each
from verifier.graph.graph import Shape
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.moves import Concat
from verifier.graph.weights import compact, entries, most

_ENTRIES = 8192
"""Most entries of an input that are tried out, one after the other."""


def linear(call: Call) -> int:
    """The operator as a matrix and a shift: what it makes of nothing, and of every entry alone."""
    x = call.activation(0)
    W, nothing = _matrix(call, call.shape(x), {i: call.constant(i) for i in range(1, len(call.inputs)) if call.has(i)})
    y = call.reshape(_applied(call, W, call.reshape(x, (W.shape[1],))), nothing.shape)
    return scale(call, y, None, nothing) if nothing.any() else y


def grid_sample(call: Call) -> int:
    """GridSample at decided places: the same matrix for every channel of a sample."""
    x, grid = call.activation(0), call.constant(1)
    N, C, *spatial = call.shape(x)
    at = call.positions(x).reshape(N, C, -1)
    parts, known = [], dict[bytes, tuple[Any, np.ndarray]]()
    for places, own in zip(grid, at, strict=True):
        key = places.tobytes()
        if key not in known:
            known[key] = _matrix(call, (1, 1, *spatial), {1: places[None]})
        W, nothing = known[key]
        parts.append(call.reshape(_applied(call, W, call.take(x, own)), (1, C, *nothing.shape[2:])))
    return call.add(Concat(0), *parts) if len(parts) > 1 else parts[0]


def col2im(call: Call) -> int:
    """Col2Im: sums of what lands on an entry, the same for every channel."""
    x, block = call.activation(0), prod(call.integers(2) or ())
    N, rows, L = call.shape(x)
    if not block or rows % block:
        raise ValueError(f"Col2Im of {rows} rows in blocks of {block}")
    W, nothing = _matrix(call, (1, block, L), {i: call.constant(i) for i in (1, 2)})
    y = _applied(call, W, call.reshape(x, (N, rows // block, block * L)))
    return call.reshape(y, (N, rows // block, *nothing.shape[2:]))


def _matrix(call: Call, shape: Shape, given: dict[int, np.ndarray]) -> tuple[Any, np.ndarray]:
    """`[m, n]` for a first input of that shape, and what is made of zeros."""
    n = prod(shape)
    if n > _ENTRIES:
        raise ValueError(f"{call.op} of {n} entries that depend on the input; at most {_ENTRIES} are supported")
    kind = call.types[0] if call.types and call.types[0] in ("float32", "float64") else "float32"
    results = tried_each(call, np.zeros(shape, kind), given)
    nothing = call.finite(next(results).astype(np.float64), call.name)
    if nothing.size > LARGEST // 16:
        raise ValueError(
            f"{call.op} makes a tensor of {nothing.size:,} entries; at most {LARGEST // 16:,} are supported"
        )
    return _columns(results, nothing.reshape(-1), n), nothing


def _applied(call: Call, W: Any, x: int) -> int:
    """The matrix on the last axis; of what chooses the nearest entries, these."""
    values = entries(W)
    if call.attributes.get("mode") == b"nearest" and (values[values != 0] == 1).all() and most(W, 1) <= 1:
        rows, columns = W.nonzero()
        at = np.full(W.shape[0], -1)
        at[rows] = columns
        positions = call.positions(x)
        return call.take(x, np.where(at >= 0, positions[..., np.maximum(at, 0)], -1))
    return call.add(Dense(W, None, Dense(4 * abs(W))), x)


def _columns(results: Any, nothing: np.ndarray, n: int) -> Any:
    """The matrix of results less what stands for nothing, a column each; sparse where it is large and mostly zero."""
    from scipy.sparse import csr_array  # only here: most networks do without

    rows, values, ends = [], [], [0]
    for y in results:
        column = y.reshape(-1).astype(np.float64) - nothing
        if not np.isfinite(column).all():
            raise ValueError("it gives no numbers where all but one entry is zero")
        (at,) = np.nonzero(column)
        rows.append(at)
        values.append(column[at])
        ends.append(ends[-1] + len(at))
    columns = np.repeat(np.arange(n), np.diff(ends))
    return compact(csr_array((np.concatenate(values), (np.concatenate(rows), columns)), shape=(len(nothing), n)))


def roi_align(call: Call) -> int:
    """RoiAlign that averages."""
    if call.get("mode", "avg") != "avg":
        raise ValueError(f"RoiAlign with mode {call.get('mode')}")
    return linear(call)
