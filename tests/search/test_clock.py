"""Everything that bounds looks at the clock, and may be stopped at any look: what is known by then is no less true."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import pytest

import verifier
from tests.laws.cases import Net, chain
from verifier.run import lipschitz as sensitivity
from verifier.search.budget import Budget
from verifier.search.decide import decide
from verifier.search.query import Query, make_query
from verifier.values.arrays import Place
from verifier.values.verdict import Verdict


@dataclass(frozen=True)
class Looks(Budget):
    """Time that is up after so many looks at the clock."""

    most: float = float("inf")
    looks: list[int] = field(default_factory=list)

    def left(self) -> float:
        self.looks.append(1)
        return 5.0 if len(self.looks) <= self.most else -1.0


def question(budget: Budget) -> Query:
    """Something that both ways of splitting refute in several parts."""
    graph = chain(np.random.default_rng(3), (4, 20, 20, 20, 2))
    values = Net(graph).run(np.random.default_rng(0).uniform(-1, 1, (4000, 4)))[:, 0]
    top = values.max() + 0.6 * np.ptp(values)
    prop = verifier.output_property(-np.ones(4), np.ones(4), [[([-1.0, 0.0], -top)]])
    return make_query(graph, prop, Place("numpy", "float32"), budget.check)


def nobody(x: np.ndarray, group: np.ndarray) -> None:
    """Finds no counterexample."""


def test_every_walk_looks_between_nodes() -> None:
    budget = Looks()
    query = question(budget)
    nodes = len(query.graph.nodes)
    assert len(budget.looks) >= nodes - 1, "making a query"
    budget.looks.clear()
    assert decide(query, budget, nobody).verdict is Verdict.UNSAT
    assert len(budget.looks) > 20 * nodes, "searching"


@pytest.mark.parametrize("share", np.linspace(0.0, 1.0, 15))
def test_time_may_be_up_at_any_look(share: float) -> None:
    """Never a verdict that is not true, nor `unknown`; what is open is told of, except where the root is not done."""
    every = Looks()
    assert decide(question(Budget()), every, nobody).verdict is Verdict.UNSAT
    whole = Looks()
    decide(question(whole), whole, nobody)
    late = Looks(most=int(share * len(whole.looks)))
    try:
        done = decide(question(late), late, nobody)
    except verifier.search.budget.OutOfTime:  # while it was made
        assert share < 0.5
        return
    assert done.verdict in (Verdict.TIMEOUT, Verdict.UNSAT)
    assert share > 0.9 or done.verdict is Verdict.TIMEOUT
    if done.verdict is Verdict.TIMEOUT:
        assert [o.disjunct for o in done.rest] == [0]


@pytest.mark.parametrize("norm", [float("inf"), (1, 1), 2])
def test_bounds_of_derivatives_that_ran_out_of_time(norm: float, monkeypatch: pytest.MonkeyPatch) -> None:
    net = Net(chain(np.random.default_rng(1), (3, 12, 12, 2)))
    box = verifier.Box(-np.ones(3), np.ones(3))
    every = Looks()
    monkeypatch.setattr(sensitivity, "limit", lambda *_: every)
    best = verifier.lipschitz(net, box, norm)
    assert len(every.looks) > 50
    for most in np.unique(np.linspace(0, len(every.looks), 9).astype(int)):
        late = Looks(most=int(most))
        monkeypatch.setattr(sensitivity, "limit", lambda *_, late=late: late)
        found = verifier.lipschitz(net, box, norm)
        assert found.lower <= best.upper * (1 + 1e-9) and found.upper >= best.lower * (1 - 1e-9)


def test_a_gradient_search_looks_before_every_step(tmp_path: object) -> None:
    """However long its steps take."""
    from verifier.attack.gradient import search, targets

    graph = chain(np.random.default_rng(3), (4, 20, 2))
    prop = verifier.output_property(-np.ones(4), np.ones(4), [[([-1.0, 0.0], -1e9)]])
    looks: list[int] = []
    list(
        search(
            graph, prop, targets(prop, np.zeros(1, int), 4, np.random.default_rng(0)), 7, tick=lambda _: looks.append(1)
        )
    )
    assert len(looks) == 8
