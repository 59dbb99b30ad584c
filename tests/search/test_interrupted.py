"""Whatever stops a search in the middle, and lets it go on later: what was open then still is."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

import verifier
from tests.laws.cases import Net, chain
from verifier.search import workers
from verifier.search.budget import Budget, OutOfTime
from verifier.search.decide import NeuronSearch
from verifier.search.inputs import InputSearch
from verifier.search.neurons import problem as neurons
from verifier.search.query import Query, make_query
from verifier.sensitivity.problem import Problem, pose
from verifier.sensitivity.search import Aim, DerivativeSearch
from verifier.values.arrays import Place
from verifier.values.verdict import Verdict

BEGUN = 16
"""How often a search is begun again."""


class Now:
    """A clock by which time is up at every so many looks, for once."""

    def __init__(self, every: int) -> None:
        self.every, self.looks, self.stopped = every, 0, 0

    def __call__(self, work: float = 0.0) -> None:
        self.looks += 1
        if self.every and self.looks % self.every == 0:
            self.stopped += 1
            raise OutOfTime


@dataclass(frozen=True)
class Whole(Budget):
    """All the time there is, with such a clock."""

    now: Now = field(default_factory=lambda: Now(0))

    def check(self, work: float = 0.0) -> None:
        self.now()


def question(now: Now) -> Query:
    """Something that has counterexamples, few of them, or else something that has none."""
    graph = chain(np.random.default_rng(3), (3, 12, 12, 2))
    values = Net(graph).run(np.random.default_rng(0).uniform(-1, 1, (4000, 3)))[:, 0]
    level = values.max() - 0.02 * np.ptp(values)
    rows = [([-1.0, 0.0], -level)], [([-1.0, 0.0], -100.0 - abs(level))]  # the second has none
    prop = verifier.output_property(-np.ones(3), np.ones(3), rows)
    return make_query(graph, prop, Place("numpy", "float32"), now)


def nobody(x: np.ndarray, group: np.ndarray) -> None:
    """Finds no counterexample."""


WAYS: dict[str, Callable[[Query, Now], InputSearch | NeuronSearch]] = {
    "inputs": lambda query, now: InputSearch(query, nobody),
    "neurons": lambda query, now: NeuronSearch(query, Whole(now=now), nobody),
    "rivals": lambda query, now: InputSearch(query, nobody, other=lambda: query),
}


@pytest.mark.parametrize("every", [23, 61, 127])
@pytest.mark.parametrize("way", WAYS)
def test_what_was_stopped_is_not_refuted(way: str, every: int) -> None:
    now = Now(0)
    search = WAYS[way](question(now), now)
    now.every = every
    budget = Budget() if way != "rivals" else Budget.seconds(0.5)  # the others return whenever they are stopped
    for _ in range(BEGUN):
        try:
            done = search.advance(budget)
        except OutOfTime:
            continue
        assert done is None or done.verdict is not Verdict.UNSAT
        assert 0 not in search.refuted
    assert now.stopped >= BEGUN / 4 or way == "rivals" or not search.able


@pytest.mark.parametrize("way", ["inputs", "neurons"])
def test_what_did_not_fit_is_not_refuted(way: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that is too large goes back whole, though there is nothing else."""
    calls, refused = list[int](), list[int]()
    module, name = (workers, "evaluate") if way == "inputs" else (neurons, "ascend")
    original = getattr(module, name)

    def short(query: Any, d: Any, *rest: Any, **named: Any) -> Any:
        calls.append(1)
        if len(calls) > 16:
            raise OutOfTime  # it would go on for ever
        if (len(d) if way == "inputs" else len(rest[0].ids)) > 2:
            refused.append(1)
            raise MemoryError
        return original(query, d, *rest, **named)

    monkeypatch.setattr(module, name, short)
    now = Now(0)
    search = WAYS[way](question(now), now)
    with suppress(OutOfTime):
        done = search.advance(Budget())
        assert done is None or done.verdict is not Verdict.UNSAT
    assert 0 not in search.refuted and refused


def derivative(now: Now) -> tuple[Problem, float]:
    """A network's derivative, and a value that its largest entry has."""
    graph = chain(np.random.default_rng(1), (3, 10, 10, 1))
    net, rng = Net(graph), np.random.default_rng(0)
    x = rng.uniform(-1, 1, (4000, 3))
    step = 1e-6 * np.eye(3)[0]
    met = ((net.run(x + step) - net.run(x - step)) / 2e-6)[:, 0].max()
    problem = pose(graph, verifier.Box(-np.ones(3), np.ones(3)), np.ones((1, 1)), np.inf, tick=now)
    return problem, float(met)


@pytest.mark.parametrize("error", [OutOfTime, MemoryError])
def test_bounds_of_a_derivative_do_not_fall_below_what_was_left(
    error: type[Exception], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = Now(0)
    problem, met = derivative(now)
    monkeypatch.setattr(DerivativeSearch, "_try", lambda *_: None)  # nothing is met: what is left alone counts
    search = DerivativeSearch(problem, Aim(np.zeros(len(problem.goals), int)), batch=8, tick=now)
    search.root(Budget())
    value, stopped = DerivativeSearch._value, []

    def some(self: DerivativeSearch, *rest: object) -> object:
        stopped.append(1)
        if len(stopped) % 3:
            raise error
        return value(self, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(DerivativeSearch, "_value", some)
    for _ in range(BEGUN):
        try:
            ended = search.run(Budget.seconds(0.1))
        except MemoryError:
            ended = False
        assert search.upper.max() >= met * (1 - 1e-6) and not ended
    assert len(stopped) > 3
