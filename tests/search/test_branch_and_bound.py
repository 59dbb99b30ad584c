"""One loop for every search: an observer is told of a tree that is whole, whatever happens on the way."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

import verifier
from tests.laws.cases import Net, chain
from verifier.search.branch_and_bound import Search
from verifier.search.budget import Budget, OutOfTime, Work
from verifier.search.domains import roots
from verifier.search.history import History
from verifier.search.inputs import InputSplits
from verifier.search.neurons.problem import NeuronSplits, Plan
from verifier.search.neurons.splits import Splits
from verifier.search.neurons.tree import plant, root
from verifier.search.outcome import Progress
from verifier.search.problem import Step
from verifier.search.query import Query, make_query
from verifier.search.subproblems import Stack
from verifier.sensitivity.problem import pose
from verifier.sensitivity.search import Aim, DerivativeSearch
from verifier.values.arrays import Place


@dataclass
class Tree:
    """Remembers what it was told, and checks that no subproblem ends twice."""

    split_: dict[int, tuple[int, ...]] = field(default_factory=dict)
    ended: dict[int, str] = field(default_factory=dict)

    def split(self, number: np.ndarray, children: np.ndarray, at: Any) -> None:
        for parent, halves in zip(number.tolist(), children.T.tolist(), strict=True):
            assert parent not in self.split_ and parent not in self.ended
            self.split_[parent] = tuple(halves)

    def verified(self, number: np.ndarray, by: str, reason: Any) -> None:
        for one in number.tolist():
            assert one not in self.split_ and one not in self.ended
            self.ended[one] = by

    def given_up(self, number: np.ndarray) -> None:
        self.verified(number, "given up", None)

    def waiting(self, first: set[int]) -> int:
        """How many leaves have not ended."""
        return len(first) + len(self.split_) - len(self.ended)

    def open(self, first: set[int]) -> set[int]:
        """Leaves that have not ended, of the trees at the roots `first`."""
        every = first | {half for halves in self.split_.values() for half in halves}
        assert self.ended.keys() <= every and self.split_.keys() <= every
        return every - self.split_.keys() - self.ended.keys()


def nobody(x: np.ndarray, group: np.ndarray) -> None:
    """Finds no counterexample."""


def query(groups: int = 1) -> Query:
    """What both ways of splitting refute in many subproblems."""
    graph = chain(np.random.default_rng(3), (4, 14, 14, 2))
    values = Net(graph).run(np.random.default_rng(0).uniform(-1, 1, (4000, 4)))[:, 0]
    top = float(values.max() + 0.2 * np.ptp(values))
    prop = verifier.output_property(-np.ones(4), np.ones(4), [[([-1.0, 0.0], -top)], [([-1.0, 0.0], -1.1 * top)]])
    return make_query(graph, prop, Place("numpy", "float32"))


Made = tuple[Search[Any], Any, set[int]]


def inputs(tree: Tree) -> Made:
    q = query()
    d = roots(q)
    problem = InputSplits(q, nobody, 8, history=History(tree, len(d)))
    numbered = replace(d, number=np.arange(len(d)))
    return Search(problem, Stack(numbered), range(len(d))), problem, set(range(len(d)))


def neurons(tree: Tree) -> Made:
    q = query()
    planted = plant(q, roots(q), root(q, roots(q)))
    problem = NeuronSplits(
        planted, Budget(), nobody, Plan(batch=4, cuts=True), History(tree, int(planted.slot.max()) + 1)
    )
    return Search(problem, Stack[Splits](), range(len(planted))), problem, set(planted.slot.tolist())


def derivatives(tree: Tree) -> Made:
    graph = chain(np.random.default_rng(1), (3, 10, 10, 1))
    problem = pose(graph, verifier.Box(-np.ones(3), np.ones(3)), np.ones((1, 1)), np.inf)
    G = len(problem.goals)
    search = DerivativeSearch(problem, Aim(np.zeros(G, int)), 16, history=History(tree, G))
    return search.search, search, set(range(G))


KINDS: dict[str, Callable[[Tree], Made]] = {"inputs": inputs, "neurons": neurons, "derivatives": derivatives}


@pytest.mark.parametrize("kind", KINDS)
def test_the_tree_that_is_told_is_whole(kind: str) -> None:
    tree = Tree()
    search, _, first = KINDS[kind](tree)
    rounds = []
    search.watch = lambda p: rounds.append(tree.waiting(first) - len(search.frontier))
    assert search.advance(Budget()) and not search.given_up
    assert len(rounds) > 3 and not any(rounds), "what is open is in the frontier"
    assert not tree.open(first) and len(tree.split_) > 10
    assert search.verified == pytest.approx(len(search.roots)) or kind == "derivatives"


@pytest.mark.parametrize(
    "error", [OutOfTime, MemoryError, KeyboardInterrupt, RuntimeError("CUDA out of memory")], ids=str
)
@pytest.mark.parametrize("kind", KINDS)
def test_whatever_interrupts_a_batch_nothing_is_lost(
    kind: str, error: BaseException, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A batch that was interrupted when it was nearly done is bounded again; nobody is told of it twice."""
    tree, calls = Tree(), []
    search, problem, first = KINDS[kind](tree)
    expand = problem.expand

    def interrupted(s: Any, budget: Budget) -> Step[Any]:
        step = expand(s, budget)
        calls.append(len(s))
        if len(calls) % 3 == 2 and len(s) > 1:
            raise error
        return step

    monkeypatch.setattr(problem, "expand", interrupted)
    ended = False
    for _ in range(10**4):
        try:
            ended = search.advance(Budget())
        except KeyboardInterrupt:
            pass
        assert ended or tree.waiting(first) == len(search.frontier) + len(first) * (problem.waiting > 0)
        if ended:
            break
    assert ended and not tree.open(first) and not search.given_up and len(calls) > 5


def test_roots_that_are_sown_one_batch_after_the_other() -> None:
    """More disjuncts than fit a batch: those that wait are no part of the proof before they were bounded."""
    graph = chain(np.random.default_rng(3), (4, 14, 14, 2))
    values = Net(graph).run(np.random.default_rng(0).uniform(-1, 1, (4000, 4)))[:, 0]
    tops = [float(values.max() + (0.2 + 0.01 * k) * np.ptp(values)) for k in range(5)]
    prop = verifier.output_property(-np.ones(4), np.ones(4), [[([-1.0, 0.0], -top)] for top in tops])
    q, tree = make_query(graph, prop, Place("numpy", "float32")), Tree()
    planted = plant(q, roots(q), root(q, roots(q)))
    first = set(planted.slot.tolist())
    problem = NeuronSplits(planted, Budget(), nobody, Plan(batch=1), History(tree, int(planted.slot.max()) + 1))
    search = Search(problem, Stack[Splits](), range(len(planted)))
    assert search.advance(Budget()) and not search.given_up
    assert len(problem.tree) > 2, "one batch holds all of them"
    assert not tree.open(first) and search.verified == pytest.approx(len(first))


@pytest.mark.parametrize("kind", ["inputs", "neurons"])
def test_open_subproblems_leave_the_process(kind: str) -> None:
    """A frontier that was pickled is gone on with as if nothing had happened."""
    told = []
    for moved in (False, True):
        search, _, _ = KINDS[kind](Tree())
        search.problem.history = None
        budget = Budget.seconds(1e9, Work())
        search.watch = stop
        with pytest.raises(Stop):
            search.advance(budget)
        search.watch = None
        if moved:
            search.frontier = pickle.loads(pickle.dumps(search.frontier))  # noqa: S301
        assert search.advance(budget)
        told.append((search.progress.bounded, search.progress.rounds))
    assert told[0] == told[1] and told[0][1] > 3


class Stop(Exception):
    """Enough for now."""


def stop(p: Progress) -> None:
    """After two rounds."""
    if p.rounds >= 2:
        raise Stop


@pytest.mark.parametrize("late", [False, True])
def test_goals_that_wait_are_bounded_by_the_root_alone(late: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """Goals that no batch has come to, or whose root was interrupted, do not fall to what was met."""
    graph = chain(np.random.default_rng(1), (3, 10, 10, 1))
    problem = pose(graph, verifier.Box(-np.ones(3), np.ones(3)), np.ones((1, 1)), np.inf)
    x = np.random.default_rng(0).uniform(-1, 1, (500, 3))
    met = np.array([problem.evaluate(x, np.ones((500, 1)), np.full(500, e)).max() for _, e in problem.goals])

    def tick(work: float = 0.0) -> None:
        if late:
            raise OutOfTime

    monkeypatch.setattr(DerivativeSearch, "_try", lambda *_: None)
    search = DerivativeSearch(problem, Aim(np.arange(len(met))), batch=2, tick=tick)
    for _ in range(3):
        ended = search.run(Budget.seconds(0.1))
        assert (search.upper >= met - 1e-9).all() and not (late and ended)
