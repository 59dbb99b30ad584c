"""Cases of ONNX operators that look for the largest, sort and count, and of nodes that stand for others."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from .onnx_models import Case, Draw, ints, numbers, shapes

Make = Callable[[Draw], Case]


def _ties(draw: Draw, m: Case) -> str:
    """The input, or whole numbers with which it has ties."""
    return m.node("Round", "x")[0] if draw(st.booleans()) else "x"


def hardmax(draw: Draw) -> Case:
    m = Case(draw(shapes()), draw(st.sampled_from([11, 13])))
    m.node("Hardmax", _ties(draw, m), axis=draw(st.sampled_from([None, 0, -1, len(m.shape) - 1])))
    return m


def top_k(draw: Draw) -> Case:
    m = Case(draw(shapes()), draw(st.sampled_from([11, 13])))
    axis = draw(ints(-len(m.shape), len(m.shape) - 1))
    k = draw(ints(1, int(m.shape[axis])))
    values, at = m.node("TopK", _ties(draw, m), m.tensor(np.array([k])), outputs=2, axis=axis, largest=draw(ints(0, 1)))
    if draw(st.booleans()):
        (at,) = m.node("Cast", at, to=TensorProto.FLOAT)
        m.node("Sub", values, at)
    else:
        m.outputs = [values]
    return m


def one_hot(draw: Draw) -> Case:
    """Of decided indices and values that vary, of indices that vary, and of the position of the largest entry."""
    kind, depth = draw(ints(0, 2)), draw(ints(1, 5))
    m = Case([2] if kind == 0 else [2, 3], 13)
    size, values = m.tensor(np.array(depth)), "x"
    axis = draw(st.sampled_from([None, 0, 1, -1]))
    if kind == 0:
        at = m.tensor(np.array([[0, draw(ints(-6, 6))]]))
    else:
        (at,) = m.node("ArgMax", "x", axis=1) if kind == 1 else m.node("Mul", "x", m.tensor(2.0))
        at = m.node("Cast", at, to=TensorProto.INT64)[0] if draw(st.booleans()) else at
        values = m.tensor(np.array(draw(st.sampled_from([[0.0, 1.0], [-1.5, 2.0]]))))
    m.node("OneHot", at, size, values, axis=axis)
    return m


def mod(draw: Draw) -> Case:
    m = Case(draw(shapes()))
    whole = draw(st.booleans())
    (y,) = m.node("Mul", "x", m.tensor(draw(st.sampled_from([1.0, 5.0]))))
    if whole:
        (y,) = m.node("Cast", y, to=draw(st.sampled_from([TensorProto.INT32, TensorProto.INT64])))
        kind = np.int32 if m.nodes[-1].attribute[0].i == TensorProto.INT32 else np.int64
        divisor = np.array(draw(st.sampled_from([1, 2, 3, -3, 7])), kind)
    else:
        divisor = np.array(draw(st.sampled_from([1.0, 0.7, -2.5, 3.0])), np.float32)
    (y,) = m.node("Mod", y, m.tensor(divisor) if whole else m.tensor(divisor), fmod=draw(ints(0, 1)) if whole else 1)
    if whole:
        m.node("Cast", y, to=TensorProto.FLOAT)
    return m


def is_inf(draw: Draw) -> Case:
    m = Case(draw(shapes()))
    (y,) = m.node("IsInf", "x")
    m.node("Where", y, m.tensor(np.array(3.0)), "x")
    return m


def eye_like(draw: Draw) -> Case:
    m = Case([draw(ints(1, 4)), draw(ints(1, 4))])
    (y,) = m.node("EyeLike", "x", k=draw(st.sampled_from([None, 1, -1])))
    m.node("Mul", "x", y)
    return m


def _body(inputs: list[Any], nodes: list[Any], outputs: list[Any], tensors: list[Any] | None = None) -> Any:
    return helper.make_graph(nodes, "body", inputs, outputs, tensors or [])


def _value(name: str, kind: int, shape: list[int] | None) -> Any:
    return helper.make_tensor_value_info(name, kind, shape)


def loop(draw: Draw) -> Case:
    """With a count, or until a condition that does not depend on the input; of values kept, and of values left."""
    m = Case([2, 3])
    turns, last = draw(ints(1, 4)), draw(ints(0, 5))
    op = draw(st.sampled_from(["Relu", "Tanh", "Neg"]))
    nodes = [
        helper.make_node(op, ["v"], ["u"]),
        helper.make_node("Cast", ["i"], ["k"], to=TensorProto.FLOAT),
        helper.make_node("Add", ["u", "k"], ["w"]),
        helper.make_node("Mul", ["w", "x"], ["s"]),
        helper.make_node("Less", ["i", "top"], ["d"]),
    ]
    F, shape = TensorProto.FLOAT, [2, 3]
    body = _body(
        [_value("i", TensorProto.INT64, []), _value("c", TensorProto.BOOL, []), _value("v", F, shape)],
        nodes,
        [_value("d", TensorProto.BOOL, []), _value("w", F, shape), _value("s", F, shape)],
        [numpy_helper.from_array(np.array(last), "top")],
    )
    y, z = m.node("Loop", m.tensor(np.array(turns)), "", "x", outputs=2, body=body)
    m.outputs = [draw(st.sampled_from([y, z]))]
    return m


def scan(draw: Draw) -> Case:
    m = Case([2, 3])
    axis = draw(ints(0, 1))
    size = [2, 3][1 - axis]
    nodes = [helper.make_node("Add", ["a", "e"], ["b"]), helper.make_node("Relu", ["b"], ["o"])]
    F = TensorProto.FLOAT
    ends = [_value("b", F, [size]), _value("o", F, [size])]
    body = _body([_value("a", F, [size]), _value("e", F, [size])], nodes, ends)
    last, steps = m.node(
        "Scan",
        m.tensor(numbers(draw, [size])),
        "x",
        outputs=2,
        body=body,
        num_scan_inputs=1,
        scan_input_axes=[axis],
        scan_input_directions=[draw(ints(0, 1))],
        scan_output_axes=[draw(ints(-1, 1))],
        scan_output_directions=[draw(ints(0, 1))],
    )
    m.outputs = [draw(st.sampled_from([last, steps]))]
    return m


def sequence(draw: Draw) -> Case:
    """A tensor is cut, its parts are moved about, and joined again."""
    m = Case([2, draw(ints(2, 4))], 16)
    axis, n = 1, int(m.shape[1])
    size = draw(st.sampled_from([None, np.array(1), np.array([1, n - 1])]))
    (held,) = m.node("SplitToSequence", "x", *([] if size is None else [m.tensor(size)]), axis=axis)
    count = 2 if size is not None and size.ndim else n
    (other,) = m.node("SequenceEmpty") if draw(st.booleans()) else m.node("SequenceConstruct", "x", "x")
    first = m.tensor(np.array(draw(ints(-count, count - 1))))
    (part,) = m.node("SequenceAt", held, first)
    (held,) = m.node("SequenceErase", held, *([first] if draw(st.booleans()) else []))
    place = [m.tensor(np.array(draw(ints(1 - count, count - 1))))] if draw(st.booleans()) else []
    (held,) = m.node("SequenceInsert", held, *m.node("Relu", part), *place)
    (other,) = m.node("SequenceInsert", other, "x")
    (many,) = m.node("Cast", *m.node("SequenceLength", other), to=TensorProto.FLOAT)
    (y,) = m.node("ConcatFromSequence", held, axis=axis)
    (z,) = m.node("ConcatFromSequence", other, axis=draw(st.sampled_from([0, -1])), new_axis=1)
    m.outputs = [m.node("Mul", y, many)[0] if draw(st.booleans()) else m.node("Mul", z, many)[0]]
    return m


def optional(draw: Draw) -> Case:
    m = Case(draw(shapes()), 18)
    (held,) = m.node("Optional", "x")
    (there,) = m.node("OptionalHasElement", held)
    (y,) = m.node("OptionalGetElement", held)
    m.node("Where", there, y, m.tensor(np.array(1.0)))
    return m


CASES: dict[str, Make] = {
    "EyeLike": eye_like,
    "Hardmax": hardmax,
    "IsInf": is_inf,
    "Loop": loop,
    "Mod": mod,
    "OneHot": one_hot,
    "Optional": optional,
    "Scan": scan,
    "SequenceAt": sequence,
    "TopK": top_k,
}
ALIKE = {
    **dict.fromkeys(("OptionalGetElement", "OptionalHasElement"), "Optional"),
    **dict.fromkeys(
        ("ConcatFromSequence", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert",
         "SequenceLength", "SplitToSequence"), "SequenceAt"),
}  # fmt: skip
"""Operators that are in the case of another one."""
