"""What cannot be written costs the file and an exit status of its own, never the answer."""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from benchmarks.report import make
from tests.cli.files import MODEL, ROOT, SAT, UNSAT, hard
from verifier.cli.app import run

FULL = Path("/dev/full")
pytestmark = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")
SET = ["--input", "0,0", "--eps", "0.1"]
FC = str(ROOT / "models/digits_fc.onnx")


def process(*words: str, most: int | None = None, **how: Any) -> subprocess.CompletedProcess[str]:
    """A process of its own; its files may be no larger than `most`, as on a disk that is full."""

    def limit() -> None:
        if most is not None:
            resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))

    command = [sys.executable, "-m", "verifier", *words]
    how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "cwd": ROOT, **how}
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, text=True, timeout=120, env=env, preexec_fn=limit, **how)


@pytest.mark.parametrize(("spec", "verdict"), [(UNSAT, "unsat"), (SAT, "sat")])
def test_the_verdict_stands_where_a_file_cannot_be_written(
    spec: str, verdict: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    results = tmp_path / "r"
    assert run(["verify", MODEL, spec, "--quiet", "--json", "/dev/full", "--results", str(results)]) == 3
    out, err = capfd.readouterr()
    assert out.split("\n")[0] == verdict and results.read_text() == out
    assert err.startswith("verifier: /dev/full: cannot be written (No space left") and err.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    [
        ["lipschitz", MODEL, *SET, "--json", "/dev/full"],
        ["lipschitz", MODEL, *SET, "--timeout", "0", "--json", "/dev/full"],
        ["monotone", MODEL, *SET, "--input-index", "0", "--json", "/dev/full"],
        ["tightness", MODEL, *SET, "--json", "/dev/full"],
        ["certify", "--model", FC, "--data", "digits", "--eps", "0.01", "--count", "3", "--csv", "/dev/full"],
        ["certify", "--model", FC, "--data", "digits", "--eps", "0.01", "--count", "3", "--report", "/dev/full"],
    ],
    ids=lambda line: " ".join([line[0], line[-2]]),
)
def test_so_do_other_answers(line: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    if line[-3] == "0":  # the clock answers, and ends the process
        found = process(*line, "--quiet")
        status, out, err = found.returncode, found.stdout, found.stderr
    else:
        status, (out, err) = run([*line, "--quiet"]), capfd.readouterr()
    assert status == 3 and out and err.count("\n") == 1 and "/dev/full: cannot be written" in err


def test_late_and_unwritten(tmp_path: Path) -> None:
    found = process("verify", *hard(tmp_path), "--timeout", "2", "--json", "/dev/full", "--quiet")
    assert (found.returncode, found.stdout) == (3, "timeout\n") and found.stderr.count("\n") == 1


@pytest.mark.parametrize(
    "line",
    [["verify", MODEL, UNSAT, "--json", "FILE"], ["bound", MODEL, UNSAT], ["info", MODEL],
     ["supports", "--onnx-operators"], ["monotone", MODEL, *SET, "--input-index", "0", "--json", "FILE"]],
    ids=lambda line: line[0],
)  # fmt: skip
def test_standard_output_that_is_full_is_no_fault_of_ours(line: list[str], tmp_path: Path) -> None:
    file = tmp_path / "j"
    with FULL.open("w") as full:
        found = process(*[str(file) if word == "FILE" else word for word in line], stdout=full)
    assert found.returncode == 3
    last = found.stderr.splitlines()[-1]
    assert last == "verifier: standard output: cannot be written (No space left on device)"
    assert "fault" not in found.stderr and "Traceback" not in found.stderr
    assert file.exists() == ("FILE" in line) and (not file.exists() or json.loads(file.read_text()))


def test_files_are_written_for_a_reader_who_has_left(tmp_path: Path) -> None:
    read, write = os.pipe()
    os.close(read)
    found = process("verify", MODEL, SAT, "--quiet", "--json", str(tmp_path / "j"), stdout=write)
    os.close(write)
    assert found.returncode == 0 and found.stderr == ""
    assert json.loads((tmp_path / "j").read_text())["verdict"] == "sat"


@pytest.mark.parametrize("how", ["full", "gone", "closed"])
def test_nobody_listens_on_standard_error(how: str, tmp_path: Path) -> None:
    """Also while a progress line is due."""
    read, gone = os.pipe()
    os.close(read)
    line = ["verify", *hard(tmp_path), "--timeout", "2", "--explain"]
    if how == "closed":
        command = " ".join([sys.executable, "-m", "verifier", *line, "2>&-"])
        found = subprocess.run(["sh", "-c", command], cwd=ROOT, stdout=subprocess.PIPE, text=True, timeout=60)
    else:
        with FULL.open("w") as full:
            found = process(*line, stderr=full if how == "full" else gone)
    os.close(gone)
    assert (found.returncode, found.stdout) == (0, "timeout\n")


def test_closed_standard_output(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "verifier", "verify", MODEL, UNSAT, "--json", str(tmp_path / "j"), "--quiet"]
    found = subprocess.run(["sh", "-c", " ".join([*command, ">&-"])], cwd=ROOT, capture_output=True, timeout=60)
    assert found.returncode == 0 and found.stderr == b""
    assert json.loads((tmp_path / "j").read_text())["verdict"] == "unsat"


def test_a_benchmark_on_a_full_disk(tmp_path: Path) -> None:
    """What was answered is said; the file of results holds what there was room for, and the same command goes on."""
    many = "".join(f"{MODEL},{SAT},{20 + k}\n" for k in range(30))
    (tmp_path / "instances.csv").write_text(many)
    db = str(tmp_path / "r.sqlite")
    found = process("bench", str(tmp_path), "--db", db, "--quiet", most=70_000)
    assert found.returncode == 3 and found.stderr.count("\n") == 1 and "cannot be written" in found.stderr
    assert "benchmark" in found.stdout and "fault" not in found.stderr
    (tmp_path / "instances.csv").write_text(f"{MODEL},{SAT},20\n{MODEL},{UNSAT},20\n")
    found = process("bench", str(tmp_path), "--db", db, "--csv", "/dev/full", "--quiet")
    assert found.returncode == 3 and "benchmark" in found.stdout and "/dev/full" in found.stderr


def test_a_data_set_on_a_full_disk(tmp_path: Path) -> None:
    line = ["certify", "--model", FC, "--data", "digits", "--eps", "0.1", "--count", "60", "--timeout", "0"]
    for more, words in (([], "60 images"), (["--radius", "--count", "20"], "certified radii of 20 images")):
        db = ["--db", str(tmp_path / f"r{len(more)}.sqlite")]
        found = process(*line, *more, *db, "--quiet", most=70_000)
        assert found.returncode == 3 and found.stdout.startswith(words), found.stderr
        assert found.stderr.count("\n") == 1 and "cannot be written" in found.stderr


def test_a_page_that_cannot_be_written(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    make(tmp_path / "r.sqlite", 4)
    assert run(["report", str(tmp_path / "r.sqlite"), "-o", "/dev/full"]) == 3
    assert (
        capfd.readouterr().err
        == "verifier: /dev/full: cannot be written (No space left on device); choose another place\n"
    )


def test_training_on_a_full_disk(tmp_path: Path) -> None:
    (tmp_path / "r.toml").write_text(
        "[data]\nlimit = 100\n[model]\narchitecture = 'mlp'\nwidth = 8\n[schedule]\nepochs = 1\nramp_end = 1\n"
    )
    line = ["train", "--config", str(tmp_path / "r.toml"), "--out", str(tmp_path / "run"), "--quiet"]
    found = process(*line, most=500)
    assert found.returncode == 3 and found.stderr.count("\n") == 1 and "cannot be written" in found.stderr


def test_json_on_standard_output(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """`verify` keeps its first line; what else would be said is left out."""
    for name in ("-", "/dev/stdout"):
        assert run(["verify", MODEL, SAT, "--quiet", "--json", name]) == 0
        first, rest = capfd.readouterr().out.split("\n", 1)
        assert first == "sat" and json.loads(rest)["witness"]["x"]
    digits = ["certify", "--model", FC, "--data", "digits", "--eps", "0.01", "--count", "3"]
    for line in (
        ["lipschitz", MODEL, *SET], ["monotone", MODEL, *SET, "--input-index", "0"], ["tightness", MODEL, *SET], digits
    ):  # fmt: skip
        assert run([*line, "--quiet", "--json", "-"]) == 0
        assert json.loads(capfd.readouterr().out)
    assert run([*digits, "--quiet", "--csv", "-"]) == 0
    assert len(capfd.readouterr().out.splitlines()) == 4
    assert run([*digits, "--quiet", "--csv", "-", "--json", "-"]) == 2
    out, err = capfd.readouterr()
    assert out == "" and "standard output: given for --csv and for --json" in err
    with (tmp_path / "o").open("w") as file:
        found = process("verify", MODEL, SAT, "--quiet", "--json", "/dev/stdout", stdout=file)
    first, rest = (tmp_path / "o").read_text().split("\n", 1)
    assert found.returncode == 0 and first == "sat" and json.loads(rest)["verdict"] == "sat"
