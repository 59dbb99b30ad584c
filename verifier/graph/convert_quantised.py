"""ONNX operators on quantised numbers: whole numbers q that stand for `(q − zero point)·scale`.

A quantised tensor is a node of whole numbers; what rounds to them is a staircase that saturates (`ops.steps.Step`),
and everything between is arithmetic of real numbers, as far as it fits the type (see `fitting`).
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from verifier.graph import convert_products as products
from verifier.graph.convert import Call, Converter, Value
from verifier.graph.convert_affine import add, global_average_pool, is_exact_inverse, scale, total
from verifier.graph.convert_dynamic import (
    dynamic_quantize_linear,
    dynamic_quantize_matmul,
    known_whole,
    matmul_integer_to_float,
)
from verifier.graph.convert_kinks import leaky_relu
from verifier.graph.convert_moves import concat
from verifier.graph.convert_norms import softmax
from verifier.graph.convert_windows import average_pool, conv
from verifier.graph.fitting import held, reach
from verifier.graph.graph import Operator, Shape
from verifier.graph.kernels import LAST, computed, continuous
from verifier.graph.kinds import named
from verifier.graph.ops.affine import Scale
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.fit import WHOLE, limits
from verifier.graph.ops.moves import Reshape, Take, Transpose
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.steps import Step

_LONGEST = 32
"""Moves that are looked through."""
_SHORT = {"int4": (-8, 7), "uint4": (0, 15), "int2": (-2, 1), "uint2": (0, 3)}
"""Types that nothing is computed in: the least and the largest number."""


@dataclass(frozen=True)
class _Code:
    """How numbers of one tensor are coded: scale and zero point, both ready to be broadcast to it."""

    s: np.ndarray
    zero: np.ndarray


def _code(call: Call, s: int, zero: int, shape: Shape, axis: int | None = None) -> _Code:
    """The constants that inputs `s` and `zero` are: one of a tensor, one an index of an axis, or blocks of one."""
    if not call.is_constant(s):
        raise ValueError(f"{call.op} whose scale depends on the network's input")
    if call.has(zero) and not call.is_constant(zero):
        raise ValueError(f"{call.op} whose zero point depends on the network's input")
    scales = call.parameter(s)
    if (scales == 0).any():
        raise ValueError(f"{call.op} with a scale of zero")
    zeros = call.parameter(zero) if call.has(zero) else np.zeros(scales.shape)
    at = call.get("axis", 1) if axis is None else axis
    return _Code(*(spread(call, a, shape, at) for a in (scales, zeros)))


def spread(call: Call, a: np.ndarray, shape: Shape, axis: int) -> np.ndarray:
    """Scales or zero points of a tensor of a shape (one, one an index of the axis, or blocks) ready to be broadcast."""
    if a.size == 1:
        return a.reshape(())
    axis = call.axis(axis, len(shape))
    if a.ndim == 1:
        return a.reshape(-1, *([1] * (len(shape) - axis - 1)))
    block = call.get("block_size", 0)
    if block < 1 or a.ndim != len(shape):
        raise ValueError(f"{call.op} with scales of shape {list(a.shape)} for a tensor of shape {list(shape)}")
    return np.repeat(a, block, axis).take(range(shape[axis]), axis)


def _target(call: Call, zero: int) -> str:
    """The type to quantise to."""
    if call.has(zero):
        return call.types[zero]
    return named(call.get("output_dtype")) if call.get("output_dtype", 0) else "uint8"


def _quantised(call: Call, x: int, code: _Code, kind: str) -> int:
    """`saturate(round(x / scale) + zero point)`; what has been coded so, and only moved since, keeps its code.

    Some kernels round `x / scale + zero point`: halves go the other way if that point is odd.
    """
    if kind in _SHORT or (kind in WHOLE and WHOLE[kind][1] <= 32):
        low, high = _SHORT.get(kind) or limits(kind)
    else:
        raise ValueError(f"{call.op} to {kind}")
    coded = _coded_so(call, x, code, (low, high))
    if coded is not None:
        return coded
    inverse = 1.0 / code.s
    y = scale(call, x, inverse, None, rounded=not is_exact_inverse(code.s))
    zero = np.unique(code.zero)
    y = y if continuous(call, x) else computed(call, y, float(max(high - zero.min(), zero.max() - low)))
    if call.op in LAST and (zero % 2 != 0).any():
        return call.add(Step("round", 0.0, float(low), float(high)), scale(call, y, None, code.zero))
    if len(zero) == 1:
        y = call.add(Step("round", 0.0, low - float(zero[0]), high - float(zero[0])), y)
        return y if zero[0] == 0 else scale(call, y, None, zero)
    # Rounding comes first: a half is rounded to an even number, whatever is added afterwards.
    y = scale(call, call.add(Step("round"), y), None, code.zero)
    return call.add(Step("round", 0.0, float(low), float(high)), y)


def _coded_so(call: Call, x: int, code: _Code, ends: tuple[float, float]) -> int | None:
    """The codes of x, where x is `(q − zero point)·scale` of the same scale and zero point, or moved from there.

    Real arithmetic has `((q − z)·s) / s + z = q`, and largest entries stay the largest for a positive scale.
    """
    nodes, moves, i = call.builder.nodes, list[Operator](), x
    while isinstance(nodes[i].op, (Reshape, Transpose, Take, MaxOf)) and len(moves) < _LONGEST:
        op = nodes[i].op
        if isinstance(op, Take) and bool((op.index < 0).any()):  # zeros, which need not be codes
            return None
        moves.append(op)
        (i,) = nodes[i].inputs
    if code.s.size != 1 or code.zero.size != 1 or not (code.s > 0).all() or not _is(nodes[i].op, code.s, None):
        return None
    (q,) = nodes[i].inputs
    if code.zero.any():
        if not _is(nodes[q].op, None, -code.zero):
            return None
        (q,) = nodes[q].inputs
    low, high = reach(call.builder, q)
    if not (_whole_numbers(call, q) and ends[0] <= low and high <= ends[1]):
        return None
    for op in reversed(moves):
        q = call.add(op, q)
    return q


def _is(op: Operator, s: np.ndarray | None, t: np.ndarray | None) -> bool:
    """Whether it is the Scale of one number s, or the shift by one number t, without rounding."""
    if not isinstance(op, Scale) or op.magnitude is not None:
        return False
    pairs = ((op.s, s), (op.t, t))
    return all(
        (a is None) == (b is None) and (a is None or b is None or (a.size == 1 and a.reshape(()) == b.reshape(())))
        for a, b in pairs
    )


def _whole_numbers(call: Call, i: int) -> bool:
    """Whether a node holds whole numbers: steps, shifted by a whole number and moved."""
    nodes = call.builder.nodes
    while not isinstance(nodes[i].op, Step):
        op = nodes[i].op
        shift = isinstance(op, Scale) and op.s is None and op.t is not None and bool((op.t == np.rint(op.t)).all())
        if not shift and not isinstance(op, (Reshape, Transpose, Take, MaxOf)):
            return False
        (i,) = nodes[i].inputs
    step = nodes[i].op
    return isinstance(step, Step) and step.stairs


def _real(call: Call, q: Value, code: _Code) -> Value:
    """`(q − zero point)·scale`, of an activation or a constant."""
    if not isinstance(q, int):
        return np.asarray((call.doubles(q, call.name) - code.zero) * code.s)  # one number is an array, too
    return scale(call, _shifted(call, q, code.zero), code.s, None)


def _shifted(call: Call, q: int, zero: np.ndarray) -> int:
    return scale(call, q, None, -zero) if zero.any() else q


def quantize_linear(call: Call) -> int:
    """QuantizeLinear: a tensor, an axis or blocks at a time."""
    x = call.activation(0)
    return _quantised(call, x, _code(call, 1, 2, call.shape(x)), _target(call, 2))


def dequantize_linear(call: Call) -> int:
    """DequantizeLinear."""
    y = _real(call, call.activation(0), _code(call, 1, 2, call.shape(call.activation(0))))
    assert isinstance(y, int)
    return y


def _input(call: Call, i: int, axis: int | None = None) -> Value:
    """The real numbers of a tensor that inputs i, i + 1 and i + 2 are codes, scale and zero point of."""
    q = call.inputs[i] if call.has(i) else None
    if q is None:
        raise ValueError(f"input {i} of {call.op} is missing")
    return _real(call, q, _code(call, i + 1, i + 2, call.shape(q), axis))


def _output(call: Call, y: int, i: int) -> int:
    """Quantised by scale and zero point in inputs i and i + 1; without one of these to the first input's type."""
    kind = call.types[i + 1] if call.has(i + 1) else call.types[0]
    return _quantised(call, y, _code(call, i, i + 1, call.shape(y)), kind)


def _whole(call: Call, i: int, zero: int, rows: bool) -> Value:
    """Input `i` less its zero point, which may be one a row (else column) of matrices: whole numbers."""
    q = call.inputs[i]
    assert q is not None
    if call.has(zero) and not call.is_constant(zero):
        if not isinstance(q, int):
            raise ValueError(f"{call.op} of constants whose zero point depends on the network's input")
        return known_whole(call, q, call.activation(zero))
    zeros = call.parameter(zero) if call.has(zero) else np.zeros(())
    if zeros.ndim == 1:
        zeros = zeros.reshape(()) if zeros.size == 1 else zeros[:, None] if rows else zeros
    return _shifted(call, q, zeros) if isinstance(q, int) else call.doubles(q, call.names[i]) - zeros


def _product(call: Call, a: Value, b: Value) -> int:
    given = replace(call, op="MatMul", inputs=(a, b), names=(call.names[0], call.name), types=("int32", "int32"))
    return products.matmul(given)


def _held(call: Call, y: int) -> int:
    """A sum of whole numbers, which onnxruntime adds up in 32 bits."""
    return held(call, y, "int32")


def matmul_integer(call: Call) -> int:
    """MatMulInteger."""
    return _product(call, _whole(call, 0, 2, True), _whole(call, 1, 3, False))


def conv_integer(call: Call) -> int:
    """ConvInteger."""
    return _convolved(call, 0, 1, 2, 3, None)


def _convolved(call: Call, x: int, w: int, x_zero: int, w_zero: int, bias: int | None) -> int:
    """A convolution of whole numbers; padding stands for zero."""
    W = call.doubles(call.constant(w), call.names[w])
    if call.has(w_zero):
        zeros = call.parameter(w_zero)
        W = W - (zeros.reshape(()) if zeros.size == 1 else zeros.reshape(-1, *([1] * (W.ndim - 1))))
    inputs: tuple[Value, ...] = (_whole(call, x, x_zero, True), W)
    names: tuple[str, ...] = (call.names[x], call.names[w])
    if bias is not None and call.has(bias):
        inputs, names = (*inputs, call.parameter(bias)), (*names, call.names[bias])
    return conv(replace(call, op="Conv", inputs=inputs, names=names))


def qlinear_conv(call: Call) -> int:
    """QLinearConv."""
    y = _held(call, _convolved(call, 0, 3, 2, 5, 8))
    shape = call.shape(y)
    x, w = _code(call, 1, 2, ()), _code(call, 4, 5, shape, 1)
    return _output(call, scale(call, y, x.s * w.s, None, rounded=True), 6)


def qlinear_matmul(call: Call) -> int:
    """QLinearMatMul."""
    y = _held(call, _product(call, _whole(call, 0, 2, True), _whole(call, 3, 5, False)))
    s = _lined(call.parameter(1), True) * _lined(call.parameter(4), False)
    return _output(call, scale(call, y, s, None, rounded=True), 6)


def _lined(a: np.ndarray, rows: bool) -> np.ndarray:
    """Scales of matrices, one a row or one a column, ready to be broadcast to a product."""
    if a.size == 1:
        return a.reshape(())
    return a[:, None] if rows and a.ndim == 1 else a


def qgemm(call: Call) -> int:
    """QGemm: a quantised Gemm, whose results are real numbers where no code for them is given."""
    a, b = _whole(call, 0, 2, True), _whole(call, 3, 5, bool(call.get("transB", 0)))
    sides = [_turned(call, v) if call.get(name, 0) else v for v, name in ((a, "transA"), (b, "transB"))]
    y = _product(call, *sides)
    if call.has(6):
        c = call.inputs[6]
        y = total(call, [(1, y), (1, c)]) if isinstance(c, int) else scale(call, y, None, call.parameter(6))
    y = _held(call, y)
    s = _code(call, 1, 2, ()).s * _lined(call.parameter(4), False) * call.real("alpha", 1.0)
    y = scale(call, y, s, None, rounded=True)
    return _output(call, y, 7) if call.has(7) else y


def _turned(call: Call, v: Value) -> Value:
    return call.add(Transpose((1, 0)), v) if isinstance(v, int) else v.T


def binary(combine: Converter) -> Converter:
    """QLinearAdd and the like: an operator of two tensors, on what their codes stand for."""

    def convert(call: Call) -> int:
        a, b = _input(call, 0), _input(call, 3)
        y = combine(replace(call, inputs=(a, b), names=(call.names[0], call.names[3]), types=("float32", "float32")))
        assert isinstance(y, int)
        return _output(call, y, 6)

    return convert


def unary(function: Converter) -> Converter:
    """QLinearSigmoid and the like: an operator of one tensor, on what its codes stand for."""

    def convert(call: Call) -> int:
        y = function(replace(call, inputs=(_input(call, 0),), types=("float32",)))
        assert isinstance(y, int)
        return _output(call, y, 3)

    return convert


def _sigmoid(call: Call) -> int:
    return call.add(Curve("sigmoid"), call.activation(0))


def qlinear_softmax(call: Call) -> int:
    """QLinearSoftmax: the Softmax of the operator set that it names.

    Its kernel, the only definition it has, multiplies shares by `⌊1 / scale⌋` in the place of dividing them.
    """
    opset = int(call.get("opset", 13))
    axis = call.get("axis", -1 if opset >= 13 else 1)
    x = (_input(call, 0),)
    y = softmax(replace(call, op="Softmax", opset=opset, attributes={"axis": axis}, inputs=x, types=("float32",)))
    code = _code(call, 3, 4, ())
    steps = np.floor(np.float32(1) / code.s.astype(np.float32)).astype(np.float64)
    if code.s.size != 1 or not (steps > 0).all():
        raise ValueError(f"{call.op} whose output's scale is not one number in (0, 1]")
    kind = call.types[4] if call.has(4) else call.types[0]
    return _quantised(call, y, replace(code, s=1 / steps), kind)


def _first(convert: Converter) -> Converter:
    """A pool whose channels stand in the second place: no other is read."""

    def checked(call: Call) -> Value:
        if call.get("channels_last", 0):
            raise ValueError(f"{call.op} with channels_last=1")
        y = convert(call)
        assert isinstance(y, int)
        return y

    return checked


def qlinear_concat(call: Call) -> int:
    """QLinearConcat: output scale and zero point, then three inputs for each tensor."""
    parts = tuple(_input(call, i) for i in range(2, len(call.inputs), 3))
    y = concat(replace(call, inputs=parts, names=call.names[2::3], types=("float32",) * len(parts)))
    assert isinstance(y, int)
    kind = call.types[1] if call.has(1) else call.types[2]
    return _quantised(call, y, _code(call, 0, 1, ()), kind)


STANDARD: dict[str, Converter] = {
    "ConvInteger": conv_integer,
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeLinear": dynamic_quantize_linear,
    "MatMulInteger": matmul_integer,
    "QLinearConv": qlinear_conv,
    "QLinearMatMul": qlinear_matmul,
    "QuantizeLinear": quantize_linear,
}
"""Of ONNX's own domain."""

FUSED: dict[str, Converter] = {
    "DequantizeLinear": dequantize_linear,
    "DynamicQuantizeMatMul": dynamic_quantize_matmul,
    "MatMulIntegerToFloat": matmul_integer_to_float,
    "QGemm": qgemm,
    "QLinearAdd": binary(add),
    "QLinearAveragePool": unary(_first(average_pool)),
    "QLinearConcat": qlinear_concat,
    "QLinearGlobalAveragePool": unary(_first(global_average_pool)),
    "QLinearLeakyRelu": unary(leaky_relu),
    "QLinearMul": binary(products.mul),
    "QLinearSigmoid": unary(_sigmoid),
    "QLinearSoftmax": qlinear_softmax,
    "QuantizeLinear": quantize_linear,
}
"""Of the domain com.microsoft."""
