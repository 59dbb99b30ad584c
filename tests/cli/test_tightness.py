"""`verifier tightness` as a user meets it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import verifier
from tests.cli.files import dense
from verifier.cli.app import run
from verifier.cli.data import read
from verifier.run.tightness import profile

ROOT = Path(__file__).resolve().parents[2]
DIGITS = str(ROOT / "models" / "digits_fc.onnx")
DIGIT = str(ROOT / "specs" / "digits_fc_0_small.vnnlib")


def _network(folder: Path) -> str:
    """Three layers; its second output is dead."""
    rng = np.random.default_rng(0)
    last = rng.standard_normal((2, 4)) * [[1], [0]]
    (folder / "net.onnx").write_bytes(dense(rng.standard_normal((5, 3)), rng.standard_normal((4, 5)), last))
    return str(folder / "net.onnx")


def _said(text: str) -> tuple[float, dict[str, float]]:
    first, *rest = text.splitlines()
    return float(first), {line.split()[0]: float(line.split()[1]) for line in rest}


@pytest.mark.parametrize("kind", ["local", "linear"])
def test_numbers_are_those_of_python(kind: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """The mean, each output, and layer by layer in JSON; what depends on nothing is nan, in JSON null."""
    net, file, x = _network(tmp_path), tmp_path / "t.json", np.array([[0.9, 0.3, 0.5]])
    given = ["--input=0.9,0.3,0.5", "--eps", "0.2", "--hi", "1", "--kind", kind, "--json", str(file), "--quiet"]
    assert run(["tightness", net, *given]) == 0
    out, err = capsys.readouterr()
    mean, each = _said(out)
    values = verifier.tightness(net, x, 0.2, hi=1, kind=kind, per_output=True)
    assert not err and mean == pytest.approx(float(values[0, 0])) and each["Y_0"] == mean and np.isnan(each["Y_1"])
    told = json.loads(file.read_text())
    assert told["mean"] == mean and told["outputs"] == [mean, None] and told["points"] == 1 and told["kind"] == kind
    assert told["layers"] == [[name, value] for name, value in profile(net, x, 0.2, hi=1, kind=kind)]


def test_sets_of_inputs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """A property's box, or inputs of a data set."""
    assert run(["tightness", DIGITS, "--spec", DIGIT, "--quiet"]) == 0
    of_box, each = _said(capsys.readouterr().out)
    prop = verifier.read(DIGIT)
    x, radius = (prop.upper[0] + prop.lower[0]) / 2, (prop.upper[0] - prop.lower[0]) / 2
    assert of_box == pytest.approx(verifier.tightness(DIGITS, x, radius)) and len(each) == 10
    rng = np.random.default_rng(1)
    some = {"x_train": rng.random((3, 64)), "x_test": rng.random((5, 64)), "y_train": [0, 1, 9], "y_test": [0] * 5}
    np.savez(tmp_path / "some.npz", **some)  # type: ignore[arg-type]
    for count, used in (("2", 2), ("100", 5)):
        assert run(["tightness", DIGITS, "--data", str(tmp_path / "some.npz"), "--count", count]) == 0
        out, err = capsys.readouterr()
        assert _said(out)[0] == pytest.approx(verifier.tightness(DIGITS, some["x_test"][:used]), rel=1e-5)
        assert f"at {used} points" in err


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_pictures(suffix: str, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """By layer of a network, by width and depth without one."""
    layers, theory = tmp_path / f"a{suffix}", tmp_path / f"b{suffix}"
    assert run(["tightness", _network(tmp_path), "--input=0,1,0", "--plot", str(layers), "--quiet"]) == 0
    assert run(["tightness", "--theory", str(theory), "--quiet"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 3
    for path in (layers, theory):
        content = path.read_bytes()
        assert len(content) > 5000
        assert content.startswith(b"\x89PNG") if suffix == ".png" else b"<svg" in content
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted([f"a{suffix}", f"b{suffix}", "net.onnx"])


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ([], "no MODEL is given"),
        (["--theory", "t.png", "--json", "j.json"], "no MODEL is given"),
        (["--theory", "t.png", "--input", "1"], "no MODEL is given"),
        (["--theory", "t.gif"], "must end in .png, .svg or .pdf"),
        ([DIGITS], "--data SOURCE"),
        ([DIGITS, "--data", "digits", "--count", "0"], "--count 0: give at least 1"),
        ([DIGITS, "--data", "digits", "--count", "-3"], "--count -3: give at least 1"),
        ([DIGITS, "--data", "digits", "--input", "0"], "give one of them"),
        ([DIGITS, "--data", "digits", "--ball", "inf"], "leave it out"),
        ([DIGITS, "--data", "nowhere"], "no data there"),
        ([DIGITS, "--data", "digits", "--eps", "-1"], "not negative"),
        ([DIGITS, "--input", "0,0"], "takes 64 numbers a point"),
        ([DIGITS, "--input", "0", "--ball", "2"], "leave it out"),
        ([DIGITS, "--spec", DIGIT, "--eps", "1"], "give one of them"),
        (["gone.onnx", "--data", "digits", "--plot", "p.gif"], "must end in"),  # before anything is read
        (["gone.onnx", "--data", "digits", "--plot", "t.png", "--theory", "t.png"], "name two files"),
        (["gone.onnx", "--data", "digits", "--plot", "nowhere/t.png"], "its folder does not exist"),
    ],
)
def test_refusals(
    arguments: list[str], says: str, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One line on standard error, nothing on standard output, status 2, no file."""
    monkeypatch.chdir(tmp_path)
    assert run(["tightness", *arguments, "--quiet"]) == 2
    out, err = capsys.readouterr()
    assert not out and says in err and len(err.splitlines()) == 1 and not list(tmp_path.iterdir())


def test_help_needs_neither_torch_nor_pictures() -> None:
    """Both take seconds to import."""
    code = (
        "import sys; from verifier.cli.app import run; run(['tightness', '--help']);"
        "sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and "--theory" in done.stdout


def test_data_as_certify_takes_them(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Test inputs alone, or `x` and `y`, as well as a whole data set."""
    x, y = read("digits")
    np.savez(tmp_path / "a.npz", x_test=x, y_test=y)
    np.savez(tmp_path / "b.npz", x=x, y=y)
    said = []
    for source in ("digits", str(tmp_path / "a.npz"), str(tmp_path / "b.npz")):
        assert run(["tightness", str(ROOT / "models/digits_fc.onnx"), "--data", source, "--count", "5", "--quiet"]) == 0
        said.append(capfd.readouterr().out)
    assert said[0] == said[1] == said[2] != ""


def test_data_of_another_network(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    """Images of 64 numbers are no points of three; numbers of points are those of data."""
    net = _network(tmp_path)
    x = np.zeros((6, 9))
    np.savez(tmp_path / "d.npz", x_test=x, y_test=np.zeros(6, int))
    assert run(["tightness", net, "--data", str(tmp_path / "d.npz"), "--quiet"]) == 2
    assert "takes 3 numbers a point" in capsys.readouterr().err
    assert run(["tightness", net, "--input=0.9,0.3,0.5", "--count", "3", "--quiet"]) == 2
    assert "--count 3: it counts inputs of --data" in capsys.readouterr().err
