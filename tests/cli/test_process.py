"""The command line as a process of its own: streams, status, time, signals, and what it imports."""

from __future__ import annotations

import importlib.util
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.cli.files import MODEL, ROOT, SAT, UNSAT, counterexample, hard, holds, outputs, start
from verifier.cli.app import run


def test_sat_from_another_folder(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir()
    process = start("verify", MODEL, SAT, "--results", "r.txt", cwd=tmp_path / "work")
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and out.startswith("sat\n") and "Traceback" not in err
    assert all(line.startswith("verifier: ") for line in err.splitlines())  # more than one where it takes over a second
    x, y = counterexample(out[4:])
    assert outputs(MODEL, x) == y and holds(SAT, x, y)
    assert (tmp_path / "work" / "r.txt").read_text() == out
    assert [p.name for p in (tmp_path / "work").iterdir()] == ["r.txt"]


def test_refusal() -> None:
    process = start("verify", "none.onnx", UNSAT)
    assert process.communicate(timeout=60) == ("", "verifier: none.onnx: no such file; check the path\n")
    assert process.returncode == 2


def test_no_arguments() -> None:
    process = start()
    out, err = process.communicate(timeout=60)
    assert process.returncode == 0 and out.startswith("usage: verifier") and err == ""


def test_the_console_script() -> None:
    script = Path(sys.executable).parent / "verifier"
    if not script.exists():
        pytest.skip("not installed beside this python")
    assert (
        subprocess.run([script, "verify", MODEL, UNSAT, "--quiet"], capture_output=True, timeout=60).stdout
        == b"unsat\n"
    )


def test_no_time(tmp_path: Path) -> None:
    results = tmp_path / "r"
    process = start("verify", MODEL, UNSAT, "--timeout", "0", "--results", str(results))
    out, err = process.communicate(timeout=60)
    assert (process.returncode, out, results.read_text()) == (0, "timeout\n", "timeout\n")
    assert "out of time" in err


@pytest.mark.parametrize("seconds", ["inf", "1e300", "1e9"])
def test_all_the_time_in_the_world(seconds: str) -> None:
    process = start("verify", MODEL, UNSAT, "--timeout", seconds, "--quiet")
    assert process.communicate(timeout=60) == ("unsat\n", "")


def test_a_timeout_bounds_the_whole_process(tmp_path: Path) -> None:
    question, results = hard(tmp_path), tmp_path / "r"
    begun = time.monotonic()
    process = start("verify", *question, "--timeout", "3", "--results", str(results))
    out, err = process.communicate(timeout=60)
    took = time.monotonic() - begun
    assert (process.returncode, out, results.read_text()) == (0, "timeout\n", "timeout\n")
    assert "out of time" in err
    assert 2 < took < 3.3


def test_interrupt(tmp_path: Path) -> None:
    question, results = hard(tmp_path), tmp_path / "out" / "r"
    results.parent.mkdir()
    process = start("verify", *question, "--results", str(results), "--json", str(results.with_name("j")))
    time.sleep(2.5)
    process.send_signal(signal.SIGINT)
    try:
        out, err = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 130 and out == ""
    lines = [line for line in err.splitlines() if "stopped" in line or "interrupted" in line]
    assert lines[0].startswith("verifier: stopped while searching: ") and "open" in lines[0]
    assert lines[1:] == ["verifier: interrupted"] and "Traceback" not in err
    assert list(results.parent.iterdir()) == []


def test_a_reader_that_leaves() -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "verifier", "verify", MODEL, UNSAT, "--quiet"]
    process = subprocess.run(command, cwd=ROOT, stdout=write, stderr=subprocess.PIPE, timeout=60)
    os.close(write)
    assert process.returncode == 0 and process.stderr == b""


NEEDED = {"numpy", "onnx", "onnxruntime"}
UNNEEDED = {"torch", "rich", "typer", "click", "pydantic", "scipy", "cvxpy", "highspy", "matplotlib", "sympy", "pandas"}


SPARED = {
    "verifier.bounds.fold", "verifier.bounds.lagrange", "verifier.cli.completion", "verifier.cli.log",
    "verifier.graph.chain", "verifier.graph.convert_attention", "verifier.graph.convert_recurrent",
    "verifier.graph.convert_trees", "verifier.graph.from_torch", "verifier.graph.passes.differences",
    "verifier.run.apart", "verifier.run.cells", "verifier.run.clauses", "verifier.run.front", "verifier.run.joint",
    "verifier.run.margins", "verifier.run.outputs", "verifier.run.relations", "verifier.search.neurons.problem",
    "verifier.search.neurons.tree", "verifier.spec.apart", "verifier.spec.builders", "verifier.spec.farkas",
    "verifier.spec.query2", "verifier.spec.write",
}  # fmt: skip
"""Modules of ours that a plain question about few inputs does without: together they take 20 ms."""


@pytest.mark.parametrize("prop", [UNSAT, SAT])
def test_the_processor_needs_no_torch(prop: str) -> None:
    """Importing torch takes five times as long as answering these."""
    code = f"""if True:
        import sys
        from verifier.cli.app import run
        assert run(["verify", {MODEL!r}, {prop!r}, "--quiet"]) == 0
        print("imported", *{{name.split(".")[0] for name in sys.modules}}, *sys.modules)
    """
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    imported = set(process.stdout.split("imported")[1].split())
    assert imported >= NEEDED
    assert imported & UNNEEDED == set()
    assert imported & SPARED == set() and "verifier.search.inputs" in imported
    gone = [name for name in SPARED if importlib.util.find_spec(name) is None]
    assert not gone, f"{gone}: no longer there under that name, so nothing is known of what stands for them"


def test_asking_for_help_imports_nothing() -> None:
    code = f"""if True:
        import sys
        from verifier.cli.app import run
        run(["verify", "--help"])
        print({UNNEEDED | NEEDED} & set(sys.modules))
    """
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert process.stdout.endswith("set()\n")


def test_run_returns_and_leaves_the_process_alone(capfd: pytest.CaptureFixture[str]) -> None:
    handler = signal.getsignal(signal.SIGINT)
    assert [run(["info"]), run(["verify", MODEL, UNSAT, "--quiet"])] == [0, 0]
    assert signal.getsignal(signal.SIGINT) is handler
