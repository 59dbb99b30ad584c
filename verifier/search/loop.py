"""Branch and bound over the input."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from math import prod

import numpy as np

from verifier.search.budget import Budget
from verifier.search.clipping.relaxed import clip_any
from verifier.search.domains import Domains, Frontier, roots
from verifier.search.evaluate import Evaluation
from verifier.search.query import Query
from verifier.search.workers import Workers
from verifier.spec.witness import Witness
from verifier.values.verdict import Verdict

LONG = 1.0
"""Seconds a round may take before batches get smaller: the clock and the watcher are served between rounds."""

Try = Callable[[np.ndarray, np.ndarray], Witness | None]
"""Points `[P, n]` and their groups `[P]` -> a witness, if one of them is a counterexample."""


@dataclass
class Progress:
    """Where a search stands; handed to whoever watches after every round.

    Attributes:
        bounded: domains bounded so far.  open: domains waiting.  rounds: batches so far.
        worst: the largest gap seen in the last round.
        stuck: domains that can be neither closed nor split.
    """

    bounded: int = 0
    open: int = 0
    rounds: int = 0
    worst: float = float("inf")
    stuck: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a search ended, and with what."""

    verdict: Verdict
    witness: Witness | None = None
    progress: Progress = field(default_factory=Progress)


def search(
    query: Query,
    budget: Budget,
    attempt: Try,
    watch: Callable[[Progress], None] | None = None,
    batch: int = 0,
    threads: int = 1,
) -> Outcome:
    """Split boxes until every disjunct is refuted on every one, or a counterexample is found.

    Args:
        query: what to decide.
        budget: when to stop.
        attempt: tries candidate counterexamples on the original model.
        watch: called after every round.
        batch: domains bounded at once; 0 picks a number by the network's size.
        threads: on how many the bounding may run.
    """
    workers = Workers(query, threads)
    try:
        return _rounds(query, budget, attempt, watch, workers, batch or batch_size(query) * workers.threads)
    finally:
        workers.close()


def _rounds(
    query: Query,
    budget: Budget,
    attempt: Try,
    watch: Callable[[Progress], None] | None,
    bound: Workers,
    most: int,
) -> Outcome:
    frontier, progress, batch = Frontier(roots(query)), Progress(), most
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
