"""Whether a point is in a ball is decided exactly: a counterexample outside is none."""

from __future__ import annotations

import numpy as np
import pytest

from verifier.values.ball import holds
from verifier.values.box import Ball

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
