"""A timeout in Python ends the comparison of a model with the original, too."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from verifier.graph.ops.relu import Relu
from verifier.search import budget
from verifier.spec.builders import output_property

LAYERS = 60


def chain() -> onnx.ModelProto:
    """Layers of one neuron that nothing merges."""
    nodes, x = [], "x"
    initial = [numpy_helper.from_array(np.float32([[1.5]]), "w"), numpy_helper.from_array(np.float32([-0.5]), "b")]
    for k in range(LAYERS):
        nodes += [helper.make_node("Gemm", [x, "w", "b"], [f"h{k}"]), helper.make_node("Relu", [f"h{k}"], [f"r{k}"])]
        x = f"r{k}"
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 1]) for name in ("x", x)]
    graph = helper.make_graph(nodes, "chain", ends[:1], ends[1:], initial)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)


def test_the_comparison_looks_at_the_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    now, evaluated = [0.0], [0]
    true = Relu.evaluate

    def slow(self: Relu, *x: np.ndarray) -> np.ndarray:
        now[0] += 1.0
        evaluated[0] += 1
        return true(self, *x)

    monkeypatch.setattr(budget, "time", SimpleNamespace(monotonic=lambda: now[0]))
    monkeypatch.setattr(Relu, "evaluate", slow)
    prop = output_property([0.0], [1.0], [[([1.0], -1.0)]])
    assert verifier.verify(chain(), prop, timeout=5.0).verdict == "timeout"
    assert 5 <= evaluated[0] <= 10
