"""Padding by minus infinity, and other constants that make some numbers so, before maxima and rectifiers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

import verifier
from verifier.graph.from_onnx import load
from verifier.run.model import boundable
from verifier.values.errors import ModelError

LOWEST = np.array(-np.inf, np.float32)
STORED = {
    "s": np.array([1, 1, 3, 3]), "p": np.array([0, 0, 1, 1, 0, 0, 1, 1]), "low": LOWEST,
    "far": np.array([0, 0, 2, 2] * 2),
    "some": np.where(np.eye(3) > 0, LOWEST, 0.5).astype(np.float32),
    "all": np.full((3, 3), LOWEST),
    "two": np.array([2, 3]),
}  # fmt: skip


def node(op: str, inputs: str, output: str = "y", **how: Any) -> Any:
    return helper.make_node(op, inputs.split(), [output], **how)


PAD = [node("Reshape", "x s", "r"), node("Pad", "r p low", "z")]
SUM = [node("Reshape", "x s", "r"), node("Add", "r some", "z")]
GOOD = {
    "pool": [*PAD, node("MaxPool", "z", kernel_shape=[3, 3], strides=[2, 2])],
    "pool dilated": [*PAD, node("MaxPool", "z", kernel_shape=[2, 2], dilations=[2, 2])],
    "whole pool": [*PAD, node("GlobalMaxPool", "z")],
    "relu": [*PAD, node("Relu", "z")],
    "relu behind a sum": [*SUM, node("Relu", "z")],
    "largest": [*SUM, node("ReduceMax", "z two")],
    "pool, then relu": [*PAD, node("MaxPool", "z", "m", kernel_shape=[2, 2]), node("Relu", "m")],
}
BAD = {
    "nothing left": [node("Reshape", "x s", "r"), node("Add", "r all", "z"), node("ReduceMax", "z two")],
    "a pool in the padding": [
        node("Reshape", "x s", "r"), node("Pad", "r far low", "z"), node("MaxPool", "z", kernel_shape=[2, 2])
    ],
    "handed out": [*PAD, node("Neg", "z")],
}  # fmt: skip


def model(nodes: list[Any]) -> Any:
    used = {n for made in nodes for n in made.input}
    kept = [numpy_helper.from_array(a, k) for k, a in STORED.items() if k in used]
    ends = [helper.make_tensor_value_info(k, 1, shape) for k, shape in (("x", [1, 9]), ("y", None))]
    graph = helper.make_graph(nodes, "infinite", ends[:1], ends[1:], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


@pytest.mark.parametrize("name", GOOD)
def test_what_it_leaves_is_read(name: str) -> None:
    net: Any = load(model(GOOD[name]))
    boundable(net)  # compares
    rng = np.random.default_rng(0)
    middle = rng.normal(size=9)
    points = middle + 0.5 * rng.uniform(-1, 1, (300, 9))
    y = net.run(points)
    assert np.isfinite(y).all()
    for method in ("interval", "crown"):
        lower, upper = verifier.bound(net, verifier.Box(middle - 0.5, middle + 0.5), method=method)
        assert np.isfinite([lower, upper]).all()
        assert (lower <= y + 1e-5).all() and (y <= upper + 1e-5).all()
    if name != "largest":  # the entry in the middle of each bound is reached: nothing was lost
        assert (upper - lower <= 1.0 + 1e-5).all()


@pytest.mark.parametrize("name", BAD)
def test_what_stays_infinite_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="minus infinity"):
        load(model(BAD[name]))
