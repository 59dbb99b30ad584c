"""ONNX operators that multiply by constants and add."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from verifier.graph.convert import Call
from verifier.graph.ops.affine import Add, Dense, Scale, Sum
from verifier.graph.ops.moves import Concat, Transpose
from verifier.graph.weights import compact, entries, transposed


def is_exact_inverse(c: np.ndarray) -> bool:
    """Whether 1/c is exact: all entries are powers of two."""
    return bool((np.abs(np.frexp(c)[0]) == 0.5).all())


def scale(call: Call, x: int, s: np.ndarray | None, t: np.ndarray | None, rounded: bool = False) -> int:
    """`s∘x + t` with numpy broadcasting; `rounded` where s and t hold results of a few roundings."""
    given = [a for a in (s, t) if a is not None]
    x = call.expand(x, np.broadcast_shapes(call.shape(x), *(a.shape for a in given)))
    magnitude = None
    if rounded:  # twice covers the roundings that made s and t
        magnitude = Scale(*(None if a is None else 2 * np.abs(a) for a in (s, t)))
    return call.add(Scale(s, t, magnitude), x)


def total(call: Call, terms: list[tuple[int, int]]) -> int:
    """Signed sum of activations `(sign, position)` with numpy broadcasting."""
    shape = np.broadcast_shapes(*(call.shape(x) for _, x in terms))
    return call.add(Add(tuple(sign for sign, _ in terms)), *(call.expand(x, shape) for _, x in terms))


def matrix(call: Call, i: int) -> Any:
    """Input `i`, one matrix, as doubles; sparse if it is large and mostly zero."""
    W = call.constant(i)
    W = compact(W.reshape(W.shape[-2:])).astype(np.float64)
    call.finite(entries(W), call.names[i])
    return W


def add(call: Call) -> int:
    """Add."""
    return _sum(call, 1)


def sub(call: Call) -> int:
    """Sub."""
    return _sum(call, -1)


def _sum(call: Call, sign: int) -> int:
    if call.is_constant(1):
        return scale(call, call.activation(0), None, call.shift(1) if sign > 0 else -call.parameter(1))
    if call.is_constant(0):
        return scale(call, call.activation(1), None if sign > 0 else np.array(-1.0), call.shift(0))
    return total(call, [(1, call.activation(0)), (sign, call.activation(1))])


def sum_all(call: Call) -> int:
    """Sum of any number of tensors."""
    constants = [call.parameter(i) for i in range(len(call.inputs)) if call.is_constant(i)]
    terms = [(1, v) for v in call.inputs if isinstance(v, int)]
    y = total(call, terms) if len(terms) > 1 else terms[0][1]
    for c in constants:
        y = scale(call, y, None, c)
    return y


def mean_all(call: Call) -> int:
    """Mean of any number of tensors."""
    y, shapes = sum_all(call), [call.shape(v) for v in call.inputs if v is not None]
    return average(call, y, len(shapes))


def div(call: Call) -> int:
    """Div by a constant."""
    c = call.parameter(1)
    with np.errstate(divide="ignore", over="ignore"):
        s = call.finite(1.0 / c, f"1/{call.names[1]}")
    return scale(call, call.activation(0), s, None, rounded=not is_exact_inverse(c))


def neg(call: Call) -> int:
    """Neg."""
    return scale(call, call.activation(0), np.array(-1.0), None)


def batch_normalization(call: Call) -> int:
    """BatchNormalization in inference mode: a scale and shift a channel."""
    if call.get("training_mode", 0) or any(call.used[1:]) or not call.get("spatial", 1):
        raise ValueError("BatchNormalization in training mode or with spatial=0")
    x = call.activation(0)
    gain, shift, mean, var = (call.parameter(i) for i in range(1, 5))
    s = gain / np.sqrt(var + call.real("epsilon", 1e-5))
    rank = len(call.shape(x))
    shape = (-1, *([1] * (rank - 2))) if rank > 1 else (-1,)
    s, t = call.finite(s, call.names[4]).reshape(shape), (shift - mean * s).reshape(shape)
    magnitude = Scale(4 * np.abs(s), 4 * (np.abs(shift) + np.abs(mean * s.reshape(-1))).reshape(shape))
    return call.add(Scale(s, t, magnitude), x)


def gemm(call: Call) -> int:
    """Gemm with one constant matrix."""
    swap = call.is_constant(0)  # A constant: (A B)ᵀ = Bᵀ Aᵀ
    trans = (call.get("transA", 0), call.get("transB", 0))
    x, c = call.activation(1 if swap else 0), 0 if swap else 1
    if call.constant(c).ndim != 2 or len(call.shape(x)) != 2:
        raise ValueError(f"Gemm of shapes {list(call.shape(x))} and {list(call.constant(c).shape)}")
    W = matrix(call, c)
    flip = not trans[1] if swap else trans[0]
    x = call.add(Transpose((1, 0)), x) if flip else x
    y = call.add(Dense(W if trans[1 - swap] != swap else transposed(W)), x)
    y = call.add(Transpose((1, 0)), y) if swap else y
    return with_bias(call, y)


def with_bias(call: Call, y: int) -> int:
    """`alpha·y + beta·C`, the end of a Gemm."""
    if call.get("alpha", 1.0) != 1.0:
        y = scale(call, y, np.array(call.get("alpha")), None)
    beta = call.get("beta", 1.0)
    if not call.has(2) or beta == 0.0:
        return y
    if not call.is_constant(2):
        c = call.activation(2)
        c = c if beta == 1.0 else scale(call, c, np.array(beta), None)
        return total(call, [(1, y), (1, c)])
    t = call.parameter(2)
    np.broadcast_to(t, call.shape(y))  # Gemm broadcasts C only
    return scale(call, y, None, beta * t, rounded=beta != 1.0)


def matmul(call: Call) -> int:
    """MatMul with a constant on one side."""
    left = call.is_constant(0)
    x, W = call.activation(1 if left else 0), call.constant(0 if left else 1)
    shapes = (W.shape, call.shape(x)) if left else (call.shape(x), W.shape)
    result = matmul_shape(*shapes)
    if W.ndim > 2 and prod(W.shape[:-2]) > 1:
        return call.reshape(_each(call, x, call.parameter(0 if left else 1), left), result)
    W = matrix(call, 0 if left else 1) if W.ndim > 1 else call.parameter(0 if left else 1)[None]
    if left and len(shapes[1]) > 1:  # W x = (xᵀ Wᵀ)ᵀ
        return call.reshape(_flip(call, call.add(Dense(W), _flip(call, x))), result)
    by_rows = left or len(shapes[1]) == 1  # one vector is W here, or one is x: no transpose
    return call.reshape(call.add(Dense(W if by_rows else transposed(W)), x), result)


def _each(call: Call, x: int, W: np.ndarray, left: bool) -> int:
    """`W x` (left) or `x W` for several matrices W, one product each, one below the other."""
    if len(call.shape(x)) == 1:
        x = call.reshape(x, (*call.shape(x), 1) if left else (1, *call.shape(x)))
    rows, n = call.shape(x)[-2:]
    lead = np.broadcast_shapes(call.shape(x)[:-2], W.shape[:-2])
    if prod(lead) > 256:
        raise ValueError(f"MatMul with {prod(lead)} different constant matrices")
    where = np.broadcast_to(call.positions(x), (*lead, rows, n)).reshape(-1, rows, n)
    matrices = np.broadcast_to(W, (*lead, *W.shape[-2:])).reshape(-1, *W.shape[-2:])
    parts = []
    for M, at in zip(matrices, where, strict=True):
        y = call.take(x, at)
        y = _flip(call, call.add(Dense(M), _flip(call, y))) if left else call.add(Dense(M.T), y)
        parts.append(call.reshape(y, (1, *call.shape(y))))
    return call.add(Concat(0), *parts)


def _flip(call: Call, x: int) -> int:
    """`x` with its last two axes exchanged."""
    r = len(call.shape(x))
    return call.add(Transpose((*range(r - 2), r - 1, r - 2)), x)


def matmul_shape(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    """Shape of a product of matrices as numpy forms it."""
    left, right = (1, *a) if len(a) == 1 else a, (*b, 1) if len(b) == 1 else b
    if left[-1] != right[-2]:
        raise ValueError(f"MatMul of shapes {list(a)} and {list(b)}, which do not fit")
    lead = np.broadcast_shapes(left[:-2], right[:-2])
    return (*lead, *(left[-2:-1] if len(a) > 1 else ()), *(right[-1:] if len(b) > 1 else ()))


def average(call: Call, y: int, count: int) -> int:
    """`y / count`."""
    if count == 0:
        raise ValueError("mean of nothing")
    c = np.array(float(count))
    return y if count == 1 else scale(call, y, 1.0 / c, None, rounded=not is_exact_inverse(c))


def global_average_pool(call: Call) -> int:
    """GlobalAveragePool."""
    x = call.activation(0)
    shape = call.shape(x)
    axes = tuple(range(2, len(shape)))
    return average(call, call.add(Sum(axes, True), x), prod(shape[2:]))
