"""One scheduler for splits of inputs and of neurons: time goes to what has closed more of the question."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from verifier.graph.ops.steps import Step
from verifier.search.branch_and_bound import Search
from verifier.search.budget import Budget, OutOfTime
from verifier.search.domains import roots
from verifier.search.inputs import InputSearch
from verifier.search.memory import one_memory_error
from verifier.search.outcome import Open, Outcome, Progress, Try
from verifier.search.query import Query
from verifier.search.rest import still_open
from verifier.search.subproblems import Stack
from verifier.values.log import note
from verifier.values.verdict import Verdict

if TYPE_CHECKING:  # imported where neurons are split: easy questions about few inputs never come to that
    from verifier.search.neurons import tree
    from verifier.search.neurons.problem import NeuronSplits
    from verifier.search.neurons.splits import Splits

MOST = 3e8
"""Numbers that a folded network may hold; a larger one is split at its inputs, whatever that is worth."""
FIRST, TRIAL = 0.4, 0.1
"""Seconds of the first turn, and of the first one of the other way."""
LONGEST = 8.0
"""Seconds of the longest ones."""
BEHIND = 0.2
"""Share of the time for the way of splitting that has closed less, so that it can show that it has caught up."""

STAIRS = 1.0
"""The same where there are staircases.  Neurons lead: no half of a box leaves out a jump, so that splits of inputs come
near and to no end."""

Watch = Callable[[Progress], None] | None


def decide(
    query: Query,
    budget: Budget,
    attempt: Try,
    watch: Watch = None,
    threads: int = 1,
    other: Callable[[], Query | None] | None = None,
    plain: Query | None = None,
) -> Outcome:
    """Search until every disjunct is refuted, a counterexample is found, or time is up.

    Args:
        other: makes the same question in another form (see `InputSearch`).
        plain: the form for splits of inputs, with the same groups and disjuncts (`query` itself, when None).
    """

    def both(_: Progress) -> None:
        if watch is not None:
            watch(inputs.progress.plus(neurons.progress))

    first = query if plain is None or other is not None else plain
    inputs = InputSearch(first, attempt, both, threads=threads, other=other)
    neurons = NeuronSearch(query, budget, attempt, both)
    try:
        done = _alternate(query, inputs, neurons, budget)
    except OutOfTime:
        done = Outcome(Verdict.TIMEOUT)
    finally:
        inputs.close()
    progress = inputs.progress.plus(neurons.progress)
    rest: tuple[Open, ...] = ()
    if done.verdict is Verdict.UNSAT:
        progress.open = 0  # what one way had left, the other has refuted
    elif done.verdict is not Verdict.SAT:
        rest = still_open(query, inputs.frontier.blocks, inputs.given_up, neurons.under_way)
    return Outcome(done.verdict, done.witness, progress, rest)


def _alternate(query: Query, inputs: InputSearch, neurons: NeuronSearch, budget: Budget) -> Outcome:
    """Give turns to both; what has closed the larger share of the question gets most of the time.

    Where many inputs vary, halving one of them decides nothing: neurons begin.  Both work on the same question, so
    whatever part of it one of them has refuted is dropped by the other.
    """
    stairs = any(isinstance(n.op, Step) and n.op.stairs for n in query.graph.nodes)
    share = STAIRS if stairs else BEHIND
    few = bool(len(query.symbols)) or not (query.lower < query.upper).any()
    spent: dict[InputSearch | NeuronSearch, float] = {inputs: 0.0, neurons: 0.0}
    while inputs.able or neurons.able:
        if budget.spent():
            return Outcome(Verdict.TIMEOUT)
        ahead = inputs.closed >= neurons.closed and not (stairs and neurons.able)
        lead, behind = (inputs, neurons) if ahead else (neurons, inputs)
        way, seconds = lead, min(FIRST + 0.5 * sum(spent.values()), LONGEST)
        due = share * spent[lead] - spent[behind]
        if behind.able and due > 0 and behind.ready(max(due, TRIAL)):
            way, seconds = behind, max(due, TRIAL)
        if not few:
            way, seconds = (neurons if neurons.able else inputs), float("inf")
        elif not way.able or not way.ready(seconds):
            way = inputs if way is neurons else neurons
        start = budget.clock.now()
        done = way.advance(budget.within(seconds))
        spent[way] += budget.clock.now() - start
        p, name = way.progress, "neurons" if way is neurons else "inputs"
        note("search", "%s for %.2f s: %d bounded, %d open, gap %.6g", name, spent[way], p.bounded, p.open, p.worst)
        if done is not None:
            return done
        other = inputs if way is neurons else neurons
        for group in way.refuted - other.refuted:
            other.drop(group)
    return Outcome(Verdict.UNKNOWN)


class NeuronSearch:
    """Neuron splitting on one group of disjuncts after the other; can be paused."""

    def __init__(self, query: Query, whole: Budget, attempt: Try, watch: Watch = None) -> None:
        self._query, self._whole, self._attempt, self._watch = query, whole, attempt, watch
        self._todo = list(range(len(query.lower)))
        self._found: tree.Root | None = None  # of the first group to do
        self._tree: NeuronSplits | None = None  # of the group under way
        self._search: Search[Splits] | None = None
        self.progress = Progress()
        self.refuted: set[int] = set()
        self.given_up: set[int] = set()

    @property
    def able(self) -> bool:
        """Whether there is a group that it can go on with."""
        return bool(self._todo) or self._search is not None

    @property
    def under_way(self) -> tuple[tree.Tree, list[Splits]] | None:
        """The tree that it has begun and not ended, and the subproblems that are open."""
        if self._tree is None or self._search is None:
            return None
        assert isinstance(self._search.frontier, Stack)
        return self._tree.tree, self._search.frontier.blocks

    @property
    def closed(self) -> float:
        """How many groups have been refuted, parts of one counted as shares."""
        s = self._search
        return len(self.refuted) + (0.0 if s is None else s.verified / len(s.roots))

    def ready(self, seconds: float) -> bool:
        """Whether what comes next fits so much time, roughly."""
        if self._search is not None:
            return True
        from verifier.search.neurons import tree

        if self._found is None:
            return tree.effort(self._query) <= 2 * seconds
        return tree.planting(self._query, self._found) <= 2 * seconds

    def drop(self, group: int) -> None:
        """Somebody else has refuted a group."""
        self.refuted.add(group)
        self.given_up.discard(group)
        if group in self._todo:
            self._found = None if group == self._todo[0] else self._found
            self._todo.remove(group)
        if self._tree is not None and self._tree.tree.group == group:
            self._search = self._tree = None

    @np.errstate(all="ignore")  # numbers that overflow refute nothing
    def advance(self, budget: Budget) -> Outcome | None:
        """Go on until the question is decided, the budget is spent, or there is nothing left to go on with."""
        while self.able and not budget.spent():
            search = self._search
            if search is None and not self.ready(max(TRIAL, budget.left())) and budget.deadline < self._whole.deadline:
                return None  # another turn may be longer
            try:
                with one_memory_error():
                    done = self._begin() if search is None else search.decide(budget)
            except MemoryError:  # not even one part fits
                self.given_up.add(self._todo.pop(0) if self._tree is None else self._tree.tree.group)
                self._search = self._tree = self._found = None
                continue
            if done is not None and done.verdict is Verdict.SAT:
                return done
            if search is None or self._tree is None:
                continue
            if done is None:
                return None
            (self.refuted if done.verdict is Verdict.UNSAT else self.given_up).add(self._tree.tree.group)
            self._search = self._tree = None
        if len(self.refuted) == len(self._query.lower):
            return Outcome(Verdict.UNSAT, None, self.progress)
        return None

    def _begin(self) -> Outcome | None:
        """Bound the box of the first group to do; the next time, fold the network on it."""
        if self._found is not None:
            self._plant(self._found)
            return None
        from verifier.search.neurons import tree

        group = self._todo[0]
        found = tree.root(self._query, roots(self._query).take(np.array([group])), self._whole.check)
        self.progress.bounded += 1
        note("search", "box %d as a whole: %d of %d disjuncts open", group, int(found.alive.sum()), len(found.alive))
        if self._watch is not None:
            self._watch(self.progress)
        if not found.alive.any():
            self._todo.pop(0)
            self.refuted.add(group)
            return None
        self._found = found
        witness = self._attempt(found.corner, np.full(len(found.corner), group))
        return None if witness is None else Outcome(Verdict.SAT, witness, self.progress)

    def _plant(self, found: tree.Root) -> None:
        """Fold the network on the box of the first group to do, where it is not too large.

        A box on which some value may be infinite is left to splits of inputs: nothing is known of rounding there.
        """
        from verifier.search.neurons import tree
        from verifier.search.neurons.problem import NeuronSplits

        group, U = self._todo[0], tree.size(self._query, found)
        if found.bounds.broken is not None or U * (U + self._query.lower.shape[1]) > MOST:
            self.given_up.add(group)
            self._todo.pop(0)
            self._found = None
            return
        d = roots(self._query).take(np.array([group]))
        planted = tree.plant(self._query, d, found, self._whole.check)
        self._tree = NeuronSplits(planted, self._whole, self._attempt)
        self._search = Search(self._tree, Stack(), range(len(planted)), self.progress, self._watch)
        self._todo.pop(0)
        self._found = None


def by_neurons(query: Query, budget: Budget, attempt: Try, watch: Watch = None) -> Outcome:
    """Decide by splitting neurons alone; `unknown` where a network is too large for that."""
    search = NeuronSearch(query, budget, attempt, watch)
    try:
        done = search.advance(budget)
    except OutOfTime:
        return Outcome(Verdict.TIMEOUT, None, search.progress)
    if done is None:
        done = Outcome(Verdict.TIMEOUT if search.able else Verdict.UNKNOWN, None, search.progress)
    return done
