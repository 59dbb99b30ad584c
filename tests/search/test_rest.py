"""What a search tells of what it has left open, and how it counts."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest

import verifier
from tests.laws.cases import Net, chain
from verifier.search import inputs, rest
from verifier.search.budget import Budget
from verifier.search.decide import NeuronSearch, decide
from verifier.search.domains import Domains
from verifier.search.inputs import InputSearch
from verifier.search.outcome import Open, Progress
from verifier.search.query import Query, make_query
from verifier.search.rest import still_open
from verifier.values.arrays import Place
from verifier.values.verdict import Verdict

BOX, OTHER = (-np.ones(4), np.ones(4)), (np.zeros(4), np.ones(4) / 2)


def query(above: float = 0.6) -> Query:
    """Three disjuncts on one box and one on another, numbered in turns; all of them refutable with patience."""
    graph = chain(np.random.default_rng(3), (4, 20, 20, 20, 2))
    values = Net(graph).run(np.random.default_rng(0).uniform(-1, 1, (4000, 4)))
    top = float(values.max() + above * np.ptp(values))
    rows = [[([-1.0, 0.0], -top)], [([0.0, -1.0], -top)], [([-1.0, 0.0], -2 * top)]]
    one, two = (verifier.output_property(*box, rows) for box in (BOX, OTHER))
    names = ("lower", "upper", "inner_lower", "inner_upper")
    both = {name: np.concatenate([getattr(one, name), getattr(two, name)]) for name in names}
    prop = replace(one, box=np.array([0, 1, 0]), **both)
    return make_query(graph, prop, Place("numpy", "float32"))


def blocks(q: Query) -> list[Domains]:
    """Of group 0 (disjuncts 0 and 2) and of group 1 (disjunct 1)."""
    n, J = q.lower.shape[1], q.open.shape[1]

    def some(groups: list[int], alive: list[list[bool]], gap: list[float]) -> Domains:
        D = len(groups)
        z = np.zeros((D, n))
        return Domains(z, z, np.array(groups), np.array(alive), np.array(gap), np.zeros((D, 1), np.int8), np.ones(D))

    assert J == 2
    return [
        some([0, 1, 0], [[True, True], [True, False], [False, True]], [1.0, 0.25, 3.0]),
        some([0, 0], [[True, False], [False, False]], [2.0, 9.0]),
    ]


def test_open_domains_by_disjunct_the_worst_first() -> None:
    q = query()
    assert still_open(q, blocks(q), set(), None) == (Open(2, 3.0, 2), Open(0, 2.0, 2), Open(1, 0.25, 1))
    assert still_open(q, [], set(), None) == ()
    assert still_open(q, [], {1}, None) == (Open(1, float("inf"), 0),)


def test_the_better_way_of_splitting_counts() -> None:
    q = query()
    tree = SimpleNamespace(group=0, slot=np.array([0, 1]), fast=SimpleNamespace(z=np.zeros(7)))
    stack = [SimpleNamespace(goal=np.array([0, 0, 1]), bound=np.array([-0.5, -1.5, -4.0]))]
    grow = cast(Any, (tree, stack))
    assert still_open(q, blocks(q), set(), grow) == (Open(2, 3.0, 2, 7), Open(0, 1.5, 2, 7), Open(1, 0.25, 1))
    none = cast(Any, (tree, []))
    assert still_open(q, blocks(q), set(), none)[0] == Open(2, 3.0, 2, 7)


def test_not_too_much_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    q = query()
    monkeypatch.setattr(rest, "MOST", 2)
    assert [o.disjunct for o in still_open(q, blocks(q), set(), None)] == [2, 0]
    monkeypatch.setattr(rest, "WIDEST", 3)
    assert still_open(q, blocks(q), set(), None) == ()


def test_leaves_of_inputs_are_open_closed_or_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    q = query()
    splits, original = [0], inputs.split

    def counted(query: Any, d: Any, result: Any, left: np.ndarray, *rest: Any) -> Any:
        children, stuck = original(query, d, result, left, *rest)
        splits[0] += len(left) - len(stuck)
        return children, stuck

    def check(p: Progress) -> None:
        assert p.open + p.closed + p.stuck == len(q.lower) + splits[0]

    monkeypatch.setattr(inputs, "split", counted)
    search = InputSearch(q, lambda x, group: None, check)
    done = search.advance(Budget())
    assert done is not None and done.verdict is Verdict.UNSAT and search.progress.open == 0 and splits[0] > 10


def test_parts_of_neurons_are_counted_as_they_close() -> None:
    seen: list[Progress] = []
    q = query()
    search = NeuronSearch(q, Budget(), lambda x, group: None, lambda p: seen.append(Progress(**vars(p))))
    done = search.advance(Budget())
    assert done is not None and done.verdict is Verdict.UNSAT
    assert all(a.closed <= b.closed for a, b in zip(seen, seen[1:], strict=False)) and seen[-1].closed > 10


def test_out_of_time_tells_what_is_open_and_a_decision_does_not() -> None:
    q = query(0.1)
    spent = Budget.seconds(0.0)
    done = decide(q, spent, lambda x, group: None)
    assert done.verdict is Verdict.TIMEOUT and sorted(o.disjunct for o in done.rest) == [0, 1, 2]
    assert all(o.gap == float("inf") and o.parts == 1 for o in done.rest)
    seen: list[Progress] = []
    done = decide(query(), Budget(), lambda x, group: None, seen.append)
    assert done.verdict is Verdict.UNSAT and done.rest == () and done.progress.open == 0
    assert all(a.bounded <= b.bounded for a, b in zip(seen, seen[1:], strict=False)) and seen


def test_progress_of_two_searches() -> None:
    a, b = Progress(1, 2, 3, 0.5, 4, 5), Progress(10, 20, 30, float("inf"), 40, 50)
    assert a.plus(b) == b.plus(a) == Progress(11, 22, 33, 0.5, 44, 55)
