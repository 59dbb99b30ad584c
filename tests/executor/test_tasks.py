"""One interface: tasks here and in processes of their own end alike, whatever becomes of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from verifier.executor.local import Local, Work
from verifier.executor.tasks import End, Executor, Here, Send, Task


def ready(setup: dict[str, Any]) -> Callable[[dict[str, Any], Send], None]:
    """What the processes do: each knows how often it was asked."""
    return partial(answer, setup, [0])


def answer(setup: dict[str, Any], asked: list[int], request: dict[str, Any], send: Send) -> None:
    asked[0] += 1
    send({"progress": 1})
    send({"progress": 2})
    if request.get("sleep"):
        time.sleep(request["sleep"])
    if request.get("raise"):
        raise RuntimeError("it broke")
    send({"result": [setup["factor"] * sum(request.get("x", [])), asked[0], os.getpid()]})
    send({"after": request.get("x", [])})


WORK = Work("tests.executor.test_tasks:ready", {"factor": 2})
KEPT = Work("tests.executor.test_tasks:ready", {"factor": 2}, keep=True)
MADE: dict[str, Callable[[], Executor]] = {
    "here": lambda: Here(ready({"factor": 2})), "one each": lambda: Local(2, WORK), "kept": lambda: Local(2, KEPT),
}  # fmt: skip


@pytest.fixture(params=MADE)
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    with MADE[request.param]() as made:
        yield made


def ends(executor: Executor, *tasks: Task) -> dict[int, End]:
    return {end.id: end for end in executor.run(tasks) if end is not None}


def test_what_is_told_comes_back(executor: Executor) -> None:
    big = [float(k) for k in range(60_000)]  # more than a socket holds, both ways at once
    found = ends(executor, *(Task(k, {"x": big[k:]}) for k in range(4)))
    assert sorted(found) == list(range(4)) and all(e.how == "exit" and e.seconds > 0 for e in found.values())
    for k, end in found.items():
        assert end.told["progress"] == 2 and end.told["after"] == big[k:] and end.told["result"][0] == 2 * sum(big[k:])
    asked, pids = zip(*(e.told["result"][1:] for e in found.values()), strict=True)
    kept = isinstance(executor, Here) or executor._work.keep  # type: ignore[attr-defined]
    assert len(set(pids)) <= executor.at_once and max(asked) > 1 if kept else len(set(pids)) == 4


def test_what_breaks_costs_one(executor: Executor) -> None:
    found = ends(executor, Task(0, {"raise": True}), Task(1, {"x": [1, 2]}), Task(2, {"raise": True}))
    assert found[1].told["result"][0] == 6 and found[1].how == "exit"
    for k in (0, 2):
        assert found[k].how != "exit" and "result" not in found[k].told and found[k].told["progress"] == 2
        assert "RuntimeError" in found[k].how + found[k].log and "\n" not in found[k].how + found[k].log


def test_cancelled(executor: Executor) -> None:
    executor.submit(Task(0, {"sleep": 60 if executor.at_once > 1 else 0}))
    executor.cancel(0)
    executor.cancel(7)  # which is not begun
    end = next(e for e in iter(executor.wait, 0) if e is not None)
    assert isinstance(end, End) and (end.id, end.how) == (0, "cancelled") and "result" not in end.told
    assert ends(executor, Task(1, {"x": [1]}))[1].told["result"][0] == 2


def test_tasks_are_asked_for_when_there_is_room(executor: Executor) -> None:
    asked: list[int] = []

    def tasks() -> Iterator[Task]:
        for k in range(6):
            asked.append(k)
            yield Task(k, {})

    going = executor.run(tasks())
    next(e for e in going if e is not None)
    assert len(asked) <= executor.at_once + 1
    assert sum(e is not None for e in going) == 5 and asked == list(range(6))


def test_a_kept_process_that_is_late_costs_one() -> None:
    with Local(1, KEPT) as executor:
        found = ends(executor, Task(0, {"x": [1]}), Task(1, {"sleep": 60}, 0.5), Task(2, {"x": [2]}, 60.0))
        assert [found[k].how for k in range(3)] == ["exit", "late", "exit"]
        pids = [found[k].told["result"][2] for k in (0, 2)]
        assert pids[0] != pids[1] and found[2].told["result"][:2] == [4, 1]


def test_a_function_that_is_not_there() -> None:
    with Local(1, Work("tests.executor.test_tasks:none")) as executor:
        (end,) = ends(executor, Task(0, {})).values()
    assert end.how == "status 1" and "none" in end.log and not end.told
