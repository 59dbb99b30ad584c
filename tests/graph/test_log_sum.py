"""Logarithms of sums of exponentials, and their relatives, for numbers whose exponentials no type holds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

import verifier
from verifier.graph.from_onnx import load
from verifier.run.model import boundable

SIZES = (1.0, 300.0, 5000.0)
"""Of logits: exponentials of the second overflow single precision, of the last one double precision."""
FORMS: dict[str, tuple[str, dict[str, Any], int]] = {
    "LogSoftmax": ("LogSoftmax", {"axis": 1}, 18), "LogSoftmax axis 2": ("LogSoftmax", {"axis": 2}, 18),
    "LogSoftmax old": ("LogSoftmax", {"axis": 1}, 11), "ReduceLogSumExp": ("ReduceLogSumExp", {"axes": [1]}, 13),
    "ReduceLogSumExp all": ("ReduceLogSumExp", {"keepdims": 0}, 13), "Softmax": ("Softmax", {"axis": 1}, 18),
    "Softplus": ("Softplus", {}, 18), "Mish": ("Mish", {}, 18), "Elu": ("Elu", {}, 18),
}  # fmt: skip


def logits(form: str, size: float, n: int = 3) -> Any:
    """A model of a matrix, logits of a size and an operator over them."""
    op, how, opset = FORMS[form]
    rng = np.random.default_rng(3)
    stored = {
        "W": rng.normal(size=(2, 2 * n)) * size / 4, "b": rng.normal(size=2 * n) * size, "s": np.array([1, n, 2])
    }  # fmt: skip
    nodes = [
        helper.make_node("Gemm", ["x", "W", "b"], ["h"]),
        helper.make_node("Reshape", ["h", "s"], ["r"]),
        helper.make_node(op, ["r"], ["y"], **how),
    ]
    kept = [numpy_helper.from_array(a if k == "s" else a.astype(np.float32), k) for k, a in stored.items()]
    ends = [helper.make_tensor_value_info(k, 1, shape) for k, shape in (("x", [1, 2]), ("y", None))]
    graph = helper.make_graph(nodes, form.replace(" ", "_"), ends[:1], ends[1:], kept)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize("size", SIZES[1:])
@pytest.mark.parametrize("form", FORMS)
def test_values_and_bounds(form: str, size: float) -> None:
    """At points values are onnxruntime's; on boxes bounds hold them and are numbers."""
    model: Any = load(logits(form, size))
    boundable(model)  # compares
    rng = np.random.default_rng(0)
    for radius in (0.0, 0.01, 2.0):
        middle = rng.normal(size=2)
        points = middle + radius * rng.uniform(-1, 1, (200, 2))
        box = verifier.Box(points.min(0), points.max(0))
        y = model.graph.evaluate(points.reshape(-1, 1, 2))[0].reshape(200, -1)
        for method in ("interval", "forward", "crown"):
            lower, upper = verifier.bound(model, box, method=method)
            room = 1e-12 * (1 + abs(y).max())
            assert np.isfinite(lower).all() and np.isfinite(upper).all()
            assert (lower <= y + room).all() and (y - room <= upper).all(), (radius, method)
            assert radius or (upper - lower <= 1e-6 * (1 + size)).all()


@pytest.mark.parametrize("size", SIZES)
def test_the_sum_cancels_where_logits_are_compared(size: float) -> None:
    """Whether one share is larger than another is whether its logit is; `unsat` and `sat` by bounds of these."""
    model = load(logits("LogSoftmax", size))
    W, b = (numpy_helper.to_array(t).astype(float) for t in logits("LogSoftmax", size).graph.initializer[:2])
    box = verifier.Box([-3, -3], [3, 3])
    gap = b[0] - b[2] + abs(W[:, 0] - W[:, 2]).sum() * 3  # the most that Y_0 − Y_2 comes to
    row = np.array([1.0, 0, -1, 0, 0, 0])
    for off, verdict in ((1e-3, verifier.Verdict.UNSAT), (-1e-2, verifier.Verdict.SAT)):
        prop = verifier.output_property(box.lower, box.upper, [[(-row, -float(gap + off * size))]])
        result = verifier.verify(model, prop, timeout=20)
        assert result.verdict is verdict and result.stats.get("domains", 0) <= 1


def test_an_interval_is_that_of_the_sum() -> None:
    """Two numbers and their sum, whatever both share."""
    model = load(logits("ReduceLogSumExp", 1.0, n=2))
    lower, upper = verifier.bound(model, verifier.Box([-1, -1], [1, 1]), method="interval")
    W, b = (numpy_helper.to_array(t).astype(float) for t in logits("LogSoftmax", 1.0, 2).graph.initializer[:2])
    for side, found in ((-1, lower), (1, upper)):
        ends = (b + side * abs(W).sum(0)).reshape(2, 2)
        np.testing.assert_allclose(found, np.logaddexp(*ends), rtol=1e-5)
        assert (side * (found - np.logaddexp(*ends)) >= 0).all()


def test_torch_likewise() -> None:
    torch = pytest.importorskip("torch")

    class Net(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            """Both of three, and over the last axis of two."""
            h = x.reshape(-1, 2, 3) * 2000.0
            both = torch.log_softmax(h, 1).flatten(1), torch.logsumexp(h, 2)
            return torch.cat([*both, h.logsumexp((1, 2))[:, None]], 1)

    net = verifier.load(Net(), torch.randn(1, 6))
    x = np.random.default_rng(0).normal(size=(20, 6))
    y = net.run(x)
    lower, upper = verifier.bound(net, verifier.Box(x.min(0), x.max(0)))
    room = 1e-5 * abs(y).max()
    assert np.isfinite(lower).all() and (lower <= y + room).all() and (y <= upper + room).all()
