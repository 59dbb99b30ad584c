"""`verifier verify`: the verdict, the counterexample, the files."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.files import MODEL, ROOT, SAT, UNSAT, counterexample, dense, holds, outputs, spec
from verifier.cli.app import run
from verifier.cli.progress import Watch
from verifier.cli.verify import _Report
from verifier.search.outcome import Progress

EXAMPLES = [
    ("models/pendulum.onnx", "specs/pendulum_pushes_back.vnnlib", "unsat"),
    ("models/pendulum.onnx", "specs/pendulum_line_sat.vnnlib", "sat"),
    ("models/pendulum.onnx", "specs/pendulum_limit_sat.vnnlib", "sat"),
    ("models/digits_fc.onnx", "specs/digits_fc_75_centre.vnnlib", "unsat"),
    ("models/digits_fc.onnx", "specs/digits_fc_35_large.vnnlib", "sat"),
]


@pytest.mark.parametrize(("model", "prop", "verdict"), EXAMPLES)
def test_verdict_and_counterexample(
    model: str, prop: str, verdict: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    net, question, results = str(ROOT / model), str(ROOT / prop), tmp_path / "results.txt"
    assert run(["verify", net, question, "--results", str(results)]) == 0
    out, err = capfd.readouterr()
    first, rest = out.split("\n", 1)
    assert first == verdict
    assert results.read_text() == out
    assert [p.name for p in tmp_path.iterdir()] == ["results.txt"]
    assert err.startswith("verifier: ")
    assert bool(rest) == (verdict == "sat")
    if rest:
        x, y = counterexample(rest)
        assert outputs(net, x) == y
        assert holds(question, x, y)


def test_quiet_says_nothing_on_standard_error(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", MODEL, UNSAT, "--quiet"]) == 0
    assert capfd.readouterr() == ("unsat\n", "")


@pytest.mark.parametrize(("prop", "verdict"), [(UNSAT, "unsat"), (SAT, "sat")])
def test_json(prop: str, verdict: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "out.json"
    assert run(["verify", MODEL, prop, "--json", str(path)]) == 0
    content = json.loads(path.read_text(), parse_constant=pytest.fail)
    assert content["verdict"] == verdict and content["reason"] and content["stats"]["seconds"] > 0
    if verdict == "unsat":
        assert content["witness"] is None
    else:
        assert (content["witness"]["x"], content["witness"]["y"]) == counterexample(capfd.readouterr().out[4:])


def test_results_replace_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "results.txt"
    path.write_text("old\n" * 100)
    assert run(["verify", MODEL, UNSAT, "--results", str(path)]) == 0
    assert path.read_text() == "unsat\n"


def test_results_into_a_link_and_a_device(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "far")
    assert run(["verify", MODEL, UNSAT, "--results", str(tmp_path / "link"), "--json", "/dev/null"]) == 0
    assert (tmp_path / "link").is_symlink() and (tmp_path / "far").read_text() == "unsat\n"
    assert Path("/dev/null").is_char_device()


def test_compressed_files(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    net, prop = tmp_path / "net.onnx.gz", tmp_path / "prop.vnnlib.gz"
    net.write_bytes(gzip.compress(Path(MODEL).read_bytes()))
    prop.write_bytes(gzip.compress(Path(SAT).read_bytes()))
    assert run(["verify", str(net), str(prop)]) == 0
    x, y = counterexample(capfd.readouterr().out[4:])
    assert outputs(MODEL, x) == y and holds(SAT, x, y)


@pytest.mark.parametrize("contradiction", ["(assert (>= X_0 2))", "(assert (and (>= Y_0 1) (< X_1 X_1)))"])
def test_a_property_that_contradicts_itself(
    contradiction: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.vnnlib").write_text(spec(contradiction + "(assert (>= Y_0 0))"))
    assert run(["verify", MODEL, str(tmp_path / "p.vnnlib")]) == 0
    out, err = capfd.readouterr()
    assert out == "unsat\n" and "contradicts itself" in err and err.count("\n") == 1


def test_a_model_with_a_fixed_batch_that_claims_an_open_one(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """What onnxruntime logs while that is found out is not for the user."""
    import onnx

    net = onnx.load_model_from_string(dense([[1.0, 1.0]]))
    graph = net.graph
    for value in (graph.input[0], graph.output[0]):
        value.type.tensor_type.shape.dim[0].dim_param = "N"
    graph.node.insert(0, onnx.helper.make_node("Reshape", ["x", "s"], ["flat"]))
    graph.node[1].input[0] = "flat"
    graph.initializer.append(onnx.numpy_helper.from_array(onnx.numpy_helper.np.array([1, 2]), "s"))
    onnx.save(net, tmp_path / "net.onnx")
    (tmp_path / "p.vnnlib").write_text(spec("(assert (>= Y_0 1.5))"))
    assert run(["verify", str(tmp_path / "net.onnx"), str(tmp_path / "p.vnnlib"), "--quiet"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("sat\n") and err == ""


def test_interrupt(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    def stopped(*_: Any, watch: Any, **__: Any) -> None:
        watch("searching", Progress(bounded=1234, open=5, rounds=3, worst=0.25))
        raise KeyboardInterrupt

    monkeypatch.setattr("verifier.run.verify.verify", stopped)
    assert run(["verify", MODEL, UNSAT, "--results", str(tmp_path / "r"), "--timeout", "1e9"]) == 130
    out, err = capfd.readouterr()
    assert out == "" and list(tmp_path.iterdir()) == []
    assert err == (
        "verifier: stopped while searching: 1,234 parts bounded, 5 open, largest gap 0.25\nverifier: interrupted\n"
    )


def test_progress_goes_to_standard_error(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    watch, silent = Watch(quiet=False), Watch(quiet=True)
    for now[0] in (0.5, 1.5, 2.0, 11.0, 12.0):
        watch.note("searching", Progress(bounded=int(now[0] * 10)))
        silent.note("searching", Progress())
    out, err = capfd.readouterr()
    assert out == "" and [line.split()[2] for line in err.splitlines()] == ["15", "120"]


@pytest.mark.parametrize("writable", [True, False])
def test_the_clock_speaks_once(
    writable: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """What the timer does where a step takes too long; then nothing more is printed."""
    statuses: list[int] = []
    monkeypatch.setattr("os._exit", statuses.append)
    folder = tmp_path if writable else tmp_path / "gone"
    report = _Report(folder / "r", folder / "j", Watch(quiet=False))
    report.late()
    report.late()
    out, err = capfd.readouterr()
    assert err.count("\n") == (1 if writable else 2) and "out of time while reading the input" in err
    if writable:
        assert statuses == [0] and out == "timeout\n" and "out of time while reading the input" in err
        assert (tmp_path / "r").read_text() == "timeout\n"
        assert json.loads((tmp_path / "j").read_text())["verdict"] == "timeout"
    else:
        assert statuses == [3] and out == "timeout\n" and err.count("cannot be written") == 2
