"""What the search does is what was committed; and a search that goes by work does the same every time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import verifier
from benchmarks.frozen import CLIMBED, NEAR, Case, Record, bounds, cases, cube, network, own, record, searched, table
from verifier.search.budget import Budget, Clock, OutOfTime, Work


@pytest.mark.parametrize("case", [pytest.param(c, id=c.name) for c in own() if c.quick])
def test_as_committed(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where this fails after a change of the search that was meant: `make frozen UPDATE=1`, in the same commit."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # batches grow with the number of threads
    now, before = record(case), table()[case.name]
    assert not now.differs(before, case.near), (now.row(), before.row())


def test_the_table_is_of_these_cases() -> None:
    mine, committed = [c.name for c in cases()], list(table())
    assert len(set(mine)) == len(mine) and [n for n in mine if n not in committed] == []
    assert {n for n in committed if n not in mine} <= {n for n in committed if n.startswith("suite/")}
    kinds = {n.split("/")[0] for n in committed}
    assert kinds == {"verify", "inputs", "neurons", "differences", "rivals", "bound", "lipschitz", "monotone", "suite"}


def test_a_difference_is_seen() -> None:
    one = Record("unsat", 12, 3, (1.0, -2.0, float("inf")))
    assert not one.differs(one, NEAR) and not one.differs(replace(one, bounds=(1.0, -2.0 - 1e-7, float("inf"))), NEAR)
    for other in (
        replace(one, answer="sat"),
        replace(one, bounded=13),
        replace(one, rounds=2),
        replace(one, bounds=(1.0, -2.0)),
        replace(one, bounds=(1.0, -2.0, 3.0)),
        replace(one, bounds=(1.0, -2.00001, float("inf"))),
        replace(one, bounds=(1.0, float("nan"), float("inf"))),
    ):
        assert one.differs(other, NEAR) and other.differs(one, NEAR)


def test_work_is_the_only_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """The machine's clock may say what it likes, or not be there."""
    prop = verifier.output_property(-np.ones(5), np.ones(5), [[(-np.eye(2)[0], -0.95)]])
    seen = []
    for step in (0.0, 0.01, 7.0):
        at = [0.0]

        def now(self: Clock, at: list[float] = at, step: float = step) -> float:
            at[0] += step
            return at[0]

        monkeypatch.setattr(Clock, "now", now)
        for way in ("inputs", "neurons"):
            seen.append(
                (
                    way,
                    searched(way, lambda: network(7, (5, 16, 16, 2), "Relu"), lambda: prop)(
                        Budget.seconds(0.2, Work())
                    ),
                )
            )
    assert len(set(seen)) == 2 and all(r.bounded > 100 for _, r in seen)


def test_bounds_do_not_know_of_time() -> None:
    found = bounds(lambda: network(7, (5, 16, 16, 2), "Relu"), lambda: cube(5), "crown")(Budget(-1.0))
    assert not found.differs(table()["bound/Relu/crown"], CLIMBED)


def test_a_budget_by_work() -> None:
    clock = Work()
    whole = Budget.seconds(1.0, clock)
    assert whole.left() == 1.0 and whole.within(2.0) is whole and Budget.given(whole) is whole
    part = whole.within(0.25)
    part.check(Work.RATE / 8)
    assert 0.1 < part.left() < 0.125 and not part.spent() and part.clock is clock
    part.check(Work.RATE / 8)
    assert part.spent() and whole.left() < 0.75
    with pytest.raises(OutOfTime):
        part.check()
    with pytest.raises(verifier.UserError, match="timeout"):
        Budget.given("soon")
    assert Budget.given(None).left() == float("inf") and 0 < Budget.given(5).left() <= 5


def test_nobody_reads_another_clock() -> None:
    """Whatever decides by time asks its budget: a clock that somebody reads beside it is not replaced with it."""
    root = Path(verifier.__file__).parent
    files = [f for d in ("values", "graph", "spec", "relax", "bounds", "attack", "search", "sensitivity")
             for f in (root / d).rglob("*.py")]  # fmt: skip
    assert len(files) > 100
    told = [f.relative_to(root).as_posix() for f in files if "import time" in f.read_text()]
    assert told == ["search/budget.py"]
