"""Constants from lp to lq for every pair: at the exact value where one is known, above every sample elsewhere."""

from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import verifier
from tests.sensitivity.cases import Residual, convolutional, inside, jacobians, layers, loaded
from verifier.run.asked import ask, lengthened
from verifier.run.everywhere import slopes_anywhere
from verifier.run.model import boundable
from verifier.sensitivity.baselines import chain
from verifier.sensitivity.pairs import dual, joined, steepest

INF = float("inf")
EXACT = ((INF, 1.0), (2.0, 1.0), (INF, 2.0), (1.0, 2.0), (1.0, 3.0), (1.5, 1.0), (INF, 1.5), (2.0, 2.0), (1.0, 1.0))
OTHER = ((2.0, 1.5), (1.5, 2.0), (3.0, 3.0), (2.0, 4.0))


def norm(J: np.ndarray, p: float, q: float) -> float:
    """Of a matrix from lp to lq: exactly where convexity leaves finitely many vectors, else from many starts, below."""
    m, n = J.shape
    if p == 1:
        return float(np.linalg.norm(J, q, axis=0).max())
    if q == INF:
        return float(np.linalg.norm(J, dual(p), axis=1).max())
    if p == INF:
        return max(float(np.linalg.norm(J @ np.array(s), q)) for s in product((1.0, -1.0), repeat=n))
    if q == 1:
        return max(float(np.linalg.norm(np.array(t) @ J, dual(p))) for t in product((1.0, -1.0), repeat=m))
    if p == q == 2:
        return float(np.linalg.norm(J, 2))
    d = np.random.default_rng(0).normal(size=(4000, n))
    return float((np.linalg.norm(d @ J.T, q, axis=1) / np.linalg.norm(d, p, axis=1)).max())


def pieces(module: nn.Module, region: verifier.Box, count: int = 4000) -> np.ndarray:
    """The Jacobians of all linear pieces of a tiny rectifier network that many points of a set meet, each once."""
    x = inside(region, count, np.random.default_rng(1))
    every = jacobians(module, x)
    return every[np.unique(np.round(every, 9), axis=0, return_index=True)[1]]


@pytest.mark.parametrize("pair", EXACT)
@pytest.mark.parametrize("seed", range(2))
def test_exact(pair: tuple[float, float], seed: int) -> None:
    """On tiny rectifier networks the bounds meet at the largest norm over the linear pieces."""
    module = layers(seed, (2, 4, 3))
    region = verifier.Box([-0.6, -0.2], [0.5, 0.7])
    found = verifier.lipschitz(loaded(module, 2), region, pair, timeout=30)
    want = max(norm(J, *pair) for J in pieces(module, region, 500))
    assert found.settled, found
    assert found.norm == pair
    assert found.upper >= want * (1 - 1e-12)
    assert found.upper == pytest.approx(want, rel=2e-3)  # a sliver of a piece may have been missed
    assert found.lower <= found.upper


@pytest.mark.parametrize("pair", EXACT + OTHER)
@pytest.mark.parametrize(
    ("make", "n"),
    [
        (lambda: layers(3, (3, 5, 4)), 3),
        (lambda: layers(2, (2, 5, 3), nn.Tanh), 2),
        (Residual, 4),
        (lambda: convolutional(1, True), 16),
    ],
    ids=["relu", "tanh", "residual", "pool"],
)
def test_above_samples(make: Any, n: int, pair: tuple[float, float]) -> None:
    """Quotients and derivatives lie below the upper bound, the lower bound below what the derivative is somewhere."""
    module, rng = make(), np.random.default_rng(5)
    x = rng.uniform(-1, 1, n)
    p, q = pair
    for region in (verifier.Box(x - 0.2, x + 0.3), *([verifier.Ball(x, 0.3, p)] if p in (1, 2) else [])):
        found = verifier.lipschitz(loaded(module, n), region, pair, timeout=0.3, tolerance=1e-3)
        assert 0 < found.lower <= found.upper < INF
        points = inside(region, 20, rng)
        every = jacobians(module, points)
        small = every if n <= 4 or pair not in ((INF, 2.0), (INF, 1.5)) else every[:0]  # 2^16 corners take long
        for J in small:
            assert norm(J, p, q) <= found.upper * (1 + 1e-12)
        assert (np.linalg.norm(every, dual(p), axis=2) <= found.uppers * (1 + 1e-12)).all()
        assert (found.lowers <= found.uppers).all() and (found.uppers <= found.upper).all()
        with torch.no_grad():
            y = module(torch.tensor(points)).numpy()
        rise = np.linalg.norm(y[1:] - y[:-1], q, axis=1)
        assert (rise <= found.upper * np.linalg.norm(points[1:] - points[:-1], p, axis=1) * (1 + 1e-9)).all()
        if n <= 4 and pair in EXACT:  # (at a kink the derivative that is computed may be another than is bounded)
            (J,) = jacobians(module, found.point[None])
            assert found.lower <= norm(J, p, q) * (1 + 1e-12) or found.lower <= max(norm(J, p, q) for J in every) + 1e-9


@pytest.mark.parametrize("pair", EXACT + OTHER)
def test_each_output_is_bounded_whatever_the_norm(pair: tuple[float, float]) -> None:
    """With `each` every output's bounds meet at its own constant."""
    module, region = layers(4, (2, 4, 3)), verifier.Box([-0.6, -0.2], [0.5, 0.7])
    found = verifier.lipschitz(loaded(module, 2), region, pair, timeout=30, each=True)
    want = np.linalg.norm(pieces(module, region, 500), dual(pair[0]), axis=2).max(0)
    np.testing.assert_allclose(found.uppers, want, rtol=2e-3)
    assert (found.uppers >= want * (1 - 1e-12)).all()
    assert (found.lowers <= found.uppers).all()


@pytest.mark.parametrize("seed", range(20))
def test_directions_give_lower_bounds(seed: int) -> None:
    """Of an affine network what a good direction gives is below the norm, and near it."""
    rng = np.random.default_rng(seed)
    p, q = rng.choice([1.25, 1.5, 2.0, 3.0, 7.0], 2)
    W = rng.normal(size=(3, 4))
    module = nn.Linear(4, 3).double()
    module.weight.data[:] = torch.tensor(W)
    net, box = loaded(module, 4), verifier.Box([-1] * 4, [1] * 4)
    problem = ask(boundable(net), box, (p, q), None, None, "net", 1e-3, False).search(lambda *_: None).problem
    got, near = steepest(problem, np.zeros(4), p, q), norm(W, p, q)
    assert got >= 0.95 * near
    d = rng.normal(size=(20000, 4))
    assert got <= joined(np.linalg.norm(W, dual(p), axis=1), q)
    assert got >= 0.95 * (np.linalg.norm(d @ W.T, q, axis=1) / np.linalg.norm(d, p, axis=1)).max()


def test_longer_in_another_norm() -> None:
    """No vector is longer than said, and one is as long."""
    rng = np.random.default_rng(0)
    for a, b in product((1.0, 1.5, 2.0, 4.0, INF), repeat=2):
        most = lengthened(5, a, b)
        x = np.concatenate([rng.normal(size=(200, 5)), np.eye(5), np.ones((1, 5))])
        ratio = np.linalg.norm(x, a, axis=1) / np.linalg.norm(x, b, axis=1)
        assert ratio.max() <= most * (1 + 1e-15)
        assert ratio.max() == pytest.approx(most)


@pytest.mark.parametrize(
    ("pair", "activation"),
    [
        ((INF, INF), nn.ReLU),
        ((2.0, 2.0), nn.Tanh),
        ((1.0, 1.0), lambda: nn.LeakyReLU(0.1)),
        ((INF, 1.0), nn.GELU),
        ((2.0, 1.0), nn.ReLU),
        ((INF, 2.0), nn.Tanh),
        ((1.0, 2.0), nn.GELU),
        ((3.0, 1.5), nn.ReLU),
    ],
)
def test_everywhere(pair: tuple[float, float], activation: Any) -> None:
    """The constant of all inputs: above derivatives and quotients far and near, not below what is met."""
    module, rng = layers(6, (3, 6, 3), activation), np.random.default_rng(7)
    found = verifier.lipschitz(loaded(module, 3), None, pair, timeout=20)
    p, q = pair
    assert 0 < found.lower <= found.upper < INF
    assert "all inputs" in found.why and "met by gradient search" in found.why
    for reach in (0.1, 1.0, 50.0):
        x = rng.normal(size=(20, 3)) * reach
        every = jacobians(module, x)
        assert max(norm(J, p, q) for J in every) <= found.upper * (1 + 1e-12)
        assert (np.linalg.norm(every, dual(p), axis=2).max(0) <= found.uppers * (1 + 1e-12)).all()
        with torch.no_grad():
            y = module(torch.tensor(x)).numpy()
        rise = np.linalg.norm(y[1:] - y[:-1], q, axis=1)
        assert (rise <= found.upper * np.linalg.norm(x[1:] - x[:-1], p, axis=1) * (1 + 1e-9)).all()
    near = verifier.lipschitz(loaded(module, 3), verifier.Box([-1] * 3, [1] * 3), pair, timeout=1)
    assert near.lower <= found.upper


def test_everywhere_takes_the_best() -> None:
    """Of each kind of bound there is a network for which it is the best; a network that is no chain has the product."""
    same = nn.Sequential(nn.Linear(2, 2), nn.ReLU(), nn.Linear(2, 2)).double()
    same[0].weight.data[:] = torch.tensor([[1.0, -1.0], [0.5, 1.0]])
    same[2].weight.data[:] = torch.tensor([[1.0, 1.5], [1.0, -1.0]])
    assert "semidefinite" in verifier.lipschitz(loaded(same, 2), None, 2, timeout=20).why
    one = nn.Sequential(nn.Linear(2, 1), nn.ReLU(), nn.Linear(1, 2)).double()
    assert "interval" in verifier.lipschitz(loaded(one, 2), None, (2.0, 1.5), timeout=20).why
    assert "product" in verifier.lipschitz(loaded(Residual(), 4), None, INF, timeout=5).why


@pytest.mark.parametrize("activation", [nn.ReLU, nn.Tanh, nn.SELU, nn.GELU])
def test_slopes_anywhere(activation: Any) -> None:
    """Every Jacobian, wherever, lies in the matrix of intervals."""
    module = layers(8, (3, 5, 4, 2), activation)
    low, up = slopes_anywhere(chain(boundable(loaded(module, 3))))
    every = jacobians(module, np.random.default_rng(0).normal(size=(200, 3)) * 3)
    assert (low <= every).all() and (every <= up).all()


def test_jumps_have_no_constant_anywhere() -> None:
    """Refused, as on a set."""

    class Jump(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sign(x) + x

    with pytest.raises(verifier.UserError):
        verifier.lipschitz(loaded(Jump(), 2), None, timeout=5)
