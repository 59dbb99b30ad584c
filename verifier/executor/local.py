"""Processes of this machine: what goes to the one that starts them, and what comes back."""

from __future__ import annotations

import os
import select
import socket
import subprocess
import sys
from collections import deque
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from verifier.executor.tasks import End, Executor, Lost, Task
from verifier.executor.worker import Lines, line
from verifier.values.errors import UserError

TICK = 0.25
"""Seconds after which whoever waits is served although nothing has ended."""


@dataclass(frozen=True)
class Work:
    """What the processes do; functions by their names, as `module:function`.

    Attributes:
        answer: is called with `setup` once a process, and returns the `Answer`.
        setup: as JSON takes it.
        threads: cores of each process.
        warm: called once, before processes are copied, to import and set up what they need; it must start no thread.
            '' for new interpreters instead of copies.
        keep: a process goes on with further tasks, so that `answer` is called once a process and not once a task.
    """

    answer: str
    setup: dict[str, Any] = field(default_factory=dict)
    threads: int = 1
    warm: str = ""
    keep: bool = False


class Local(Executor):
    """Runs tasks in processes of their own, so many at once."""

    def __init__(self, at_once: int, work: Work) -> None:
        """Nothing is started before the first task.

        Raises:
            UserError: this system does not copy processes.
        """
        if not hasattr(os, "fork"):
            raise UserError("processes of their own need Linux or macOS; this system has no fork")
        self.at_once, self._work = at_once, work
        self._server: subprocess.Popen[bytes] | None = None
        self._lines, self._ends = Lines(), deque[End]()

    def submit(self, task: Task) -> None:
        """Begin a task.

        Raises:
            Lost: the process that starts them has ended.
        """
        if self._server is None:
            self._server = self._start()
            self._send(asdict(self._work))
        self._send({"task": asdict(task)})

    def cancel(self, number: int) -> None:
        """End a task that is begun; its end comes as any other."""
        self._send({"cancel": number})

    def wait(self) -> End | None:
        """The next end; None where nothing has ended for a while.

        Raises:
            Lost: the process that starts them has ended.
        """
        if not self._ends and select.select([self._control], [], [], TICK)[0]:
            self._receive()
        return self._ends.popleft() if self._ends else None

    def close(self) -> None:
        """End the process that starts others, and what it has started."""
        if self._server is None:
            return
        self._control.close()
        try:
            self._server.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.communicate()
        self._server = None

    def _start(self) -> subprocess.Popen[bytes]:
        self._control, other = socket.socketpair()
        self._control.setblocking(False)
        home = str(Path(__file__).resolve().parents[2])
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH", "")])),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "ORT_DISABLE_TELEMETRY": "1",  # importing onnxruntime would start a thread
        }
        # A session of its own: Ctrl-C on the terminal reaches this process, which then closes the socket.
        with other:
            return subprocess.Popen(
                [sys.executable, "-P", "-m", "verifier.executor.server", str(other.fileno())],
                env=env, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE, start_new_session=True,
            )  # fmt: skip

    def _send(self, message: dict[str, Any]) -> None:
        """Hand it over, and meanwhile hear what comes: else each side might wait for the other to listen."""
        data = memoryview(line(message))
        while data:
            if select.select([self._control], [self._control], [])[0]:
                self._receive()
            try:
                data = data[self._control.send(data) :]
            except BlockingIOError:
                pass
            except OSError:
                raise self._lost() from None

    def _receive(self) -> None:
        try:
            data = self._control.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            raise self._lost()
        self._ends.extend(End(**end) for end in self._lines.feed(data))

    def _lost(self) -> Lost:
        assert self._server is not None
        self._server.kill()
        told = self._server.communicate()[1].decode(errors="replace").strip().splitlines()
        why = told[-1] if told else f"status {self._server.returncode}"
        return Lost(f"the process that starts others has ended ({why}); run the same command to go on")
