"""How far up the ladder of bounds to climb: whether bounding every undecided entry backward pays.

The forward walk alone is cheap and looser.  What the backward walk gains is worth splits: if halving a domain shrinks
its gap by a factor r, bounds that shrink it by a factor g save log g / log r splits in depth, hence 2 to that power
domains.  It pays where that exceeds how much longer a domain takes.  Both are measured on a few domains, now and then.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from verifier.search.budget import Clock
from verifier.search.domains import Domains
from verifier.search.evaluate import Evaluation

SAMPLE = 32
"""Domains of a trial; fewer say nothing."""
AGAIN = 4
"""How many times as many domains must have been bounded at the next trial.  (Not rounds: these grow, so that a search
would be over before a first trial of few large domains, where both ways tell the same, was looked at again.)"""
FAR = 6.0
"""Most splits in depth that one domain may be said to be spared."""


class Ladder:
    """Remembers what pays.

    Attributes:
        thorough: whether to bound undecided entries backward.
    """

    def __init__(self) -> None:
        self.thorough = True
        self._bounded, self._next = 0, 0

    def watch(self, d: Domains, bound: Callable[[Domains, bool], Evaluation], clock: Clock) -> None:
        """Compare both ways on some of the domains, if it is time to."""
        first = not self._bounded
        self._bounded += len(d)
        if self._bounded < self._next or len(d) < SAMPLE:
            return
        some = d.take(np.arange(len(d) - SAMPLE, len(d)))
        if not self._next:  # what is done for the first time takes longer: that is nobody's cost
            for thorough in (False, True) if first else (False,):
                bound(some.take(np.arange(1)), thorough)
        self._next = AGAIN * self._bounded
        gaps, seconds = [], []
        for thorough in (False, True):
            start = clock.now()
            gaps.append(bound(some, thorough).gap)
            seconds.append(clock.now() - start)
        self.thorough = worth(gaps[0], gaps[1], some.gap) > seconds[1] / max(seconds[0], 1e-9)


@np.errstate(all="ignore")  # gaps may be infinite
def worth(quick: np.ndarray, thorough: np.ndarray, before: np.ndarray) -> float:
    """How many domains one that is bounded thoroughly spares, on average.

    Args:
        quick, thorough: `[B]` gaps by both ways.  before: `[B]` gaps of the parents.
    """
    open_ = quick > 0
    if not open_.any():
        return 1.0
    q, t = quick[open_], np.maximum(thorough[open_], 0.02 * quick[open_])
    ratio = t / np.where(np.isfinite(before[open_]) & (before[open_] > 0), before[open_], 2 * t)
    ratio = np.clip(np.nan_to_num(np.median(ratio), nan=0.95), 0.3, 0.95)
    depth = np.clip(np.log(q / t) / -np.log(ratio), 0.0, FAR)
    depth = np.where(np.isfinite(t) | ~np.isfinite(q), np.where(depth == depth, depth, FAR), 0.0)
    return float(np.mean(np.where(thorough[open_] <= 0, np.maximum(2.0, 2.0**depth), 2.0**depth)))
