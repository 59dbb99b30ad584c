"""Largest entries, sorted ones, classes, remainders: bounds hold samples and ties, exact where all is decided."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper, parser

import verifier
from verifier.graph.from_onnx import load
from verifier.values.errors import ModelError

HEAD = '<ir_version: 8, opset_import: ["" : 13]>\ng (float[{n}] x) => (float[{m}] y)\n'
NETS = {
    "positions of the largest": (5, 3, "k = Constant <value_ints = [3]> () v, i = TopK (x, k) y = Cast <to = 1> (i)"),
    "the largest": (5, 3, "k = Constant <value_ints = [3]> () y, i = TopK (x, k)"),
    "the smallest": (5, 2, "k = Constant <value_ints = [2]> () y, i = TopK <largest = 0> (x, k)"),
    "positions of the smallest": (4, 2, "k = Constant <value_ints = [2]> () v, i = TopK <largest = 0> (x, k) "
                                        "y = Cast <to = 1> (i)"),
    "all sorted": (7, 7, "k = Constant <value_ints = [7]> () y, i = TopK (x, k)"),
    "hard maximum": (4, 4, "y = Hardmax (x)"),
    "class of the largest": (4, 6, "i = ArgMax (x) d = Constant <value = int64 { 6 }> () "
                                   "v = Constant <value = float[2] { 0, 1 }> () z = OneHot (i, d, v) "
                                   "s = Constant <value_ints = [6]> () y = Reshape (z, s)"),
    "class of a number": (1, 5, "d = Constant <value = int64 { 5 }> () v = Constant <value = float[2] { -1, 1 }> () "
                                "i = Cast <to = 7> (x) z = OneHot (i, d, v) "
                                "s = Constant <value_ints = [5]> () y = Reshape (z, s)"),
    "values of a class": (2, 4, "c = Constant <value = int64[2] { 1, -1 }> () d = Constant <value = int64 { 2 }> () "
                                "z = OneHot (c, d, x) s = Constant <value_ints = [4]> () y = Reshape (z, s)"),
    "remainder": (3, 3, "d = Constant <value = float[3] { 0.7, -1.5, 2 }> () y = Mod <fmod = 1> (x, d)"),
    "whole remainder": (3, 3, "d = Constant <value = int32[3] { 2, -3, 1 }> () i = Cast <to = 6> (x) "
                              "m = Mod (i, d) y = Cast <to = 1> (m)"),
}  # fmt: skip


def net(name: str) -> Any:
    n, m, body = NETS[name]
    return load(parser.parse_model(HEAD.format(n=n, m=m) + "{" + body + "}"))


@pytest.mark.parametrize("name", NETS)
def test_bounds_hold_what_there_is(name: str) -> None:
    model, n = net(name), NETS[name][0]
    rng = np.random.default_rng(1)
    for size in (0.0, 0.37, 3.0):
        center = rng.permutation(np.linspace(-3.1, 2.4, n)) if n > 1 else np.array([1.2])
        low, high = center - size, center + size
        x = rng.uniform(low, high, (200, n)) if size else center[None]
        if size:
            x[50:100] = np.clip(np.rint(x[50:100]), low, high)  # ties and jumps
            x[:9] = np.clip(1.0, low, high)
        y = model.run(x)
        for method in ("interval", "crown"):
            lower, upper = verifier.bound(model, verifier.Box(low, high), method=method)
            assert (lower - 1e-5 <= y).all() and (y <= upper + 1e-5).all(), (size, method)
            assert np.isfinite(upper - lower).all() and (size or (upper - lower).max() < 1e-3)


def test_classes_of_the_largest_are_between_none_and_one() -> None:
    """The position of a winner is not looked at as a number: each class is a comparison, whatever the others are."""
    lower, upper = verifier.bound(net("class of the largest"), verifier.Box([-1.0] * 4, [1.0] * 4))
    assert (lower >= -1e-9).all() and (upper <= 1 + 1e-9).all()
    np.testing.assert_allclose([lower[4:], upper[4:]], 0.0, atol=1e-9)  # there is no entry 4
    lower, upper = verifier.bound(net("class of the largest"), verifier.Box([0, 0, 0.2, 0], [0.1, 0.1, 0.3, 0.1]))
    np.testing.assert_allclose(lower, [0, 0, 1, 0, 0, 0], atol=1e-9)
    np.testing.assert_allclose(upper, [0, 0, 1, 0, 0, 0], atol=1e-9)


REFUSED = {
    "not sorted": ("TopK", {"k": np.array([2])}, {"sorted": 0}),
    "TopK of 9 among 3": ("TopK", {"k": np.array([9])}, {}),
    "Mod by zero": ("Mod", {"k": np.array(0.0, np.float32)}, {"fmod": 1}),
    "OneHot of depth 0": ("OneHot", {"d": np.array(0), "v": np.array([0.0, 1.0], np.float32)}, {}),
}


@pytest.mark.parametrize("words", REFUSED)
def test_what_is_not_defined_is_refused(words: str) -> None:
    op, constants, attributes = REFUSED[words]
    with pytest.raises(ModelError, match=words) as caught:
        load(of_one([helper.make_node(op, ["x", *constants], ["y"], **attributes)], constants))
    assert "node 'y'" in str(caught.value)


def of_one(nodes: list[Any], constants: dict[str, np.ndarray]) -> Any:
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (("x", [3]), ("y", None)))
    tensors = [numpy_helper.from_array(a, name) for name, a in constants.items()]
    graph = helper.make_graph(nodes, "g", [x], [y], tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_whether_a_number_is_one_is_not_told_where_it_may_be_none() -> None:
    nodes = [helper.make_node("Log", ["x"], ["l"]), helper.make_node("IsNaN", ["l"], ["t"]),
             helper.make_node("Where", ["t", "c", "x"], ["y"])]  # fmt: skip
    with pytest.raises(ModelError, match="may have no value"):
        load(of_one(nodes, {"c": np.array(1.0, np.float32)}))
