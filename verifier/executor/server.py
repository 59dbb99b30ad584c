"""Starts processes for tasks, out of one that has imported everything: a fork costs milliseconds.

    python -m verifier.executor.server FD

speaks lines of JSON on the socket FD: first `local.Work`, then tasks and what to cancel; ends go back (`tasks.End`).  A
fork copies only the thread that forks: what another one holds stays locked for ever in the copy.  So nothing in here
may start a thread: no BLAS pool, no session of onnxruntime, no torch; `alone` is asked before every fork.
"""

from __future__ import annotations

import gc
import os
import selectors
import signal
import socket
import sys
import time
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any

from verifier.executor.local import Work
from verifier.executor.tasks import End, Task
from verifier.executor.worker import Lines, line, named, work
from verifier.values.system import system_library

LOOK = 0.1
"""Seconds between two looks at the memory of processes."""


class Child:
    """A process, and the task it is at, if any."""

    def __init__(self, pid: int, wire: socket.socket, log: IO[bytes]) -> None:
        self.pid, self.wire, self._log = pid, wire, log
        self.out, self._lines = b"", Lines()
        self.task: Task | None = None
        self.how = ""

    def take(self, task: Task, message: bytes) -> None:
        """Begin a task, with what is to be sent."""
        self.task, self._began, self._at = task, time.monotonic(), 0.0
        self._told: dict[str, Any] = {}
        self.out += message

    def hear(self, data: bytes) -> bool:
        """Take note of what it says, and of when its result came; whether it is through with its task."""
        for message in self._lines.feed(data):
            if message is None:
                return True
            self._told.update(message)
            if "result" in message:
                self._at = time.monotonic()
        return False

    def look(self) -> None:
        """Kill it for the time or the memory that its task takes."""
        if self.task is None or self.how:
            return
        if self.task.seconds is not None and time.monotonic() >= self._began + self.task.seconds:
            self.kill("late")
        elif self.task.memory is not None and _resident(self.pid) > self.task.memory:
            self.kill("memory")

    def kill(self, how: str) -> None:
        """End it; its end is told when it has come."""
        self.how = how
        os.kill(self.pid, signal.SIGKILL)

    def gone(self) -> End | None:
        """The end of its task, if it was at one, with that of the process itself."""
        self.wire.close()
        _, status, usage = os.wait4(self.pid, 0)
        code = os.waitstatus_to_exitcode(status)
        died = f"signal {-code} ({signal.strsignal(-code)})" if code < 0 else f"status {code}"
        with self._log:
            self._log.seek(0)
            last = (self._log.read().decode(errors="replace").strip().splitlines() or [""])[-1]
        if self.task is None:
            return None
        held = usage.ru_maxrss * (1 if sys.platform == "darwin" else 1024)
        return self.end(self.how or ("exit" if code == 0 else died), held, last[:300])

    def end(self, how: str, memory: int, log: str = "") -> End:
        """The end of its task."""
        task, self.task = self.task, None
        assert task is not None
        return End(task.id, how, (self._at or time.monotonic()) - self._began, memory, log, self._told)


class Server:
    """Starts processes as it is asked to, watches them, tells how they end; leaves with the one who asks."""

    def __init__(self, control: socket.socket) -> None:
        self._control, self._lines, self._children = control, Lines(), dict[int, Child]()
        self._select = selectors.DefaultSelector()
        self._select.register(control, selectors.EVENT_READ)
        self._work: Work | None = None
        self._pid, self._warm = os.getpid(), False

    def run(self) -> None:
        """Serve until the other end is closed."""
        while True:
            for key, events in self._select.select(LOOK if self._children else None):
                if key.fileobj is self._control:
                    data = self._control.recv(1 << 20)
                    if not data:
                        return
                    for message in self._lines.feed(data):
                        self._hear(message)
                elif events & selectors.EVENT_READ:
                    self._read(self._children[key.fd])
                else:
                    self._write(self._children[key.fd])
            for child in self._children.values():
                child.look()

    def stop(self) -> None:
        """Kill what is still at work."""
        for child in self._children.values():
            os.kill(child.pid, signal.SIGKILL)

    def _hear(self, message: dict[str, Any]) -> None:
        if self._work is None:
            self._work = Work(**message)
        elif "task" in message:
            self._begin(Task(**message["task"]), self._work)
        else:
            for child in self._children.values():
                if child.task is not None and child.task.id == message["cancel"]:
                    child.kill("cancelled")

    def _begin(self, task: Task, about: Work) -> None:
        child = next((c for c in self._children.values() if c.task is None and not c.how), None)
        message = line(task.request)
        if child is None:
            child, message = self._started(task, about), line(asdict(about)) + message
        child.take(task, message)
        child.look()
        self._write(child)

    def _started(self, task: Task, about: Work) -> Child:
        if about.warm and not self._warm:
            self._warm = True
            named(about.warm)()
            gc.collect()
            gc.freeze()  # out of the garbage collector's sight: pages stay shared
        ours, theirs = socket.socketpair()
        log = open(os.memfd_create("log"), "w+b") if hasattr(os, "memfd_create") else _unnamed()
        fresh = not about.warm or not alone()  # (where a library has started a thread: slower, but right)
        pid = os.fork()
        if pid == 0:
            try:
                self._select.close()
                self._control.close()
                ours.close()
                die_with_parent(self._pid)
                _begin(theirs, log, about.threads, task.memory, fresh)
            finally:
                os._exit(1)
        theirs.close()
        ours.setblocking(False)
        child = self._children[ours.fileno()] = Child(pid, ours, log)
        self._select.register(ours, selectors.EVENT_READ)
        return child

    def _write(self, child: Child) -> None:
        """As much as goes at once; the rest when there is room."""
        try:
            child.out = child.out[child.wire.send(child.out) :]
        except BlockingIOError:
            pass
        except OSError:  # it has died: its end is about to be read
            child.out = b""
        events = selectors.EVENT_READ | (selectors.EVENT_WRITE if child.out else 0)
        self._select.modify(child.wire, events)

    def _read(self, child: Child) -> None:
        try:
            data = child.wire.recv(1 << 20)
        except BlockingIOError:
            return
        except OSError:  # it was killed before it had read what was sent
            data = b""
        if data:
            through = child.hear(data) and self._work is not None and self._work.keep
            end = child.end("exit", _resident(child.pid)) if through else None
        else:
            number = child.wire.fileno()
            self._select.unregister(child.wire)
            del self._children[number]
            end = child.gone()
        if end is not None:
            self._control.sendall(line(asdict(end)))


def alone() -> bool:
    """Whether this process is known to have one thread."""
    try:
        return len(os.listdir("/proc/self/task")) == 1
    except OSError:  # the system does not say
        return False


def die_with_parent(parent: int) -> None:
    """Let the system kill this process when its parent ends, however that comes (Linux)."""
    prctl = getattr(system_library(), "prctl", None)
    if prctl is None:
        return
    prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != parent:
        os._exit(1)


def _begin(wire: socket.socket, log: IO[bytes], threads: int, memory: int | None, fresh: bool) -> None:
    """The life of a process: its limits, its answers, its end."""
    _offer_to_the_killer()
    _limit(memory)
    for number in (1, 2):
        os.dup2(log.fileno(), number)
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(threads)
    if fresh:
        wire.set_inheritable(True)
        words = ("-P", "-m", "verifier.executor.worker", str(wire.fileno()))
        os.execv(sys.executable, (sys.executable, *words))
    work(wire)


def _limit(memory: int | None) -> None:
    """So much memory (a device's reservations do not count), as far as the system keeps to it; no core dumps."""
    import resource  # only here: Windows, where no server runs, has none

    for kind, most in ((resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)):
        if most is not None:
            with suppress(OSError, ValueError):  # a system that grants less already, or does not limit this
                resource.setrlimit(kind, (most, most))


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
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


def _unnamed() -> IO[bytes]:
    import tempfile

    return tempfile.TemporaryFile()


def main() -> None:
    """Serve the socket that the command line names."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    die_with_parent(os.getppid())
    server = Server(socket.socket(fileno=int(sys.argv[1])))
    try:
        server.run()
    except (BrokenPipeError, ConnectionResetError):
        pass
    finally:
        server.stop()


if __name__ == "__main__":
    main()
