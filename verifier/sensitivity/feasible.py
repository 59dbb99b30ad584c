"""Whether splits leave anything of a set: clipping, multipliers, and a linear program where nothing else tells."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifier.search.clipping.relaxed import clip
from verifier.values.rounding import gamma

LOST = 1e-150
"""More than what the root of a sum of squares loses where squares are too small to be represented."""
STEPS = 20
"""Multiplicative steps for the multipliers."""


@dataclass(frozen=True, eq=False)
class Round:
    """A ball of the ℓ1 or ℓ2 norm about some of the inputs that vary: `at` `[k']`, `center` `[k']`."""

    at: np.ndarray
    center: np.ndarray
    eps: float
    norm: float

    def least(self, o: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The least values `[B]` of `o·x` (o `[B, k]`, zero off the ball's inputs), and where they are attained."""
        o, size = o[:, self.at], abs(o[:, self.at])
        if self.norm == 2:
            norm = np.sqrt((o * o).sum(1)) + LOST
            away = -o / norm[:, None]
        else:
            norm, most = size.max(1), size.argmax(1)
            away = np.where(np.arange(o.shape[1]) == most[:, None], -np.sign(o), 0.0)
        return o @ self.center - self.eps * norm, self.center + self.eps * away


Balls = tuple[Round, ...]
"""Of a set that boxes are cut to; no two about one input."""


def shrink(
    low: np.ndarray, high: np.ndarray, A: np.ndarray, b: np.ndarray, use: np.ndarray, balls: Balls = ()
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes `[B, k]` clipped by half-spaces `A·x + b <= 0`, and which of them `[B]` are empty for certain.

    Args:
        A: `[B, S, k]`, b: `[B, S]`; use: `[B, S]` which of them hold.
        balls: what the boxes are cut to.

    Sound because: clipping is (`search.clipping.relaxed`), and where a non-negative sum of functions that are `<= 0` on
    a set is positive on all of the box (or of the balls), the set is empty.  It is evaluated once, with its rounding
    taken off.
    """
    at = np.flatnonzero(use.any(0))
    A, b, use = A[:, at], b[:, at], use[:, at]
    low, high = clip(low, high, A, b, use)
    empty = np.asarray((low > high).any(1))
    several = np.flatnonzero(~empty & (use.sum(1) > (0 if balls else 1)))
    if len(several):
        some = low[several], high[several], A[several], b[several]
        for shape in ((), balls) if balls else ((),):
            weight, _ = multipliers(*some, use[several], shape)
            empty[several] |= positive(*some, weight, shape)
    return low, high, empty


def multipliers(
    low: np.ndarray,
    high: np.ndarray,
    A: np.ndarray,
    b: np.ndarray,
    use: np.ndarray,
    balls: Balls = (),
    steps: int = STEPS,
) -> tuple[np.ndarray, np.ndarray]:
    """Weights `[B, S]` of half-spaces that make the least of their sum over the box (or the balls) large.

    By mirror steps on the simplex; the best over all steps are returned, and the mean `[B, k]` of the points where the
    sums are least, which comes near to satisfying the half-spaces if anything does.
    """
    center, radius = 0.5 * low + 0.5 * high, 0.5 * (high - low)
    reach = np.einsum("bsk,bk->bs", abs(A), radius) + 1e-300
    G, h = A / reach[..., None], np.where(use, b / reach, 0.0)
    weight = use / np.maximum(use.sum(1, keepdims=True), 1)
    best, value = weight, np.full(len(low), -np.inf)
    log, mean = np.zeros_like(h), center * 0
    for t in range(steps):
        o = (weight[:, None] @ G)[:, 0]
        x = center - np.sign(o) * radius
        for ball in balls:
            x[:, ball.at] = ball.least(o)[1]
        least = (o * x).sum(1) + (weight * h).sum(1)
        better = least > value
        value, best = np.where(better, least, value), np.where(better[:, None], weight, best)
        mean = mean + x / steps
        log = log + (3.0 / (1 + 0.2 * t)) * ((G @ x[..., None])[..., 0] + h)
        log = np.where(use, log - np.where(use, log, -np.inf).max(1, keepdims=True), -np.inf)
        weight = np.exp(np.maximum(log, -700.0)) * use
        weight = weight / np.maximum(weight.sum(1, keepdims=True), 1e-300)
    return best / reach, mean


def positive(
    low: np.ndarray, high: np.ndarray, A: np.ndarray, b: np.ndarray, weight: np.ndarray, balls: Balls = ()
) -> np.ndarray:
    """`[B]` whether the weighted sum of `A·x + b` is positive on all of the box (or of the balls), for certain.

    What no ball is about is in the box.
    """
    S, k = A.shape[1:]
    o, c = (weight[:, None] @ A)[:, 0], (weight * b).sum(1)
    reach = np.maximum(abs(low), abs(high))
    for ball in balls:  # each may reach beyond a clipped box
        reach[:, ball.at] = abs(ball.center) + ball.eps
    size = ((weight[:, None] @ abs(A))[:, 0] * reach).sum(1) + (weight * abs(b)).sum(1)
    least = np.minimum(o * low, o * high)
    for ball in balls:
        least[:, ball.at] = 0.0
    least = np.concatenate([least, *(ball.least(o)[0][:, None] for ball in balls)], 1)
    return np.asarray(least.sum(1) + c - 2 * gamma(2 * S + 3 * k + 20, "float64") * size > 0)


def inside(
    low: np.ndarray, high: np.ndarray, A: np.ndarray, b: np.ndarray
) -> tuple[np.ndarray | None, float, np.ndarray]:
    """The point of one box `[k]` farthest inside the half-spaces `A·x + b <= 0`, by a linear program.

    Returns: the point (None where the solver gives none), how far inside it is in terms of what each function varies by
    (negative: there is none, as far as the solver can tell), and the multipliers `[S]` that say so.
    """
    from scipy.optimize import linprog

    center, radius = 0.5 * low + 0.5 * high, 0.5 * (high - low)
    size = abs(A) @ radius + 1e-300
    G = np.concatenate([A * radius / size[:, None], np.ones((len(A), 1))], 1)
    h = -(A @ center + b) / size
    ends = [(-1.0, 1.0)] * len(center) + [(None, 1.0)]
    found = linprog(np.r_[np.zeros(len(center)), -1.0], A_ub=G, b_ub=h, bounds=ends, method="highs")
    if found.x is None:
        return None, -np.inf, np.zeros(len(A))
    price = np.maximum(-found.ineqlin.marginals, 0.0) / size
    return center + radius * found.x[:-1], float(found.x[-1]), price
