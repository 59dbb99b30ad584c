"""`verifier info`, `verifier bound`, help and version."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import verifier
from tests.cli.files import MODEL, ROOT, dense, spec
from verifier.cli.app import run
from verifier.graph.ops.table import supported


def printed(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Standard output of a command that succeeds and says nothing else."""
    assert run(list(arguments)) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return out


def test_help(capfd: pytest.CaptureFixture[str]) -> None:
    text = printed(capfd)
    assert text == printed(capfd, "--help")
    for command in ("verify", "bound", "info"):
        assert command in text
        assert command in printed(capfd, command, "--help")
    for option in ("--timeout", "--results", "--certificate", "--json", "--device", "--quiet"):
        assert option in printed(capfd, "verify", "-h")


def test_version(capfd: pytest.CaptureFixture[str]) -> None:
    assert printed(capfd, "--version") == f"{verifier.__version__}\n"


def test_info_without_a_model_lists_the_operators(capfd: pytest.CaptureFixture[str]) -> None:
    text = printed(capfd, "info")
    assert set(text.removeprefix("ONNX operators: ").strip().split(", ")) == set(supported())


@pytest.mark.parametrize("name", ["pendulum", "digits_fc", "digits_conv"])
def test_info(name: str, capfd: pytest.CaptureFixture[str]) -> None:
    path = ROOT / "models" / f"{name}.onnx"
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    text = printed(capfd, "info", str(path))
    for kind, values in (("input", session.get_inputs()), ("output", session.get_outputs())):
        for value in values:
            shape = "[" + ", ".join(str(d) for d in value.shape) + "]"
            assert any(line.split()[:2] == [kind, value.name] and shape in line for line in text.splitlines())
    assert "Relu" in text and "neurons" in text and "supported: yes" in text


def test_info_of_several_tensors(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What `verify` takes is not called unsupported."""
    info = helper.make_tensor_value_info
    ends = [info(n, TensorProto.FLOAT, [1, k]) for n, k in (("a", 2), ("b", 2), ("y", 2), ("z", 2))]
    nodes = [helper.make_node("Add", ["a", "b"], ["y"]), helper.make_node("Relu", ["y"], ["z"])]
    graph = helper.make_graph(nodes, "g", ends[:2], ends[2:])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "n.onnx")
    text = printed(capfd, "info", str(tmp_path / "n.onnx"))
    assert "splits of the 4 inputs" in text and "supported: yes" in text


def test_info_names_what_is_not_supported(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Every node of an unknown operator that depends on the input, not only the first, before the one-line error."""
    nodes = [
        helper.make_node("Range", ["zero", "two", "one"], ["constant"]),
        helper.make_node("RandomNormalLike", ["x"], ["a"]),
        helper.make_node("RandomUniformLike", ["x"], ["b"]),
        helper.make_node("Add", ["a", "b"], ["y"]),
    ]
    info = helper.make_tensor_value_info
    stored = [helper.make_tensor(n, TensorProto.FLOAT, (), [v]) for n, v in (("zero", 0), ("one", 1), ("two", 2))]
    io = [info("x", TensorProto.FLOAT, [2, 2])], [info("y", TensorProto.FLOAT, [2, 2])]
    graph = helper.make_graph(nodes, "g", *io, stored)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "n.onnx")
    assert run(["info", str(tmp_path / "n.onnx")]) == 2
    out, err = capfd.readouterr()
    assert "node 'a' (RandomNormalLike)" in out and "node 'b' (RandomUniformLike)" in out and "Range)" not in out
    assert err.count("\n") == 1 and "(RandomNormalLike)" in err


def test_info_counts_neurons(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "n.onnx").write_bytes(dense(rng.normal(size=(7, 3)), rng.normal(size=(5, 7)), rng.normal(size=(2, 5))))
    text = printed(capfd, "info", str(tmp_path / "n.onnx"))
    assert "neurons 12, multiply-adds an evaluation 66" in text


@pytest.mark.parametrize("method", ["interval", "forward", "crown", "alpha-crown"])
def test_bound(method: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    rng = np.random.default_rng(1)
    weights = [rng.normal(size=(6, 2)), rng.normal(size=(3, 6))]
    (tmp_path / "n.onnx").write_bytes(dense(*weights))
    (tmp_path / "p.vnnlib").write_text(spec("(assert (>= Y_0 Y_1))", 2, 3))
    lines = printed(capfd, "bound", str(tmp_path / "n.onnx"), str(tmp_path / "p.vnnlib"), "--method", method).split(
        "\n"
    )
    assert lines.pop() == "" and [line.split()[0] for line in lines] == ["Y_0", "Y_1", "Y_2"]
    lower, upper = np.array([[float(v) for v in line.split()[1:]] for line in lines]).T
    x = rng.uniform(-1, 1, (2000, 2))
    y = np.maximum(x @ weights[0].T.astype(np.float32), 0) @ weights[1].T.astype(np.float32)
    assert (lower <= y.min(0)).all() and (y.max(0) <= upper).all()


def test_bound_covers_every_box_of_a_property(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    boxes = "(assert (or (and (<= X_0 -0.5) (>= Y_0 0)) (and (>= X_0 0.5) (>= Y_0 0))))"
    (tmp_path / "n.onnx").write_bytes(dense([[1.0, 0.0]]))
    (tmp_path / "p.vnnlib").write_text(spec(boxes))
    text = printed(capfd, "bound", str(tmp_path / "n.onnx"), str(tmp_path / "p.vnnlib"))
    name, lower, upper = text.split()
    assert name == "Y_0" and float(lower) == pytest.approx(-1) and float(upper) == pytest.approx(1)


def test_bound_of_an_empty_set(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "p.vnnlib").write_text(spec("(assert (>= X_0 2))(assert (>= Y_0 0))"))
    assert run(["bound", MODEL, str(tmp_path / "p.vnnlib")]) == 2
    out, err = capfd.readouterr()
    assert out == "" and "contradicts itself" in err and err.count("\n") == 1


def test_bound_of_a_set_and_as_json(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "n.onnx").write_bytes(dense([[1.0, -2.0], [0.5, 0.0]]))
    (tmp_path / "p.vnnlib").write_text(spec("(assert (>= Y_0 Y_1))", 2, 2, (-0.5, 0.5)))
    net, box = str(tmp_path / "n.onnx"), ["--input", "0,0", "--eps", "1/2"]
    by_spec = printed(capfd, "bound", net, str(tmp_path / "p.vnnlib"))
    by_set = printed(capfd, "bound", net, *box)
    ends = [[float(v) for line in text.splitlines() for v in line.split()[1:]] for text in (by_set, by_spec)]
    assert ends[0] == pytest.approx(ends[1], abs=1e-12) and by_set.startswith("Y_0 ") and len(ends[0]) == 4
    cut = json.loads(printed(capfd, "bound", net, *box, "--lo", "0", "--json", "-"))
    assert [o["name"] for o in cut["outputs"]] == ["Y_0", "Y_1"] and cut["question"]["eps"] == 0.5
    assert [o["lower"] for o in cut["outputs"]] == pytest.approx([-1.0, 0.0], abs=1e-12)
    assert [o["upper"] for o in cut["outputs"]] == pytest.approx([0.5, 0.25], abs=1e-12)
    ball = json.loads(printed(capfd, "bound", net, *box, "--ball", "1", "--json", "-"))
    assert ball["outputs"][0]["upper"] == pytest.approx(1.0, abs=1e-12)
    assert printed(capfd, "bound", net, *box, "--json", str(tmp_path / "j")) == by_set
    assert json.loads((tmp_path / "j").read_text())["outputs"][0]["lower"] == ends[0][0]
    for words, said in (
        ([], "no set of inputs"), (["--input", "0,0"], "no set of inputs"), (["--input", "0,0", "--eps", "x"], "8/255"),
        ([str(tmp_path / "p.vnnlib"), *box], "give one of them"), (["--input", "0,0,0", "--eps", "1"], "3 entries"),
    ):  # fmt: skip
        assert run(["bound", net, *words]) == 2
        out, err = capfd.readouterr()
        assert out == "" and said in err and err.count("\n") == 1


@pytest.mark.parametrize("x", ["-1,0.2", "-.5,0", "-1e-3,0"])
def test_numbers_with_a_minus_in_front(x: str, capfd: pytest.CaptureFixture[str]) -> None:
    """They are values, with and without `=`."""
    joined = printed(capfd, "bound", str(MODEL), f"--input={x}", "--eps", "0.1", "--lo=-inf")
    assert printed(capfd, "bound", str(MODEL), "--input", x, "--eps", "0.1", "--lo", "-inf") == joined
    assert run(["bound", str(MODEL), "--input", x, "--eps", "-8/255"]) == 2
    assert "not negative" in capfd.readouterr().err


def test_a_model_beside_networks(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", str(MODEL), "p.vnnlib", "--network", f"f={MODEL}"]) == 2
    assert "--network stands in place of MODEL" in capfd.readouterr().err


def test_files_that_are_no_text(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """What Python says of bytes is nothing to a reader."""
    binary = tmp_path / "a.bin"
    binary.write_bytes(bytes(range(256)))
    csv = tmp_path / "q.csv"
    csv.write_text("a.onnx,b.vnnlib,1\n")
    for line in (
        ["bound", str(MODEL), "--input", str(binary), "--eps", "1"],
        ["bench", str(binary), "--db", str(tmp_path / "r.sqlite")],
        ["bench", str(csv), "--db", str(tmp_path / "r.sqlite"), "--compare", str(binary)],
        ["train", "--config", str(binary), "--out", str(tmp_path / "out")],
    ):
        assert run(line) == 2
        err = capfd.readouterr().err
        assert "it is not text" in err and "codec" not in err and err.count("\n") == 1
