"""Small ONNX models for every supported operator, one operator each, with random attributes and shapes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from . import onnx_attention as attention
from . import onnx_composed as composed
from . import onnx_decided as decided
from . import onnx_discrete as discrete
from . import onnx_entries as entries
from . import onnx_layers as layers
from . import onnx_learned as learned
from . import onnx_moves as moves
from . import onnx_quantised as quantised
from .onnx_models import Case, Draw, ints, numbers, shapes, smaller


def _binary(op: str) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        shape = draw(shapes())
        other = smaller(draw, shape)
        big = draw(st.booleans())  # the constant is the one that broadcasts, or the input
        x, c = (other, shape) if big else (shape, other)
        m = Case(x or [1], draw(st.sampled_from([7, 13, 21])))
        a = numbers(draw, c)
        order = draw(st.booleans()) and op != "Div"
        name = m.tensor(np.where(a == 0, 0.5, a))
        m.node(op, *((name, "x") if order else ("x", name)))
        return m

    return case


def _two(op: str) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        if draw(st.booleans()):
            return _binary(op)(draw)
        m = Case([1, draw(ints(1, 4)), 3])
        (y,) = m.node("Relu", "x")
        (z,) = m.node("ReduceSum", "x", m.tensor(np.array([draw(ints(0, 2))]))) if draw(st.booleans()) else ["x"]
        m.node(op, *((y, z) if draw(st.booleans()) else (z, y)))
        return m

    return case


def _sum(draw: Draw) -> Case:
    m = Case([2, 3])
    (y,) = m.node("Relu", "x")
    names = draw(st.lists(st.sampled_from(["x", y, "c"]), min_size=1, max_size=4))
    m.tensor(numbers(draw, [3]), "c")
    m.node("Sum", *["x", *names])
    return m


def _extreme(op: str) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        m = Case([2, 3])
        (y,) = m.node("Neg", "x")
        m.tensor(numbers(draw, draw(st.sampled_from([[], [3], [2, 1]]))), "c")
        m.tensor(np.zeros(()), "zero")
        m.node(op, *draw(st.permutations(["x", *draw(st.lists(st.sampled_from([y, "c", "zero"]), max_size=3))])))
        return m

    return case


def _neg(draw: Draw) -> Case:
    m = Case(draw(shapes()))
    m.node("Neg", "x")
    return m


def _gemm(draw: Draw) -> Case:
    n, k, p = (draw(ints(1, 4)) for _ in range(3))
    ta, tb = draw(ints(0, 1)), draw(ints(0, 1))
    left = draw(st.integers(0, 3)) == 0
    a, b = ([k, n] if ta else [n, k]), ([p, k] if tb else [k, p])
    m = Case(b if left else a, draw(st.sampled_from([7, 11, 13])))
    c = m.tensor(numbers(draw, a if left else b))
    inputs = [c, "x"] if left else ["x", c]
    if m.opset == 7 or draw(st.booleans()):
        inputs.append(m.tensor(numbers(draw, draw(st.sampled_from([[n, p], [p], [1, p], [n, 1], [1]])))))
    alpha, beta = (draw(st.sampled_from([None, 1.0, 0.5, 0.3, -2.0])) for _ in range(2))
    m.node("Gemm", *inputs, transA=ta, transB=tb, alpha=alpha, beta=beta)
    return m


def _matmul(draw: Draw) -> Case:
    n, k, p = (draw(ints(1, 4)) for _ in range(3))
    lead = draw(st.lists(ints(1, 3), max_size=2))
    left = draw(st.sampled_from([[k], [n, k], [*lead, n, k], [1, n, k]]))
    right = draw(st.sampled_from([[k], [k, p], [*lead, k, p], [1, 1, k, p], [2, 1, k, p]]))
    swap = draw(st.booleans())
    m = Case(right if swap else left)
    c = m.tensor(numbers(draw, left if swap else right))
    m.node("MatMul", *((c, "x") if swap else ("x", c)))
    return m


def _window(draw: Draw, r: int, most: int) -> dict[str, Any]:
    """Attributes of convolutions and pools for `r` spatial axes."""
    kernel = [draw(ints(1, 3)) for _ in range(r)]
    a: dict[str, Any] = {"kernel_shape": kernel}
    if draw(st.booleans()):
        a["strides"] = [draw(ints(1, 3)) for _ in range(r)]
    auto = draw(st.sampled_from([None, None, None, "NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER"]))
    if auto in (None, "NOTSET"):
        if draw(st.booleans()):
            a["pads"] = [draw(ints(0, min(most, k - 1))) for k in kernel * 2]
    if auto:
        a["auto_pad"] = auto
    return a


def _spatial(draw: Draw) -> tuple[list[int], int]:
    r = draw(ints(1, 2))
    return [draw(ints(1, 2)), draw(ints(1, 3)), *(draw(ints(3, 7)) for _ in range(r))], r


def _conv(draw: Draw) -> Case:
    shape, r = _spatial(draw)
    groups = draw(ints(1, 2))
    shape[1] *= groups
    a = _window(draw, r, 2)
    if a.get("auto_pad") is None:
        a["dilations"] = [draw(ints(1, 2)) for _ in range(r)]
    m = Case(shape, draw(st.sampled_from([7, 11])))
    out = groups * draw(ints(1, 2))
    inputs = ["x", m.tensor(numbers(draw, [out, shape[1] // groups, *a["kernel_shape"]]))]
    if draw(st.booleans()):
        inputs.append(m.tensor(numbers(draw, [out])))
    if draw(st.booleans()):
        del a["kernel_shape"]
    m.node("Conv", *inputs, group=groups, **a)
    return m


def _average_pool(draw: Draw) -> Case:
    shape, r = _spatial(draw)
    a = _window(draw, r, 2)
    m = Case(shape, draw(st.sampled_from([7, 11, 19])))
    if m.opset >= 10:
        a["ceil_mode"] = draw(ints(0, 1))
    if m.opset >= 19 and not a.get("auto_pad"):
        a["dilations"] = [draw(ints(1, 2)) for _ in range(r)]
    m.node("AveragePool", "x", count_include_pad=draw(ints(0, 1)), **a)
    return m


def _max_pool(draw: Draw) -> Case:
    shape, r = _spatial(draw)
    a = _window(draw, r, 2)
    m = Case(shape, draw(st.sampled_from([8, 12])))
    if m.opset >= 10:
        a["ceil_mode"] = draw(ints(0, 1))
        if not a.get("auto_pad"):
            a["dilations"] = [draw(ints(1, 2)) for _ in range(r)]
    m.node("MaxPool", "x", **a)
    return m


def _global(op: str) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        m = Case(_spatial(draw)[0])
        m.node(op, "x")
        return m

    return case


def _batch_normalization(draw: Draw) -> Case:
    shape = [draw(ints(1, 2)), 3, *draw(st.lists(ints(1, 3), max_size=2))]
    m = Case(shape, draw(st.sampled_from([7, 9, 15])))
    gain, shift, mean, var = (numbers(draw, [3]) for _ in range(4))
    names = [m.tensor(a) for a in (gain, shift, mean, abs(var))]
    m.node("BatchNormalization", "x", *names, epsilon=draw(st.sampled_from([None, 0.01])))
    return m


def _reduce(op: str) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        shape = draw(shapes())
        as_input = 13 if op == "ReduceSum" else 18
        m = Case(shape, draw(st.sampled_from([7, 13, 18])))
        axes = draw(st.none() | st.lists(ints(0, len(shape) - 1), min_size=1, unique=True))
        if axes and m.opset > 10:
            axes = [a - len(shape) if draw(st.booleans()) else a for a in axes]
        a: dict[str, Any] = {"keepdims": draw(st.sampled_from([None, 0, 1]))}
        inputs = ["x"]
        if m.opset < as_input:
            a["axes"] = axes
        else:
            inputs += [m.tensor(np.array(axes, np.int64))] if axes is not None else []
            a["noop_with_empty_axes"] = draw(ints(0, 1))
        m.node(op, *inputs, **a)
        return m

    return case


def _simple(op: str, **choices: list[Any]) -> Callable[[Draw], Case]:
    def case(draw: Draw) -> Case:
        m = Case(draw(shapes()), 13)
        m.node(op, "x", **{k: draw(st.sampled_from(v)) for k, v in choices.items()})
        return m

    return case


def _prelu(draw: Draw) -> Case:
    shape = draw(shapes())
    m = Case(shape)
    leak = numbers(draw, smaller(draw, shape))
    m.node("PRelu", "x", m.tensor(leak if draw(st.booleans()) else np.full(leak.shape, 0.2)))
    return m


def _clip(draw: Draw) -> Case:
    low, high = draw(st.sampled_from([None, 0.0, -0.5])), draw(st.sampled_from([None, 0.3, 1.0, np.inf]))
    m = Case([2, 3], draw(st.sampled_from([7, 13])))
    if m.opset < 11:
        m.node("Clip", "x", min=low, max=high)
    else:
        names = ["" if v is None else m.tensor(np.array(v, np.float32)) for v in (low, high)]
        m.node("Clip", "x", *names)
    return m


CASES: dict[str, Callable[[Draw], Case]] = {
    **attention.CASES,
    **decided.CASES,
    **discrete.CASES,
    **entries.CASES,
    **layers.CASES,
    **composed.CASES,
    **learned.CASES,
    **quantised.CASES,
    "Add": _two("Add"),
    "AveragePool": _average_pool,
    "BatchNormalization": _batch_normalization,
    "Clip": entries.either(_clip, entries.clip),
    "Concat": moves.concat,
    "Constant": moves.shape_arithmetic("Constant"),
    "ConstantOfShape": moves.shape_arithmetic("ConstantOfShape"),
    "Conv": _conv,
    "DepthToSpace": moves.depth_to_space,
    "Div": entries.either(_binary("Div"), entries.div),
    "Dropout": moves.dropout,
    "Expand": moves.expand,
    "Flatten": moves.flatten,
    "Gather": moves.gather,
    "Gemm": entries.either(_gemm, layers.gemm),
    "GlobalAveragePool": _global("GlobalAveragePool"),
    "GlobalMaxPool": _global("GlobalMaxPool"),
    "Identity": _simple("Identity"),
    "LeakyRelu": _simple("LeakyRelu", alpha=[None, 0.0, 0.1, 1.0, 2.0, -0.5]),
    "MatMul": entries.either(_matmul, layers.matmul),
    "Max": _extreme("Max"),
    "MaxPool": _max_pool,
    "Min": _extreme("Min"),
    "Mul": entries.either(_binary("Mul"), entries.mul, entries.gated),
    "Neg": _neg,
    "PRelu": _prelu,
    "Pad": moves.pad,
    "ReduceMean": _reduce("ReduceMean"),
    "ReduceSum": _reduce("ReduceSum"),
    "Relu": _simple("Relu"),
    "Reshape": moves.reshape,
    "Shape": moves.shape_arithmetic("Shape"),
    "Size": moves.shape_arithmetic("Size"),
    "Slice": moves.slice_,
    "Split": moves.split,
    "Squeeze": moves.axes_moved("Squeeze"),
    "Sub": _two("Sub"),
    "Sum": _sum,
    "Tile": moves.tile,
    "Transpose": moves.transpose,
    "Unsqueeze": moves.axes_moved("Unsqueeze"),
}
