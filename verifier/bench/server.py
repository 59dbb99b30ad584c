"""Starts a process for every instance, out of one that has imported everything: a fork costs milliseconds.

    python -m verifier.bench.server FD

speaks lines of JSON on the socket FD, see `Job` and `Child.ended`.  A fork copies only the thread that forks: what
another one holds stays locked for ever in the copy.  So nothing in here may start a thread: no BLAS pool, no session
of onnxruntime, no torch; `alone` is asked before every fork.
"""

from __future__ import annotations

import ctypes
import gc
import importlib
import json
import os
import resource
import selectors
import signal
import socket
import sys
import time
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

READY = (
    "hashlib", "numpy", "numpy.ma", "numpy.random", "onnx", "onnx.numpy_helper", "onnxruntime",
    "verifier.bench.answer", "verifier.bench.single", "verifier.graph.from_onnx", "verifier.run.cells",
    "verifier.run.joint", "verifier.run.peel", "verifier.run.verify", "verifier.run.violated",
)  # fmt: skip
"""What is imported before the first fork; an instance that needs more imports it itself."""
LOOK = 0.1
"""Seconds between two looks at the memory of processes."""


@dataclass(frozen=True)
class Job:
    """A line from the one who asks.

    Attributes:
        id: comes back with the end.
        request: see `answer`.
        threads: cores that it may use.
        fresh: start a new interpreter instead of a copy of this one.
        kill: seconds after which it is killed.
        memory: bytes at which it is killed, and at which it is told that there is no more.
    """

    id: int
    request: dict[str, Any]
    threads: int
    fresh: bool
    kill: float
    memory: int


@dataclass
class Child:
    """A process at work on a job."""

    job: Job
    pid: int
    pipe: int
    log: IO[bytes]
    started: float = field(default_factory=time.monotonic)
    text: bytes = b""
    told: dict[str, Any] = field(default_factory=dict)
    at: float | None = None
    how: str = ""

    def hear(self, data: bytes) -> None:
        """Take note of what it says, and of when its result came."""
        lines = (self.text + data).split(b"\n")
        self.text = lines.pop()
        for line in lines:
            self.told.update(json.loads(line))
        if "result" in self.told and self.at is None:
            self.at = time.monotonic()

    def look(self) -> None:
        """Kill it for the time or the memory that it takes."""
        if self.how:
            return
        if time.monotonic() >= self.started + self.job.kill:
            self.how = "late"
        elif _resident(self.pid) > self.job.memory:
            self.how = "memory"
        if self.how:
            os.kill(self.pid, signal.SIGKILL)

    def ended(self) -> dict[str, Any]:
        """How it ended: `exit`, `late`, `memory`, or what it died of; what it told; seconds and bytes it took."""
        os.close(self.pipe)
        _, status, usage = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        died = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"status {code}"
        self.log.seek(0)
        last = (self.log.read().decode(errors="replace").strip().splitlines() or [""])[-1]
        self.log.close()
        return {
            "id": self.job.id,
            "how": self.how or ("exit" if code == 0 else died),
            "seconds": (self.at or time.monotonic()) - self.started,
            "memory": usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024),
            "log": last[:300],
            **self.told,
        }


class Server:
    """Starts processes as it is asked to, watches them, tells how they end; leaves with the one who asks."""

    def __init__(self, control: socket.socket) -> None:
        self._control, self._text, self._children = control, b"", dict[int, Child]()
        self._select = selectors.DefaultSelector()
        self._select.register(control, selectors.EVENT_READ)
        self._warm = False

    def run(self) -> None:
        """Serve until the other end is closed."""
        while True:
            for key, _ in self._select.select(LOOK if self._children else None):
                if key.fileobj is self._control:
                    data = self._control.recv(1 << 16)
                    if not data:
                        return
                    self._hear(data)
                else:
                    self._read(self._children[key.fd])
            for child in self._children.values():
                child.look()

    def stop(self) -> None:
        """Kill what is still at work."""
        for child in self._children.values():
            os.kill(child.pid, signal.SIGKILL)

    def _hear(self, data: bytes) -> None:
        lines = (self._text + data).split(b"\n")
        self._text = lines.pop()
        for line in lines:
            job = Job(**json.loads(line))
            if not job.fresh and not self._warm:
                self._warm = True
                warm()
            self._start(job)

    def _start(self, job: Job) -> None:
        if not alone():  # a library has started a thread: slower, but right
            job = replace(job, fresh=True)
        out, into = os.pipe()
        log = open(os.memfd_create("log"), "w+b") if hasattr(os, "memfd_create") else _unnamed()
        pid = os.fork()
        if pid == 0:
            try:
                self._select.close()
                self._control.close()
                _work(job, into, log)
            finally:
                os._exit(1)
        os.close(into)
        child = self._children[out] = Child(job, pid, out, log)
        self._select.register(out, selectors.EVENT_READ)
        child.look()

    def _read(self, child: Child) -> None:
        data = os.read(child.pipe, 1 << 20)
        if data:
            child.hear(data)
            return
        self._select.unregister(child.pipe)
        del self._children[child.pipe]
        self._control.sendall(json.dumps(child.ended()).encode() + b"\n")


def warm() -> None:
    """Import what instances need, and put it out of the garbage collector's sight: pages stay shared."""
    from verifier.bench.rehearsal import rehearse
    from verifier.run.clock import keep_memory

    keep_memory()
    for name in READY:
        importlib.import_module(name)
    rehearse()
    gc.collect()
    gc.freeze()


def alone() -> bool:
    """Whether this process has one thread."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:  # the system does not say
        return True


def die_with_parent(parent: int) -> None:
    """Let the system kill this process when its parent ends, however that comes (Linux)."""
    try:
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    except (OSError, AttributeError):
        return
    if os.getppid() != parent:
        os._exit(1)


def _work(job: Job, into: int, log: IO[bytes]) -> None:
    """The life of a process: its limits, its answer, its end."""
    die_with_parent(_SERVER[0])
    _offer_to_the_killer()
    resource.setrlimit(resource.RLIMIT_DATA, (job.memory, job.memory))  # a device's reservations do not count
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for number in (1, 2):
        os.dup2(log.fileno(), number)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(job.threads)
    if job.fresh:
        os.set_inheritable(into, True)
        words = ("-P", "-m", "verifier.bench.single", str(into), json.dumps(job.request))
        os.execv(sys.executable, (sys.executable, *words))
    from verifier.bench.single import work

    work(into, job.request)


def _offer_to_the_killer() -> None:
    """Where the machine's memory runs out, this process is to go, not the one that keeps the results."""
    try:
        Path("/proc/self/oom_score_adj").write_text("1000")
    except OSError:
        pass


def _resident(pid: int) -> int:
    """Bytes of memory that a process holds; 0 where the system does not say."""
    try:
        with open(f"/proc/{pid}/statm", "rb") as f:
            return int(f.read().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def _unnamed() -> IO[bytes]:
    import tempfile

    return tempfile.TemporaryFile()


_SERVER: list[int] = []
"""This process, as the processes it starts know it."""


def main() -> None:
    """Serve the socket that the command line names."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(os.getppid())
    _SERVER.append(os.getpid())
    server = Server(socket.socket(fileno=int(sys.argv[1])))
    try:
        server.run()
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        server.stop()


if __name__ == "__main__":
    main()
