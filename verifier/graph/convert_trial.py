"""Operators that are linear in one input once the others are decided: onnxruntime says which matrix they are."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from verifier.graph.convert import LARGEST, Call
from verifier.graph.convert_affine import scale
from verifier.graph.fold import tried_each
from verifier.graph.ops.affine import Dense
from verifier.graph.weights import compact

_ENTRIES = 8192
"""Most entries of an input that are tried out, one after the other."""


def linear(call: Call) -> int:
    """The operator as a matrix and a shift: what it makes of nothing, and of every entry alone."""
    x = call.activation(0)
    given = {i: call.constant(i) for i in range(1, len(call.inputs)) if call.has(i)}
    shape = call.shape(x)
    n = prod(shape)
    if n > _ENTRIES:
        raise ValueError(f"{call.op} of {n} entries that depend on the input; at most {_ENTRIES} are supported")
    kind = call.types[0] if call.types and call.types[0] in ("float32", "float64") else "float32"
    results = tried_each(call, np.zeros(shape, kind), given)
    nothing = next(results).astype(np.float64)
    out = nothing.shape
    if prod(out) > LARGEST // 16:
        raise ValueError(f"{call.op} makes a tensor of {prod(out)} entries")
    W = _columns(results, nothing.reshape(-1), n)
    y = call.reshape(call.add(Dense(W, None, Dense(4 * abs(W))), call.reshape(x, (n,))), out)
    nothing = call.finite(nothing, call.name)
    return scale(call, y, None, nothing) if nothing.any() else y


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
