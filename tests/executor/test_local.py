"""One process an instance: what each may cost, and that nothing of it stays."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.cli.files import MODEL, ROOT, SAT, UNSAT, hard
from verifier.executor.local import Local, Work
from verifier.executor.tasks import End, Lost, Task

pytestmark = pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="looks at processes in /proc")

GB = 10**9
EASY = {"model": MODEL, "spec": UNSAT, "timeout": 60.0, "device": "cpu"}


COPIES = Work("verifier.campaign.answer:ready", warm="verifier.campaign.rehearsal:warm")
FRESH = Work("verifier.campaign.answer:ready")


def task(number: int, request: dict[str, Any] = EASY, kill: float = 60.0, memory: int = GB) -> Task:
    return Task(number, request, kill, memory)


def server(executor: Local) -> int:
    assert executor._server is not None
    return executor._server.pid


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


def ends(executor: Local, *tasks: Task) -> dict[int, End]:
    with executor:
        return {end.id: end for end in executor.run(tasks) if end is not None}


@pytest.mark.parametrize("work", [COPIES, FRESH, replace(FRESH, keep=True), replace(COPIES, keep=True)])
def test_answers_every_way(work: Work) -> None:
    found = ends(Local(2, work), task(0), task(1, {**EASY, "spec": SAT}), task(2))
    assert [found[k].told["result"]["verdict"] for k in range(3)] == ["unsat", "sat", "unsat"]
    assert all(e.how == "exit" and e.seconds > 0 and e.memory > 10**7 for e in found.values())
    assert "found" in found[1].told and "found" not in found[0].told
    assert found[0].told["chosen"]["facts"]["inputs"] == 2


def test_what_is_copied_has_one_thread_and_everything_imported() -> None:
    """Otherwise a lock may be held for ever in the copy, or every instance pays for the same imports."""
    code = f"""
import os, sys
from verifier.campaign.rehearsal import warm
from verifier.executor import server
warm()
assert server.alone(), os.listdir("/proc/self/task")
before = set(sys.modules)
from verifier.campaign.answer import answer
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
    found = ends(Local(2, COPIES), task(0, slow, kill=2.0), task(1), task(2, {**slow, "timeout": 1.5}))
    assert found[0].how == "late" and "result" not in found[0].told and found[0].seconds >= 2.0
    assert found[0].told["progress"]["domains"] > 0 and found[0].told["chosen"]["strategy"]
    assert found[1].how == "exit"
    result = found[2].told["result"]
    assert result["verdict"] == "timeout" and result["gap"] > 0 and result["parts"][0]["open"] > 0


def test_memory_is_up(tmp_path: Path) -> None:
    """By the watcher, where the process holds more than it may; by the process itself, where it is told so."""
    net, prop = hard(tmp_path)
    slow = {"model": net, "spec": prop, "timeout": 60.0, "device": "cpu"}
    found = ends(Local(2, COPIES), task(0, slow, memory=30_000_000), task(1))
    assert found[0].how == "memory" or found[0].told["result"]["verdict"] == "memory"
    assert found[1].told["result"]["verdict"] == "unsat"
    (end,) = ends(Local(1, FRESH), task(2, slow, memory=1000)).values()
    assert end.how != "exit" and "result" not in end.told


def test_a_crash_costs_one(tmp_path: Path) -> None:
    net, prop = hard(tmp_path)
    slow = {"model": net, "spec": prop, "timeout": 60.0, "device": "cpu"}
    for work in (COPIES, replace(FRESH, keep=True)):
        with Local(2, work) as executor:
            found, hit = dict[int, End](), False
            for end in executor.run([task(0, slow), task(1), task(2), task(3)]):
                if end is not None:
                    found[end.id] = end
                elif not hit and len(found) == 3:
                    pid = children(server(executor))[0]  # (one that is kept has nothing to do)
                    os.kill(pid, signal.SIGSEGV)
                    hit = True
        assert hit and found[0].how.startswith("signal 11") and "result" not in found[0].told
        assert [found[k].how for k in (1, 2, 3)] == ["exit"] * 3


def test_errors_are_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "bad.vnnlib").write_text("(assert")
    bad = {**EASY, "spec": str(tmp_path / "bad.vnnlib")}
    found = ends(Local(1, COPIES), task(0, {**EASY, "model": "gone.onnx"}), task(1, bad))
    for k, words in ((0, "gone.onnx"), (1, "bad.vnnlib")):
        result = found[k].told["result"]
        assert result["verdict"] == "error" and words in result["reason"] and "\n" not in result["reason"]


@pytest.mark.parametrize("work", [COPIES, FRESH])
def test_nothing_stays_when_the_one_who_asks_leaves(work: Work, tmp_path: Path) -> None:
    net, prop = hard(tmp_path)
    slow = {"model": net, "spec": prop, "timeout": 1e6, "device": "cpu"}
    with Local(2, work) as executor:
        going = executor.run([task(0, slow), task(1, slow)])
        wait(lambda: next(going) is None and len(children(server(executor))) == 2)
        left = [server(executor), *children(server(executor))]
        wait(lambda: all(resource.prlimit(pid, resource.RLIMIT_DATA) == (GB, GB) for pid in left[1:]))  # once they run
        words = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in left[1:]]
        assert [b"executor.worker" in w for w in words] == [work is FRESH] * 2  # copies, or new interpreters
    assert wait(lambda: all(map(gone, left)))


def test_the_one_who_starts_them_is_killed(tmp_path: Path) -> None:
    net, prop = hard(tmp_path)
    slow = {"model": net, "spec": prop, "timeout": 1e6, "device": "cpu"}
    with Local(1, COPIES) as executor:
        going = executor.run([task(0, slow)])
        (child,) = wait(lambda: next(going) is None and children(server(executor)))
        os.kill(server(executor), signal.SIGKILL)
        with pytest.raises(Lost, match="run the same command") as e:
            list(going)
        assert "\n" not in str(e.value)
    assert wait(lambda: gone(child))
