"""The competition's scripts, run as it runs them; the environment is the one the tests run in."""

from __future__ import annotations

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.cli.files import MODEL, ROOT, SAT, UNSAT, hard

SCRIPTS = ROOT / "vnncomp"


@pytest.fixture
def tool(tmp_path: Path) -> Path:
    """A copy of the scripts beside an environment: its `python` is ours."""
    folder = tmp_path / "tool"
    (folder / ".venv" / "bin").mkdir(parents=True)
    python = folder / ".venv" / "bin" / "python"
    python.write_text(f'#!/bin/bash\nshift\nexport PYTHONPATH={ROOT}\nexec {sys.executable} "$@"\n')  # without -I
    python.chmod(0o755)
    copies = folder / "scripts"
    copies.mkdir()
    for path in SCRIPTS.glob("*.sh"):
        (copies / path.name).write_bytes(path.read_bytes())
        (copies / path.name).chmod(0o755)
    return copies


def call(script: Path, *words: object, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run([script, *map(str, words)], capture_output=True, text=True, cwd=cwd, check=False)


@pytest.mark.parametrize(("prop", "verdict"), [(UNSAT, "unsat"), (SAT, "sat")])
def test_an_instance(prop: str, verdict: str, tool: Path, tmp_path: Path) -> None:
    assert call(tool / "prepare_instance.sh", "v1", "any", MODEL, prop).returncode == 0
    done = call(tool / "run_instance.sh", "v1", "any", MODEL, prop, "out.txt", "60", cwd=tmp_path)
    assert done.returncode == 0 and done.stdout == "" and done.stderr == ""
    text = (tmp_path / "out.txt").read_text()
    assert text.split("\n", 1)[0] == verdict and ("((X_0 " in text) == (verdict == "sat")


def test_several_networks_from_the_folder_of_the_benchmark(tool: Path, tmp_path: Path) -> None:
    (tmp_path / "onnx").mkdir()
    (tmp_path / "vnnlib").mkdir()
    (tmp_path / "onnx" / "a.onnx").write_bytes(Path(MODEL).read_bytes())
    (tmp_path / "vnnlib" / "q.vnnlib").write_text(
        "(vnnlib-version <2.0>)\n(declare-network f (declare-input X float32 [1,2]) (declare-output Y float32 [1,1]))\n"
        "(declare-network g (equal-to f) (declare-input Z float32 [1,2]) (declare-output W float32 [1,1]))\n"
        + "".join(f"(assert (and (>= {v}[0,{i}] 0.0) (<= {v}[0,{i}] 0.1)))\n" for v in "XZ" for i in (0, 1))
        + "(assert (>= Y[0,0] -1000.0))\n"
    )
    field = "[('f','onnx/a.onnx'),('g','onnx/a.onnx')]"
    words = ("v1", "c", field, tmp_path / "vnnlib" / "q.vnnlib", "o.txt", "60")
    assert call(tool / "prepare_instance.sh", *words[:4]).returncode == 0
    (tmp_path / "else").mkdir()
    done = call(tool / "run_instance.sh", *words, cwd=tmp_path / "else")
    text = (tmp_path / "else" / "o.txt").read_text()
    assert done.returncode == 0, done.stderr
    assert text.split()[:4] == ["sat", "X", "float32", "[1,2]"] and " W float32 [1,1]" in text.replace("\n", " ")


def test_what_goes_wrong_is_an_error(tool: Path, tmp_path: Path) -> None:
    out = tmp_path / "o.txt"
    out.write_text("unsat\n")  # of an earlier run
    done = call(tool / "run_instance.sh", "v1", "c", tmp_path / "gone.onnx", UNSAT, out, "60")
    assert done.returncode == 2 and out.read_text() == "error\n" and "gone.onnx" in done.stderr
    assert call(tool / "prepare_instance.sh", "v1", "c", tmp_path / "gone.onnx", UNSAT).returncode == 1
    for name in ("install_tool.sh", "prepare_instance.sh", "run_instance.sh"):
        done = call(tool / name, "v2")
        assert done.returncode == 1 and "expected v1" in done.stderr


def test_time(tool: Path, tmp_path: Path) -> None:
    net, prop = hard(tmp_path)
    done = call(tool / "run_instance.sh", "v1", "c", net, prop, tmp_path / "o.txt", "2")
    assert done.returncode == 0 and (tmp_path / "o.txt").read_text() == "timeout\n"


def test_a_whole_list_and_its_score(tool: Path, tmp_path: Path) -> None:
    head = "benchmark,onnx,vnnlib,timeout_s,peer,peer_s"
    rows = [f"b,{MODEL},{UNSAT},60,unsat,3", f"b,{MODEL},{SAT},60,timeout,60", "b,gone.onnx,gone.vnnlib,60,,"]
    (tmp_path / "i.csv").write_text("\n".join([head, *rows]) + "\n")
    run = [sys.executable, str(SCRIPTS / "run_all.py"), str(tmp_path / "i.csv"), str(tmp_path / "out")]
    done = subprocess.run([*run, "--tool", str(tool)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    table = list(csv.reader((tmp_path / "out" / "results.csv").read_text().splitlines()))
    assert [line[4] for line in table] == ["unsat", "sat", "prepare_instance_error"]
    assert [p.name for p in (tmp_path / "out").glob("*.counterexample")] == ["1.counterexample"]
    score = [sys.executable, str(SCRIPTS / "score.py"), str(tmp_path / "i.csv"), f"us={tmp_path / 'out'}"]
    env = {**os.environ, "PYTHONPATH": ""}
    done = subprocess.run([*score, "peer=peer,peer_s"], capture_output=True, text=True, env=env, check=False)
    assert done.stdout.splitlines()[2] == "| b | 3 | 100.0 | 2 | 0 | 50.0 | 1 | 0 |", done.stderr
