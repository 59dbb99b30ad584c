"""Several instances at once: what goes to the process that starts them, and what comes back."""

from __future__ import annotations

import json
import os
import select
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from verifier.bench.server import Job
from verifier.values.errors import VerifierError

TICK = 0.25
"""Seconds after which whoever waits is served although nothing has ended."""


class Lost(VerifierError):
    """The process that starts instances has ended on its own."""


class Pool:
    """Runs jobs, so many at once; to be used in a `with` block, at whose end nothing of it is left running."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once

    def __enter__(self) -> Pool:
        """Start the process that starts others."""
        self._control, other = socket.socketpair()
        home = str(Path(__file__).resolve().parent.parent.parent)
        env = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, [home, os.environ.get("PYTHONPATH", "")])),
            "OPENBLAS_NUM_THREADS": "1",
            "OMP_NUM_THREADS": "1",
            "ORT_DISABLE_TELEMETRY": "1",  # importing onnxruntime would start a thread
        }
        # A session of its own: Ctrl-C on the terminal reaches this process, which then closes the socket.
        self._server = subprocess.Popen(
            [sys.executable, "-P", "-m", "verifier.bench.server", str(other.fileno())],
            env=env, pass_fds=[other.fileno()], stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE, start_new_session=True,
        )  # fmt: skip
        other.close()
        return self

    def __exit__(self, *_: object) -> None:
        """End it and what it has started."""
        self._control.close()
        try:
            self._server.communicate(timeout=10)
        except subprocess.TimeoutExpired:
            self._server.kill()
            self._server.communicate()

    def run(self, jobs: Iterable[Job]) -> Iterator[dict[str, Any] | None]:
        """How jobs ended, as they end (see `Child.ended`); None when nothing has for a while.

        Raises:
            Lost: the process that starts them has ended; those that have not come back have no result.
        """
        waiting, running, text = deque(jobs), 0, b""
        while waiting or running:
            while waiting and running < self._at_once:
                self._send(waiting.popleft())
                running += 1
            if not select.select([self._control], [], [], TICK)[0]:
                yield None
                continue
            data = self._receive()
            lines = (text + data).split(b"\n")
            text = lines.pop()
            for line in lines:
                running -= 1
                yield json.loads(line)

    def _send(self, job: Job) -> None:
        try:
            self._control.sendall(json.dumps(asdict(job)).encode() + b"\n")
        except OSError:
            raise self._lost() from None

    def _receive(self) -> bytes:
        try:
            data = self._control.recv(1 << 20)
        except OSError:
            data = b""
        if not data:
            raise self._lost()
        return data

    def _lost(self) -> Lost:
        self._server.kill()
        told = self._server.communicate()[1].decode(errors="replace").strip().splitlines()
        why = told[-1] if told else f"status {self._server.returncode}"
        return Lost(f"the process that starts instances has ended ({why}); run the same command to go on")
