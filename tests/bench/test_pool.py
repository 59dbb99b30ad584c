"""One process an instance: what each may cost, and that nothing of it stays."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.cli.files import MODEL, ROOT, SAT, UNSAT, hard
from verifier.bench.pool import Lost, Pool
from verifier.bench.server import Job

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks at processes in /proc")

GB = 10**9
EASY = {"model": MODEL, "spec": UNSAT, "timeout": 60.0, "device": "cpu"}


def job(number: int, request: dict[str, Any] = EASY, fresh: bool = False, kill: float = 60.0, memory: int = GB) -> Job:
    return Job(number, request, 1, fresh, kill, memory)


def children(pid: int) -> list[int]:
    return [int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except OSError:
        return True


def wait(until: Callable[[], Any]) -> Any:
    for _ in range(3000):
        found = until()
        if found:
            return found
        time.sleep(0.01)
    raise AssertionError("it does not come")


def ends(pool: Pool, *jobs: Job) -> dict[int, dict[str, Any]]:
    return {end["id"]: end for end in pool.run(jobs) if end is not None}


@pytest.mark.parametrize("fresh", [False, True])
def test_answers_both_ways(fresh: bool) -> None:
    with Pool(2) as pool:
        found = ends(pool, job(0, fresh=fresh), job(1, {**EASY, "spec": SAT}, fresh), job(2, fresh=fresh))
    assert [found[k]["result"]["verdict"] for k in range(3)] == ["unsat", "sat", "unsat"]
    assert all(e["how"] == "exit" and e["seconds"] > 0 and e["memory"] > 10**7 for e in found.values())
    assert "found" in found[1] and "found" not in found[0] and found[0]["chosen"]["facts"]["inputs"] == 2


def test_what_is_copied_has_one_thread_and_everything_imported() -> None:
    """Otherwise a lock may be held for ever in the copy, or every instance pays for the same imports."""
    code = f"""
import os, sys
from verifier.bench import server
server.warm()
assert server.alone(), os.listdir("/proc/self/task")
before = set(sys.modules)
from verifier.bench.answer import answer
told = []
for spec in {[UNSAT, SAT]!r}:
    answer({{**{EASY!r}, "spec": spec}}, told.append)
assert [t["result"]["verdict"] for t in told if "result" in t] == ["unsat", "sat"], told
new = {{m for m in sys.modules if m not in before}}
assert not new, new
assert "torch" not in sys.modules
"""
    env = {
        **os.environ, "PYTHONPATH": str(ROOT), "ORT_DISABLE_TELEMETRY": "1", "OPENBLAS_NUM_THREADS": "1",
        "OMP_NUM_THREADS": "1",
    }  # fmt: skip
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_time_is_up(tmp_path: Path) -> None:
    net, prop = hard(tmp_path)
    slow = {"model": net, "spec": prop, "timeout": 1e6, "device": "cpu"}
    with Pool(2) as pool:
        found = ends(pool, job(0, slow, kill=2.0), job(1), job(2, {**slow, "timeout": 1.5}))
    assert found[0]["how"] == "late" and "result" not in found[0] and found[0]["seconds"] >= 2.0
    assert found[0]["progress"]["domains"] > 0 and found[0]["chosen"]["strategy"]
    assert found[1]["how"] == "exit"
    result = found[2]["result"]
    assert result["verdict"] == "timeout" and result["gap"] > 0 and result["parts"][0]["open"] > 0


def test_memory_is_up(tmp_path: Path) -> None:
    """By the watcher, where the process holds more than it may; by the process itself, where it is told so."""
    net, prop = hard(tmp_path)
    slow = {"model": net, "spec": prop, "timeout": 60.0, "device": "cpu"}
    with Pool(3) as pool:
        found = ends(pool, job(0, slow, memory=30_000_000), job(1), job(2, slow, memory=1000, fresh=True))
    assert found[0]["how"] == "memory" or found[0]["result"]["verdict"] == "memory"
    assert found[1]["result"]["verdict"] == "unsat"
    assert found[2]["how"] != "exit" and "result" not in found[2]


def test_a_crash_costs_one(tmp_path: Path) -> None:
    net, prop = hard(tmp_path)
    slow = {"model": net, "spec": prop, "timeout": 60.0, "device": "cpu"}
    with Pool(2) as pool:
        found, hit = {}, False
        for end in pool.run([job(0, slow), job(1), job(2), job(3)]):
            if end is not None:
                found[end["id"]] = end
            elif not hit and len(found) == 3:
                (pid,) = children(pool._server.pid)
                os.kill(pid, signal.SIGSEGV)
                hit = True
    assert hit and found[0]["how"].startswith("signal 11") and "result" not in found[0]
    assert [found[k]["how"] for k in (1, 2, 3)] == ["exit"] * 3


def test_errors_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.vnnlib").write_text("(assert")
    with Pool(1) as pool:
        found = ends(
            pool, job(0, {**EASY, "model": "gone.onnx"}), job(1, {**EASY, "spec": str(tmp_path / "bad.vnnlib")})
        )
    for k, words in ((0, "gone.onnx"), (1, "bad.vnnlib")):
        result = found[k]["result"]
        assert result["verdict"] == "error" and words in result["reason"] and "\n" not in result["reason"]


def test_nothing_stays_when_the_one_who_asks_leaves(tmp_path: Path) -> None:
    net, prop = hard(tmp_path)
    slow = {"model": net, "spec": prop, "timeout": 1e6, "device": "cpu"}
    with Pool(2) as pool:
        run = pool.run([job(0, slow), job(1, slow, fresh=True)])
        wait(lambda: next(run) is None and len(children(pool._server.pid)) == 2)
        left = [pool._server.pid, *children(pool._server.pid)]
        assert all(resource.prlimit(pid, resource.RLIMIT_DATA) == (GB, GB) for pid in left[1:])
        words = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left[1:]]
        assert sorted(b"bench.single" in w for w in words) == [False, True]  # a copy, and a new interpreter
    assert wait(lambda: all(map(gone, left)))


def test_the_one_who_starts_them_is_killed(tmp_path: Path) -> None:
    net, prop = hard(tmp_path)
    slow = {"model": net, "spec": prop, "timeout": 1e6, "device": "cpu"}
    with Pool(1) as pool:
        run = pool.run([job(0, slow)])
        (child,) = wait(lambda: next(run) is None and children(pool._server.pid))
        os.kill(pool._server.pid, signal.SIGKILL)
        with pytest.raises(Lost, match="run the same command") as e:
            list(run)
        assert "\n" not in str(e.value)
    assert wait(lambda: gone(child))
