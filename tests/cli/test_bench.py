"""`verifier bench`: what is printed, what is written, what is refused."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from tests.campaign.test_store import ROW
from tests.cli.files import MODEL, ROOT, SAT, UNSAT, start
from verifier.campaign.bench import State
from verifier.campaign.rows import rows
from verifier.campaign.store import Store, runs
from verifier.cli import bench
from verifier.cli.app import run


def write(folder: Path, *lines: str) -> str:
    (folder / "instances.csv").write_text("".join(line + "\n" for line in lines))
    return str(folder)


def test_summary_table_and_status(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path, f"{MODEL},{UNSAT},20,unsat", f"{MODEL},{SAT},20,sat", f"gone.onnx,{SAT},20")
    (tmp_path / "peer.csv").write_text(f"onnx,vnnlib,verdict,seconds\n{MODEL},{UNSAT},sat,3\n{MODEL},{SAT},sat,3\n")
    db, table = tmp_path / "r.sqlite", tmp_path / "out.csv"
    words = ["bench", source, "--db", str(db), "--csv", str(table), "--compare", str(tmp_path / "peer.csv")]
    assert run(words) == 0
    out, err = capfd.readouterr()
    head, body, *rest = out.splitlines()
    assert head.split()[:9] == "benchmark n sat unsat unknown timeout error wrong seconds".split()
    cells = body.split()
    assert cells[1:8] == ["3", "1", "1", "0", "0", "1", "0"] and cells[9:11] == ["2", "6.0"] and cells[12] == "1"
    assert rest[0].startswith("DISAGREE") and rest[0].endswith("the other says sat")
    assert rest[-2] == f"3 results are in {db}, run 1; 0 were there before."
    assert rest[-1].endswith(f"verifier report {db}")
    assert err.count("\n") == 3 and "gone.onnx" in err and "unsat (" in err
    assert [line.split(",")[4] for line in table.read_text().splitlines()] == ["unsat", "sat", "error"]
    assert run([*words, "--quiet"]) == 0
    out, err = capfd.readouterr()
    assert err == "" and "3 were there before" in out


def test_a_wrong_answer_is_shown_and_is_the_status(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source = write(tmp_path, f"{MODEL},{UNSAT},20,sat")
    assert run(["bench", source, "--db", str(tmp_path / "r")]) == 1
    out, err = capfd.readouterr()
    assert "WRONG: sat is expected" in err and "\nWRONG " in out


def test_refusals_in_one_line(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write(tmp_path, f"{MODEL},{UNSAT},20")
    for words in (
        [str(tmp_path / "gone")], [str(tmp_path), "--db", str(tmp_path / "no" / "r")], [str(tmp_path), "--jobs", "0"],
        [str(tmp_path), "--compare", str(tmp_path / "gone")], [str(tmp_path), "--only", "zzz"],
    ):  # fmt: skip
        assert run(["bench", "--db", str(tmp_path / "r"), *words]) == 2
        out, err = capfd.readouterr()
        assert out == "" and err.startswith("verifier: ") and err.count("\n") == 1


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    source = write(tmp_path, f"{MODEL},{UNSAT},20", f"gone.onnx,{SAT},20")
    ours, theirs = pty.openpty()
    words = [sys.executable, "-m", "verifier", "bench", source, "--db", str(tmp_path / "r")]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": "xterm", "COLUMNS": "120"}
    process = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=theirs, env=env)
    os.close(theirs)
    text = b""
    while True:
        try:
            data = os.read(ours, 1 << 16)
        except OSError:
            break
        if not data:
            break
        text += data
    process.communicate()
    os.close(ours)
    assert process.returncode == 0
    shown = text.decode()
    assert "0 solved, 0 wrong, 2 left, about" in shown and "1 solved, 0 wrong, 0 left" in shown and "gone.onnx" in shown
    assert len(rows(tmp_path / "r", 1)) == 2


def test_interrupted_says_how_to_go_on(tmp_path: Path) -> None:
    import signal

    source = write(tmp_path, *(f"gone{k}.onnx,{SAT},20" for k in range(3000)))
    process = start("bench", source, "--db", str(tmp_path / "r"))
    assert process.stderr is not None
    process.stderr.readline()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate()
    assert process.returncode == 130 and out == ""
    assert err.splitlines()[-1] == "verifier: interrupted" and "the same command goes on" in err


def test_standing_and_durations() -> None:
    done = [replace(ROW, verdict="sat", seconds=100.0), replace(ROW, verdict="timeout", onnx="b")]
    assert bench.standing(State(1, done, 0, [], [], 1)) == "1 solved, 0 wrong, 0 left"
    assert [bench.duration(s) for s in (0.2, 61, 600, 9000)] == ["1 s", "61 s", "10 min", "2.5 h"]


def test_the_projects_own_list(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", str(ROOT / "specs"), "--db", str(tmp_path / "r"), "--only", "pendulum", "--quiet"]) == 0
    assert all(r.solved and not r.wrong and r.expected for r in rows(tmp_path / "r", 1))


def test_a_table_of_other_instances_is_said(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, db = write(tmp_path, f"{MODEL},{UNSAT},20"), str(tmp_path / "r")
    (tmp_path / "peer.csv").write_text("onnx,vnnlib,verdict,seconds\nother.onnx,p.vnnlib,sat,3\n")
    for words in (["bench", source, "--db", db], ["report", db, "-o", str(tmp_path / "r.html")]):
        assert run([*words, "--compare", str(tmp_path / "peer.csv")]) == 0
        assert "is about these instances; they are matched by the names" in capfd.readouterr().err
    (tmp_path / "peer.csv").write_text(f"onnx,vnnlib,verdict,seconds\n{MODEL},{UNSAT},unsat,3\n")
    assert run(["bench", source, "--db", db, "--compare", str(tmp_path / "peer.csv")]) == 0
    assert "about these" not in capfd.readouterr().err


def test_runs_are_listed_and_deleted(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    source, db = write(tmp_path, f"{MODEL},{UNSAT},20"), tmp_path / "r.sqlite"
    command = ["bench", "--db", str(db)]
    for more in ([], ["--timeout", "9"], ["--timeout", "8"]):
        assert run([*command, source, "--quiet", *more]) == 0
    capfd.readouterr()
    assert run([*command, "--list"]) == 0
    lines = capfd.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["1", "2", "3"] and all("1 of 1 results" in line for line in lines)
    before = rows(db, 2)
    assert run([*command, "--delete", "1,3"]) == 0
    assert [line.split()[:3] for line in capfd.readouterr().out.splitlines()] == [
        ["deleted", "run", "1:"], ["deleted", "run", "3:"]
    ]  # fmt: skip
    assert [r.id for r in runs(db)] == [2] and rows(db, 2) == before and rows(db, 1) == rows(db, 3) == []
    assert run([*command, source, "--quiet"]) == 0  # what was deleted is run again
    assert "0 were there before" in capfd.readouterr().out
    for words, said in (
        (["--delete", "9"], "has no run 9"), (["--delete", "x"], "not numbers of runs"),
        (["--delete", ""], "give numbers"),
        (["--delete", "2", source], "give one of them"), (["--delete", "2", "--list"], "give one of them"),
        ([], "no FOLDER or LIST"),
    ):  # fmt: skip
        assert run([*command, *words]) == 2
        out, err = capfd.readouterr()
        assert out == "" and err.count("\n") == 1 and said in err
    with Store(db):
        assert run([*command, "--delete", "2"]) == 2 and "another bench" in capfd.readouterr().err
    assert run(["bench", "--db", str(tmp_path / "gone"), "--list"]) == 2 and not (tmp_path / "gone").exists()


def test_forty_columns_keep_the_numbers(tmp_path: Path) -> None:
    some = [replace(ROW, verdict=v, category="a benchmark") for v in ("sat", "unsat", "timeout")]
    state = State(1, some, 0, [], [], 1)
    wide, narrow = bench.summary(state, tmp_path / "r"), bench.summary(state, tmp_path / "r", 40)
    assert wide == bench.summary(state, tmp_path / "r", 200)
    head, cells = wide.splitlines()[:2]
    names, told = head.split()[1:], narrow.splitlines()
    told = told[: 1 + len(names)]
    assert told[0] == "a benchmark" and all(len(line) <= 40 for line in told)
    assert [line.split() for line in told[1:]] == [list(p) for p in zip(names, cells.split()[2:], strict=True)]
