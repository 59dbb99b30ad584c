"""Processes forked from this one, for `benchmarks/mutation.py`: several at once, with bounds on time and memory."""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

MEMORY = 4 << 30
"""Bytes that a mutant may take besides what was there."""


def forked(work: Callable[[], int]) -> int:
    """A process, by its number, that exits with what `work` returns, and prints nothing; where it can be had, it is
    killed when this one is.
    """
    parent = os.getpid()
    child = os.fork()
    if child:
        return child
    status = 70
    with contextlib.suppress(BaseException):
        os.setpgid(0, 0)
        if sys.platform == "linux":
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
            if os.getppid() != parent:
                os._exit(status)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.dup2(1, 2)
        status = work()
    os._exit(status)


def many(jobs: int, tasks: Iterator[tuple[Any, int, float]]) -> Iterator[tuple[Any, int | None]]:
    """Each task's mark and exit status (None: it took longer than its seconds and was killed), `jobs` at a time.

    A task is a mark, a process, and its seconds; it has been started when it comes out of `tasks`.
    """
    running: dict[int, tuple[Any, float]] = {}
    more = True
    while more or running:
        while more and len(running) < jobs:
            task = next(tasks, None)
            if task is None:
                more = False
                break
            running[task[1]] = task[0], time.monotonic() + task[2]
        time.sleep(0.005)
        for child, (mark, until) in list(running.items()):
            done, status = os.waitpid(child, os.WNOHANG)
            if not done and time.monotonic() < until:
                continue
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(child, signal.SIGKILL)  # what it started, too
            if not done:
                os.waitpid(child, 0)
            del running[child]
            yield mark, os.waitstatus_to_exitcode(status) if done else None


def bounded() -> None:
    """Let this process grow no further than `MEMORY`."""
    pages = int(Path("/proc/self/statm").read_text().split()[0]) if os.path.exists("/proc/self/statm") else 0
    if pages:
        most = pages * os.sysconf("SC_PAGE_SIZE") + MEMORY
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
