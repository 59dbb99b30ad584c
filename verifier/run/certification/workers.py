"""Processes that decide images one by one, several at once.

Each is a fresh interpreter: a line of JSON in for each image, a line out.  It ends when its input does, so none is left
over when the parent is killed; one that crashes costs one image.
"""

from __future__ import annotations

import json
import os
import queue
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from verifier.graph.from_onnx import Model
from verifier.run import strategy
from verifier.run.certification.points import Batch, Point, Status, batch
from verifier.run.certification.setting import Setting, setting
from verifier.run.certification.single import single
from verifier.run.model import name_of
from verifier.values.errors import UserError

GRACE = 30.0
"""Seconds beyond its timeout after which an image's process is ended: no step that ignores the clock is as long."""

Task = tuple[Batch, int]
"""A batch, and which of its images."""


@dataclass(frozen=True)
class Pool:
    """How to start the processes.

    Attributes:
        model: the ONNX file.  how: keyword arguments of `setting`, as JSON takes them.
        jobs: how many at once.
    """

    model: str
    how: dict[str, Any]
    jobs: int

    def run(self, tasks: list[Task], timeout: float) -> Iterator[Point]:
        """Points in the order in which they come."""
        todo: queue.SimpleQueue[Task] = queue.SimpleQueue()
        done: queue.SimpleQueue[Point] = queue.SimpleQueue()
        for task in tasks:
            todo.put(task)
        stop = threading.Event()
        hands = [_Hand(self, todo, done, timeout, stop) for _ in range(min(self.jobs, len(tasks)))]
        try:
            for hand in hands:
                hand.start()
            for _ in tasks:
                yield done.get()
        finally:
            stop.set()
            for hand in hands:
                hand.end()


class _Hand(threading.Thread):
    """Hands images to one process after the other, which it starts anew where it has died."""

    def __init__(self, pool: Pool, todo: Any, done: Any, timeout: float, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self._pool, self._todo, self._done, self._timeout, self._stop_now = pool, todo, done, timeout, stop
        self._process: subprocess.Popen[str] | None = None

    def run(self) -> None:
        """Until there is nothing left."""
        while not self._stop_now.is_set():
            try:
                b, k = self._todo.get_nowait()
            except queue.Empty:
                return
            start, image = time.perf_counter(), b.take(slice(k, k + 1))
            try:
                status, reason, witness = self._ask(image)
            except Exception as e:  # (a process that cannot be started, say): an answer is owed all the same
                status, reason, witness = Status.ERROR, f"{type(e).__name__}: {e}", None
            self._done.put(image.after(time.perf_counter() - start).point(0, status, self._timeout, reason, witness))

    def _ask(self, b: Batch) -> tuple[Status, str, np.ndarray | None]:
        process = self._process if self._process is not None and self._process.poll() is None else self._fresh()
        assert process.stdin is not None and process.stdout is not None
        numbers = {"index": int(b.index[0]), "label": int(b.label[0]), "eps": float(b.eps[0]), "x": b.x[0].tolist()}
        timeout = min(self._timeout, float(b.left[0]))
        late = threading.Timer(min(timeout + GRACE, threading.TIMEOUT_MAX), process.kill)
        late.daemon = True
        late.start()
        began = time.perf_counter()
        try:
            process.stdin.write(json.dumps({**numbers, "timeout": min(timeout, 1e9)}) + "\n")
            process.stdin.flush()
            answer = process.stdout.readline()
        except OSError:
            answer = ""
        finally:
            late.cancel()
        if not answer.endswith("\n"):
            self.end()
            if time.perf_counter() - began >= timeout + GRACE:
                return Status.UNKNOWN, "ended: it had overrun its time", None
            return Status.ERROR, f"its process ended with status {process.returncode}", None
        told = json.loads(answer)
        witness = None if told["witness"] is None else np.array(told["witness"], np.float64)
        return Status(told["status"]), told["reason"], witness

    def _fresh(self) -> subprocess.Popen[str]:
        self.end()
        root = str(Path(__file__).resolve().parents[3])
        path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
        threads = str(max(1, strategy.cores() // self._pool.jobs))
        environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": threads, "OPENBLAS_NUM_THREADS": "1"}
        code = "from verifier.run.certification.workers import serve; serve()"
        pipe = subprocess.PIPE
        command = [sys.executable, "-W", "ignore", "-c", code]
        process = subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True, env=environment)
        self._process = process
        assert process.stdin is not None
        process.stdin.write(json.dumps({"model": self._pool.model, **self._pool.how}) + "\n")
        return process

    def end(self) -> None:
        """End the process, whatever it does."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.wait()
            for pipe in (process.stdin, process.stdout):
                with suppress(OSError):  # what was not written yet has nowhere to go
                    assert pipe is not None
                    pipe.close()


def pool(s: Setting, jobs: int, device: str) -> Pool | None:
    """Processes for a setting; None for one job.

    Raises:
        UserError: fewer than one, or the model is no file that they could read.
    """
    if jobs < 1:
        raise UserError(f"jobs {jobs}: give at least 1")
    if jobs == 1:
        return None
    file = s.net.source if isinstance(s.net, Model) and s.net.decided is None else None
    if not isinstance(file, Path) or not file.is_file():
        raise UserError(f"{name_of(s.net)}: several jobs need an ONNX file; export the network, or use one job")
    ends = {name: None if end is None else end.tolist() for name, end in (("lo", s.lo), ("hi", s.hi))}
    return Pool(str(file.resolve()), {"norm": s.norm, "device": device, **ends}, jobs)


def serve() -> None:
    """The process: a line with the setting, then a line an image; an answer a line."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever a library prints goes elsewhere
    lines: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            lines.put(line)
        os._exit(0)  # the parent has gone, or needs no more

    threading.Thread(target=listen, daemon=True).start()
    how = json.loads(lines.get())
    s = setting(how["model"], np.zeros(0), how["norm"], how["lo"], how["hi"], how["device"])
    while True:
        task = json.loads(lines.get())
        b = batch(np.array([0]), np.array([task["x"]]), np.array([task["label"]]), task["eps"])
        found = single(s, replace(b, index=np.array([task["index"]])), task["timeout"])
        witness = None if found.witness is None else found.witness.tolist()
        answers.write(json.dumps({"status": found.status, "reason": found.reason, "witness": witness}) + "\n")
        answers.flush()
