"""Steps of a gradient search inside a ball of the ℓ1 or ℓ2 norm.

Source: Frank and Wolfe, *An algorithm for quadratic programming*, 1956: a step goes part of the way to the point of the
set where the gradient is least, so that the search never leaves the set and needs no projection.
"""

from __future__ import annotations

import numpy as np

from verifier.values.box import Ball


def towards(
    ball: Ball, x: np.ndarray, gradient: np.ndarray, lower: np.ndarray, upper: np.ndarray, step: int
) -> np.ndarray:
    """The points `[P, n]` after step number `step`; the first one goes all the way.

    Args:
        gradient: `[P, n]`.  lower, upper: `[P, n]` the boxes that the ball is cut to.
    """
    goal = _least(ball, gradient, lower, upper)
    return x + (goal - x) * (2.0 / (step + 2))


def _least(ball: Ball, g: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Where `g·x` is least in the ball and the box, `[P, n]`; for the ℓ2 norm about."""
    c = ball.center
    if ball.norm == 2:
        size = np.linalg.norm(g, axis=1, keepdims=True)
        return np.clip(c - ball.eps * g / np.maximum(size, 1e-300), lower, upper)
    room = np.maximum(np.where(g > 0, c - lower, upper - c), 0.0)
    order = np.argsort(-abs(g), axis=1)
    sorted_room = np.take_along_axis(room, order, 1)
    before = np.cumsum(sorted_room, 1) - sorted_room
    moved = np.empty_like(room)
    np.put_along_axis(moved, order, np.clip(ball.eps - before, 0.0, sorted_room), 1)
    return c - np.sign(g) * moved
