"""`verifier report`: from a benchmark to a page, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.report import make
from tests.cli.files import MODEL, SAT, UNSAT
from verifier.cli.app import run


def test_from_a_benchmark_to_a_page(tmp_path: Path, capfd: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("instances.csv").write_text(f"{MODEL},{UNSAT},60,unsat\n{MODEL},{SAT},60,sat\ngone.onnx,{SAT},60\n")
    Path("peer.csv").write_text(f"onnx,vnnlib,verdict,seconds\n{MODEL},{UNSAT},sat,3\n")
    assert run(["bench", ".", "--quiet"]) == 0
    capfd.readouterr()
    assert run(["report", "runs.sqlite", "--compare", "peer.csv", "--figures", "figures"]) == 0
    out, err = capfd.readouterr()
    assert out.startswith("report.html: 3 instances of verifier ") and "beside peer" in out and err == ""
    assert "contradict each other: 1," in out
    text = Path("report.html").read_text()
    assert "gone.onnx" in text and "counterexample" in text.lower()
    names = {p.name for p in Path("figures").iterdir()}
    assert {"cactus.svg", "cactus.png", "scatter.svg", "scatter.png"} <= names
    assert run(["report", "runs.sqlite", "-o", "other.html", "--against", "none"]) == 0
    assert Path("other.html").exists() and "beside" not in capfd.readouterr().out


def test_list(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "r.sqlite", 4)
    assert run(["report", str(tmp_path / "r.sqlite"), "--list"]) == 0
    assert [line.split()[:2] for line in capfd.readouterr().out.splitlines()] == [["1", "verifier"], ["2", "other"]]


def test_refusals_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    db = tmp_path / "r.sqlite"
    make(db, 4)
    (tmp_path / "text").write_text("no database")
    for words in (
        [tmp_path / "gone"], [tmp_path / "text"], [db, "--run", "9"], [db, "--run", "x"], [db, "--against", "one"],
        [db, "-o", tmp_path / "no" / "r.html"], [db, "-o", tmp_path], [db, "--compare", tmp_path / "gone.csv"],
        [db, "--figures", tmp_path / "text"],
    ):  # fmt: skip
        output = [] if "-o" in words else ["-o", str(tmp_path / "r.html")]
        assert run(["report", *map(str, words), *output]) == 2, words
        out, err = capfd.readouterr()
        assert out == "" and err.startswith("verifier: ") and err.count("\n") == 1
        assert not (tmp_path / "r.html").exists()
