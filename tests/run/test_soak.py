"""A short soak (`benchmarks/soak.py`), in a process of its own: memory is that of a process."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import verifier

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="no /proc to read memory from")
def test_nothing_grows() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.soak", "--calls", "350"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "nothing grew" in done.stdout and done.stdout.count("calls:") == 4


def test_sessions_keep_no_arenas() -> None:
    """Their blocks come and go with sessions, and leave holes: 400 pairs of verifications grew by 11 MB with them."""
    session = verifier.load(ROOT / "models" / "pendulum.onnx").session()  # type: ignore[attr-defined]
    assert not session.get_session_options().enable_cpu_mem_arena
