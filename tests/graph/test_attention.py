"""Attention as one operator is bounded as well as the operators that exporters wrote before there was one."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

import verifier
from verifier.graph.from_onnx import load
from verifier.graph.repeated import REMARK
from verifier.values.errors import ModelError

B, S, N, HEADS, D = 1, 4, 6, 2, 3
RNG = np.random.default_rng(3)
MATRICES = {name: RNG.normal(size=(N, N)).astype(np.float32) for name in ("Wq", "Wk", "Wv", "Wo")}
MASK = np.triu(np.full((S, S), -np.inf, np.float32), 1)
SIZES = {"heads": np.array([B, S, HEADS, D]), "flat": np.array([B, S, N])}


def model(nodes: list[Any], opset: int, outputs: int = 1, more: dict[str, np.ndarray] | None = None) -> Any:
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, [B, S, N])
    ys = [onnx.ValueInfoProto(name=o) for o in nodes[-1].output[:outputs]]
    for y in ys:
        y.type.tensor_type.elem_type = TensorProto.FLOAT
    constants = {**MATRICES, "mask": MASK, "root": np.float32(D**-0.5), **SIZES, **(more or {})}
    tensors = [numpy_helper.from_array(a, name) for name, a in constants.items()]
    graph = helper.make_graph(nodes, "attention", [x], ys, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


def projections() -> list[Any]:
    return [helper.make_node("MatMul", ["x", f"W{k}"], [k]) for k in "qkv"]


def in_one(**attributes: Any) -> list[Any]:
    attention = helper.make_node(
        "Attention", ["q", "k", "v"], ["a"], q_num_heads=HEADS, kv_num_heads=HEADS, **attributes
    )
    return [*projections(), attention, helper.make_node("MatMul", ["a", "Wo"], ["y"])]


def in_parts() -> list[Any]:
    """As torch's exporter wrote it at operator set 18."""
    nodes = projections()
    for k, order in (("q", [0, 2, 1, 3]), ("k", [0, 2, 3, 1]), ("v", [0, 2, 1, 3])):
        nodes += [helper.make_node("Reshape", [k, "heads"], [f"{k}4"])]
        nodes += [helper.make_node("Transpose", [f"{k}4"], [f"{k}h"], perm=order)]
    return [
        *nodes,
        helper.make_node("Mul", ["qh", "root"], ["qs"]),
        helper.make_node("MatMul", ["qs", "kh"], ["scores"]),
        helper.make_node("Add", ["scores", "mask"], ["masked"]),
        helper.make_node("Softmax", ["masked"], ["shares"], axis=-1),
        helper.make_node("MatMul", ["shares", "vh"], ["h"]),
        helper.make_node("Transpose", ["h"], ["ht"], perm=[0, 2, 1, 3]),
        helper.make_node("Reshape", ["ht", "flat"], ["a"]),
        helper.make_node("MatMul", ["a", "Wo"], ["y"]),
    ]


@pytest.mark.parametrize("opset", [23, 24])
def test_bounds_are_those_of_its_parts(opset: int) -> None:
    center = np.random.default_rng(4).normal(size=B * S * N)
    box = verifier.Box(center - 0.01, center + 0.01)
    whole, parts = model(in_one(is_causal=1), opset), model(in_parts(), 18)
    for method in ("interval", "crown"):
        (a, b), (c, d) = (verifier.bound(verifier.load(m), box, method=method) for m in (whole, parts))
        np.testing.assert_allclose(np.array([a, b]), np.array([c, d]), rtol=1e-4, atol=1e-4)
    x = np.random.default_rng(5).uniform(box.lower, box.upper, (300, B * S * N))
    y = load(whole).run(x)
    assert (a <= y).all() and (y <= b).all() and (b - a < 4.0).all()


def refusal(inputs: list[str], more: dict[str, np.ndarray] | None = None, outputs: int = 1, **attributes: Any) -> str:
    names = ["y", "pk", "pv", "stage"][: max(outputs, 1)]
    node = helper.make_node("Attention", inputs, names, q_num_heads=HEADS, kv_num_heads=HEADS, **attributes)
    with pytest.raises(ModelError) as caught:
        load(model([node], 24, outputs, more))
    return str(caught.value)


def test_what_is_not_read_is_refused_by_name() -> None:
    past = np.ones((B, HEADS, 2, D), np.float32)
    keys = np.ones((B, S, N), np.float32)
    one = {"past": past, "keys": keys, "first": np.ones((B, 1, N), np.float32)}
    assert "one query with 4 new keys" in refusal(["first", "x", "x", "", "past", "past"], one, is_causal=1)
    assert "minus infinity" in refusal(["x", "x", "x", "mask"], outputs=4, qk_matmul_output_mode=2)
    assert "softmax in float16" in refusal(["x", "x", "x"], softmax_precision=TensorProto.FLOAT16)
    short = np.zeros((S, S + 1), np.float32)
    assert "mask of shape [4, 5]" in refusal(["x", "x", "x", "wide"], {"wide": short})


ROWS: dict[str, np.ndarray] = {
    "truth values": np.array([[[[True, True, False, True]]]]),
    "numbers": np.array([0.5, -1.0, 0.0, 2.0], np.float32),
    "minus infinity": np.array([[0.0, -np.inf, 0.0, 0.0]], np.float32),
    "a row a head": np.array([[[True, True, False, True]], [[False, True, True, True]]]),
}
"""Masks that mean the same to every query."""


@pytest.mark.parametrize("name", ROWS)
@pytest.mark.parametrize("flat", [True, False])
def test_a_mask_of_one_row_is_for_every_query(name: str, flat: bool) -> None:
    if flat:
        nodes = [*projections(), helper.make_node("Attention", [*"qkv", "rows"], ["a"], q_num_heads=2, kv_num_heads=2)]
    else:
        nodes = in_parts()[:9] + [
            helper.make_node("Transpose", ["kh"], ["kt"], perm=[0, 1, 3, 2]),
            helper.make_node("Attention", ["qh", "kt", "vh", "rows"], ["a"]),
        ]
    whole = model(nodes, 23, more={"rows": ROWS[name]})
    center = np.random.default_rng(4).normal(size=B * S * N)
    box = verifier.Box(center - 0.01, center + 0.01)
    x = np.random.default_rng(5).uniform(box.lower, box.upper, (40, B * S * N)).astype(np.float32)
    net = load(whole)
    y, known = net.run(x), ReferenceEvaluator(whole)
    truth = np.array([known.run(None, {"x": row.reshape(B, S, N)})[0].reshape(-1) for row in x])
    np.testing.assert_allclose(y, truth, rtol=1e-4, atol=1e-5)
    lower, upper = verifier.bound(verifier.load(whole), box)
    assert (lower <= truth + 1e-5).all() and (truth <= upper + 1e-5).all() and (upper - lower < 2.0).all()
    assert net.remarks == (REMARK,) and net.unoptimised().remarks == net.remarks
    every = model(nodes, 23, more={"rows": np.broadcast_to(ROWS[name], (*ROWS[name].shape[:-2], S, S)).copy()})
    assert load(every).remarks == ()  # run as it stands in the file
    np.testing.assert_allclose(load(every).run(x), y, rtol=1e-4, atol=1e-5)


def test_a_counterexample_of_a_mask_of_one_row_is_replayed() -> None:
    nodes = [*projections(), helper.make_node("Attention", [*"qkv", "rows"], ["y"], q_num_heads=2, kv_num_heads=2)]
    net = verifier.load(model(nodes, 24, more={"rows": ROWS["truth values"]}))
    ball = verifier.Ball(np.random.default_rng(4).normal(size=B * S * N), 0.1)
    result = verifier.verify(net, verifier.robustness(ball, label=0), timeout=20)
    assert result.verdict == "sat" and REMARK in " ".join(result.stats["remarks"])
