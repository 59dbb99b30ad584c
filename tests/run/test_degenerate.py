"""Boxes that are points or flat in some inputs, properties that ask nothing of the outputs, outputs that overflow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from tests.cli.files import spec
from verifier.values.verdict import Verdict

UNITS = ["Round", "Floor", "Ceil", "Sign", "Relu", "Abs", "Where", "Max", "Mul", "Sigmoid", "Sin", "Exp", "Softmax"]
CASES = Path(__file__).resolve().parents[3] / "shared" / "cases"


def unit(kind: str, n: int = 2) -> Any:
    """`y = v·f(W x + b)`, the edge of the unit at x = (0.5, 0.5), where y = v·f(0) (or v·f(0.5), of steps)."""
    W, b = np.array([[1.0, -1.0], [1.0, 1.0], [-1.0, 1.0]][: n + 1]).T[:n], np.array([0.0, -1.0, 0.0])
    if kind in ("Round", "Floor", "Ceil"):
        b = b + (0.5 if kind == "Round" else 1.0)
    tensors = {"W": W, "b": b, "v": np.array([[1.0], [0.5], [0.25]]), "zero": np.zeros(1), "one": np.full(1, 0.5)}
    more = {"Where": ["c", "h", "one"], "Max": ["h", "zero"], "Mul": ["h", "h"]}
    nodes = [helper.make_node("Gemm", ["x", "W", "b"], ["h"])]
    if kind == "Where":
        nodes.append(helper.make_node("Greater", ["h", "zero"], ["c"]))
    nodes += [helper.make_node(kind, more.get(kind, ["h"]), ["r"]), helper.make_node("Gemm", ["r", "v"], ["y"])]
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes, "unit", [info("x", TensorProto.FLOAT, [1, n])], [info("y", TensorProto.FLOAT, [1, 1])],
        [numpy_helper.from_array(np.asarray(a, np.float32), name) for name, a in tensors.items()],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def asked(tmp_path: Path, model: Any, text: str, timeout: float = 2.0) -> tuple[verifier.Result, Any]:
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    (tmp_path / "p.vnnlib").write_text(text)
    net = verifier.load(tmp_path / "m.onnx")
    return verifier.verify(net, str(tmp_path / "p.vnnlib"), timeout=timeout), net


@pytest.mark.parametrize("kind", UNITS)
@pytest.mark.parametrize("flat", [(0, 1), (0,), (1,)], ids=["point", "first flat", "second flat"])
def test_flat_boxes_have_verdicts(tmp_path: Path, kind: str, flat: tuple[int, ...]) -> None:
    """Where no input varies, or not all do, and a unit is at its edge: no `unsat` of what the model gives."""
    lines = [f"(declare-const {v} Real)" for v in ("X_0", "X_1", "Y_0")]
    for i in range(2):
        reach = 0.0 if i in flat else 0.25
        lines.append(f"(assert (>= X_{i} {0.5 - reach}))(assert (<= X_{i} {0.5 + reach}))")
    box = "\n".join(lines)
    far, net = asked(tmp_path, unit(kind), box + "(assert (>= Y_0 100))")
    assert far.verdict is Verdict.UNSAT
    value = float(net.run(np.full((1, 2), 0.5))[0, 0])
    at, _ = asked(tmp_path, unit(kind), box + f"(assert (>= Y_0 {value - 1e-3}))(assert (<= Y_0 {value + 1e-3}))")
    assert at.verdict is Verdict.SAT
    if len(flat) == 2:  # next to what it is, and between the values of a step: anything but a wrong answer
        for low, high in ((value + 2e-3, value + 0.1), (value - 0.1, value - 2e-3)):
            near, _ = asked(tmp_path, unit(kind), box + f"(assert (>= Y_0 {low}))(assert (<= Y_0 {high}))")
            assert near.verdict in (Verdict.UNSAT, Verdict.UNKNOWN)


@pytest.mark.parametrize("asserts", ["", "(assert (<= Y_0 Y_0))", "(assert (or (<= 0 1) (<= Y_0 5)))"])
def test_no_literals(tmp_path: Path, asserts: str) -> None:
    """Any input is a counterexample, unless its outputs are no finite numbers."""
    found, _ = asked(tmp_path, unit("Exp"), spec(asserts, 2))
    assert found.verdict is Verdict.SAT
    found, _ = asked(tmp_path, unit("Exp"), spec(asserts, 2, box=(1e4, 1e5)))  # e to the 10,000
    assert found.verdict is Verdict.UNKNOWN and "finite" in found.reason
    partly, _ = asked(tmp_path, unit("Exp"), spec(asserts, 2, box=(-300, 3000)))
    assert partly.verdict is Verdict.SAT and np.isfinite(partly.witness.y).all()


def test_literals_over_inputs_alone(tmp_path: Path) -> None:
    """They are decided whatever the outputs are; an infinite output is no counterexample, and no proof either."""
    far = spec("(assert (>= (+ X_0 X_1) 2e5))", 2, box=(1e4, 9e4))
    assert asked(tmp_path, unit("Exp"), far)[0].verdict is Verdict.UNSAT
    met = spec("(assert (>= (+ X_0 X_1) 1e5))", 2, box=(1e4, 9e4))
    assert asked(tmp_path, unit("Exp"), met, 0.5)[0].verdict in (Verdict.TIMEOUT, Verdict.UNKNOWN)
    assert asked(tmp_path, unit("Relu"), met)[0].verdict is Verdict.SAT


def test_a_disjunct_without_literals_beside_others(tmp_path: Path) -> None:
    """On a box of its own."""
    text = spec("(assert (or (and (<= X_0 0) (>= Y_0 100)) (<= X_0 -0.5)))", 2)
    assert asked(tmp_path, unit("Relu"), text)[0].verdict is Verdict.SAT
    wide = spec("(assert (or (and (<= X_0 20000) (>= Y_0 1e9)) (<= X_0 20001)))", 2, box=(1e4, 1e5))
    assert asked(tmp_path, unit("Exp"), wide, 0.5)[0].verdict in (Verdict.TIMEOUT, Verdict.UNKNOWN)


@pytest.mark.skipif(not CASES.exists(), reason="no shared cases")
@pytest.mark.parametrize("names", [("round", "round"), ("exp", "no_literals")])
def test_shared_cases(names: tuple[str, str]) -> None:
    found = verifier.verify(CASES / f"{names[0]}.onnx", CASES / f"{names[1]}.vnnlib", timeout=5)
    assert found.verdict in (Verdict.UNSAT, Verdict.UNKNOWN)
