"""`verifier.diagnose`: everything that stands in the way, with its place, reason and advice; and nothing to verify."""

from __future__ import annotations

import gzip
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from tests.run.test_tensors import MASK, three
from verifier.bounds.network import prepare
from verifier.bounds.propagate import boxes, propagate
from verifier.cli.app import run
from verifier.graph.diagnose import Opaque
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.relu import Relu
from verifier.values.arrays import Place

info = helper.make_tensor_value_info
node = helper.make_node


def make(nodes: Any, ins: Any, outs: Any, stored: Any = None, opset: int = 17) -> onnx.ModelProto:
    initial = [numpy_helper.from_array(np.asarray(v), k) for k, v in (stored or {}).items()]
    sets = [helper.make_opsetid("", opset), helper.make_opsetid("my.ops", 1)]
    shaped = [[info(name, kind, shape) for name, kind, shape in some] for some in (ins, outs)]
    return helper.make_model(helper.make_graph(nodes, "g", *shaped, initial), opset_imports=sets, ir_version=8)


def sick() -> onnx.ModelProto:
    """Refused: an operator without converter, one used in a way that is not read, one of another domain, one behind."""
    nodes = [
        node("Gemm", ["x", "W"], ["h"], name="first"),
        node("Relu", ["h"], ["r"]),
        node("RandomNormalLike", ["r"], ["n"], name="noise"),
        node("Add", ["r", "n"], ["s"]),
        node("NonZero", ["s"], ["z"], name="places"),
        node("Sigmoid", ["s"], ["t"]),
        node("Det", ["m"], ["constant"]),
        node("Foo", ["t"], ["u"], domain="my.ops"),
        node("Relu", ["u"], ["v"]),
        node("Bar", ["v"], ["y"], domain="my.ops"),
    ]
    outs = [("y", TensorProto.FLOAT, [1, 3]), ("t", TensorProto.FLOAT, [1, 3]), ("z", TensorProto.INT64, [2, "k"])]
    stored = {"W": np.ones((2, 3), np.float32), "m": np.eye(2, dtype=np.float32)}
    return make(nodes, [("x", TensorProto.FLOAT, ["batch", 2])], outs, stored)


def test_every_refusal_with_place_reason_and_advice() -> None:
    found = verifier.diagnose(sick())
    assert not found.readable and found.net is None and found.graph is None
    by = {p.name: p for p in found.problems}
    assert [p.name for p in found.problems] == ["n", "z", "u", "y"] and {p.what for p in found.problems} == {"node"}
    assert (by["n"].operator, by["n"].node, by["n"].tensor) == ("RandomNormalLike", "noise", "float32 [1, 3]")
    assert by["u"].operator == "my.ops.Foo" and "of unknown shape" in by["u"].tensor and "my.ops" in by["u"].why
    assert "evaluation mode" in by["n"].advice and "hangs on values" in by["z"].advice
    assert "--output t" in by["u"].advice and all(p.why and p.advice for p in found.problems)
    assert (
        not any("\n" in text for p in found.problems for text in (p.why, p.advice))
        and "verifier info" not in by["n"].why
    )
    assert found.unseen == 2  # behind Foo, whose shape nobody knows
    parts = {p.operator: p for p in found.parts}
    assert parts["Relu"].entries == 3 and "sign" in parts["Relu"].how and "affine" in parts["Dense"].how
    assert "(RandomNormalLike)" in found.error


def test_advice_can_be_followed() -> None:
    """The network may end at a tensor inside, before what is not supported."""
    cut = verifier.diagnose(sick(), outputs="r")
    assert cut.readable and cut.problems == () and cut.graph is not None and cut.error == ""
    net = verifier.load(sick(), outputs=["r"])
    assert np.allclose(net.run(np.array([[1.0, -3.0]])), 0) and np.allclose(net.run(np.array([[1.0, 3.0]])), 4)
    low, up = verifier.bound(net, verifier.Box([0, 0], [1, 1]))
    assert np.allclose(up, 2) and np.allclose(low, 0)
    assert [p.name for p in verifier.diagnose(sick(), outputs="t").problems] == ["n"]
    fixed = verifier.diagnose(three(), fixed={"mask": MASK})
    assert fixed.readable and {"Relu", "Curve(sigmoid)"} <= {p.operator for p in fixed.parts}
    (missing,) = verifier.diagnose(three()).problems
    assert (missing.what, missing.name, missing.tensor) == ("input", "mask", "int64 [batch, 3]")
    assert "--input mask=X" in missing.advice


def test_a_model_that_is_wrong_is_not_told_to_be_used_otherwise() -> None:
    """Operators that are read, in models that nothing runs: the advice is about the model."""
    for W, said, advice in (
        (None, "'W' is not computed by any node", "incomplete"),
        (np.ones((4, 5), np.float32), "shapes [1, 7] and [4, 5], which do not fit", "contradicts itself"),
        (np.full((7, 5), np.nan, np.float32), "'W' holds NaN values", "no numbers"),
    ):
        made = make([node("MatMul", ["x", "W"], ["y"])], [("x", 1, [1, 7])], [("y", 1, [1, 5])])
        if W is not None:
            made.graph.initializer.append(onnx.numpy_helper.from_array(W, "W"))
        (problem,) = verifier.diagnose(made).problems
        assert said in problem.why and advice in problem.advice, problem
    twice = make([node("Relu", ["x"], ["y"]), node("Neg", ["x"], ["y"])], [("x", 1, [1, 2])], [("y", 1, [1, 2])])
    (problem,) = verifier.diagnose(twice).problems
    assert problem.why == "node 'y' (Neg): another node computes that tensor, too"
    foo = onnx.helper.make_node("Foo", ["x"], ["y"], domain="com.microsoft")
    foreign = make([foo], [("x", 1, [2])], [("y", 1, [2])])
    assert "docs/operators.md lists what is read" in verifier.diagnose(foreign).problems[0].advice
    none = make([node("Relu", ["x"], ["y"])], [("x", 1, [1, 7])], [])
    with pytest.raises(verifier.UserError, match="the model has no outputs; export it with"):
        verifier.diagnose(none)


def test_a_refused_node_among_many_inputs_is_still_found() -> None:
    """Whole numbers stand in the way, and so does a node: both are said, and a constant is used as what it is."""
    nodes = [node("Gather", ["x", "at"], ["g"], axis=1), node("Det", ["g"], ["y"])]
    ends = [("x", 1, [1, 3, 2, 2]), ("at", 7, [1])], [("y", 1, [1, 1])]
    found = verifier.diagnose(make(nodes, *ends))
    assert [(p.what, p.name) for p in found.problems][0] == ("input", "at")
    assert all("at" == p.name or p.operator == "Det" for p in found.problems)


def test_where_nothing_can_vary_outputs_are_not_to_blame() -> None:
    """What is only fixed for the walk is no property of the model."""
    found = verifier.diagnose(make([node("Add", ["i", "i"], ["y"])], [("i", 7, [2])], [("y", 7, [2])]))
    assert not found.readable and [(p.what, p.name) for p in found.problems] == [("input", "i")]


@dataclass(frozen=True)
class Fake:
    """A network with a stand-in inside, however it came about."""

    graph: Graph
    input_dtype: str = "float64"
    input_shapes: tuple[tuple[int, ...], ...] = ((2,),)
    output_shapes: tuple[tuple[int, ...], ...] = ((2,),)

    def run(self, x: np.ndarray) -> np.ndarray:
        return np.zeros((len(x), 2))


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("beside", [False, True])
def test_what_stands_in_can_be_neither_bounded_nor_verified(behind: bool, beside: bool) -> None:
    """No verdict, no bound: whatever is asked ends in a refusal, also where another way round would do."""
    build = Builder()
    x = build.add(Input((2,)))
    at = build.add(Opaque((2,)), (build.add(Dense(np.eye(2)), (x,)),) if beside else ())
    if behind:
        at = build.add(Dense(np.zeros((2, 2)), np.ones(2)), (build.add(Relu(), (at,)),))
    net, box = Fake(build.graph((x,), (at,))), verifier.Box([-1, -1], [1, 1])
    below = verifier.output_property([-1, -1], [1, 1], [[([1, 0], -5.0)]])
    for ask in (
        lambda: verifier.verify(net, below, timeout=5),
        lambda: verifier.verify(net, verifier.robustness(box, 0), timeout=5),
        lambda: verifier.lipschitz(net, box, timeout=5),
        lambda: verifier.lipschitz(net, timeout=5),
        lambda: verifier.monotone(net, box, 0, timeout=5),
        lambda: verifier.certify(net, np.zeros((1, 2)), [0], 0.1, timeout=5),
        *(lambda m=m: verifier.bound(net, box, m) for m in ("interval", "forward", "crown", "alpha-crown")),
    ):
        with pytest.raises((verifier.UserError, verifier.UnsoundBound)):
            ask()
    with pytest.raises(Exception):  # noqa: B017 whatever it is, it bounds nothing
        prepared = prepare(net.graph, Place("numpy", "float64"))
        propagate(prepared, boxes(-np.ones((1, 2)), np.ones((1, 2)), np.arange(2), "float64"), None, set(), None, 10**6)


def test_info(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Printed, as JSON, and with an exit status that says whether `verify` would run."""
    path = str(tmp_path / "sick.onnx")
    onnx.save(sick(), path)
    assert run(["info", path, "--json", str(tmp_path / "j")]) == 2
    out, err = capfd.readouterr()
    told = json.loads((tmp_path / "j").read_text())
    assert err.count("\n") == 1 and "(RandomNormalLike)" in err and "4 nodes are not supported" in err
    for words in ("node 'n' (RandomNormalLike), named 'noise', float32 [1, 3]", "why: ", "do:  ", "(my.ops.Foo)",
                  "not looked at: 2 of 10", "the rest would be bounded so:", "supported: no"):  # fmt: skip
        assert words in out, words
    assert not told["readable"] and len(told["problems"]) == 4 and told["problems"][0]["node"] == "noise"
    assert run(["info", path, "--output", "r", "--json", "-"]) == 0
    told = json.loads(capfd.readouterr().out)
    assert told["readable"] and told["multiply_adds"] == 6 and told["error"] is None


def test_one_clear_line_each(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What cannot be read at all, and what can in another wrapping."""
    relu, x = [node("Relu", ["x"], ["y"])], ("x", 1, [1, 2])
    files = {
        "fifty.onnx": make(relu, [("x", 1, [50, 2])], [("y", 1, [50, 2])]),
        "zero.onnx": make(relu, [("x", 1, [1, 0])], [("y", 1, [1, 0])]),
        "open.onnx": make(relu, [("x", 1, ["N", "H"])], [("y", 1, ["N", "H"])]),
        "old.onnx": make(relu, [x], [("y", 1, [1, 2])], opset=5),
        "words.onnx": make(relu, [x, ("s", TensorProto.STRING, [1])], [("y", 1, [1, 2])]),
        "lost.onnx": make([node("Relu", ["x"], ["z"])], [x], [("y", 1, [1, 2])]),
    }
    for name, model in files.items():
        onnx.save(model, tmp_path / name)
    (tmp_path / "gz.onnx.gz").write_bytes(gzip.compress(make(relu, [x], [("y", 1, [1, 2])]).SerializeToString()))
    apart = make([node("MatMul", ["x", "W"], ["y"])], [x], [("y", 1, [1, 2])], {"W": np.eye(2, dtype=np.float32)})
    onnx.save(apart, tmp_path / "apart.onnx", save_as_external_data=True, location="gone.bin", size_threshold=0)
    (tmp_path / "gone.bin").unlink()
    (tmp_path / "junk.onnx").write_bytes(b"hello")
    for name, status, words in (
        ("fifty.onnx", 0, "export it with batch 1"), ("gz.onnx.gz", 0, "supported: yes"),
        ("zero.onnx", 2, "shape [1, 0], and so no entries"), ("open.onnx", 2, "only the first dimension may be open"),
        ("old.onnx", 0, "supported: yes"), ("words.onnx", 2, "words cannot be read"),
        ("lost.onnx", 2, "output 'y' is not computed"), ("apart.onnx", 2, "'gone.bin', which is missing"),
        ("junk.onnx", 2, "not an ONNX model"), ("none.onnx", 2, "no such file"),
    ):  # fmt: skip
        assert run(["info", str(tmp_path / name)]) == status, name
        out, err = capfd.readouterr()
        assert words in (err if status else out) and err.count("\n") == (status > 0), (name, err)
        box = verifier.Box([-1] * 2, [1] * 2)
        if status:
            with pytest.raises(verifier.UserError):  # where `info` says no, nothing else runs
                verifier.bound(tmp_path / name, box)
