"""Inputs and outputs by name on the command line: one grammar for all commands."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnx
import pytest

import verifier
from tests.run.test_tensors import MASK, f, three
from verifier.cli.app import run

FIX = ["--input", "mask=1,0,2"]
LATER = ["--lower", "b=0", "--upper", "b=1"]
BOTH = ["--lower", "-1", "--upper", "1"]


@pytest.fixture
def model(tmp_path: Path) -> str:
    onnx.save(three(), tmp_path / "n.onnx")
    return str(tmp_path / "n.onnx")


def lines(capfd: pytest.CaptureFixture[str], *words: str) -> list[list[str]]:
    """Standard output, line by line in words."""
    assert run([*words]) == 0, capfd.readouterr().err
    return [line.split() for line in capfd.readouterr().out.splitlines()]


def ends(said: list[list[str]]) -> np.ndarray:
    return np.array([[float(a), float(b)] for _, a, b in said])


def test_bound(model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "b.txt").write_text("0.1 0.2 0.3")
    net = verifier.load(model, fixed={"mask": MASK})
    said = lines(capfd, "bound", model, "--input", "a=0,0", "--input", f"b={tmp_path}/b.txt", *FIX, "--eps", "a=0.1")
    assert [name for name, *_ in said] == [*(f"y[{i}]" for i in range(3)), *(f"z[{i}]" for i in range(6))]
    low, up = verifier.bound(net, {"a": verifier.Ball([0, 0], 0.1), "b": [0.1, 0.2, 0.3]})
    assert np.allclose(ends(said), np.stack([low, up], 1), atol=1e-9)
    one = lines(capfd, "bound", model, *BOTH, *FIX, "--output", "z")
    assert [name for name, *_ in one] == [f"Y_{i}" for i in range(6)]
    assert np.allclose(ends(one), np.stack(verifier.bound(net, [(-1, 1)] * 2), 1)[3:], atol=1e-9)
    mixed = ["--lower", "a=-1", "--upper", "a=1,2", "--input", "b=0,0,0", "--eps", "b=1/2", "--hi", "b=0.25"]
    low, up = verifier.bound(net, {"a": (-1, [1, 2]), "b": (-0.5, 0.25)})
    assert np.allclose(ends(lines(capfd, "bound", model, *mixed, *FIX)), np.stack([low, up], 1), atol=1e-9)
    ball = ["--input", "a=0,0", "--input", "b=0,0,0", "--eps", "0.1", "--ball", "2"]
    low, up = verifier.bound(net, verifier.Ball(np.zeros(5), 0.1, norm=2))
    assert np.allclose(ends(lines(capfd, "bound", model, *ball, *FIX)), np.stack([low, up], 1), atol=1e-9)
    centres = ["--input", "a=0,0", "--input", "b=0,0,0"]
    own = {"a": verifier.Ball([0, 0], 0.1, 2), "b": verifier.Ball([0, 0, 0], 0.2, 1)}
    for words, sets in (
        ([*centres, "--eps", "a=0.1", "--eps", "b=0.2", "--ball", "a=2", "--ball", "b=1"], own),
        ([*centres, "--eps", "a=0.1", "--eps", "b=0.2", "--ball", "a=2"], {**own, "b": verifier.Ball([0] * 3, 0.2)}),
        (
            ["--input", "a=0,0", "--eps", "a=0.1", "--ball", "2", "--lower", "b=0", "--upper", "b=1"],
            {**own, "b": (0, 1)},
        ),
    ):
        low, up = verifier.bound(net, sets)
        assert np.allclose(ends(lines(capfd, "bound", model, *words, *FIX)), np.stack([low, up], 1), atol=1e-9)
        told = json.loads("".join(" ".join(w) for w in lines(capfd, "bound", model, *words, *FIX, "--json", "-")))
        assert told["question"]["ball"] in (["a=2", "b=1"], "a=2", "2")
    told = json.loads("".join(" ".join(w) for w in lines(capfd, "bound", model, *BOTH, *FIX, "--json", "-")))
    assert told["question"]["input"] == "mask=1,0,2" and told["outputs"][0]["name"] == "y[0]"


def test_the_other_commands(model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`verify` and `info` fix inputs and choose outputs; `lipschitz` and `monotone` name what moves."""
    (tmp_path / "p.vnnlib").write_text(
        "".join(f"(declare-const X_{i} Real)(assert (>= X_{i} -1))(assert (<= X_{i} 1))" for i in range(5))
        + "".join(f"(declare-const Y_{i} Real)" for i in range(6)) + "(assert (<= Y_0 0.5))"
    )  # fmt: skip
    chosen = [*FIX, "--output", "z"]
    said = lines(capfd, "verify", model, str(tmp_path / "p.vnnlib"), *chosen, "--quiet", "--json", str(tmp_path / "j"))
    told = json.loads((tmp_path / "j").read_text())
    assert said[0] == ["sat"] and f(np.array([told["witness"]["x"]]))[1][0, 0] == pytest.approx(0.5)
    by_name = told["witness"]["inputs"]
    assert [*by_name["a"][0], *by_name["b"][0]] == told["witness"]["x"]
    assert told["question"]["output"] == ["z"] and told["question"]["model"] == model
    by_spec = lines(capfd, "bound", model, str(tmp_path / "p.vnnlib"), *chosen)
    assert by_spec[0][0] == "Y_0" and len(by_spec) == 6
    assert ["supported:", "yes,"] in [line[:2] for line in lines(capfd, "info", model, *FIX)]
    quick = ["--quiet", "--timeout", "9999"]  # of the process, which is that of the tests
    said = lines(capfd, "lipschitz", model, *BOTH, *FIX, "--wrt", "a", "--outputs", "y[0],y[2]", "--norm", "2", *quick)
    net = verifier.load(model, fixed={"mask": MASK}, outputs="y")
    found = verifier.lipschitz(net, [(-1, 1)] * 2, 2, wrt="a", outputs=[0, 2])
    assert float(said[0][0]) == pytest.approx(found.lower, rel=1e-3) and [s[0] for s in said[1:]] == ["y[0]", "y[2]"]
    where = [*BOTH, *FIX, "--input-index", "a[1]", "--output-index", "y[2]", *quick]
    assert lines(capfd, "monotone", model, *where)[0] == [verifier.monotone(net, [(-1, 1)] * 2, 1, 2).direction]
    assert 0 < float(lines(capfd, "tightness", model, *BOTH, *FIX, "--output", "y", "--quiet")[0][0]) <= 1


def test_certify_of_several_inputs(model: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    x = np.random.default_rng(0).random((3, 5))
    np.savez(tmp_path / "d.npz", x_test=x, y_test=f(x)[1].argmax(1), x=x, y=f(x)[1].argmax(1))
    words = ["--model", model, "--data", str(tmp_path / "d.npz"), "--eps", "1e-5", "--json", str(tmp_path / "j")]
    assert run(["certify", *words, *FIX, "--output", "z", "--quiet"]) == 0, capfd.readouterr().err
    told = json.loads((tmp_path / "j").read_text())
    assert (told["images"], told["natural"], told["certified"]) == (3, 1.0, 1.0)


def test_what_is_refused(model: str, capfd: pytest.CaptureFixture[str]) -> None:
    """One line that says which inputs there are, or what is missing."""
    a = ["--input", "a=0,0"]
    for words, said in (
        ([*a, "--eps", "1"], "input 'mask' is int64"),
        ([*a, *FIX, "--eps", "1"], "input 'b' of shape [1, 3]: nothing is given for it; fix it by --input b=X"),
        (["--input", "c=0", *FIX, "--eps", "1"], "has no input 'c'; it has a float32 [1, 2], b float32 [batch, 3]"),
        ([*a, *FIX, "--eps", "c=1"], "--eps c=…"),
        ([*a, *FIX, *a, "--eps", "1"], "--input: given twice for a"),
        ([*a, *FIX, "--input", "1,2", "--eps", "1"], "--input 1,2: name its input, too"),
        ([*a, "--input", "b=1,2,3", *FIX], "no set of inputs is given"),
        ([*a, "--input", "b=1,2,3", *FIX, "--eps", "b=1", "--lower", "a=1", "--upper", "a=2"], "input 'a': give both"),
        ([*a, "--input", "b=1,2,3", *FIX, "--eps", "1", "--ball", "c=2"], "--ball c=…"),
        ([*FIX, "--lower", "1"], "--lower and --upper: give both"),
        ([*FIX, *BOTH, "--output", "w"], "its outputs are y, z"),
        ([*FIX, *BOTH, "--lower", "a=x", "--upper", "a=1"], "neither a file of numbers"),
        (["--input", "mask=1,0", *BOTH], "2 values are given to fix it at; give one, or 3"),
    ):  # fmt: skip
        assert run(["bound", model, *words]) == 2, words
        out, err = capfd.readouterr()
        assert out == "" and err.count("\n") == 1 and said in err, err
    assert run(["verify", model, "p.vnnlib", "--input", "1,2", "--quiet"]) == 2
    assert "write --input NAME=VALUES" in capfd.readouterr().err
