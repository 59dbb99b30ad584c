"""Cases of operators on quantised numbers: random shapes, scales and zero points, of a tensor, an axis or blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import TensorProto

from .onnx_models import Case, Draw, ints, shapes

Make = Callable[[Draw], Case]
Code = tuple[str, str]
"""Names of a scale and a zero point."""
SMALL = (np.int8, np.uint8)
COM = "com.microsoft"


def _rng(draw: Draw) -> np.random.Generator:
    return np.random.default_rng(draw(st.integers(0, 2**32 - 1)))


def code(m: Case, draw: Draw, kind: Any, shape: Any = (), zero: bool = True) -> Code:
    """A scale of such a shape, and zero points within the middle of the type."""
    rng, info = _rng(draw), np.iinfo(kind)
    width = (int(info.max) - int(info.min)) // 8
    middle = (int(info.max) + int(info.min) + 1) // 2
    zeros = rng.integers(middle - width, middle + width, shape) if zero else np.zeros(shape)
    return m.tensor(0.01 + 0.1 * rng.random(shape)), m.tensor(np.asarray(zeros).astype(kind))


def codes(m: Case, draw: Draw, y: str = "x", kind: Any = np.uint8) -> tuple[str, str, str]:
    """A tensor in codes, with scale and zero point."""
    s, z = code(m, draw, kind)
    return m.node("QuantizeLinear", y, s, z)[0], s, z


def whole(m: Case, draw: Draw, shape: Any, kind: Any = np.int8) -> str:
    """Constant codes."""
    info = np.iinfo(kind)
    return m.tensor(_rng(draw).integers(info.min, info.max + 1, tuple(shape)).astype(kind))


def real(m: Case, y: str, to: Code) -> Case:
    """What the codes stand for, as the output."""
    m.node("DequantizeLinear", y, *to)
    return m


def elsewhere(draw: Draw) -> Case:
    """QuantizeLinear and DequantizeLinear of onnxruntime's own domain."""
    m = Case([2, 4])
    s, z = code(m, draw, draw(st.sampled_from(SMALL)))
    m.node("DequantizeLinear", m.node("QuantizeLinear", "x", s, z, domain=COM)[0], s, z, domain=COM)
    return m


def linear(draw: Draw) -> Case:
    """QuantizeLinear and DequantizeLinear of all types, a tensor, an axis, or blocks."""
    m = Case([2, 4], 21)
    kind = draw(st.sampled_from([np.int8, np.uint8, np.int16, np.uint16]))
    how, axis = draw(ints(0, 2)), draw(ints(0, 1))
    ways: list[tuple[Any, dict[str, Any]]] = [((), {}), (((2, 4)[axis],), {"axis": axis})]
    size, attributes = [*ways, ((2, 2), {"axis": 1, "block_size": 2})][how]
    s, z = code(m, draw, kind, size, draw(st.booleans()))
    (q,) = m.node("QuantizeLinear", "x", s, z, **attributes)
    if draw(st.booleans()):
        (q,) = m.node("Transpose", m.node("Transpose", q, perm=[1, 0])[0], perm=[1, 0])
    (y,) = m.node("DequantizeLinear", q, s, z, **attributes)
    if draw(st.booleans()):  # coded as before, after moves
        m.node("DequantizeLinear", m.node("QuantizeLinear", y, s, z, **attributes)[0], s, z, **attributes)
    return m


def typed(draw: Draw) -> Case:
    """Without a zero point: to the type that is asked for, or to uint8."""
    m = Case(draw(shapes()), 21)
    s = m.tensor(0.03 + 0.1 * _rng(draw).random())
    to = draw(st.sampled_from([None, TensorProto.INT8, TensorProto.UINT16]))
    m.node("DequantizeLinear", m.node("QuantizeLinear", "x", s, output_dtype=to)[0], s)
    return m


def matmul(draw: Draw) -> Case:
    n, k, j = (draw(ints(1, 4)) for _ in range(3))
    m = Case([n, k])
    q, s, z = codes(m, draw, kind=draw(st.sampled_from(SMALL)))
    kind = draw(st.sampled_from(SMALL))
    columns = () if draw(st.booleans()) else (j,)
    (u, v), to = code(m, draw, kind, columns, not columns), code(m, draw, np.uint8)
    W = whole(m, draw, (k, j), kind)
    if draw(st.booleans()) or columns:
        return real(m, m.node("QLinearMatMul", q, s, z, W, u, v, *to)[0], to)
    p, r, o = codes(m, draw, m.node("Transpose", "x", perm=[1, 0])[0])
    return real(m, m.node("QLinearMatMul", q, s, z, p, r, o, *to)[0], to)


def matmul_integer(draw: Draw) -> Case:
    n, k, j = (draw(ints(1, 4)) for _ in range(3))
    m = Case([n, k])
    q, _, z = codes(m, draw)
    W, (_, v) = whole(m, draw, (k, j)), code(m, draw, np.int8)
    m.node("Cast", m.node("MatMulInteger", q, W, *([z, v][: draw(ints(0, 2))]))[0], to=TensorProto.FLOAT)
    return m


def _convolved(draw: Draw) -> tuple[Case, tuple[str, str, str], str, dict[str, Any], int]:
    channels, out, groups = 2, draw(ints(1, 2)) * 2, draw(st.sampled_from([1, 2]))
    m = Case([1, channels, draw(ints(3, 4)), 4])
    W = whole(m, draw, (out, channels // groups, 2, 2))
    pads = draw(st.sampled_from([None, [1, 0, 1, 1]]))
    return m, codes(m, draw), W, {"group": groups, "pads": pads, "strides": draw(st.sampled_from([None, [2, 1]]))}, out


def conv(draw: Draw) -> Case:
    m, (q, s, z), W, attributes, out = _convolved(draw)
    u, v = code(m, draw, np.int8, () if draw(st.booleans()) else (out,), False)
    to = code(m, draw, np.uint8)
    b = [m.tensor(_rng(draw).integers(-500, 500, out).astype(np.int32))] if draw(st.booleans()) else []
    return real(m, m.node("QLinearConv", q, s, z, W, u, v, *to, *b, **attributes)[0], to)


def conv_integer(draw: Draw) -> Case:
    m, (q, _, z), W, attributes, _ = _convolved(draw)
    m.node("Cast", m.node("ConvInteger", q, W, *([z] * draw(ints(0, 1))), **attributes)[0], to=TensorProto.FLOAT)
    return m


def dynamic(draw: Draw) -> Case:
    n, k, j = (draw(ints(1, 4)) for _ in range(3))
    m = Case([n, k])
    q, s, z = m.node("DynamicQuantizeLinear", "x", outputs=3)
    if draw(st.booleans()):
        m.node("DequantizeLinear", q, m.tensor(0.5))
        return m
    (y,) = m.node("Cast", m.node("MatMulInteger", q, whole(m, draw, (k, j)), z)[0], to=TensorProto.FLOAT)
    m.node("Mul", y, m.node("Mul", s, m.tensor(0.02 * _rng(draw).random(() if draw(st.booleans()) else j)))[0])
    return m


def binary(op: str) -> Make:
    def case(draw: Draw) -> Case:
        m = Case([2, 3])
        q, s, z = codes(m, draw)
        to = code(m, draw, np.uint8)
        if draw(st.booleans()):
            other: tuple[str, ...] = codes(m, draw, m.node("Neg", "x")[0])
        else:
            other = (whole(m, draw, (2, 3), np.uint8), *code(m, draw, np.uint8))
        sides = draw(st.permutations([(q, s, z), other]))
        return real(m, m.node(op, *sides[0], *sides[1], *to, domain=COM)[0], to)

    return case


def unary(op: str, **attributes: Any) -> Make:
    def case(draw: Draw) -> Case:
        m = Case([1, 2, 4, 3])
        q, s, z = codes(m, draw, kind=draw(st.sampled_from(SMALL)) if op != "QLinearAveragePool" else np.uint8)
        to = s, z
        return real(m, m.node(op, q, s, z, *to, domain=COM, **attributes)[0], to)

    return case


def concat(draw: Draw) -> Case:
    m = Case([2, 3])
    to, parts = code(m, draw, np.uint8), [codes(m, draw), codes(m, draw, m.node("Neg", "x")[0])]
    return real(m, m.node("QLinearConcat", *to, *parts[0], *parts[1], axis=draw(ints(0, 1)), domain=COM)[0], to)


def gemm(draw: Draw) -> Case:
    n, k, j = (draw(ints(1, 4)) for _ in range(3))
    m = Case([n, k])
    q, s, z = codes(m, draw)
    turned = draw(ints(0, 1))
    W, (u, v) = whole(m, draw, (j, k) if turned else (k, j)), code(m, draw, np.int8)
    given = [q, s, z, W, u, v, m.tensor(_rng(draw).integers(-500, 500, j).astype(np.int32))]
    alpha = draw(st.sampled_from([None, 1.0, 0.37]))
    if draw(st.booleans()):
        m.node("QGemm", *given, transB=turned, alpha=alpha, domain=COM)
        return m
    to = code(m, draw, np.uint8)
    return real(m, m.node("QGemm", *given, *to, transB=turned, alpha=alpha, domain=COM)[0], to)


def fused_dynamic(op: str) -> Make:
    def case(draw: Draw) -> Case:
        n, k, j = (draw(ints(1, 4)) for _ in range(3))
        m = Case([n, k])
        W, u = whole(m, draw, (k, j)), m.tensor(0.02 * _rng(draw).random())
        b = m.tensor(_rng(draw).standard_normal(j))
        if op == "DynamicQuantizeMatMul":
            m.node(op, "x", W, u, "", *([b] * draw(ints(0, 1))), domain=COM)
            return m
        if draw(st.booleans()):
            q, s, z = m.node("DynamicQuantizeLinear", "x", outputs=3)
        else:
            q, s, z = codes(m, draw)
        m.node(op, q, W, s, u, z, "", *([b] * draw(ints(0, 1))), domain=COM)
        return m

    return case


CASES: dict[str, Make] = {
    "ConvInteger": conv_integer,
    "DequantizeLinear": linear,
    "DynamicQuantizeLinear": dynamic,
    "MatMulInteger": matmul_integer,
    "QLinearConv": conv,
    "QLinearMatMul": matmul,
    "QuantizeLinear": typed,
    "com.microsoft.DequantizeLinear": elsewhere,
    "com.microsoft.DynamicQuantizeMatMul": fused_dynamic("DynamicQuantizeMatMul"),
    "com.microsoft.MatMulIntegerToFloat": fused_dynamic("MatMulIntegerToFloat"),
    "com.microsoft.QGemm": gemm,
    "com.microsoft.QLinearAdd": binary("QLinearAdd"),
    "com.microsoft.QLinearAveragePool": unary("QLinearAveragePool", kernel_shape=[2, 2]),
    "com.microsoft.QLinearConcat": concat,
    "com.microsoft.QLinearGlobalAveragePool": unary("QLinearGlobalAveragePool"),
    "com.microsoft.QLinearLeakyRelu": unary("QLinearLeakyRelu", alpha=0.3),
    "com.microsoft.QLinearMul": binary("QLinearMul"),
    "com.microsoft.QLinearSigmoid": unary("QLinearSigmoid"),
    "com.microsoft.QLinearSoftmax": unary("QLinearSoftmax", axis=1, opset=13),
    "com.microsoft.QuantizeLinear": elsewhere,
}
