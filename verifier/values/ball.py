"""What is inside a ball of the ℓ1 or ℓ2 norm: boxes clipped by it, points moved into it, the exact test."""

from __future__ import annotations

from fractions import Fraction

import numpy as np

from verifier.values.box import Ball
from verifier.values.rounding import gamma, tiny, unit

FAR = 4.0
"""Distance, where eps is between 1 and 2, that no point of a ball has."""


def holds(ball: Ball, x: np.ndarray) -> bool:
    """Whether `x` `[n]` is in the ball, exactly."""
    distances = [abs(Fraction(v) - Fraction(c)) for v, c in zip(x.tolist(), ball.center.tolist(), strict=True)]
    eps = Fraction(float(ball.eps))
    if ball.norm == 1:
        return sum(distances, Fraction(0)) <= eps
    if ball.norm == 2:
        return sum((d * d for d in distances), Fraction(0)) <= eps * eps
    return max(distances) <= eps


def into(ball: Ball, x: np.ndarray) -> np.ndarray:
    """Points `[P, n]` pulled towards the centre until they are in the ball, about."""
    away = x - ball.center
    with np.errstate(over="ignore"):
        size = np.linalg.norm(away, ball.norm, axis=1)
        return np.asarray(ball.center + away * np.minimum(1.0, ball.eps / np.maximum(size, 1e-300))[:, None])


def rounded(ball: Ball, x: np.ndarray, dtype: str) -> np.ndarray:
    """Points `[P, n]` near the ball as numbers of `dtype` inside it, where there are some.

    Each entry is rounded towards the centre, so that no distance grows; first all are shortened by what rounding in
    double precision may have made them longer.
    """
    x, n = into(ball, x), x.shape[1]
    grain = 2 * unit("float64") * n * (abs(ball.center).max() + ball.eps)
    short = 1 - 4 * gamma(n + 8, "float64") - (grain / ball.eps if ball.eps > grain else 1.0)
    x = ball.center + (x - ball.center) * max(0.0, short)
    near = x.astype(dtype)
    far = abs(near.astype(np.float64) - ball.center) > abs(x - ball.center)
    towards = np.broadcast_to(ball.center.astype(dtype), near.shape)
    return np.where(far, np.nextafter(near, towards), near).astype(np.float64)


def clip(ball: Ball, lower: np.ndarray, upper: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Boxes `[B, n]` shrunk to what the ball leaves of each entry, and which of them `[B]` the ball does not meet.

    Sound because: where the others are as near the centre as their intervals allow, `|x_i − c_i|` is at most what their
    distances leave of eps; that is raised by what rounding may have changed.  Distances count as `FAR` at most, which
    is beyond eps; less is spent that way.
    """
    scale = 2.0 ** (int(np.frexp(float(ball.eps))[1]) - 1)  # of it all: squares of large and of small numbers are none
    with np.errstate(over="ignore", under="ignore"):
        away = np.maximum(np.maximum(lower - ball.center, ball.center - upper), 0.0) / scale
        away, eps = np.minimum(away, FAR), float(ball.eps) / scale
        spent, budget = (away, eps) if ball.norm == 1 else (away * away, eps * eps)
        total = spent.sum(1, keepdims=True)
        slack = gamma(lower.shape[1] + 8, "float64") * (total + budget) * 2 + 1e-300
        room = np.maximum(budget - (total - spent) + slack, 0.0)
        empty = (budget - total + slack < 0).any(1)
        reach = (room if ball.norm == 1 else np.sqrt(room)) * (1 + 4 * unit("float64")) * scale
        reach = reach + 4 * unit("float64") * (abs(ball.center) + reach) + tiny("float64")
        low, high = np.maximum(lower, ball.center - reach), np.minimum(upper, ball.center + reach)
    empty |= (low > high).any(1)
    return np.where(empty[:, None], lower, low), np.where(empty[:, None], upper, high), empty
