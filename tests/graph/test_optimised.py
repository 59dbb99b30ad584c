"""What onnxruntime writes when it has optimised a model: read, and bounded as the model itself."""

from __future__ import annotations

import io
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from onnx import helper, numpy_helper
from torch import nn

import verifier
from verifier.values.errors import ModelError

LEVELS = ("ORT_ENABLE_BASIC", "ORT_ENABLE_EXTENDED", "ORT_ENABLE_ALL")


class Residual(nn.Module):
    """Two convolutions around a sum."""

    def __init__(self, act: nn.Module) -> None:
        super().__init__()
        self.act, self.norm, self.last = act, nn.BatchNorm2d(4), nn.Linear(4, 3)
        self.first, self.second, self.skip = nn.Conv2d(3, 4, 3, padding=1), nn.Conv2d(4, 4, 3), nn.Conv2d(3, 4, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = self.act(self.norm(self.first(x)))
        y = nn.functional.max_pool2d(self.act(self.second(y) + self.skip(x)), 2)
        return self.last(y.mean((2, 3)))


class Normed(nn.Module):
    """Gates and norms around matrices."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.norm, self.b, self.c = nn.Linear(4, 6), nn.LayerNorm(6), nn.Linear(6, 6), nn.Linear(6, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        y = nn.functional.gelu(self.a(x))
        y = self.norm(y + self.b(y))
        return self.c(y * torch.sigmoid(1.702 * y))


class Small(nn.Module):
    """What mobile networks are made of."""

    def __init__(self) -> None:
        super().__init__()
        self.net = nn.Sequential(
            nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.Hardswish(), nn.Conv2d(4, 4, 3, groups=4, padding=1),
            nn.ReLU6(), nn.AvgPool2d(2), nn.Conv2d(4, 8, 1), nn.Sigmoid(), nn.Flatten(), nn.Linear(8, 2), nn.Tanh(),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x)


class Attended(nn.Module):
    """Heads between two norms."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.TransformerEncoderLayer(4, 2, 6, dropout=0.0, activation="gelu", batch_first=True)
        self.last = nn.Linear(4, 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.last(self.layer(x).mean(1))


def _dense() -> nn.Module:
    first, second, last = nn.Linear(3, 5), nn.Linear(5, 4), nn.Linear(4, 2)
    return nn.Sequential(first, nn.ELU(), second, nn.SELU(), last, nn.Softmax(-1))


NETS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "residual": (lambda: Residual(nn.ReLU()), (1, 3, 4, 4)),
    "leaky": (lambda: Residual(nn.LeakyReLU(0.1)), (1, 3, 4, 4)),
    "normed": (Normed, (1, 4)),
    "small": (Small, (1, 2, 4, 4)),
    "attended": (Attended, (1, 3, 4)),
    "dense": (_dense, (1, 3)),
}
"""Networks and their inputs."""


def exported(net: nn.Module, shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(net.eval(), (torch.randn(shape),), file, dynamo=False, opset_version=17)
    return file.getvalue()


def optimised(data: bytes, level: str, path: Path) -> Path:
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = getattr(onnxruntime.GraphOptimizationLevel, level)
    options.optimized_model_filepath, options.log_severity_level = str(path), 4
    onnxruntime.InferenceSession(data, options, providers=["CPUExecutionProvider"])
    return path


def operators(path: Path) -> set[tuple[str, str]]:
    return {(node.domain, node.op_type) for node in onnx.load(path).graph.node}


@pytest.mark.parametrize("name", NETS)
def test_bounds_are_those_of_the_model(name: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    make, shape = NETS[name]
    data = exported(make(), shape)
    middle = np.random.default_rng(0).standard_normal(int(np.prod(shape)))
    box = verifier.Box(middle - 0.02, middle + 0.02)
    lower, upper = verifier.bound(verifier.load(data), box)
    seen = set[str]()
    for level in LEVELS:
        path = optimised(data, level, tmp_path / "o.onnx")
        found = operators(path)
        seen |= {domain for domain, _ in found}
        if any(domain == "com.microsoft.nchwc" for domain, _ in found):
            with pytest.raises(
                ModelError, match="laid these weights out for one kind of processor.*ORT_ENABLE_EXTENDED"
            ):
                verifier.load(path)
            continue
        low, high = verifier.bound(verifier.load(path), box)
        near = 0.02 * (upper - lower) + 1e-5  # what is fused may be a single curve
        assert (abs(low - lower) <= near).all() and (abs(high - upper) <= near).all(), level
    assert "com.microsoft" in seen  # else nothing was fused, and nothing tested


FUSED = {
    "gemm": [
        ("Selu", {}),
        ("ThresholdedRelu", {"alpha": 0.3}),
        ("Elu", {"alpha": 0.5}),
        ("HardSigmoid", {"alpha": 0.3}),
    ],
    "conv": [
        ("Clip", {}),
        ("Clip", {"low": -0.5}),
        ("Clip", {"low": 0.0, "high": 6.0}),
        ("HardSigmoid", {"alpha": 0.3}),
    ],
}


@pytest.mark.parametrize(("kind", "op", "given"), [(k, op, a) for k, each in FUSED.items() for op, a in each])
def test_activations_that_are_fused(kind: str, op: str, given: dict[str, Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    W, shape = ((3, 4), [1, 3]) if kind == "gemm" else ((2, 2, 3, 3), [1, 2, 4, 4])
    stored = {"W": rng.standard_normal(W), "b": rng.standard_normal(W[-1] if kind == "gemm" else 2)}
    inputs = ["h"]
    if op == "Clip":
        stored |= {k: np.array(v) for k, v in given.items()}
        inputs += ["low" if "low" in given else "", *(["high"] if "high" in given else [])]
    nodes = [helper.make_node("Gemm" if kind == "gemm" else "Conv", ["x", "W", "b"], ["h"]),
             helper.make_node(op, inputs, ["y"], **(given if op != "Clip" else {}))]  # fmt: skip
    ends = [helper.make_tensor_value_info("x", 1, shape), helper.make_tensor_value_info("y", 1, None)]
    tensors = [numpy_helper.from_array(np.asarray(v, np.float32), k) for k, v in stored.items()]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], tensors)
    data = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9).SerializeToString()
    path = optimised(data, "ORT_ENABLE_EXTENDED", tmp_path / "o.onnx")
    assert op == "Clip" or any(name.startswith("Fused") for _, name in operators(path))
    box = verifier.Box(-np.ones(int(np.prod(shape))), np.ones(int(np.prod(shape))))
    expected, found = (verifier.bound(verifier.load(m), box) for m in (data, path))
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-5)
