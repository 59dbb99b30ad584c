"""Whether a point is in a ball is decided exactly, and what is clipped by a ball keeps all of it."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verifier.values.ball import Ball, clip, holds

AWAY = {1.0: [0.25, -0.5, 0.25, 0.0], 2.0: [0.0, 3 / 4, -1.0, 0.0], np.inf: [0.5, -1.0, 1.0, 0.0]}
EPS = {1.0: 1.0, 2.0: 1.25, np.inf: 1.0}


@pytest.mark.parametrize("norm", AWAY)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_edge_belongs_to_it(norm: float, sign: int) -> None:
    """A point whose distance is exactly eps is inside; with any entry one double further away it is not."""
    ball = Ball(np.array([2.0, -1.0, 0.5, 3.0]), EPS[norm], norm)
    x = ball.center + sign * np.array(AWAY[norm])
    assert holds(ball, x) and holds(ball, ball.center)
    away = np.flatnonzero(np.array(AWAY[norm])) if norm != np.inf else [1, 2]
    for i in away:
        further, nearer = x.copy(), x.copy()
        outside = np.copysign(np.inf, x[i] - ball.center[i])
        further[i], nearer[i] = np.nextafter(x[i], outside), np.nextafter(x[i], -outside)
        assert not holds(ball, further) and holds(ball, nearer)


@pytest.mark.parametrize("norm", AWAY)
def test_one_far_entry_is_enough(norm: float) -> None:
    """All others at the centre do not help."""
    ball = Ball(np.zeros(3), 1.0, norm)
    for i in range(3):
        for far in (1.5, -1.5):
            assert not holds(ball, np.where(np.arange(3) == i, far, 0.0))


def _touching(rng: np.random.Generator, norm: float, n: int, eps: float, far: float) -> tuple[Ball, Any, Any]:
    """Boxes about as far from the centre as the ball reaches: some touch it, some hold the centre, some are beyond."""
    ball = Ball(rng.normal(size=n) * far * eps, eps, norm)
    away = abs(rng.normal(size=(60, n))) * (rng.random((60, n)) < rng.choice([0.3, 1.0], (60, 1)))
    away[:, 0] += 1e-3
    with np.errstate(under="ignore"):
        share = rng.choice([0.5, 1 - 1e-15, 1.0, 1 + 2e-15, 1 + 1e-12, 1 + 1e-6], (60, 1))
        away *= eps * share / np.linalg.norm(away, norm, axis=1, keepdims=True)
    wide = away + eps * rng.random((60, n))
    below = np.where(away > 0, away, -eps * rng.random((60, n)))
    side = rng.choice([-1, 1], (60, n))
    ends = ball.center + side * below, ball.center + side * wide
    return ball, np.minimum(*ends), np.maximum(*ends)


def _left(ball: Ball, lower: Any, upper: Any) -> tuple[list[Fraction], Fraction]:
    """Exactly: how far each entry may be from the centre, to the power of the norm, and how much is left of eps."""
    p = int(ball.norm)
    ends = zip(lower.tolist(), upper.tolist(), ball.center.tolist(), strict=True)
    spent = [max(Fraction(l) - Fraction(c), Fraction(c) - Fraction(u), Fraction(0)) ** p for l, u, c in ends]
    left = Fraction(float(ball.eps)) ** p - sum(spent, Fraction(0))
    return [left + s for s in spent], left


@pytest.mark.parametrize("norm", [1.0, 2.0])
@pytest.mark.parametrize(
    "eps, far", [(1.0, 0.0), (0.3, 1.0), (1.7e-3, 1e7), (1e150, 0.5), (1e-150, 0.5), (3e-320, 0.5)]
)
def test_what_a_ball_leaves_of_boxes(norm: float, eps: float, far: float) -> None:
    """By rational arithmetic: no point of the ball is lost, no box that it meets; and not much more is kept."""
    rng, empties, met = np.random.default_rng(int(norm)), 0, 0
    for n in (1, 2, 5, 16):
        ball, lower, upper = _touching(rng, norm, n, eps, far)
        low, high, empty = clip(ball, lower, upper)
        for k in range(len(lower)):
            room, left = _left(ball, lower[k], upper[k])
            if empty[k]:
                assert left < 0 and (low[k] == lower[k]).all() and (high[k] == upper[k]).all()
                empties += 1
                continue
            assert left >= -Fraction(1, 10**8) * Fraction(eps) ** int(norm) * (1 + Fraction(int(far))) ** 2
            for i in range(n):
                c, most = Fraction(float(ball.center[i])), max(room[i], Fraction(0))
                for end, old, sign in ((high[k, i], upper[k, i], 1), (low[k, i], lower[k, i], -1)):
                    assert sign * end <= sign * old and low[k, i] <= high[k, i]
                    reach = sign * (Fraction(float(end)) - c)
                    if end != old and left >= 0:
                        met += 1
                        assert reach >= 0 and reach ** int(norm) >= most
                    if end != old:
                        assert float(reach) <= float(most) ** (1 / norm) + 1e-6 * eps + 1e-14 * abs(float(c)) + 1e-307
    assert empties > 20 and (met > 100 or eps < 1e-300)
