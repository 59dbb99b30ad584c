"""Branch and bound over the input."""

from __future__ import annotations

import time
from collections.abc import Callable
from math import prod

import numpy as np

from verifier.search.budget import Budget
from verifier.search.clipping.relaxed import clip_any
from verifier.search.domains import Domains, Frontier, roots
from verifier.search.evaluate import Evaluation
from verifier.search.outcome import Outcome, Progress, Try
from verifier.search.query import Query
from verifier.search.workers import Workers
from verifier.values.verdict import Verdict

LONG = 1.0
"""Seconds a round may take before batches get smaller: the clock and the watcher are served between rounds."""


def search(
    query: Query,
    budget: Budget,
    attempt: Try,
    watch: Callable[[Progress], None] | None = None,
    batch: int = 0,
    threads: int = 1,
    groups: np.ndarray | None = None,
) -> Outcome:
    """Split boxes until every disjunct is refuted on every one, or a counterexample is found.

    Args:
        query: what to decide.
        budget: when to stop.
        attempt: tries candidate counterexamples on the original model.
        watch: called after every round.
        batch: domains bounded at once; 0 picks a number by the network's size.
        threads: on how many the bounding may run.
        groups: which groups of the query to search (all, when None).
    """
    first = roots(query) if groups is None else roots(query).take(groups)
    workers = Workers(query, threads)
    try:
        most = batch or batch_size(query) * workers.threads
        return _rounds(query, Frontier(first), budget, attempt, watch, workers, most)
    finally:
        workers.close()


def _rounds(
    query: Query,
    frontier: Frontier,
    budget: Budget,
    attempt: Try,
    watch: Callable[[Progress], None] | None,
    bound: Workers,
    most: int,
) -> Outcome:
    progress, batch = Progress(), most
    while len(frontier):
        if budget.spent():
            return Outcome(Verdict.TIMEOUT, None, progress)
        d, start = frontier.pop(batch), time.monotonic()
        try:
            result = bound(d)
        except MemoryError:
            if len(d) == 1:
                raise
            batch = most = max(1, len(d) // 2)  # a smaller batch, not a worse answer
            frontier.push(d)
            continue
        seconds = time.monotonic() - start
        if seconds > LONG:
            batch = max(1, len(d) // 2)
        elif seconds < LONG / 4 and len(d) == batch:
            batch = min(2 * batch, most)
        progress.bounded, progress.rounds = progress.bounded + len(d), progress.rounds + 1
        left = np.flatnonzero(result.alive.any(1))
        if len(left):
            witness = attempt(result.corner(d)[left], d.group[left])
            if witness is not None:
                return Outcome(Verdict.SAT, witness, progress)
            children, stuck = _split(query, d, result, left)
            progress.stuck += stuck
            frontier.push(children)
            progress.worst = float(result.gap[left].max())
        progress.open = len(frontier)
        if watch is not None:
            watch(progress)
    return Outcome(Verdict.UNKNOWN if progress.stuck else Verdict.UNSAT, None, progress)


def _split(query: Query, d: Domains, result: Evaluation, left: np.ndarray) -> tuple[Domains, int]:
    """Halve the domains `left`, clip the halves; also how many could not be halved any more."""
    lower, upper = d.lower[left], d.upper[left]
    middle = lower * 0.5 + upper * 0.5
    splittable = (middle > lower) & (middle < upper)
    score = np.where(splittable, result.score[left] + 1e-300, -1.0)
    axis = score.argmax(1)
    can = splittable[np.arange(len(left)), axis]
    left, lower, upper, middle, axis = left[can], lower[can], upper[can], middle[can], axis[can]
    at = np.arange(len(left))
    low_half, high_half = upper.copy(), lower.copy()
    low_half[at, axis] = high_half[at, axis] = middle[at, axis]
    lower, upper = np.concatenate([lower, high_half]), np.concatenate([low_half, upper])
    both = np.concatenate([left, left])
    group = d.group[both]
    alive = result.alive[both]
    lower, upper, alive = clip_any(lower, upper, result.A[both], result.b[both], query.uses[group], alive)
    open_ = alive.any(1)
    children = Domains(lower, upper, group, alive, result.gap[both], result.sign[both])
    return children.take(np.flatnonzero(open_)), int((~can).sum())


def batch_size(query: Query) -> int:
    """Domains whose forward forms fit a few tens of megabytes."""
    widest = max(n.size for n in query.graph.nodes)
    total = sum(n.size for n in query.graph.nodes)
    per_domain = (len(query.symbols) + 2) * widest * 3 + 6 * total + prod(query.ids.shape[1:]) * widest * 2
    return int(np.clip(8e6 / per_domain, 1, 1024))
