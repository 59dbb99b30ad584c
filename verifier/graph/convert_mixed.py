"""Arithmetic of tensors any of which may be constant: what larger operators are composed of."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from verifier.graph import convert_affine as affine
from verifier.graph import convert_products as products
from verifier.graph.convert import Call, Value
from verifier.graph.convert_affine import scale, total
from verifier.graph.convert_moves import concat
from verifier.graph.ops.affine import Sum
from verifier.graph.ops.moves import Transpose


def number(call: Call, a: Value) -> np.ndarray:
    """A constant as finite doubles."""
    return call.finite(call.doubles(a, call.name), call.name)


def given(call: Call, i: int) -> Value:
    """Input `i`, constants as finite doubles."""
    v = call.inputs[i] if call.has(i) else None
    if v is None:
        raise ValueError(f"input {i} of {call.op} is missing")
    return v if isinstance(v, int) else call.parameter(i)


def inner(call: Call, op: str, *inputs: Value, **attributes: Any) -> Call:
    """A call of another operator from inside this one."""
    count, kinds = len(inputs), (call.types or ("float32",))[:1]
    return replace(
        call, op=op, inputs=inputs, names=(call.name,) * count, used=(True,), types=kinds * count, attributes=attributes
    )


def plus(call: Call, a: Value, b: Value, sign: int = 1) -> Value:
    """`a + b`, or (sign -1) `a − b`, with numpy broadcasting."""
    if isinstance(a, int) and isinstance(b, int):
        return total(call, [(1, a), (sign, b)])
    if isinstance(a, int):
        return scale(call, a, None, sign * number(call, b))
    if isinstance(b, int):
        return scale(call, b, None if sign > 0 else np.array(-1.0), number(call, a))
    return number(call, a) + sign * number(call, b)


def times(call: Call, a: Value, b: Value) -> Value:
    """`a∘b` with numpy broadcasting."""
    if isinstance(a, int) and isinstance(b, int):
        return products.product(call, a, b)
    if isinstance(b, int):
        a, b = b, a
    return scale(call, a, number(call, b), None) if isinstance(a, int) else number(call, a) * number(call, b)


def scaled(call: Call, a: Value, s: float, rounded: bool = False) -> Value:
    """`s·a`; `rounded` where s is not what is meant but a few roundings from it."""
    if isinstance(a, int):
        return a if s == 1.0 and not rounded else scale(call, a, np.array(s), None, rounded)
    return s * number(call, a)


def matmul(call: Call, a: Value, b: Value) -> Value:
    """`a b`, as numpy's matmul."""
    if isinstance(a, np.ndarray) and isinstance(b, np.ndarray):
        return np.matmul(number(call, a), number(call, b))
    if isinstance(a, int) and isinstance(b, int):
        return products.contracted(call, a, b)
    return affine.matmul(inner(call, "MatMul", a, b))


def moved(call: Call, v: Value, rule: Callable[[np.ndarray], np.ndarray]) -> Value:
    """What a function that moves, repeats or drops entries makes of v; an activation's zeros are where it writes -1."""
    if isinstance(v, int):
        return call.take(v, rule(call.positions(v)))
    return rule(v)


def turned(call: Call, v: Value, *axes: int) -> Value:
    """v with its axes in another order."""
    return call.add(Transpose(axes), v) if isinstance(v, int) else v.transpose(axes)


def shaped(call: Call, v: Value, *shape: int) -> Value:
    """v in another shape."""
    return call.reshape(v, shape) if isinstance(v, int) else v.reshape(shape)


def joined(call: Call, values: Sequence[Value], axis: int) -> Value:
    """Tensors side by side along an axis."""
    if len(values) == 1:
        return values[0]
    if all(isinstance(v, np.ndarray) for v in values):
        return np.concatenate([number(call, v) for v in values], axis)
    return concat(inner(call, "Concat", *values, axis=axis))


def summed(call: Call, v: Value, axis: int, keep: bool = False) -> Value:
    """The sum along an axis."""
    if isinstance(v, int):
        return call.add(Sum((call.axis(axis, len(call.shape(v))),), keep), v)
    return v.sum(axis, keepdims=keep)
