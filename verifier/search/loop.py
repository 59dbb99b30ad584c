"""Branch and bound over the input."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import prod

import numpy as np

from verifier.search.budget import Budget, OutOfTime
from verifier.search.clipping.relaxed import clip_any
from verifier.search.domains import Domains, Frontier, roots
from verifier.search.evaluate import Evaluation
from verifier.search.ladder import Ladder
from verifier.search.outcome import Outcome, Progress, Try
from verifier.search.query import Query
from verifier.search.workers import Workers
from verifier.values.log import note
from verifier.values.verdict import Verdict

LONG = 1.0
"""Seconds a round may take before batches get smaller: the clock and the watcher are served between rounds."""


class InputSearch:
    """Splits boxes until every disjunct is refuted on every one, or a counterexample is found; can be paused.

    Args:
        query: what to decide.
        attempt: tries candidate counterexamples on the original model.
        watch: called after every round.
        batch: domains bounded at once; 0 picks a number by the network's size.
        threads: on how many the bounding may run.
        groups: which groups of the query to search (all, when None).
    """

    def __init__(
        self,
        query: Query,
        attempt: Try,
        watch: Callable[[Progress], None] | None = None,
        batch: int = 0,
        threads: int = 1,
        groups: np.ndarray | None = None,
    ) -> None:
        self.query, self._attempt, self._watch = query, attempt, watch
        self.frontier = Frontier(roots(query) if groups is None else roots(query).take(groups))
        self._groups, self._stuck = self.frontier.groups(), set[int]()
        self.progress = Progress()
        self._workers = Workers(query, threads)
        self._ladder = Ladder()
        self._most = self._batch = batch or batch_size(query) * self._workers.threads

    def close(self) -> None:
        """Let the threads go."""
        self._workers.close()

    @property
    def able(self) -> bool:
        """Whether there is something to go on with."""
        return len(self.frontier) > 0

    def ready(self, seconds: float) -> bool:
        """Whether what comes next fits so much time: a round always does, roughly."""
        return self.able

    @property
    def blocks(self) -> list[Domains]:
        """The open domains."""
        return self.frontier.blocks

    @property
    def stuck(self) -> set[int]:
        """Groups of which a domain was given up."""
        return self._stuck

    @property
    def refuted(self) -> set[int]:
        """Groups that have no open domain, nor one that was given up."""
        return self._groups - self.frontier.groups() - self._stuck

    @property
    def closed(self) -> float:
        """How many groups have been refuted, parts of one counted as shares."""
        return len(self._groups) - len(self._stuck) - self.frontier.share

    def drop(self, group: int) -> None:
        """Somebody else has refuted a group."""
        self.frontier.drop(group)
        self._stuck.discard(group)

    def follow(self, other: InputSearch) -> None:
        """Go on from a copy of what another search, of a query with the same groups and boxes, has left open."""
        self.frontier = Frontier(self._mine(other.frontier.all()))
        self._groups, self._stuck = set(other._groups), set(other._stuck)

    def gap(self, d: Domains) -> float:
        """How far domains, open ones of any search of the same groups and boxes, are from being closed, on average."""
        result = self._workers(self._mine(d))
        return float(np.where(result.alive.any(1), np.maximum(result.gap, 0.0), 0.0).mean())

    def _mine(self, d: Domains) -> Domains:
        """Without what is known of the signs of another network's neurons."""
        neurons = sum(self.query.graph.nodes[j].size for j in self.query.fast.sources)
        return replace(d, sign=np.zeros((len(d), neurons), np.int8))

    def advance(self, budget: Budget) -> Outcome | None:
        """Go on until the question is decided, or (None) the budget is spent or there is nothing left to split."""
        progress = self.progress
        while len(self.frontier):
            if budget.spent():
                return None
            d, start = self.frontier.pop(self._batch), budget.clock.now()
            try:
                self._ladder.watch(d, self._workers, budget.clock)
                result = self._workers(d, self._ladder.thorough)
            except MemoryError:
                if len(d) == 1:
                    raise
                self._batch = self._most = max(1, len(d) // 2)  # a smaller batch, not a worse answer
                self.frontier.push(d)
                continue
            except OutOfTime:
                self.frontier.push(d)
                return None
            seconds = budget.clock.now() - start
            if seconds > LONG:
                self._batch = max(1, len(d) // 2)
            elif seconds < LONG / 4 and len(d) == self._batch:
                self._batch = min(2 * self._batch, self._most)
            progress.bounded, progress.rounds = progress.bounded + len(d), progress.rounds + 1
            left = np.flatnonzero(result.alive.any(1))
            if progress.rounds == 1:
                gap = float(np.max(result.gap, initial=-np.inf))
                note("search", "root bounds: %d of %d boxes open, largest gap %.6g", len(left), len(d), gap)
            progress.closed += len(d) - len(left)
            if len(left):
                witness = self._attempt(result.corner(d)[left], d.group[left])
                if witness is not None:
                    return Outcome(Verdict.SAT, witness, progress)
                children, stuck = _split(self.query, d, result, left)
                self._stuck |= set(d.group[stuck].tolist())
                progress.stuck += len(stuck)
                progress.closed += 2 * (len(left) - len(stuck)) - len(children)
                self.frontier.push(children)
                progress.worst = float(result.gap[left].max())
            progress.open = len(self.frontier)
            if self._watch is not None:
                self._watch(progress)
        return None if self._stuck else Outcome(Verdict.UNSAT, None, progress)


def _split(query: Query, d: Domains, result: Evaluation, left: np.ndarray) -> tuple[Domains, np.ndarray]:
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
    children = Domains(lower, upper, group, alive, result.gap[both], result.sign[both], share)
    return children.take(np.flatnonzero(open_)), stuck


def batch_size(query: Query) -> int:
    """Domains whose forward forms fit a few tens of megabytes."""
    widest = max(n.size for n in query.graph.nodes)
    total = sum(n.size for n in query.graph.nodes)
    per_domain = (len(query.symbols) + 2) * widest * 3 + 6 * total + prod(query.ids.shape[1:]) * widest * 2
    return int(np.clip(8e6 / per_domain, 1, 1024))
