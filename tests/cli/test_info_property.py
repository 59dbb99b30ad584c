"""`verifier info MODEL SPEC`: what is unstable on the inputs of a property, and whether `verify` would run."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from verifier.cli.app import run


def text(low: list[float], high: list[float]) -> str:
    lines = [f"(declare-const X_{i} Real)" for i in range(len(low))] + ["(declare-const Y_0 Real)"]
    lines += [f"(assert (>= X_{i} {a}))(assert (<= X_{i} {b}))" for i, (a, b) in enumerate(zip(low, high, strict=True))]
    return "\n".join([*lines, "(assert (>= Y_0 1000))"])


def saved(path: Path, nodes: list[onnx.NodeProto], stored: dict[str, np.ndarray], n: int) -> str:
    info = helper.make_tensor_value_info
    io = [info("x", TensorProto.FLOAT, [1, n])], [info("y", TensorProto.FLOAT, None)]
    graph = helper.make_graph(nodes, "g", *io, [numpy_helper.from_array(a, k) for k, a in stored.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return str(path)


@pytest.mark.parametrize("radius", [0.0, 0.15, 0.3, 100.0])
def test_stable_units_do_not_change(radius: float, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    W, b, V = rng.normal(size=(3, 12)), rng.normal(size=12), rng.normal(size=(12, 1))
    stored = {k: a.astype(np.float32) for k, a in (("W", W), ("b", b), ("V", V))}
    nodes = [helper.make_node("Gemm", ["x", "W", "b"], ["h"]), helper.make_node("Relu", ["h"], ["r"])]
    model = saved(tmp_path / "n.onnx", [*nodes, helper.make_node("MatMul", ["r", "V"], ["y"])], stored, 3)
    (tmp_path / "p.vnnlib").write_text(text([-radius] * 3, [radius] * 3))
    assert run(["info", model, str(tmp_path / "p.vnnlib"), "--json", str(tmp_path / "i.json")]) == 0
    out = capfd.readouterr().out
    z = radius * np.abs(W).sum(0)
    expected = int((np.abs(b) < z).sum())  # the first layer's intervals are exact
    data = json.loads((tmp_path / "i.json").read_text())
    assert data["bounds"] == "CROWN bounds" and "on the inputs of the property, by CROWN bounds:" in out
    assert [(x["operator"], x["units"], x["unstable"]) for x in data["stability"]] == [("Relu", 12, expected)]
    row = next(line for line in out.splitlines() if line.split()[:1] == ["all"])
    assert row.split() == ["all", "12", str(expected), str(12 - expected)]
    assert (expected == 0) == (radius == 0.0) and (expected == 12) == (radius == 100.0)


def test_the_status_is_that_of_verify(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A place that depends on an input is read where a property fixes that input, and `info` says so with it."""
    stored = {"head": np.array([0]), "tail": np.array([1]), "end": np.array([4]), "axis": np.array([1])}
    nodes = [
        helper.make_node("Slice", ["x", "head", "tail", "axis"], ["p"]),
        helper.make_node("Slice", ["x", "tail", "end", "axis"], ["rest"]),
        helper.make_node("Cast", ["p"], ["size"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["size", "tail"], ["k"]),
        helper.make_node("Slice", ["rest", "head", "k", "axis"], ["some"]),
        helper.make_node("ReduceSum", ["some"], ["y"], keepdims=1),
    ]
    model = saved(tmp_path / "n.onnx", nodes, stored, 4)
    (tmp_path / "fixed.vnnlib").write_text(text([2, 0, 0, 0], [2, 1, 1, 1]))
    (tmp_path / "open.vnnlib").write_text(text([1, 0, 0, 0], [2, 1, 1, 1]))
    (tmp_path / "other.vnnlib").write_text(text([1, 0], [2, 1]))
    assert run(["info", model]) == 2
    for name in ("fixed", "open", "other"):
        spec = str(tmp_path / f"{name}.vnnlib")
        status = run(["verify", model, spec, "--timeout", "20"])
        capfd.readouterr()
        assert run(["info", model, spec]) == status, name
        assert ("supported on the inputs of" in capfd.readouterr().out) == (status == 0)
    assert run(["verify", model, str(tmp_path / "fixed.vnnlib")]) == 0


def test_a_property_that_does_not_fit_is_refused(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    model = saved(tmp_path / "n.onnx", [helper.make_node("Relu", ["x"], ["y"])], {}, 1)
    (tmp_path / "p.vnnlib").write_text(text([0, 0], [1, 1]))
    assert run(["info", model, str(tmp_path / "p.vnnlib")]) == 2
    assert "input variables" in capfd.readouterr().err
    assert run(["info", model, str(tmp_path / "none.vnnlib")]) == 2
