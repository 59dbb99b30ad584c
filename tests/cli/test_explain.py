"""What `verify` tells besides the verdict: while it runs, when asked why, and as a record."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.cli.files import MODEL, ROOT, SAT, UNSAT, hard
from verifier.cli.app import run
from verifier.cli.progress import Watch
from verifier.cli.verify import _Report
from verifier.search.outcome import Progress


def test_the_live_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    monkeypatch.setattr("verifier.cli.progress.since_start", lambda: now[0])
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    watch, silent = Watch(False, timeout=60.0), Watch(True, timeout=60.0)
    watch.note("looking for a counterexample", None)
    for now[0] in (0.5, 1.5, 1.6, 2.5):
        for w in (watch, silent):
            w.note("searching", Progress(bounded=int(1000 * now[0]), open=5, rounds=3, worst=0.25, closed=1234))
    watch.close()
    out, err = capfd.readouterr()
    drawn = err.split("\r\x1b[2K")
    assert out == "" and drawn[0] == drawn[-1] == "" and len(drawn) == 4
    assert drawn[1] == "verifier: 58 s left  5 parts open, 1,234 closed  worst bound -0.25  1,000 parts/s"
    assert drawn[2].startswith("verifier: 58 s left") or drawn[2].startswith("verifier: 57 s left")
    assert "\n" not in err


def test_the_line_before_the_search_and_without_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("verifier.cli.progress.since_start", lambda: 12.3)
    watch = Watch(True)
    assert watch.status(0.0) == "12 s  reading the input"
    watch.note("searching", Progress(bounded=0, worst=float("inf")))
    assert watch.status(watch._began) == "12 s  0 parts open, 0 closed  worst bound -inf  0 parts/s"


def test_a_line_fits_the_terminal(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    monkeypatch.setattr("os.get_terminal_size", lambda *_: os.terminal_size((20, 5)))
    watch = Watch(False)
    watch._next = 0.0
    watch.note("searching", Progress())
    assert len(capfd.readouterr().err.removeprefix("\r\x1b[2K")) == 19


@pytest.mark.parametrize("prop", [UNSAT, SAT])
def test_explain(prop: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", MODEL, prop, "--explain"]) == 0
    out, err = capfd.readouterr()
    assert out.split()[0] in ("sat", "unsat")
    words = [line.split(": ")[1] for line in err.splitlines()[:-1]]
    assert words[:5] == ["facts", "facts", "strategy", "strategy", "phases"]
    assert "2 inputs (2 vary), 1 output," in err and "multiply-adds" in err and "splits of the 2 inputs" in err


def test_explain_tells_what_is_open(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    from verifier.cli.verify import _ended
    from verifier.run.verify import verify

    net, prop = hard(tmp_path)
    result = verify(net, prop, timeout=1.0)
    _ended(result)
    err = capfd.readouterr().err
    assert result.verdict == "timeout" and result.stats["gap"] == result.stats["parts"][0]["gap"]
    assert "verifier: open: disjunct 0, " in err and " parts: " not in err.splitlines()[0] and "from refuted" in err
    json.dumps(result.stats, allow_nan=False)


@pytest.mark.parametrize("limit", [["--timeout", "5000"], ["--timeout", "inf"], []])
def test_the_full_record(limit: list[str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["verify", MODEL, UNSAT, "--json", str(tmp_path / "j"), *limit]) == 0
    record = json.loads((tmp_path / "j").read_text(), parse_constant=pytest.fail)
    assert set(record) == {"verdict", "reason", "witness", "stats", "question", "version", "machine", "seconds"}
    assert record["question"]["model"] == MODEL and record["question"]["spec"] == UNSAT
    assert record["question"]["timeout"] == (5000.0 if "5000" in limit else None)
    stats = record["stats"]
    assert {"phases", "domains", "open", "closed", "rounds", "strategy", "facts"} <= set(stats)
    assert stats["facts"]["varying"] == 2 and stats["facts"]["units"] == {"Relu": 64} and stats["open"] == 0
    assert record["machine"]["cores"] >= 1


def test_what_the_clock_writes_has_what_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("os._exit", lambda status: None)
    watch = Watch(quiet=True)
    report = _Report(None, tmp_path / "j", watch)
    report.explained("on the processor", {"inputs": 2})
    watch.note("searching", Progress(bounded=7, open=3, worst=float("inf"), closed=2))
    report.late()
    record = json.loads((tmp_path / "j").read_text(), parse_constant=pytest.fail)
    assert record["verdict"] == "timeout" and record["stats"]["facts"] == {"inputs": 2}
    assert [record["stats"][k] for k in ("domains", "open", "closed", "gap")] == [7, 3, 2, None]


def test_the_projects_models_are_described() -> None:
    import verifier

    result = verifier.verify(str(ROOT / "models/digits_conv.onnx"), str(ROOT / "specs/digits_conv_20_small.vnnlib"))
    facts = result.stats["facts"]
    assert facts["inputs"] == 64 and facts["disjuncts"] == 9 and facts["boxes"] == 1 and facts["dtype"] == "float32"
    assert facts["input_shape"][-2:] == [8, 8] and facts["multiply_adds"] > 0 and facts["affine"] > 0
