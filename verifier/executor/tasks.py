"""Many tasks, wherever they run: one interface, and the executor that runs them in this process.

A task is a request, a mapping as JSON takes it; what it learns it tells in such mappings, the `result` at last.  What
becomes of it is an `End`, also where it broke: that costs one task.  Processes of this machine: `local`.
"""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Self

from verifier.values.errors import VerifierError

Send = Callable[[dict[str, Any]], None]
Answer = Callable[[dict[str, Any], Send], None]
"""Answers a request, and sends what it learns."""


class Lost(VerifierError):
    """An executor has ended on its own: tasks that have not come back have no result."""


@dataclass(frozen=True)
class Task:
    """A request; its `id` comes back with its end.  After so many seconds, or bytes of memory, it is ended."""

    id: int
    request: dict[str, Any]
    seconds: float | None = None
    memory: int | None = None


@dataclass(frozen=True)
class End:
    """What became of a task.

    Attributes:
        how: `exit`, `late`, `memory`, `cancelled`, or what it died of.
        seconds: from its start (of its process, where it has one of its own) to its result, or its end.
        memory: the most bytes that its process has held; of one that goes on those that it holds; 0 where unknown.
        log: the last line of what it said otherwise.
        told: all that it sent, the latest under each name.
    """

    id: int
    how: str
    seconds: float
    memory: int = 0
    log: str = ""
    told: dict[str, Any] = field(default_factory=dict)


class Executor(ABC):
    """Runs tasks, `at_once` at most; used in a `with` block, at whose end nothing of it is left running."""

    at_once = 1

    @abstractmethod
    def submit(self, task: Task) -> None:
        """Begin a task."""

    @abstractmethod
    def wait(self) -> End | None:
        """The next end; None where nothing has ended for a while."""

    @abstractmethod
    def cancel(self, number: int) -> None:
        """End a task that is begun; its end comes as any other."""

    @abstractmethod
    def close(self) -> None:
        """End all of them."""

    def run(self, tasks: Iterable[Task]) -> Iterator[End | None]:
        """How tasks ended, as they end; None when nothing has for a while.  Each is asked for when there is room.

        Raises:
            Lost: the executor has ended; those that have not come back have no result.
        """
        waiting, begun = iter(tasks), 0
        while True:
            for task in islice(waiting, self.at_once - begun):
                self.submit(task)
                begun += 1
            if not begun:
                return
            end = self.wait()
            begun -= end is not None
            yield end

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class Here(Executor):
    """Runs tasks in this process, one after the other; whoever answers looks at the clock."""

    def __init__(self, answer: Answer) -> None:
        self._answer, self._waiting, self._ends = answer, deque[Task](), deque[End]()

    def submit(self, task: Task) -> None:
        """Take it; it is run when somebody waits for its end."""
        self._waiting.append(task)

    def wait(self) -> End | None:
        """Run the next one."""
        if self._ends or not self._waiting:
            return self._ends.popleft() if self._ends else None
        task, began, told, how = self._waiting.popleft(), time.perf_counter(), dict[str, Any](), "exit"
        try:
            self._answer(task.request, told.update)
        except Exception as e:  # whatever it is, it is of this task alone
            how = f"{type(e).__name__}: {' '.join(str(e).split())[:200]}"
        return End(task.id, how, time.perf_counter() - began, told=told)

    def cancel(self, number: int) -> None:
        """Do not run it."""
        self._ends += [End(t.id, "cancelled", 0.0) for t in self._waiting if t.id == number]
        self._waiting = deque(t for t in self._waiting if t.id != number)

    def close(self) -> None:
        """Run none of the others."""
        self._waiting.clear()
