"""What is told of the machine and of the program."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

import verifier
from tests.cli.files import MODEL, ROOT, UNSAT
from verifier.run import machine


def test_facts_are_fit_for_json() -> None:
    facts = machine.machine()
    assert json.loads(json.dumps(facts, allow_nan=False)) == facts
    assert facts["cores"] >= 1 and facts["memory_gb"] > 0 and facts["processor"] and facts["python"]
    assert machine.memory() > 10**8


def test_the_version_changes_with_the_source_that_decides(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in machine.DECIDING:
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.py").write_text("x = 1\n")
    (tmp_path / "cli").mkdir()
    monkeypatch.setattr(machine, "__file__", str(tmp_path / "run" / "machine.py"))
    first = machine.version()
    (tmp_path / "cli" / "a.py").write_text("y = 1\n")
    assert machine.version() == first and first.startswith(verifier.__version__ + "+")
    (tmp_path / "search" / "a.py").write_text("x = 2\n")
    assert machine.version() != first


def test_nothing_else_decides() -> None:
    """What a question imports lies in the folders that the digest is of."""
    code = f"""
import sys, verifier
verifier.verify({MODEL!r}, {UNSAT!r})
print({{m.split(".")[1] for m in sys.modules if m.startswith("verifier.")}})
"""
    out = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    assert set(eval_set(out)) <= set(machine.DECIDING)


def eval_set(text: str) -> list[str]:
    return [word.strip(" '{}\n") for word in text.split(",")]
