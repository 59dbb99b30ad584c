"""Directions, witnesses and bounds of single derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import verifier
from tests.sensitivity.cases import inside, jacobians, layers, loaded


@pytest.mark.parametrize("seed", range(6))
def test_direction(seed: int) -> None:
    """What is said of the direction is what samples show; witnesses have the sign they are named for."""
    module = layers(seed, (3, 6, 5, 2))
    net, box = loaded(module, 3), verifier.Box([-0.6] * 3, [0.5] * 3)
    J = jacobians(module, inside(box, 400, np.random.default_rng(seed)))
    for i in range(3):
        found = verifier.monotone(net, box, i, 1, timeout=20)
        low, high = J[:, 1, i].min(), J[:, 1, i].max()
        assert found.lower - 1e-9 <= low and high <= found.upper + 1e-9 or found.direction == "neither"
        assert found.direction != "unknown"
        if found.direction in ("increasing", "constant"):
            assert low >= -1e-9
        if found.direction in ("decreasing", "constant"):
            assert high <= 1e-9
        if low < -1e-6 and high > 1e-6:
            assert found.direction == "neither"
        for point, sign in ((found.rising, 1), (found.falling, -1)):
            if point is not None:
                assert (box.lower <= point).all() and (point <= box.upper).all()
                assert jacobians(module, point[None])[0, 1, i] * sign > 0


def test_by_construction() -> None:
    """Weights that are not negative make a network that never falls, dead neurons or not."""
    module = layers(3, (2, 8, 8, 1))
    with torch.no_grad():
        for layer in module[::2]:
            layer.weight.abs_()
    net, box = loaded(module, 2), verifier.Box([-2] * 2, [2] * 2)
    assert verifier.monotone(net, box, 0).direction == "increasing"
    assert verifier.monotone(net, box, 1, [-1.0]).direction == "decreasing"


def test_jacobian_bounds() -> None:
    """They enclose samples, and time narrows them."""
    module = layers(8, (3, 8, 6, 2))
    net, ball = loaded(module, 3), verifier.Ball([0.1] * 3, 0.4)
    first, then = verifier.jacobian(net, ball), verifier.jacobian(net, ball, timeout=2)
    J = jacobians(module, inside(verifier.Box([-0.3] * 3, [0.5] * 3), 200, np.random.default_rng(0)))
    for lower, upper in (first, then):
        assert (lower <= J.min(0) + 1e-12).all() and (J.max(0) <= upper + 1e-12).all()
    assert (then[0] >= first[0]).all() and (then[1] <= first[1]).all()
    assert (then[1] - then[0]).sum() < 0.9 * (first[1] - first[0]).sum()


def test_refusals() -> None:
    """One clear line."""
    net = loaded(layers(1, (2, 3, 1)), 2)
    with pytest.raises(verifier.UserError, match="the inputs 0 to 1"):
        verifier.monotone(net, verifier.Ball([0, 0], 1.0), 2)
    with pytest.raises(verifier.UserError, match="the outputs 0 to 0"):
        verifier.monotone(net, verifier.Ball([0, 0], 1.0), 0, 1)
