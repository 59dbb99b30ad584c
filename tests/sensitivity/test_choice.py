"""What is split next: nothing that is decided, always a number, and of each part alone, whatever its neighbours."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import verifier
from tests.laws.general_nets import network
from tests.sensitivity.cases import Residual, layers, loaded
from verifier.bounds.renew import renew
from verifier.graph.graph import Graph
from verifier.run.model import boundable
from verifier.sensitivity.choice import choose, scores
from verifier.sensitivity.problem import Problem, Unbounded, pose
from verifier.sensitivity.regions import Parts, children
from verifier.sensitivity.search import Aim, DerivativeSearch, region

RECTIFIERS: dict[str, tuple[Any, int]] = {
    "relu": (lambda: layers(0, (3, 8, 6, 2)), 3),
    "leaky": (lambda: layers(1, (2, 6, 5, 2), lambda: nn.LeakyReLU(-0.3)), 2),
    "residual": (Residual, 4),
}
CURVED: dict[str, tuple[Any, int]] = {
    "tanh": (lambda: layers(2, (2, 5, 4, 2), nn.Tanh), 2),
    "gelu": (lambda: layers(3, (2, 4, 3, 2), nn.GELU), 2),
    "softmax": (lambda: nn.Sequential(*layers(8, (2, 4, 3)), nn.Softmax(1)), 2),
    "mixed": (lambda: nn.Sequential(layers(5, (3, 6, 5)), nn.ReLU(), nn.Linear(5, 4).double(), nn.Sigmoid()), 3),
}
NETS = RECTIFIERS | CURVED


def posed(name: str, dual: float = 1) -> Problem:
    """A network's problem, one input of which is fixed."""
    make, n = NETS[name]
    rng = np.random.default_rng(n)
    x = rng.uniform(-0.5, 0.5, n)
    low, high = x - 0.6, x + 0.6
    if n > 2:
        low[1] = high[1]
    graph = boundable(loaded(make(), n))
    return pose(graph, verifier.Box(low, high), np.eye(graph.nodes[graph.outputs[0]].size), dual)


@np.errstate(all="ignore")
def bounded(P: Problem, s: Parts) -> tuple[Parts, np.ndarray]:
    """Parts with fresh bounds, and their scores."""
    known = renew(P.plan, region(s), P.goals[s.goal, 1][:, None])
    lower, upper = np.maximum(s.lower, known.lower), np.minimum(s.upper, known.upper)
    s = Parts(s.goal, s.bound, lower, upper, s.sign, s.low, s.high, s.pick, s.depth)
    return s, scores(P, s, known.a, known.lines)


def grown(P: Problem, rounds: int, rng: np.random.Generator) -> list[tuple[Parts, np.ndarray]]:
    """Parts of several depths with their scores, split at random where they can be."""
    s, found = DerivativeSearch(P, Aim(P.goals[:, 0]))._whole(np.arange(len(P.goals))), []
    for _ in range(rounds):
        s, score = bounded(P, s)
        found.append((s, score))
        able = [np.flatnonzero(row >= 0) for row in score]
        s.pick[:] = [rng.choice(at) if len(at) else -1 for at in able]
        s = children(s.take(np.flatnonzero(s.pick >= 0)))
        s = s.take(rng.permutation(len(s))[:60])
        if not len(s):
            break
    return found


def test_the_largest_is_chosen() -> None:
    score = np.array([[0.0, 3.0, -1.0], [-1.0, -1.0, -1.0], [-1.0, 0.0, -1.0], [2.0, 2.0, 1e300]])
    assert choose(score).tolist() == [1, -1, 1, 2]


@pytest.mark.parametrize("dual", [1, 2, np.inf])
@pytest.mark.parametrize("name", NETS)
def test_nothing_decided_and_finite(name: str, dual: float) -> None:
    """Of rows only signs that are open, of inputs only those that vary; no score is infinite or no number."""
    P = posed(name, dual)
    N, seen = len(P.F.z), 0
    for s, score in grown(P, 6, np.random.default_rng(1)):
        assert score.shape == (len(s), N + s.low.shape[1])
        assert np.isfinite(score).all()
        open_ = P.kinks & (s.lower < 0) & (s.upper > 0)
        assert (score[:, :N][~open_] < 0).all(), "decided, or no sign"
        assert (score[:, :N][s.sign != 0] < 0).all(), "split before"
        assert (score[:, :N][open_] >= 0).all(), "an open sign can always be split"
        assert (score[:, N:][s.low == s.high] < 0).all(), "an input that is fixed"
        pick = choose(score)
        assert ((pick == -1) == (score < 0).all(1)).all()
        if name in RECTIFIERS:
            assert (pick < N).all(), "signs decide everything"
            assert ((pick >= 0) == open_.any(1)).all()
        else:
            seen += int((pick >= N).sum())
    assert name in RECTIFIERS or dual == np.inf or seen, "no input was ever chosen"


@pytest.mark.parametrize("dual", [1, np.inf])
@pytest.mark.parametrize("name", NETS)
def test_a_permuted_batch(name: str, dual: float) -> None:
    """Permuting the parts permutes the choice; a part alone is split as it is in company."""
    P, rng = posed(name, dual), np.random.default_rng(2)
    for s, _ in grown(P, 5, rng):
        s, score = bounded(P, s)
        order = rng.permutation(len(s))
        ties = np.sort(score, 1)[:, -2:]
        clear = ties[:, 1] > ties[:, 0] + 1e-9 * abs(ties[:, 1])
        for at in (order, order[:1]):
            _, other = bounded(P, s.take(at))
            assert other == pytest.approx(score[at], rel=1e-7, abs=1e-9 * score.max())
            assert (choose(other) == choose(score)[at])[clear[at]].all()


@pytest.mark.parametrize("seed", range(12))
def test_random_networks(seed: int) -> None:
    """Products, softmaxes, poles and kinks of every kind: still finite, still nothing decided."""
    rng = np.random.default_rng(seed)
    graph, lower, upper = network(rng, jumps=False)
    assert isinstance(graph, Graph)
    try:
        P = pose(graph, verifier.Box(lower, upper), np.eye(graph.nodes[graph.outputs[0]].size), 1)
    except Unbounded:
        return
    for s, score in grown(P, 4, rng):
        assert np.isfinite(score).all()
        decided = ~P.kinks | (s.lower >= 0) | (s.upper <= 0)
        assert (score[:, : len(P.F.z)][decided] < 0).all()
        assert (score[:, len(P.F.z) :][s.low == s.high] < 0).all()


@pytest.mark.parametrize("behind", [True, False])
def test_what_matters_comes_first(behind: bool) -> None:
    """Of two neurons that are equally undecided, the one with the larger weight, be it behind or before it."""
    module = layers(0, (1, 2, 1))
    for first in (0, 1):
        weights = torch.tensor([1.0, 0.01] if first == 0 else [0.01, 1.0])
        with torch.no_grad():
            module[0].weight[:, 0] = 1.0 if behind else weights
            module[0].bias[:] = 0.1 * module[0].weight[:, 0]
            module[2].weight[0] = weights if behind else 1.0
        P = pose(boundable(loaded(module, 1)), verifier.Box([-1.0], [1.0]), np.ones((1, 1)), 1)
        _, score = bounded(P, DerivativeSearch(P, Aim(P.goals[:, 0]))._whole(np.arange(1)))
        (part,) = (part for part, _ in P.F.parts if P.kinks[part].any())
        assert int(choose(score)[0]) - part.start == first


def bump(w: list[float], extra: int = 0) -> nn.Sequential:
    """`tanh(w·x + 0.2) − tanh(w·x − 0.3)`, whose derivative has both signs; and neurons that read nothing."""
    module = nn.Sequential(nn.Linear(len(w), 2 + extra), nn.Tanh(), nn.Linear(2 + extra, 1)).double()
    with torch.no_grad():
        module[0].weight[:2], module[0].bias[:2] = torch.tensor(w).double(), torch.tensor([0.2, -0.3]).double()
        module[0].weight[2:], module[0].bias[2:] = 0.0, 0.0
        module[2].weight[:] = torch.tensor([[1.0, -1.0] + [0.5] * extra]).double()
    return module


def test_inputs_in_proportion() -> None:
    """They are charged by what they contribute to the width of what a curve reads."""
    radius = np.array([1.0, 0.2, 2.0])
    graph = boundable(loaded(bump([0.1, 1.0, 0.3]), 3))
    P = pose(graph, verifier.Box(-radius, radius), np.ones((1, 1)), 1)
    _, score = bounded(P, DerivativeSearch(P, Aim(P.goals[:, 0]))._whole(np.arange(1)))
    inputs = score[0, len(P.F.z) :][:3]
    assert inputs / inputs.max() == pytest.approx(np.array([0.1, 0.2, 0.6]) / 0.6, rel=1e-6)
    assert choose(score)[0] == len(P.F.z) + 2


@np.errstate(all="ignore")
def test_what_does_not_vary_at_all() -> None:
    """Nothing that comes of bounds that meet reaches the scores."""
    P = posed("softmax")
    for s, _ in grown(P, 2, np.random.default_rng(0)):
        s.lower[:, ::2] = s.upper[:, ::2]
        s.low[:, ::2] = s.high[:, ::2]
        known = renew(P.plan, region(s), P.goals[s.goal, 1][:, None])
        assert np.isfinite(scores(P, s, known.a, known.lines)).all()


def test_the_input_behind_a_curve() -> None:
    """What a curve loses is charged to the inputs behind it, in proportion to what they contribute."""
    module = nn.Sequential(nn.Linear(3, 1), nn.Tanh()).double()
    with torch.no_grad():
        module[0].weight[:], module[0].bias[:] = torch.tensor([[0.1, 1.0, 0.3]]), 0.2
    P = pose(boundable(loaded(module, 3)), verifier.Box([-1.0] * 3, [1.0] * 3), np.ones((1, 1)), 1)
    _, score = bounded(P, DerivativeSearch(P, Aim(P.goals[:, 0]))._whole(np.arange(1)))
    assert choose(score)[0] == len(P.F.z) + 1
    inputs = score[0, len(P.F.z) :][:3]
    assert inputs / inputs.max() == pytest.approx([0.1, 1.0, 0.3], rel=1e-6)


@pytest.mark.parametrize("norm", [(np.inf, np.inf), (1, np.inf)])
def test_derivatives_of_known_sign(norm: tuple[float, float]) -> None:
    """`tanh(x) + tanh(2x − 2)` rises everywhere; where it is steepest only splitting x tells."""
    module = nn.Sequential(nn.Linear(1, 2), nn.Tanh(), nn.Linear(2, 1)).double()
    with torch.no_grad():
        module[0].weight[:], module[0].bias[:] = torch.tensor([[1.0], [2.0]]), torch.tensor([0.0, -2.0])
        module[2].weight[:] = 1.0
    found = verifier.lipschitz(loaded(module, 1), verifier.Box([-1.0], [2.0]), norm, timeout=10)
    x = np.linspace(-1, 2, 100001)
    true = (1 / np.cosh(x) ** 2 + 2 / np.cosh(2 * x - 2) ** 2).max()
    assert found.settled
    assert found.upper == pytest.approx(true, rel=2e-4)
