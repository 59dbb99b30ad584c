"""Networks in float16: what onnxruntime gives, rounded by every operator, lies within bounds and is never refuted."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from verifier.run import verify as run
from verifier.values.errors import ModelError

HALF = TensorProto.FLOAT16
BETWEEN = ("Relu", "Sigmoid", "Tanh", "Add", "Mul", "Softmax", "LayerNormalization", "LeakyRelu", "Exp", "Square")


def network(rng: np.random.Generator, n: int, between: tuple[str, ...] = BETWEEN, kind: int = HALF) -> bytes:
    """Layers `[1, n]` to `[1, 2]` with random operators between them, every number in float16."""
    nodes, tensors, last, width = list[Any](), list[Any](), "x", n

    def constant(a: np.ndarray) -> str:
        tensors.append(numpy_helper.from_array(a.astype(np.float16), f"c{len(tensors)}"))
        return str(tensors[-1].name)

    def add(op: str, *inputs: str, **attributes: Any) -> str:
        nodes.append(helper.make_node(op, list(inputs), [f"{op}{len(nodes)}"], **attributes))
        return str(nodes[-1].output[0])

    for size in (*rng.integers(2, 7, int(rng.integers(1, 4))), 2):
        W = rng.standard_normal((width, size)) / np.sqrt(width)
        last, width = add("Gemm", last, constant(W), constant(rng.standard_normal(size) * 0.3)), int(size)
        if size == 2:
            break
        op = str(rng.choice(between))
        if op in ("Add", "Mul"):
            last = add(op, last, constant(rng.standard_normal(width)))
        elif op == "LayerNormalization":
            last = add(op, last, constant(np.ones(width)), constant(np.zeros(width)))
        else:
            last = add("Mul", last, last) if op == "Square" else add(op, last)
    ends = [helper.make_tensor_value_info(name, kind, [1, k]) for name, k in (("x", n), (last, 2))]
    graph = helper.make_graph(nodes, "half", ends[:1], ends[1:], tensors)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


def points(rng: np.random.Generator, lower: np.ndarray, upper: np.ndarray, count: int) -> np.ndarray:
    """Numbers of float16 in a box whose ends are such."""
    x = lower + rng.random((count, len(lower))) * (upper - lower)
    return np.clip(x.astype(np.float16).astype(np.float64), lower, upper)


@pytest.mark.parametrize("seed", range(12))
def test_what_onnxruntime_gives_lies_within_bounds(seed: int) -> None:
    rng = np.random.default_rng(seed)
    n = int(rng.integers(1, 4))
    net = verifier.load(network(rng, n))
    middle = rng.standard_normal(n)
    for eps in (0.0, 0.01, 0.3):
        lower, upper = (a.astype(np.float16).astype(np.float64) for a in (middle - eps, middle + eps))
        y = net.run(points(rng, lower, upper, 60))
        low, high = verifier.bound(net, verifier.Box(lower, upper))
        assert (low <= y).all() and (y <= high).all()
        real = verifier.bound(verifier.load(_widened(net)), verifier.Box(lower, upper))
        assert (low <= real[0] + 1e-6).all() and (real[1] - 1e-6 <= high).all()  # the rounding comes on top
        assert (high - low <= 3 * (real[1] - real[0]) + 0.1 * (1 + np.abs(y).max())).all()  # and is small


def _widened(net: Any) -> bytes:
    """The same network with the same numbers in float32."""
    proto = onnx.load_model_from_string(net.source)
    for t in proto.graph.initializer:
        t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float32), t.name))
    for v in (*proto.graph.input, *proto.graph.output):
        v.type.tensor_type.elem_type = TensorProto.FLOAT
    return bytes(proto.SerializeToString())


def question(folder: Path, lower: np.ndarray, upper: np.ndarray, literal: str) -> Path:
    ends = zip(lower, upper, strict=True)
    lines = [
        f"(declare-const X_{i} Real)(assert (>= X_{i} {a}))(assert (<= X_{i} {b}))" for i, (a, b) in enumerate(ends)
    ]
    (folder / "p.vnnlib").write_text("".join([*lines, *(f"(declare-const Y_{i} Real)" for i in (0, 1))]) + literal)
    return folder / "p.vnnlib"


def test_planted_counterexamples_are_never_refuted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest output that onnxruntime gives is asked for, with attack and candidates switched off."""
    monkeypatch.setattr(run, "attack", lambda *a, **k: None)
    monkeypatch.setattr(run, "Replay", lambda *a, **k: lambda x, box: None)
    found: Counter[str] = Counter()
    for seed in range(20):
        rng = np.random.default_rng(100 + seed)
        net = verifier.load(network(rng, 2))
        lower = rng.integers(-16, 16, 2) / 8.0
        upper = lower + rng.choice([0.0, 2.0**-9, 0.125])
        best = float(net.run(points(rng, lower, upper, 100))[:, 0].max())
        planted = verifier.verify(net, question(tmp_path, lower, upper, f"(assert (>= Y_0 {best}))"), timeout=0.2)
        far = verifier.verify(net, question(tmp_path, lower, upper, f"(assert (>= Y_0 {best + 1.0}))"), timeout=2)
        assert planted.verdict != "unsat", seed
        found[str(far.verdict.value)] += 1
    assert found["unsat"] >= 15, found


def test_a_counterexample_is_one_of_float16(tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    net = verifier.load(network(rng, 2, ("Relu",)))
    lower, upper = np.array([-0.5, 0.25]), np.array([0.5, 0.75])
    y = net.run(points(rng, lower, upper, 500))[:, 0]
    result = verifier.verify(
        net, question(tmp_path, lower, upper, f"(assert (>= Y_0 {np.quantile(y, 0.9)}))"), timeout=10
    )
    assert result.verdict == "sat" and result.witness is not None
    x = result.witness.flat
    assert (x.astype(np.float16).astype(np.float64) == x).all() and (net.run(x[None])[0] == result.witness.y).all()


def test_what_is_asked_of_derivatives_is_refused_by_name() -> None:
    net = verifier.load(network(np.random.default_rng(0), 2, ("Relu",)))
    with pytest.raises(ModelError, match="rounds to float16 .export it in float32"):
        verifier.lipschitz(net, verifier.Box([0.0, 0.0], [1.0, 1.0]), timeout=5)


def test_bfloat16_inputs_are_refused_by_name() -> None:
    with pytest.raises(ModelError, match="'x' is of type bfloat16.*export the network with float32 inputs"):
        verifier.load(network(np.random.default_rng(0), 2, kind=TensorProto.BFLOAT16))
