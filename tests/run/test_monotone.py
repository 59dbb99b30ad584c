"""Directions, witnesses and bounds of single derivatives."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import verifier
from tests.laws.cases import Net, chain
from tests.laws.general_nets import network
from tests.sensitivity.cases import inside, jacobians, layers, loaded
from verifier.graph.derivative import jacobian


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


@pytest.mark.parametrize("seed", range(10))
def test_against_the_extremes(seed: int) -> None:
    """One row's largest and least derivative by one input, from a grid so fine that hardly a cell is missed."""
    rng = np.random.default_rng(seed)
    graph = chain(rng, (2, 4, 3, 1), leak=float(rng.choice([0.0, 0.1, -0.5])))
    box = verifier.Box([-1.0, -0.5], [0.5, 1.0])
    axes = (np.linspace(a, b, 150) for a, b in zip(box.lower, box.upper, strict=True))
    J = jacobian(graph).evaluate(np.stack(np.meshgrid(*axes), -1).reshape(-1, 2))[0][:, 0]
    for i in range(2):
        found, low, high = verifier.monotone(Net(graph, "float64"), box, i, timeout=20), J[:, i].min(), J[:, i].max()
        says = "neither" if low < -1e-9 and high > 1e-9 else "constant" if high <= 1e-9 and low >= -1e-9 else ""
        says = says or ("increasing" if low >= -1e-9 else "decreasing")
        met = {"increasing": low >= -1e-9, "decreasing": high <= 1e-9, "constant": says == "constant", "neither": True}
        assert met[found.direction], (found.direction, low, high)
        if says != found.direction:  # a cell that the grid misses; the witness shows it
            assert found.direction == "neither"
            assert found.rising is not None and found.falling is not None
        if found.rising is not None:
            assert jacobian(graph).evaluate(found.rising[None])[0][0, 0, i] > 0
        if found.falling is not None:
            assert jacobian(graph).evaluate(found.falling[None])[0][0, 0, i] < 0


@pytest.mark.parametrize("seed", range(16))
def test_any_network(seed: int) -> None:
    """Directions, witnesses, bounds and Jacobians on boxes and balls of anything that has a derivative."""
    rng = np.random.default_rng(seed + 7)
    graph, lower, upper = network(rng, jumps=False)
    ball = verifier.Ball((lower + upper) / 2, float((upper - lower).max() / 2), int(rng.integers(1, 3)))
    region, net, i = (verifier.Box(lower, upper), ball)[seed % 2], Net(graph, "float64"), int(rng.integers(len(lower)))
    x = inside(region, 200, rng)
    with np.errstate(all="ignore"):
        J = jacobian(graph).evaluate(x)[0]
    slack = 1e-10 * (1 + abs(J).max())
    found = verifier.monotone(net, region, i, 1, timeout=0.05)
    d = J[:, 1, i]
    if found.direction == "unknown":
        assert (d >= found.lower - slack).all() and (d <= found.upper + slack).all()
    assert found.direction not in ("increasing", "constant") or (d >= -1e-9 - slack).all()
    assert found.direction not in ("decreasing", "constant") or (d <= 1e-9 + slack).all()
    for point, sign in ((found.rising, 1), (found.falling, -1)):
        if point is not None:
            assert sign * jacobian(graph).evaluate(point[None])[0][0, 1, i] > 0
            if region is ball:
                assert np.linalg.norm(point - ball.center, ball.norm) <= ball.eps * (1 + 1e-12)
            else:
                assert (point >= lower).all() and (point <= upper).all()
    first, then = verifier.jacobian(net, region), verifier.jacobian(net, region, timeout=0.05)
    for low, high in (first, then):
        assert (J >= low - slack).all() and (J <= high + slack).all()
    assert (then[0] >= first[0]).all() and (then[1] <= first[1]).all()


@pytest.mark.parametrize(
    "wrong", [(2,), (-1,), (0.0,), ("a",), (0, 1), (0, [1.0, 2.0]), (0, "a")], ids=lambda w: " ".join(map(str, w))
)
def test_refused_in_one_line(wrong: tuple[object, ...]) -> None:
    net = Net(chain(np.random.default_rng(0), (2, 3, 1)), "float64")
    with pytest.raises(verifier.UserError) as e:
        verifier.monotone(net, verifier.Box([-1, -1], [1, 1]), *wrong)
    assert str(e.value) and "\n" not in str(e.value)


def test_no_time() -> None:
    """Nothing is claimed that was not shown."""
    net = Net(chain(np.random.default_rng(1), (3, 30, 30, 2)), "float64")
    found = verifier.monotone(net, verifier.Box([-1] * 3, [1] * 3), 0, timeout=0)
    assert found.direction == "unknown" and found.lower == -np.inf and found.upper == np.inf
