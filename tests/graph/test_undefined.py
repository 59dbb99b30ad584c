"""A softmax of nothing: read where its entries are chosen away, refused where anything is made of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from verifier.graph.from_onnx import check, load
from verifier.graph.passes.runner import simplify
from verifier.values.errors import ModelError

KEEP = np.array([[True, False, True], [False, False, False], [True, True, True]])
CONSTANTS = {
    "mask": np.where(KEEP, 0, -np.inf).astype(np.float32),
    "empty": ~KEEP.any(1, keepdims=True),
    "zero": np.float32(0),
    "some": np.array([0, 2]),
    "perm": np.array([2, 0, 1]),
}


def model(*nodes: tuple[str, list[str]]) -> Any:
    """`x` masked, its softmax `p`, and the rest; the last output is `y`."""
    made = [helper.make_node("Add", ["x", "mask"], ["m"]), helper.make_node("Softmax", ["m"], ["p"])]
    names = [*(f"t{k}" for k in range(len(nodes) - 1)), "y"]
    made += [helper.make_node(op, inputs, [name]) for (op, inputs), name in zip(nodes, names, strict=True)]
    x, y = (helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [3, 3]), ("y", None)))
    tensors = [numpy_helper.from_array(np.asarray(a), n) for n, a in CONSTANTS.items()]
    graph = helper.make_graph(made, "nothing", [x], [onnx.ValueInfoProto(name="y")], tensors)
    graph.output[0].type.tensor_type.elem_type = y.type.tensor_type.elem_type
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


CHOSEN: dict[str, Any] = {
    "by the mask": model(("Where", ["empty", "zero", "p"]), ("MatMul", ["t0", "x"])),
    "by IsNaN": model(("IsNaN", ["p"]), ("Where", ["t0", "zero", "p"]), ("MatMul", ["t1", "x"])),
    "moved and multiplied before": model(("Gather", ["p", "perm"]), ("Exp", ["t0"]), ("Gather", ["t1", "some"]),
                                         ("IsNaN", ["t2"]), ("Where", ["t3", "zero", "t2"])),
    "dropped": model(("Gather", ["p", "some"]), ("MatMul", ["t0", "x"])),
}  # fmt: skip


@pytest.mark.parametrize("name", CHOSEN)
def test_what_is_chosen_away_is_read(name: str) -> None:
    net = load(CHOSEN[name])
    check(net)
    check(net, simplify(net.graph))
    rng = np.random.default_rng(1)
    center = rng.normal(size=9)
    lower, upper = verifier.bound(verifier.load(CHOSEN[name]), verifier.Box(center - 0.1, center + 0.1))
    y = net.run(rng.uniform(center - 0.1, center + 0.1, (200, 9)))
    assert np.isfinite(y).all() and (lower <= y).all() and (y <= upper).all() and (upper - lower < 2).all()


MADE: dict[str, Any] = {
    "an output": model(("Identity", ["p"])),
    "a product": model(("MatMul", ["p", "x"])),
    "a comparison": model(("Greater", ["p", "zero"]), ("Where", ["t0", "x", "zero"])),
    "a maximum": model(("Relu", ["p"])),
    "chosen": model(("Not", ["empty"]), ("Where", ["t0", "zero", "p"])),
}


@pytest.mark.parametrize("name", MADE)
def test_what_something_is_made_of_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="softmax of nothing but minus infinity") as caught:
        load(MADE[name])
    assert len(str(caught.value).splitlines()) == 1
