"""Nodes that stand for others: loops, branches, sequences and functions are what onnxruntime makes of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import verifier
from verifier.graph.from_onnx import load
from verifier.graph.ops.table import converter
from verifier.run.joint import flat
from verifier.values.errors import ModelError

HEAD = '<ir_version: 8, opset_import: ["" : {opset}]>\ng (float[2, 3] x) => (float[{out}] y)\n'


def net(body: str, out: str = "2, 3", opset: int = 16) -> Any:
    """A model in onnx's own text."""
    return parser.parse_model(HEAD.format(opset=opset, out=out) + "{" + body + "}")


def right(proto: Any) -> None:
    """Its values are onnxruntime's, and bounds on boxes hold samples of them, none of them far."""
    whole = flat(load(proto))
    rng = np.random.default_rng(0)
    for size in (0.0, 0.1, 1.0):
        center = rng.normal(size=whole.n)
        lower, upper = verifier.bound(whole, verifier.Box(center - size, center + size))
        y = whole.run(rng.uniform(center - size, center + size, (100 if size else 1, whole.n)))
        assert (lower - 1e-5 <= y).all() and (y <= upper + 1e-5).all() and np.isfinite(upper - lower).all()
        assert size or (upper - lower < 1e-3).all()


LOOP = """
m = Constant <value = int64 {{ {turns} }}> ()
go = Constant <value = bool {{ 1 }}> ()
y, each = Loop (m, go, x) <body = b (int64 i, bool c, float[2, 3] v) => (bool d, float[2, 3] w, float[2, 3] s) {{
    two = Constant <value = float {{ 0.5 }}> ()
    k = Cast <to = 1> (i)
    t = Mul (v, two)
    u = Relu (t)
    w = Add (u, k)
    s = Sub (w, x)
    top = Constant <value = int64 {{ {last} }}> ()
    d = Less (i, top)
}}>
"""
SCAN = """
y, steps = Scan <num_scan_inputs = 1, scan_input_axes = [1], scan_input_directions = [{back}],
    scan_output_axes = [1], scan_output_directions = [{back}],
    body = b (float[2] s, float[2] e) => (float[2] t, float[2] o) {{
        m = Mul (s, e)
        t = Add (m, e)
        o = Relu (t)
}}> (start, x)
"""
SEQUENCES = {
    "split, taken and joined": """
        p = SplitToSequence <axis = 1> (x)
        one = Constant <value = int64 {1}> ()
        a = SequenceAt (p, one)
        q = SequenceErase (p, one)
        r = SequenceInsert (q, a)
        first = Constant <value = int64 {-1}> ()
        b = Relu (a)
        s = SequenceInsert (r, b, first)
        z = ConcatFromSequence <axis = 1> (s)
        n = SequenceLength (s)
        nf = Cast <to = 1> (n)
        y = Mul (z, nf)""",
    "stacked": """
        two = Constant <value_ints = [1, 2]> ()
        p = SplitToSequence <axis = 1, keepdims = 1> (x, two)
        k = Constant <value = int64 {1}> ()
        a = SequenceAt (p, k)
        b = Neg (a)
        q = SequenceConstruct (a, b)
        y = ConcatFromSequence <axis = -1, new_axis = 1> (q)""",
    "optional": """
        o = Optional (x)
        h = OptionalHasElement (o)
        y = If (h) <then_branch = a () => (float[2, 3] s) { e = OptionalGetElement (o)  s = Relu (e) },
                    else_branch = b () => (float[2, 3] s) { s = Identity (x) }>""",
}


@pytest.mark.parametrize("turns, last", [(1, 9), (4, 9), (6, 2)])
def test_a_loop_is_its_turns(turns: int, last: int) -> None:
    right(net(LOOP.format(turns=turns, last=last), "2, 3"))
    scanned = LOOP.replace("y, each", "last, y")
    right(net(scanned.format(turns=turns, last=last), f"{min(turns, last + 1)}, 2, 3"))


@pytest.mark.parametrize("back", [0, 1])
def test_a_scan_is_its_turns(back: int) -> None:
    start = "start = Constant <value = float[2] { 0.5, -1.0 }> ()\n"
    right(net(start + SCAN.format(back=back), "2"))
    right(net(start + SCAN.replace("y, steps", "last, y").format(back=back), "2, 3"))


@pytest.mark.parametrize("name", SEQUENCES)
def test_sequences_are_their_tensors(name: str) -> None:
    right(net(SEQUENCES[name], "2, 4" if "split" in name else "2, 2, 2" if name == "stacked" else "2, 3"))


BRANCHES = """
    zero = Constant <value = float {{ 0.0 }}> ()
    s = ReduceSum <keepdims = 0> (x)
    c = Greater (s, zero)
    y = If (c) <then_branch = a () => (float[2, 3] r) {{ r = Relu (x) }},
                else_branch = b () => (float[{other}] r) {{ r = {op} }}>
"""


def test_a_branch_that_is_not_decided_is_a_choice() -> None:
    right(net(BRANCHES.format(op="Mul (x, s)", other="2, 3")))


LAST = "_ = Identity (x)"
REFUSED = {
    "depends on the network's input": LOOP.replace("top = Constant <value = int64 {{ {last} }}> ()", "").replace(
        "d = Less (i, top)", "r = ReduceSum <keepdims = 0> (w)  z = Constant <value = float {{ 0 }}> () d = Less (r, z)"
    ).format(turns=3),
    "more than 1000 times": LOOP.format(turns=5000, last=9000),
    "branches have results of shapes [2, 3] and [3, 2]": BRANCHES.format(
        op="Transpose (x)", other="3, 2"),
    "position 7 of a sequence of 3": """
        p = SplitToSequence <axis = 1> (x)
        k = Constant <value = int64 {7}> ()
        y = SequenceAt (p, k)""",
    "'p' is a sequence": "p = SplitToSequence <axis = 1> (x)\n y = Relu (p)",
    "is not there": "o = Optional <type = float[2, 3]> ()\n e = OptionalGetElement (o)\n y = Add (x, e)",
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_not_decided_is_refused(words: str) -> None:
    with pytest.raises(ModelError) as caught:
        load(net(REFUSED[words]) if "type = " not in REFUSED[words] else absent())
    assert words in str(caught.value) and "node '" in str(caught.value), caught.value


def absent() -> Any:
    """A model that wants an optional value which is not there; onnx's text cannot say that."""
    kind = helper.make_tensor_type_proto(TensorProto.FLOAT, [2, 3])
    nodes = [
        helper.make_node("Optional", [], ["o"], type=kind),
        helper.make_node("OptionalGetElement", ["o"], ["e"]),
        helper.make_node("Add", ["x", "e"], ["y"]),
    ]
    return helper.make_model(_graph(nodes), opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


def _graph(nodes: list[Any], tensors: list[Any] | None = None) -> Any:
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", (2, 3)), ("y", None)))
    return helper.make_graph(nodes, "g", [x], [y], tensors or [])


def test_functions_are_their_bodies() -> None:
    """Of ONNX, for operators that have no reading of their own; the body may depend on types and shapes."""
    weights = np.random.default_rng(0).normal(size=(3, 1, 2)).astype(np.float32)
    tensors = [numpy_helper.from_array(weights, "w"), numpy_helper.from_array(np.array([1, 3, 2]), "s")]
    assert converter("", "CausalConvWithState") is None
    nodes = [
        helper.make_node("Reshape", ["x", "s"], ["h"]),
        helper.make_node("CausalConvWithState", ["h", "w"], ["c", "p"], activation="silu"),
        helper.make_node("CausalConvWithState", ["c", "w"], ["y", "q"]),
    ]
    right(helper.make_model(_graph(nodes, tensors), opset_imports=[helper.make_opsetid("", 27)], ir_version=10))


def test_hidden_results_of_a_body_are_held_to_their_type() -> None:
    """What a loop computes in whole numbers wraps there, too: results inside bodies count as read."""
    body = LOOP.replace("k = Cast <to = 1> (i)", "h = Cast <to = 3> (v)  g = Add (h, h)  k = Cast <to = 1> (g)")
    whole = flat(load(net(body.format(turns=1, last=9))))
    lower, upper = verifier.bound(whole, verifier.Box([100.0] * 6, [100.0] * 6))
    y = whole.run(np.full((1, 6), 100.0))  # 100 + 100 as int8 is -56
    assert y[0, 0] == -6 and (lower <= y).all() and (y <= upper).all()


def test_nodes_are_read_in_the_order_of_what_they_need() -> None:
    nodes = [
        helper.make_node("Add", ["a", "b"], ["y"]),
        helper.make_node("Relu", ["x"], ["a"]),
        helper.make_node("Neg", ["c"], ["b"]),
        helper.make_node("Abs", ["x"], ["c"]),
    ]
    right(helper.make_model(_graph(nodes), opset_imports=[helper.make_opsetid("", 13)], ir_version=8))
    nodes[3] = helper.make_node("Abs", ["y"], ["c"])
    with pytest.raises(ModelError, match="depends on its own result"):
        load(helper.make_model(_graph(nodes), opset_imports=[helper.make_opsetid("", 13)]))


def test_old_operator_sets_are_converted() -> None:
    """Version 6 broadcasts along an axis that it names; onnxruntime has no kernel for that."""
    tensor = numpy_helper.from_array(np.array([1.0, -1.0], np.float32), "b")
    nodes = [
        helper.make_node("Add", ["x", "b"], ["a"], broadcast=1, axis=0),
        helper.make_node("Relu", ["a"], ["y"]),
    ]
    old = helper.make_model(_graph(nodes, [tensor]), opset_imports=[helper.make_opsetid("", 6)], ir_version=3)
    right(old)
    y = load(old).run(np.zeros((1, 6)))
    assert y.tolist() == [[1.0, 1.0, 1.0, 0.0, 0.0, 0.0]]


def test_what_cannot_be_converted_is_refused_in_one_line() -> None:
    node = helper.make_node("ATen", ["x"], ["y"])
    old = helper.make_model(_graph([node]), opset_imports=[helper.make_opsetid("", 1)], ir_version=3)
    with pytest.raises(ModelError, match="operator set 1 is too old"):
        load(old)


def test_outputs_that_hang_on_nothing_are_constants() -> None:
    proto = net("s = Shape (x)  c = Cast <to = 1> (s)  d = Relu (x)  y = Identity (c)", "2")
    proto.graph.output.extend([onnx.helper.make_tensor_value_info("d", TensorProto.FLOAT, [2, 3])])
    right(proto)
    lower, upper = verifier.bound(flat(load(proto)), verifier.Box([-1.0] * 6, [1.0] * 6))
    np.testing.assert_allclose([lower[:2], upper[:2]], [[2.0, 3.0]] * 2)
