"""Norms of matrices from ℓp to ℓq where no formula gives them: from above by rows, from below by directions."""

from __future__ import annotations

from dataclasses import replace
from math import inf

import numpy as np

from verifier.bounds.propagate import nothing
from verifier.sensitivity.problem import Problem
from verifier.values.rounding import gamma

STEPS = 20


def joined(uppers: np.ndarray, q: float) -> float:
    """At least the constant to ℓq, from those `[K]` of single functionals.

    Sound because: `|(J·d)_i| <= uppers[i]·‖d‖`, and the ℓq norm grows with every magnitude.  Rounded up: a power of
    a number in [0, 1] errs by a few units, which the root of the sum makes no larger.
    """
    top = float(uppers.max(initial=0.0))
    if not 0 < top < inf or q == inf:
        return top
    total = float(((uppers / top) ** q).sum()) ** (1 / q)
    return float(np.nextafter(top * total * (1 + gamma(len(uppers) + 64, "float64")), inf))


def steepest(problem: Problem, x: np.ndarray, p: float, q: float) -> float:
    """A lower bound of the constant from ℓp to ℓq near a point `[n]`; 0 where nothing is certain.

    Args:
        problem: of functionals, measured in the dual of p.

    Sound because: for any u, `‖uᵀJ‖ <= ‖J‖·‖u‖`, in the dual of p on the left and of q on the right, and the left side
    is bounded below with rounding (`Problem.certain`), for every row that `uᵀ·rows` may have been rounded from.
    """
    (J,) = problem.derivatives(x[None])
    if not np.isfinite(J).all() or not J.any():
        return 0.0
    best, most = None, 0.0
    for start in np.concatenate([np.eye(len(J)), np.linalg.svd(J, full_matrices=False)[0].T[:1]]):
        u = start
        for _ in range(STEPS):  # Boyd's power iteration
            d = _aligned(u @ J, dual(p))
            y = J @ d
            u = _aligned(y, q)
        value = float(np.linalg.norm(y, q))
        if value > most:
            best, most = u, value
    if best is None:
        return 0.0
    seeds, problem = problem.seeds, replace(problem, net=replace(problem.net, tick=nothing))  # one point, late or not
    off = gamma(len(seeds) + 4, "float64") * (abs(best) @ abs(seeds))
    sure = problem.norm(np.array([problem.certain(x, best @ seeds, 0, off)]), False)[0]
    size = float(np.linalg.norm(best, dual(q))) * (1 + gamma(4 * len(best) + 64, "float64"))
    return float(sure / size * (1 - 4 * gamma(1, "float64"))) if sure > 0 else 0.0


def dual(p: float) -> float:
    """The exponent r with 1/p + 1/r = 1."""
    return inf if p == 1 else 1.0 if p == inf else p / (p - 1)


def _aligned(y: np.ndarray, q: float) -> np.ndarray:
    """Of the vectors of length 1 in the dual of q, one whose product with y is `‖y‖_q`."""
    size = float(abs(y).max())
    if size == 0:
        return y
    y = y / size
    if q == inf:
        return np.where(np.arange(len(y)) == abs(y).argmax(), np.sign(y), 0.0)
    z = np.sign(y) * abs(y) ** (q - 1)
    return z / float(np.linalg.norm(z, dual(q)))
