"""`--log`: what was done and why, with the time; and the loggers for programs."""

from __future__ import annotations

import logging
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import verifier
from tests.cli.files import MODEL, ROOT, SAT, UNSAT, dense, hard, start
from verifier.cli.app import run
from verifier.cli.options import LOGGED, parser
from verifier.cli.places import Writes

LINE = re.compile(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{3} verifier\.\w+: \S.*")


def read(path: Path) -> str:
    """The file, each line of which has a time and a logger."""
    text = path.read_text()
    assert text.endswith("\n") and all(LINE.fullmatch(line) for line in text.splitlines()), text
    return text


def clean() -> None:
    """Nothing is left of a log."""
    logger = logging.getLogger("verifier")
    assert not logger.handlers and logger.level == logging.NOTSET


def test_a_question(tmp_path: Path, capsys: Any) -> None:
    log = tmp_path / "a.log"
    assert run(["verify", MODEL, UNSAT, "--quiet", "--log", str(log)]) == 0
    text = read(log)
    for words in ("verify " + MODEL, "load took", "strategy: ", "facts: 2 inputs", "root bounds: ", "inputs for",
                  "Result(verdict: unsat", "cli: unsat: every part", "ended after"):  # fmt: skip
        assert words in text, words
    assert capsys.readouterr() == ("unsat\n", "")
    assert run(["verify", MODEL, SAT, "--quiet", "--log", str(log)]) == 0
    assert read(log).startswith(text) and "attack took" in read(log)[len(text) :]  # added, nothing lost
    clean()


def test_other_commands(tmp_path: Path) -> None:
    log = ["--log", str(tmp_path / "a.log")]
    asked = ["--input", "0,0", "--eps", "0.1"]
    assert run(["bound", MODEL, *asked, *log]) == 0
    rng = np.random.default_rng(0)
    (tmp_path / "c.onnx").write_bytes(dense(rng.standard_normal((6, 4)), rng.standard_normal((3, 6))))
    np.savez(tmp_path / "d.npz", x=rng.random((5, 4)).astype(np.float32), y=np.array([0, 1, 2, 0, 1]))
    certify = ["certify", "--model", str(tmp_path / "c.onnx"), "--data", str(tmp_path / "d.npz"), "--eps", "0.01"]
    assert run([*certify, "--quiet", *log]) == 0
    text = read(tmp_path / "a.log")
    assert "verifier.certify: Point(image: 0" in text and "verifier.certify: Certified(images: 5" in text
    for command in (["lipschitz", MODEL, *asked], ["monotone", MODEL, *asked, "--input-index", "1"]):
        process = start(*command, "--quiet", *log)  # their clocks count from the start of the process
        assert process.communicate(timeout=120)[1] == "" and process.returncode == 0
    text = read(tmp_path / "a.log")
    assert "on the whole set: Lipschitz(" in text and "monotone: Monotone(direction: decreasing" in text
    clean()


def test_a_list(tmp_path: Path) -> None:
    (tmp_path / "i.csv").write_text(f"{MODEL},{UNSAT},60\n{MODEL},none.vnnlib,60\n")
    log = tmp_path / "a.log"
    process = start("bench", str(tmp_path / "i.csv"), "--db", str(tmp_path / "r.sqlite"), "--quiet", "--log", str(log))
    process.communicate(timeout=120)
    assert "verifier.bench: " in read(log) and "unsat in " in read(log)


def test_when_the_time_is_up(tmp_path: Path) -> None:
    log = tmp_path / "a.log"
    process = start("verify", *hard(tmp_path), "--timeout", "4", "--quiet", "--log", str(log))
    assert process.communicate(timeout=60)[0] == "timeout\n"
    assert "cli: timeout: out of time" in read(log)


def test_what_cannot_be_used(tmp_path: Path, capsys: Any) -> None:
    log = tmp_path / "a.log"
    assert run(["verify", str(tmp_path / "no\nne.onnx"), UNSAT, "--log", str(log)]) == 2
    assert re.search(r"ended after .* by ModelError: .*: no such file", read(log))
    copy = tmp_path / "m.onnx"
    copy.write_bytes(Path(MODEL).read_bytes())
    assert run(["verify", str(copy), UNSAT, "--log", str(copy)]) == 2
    assert "--log would overwrite it" in capsys.readouterr().err
    assert run(["verify", MODEL, UNSAT, "--log", str(tmp_path / "none" / "a.log")]) == 2
    assert copy.read_bytes() == Path(MODEL).read_bytes()
    clean()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_costs_no_answer(capsys: Any) -> None:
    assert run(["verify", MODEL, UNSAT, "--quiet", "--log", "/dev/full"]) == 3
    out, err = capsys.readouterr()
    assert out == "unsat\n" and err.startswith("verifier: /dev/full: cannot be written") and err.count("\n") == 1
    clean()


def test_it_is_an_output_everywhere() -> None:
    whole = parser()
    (commands,) = (a.choices for a in whole._actions if isinstance(a.choices, dict))
    for name, command in commands.items():
        (found,) = [a for a in command._actions if "--log" in a.option_strings] or [None]
        assert (found is not None) == (name in LOGGED) and (found is None or isinstance(found.type, Writes))


def test_loggers_for_programs(caplog: pytest.LogCaptureFixture) -> None:
    verifier.verify(MODEL, UNSAT, 60)
    assert not caplog.records  # nobody asked
    with caplog.at_level(logging.INFO, logger="verifier"):
        verifier.verify(MODEL, UNSAT, 60)
    assert {r.name.split(".")[0] for r in caplog.records} == {"verifier"}
    assert {"verifier.verify", "verifier.search"} <= {r.name for r in caplog.records}


def test_silence_costs_nothing() -> None:
    code = (
        "import sys; sys.modules.pop('logging', None); from verifier.values import log; "
        "log.note('x', '%d', 'no number'); assert not log.heard('x'); print('logging' in sys.modules)"
    )
    found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert found.stdout == "False\n", found.stderr
