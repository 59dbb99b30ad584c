"""Splits of inputs: boxes are halved, and clipped by what their parents' bounds say."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from verifier.search.branch_and_bound import Search
from verifier.search.budget import Budget
from verifier.search.clipping.relaxed import clip_any
from verifier.search.domains import Domains, roots
from verifier.search.evaluate import Evaluation
from verifier.search.ladder import Ladder
from verifier.search.outcome import Found, Outcome, Progress, Try
from verifier.search.problem import Step
from verifier.search.query import Query
from verifier.search.subproblems import Stack
from verifier.search.workers import Workers
from verifier.values.log import note
from verifier.values.verdict import Verdict

if TYPE_CHECKING:
    from verifier.search.history import History

FIRST, AGAIN = 0.3, 4.0
"""Seconds before the first trial of two encodings; how many times as much before each next one."""
SAMPLE = 64
"""Open domains that a trial bounds both ways."""
BETTER = 0.2
"""What share of the one's gap the other's must be: its bounds cost a few times as much."""


class InputSplits:
    """The problem (see `search.branch_and_bound`): every disjunct of a query is to be refuted on every box.

    Args:
        query: what to decide.
        attempt: tries candidate counterexamples on the original model.
        batch: domains bounded at once; 0 picks a number by the network's size.
        threads: on how many the bounding may run.
        history: told what becomes of the domains.
    """

    def __init__(
        self, query: Query, attempt: Try, batch: int = 0, threads: int = 1, history: History | None = None
    ) -> None:
        self.query, self.attempt, self.history = query, attempt, history
        self.workers, self.ladder = Workers(query, threads), Ladder()
        self.most = batch or batch_size(query) * self.workers.threads
        self.waiting, self._told = 0, False  # boxes are domains as they are

    def sow(self, budget: Budget) -> Step[Domains]:
        """Nothing is left to do."""
        return Step()

    def expand(self, d: Domains, budget: Budget) -> Step[Domains]:
        """Bound domains, try where their planes are least, and halve those that are not verified."""
        self.ladder.watch(d, self.workers, budget.clock)
        result = self.workers(d, self.ladder.thorough)
        left = np.flatnonzero(result.alive.any(1))
        if not self._told:
            gap, self._told = float(np.max(result.gap, initial=-np.inf)), True
            note("search", "root bounds: %d of %d boxes open, largest gap %.6g", len(left), len(d), gap)
        if self.history is not None and d.number is not None:
            self.history.verified(np.delete(d.number, left), "bounds")
        if not len(left):
            return Step(bounded=len(d), verified=len(d))
        witness = self.attempt(result.corner(d)[left], d.group[left])
        if witness is not None:
            raise Found(witness)
        children, stuck = split(self.query, d, result, left, self.history)
        verified = len(d) - len(left) + 2 * (len(left) - len(stuck)) - len(children)
        return Step(children, d.take(stuck), len(d), verified, float(result.gap[left].max()))

    def mine(self, d: Domains) -> Domains:
        """Domains of another query with the same boxes, without what is known of the signs of its network's neurons."""
        neurons = sum(self.query.graph.nodes[j].size for j in self.query.fast.sources)
        return replace(d, sign=np.zeros((len(d), neurons), np.int8))

    def gap(self, d: Domains) -> float:
        """How far domains, open ones of any query with the same boxes, are from being verified, on average."""
        result = self.workers(self.mine(d))
        return float(np.where(result.alive.any(1), np.maximum(result.gap, 0.0), 0.0).mean())


class InputSearch:
    """Splits boxes until every disjunct is refuted on every one, or a counterexample is found; can be paused.

    Where there is another encoding of the question (differences of two networks instead of both), what either loses
    changes with the size of the boxes: now and then a sample of the open domains is bounded both
    ways, and the search goes on with the one that suits them.

    Args:
        query, attempt, batch, threads: see `InputSplits`.
        watch: called after every round.
        groups: which groups of the query to search (all, when None).
        other: makes another query that asks the same of the same groups on the same boxes, or says that there is none.
        history: told what becomes of the domains.
    """

    def __init__(
        self,
        query: Query,
        attempt: Try,
        watch: Callable[[Progress], None] | None = None,
        batch: int = 0,
        threads: int = 1,
        groups: np.ndarray | None = None,
        other: Callable[[], Query | None] | None = None,
        history: History | None = None,
    ) -> None:
        self._make = lambda q: InputSplits(q, attempt, batch, threads, history)
        self.problem, self._rival, self._build = self._make(query), list[InputSplits](), other
        d = roots(query) if groups is None else roots(query).take(groups)
        if history is not None:
            d = replace(d, number=np.arange(len(d)))
        self._groups = frozenset(d.group.tolist())
        self.search = Search(self.problem, Stack(d), self._groups, Progress(), watch)
        self._spent, self._due, self._swapped = 0.0, FIRST if other is not None else np.inf, False

    def close(self) -> None:
        """Let the threads go."""
        for problem in (self.problem, *self._rival):
            problem.workers.close()

    @property
    def query(self) -> Query:
        """What it bounds now."""
        return self.problem.query

    @property
    def frontier(self) -> Stack[Domains]:
        """The open domains."""
        assert isinstance(self.search.frontier, Stack)
        return self.search.frontier

    @property
    def progress(self) -> Progress:
        """Where it stands."""
        return self.search.progress

    @property
    def able(self) -> bool:
        """Whether there is something to go on with."""
        return len(self.frontier) > 0

    def ready(self, seconds: float) -> bool:
        """Whether what comes next fits so much time: a round always does, roughly."""
        return self.able

    @property
    def given_up(self) -> set[int]:
        """Groups of which a domain was given up."""
        return set(self.search.given_up)

    @property
    def refuted(self) -> set[int]:
        """Groups that have no open domain, nor one that was given up."""
        return set(self._groups - self.search.open_roots())

    @property
    def closed(self) -> float:
        """How many groups have been refuted, parts of one counted as shares."""
        return self.search.verified

    def drop(self, group: int) -> None:
        """Somebody else has refuted a group."""
        self.search.drop(group)

    def advance(self, budget: Budget) -> Outcome | None:
        """Go on until the question is decided, or (None) the budget is spent or there is nothing left to split."""
        while True:
            start, left = budget.clock.now(), self._due - self._spent
            if left <= 0 and self.able:
                self._choose()
                continue
            done = self.search.decide(budget.within(left))
            self._spent += budget.clock.now() - start
            if done is not None:
                return None if done.verdict is Verdict.UNKNOWN else done
            if self._spent < self._due or budget.spent() or not self.able:
                return None

    def _choose(self) -> None:
        """Which encoding suits a sample of the open domains."""
        if self._build is not None:
            query, self._build = self._build(), None
            self._rival = [] if query is None else [self._make(query)]
        self._due = np.inf if not self._rival else self._due * AGAIN
        if not self._rival:
            return
        d, (rival,) = self.frontier.all(), self._rival
        sample = d.take(np.unique(np.linspace(0, len(d) - 1, SAMPLE).astype(np.int64)))
        first, second = (rival, self.problem) if self._swapped else (self.problem, rival)
        swapped = second.gap(sample) < BETTER * first.gap(sample)
        if swapped != self._swapped:
            self._swapped, self.problem, self._rival = swapped, rival, [self.problem]
            self.search.problem, self.search.frontier = rival, Stack(rival.mine(d))
            self.search.batch = rival.most


def split(
    query: Query, d: Domains, result: Evaluation, left: np.ndarray, history: History | None = None
) -> tuple[Domains, np.ndarray]:
    """Halve the domains `left`, clip the halves; also which could not be halved any more."""
    lower, upper = d.lower[left], d.upper[left]
    middle = lower * 0.5 + upper * 0.5
    splittable = (middle > lower) & (middle < upper)
    score = np.where(splittable, result.score[left] + 1e-300, -1.0)
    axis = score.argmax(1)
    can = splittable[np.arange(len(left)), axis]
    stuck = left[~can]
    left, lower, upper, middle, axis = left[can], lower[can], upper[can], middle[can], axis[can]
    at = np.arange(len(left))
    low_half, high_half = upper.copy(), lower.copy()
    low_half[at, axis] = high_half[at, axis] = middle[at, axis]
    lower, upper = np.concatenate([lower, high_half]), np.concatenate([low_half, upper])
    both = np.concatenate([left, left])
    group = d.group[both]
    alive = result.alive[both]
    lower, upper, alive = clip_any(lower, upper, result.A[both], result.b[both], query.uses[group], alive)
    open_ = np.asarray(alive.any(1))
    if query.prop.ball is not None:
        lower[open_], upper[open_], outside = query.prop.ball.clip(lower[open_], upper[open_])
        open_[open_] = ~outside
    share = d.share[both] * 0.5
    number = None
    if history is not None and d.number is not None:
        number = history.split(d.number[left], (axis, middle[at, axis])).reshape(-1)
        history.given_up(d.number[stuck])
        history.verified(number[~open_], "clipped")
    children = Domains(lower, upper, group, alive, result.gap[both], result.sign[both], share, number)
    return children.take(np.flatnonzero(open_)), stuck


def batch_size(query: Query) -> int:
    """Domains whose forward forms fit a few tens of megabytes."""
    widest = max(n.size for n in query.graph.nodes)
    total = sum(n.size for n in query.graph.nodes)
    per_domain = (len(query.symbols) + 2) * widest * 3 + 6 * total + prod(query.ids.shape[1:]) * widest * 2
    return int(np.clip(8e6 / per_domain, 1, 1024))
