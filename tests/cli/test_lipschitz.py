"""`verifier lipschitz` and `verifier monotone` as a user meets them."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest

from verifier.cli.app import run

ROOT = Path(__file__).resolve().parents[2]
PENDULUM = str(ROOT / "models" / "pendulum.onnx")
DIGITS = str(ROOT / "models" / "digits_fc.onnx")
DIGIT = str(ROOT / "specs" / "digits_fc_0_small.vnnlib")


def test_constant(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Two numbers first, then each functional; JSON and the table say the same."""
    files = ["--json", str(tmp_path / "j.json"), "--jacobian", str(tmp_path / "j.csv")]
    assert run(["lipschitz", DIGITS, "--spec", DIGIT, "--outputs", "0,3", "--timeout", "2", "--quiet", *files]) == 0
    first, *rest = capsys.readouterr().out.splitlines()
    lower, upper = map(float, first.split())
    assert 0 < lower <= upper and [line.split()[0] for line in rest] == ["Y_0", "Y_3"]
    told = json.loads((tmp_path / "j.json").read_text())
    assert [told["lower"], told["upper"]] == [lower, upper] and list(told["functionals"]) == ["Y_0", "Y_3"]
    rows = list(csv.DictReader((tmp_path / "j.csv").read_text().splitlines()))
    assert len(rows) == 2 * 64
    size = {name: sum(max(abs(float(r["lower"])), abs(float(r["upper"]))) for r in rows if r["output"] == name)
            for name in ("Y_0", "Y_3")}  # fmt: skip
    assert lower <= max(size.values())
    assert all((float(r["lower"]) >= 0) == (r["sign"] == "+") for r in rows if r["sign"] != "-")


def test_picture(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The heat map is a picture."""
    out = tmp_path / "j.png"
    numbers = ["--input", "0.1,0.2", "--eps", "0.1", "--norm", "2", "--ball", "2"]
    assert run(["lipschitz", PENDULUM, *numbers, "--jacobian", str(out), "--quiet"]) == 0
    assert out.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_input_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Numbers, a text file and a .npy file are one input."""
    np.save(tmp_path / "x.npy", np.array([0.25, -0.5]))
    (tmp_path / "x.txt").write_text("0.25, -0.5\n")
    answers = set()
    for given in ("0.25,-0.5", str(tmp_path / "x.npy"), str(tmp_path / "x.txt")):
        assert run(["lipschitz", PENDULUM, f"--input={given}", "--eps", "0.2", "--quiet"]) == 0
        answers.add(capsys.readouterr().out)
    assert len(answers) == 1


def test_monotone(capsys: pytest.CaptureFixture[str]) -> None:
    """The direction stands on the first line; for neither, the witnesses follow."""
    assert run(["monotone", PENDULUM, "--input", "0,0", "--eps", "1", "--input-index", "1", "--quiet"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "neither" and [line.split()[0] for line in lines[1:]] == ["derivative", "rising", "falling"]
    assert run(["monotone", PENDULUM, "--input", "0,0", "--eps", "0.001", "--input-index", "1", "--quiet"]) == 0
    assert capsys.readouterr().out.splitlines()[0] in ("increasing", "decreasing")


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no set of inputs is given"),
        (["--input", "0,0"], "no set of inputs is given"),
        (["--input", "0,0", "--eps", "1", "--spec", DIGIT], "give one of them"),
        (["--input", "0,0,0", "--eps", "1"], "give as many"),
        (["--input", "gone.npy", "--eps", "1"], "there is no such file"),
        (["--input", "zero", "--eps", "1"], "neither a file of numbers nor numbers"),
        (["--input", "0,0", "--eps", "-1"], "not negative"),
        (["--input", "0,0", "--eps", "1", "--norm", "3"], "is not supported"),
        (["--input", "0,0", "--eps", "1", "--norm", "a"], "give 1, 2 or inf"),
        (["--input", "0,0", "--eps", "1", "--outputs", "9"], "the outputs 0 to"),
        (["--input", "0,0", "--eps", "1", "--jacobian", "x.gif"], "must end in .csv or .png"),
    ],
)
def test_refusals(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on standard error, nothing on standard output, status 2."""
    assert run(["lipschitz", PENDULUM, *arguments]) == 2
    out, err = capsys.readouterr()
    assert not out and says in err and len(err.splitlines()) == 1
