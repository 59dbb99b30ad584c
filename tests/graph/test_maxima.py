"""Maxima as rectifiers: copies do not play against themselves, constants of any size round nothing where they lose."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Scale
from verifier.graph.ops.moves import Reshape, Take
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.relu import Relu
from verifier.graph.passes.maxima import maxima_to_relu

LOWEST = np.finfo(np.float32).min


def _graph(rng: np.random.Generator, low: float) -> tuple[Graph, np.ndarray]:
    """Windows over moved entries of five inputs, some of them padding of the value `low`; and whose copy each is."""
    b = Builder()
    x = b.add(Input((5,)), ())
    index = rng.integers(-1, 5, 12)
    y = b.add(Take(index, (12,)), (x,))
    y = b.add(Reshape((3, 4)), (b.add(Scale(None, np.where(index < 0, low, 0.0)), (y,)),))
    windows = rng.integers(0, 12, (6, int(rng.integers(1, 8))))
    return b.graph([x], [b.add(MaxOf(windows, (2, 3)), (y,))]), index[windows]


@pytest.mark.parametrize("seed", range(30))
@pytest.mark.parametrize("low", (0.0, -2.0, float(LOWEST)))
def test_the_same_function(seed: int, low: float) -> None:
    """Values are those of the maxima, whatever the padding."""
    rng = np.random.default_rng(seed)
    graph, _ = _graph(rng, low)
    written = maxima_to_relu(graph)
    assert not any(isinstance(node.op, MaxOf) for node in written.nodes)
    x = rng.normal(size=(50, 5))
    (want,), (got,) = graph.evaluate(x), written.evaluate(x)
    np.testing.assert_allclose(got, want, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("seed", range(30))
def test_as_many_games_as_needed(seed: int) -> None:
    """Of n different entries and a constant n rectifiers are made, of n entries one less."""
    rng = np.random.default_rng(seed)
    graph, source = _graph(rng, -3.0)
    different = [set(row[row >= 0].tolist()) for row in source]
    most = sum(max(0, len(d) - 1) + bool(d and (row < 0).any()) for d, row in zip(different, source, strict=True))
    made = sum(node.size for node in maxima_to_relu(graph).nodes if isinstance(node.op, Relu))
    assert made == most


def _model(path: Path, kind: str, value: float) -> str:
    constants = {"c": np.float32(3), "v": np.float32(value), "p": np.array([0, 0, 1, 0, 0, 1])}
    made = {
        "pad": [
            helper.make_node("Pad", ["z", "p", "v"], ["w"]),
            helper.make_node("MaxPool", ["w"], ["y"], kernel_shape=[2], strides=[2]),
        ],
        "max": [helper.make_node("Max", ["z", "v"], ["y"])],
        "min": [helper.make_node("Min", ["z", "v"], ["y"])],
        "concat": [
            helper.make_node("Concat", ["z", "v"], ["w"], axis=2),
            helper.make_node("ReduceMax", ["w"], ["y"], axes=[2], keepdims=0),
        ],
    }[kind]
    if kind == "concat":
        constants["v"] = np.full((1, 1, 3), value, np.float32)
    graph = helper.make_graph(
        [helper.make_node("Mul", ["x", "c"], ["z"]), *made],
        "low",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, (1, 1, 4))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(v, k) for k, v in constants.items() if any(k in n.input for n in made) or k == "c"],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(model, path / "low.onnx")
    return str(path / "low.onnx")


@pytest.mark.parametrize("dtype", ("float32", "float64"))
@pytest.mark.parametrize("method", ("interval", "forward", "crown", "alpha-crown"))
@pytest.mark.parametrize(
    ("kind", "value"), [(k, v) for k in ("pad", "max", "concat") for v in (-1e30, LOWEST)] + [("min", 1e30)]
)
def test_far_constants(tmp_path: Path, kind: str, value: float, method: str, dtype: str) -> None:
    """A lowest number as padding, or a highest one, is read, and bounds are as if it were not there."""
    net = verifier.load(_model(tmp_path, kind, value))
    x = np.array([0.1, 0.5, 0.2, 0.7])
    lower, upper = verifier.bound(net, verifier.Ball(x, 0.01), method, dtype=dtype)
    want = {"pad": 3 * x[[0, 1, 3]], "concat": 3 * x[[3]]}.get(kind, 3 * x)
    near = 0.07 if method == "interval" else 1e-4  # intervals forget that what is compared is what is added
    np.testing.assert_allclose(lower, want - 0.03, atol=near)
    np.testing.assert_allclose(upper, want + 0.03, atol=near)
