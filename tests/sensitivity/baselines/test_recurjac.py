"""RecurJac's bounds of single derivatives hold, and are no tighter than ours.  (Norms: `test_search`.)"""

from __future__ import annotations

import numpy as np
import pytest
from torch import nn

import verifier
from tests.sensitivity.cases import inside, jacobians, layers, loaded
from verifier.run.model import boundable
from verifier.sensitivity.baselines.recurjac import recurjac, recurjac_entries


@pytest.mark.parametrize("leak", [0.0, 0.2])
@pytest.mark.parametrize("seed", range(5))
def test_entries(seed: int, leak: float) -> None:
    """Between what is met and intervals wider than ours; their sum is above the norm."""
    module = layers(seed, (3, 8, 8, 6, 2), lambda: nn.LeakyReLU(leak))
    rng = np.random.default_rng(seed)
    C = rng.normal(size=(3, 2))
    box = verifier.Box([-0.3, -0.1, 0.0], [0.4, 0.5, 0.6])
    net = loaded(module, 3)
    low, high = recurjac_entries(boundable(net), box, C)
    assert low.shape == high.shape == (3, 3)
    J = C @ jacobians(module, inside(box, 200, rng))
    assert (J >= low - 1e-12).all() and (J <= high + 1e-12).all()
    ours = verifier.jacobian(net, box, outputs=C)
    assert (low <= ours[0] + 1e-9).all() and (high >= ours[1] - 1e-9).all()
    assert (high - low).sum() > (ours[1] - ours[0]).sum() * 1.001
    summed = np.maximum(abs(low), abs(high)).sum(1)
    assert (recurjac(boundable(net), box, C) <= summed * (1 + 1e-9)).all()


def test_decided_networks_are_exact() -> None:
    module = layers(1, (2, 5, 2))
    box = verifier.Box([0.5, 0.2], [0.5 + 1e-9, 0.2])
    low, high = recurjac_entries(boundable(loaded(module, 2)), box, np.eye(2))
    (J,) = jacobians(module, np.array([[0.5, 0.2]]))
    assert low == pytest.approx(J, abs=1e-9)
    assert high == pytest.approx(J, abs=1e-9)
