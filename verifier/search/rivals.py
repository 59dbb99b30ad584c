"""Two forms of one question searched as one: what is open is bounded both ways, and the better one goes on."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from verifier.search.budget import Budget
from verifier.search.domains import Domains
from verifier.search.loop import InputSearch
from verifier.search.outcome import Outcome, Progress, Try
from verifier.search.query import Query

FIRST, AGAIN = 0.3, 4.0
"""Seconds before the first trial; how many times as much before each next one."""
SAMPLE = 64
"""Open domains that a trial bounds both ways."""
BETTER = 0.2
"""What share of the one's gap the other's must be: its bounds cost a few times as much."""


class Rivals:
    """Splits the inputs of a query, or of another one that asks the same of the same groups on the same boxes.

    What copies of a network lose apart and what their differences lose changes with the size of the boxes, so now and
    then a sample of the open domains is bounded both ways, and the search goes on with the way that suits them.

    Args:
        query: what to begin with.
        other: makes the other form when it is first needed, or says that there is none.
        attempt, watch, threads: see `InputSearch`.
    """

    def __init__(
        self,
        query: Query,
        other: Callable[[], Query | None],
        attempt: Try,
        watch: Callable[[Progress], None] | None = None,
        threads: int = 1,
    ) -> None:
        self._lead = InputSearch(query, attempt, watch, threads=threads)
        self._other: InputSearch | None = None
        self._make = lambda q: InputSearch(q, attempt, watch, threads=threads)
        self._build: Callable[[], Query | None] | None = other
        self._spent, self._due, self._swapped = 0.0, FIRST, False

    def close(self) -> None:
        """Let the threads go."""
        for way in self._both():
            way.close()

    @property
    def progress(self) -> Progress:
        """What both have bounded, and where the better one stands."""
        p, all_ = self._lead.progress, [way.progress for way in self._both()]
        bounded, rounds = sum(q.bounded for q in all_), sum(q.rounds for q in all_)
        return Progress(bounded, p.open, rounds, p.worst, p.stuck, sum(q.closed for q in all_))

    @property
    def able(self) -> bool:
        """Whether there is something to go on with."""
        return self._lead.able

    def ready(self, seconds: float) -> bool:
        """Whether what comes next fits so much time, roughly."""
        return self._lead.ready(seconds)

    @property
    def blocks(self) -> list[Domains]:
        """The open domains."""
        return self._lead.blocks

    @property
    def stuck(self) -> set[int]:
        """Groups of which a domain was given up."""
        return self._lead.stuck

    @property
    def refuted(self) -> set[int]:
        """Groups that have no open domain, nor one that was given up."""
        return self._lead.refuted

    @property
    def closed(self) -> float:
        """How many groups have been refuted, parts of one counted as shares."""
        return self._lead.closed

    def drop(self, group: int) -> None:
        """Somebody else has refuted a group."""
        self._lead.drop(group)

    def advance(self, budget: Budget) -> Outcome | None:
        """Go on until the question is decided, or (None) the budget is spent or there is nothing left to split."""
        while self.able and not budget.spent():
            start, left = budget.clock.now(), self._due - self._spent
            if left <= 0:
                self._choose()
                continue
            done = self._lead.advance(budget.within(left))
            self._spent += budget.clock.now() - start
            if done is not None:
                return Outcome(done.verdict, done.witness, self.progress)
        return None

    def _both(self) -> list[InputSearch]:
        return [self._lead] if self._other is None else [self._lead, self._other]

    def _choose(self) -> None:
        """Which way suits a sample of the open domains."""
        if self._build is not None:
            query, self._build = self._build(), None
            self._other = None if query is None else self._make(query)
        other = self._other
        self._due = float("inf") if other is None else self._due * AGAIN
        if other is None:
            return
        d = self._lead.frontier.all()
        sample = d.take(np.unique(np.linspace(0, len(d) - 1, SAMPLE).astype(np.int64)))
        first, second = (other, self._lead) if self._swapped else (self._lead, other)
        swapped = second.gap(sample) < BETTER * first.gap(sample)
        if swapped != self._swapped:
            other.follow(self._lead)
            self._lead, self._other, self._swapped = other, self._lead, swapped
