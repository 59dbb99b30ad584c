"""Gradient search for large derivatives stays in the set, and what it says of its points is so."""

from __future__ import annotations

from math import inf
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import verifier
from tests.sensitivity.cases import Residual, convolutional, inside, jacobians, layers, loaded
from verifier.run.model import boundable
from verifier.sensitivity.attack import climb
from verifier.sensitivity.problem import Problem, pose
from verifier.values import ball as balls

NETS: dict[str, tuple[Any, int]] = {
    "relu": (lambda: layers(0, (3, 6, 5, 2)), 3),
    "leaky": (lambda: layers(1, (2, 5, 4, 2), lambda: nn.LeakyReLU(0.1)), 2),
    "tanh": (lambda: layers(2, (2, 5, 3), nn.Tanh), 2),
    "gelu": (lambda: layers(3, (2, 4, 2), nn.GELU), 2),
    "conv": (lambda: convolutional(0), 16),
    "residual": (Residual, 4),
}
SETS = ("box", "thin", "l1", "l2")


def posed(name: str, kind: str, dual: float, along: bool = False) -> tuple[Problem, nn.Module, np.ndarray]:
    """A problem with random seeds, its network, and points of its set."""
    make, n = NETS[name]
    module, rng = make(), np.random.default_rng([SETS.index(kind), n])
    x, graph = rng.uniform(-1, 1, n), boundable(loaded(module, n))
    low, high = x - rng.uniform(0.1, 0.8, n), x + rng.uniform(0.1, 0.8, n)
    if kind == "thin":
        high[::2] = low[::2]
    ball = verifier.Ball(x, 0.5, int(kind[1])) if kind[0] == "l" else None
    box = ball.box() if ball else verifier.Box(low, high)
    inner = verifier.Box(*(np.nextafter(x + s * 0.5, x) for s in (-1, 1))) if ball else box
    m = graph.nodes[graph.outputs[0]].size
    problem = pose(graph, box, rng.normal(size=(3, n if along else m)), dual, ball, along, inner=inner)
    points = problem.within(inside(ball or box, 24, rng))
    return problem, module, points


def measured(problem: Problem, J: np.ndarray, seed: np.ndarray, entry: int, along: bool) -> float:
    """What is maximised, from the Jacobian `[m, n]` at a point."""
    row = J @ seed if along else seed @ J
    if problem.dual == inf:
        return float(np.concatenate([row, -row])[entry])
    return float((abs(row) ** problem.dual).sum())


@pytest.mark.parametrize("dual,along", [(1, False), (2, False), (inf, False), (1, True)])
@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("name", NETS)
def test_points_of_the_set_with_these_values(name: str, kind: str, dual: float, along: bool) -> None:
    """In the set; as large as an independent derivative says there; no smaller than where it began."""
    problem, module, x = posed(name, kind, dual, along)
    rng = np.random.default_rng(0)
    goal = problem.goals[rng.integers(0, len(problem.goals), len(x))]
    seeds, entry = problem.seeds[goal[:, 0]], goal[:, 1]
    found = climb(problem, x, seeds, entry, 8)
    assert found.shape == x.shape
    assert (problem.low <= found).all() and (found <= problem.high).all()
    assert problem.ball is None or all(balls.holds(problem.ball, v) for v in found)
    value = problem.evaluate(found, seeds, entry)
    for J, seed, e, v in zip(jacobians(module, found), seeds, entry, value, strict=True):
        assert v == pytest.approx(measured(problem, J, seed, e, along), rel=1e-9, abs=1e-12)
    assert (value >= problem.evaluate(x, seeds, entry)).all()


@pytest.mark.parametrize("kind", ["box", "l2"])
def test_the_best_of_the_way(kind: str) -> None:
    """More steps never end lower, and no step leaves the points where they are."""
    problem, _, x = posed("tanh", kind, 1)
    seeds, entry = problem.seeds[np.arange(len(x)) % 3], np.zeros(len(x), int)
    before = -np.inf
    for steps in (0, 1, 2, 5, 12):
        found = climb(problem, x, seeds, entry, steps)
        value = problem.evaluate(found, seeds, entry)
        assert (value >= before).all()
        before = value
        if not steps:
            assert np.array_equal(found, x)


@pytest.mark.parametrize("kind", ["box", "l1", "l2"])
def test_it_climbs(kind: str) -> None:
    """`tanh` is steepest at zero: found from anywhere, to within what the last step is long."""
    module = nn.Sequential(nn.Linear(2, 1, bias=False), nn.Tanh())
    with torch.no_grad():
        module[0].weight[:] = torch.tensor([[1.0, 0.5]])
    graph = boundable(loaded(module.double(), 2))
    ball = None if kind == "box" else verifier.Ball(np.array([0.5, 0.3]), 1.2, int(kind[1]))
    box = ball.box() if ball else verifier.Box([-1.0, -1.0], [2.0, 1.5])
    for dual, top in ((1, 1.5), (inf, 1.0)):
        problem = pose(graph, box, np.ones((1, 1)), dual, ball)
        x = problem.within(inside(ball or box, 12, np.random.default_rng(1)))
        entry = np.zeros(12, int)
        seeds = np.ones((12, 1))
        value = problem.evaluate(climb(problem, x, seeds, entry, 20), seeds, entry)
        assert (value >= 0.97 * top).all()
        assert problem.evaluate(x, seeds, entry).min() < 0.5 * top


def test_uphill_through_a_gate() -> None:
    """The derivative is constant where the search begins: only the ramp says where to go."""
    module = nn.Sequential(nn.Linear(1, 1), nn.LeakyReLU(0.1)).double()
    with torch.no_grad():
        module[0].weight[:], module[0].bias[:] = 3.0, -1.5
    problem = pose(boundable(loaded(module, 1)), verifier.Box([0.0], [1.0]), np.ones((1, 1)), 1)
    x, seeds, entry = np.array([[0.3], [0.45]]), np.ones((2, 1)), np.zeros(2, int)
    assert problem.evaluate(x, seeds, entry) == pytest.approx(0.3)
    assert problem.evaluate(climb(problem, x, seeds, entry, 3), seeds, entry) == pytest.approx(3.0)


def test_points_of_the_inner_box() -> None:
    """Where the box is a hull that is rounded outward, points lie in the box within it."""
    module, c, eps = layers(2, (3, 5, 3), nn.Tanh), np.array([0.1, -0.3, 0.7]), 0.2
    low, high = (np.nextafter(c + s * eps, c) for s in (-1, 1))
    graph, box = boundable(loaded(module, 3)), verifier.Ball(c, eps).box()
    problem = pose(graph, box, np.eye(3), 1, inner=verifier.Box(low, high))
    x = problem.within(inside(box, 30, np.random.default_rng(0)))
    found = climb(problem, x, np.eye(3)[np.arange(30) % 3], np.zeros(30, int), 8)
    assert (low <= found).all() and (found <= high).all()
