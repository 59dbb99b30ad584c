"""Which way a question is searched."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from verifier.search import loop
from verifier.search.budget import Budget
from verifier.search.neurons import tree
from verifier.search.neurons.loop import grow
from verifier.search.outcome import Outcome, Progress, Try
from verifier.search.query import Query
from verifier.values.verdict import Verdict

MOST = 1e9
"""Numbers that a folded network may hold; a larger one is split at its inputs, whatever that is worth."""


def decide(
    query: Query,
    budget: Budget,
    attempt: Try,
    watch: Callable[[Progress], None] | None = None,
    threads: int = 1,
) -> Outcome:
    """Search until every disjunct is refuted, a counterexample is found, or time is up."""
    if len(query.symbols) or not (query.lower < query.upper).any():
        return loop.search(query, budget, attempt, watch, threads=threads)
    progress, verdict = Progress(), Verdict.UNSAT
    for group in range(len(query.lower)):
        if budget.spent():
            return Outcome(Verdict.TIMEOUT, None, progress)
        outcome = by_neurons(query, group, budget, attempt, progress, watch, threads)
        if outcome.verdict in (Verdict.SAT, Verdict.TIMEOUT):
            return outcome
        if outcome.verdict is Verdict.UNKNOWN:
            verdict = Verdict.UNKNOWN
    return Outcome(verdict, None, progress)


@np.errstate(all="ignore")  # numbers that overflow refute nothing
def by_neurons(
    query: Query,
    group: int,
    budget: Budget,
    attempt: Try,
    progress: Progress,
    watch: Callable[[Progress], None] | None,
    threads: int,
) -> Outcome:
    """Decide one group of disjuncts (they share a box) by splitting neurons."""
    found = tree.root(query, group)
    progress.bounded += 1
    if watch is not None:
        watch(progress)
    if not found.alive.any():
        return Outcome(Verdict.UNSAT, None, progress)
    witness = attempt(found.corner, np.full(len(found.corner), group))
    if witness is not None:
        return Outcome(Verdict.SAT, witness, progress)
    U = tree.size(query, found)
    if U * (U + query.lower.shape[1]) > MOST:
        return loop.search(query, budget, attempt, watch, threads=threads, groups=np.array([group]))
    return grow(tree.plant(query, group, found), budget, attempt, progress, watch)
