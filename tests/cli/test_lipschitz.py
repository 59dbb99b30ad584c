"""`verifier lipschitz` and `verifier monotone` as a user meets them."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

import verifier
from verifier.cli.app import run

ROOT = Path(__file__).resolve().parents[2]
PENDULUM = str(ROOT / "models" / "pendulum.onnx")
DIGITS = str(ROOT / "models" / "digits_fc.onnx")
DIGIT = str(ROOT / "specs" / "digits_fc_0_small.vnnlib")


@pytest.fixture(autouse=True)
def _young(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process that tests run in has been there for long."""
    monkeypatch.setattr("verifier.cli.deadline.since_start", lambda: 0.0)
    # On a busy machine the clock would end the process, and these tests with it; it is tested in processes of its own.
    monkeypatch.setattr("verifier.cli.deadline.Deadline._ring", lambda _: None)


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
    from PIL import Image

    with Image.open(out) as image:
        image.verify()
        assert image.format == "PNG" and min(image.size) > 100
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
        (["--input", "0,0", "--eps", "1", "--norm", "0.5"], "numbers from 1 to inf"),
        (["--input", "0,0", "--eps", "1", "--norm", "nan"], "numbers from 1 to inf"),
        (["--input", "0,0", "--eps", "1", "--norm", "a"], "give a number from 1 to inf"),
        (["--input", "0,0", "--eps", "1", "--outputs", "9"], "the outputs 0 to"),
        (["--input", "0,0", "--eps", "1", "--jacobian", "x.gif"], "must end in .csv or .png"),
        (["--input", "0,0", "--eps", "1", "--jacobian", "x.csv", "--json", "x.csv"], "name two files"),
        (["--spec", DIGIT, "--ball", "2"], "leave them out with --spec"),
        (["--input", "0,a.5", "--eps", "1"], "neither a file of numbers nor numbers"),
    ],
)
def test_refusals(arguments: list[str], says: str, capsys: pytest.CaptureFixture[str]) -> None:
    """One line on standard error, nothing on standard output, status 2."""
    assert run(["lipschitz", PENDULUM, *arguments]) == 2
    out, err = capsys.readouterr()
    assert not out and says in err and len(err.splitlines()) == 1


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY", np.array([1 + 1j, 2]), np.zeros(2, [("a", float)])])
def test_arrays_that_are_none(content: bytes | np.ndarray, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Broken files, complex numbers and records are refused, not converted."""
    path = tmp_path / "x.npy"
    path.write_bytes(content) if isinstance(content, bytes) else np.save(path, content)
    assert run(["lipschitz", PENDULUM, "--input", str(path), "--eps", "1"]) == 2
    out, err = capsys.readouterr()
    assert not out and "neither a file of numbers nor numbers" in err and len(err.splitlines()) == 1


def test_any_norm(capsys: pytest.CaptureFixture[str]) -> None:
    """Between those of l1 and of l-infinity; several outputs in any pair of norms, each by itself as well."""
    found = []
    for norm in ("1", "1.5", "3,inf", "inf"):
        given = ["--input", "0.3,-0.4", "--eps", "0.2", "--norm", norm, "--ball", "2", "--quiet"]
        assert run(["lipschitz", PENDULUM, *given]) == 0
        found.append([float(v) for v in capsys.readouterr().out.split()])
        assert found[-1][0] <= found[-1][1] <= found[-1][0] * 1.001
    assert [v[0] for v in found] == sorted(v[0] for v in found)
    for norm in ("1.5", "inf,1", "2,1", "inf,2", "1,2"):
        given = ["--spec", DIGIT, "--norm", norm, "--quiet", "--timeout", "4", "--outputs", "0,-1"]
        assert run(["lipschitz", DIGITS, *given]) == 0
        (lower, upper), *each = (line.split() for line in capsys.readouterr().out.splitlines())
        assert 0 < float(lower) <= float(upper)
        assert [name for name, _, _ in each] == ["Y_0", "Y_9"]
        assert all(0 <= float(a) <= float(b) <= float(upper) for _, a, b in each)


def test_everywhere(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Bounds for all inputs, above those on a set; nothing that describes a set goes with it."""
    assert run(["lipschitz", PENDULUM, "--everywhere", "--json", str(tmp_path / "found.json")]) == 0
    out, err = capsys.readouterr()
    lower, upper = map(float, out.split())
    assert run(["lipschitz", PENDULUM, "--input", "0,0", "--eps", "1", "--quiet"]) == 0
    local = [float(v) for v in capsys.readouterr().out.split()]
    assert local[0] <= upper and lower <= upper
    assert "valid for all inputs; the lower bound is the best point met" in err
    assert json.loads((tmp_path / "found.json").read_text())["upper"] == upper
    for more in (["--eps", "1"], ["--spec", DIGIT], ["--jacobian", "x.csv"], ["--each"]):
        assert run(["lipschitz", PENDULUM, "--everywhere", *more]) == 2
        assert "--everywhere: leave out" in capsys.readouterr().err
    assert run(["lipschitz", PENDULUM]) == 2
    assert "--spec SPEC or --everywhere" in capsys.readouterr().err


def test_many_numbers(capsys: pytest.CaptureFixture[str]) -> None:
    """More numbers than a file's name may have letters."""
    given = ",".join(["0.12345"] * 64)
    assert run(["lipschitz", DIGITS, "--input", given, "--eps", "0.001", "--outputs", "0", "--quiet"]) == 0
    assert len(capsys.readouterr().out.split()) == 2


@pytest.mark.parametrize("more", [[], ["--jacobian"], ["--norm", "1.5,inf"], ["--norm", "2"]])
@pytest.mark.parametrize("timeout", ["0", "1.5"])
def test_the_timeout_is_of_the_process(timeout: str, more: list[str], tmp_path: Path) -> None:
    """On a set too large to bound in so little time: an answer all the same, sound and in time."""
    out = tmp_path / "j.csv"
    more = [*more, str(out)] if more == ["--jacobian"] else more
    given = ["--input", ",".join(["0.5"] * 64), "--eps", "0.4", "--timeout", timeout, "--json", str(tmp_path / "j")]
    command = [sys.executable, "-m", "verifier", "lipschitz", str(ROOT / "models" / "digits_conv.onnx"), *given, *more]
    start = time.monotonic()
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert time.monotonic() - start < float(timeout) + 3.0  # starting takes a while where cores are shared
    assert done.returncode == 0, done.stderr
    lower, upper = map(float, done.stdout.splitlines()[0].split())
    told = json.loads((tmp_path / "j").read_text())
    assert 0 <= lower <= upper and told["lower"] == lower and told["upper"] == (upper if upper < np.inf else None)


def test_the_clock_answers_where_the_command_does_not(tmp_path: Path) -> None:
    """A step that takes too long: what is known is printed in its place."""
    code = (
        "import sys, time, verifier.cli.lipschitz as c\n"
        "from verifier.cli.main import main\n"
        "kept = c.{name}\n"
        "def slow(*a, **k):\n"
        "    time.sleep(30)\n"
        "c.{name} = slow\n"
        "main({arguments!r})\n"
    )
    for name, command, says in (
        ("asked", "lipschitz", "0.0 inf"),
        ("asked", "monotone", "unknown"),
        ("lipschitz", "lipschitz", "0.0 inf"),
    ):
        index = ["--input-index", "0"] if command == "monotone" else []
        arguments = [command, PENDULUM, "--input", "0,0", "--eps", "0.1", "--timeout", "1.2", *index]
        start = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-c", code.format(name=name, arguments=arguments)],
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        assert time.monotonic() - start < 4.0
        assert done.returncode == 0 and done.stdout.splitlines()[0] == says, done.stderr


def test_progress(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """The line shows parts and both bounds while it runs."""
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert run(["lipschitz", DIGITS, "--spec", DIGIT, "--norm", "2,2", "--timeout", "2"]) == 0
    err = capsys.readouterr().err
    assert "parts bounded" in err and " open, " in err


def test_table_encloses_slopes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Along a line, a mean slope lies between the bounds of the derivative."""
    out = tmp_path / "j.csv"
    x, eps = np.array([0.3, -0.4]), 0.2
    numbers = ["--input", "0.3,-0.4", "--eps", str(eps)]
    assert run(["lipschitz", PENDULUM, *numbers, "--jacobian", str(out), "--quiet"]) == 0
    rows = list(csv.DictReader(out.read_text().splitlines()))
    assert [(r["output"], r["input"]) for r in rows] == [("Y_0", "0"), ("Y_0", "1")]
    net, rng = verifier.load(PENDULUM), np.random.default_rng(0)
    for j, r in enumerate(rows):
        a = x + rng.uniform(-eps, eps, (200, 2))
        b = a.copy()
        a[:, j], b[:, j] = x[j] - eps, x[j] + eps
        slope = (net.run(b) - net.run(a))[:, 0] / (2 * eps)
        assert float(r["lower"]) - 1e-4 <= slope.min() <= slope.max() <= float(r["upper"]) + 1e-4


@pytest.mark.parametrize("command", [["lipschitz"], ["monotone", "--input-index", "0"]])
def test_jumps(command: list[str], capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A network that jumps is refused, naming the node."""
    from onnx import TensorProto, helper, save

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 2]) for name in "xy"]
    graph = helper.make_graph([helper.make_node("Sign", ["x"], ["y"])], "g", ends[:1], ends[1:])
    model = tmp_path / "jump.onnx"
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), model)
    assert run([command[0], str(model), *command[1:], "--input", "0,0", "--eps", "1"]) == 2
    out, err = capsys.readouterr()
    assert not out and "node y (sign)" in err and "jumps" in err and len(err.splitlines()) == 1
