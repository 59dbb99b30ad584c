"""Where a derivative is large: gradient search over a set, through gates that give way gradually."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from verifier.attack.ball import towards
from verifier.attack.gradient import evaluate
from verifier.sensitivity.problem import Problem, picked


@np.errstate(all="ignore")
def climb(
    problem: Problem,
    x: np.ndarray,
    seeds: np.ndarray,
    entry: np.ndarray,
    steps: int,
    late: Callable[[float], bool] = lambda work: False,
) -> np.ndarray:
    """The best points `[P, n]` met on the way up from points x of the set (as computed: nothing is certain).

    Args:
        seeds: `[P, m]`, entry: `[P]`: what is climbed.
        steps: of which each is nine tenths as long as the one before; the first leads a quarter of the box.  In balls
            of the ℓ1 and the ℓ2 norm they are those of `attack.ball`.
        late: whether the time is up when a step of so many multiply-adds is due; what was met so far is returned then.
    """
    low, high, n, rate = problem.low, problem.high, x.shape[1], 0.25
    best, value = x, np.full(len(x), -np.inf)
    lower, upper = np.broadcast_to(low, x.shape), np.broadcast_to(high, x.shape)
    for step in range(steps + 1):
        if step and late(problem.soft.effort(2 * len(x))):
            break
        y, pull = evaluate(problem.soft, np.concatenate([x, seeds], 1))
        here = picked(y, entry)
        better = here > value
        best, value = np.where(better[:, None], x, best), np.where(better, here, value)
        if step == steps:
            break
        pulled = np.zeros_like(y)
        pulled[np.arange(len(x)), entry % y.shape[1]] = np.where(entry < y.shape[1], 1.0, -1.0)
        g = pull(pulled)[:, :n]
        g = np.where(np.isfinite(g), g, 0.0)
        if problem.ball is not None:
            x = problem.within(towards(problem.ball, x, -g, lower, upper, step))
            continue
        x = problem.within(x + rate * (high - low) * np.sign(g))
        rate *= 0.9
    return best
