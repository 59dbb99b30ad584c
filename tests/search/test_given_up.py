"""What was given up is not refuted: no way of searching may call it so, nor those who add up what others found."""

from __future__ import annotations

import numpy as np
import pytest

from tests.laws import cases
from tests.laws.cases import chain
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.curves import Curve
from verifier.search import decide as scheduler
from verifier.search import inputs
from verifier.search.budget import Budget
from verifier.search.decide import NeuronSearch, by_neurons, decide
from verifier.search.domains import roots
from verifier.search.inputs import InputSearch, InputSplits
from verifier.search.neurons import tree
from verifier.search.query import Query, make_query
from verifier.spec.property import Property
from verifier.values.arrays import Place
from verifier.values.verdict import Verdict

PLACE = Place("numpy", "float32")
NARROW = np.nextafter(0.5, 1.0)


def curved() -> Graph:
    build, rng = Builder(), np.random.default_rng(5)
    x = build.add(Input((2,)), (), "x")
    h = build.add(Curve("sigmoid"), (build.add(Dense(rng.normal(size=(3, 2)), rng.normal(size=3)), (x,)),))
    y = build.add(Dense(rng.normal(size=(1, 3)), None), (h,), "y")
    return build.graph((x,), (y,))


GRAPHS = {"plain": lambda: chain(np.random.default_rng(4), (2, 6, 6, 1)), "curved": curved}


def question(name: str, hopeless: tuple[int, ...], groups: int = 3) -> Query:
    """Boxes one double wide, in all inputs: those of `hopeless` are full of counterexamples, which nobody will find.

    They can be neither refuted nor split.
    """
    graph = GRAPHS[name]()
    lower = np.full((groups, 2), 0.5) + np.arange(groups)[:, None]
    upper = np.nextafter(lower, np.inf)
    y = graph.evaluate(lower)[0].reshape(-1)
    margin = np.where(np.isin(np.arange(groups), hopeless), 1.0, -1.0)
    base = cases.property_of(lower[0], upper[0], [[(np.ones(1), np.zeros(2), float(v))] for v in y + margin])
    each = np.arange(groups)
    prop = Property(lower, upper, lower, upper, each, np.arange(groups + 1), each, base.A_y, base.A_x, base.d,
                    base.inner_d, base.strict, base.inexact)  # fmt: skip
    return make_query(graph, prop, PLACE)


def nobody(x: np.ndarray, group: np.ndarray) -> None:
    """Finds no counterexample, ever."""


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("hopeless", [(), (1,), (0, 2), (0, 1, 2)], ids=str)
def test_splits_of_inputs(name: str, hopeless: tuple[int, ...]) -> None:
    search = InputSearch(question(name, hopeless), nobody)
    done = search.advance(Budget())
    assert search.given_up == set(hopeless) and search.refuted == {0, 1, 2} - set(hopeless)
    assert search.progress.stuck >= len(hopeless) and not search.able
    assert search.closed == pytest.approx(3 - len(hopeless))
    assert done is None if hopeless else done is not None and done.verdict is Verdict.UNSAT
    for group in hopeless:  # somebody else may refute it still
        search.drop(group)
    done = search.advance(Budget())
    assert done is not None and done.verdict is Verdict.UNSAT


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("hopeless", [(), (1,), (0, 2), (0, 1, 2)], ids=str)
def test_splits_of_neurons(name: str, hopeless: tuple[int, ...]) -> None:
    search = NeuronSearch(question(name, hopeless), Budget(), nobody)
    done = search.advance(Budget())
    assert search.given_up == set(hopeless) and search.refuted == {0, 1, 2} - set(hopeless)
    assert search.closed == pytest.approx(3 - len(hopeless)) and not search.able
    assert done is None if hopeless else done is not None and done.verdict is Verdict.UNSAT
    whole = by_neurons(question(name, hopeless), Budget(), nobody)
    assert whole.verdict is (Verdict.UNKNOWN if hopeless else Verdict.UNSAT)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("hopeless", [(), (1,), (0, 2), (0, 1, 2)], ids=str)
def test_both_together(name: str, hopeless: tuple[int, ...]) -> None:
    query = question(name, hopeless)
    done = decide(query, Budget.seconds(60), nobody)
    assert done.verdict is (Verdict.UNKNOWN if hopeless else Verdict.UNSAT)
    assert {o.disjunct for o in done.rest} == set(hopeless)
    alike = decide(query, Budget.seconds(60), nobody, other=lambda: question(name, hopeless))
    assert alike.verdict is done.verdict


@pytest.mark.parametrize("end", ["too large", "planted", "dropped"])
def test_what_is_known_of_a_box_goes_with_it(monkeypatch: pytest.MonkeyPatch, end: str) -> None:
    """However a group is done with, the next one is bounded on its own box, and not taken for the last."""
    bounded, root = [], tree.root
    if end == "too large":
        monkeypatch.setattr(scheduler, "MOST", -1)
    monkeypatch.setattr(tree, "root", lambda q, d, *more: bounded.append(int(d.group[0])) or root(q, d, *more))
    search = NeuronSearch(question("plain", (0, 1, 2)), Budget(), nobody)
    if end == "dropped":
        search._begin()
        assert search._found is not None
        search.drop(0)
    assert search.advance(Budget()) is None
    assert bounded == [0, 1, 2] and search.given_up == ({1, 2} if end == "dropped" else {0, 1, 2})


@pytest.mark.parametrize("stage", ["root", "plant", "size"])
def test_what_does_not_fit_is_no_part_of_the_proof(monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    """Neurons give every group up; inputs decide what they can, and the sum is no `unsat`."""

    def full(*_: object, **__: object) -> None:
        raise MemoryError

    if stage == "size":
        monkeypatch.setattr(scheduler, "MOST", -1)
    else:
        monkeypatch.setattr(tree, stage, full)
    search = NeuronSearch(question("plain", (1,)), Budget(), nobody)
    assert search.advance(Budget()) is None
    assert 1 in search.given_up and 1 not in search.refuted and not search.able
    assert by_neurons(question("plain", (1,)), Budget(), nobody).verdict is Verdict.UNKNOWN
    assert decide(question("plain", (1,)), Budget.seconds(60), nobody).verdict is Verdict.UNKNOWN
    assert decide(question("plain", ()), Budget.seconds(60), nobody).verdict is Verdict.UNSAT


def test_parts_of_neurons_that_end_undecided() -> None:
    """A tree with a part that is neither refuted nor split is not refuted."""
    for name in GRAPHS:
        search = NeuronSearch(question(name, (0,), 1), Budget(), nobody)
        assert search.advance(Budget()) is None and search.given_up == {0}
        assert search.progress.stuck > 0


def test_who_goes_on_with_another_encoding_knows_what_was_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    query = question("plain", (1,))
    search = InputSearch(query, nobody, other=lambda: query)
    assert search.advance(Budget()) is None and search.given_up == {1}
    first = search.problem
    search.frontier.push(roots(query).take(np.array([0])))  # something to go on with
    monkeypatch.setattr(InputSplits, "gap", lambda self, d: float(self is first))  # the other one is better
    search._choose()
    assert search.problem is not first and search.search.problem is search.problem
    assert search.given_up == {1} and search.refuted == {2}
    assert search.advance(Budget()) is None and search.refuted == {0, 2}


def test_where_there_is_no_other_encoding() -> None:
    both = InputSearch(question("plain", (1,)), nobody, other=lambda: None)
    assert both.advance(Budget()) is None
    assert both.given_up == {1} and both.refuted == {0, 2} and both.progress.stuck > 0


@pytest.mark.parametrize("better", [False, True])
def test_rivals_go_on_from_what_is_open(better: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whichever form leads, and whether there is another one: what the first has given up is no part of a proof."""
    monkeypatch.setattr(inputs, "FIRST", 1e-9)
    query = question("plain", (1,))
    monkeypatch.setattr(InputSplits, "gap", lambda self, d: 1.0 if self.query is query else 0.0)
    both = InputSearch(query, nobody, other=lambda: question("plain", (1,)) if better else None)
    both.frontier.drop(0)
    both.search.given_up[0] = 1.0
    assert both.advance(Budget()) is None
    assert (both.query is not query) == better
    assert both.given_up == {0, 1} and both.refuted == {2}


def test_what_one_way_gives_up_the_other_may_decide(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neurons lead where many inputs vary, and cannot even begin."""

    def full(*_: object) -> None:
        raise MemoryError

    graph = chain(np.random.default_rng(4), (101, 4, 1))
    lower, upper = np.zeros(101), np.full(101, 1e-3)
    top = float(graph.evaluate(np.full((1, 101), 5e-4))[0].reshape(())) + 10.0
    query = make_query(graph, cases.property_of(lower, upper, [[(-np.ones(1), np.zeros(101), -top)]]), PLACE)
    assert not len(query.symbols)
    monkeypatch.setattr(tree, "root", full)
    assert decide(query, Budget.seconds(60), nobody).verdict is Verdict.UNSAT


def test_time_that_is_up_is_no_proof() -> None:
    for name in GRAPHS:
        query = question(name, ())
        assert decide(query, Budget.seconds(-1.0), nobody).verdict is Verdict.TIMEOUT
        search = InputSearch(query, nobody)
        assert search.advance(Budget.seconds(-1.0)) is None and not search.refuted
        assert NeuronSearch(query, Budget(), nobody).advance(Budget.seconds(-1.0)) is None
