"""Local Lipschitz constants: above every sample, at the exact value where there is one, never looser with time."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import verifier
from tests.sensitivity.cases import SHARED, Residual, convolutional, inside, jacobians, layers, loaded, operator_norm
from verifier.run.asked import ask
from verifier.run.model import boundable
from verifier.search.budget import Budget
from verifier.sensitivity.baselines.mixed_integer import lipmip
from verifier.sensitivity.baselines.recurjac import recurjac

INF = float("inf")
NORMS = ((INF, INF), (2.0, 2.0), (1.0, 1.0), (1.0, INF), (2.0, INF))
NETS: dict[str, tuple[Any, int]] = {
    "relu": (lambda: layers(0, (3, 6, 5, 2)), 3),
    "leaky": (lambda: layers(1, (2, 5, 4, 2), lambda: nn.LeakyReLU(0.1)), 2),
    "tanh": (lambda: layers(2, (2, 5, 3), nn.Tanh), 2),
    "gelu": (lambda: layers(3, (2, 4, 2), nn.GELU), 2),
    "softplus": (lambda: layers(4, (3, 4, 2), nn.Softplus), 3),
    "silu": (lambda: layers(5, (2, 4, 2), nn.SiLU), 2),
    "elu": (lambda: layers(6, (2, 4, 2), nn.SELU), 2),
    "affine": (lambda: layers(7, (3, 2)), 3),
    "conv": (lambda: convolutional(0), 16),
    "pool": (lambda: convolutional(1, pool=True), 16),
    "residual": (Residual, 4),
    "softmax": (lambda: nn.Sequential(*layers(8, (2, 4, 3)), nn.Softmax(1)), 2),
}


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("name", NETS)
def test_above_samples_and_below_what_is_met(name: str, norm: tuple[float, float]) -> None:
    """Derivatives and quotients at sampled points are below the upper bound; the lower one is attained."""
    make, n = NETS[name]
    module, rng = make(), np.random.default_rng(3)
    x = rng.uniform(-1, 1, n)
    for region in (verifier.Ball(x, 0.3, norm[0]), verifier.Box(x - 0.2, x + 0.3)):
        found = verifier.lipschitz(loaded(module, n), region, norm, timeout=0.8, tolerance=1e-3)
        assert 0 <= found.lower <= found.upper < INF
        points = inside(region, 60, rng)
        for J in jacobians(module, points):
            assert operator_norm(J, *norm) <= found.upper + 1e-12
        with torch.no_grad():
            y = module(torch.tensor(points)).numpy()
        rise = np.linalg.norm(y[1:] - y[:-1], norm[1], axis=1)
        assert (rise <= found.upper * np.linalg.norm(points[1:] - points[:-1], norm[0], axis=1) * (1 + 1e-9)).all()
        (J,) = jacobians(module, found.point[None])
        assert operator_norm(J, *norm) >= found.lower - 1e-12
        assert isinstance(region, verifier.Ball) or (region.lower <= found.point).all()
        away = found.point - x
        assert not isinstance(region, verifier.Ball) or np.linalg.norm(away, region.norm) <= region.eps * (1 + 1e-12)


@pytest.mark.parametrize("seed", range(8))
def test_exact_on_small_rectifier_networks(seed: int) -> None:
    """The constant is what mixed-integer programming finds, for each functional."""
    rng = np.random.default_rng(seed)
    sizes = (int(rng.integers(1, 4)), int(rng.integers(2, 7)), int(rng.integers(2, 6)), int(rng.integers(1, 4)))
    module = layers(seed + 20, sizes)
    net, x = loaded(module, sizes[0]), rng.uniform(-1, 1, sizes[0])
    eps = float(rng.choice([0.1, 0.4, 1.0]))
    low, high = x - eps, x + eps
    for p in (INF, 1.0):
        exact = lipmip(boundable(net), low, high, p)[0]  # attained; the solver's bound is a little above
        found = verifier.lipschitz(net, verifier.Box(low, high), (p, INF), each=True, timeout=20, tolerance=1e-6)
        assert found.settled
        assert found.uppers is not None and found.lowers is not None
        assert (found.uppers >= exact - 1e-8).all()
        assert found.uppers == pytest.approx(exact, rel=2e-6, abs=1e-7)
        assert found.lowers == pytest.approx(exact, rel=2e-6, abs=1e-7)


@pytest.mark.parametrize("norm", NORMS)
def test_more_time_never_loosens(norm: tuple[float, float]) -> None:
    """Step by step, the upper bound falls and the lower one rises."""
    net = loaded(layers(11, (3, 10, 8, 3)), 3)
    asked = ask(boundable(net), verifier.Box([-1] * 3, [1] * 3), norm, None, None, "net", 0.0, False)
    search = asked.search(lambda *_: None)
    search.root()
    upper, lower = search.upper.copy(), search.lower.copy()
    for _ in range(12):
        search.run(Budget.seconds(0.02))
        assert (search.upper <= upper).all() and (search.lower >= lower).all()
        assert (search.lower.max() <= search.upper.max() * (1 + 1e-9)).all()
        upper, lower = search.upper.copy(), search.lower.copy()


def test_functionals() -> None:
    """Margins are differences; a matrix is what it says; single outputs are rows of all."""
    module = layers(9, (3, 6, 4))
    net, box = loaded(module, 3), verifier.Box([-0.2] * 3, [0.3] * 3)
    everything = verifier.lipschitz(net, box, each=True)
    assert everything.uppers is not None
    assert verifier.lipschitz(net, box, outputs=2).upper == pytest.approx(everything.uppers[2], rel=1e-3)
    margins = verifier.lipschitz(net, box, margins=1, each=True)
    C = [[-1, 1, 0, 0], [0, 1, -1, 0], [0, 1, 0, -1]]
    assert (margins.functionals == C).all()
    same = verifier.lipschitz(net, box, outputs=C, each=True)
    assert margins.uppers == pytest.approx(same.uppers, rel=1e-3)
    for J in jacobians(module, inside(box, 50, np.random.default_rng(0))):
        assert (abs(np.array(C) @ J).sum(1) <= margins.uppers + 1e-12).all()


def test_dead_and_degenerate() -> None:
    """Nothing moves where nothing can; a point has the norm of its derivative."""
    module = layers(12, (2, 3, 2))
    with torch.no_grad():
        module[0].bias -= 100.0
    assert verifier.lipschitz(loaded(module, 2), verifier.Ball([0, 0], 1.0)).upper <= 1e-9
    module = layers(13, (2, 5, 2))
    found = verifier.lipschitz(loaded(module, 2), verifier.Box([0.3, -0.4], [0.3, -0.4]))
    (J,) = jacobians(module, np.array([[0.3, -0.4]]))
    assert found.upper == pytest.approx(operator_norm(J, INF, INF), rel=1e-9)
    assert found.lower == pytest.approx(found.upper, rel=1e-9)


def test_no_time() -> None:
    """What is known at once is a bound, too."""
    module = layers(14, (3, 8, 8, 2))
    found = verifier.lipschitz(loaded(module, 3), verifier.Ball([0] * 3, 1.0), timeout=0)
    for J in jacobians(module, inside(verifier.Box([-1] * 3, [1] * 3), 50, np.random.default_rng(0))):
        assert operator_norm(J, INF, INF) <= found.upper


@pytest.mark.parametrize(
    ("how", "says"),
    [
        ({"norm": (0.5, 2)}, "norms are numbers from 1 to inf"),
        ({"outputs": 5}, "the outputs 0 to 1"),
        ({"margins": -3}, "the outputs 0 to 1"),
        ({"outputs": [[1.0, 2.0, 3.0]]}, "needs 2 columns"),
        ({"tolerance": -1.0}, "not negative"),
    ],
)
def test_refusals(how: dict[str, Any], says: str) -> None:
    """One clear line."""
    net = loaded(layers(15, (2, 3, 2)), 2)
    with pytest.raises(verifier.UserError, match=says.replace("(", r"\(").replace(")", r"\)")):
        verifier.lipschitz(net, verifier.Ball([0, 0], 1.0), **how)
    with pytest.raises(verifier.UserError, match="give as many"):
        verifier.lipschitz(net, verifier.Ball([0], 1.0))


def test_jumps_are_refused() -> None:
    """A network that jumps on the set has no Lipschitz constant there."""

    class Jump(nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.sign(x) + x

    net = loaded(Jump(), 2)
    with pytest.raises(verifier.UserError, match="no Lipschitz constant"):
        verifier.lipschitz(net, verifier.Ball([0, 0], 1.0))
    assert verifier.lipschitz(net, verifier.Ball([3, -3], 1.0)).upper == pytest.approx(1.0)  # no jump there


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared is not there")
@pytest.mark.parametrize(
    ("case", "eps"), [("fc_2_16_16_2", "0.2"), ("fc_2_16_16_2", "0.5"), ("fc_10_50_50_10", "0.05")]
)
def test_reference_cases(case: str, eps: str) -> None:
    """The constant that mixed-integer programming proved, and no root looser than the peer's."""
    data, told = np.load(SHARED / f"{case}.npz"), json.loads((SHARED / f"{case}.json").read_text())["eps"][eps]
    module = layers(0, tuple(int(v) for v in case.split("_")[1:]))
    module.load_state_dict({k: torch.tensor(data[k], dtype=torch.float64) for k in data.files if k != "x0"})
    x = data["x0"].reshape(-1).astype(np.float64)
    net, box = loaded(module, len(x)), verifier.Box(x - float(eps), x + float(eps))
    search = ask(boundable(net), box, INF, None, None, case, 1e-4, False).search(lambda *_: None)
    search.root()
    assert (search.upper <= np.array(told["crown"]["per_output"]) * (1 + 1e-6)).all()
    found = verifier.lipschitz(net, box, timeout=30)
    exact = told["exact_milp"]["linf_lipschitz"]
    assert found.upper >= exact - 1e-8
    assert found.upper == pytest.approx(exact, rel=1e-4)
    assert found.lower == pytest.approx(exact, rel=1e-4)


@pytest.mark.parametrize("seed", range(6))
def test_recurjac_is_never_tighter(seed: int) -> None:
    """Intervals in the place of planes lose, and hold."""
    module = layers(seed + 40, (3, 8, 8, 8, 3))
    graph, box = boundable(loaded(module, 3)), verifier.Box([-0.3] * 3, [0.4] * 3)
    search = ask(graph, box, INF, None, None, "net", 1e-4, False).search(lambda *_: None)
    search.root()
    theirs = recurjac(graph, box, np.eye(3))
    assert (theirs >= search.upper * (1 - 1e-9)).all()
    assert (theirs > search.upper * 1.001).any()


@pytest.mark.skipif(not SHARED.is_dir(), reason="../shared is not there")
@pytest.mark.parametrize("eps", ["0.05", "0.2", "0.5"])
def test_recurjac_as_others_compute_it(eps: str) -> None:
    """It is the peer's."""
    case = "fc_2_16_16_2"
    data, told = np.load(SHARED / f"{case}.npz"), json.loads((SHARED / f"{case}.json").read_text())["eps"][eps]
    module = layers(0, (2, 16, 16, 2))
    module.load_state_dict({k: torch.tensor(data[k], dtype=torch.float64) for k in data.files if k != "x0"})
    x = data["x0"].reshape(-1).astype(np.float64)
    box = verifier.Box(x - float(eps), x + float(eps))
    found = recurjac(boundable(loaded(module, 2)), box, np.eye(2))
    assert found == pytest.approx(np.array(told["recurjac_crown"]["per_output"]), rel=1e-6)
    assert found.max() >= told["exact_milp"]["linf_lipschitz"] - 1e-8


@pytest.mark.parametrize("norm", [(2.0, 2.0), (1.0, 1.0), (INF, INF)])
@pytest.mark.parametrize("scale", [0.1, 5.0])
def test_functionals_that_are_not_of_length_one(norm: tuple[float, float], scale: float) -> None:
    """Rows of any length, orthogonal or not: the lower bound is attained by these rows, not by others."""
    module, box = layers(2, (3, 6, 4)), verifier.Box([-0.5] * 3, [0.6] * 3)
    net, rng = loaded(module, 3), np.random.default_rng(1)
    J = jacobians(module, inside(box, 100, rng))
    for C in (scale * np.eye(4), scale * rng.normal(size=(2, 4)), scale * np.array([[1.0, -1, 0, 0], [1, 0, -1, 0]])):
        found = verifier.lipschitz(net, box, norm, outputs=C, timeout=5, tolerance=1e-3)
        (attained,) = jacobians(module, found.point[None])
        assert found.settled and found.lower <= found.upper
        assert found.lower <= operator_norm(C @ attained, *norm) * (1 + 1e-12)
        assert max(operator_norm(C @ j, *norm) for j in J) <= found.upper


def test_crossed_bounds_are_no_result(monkeypatch: pytest.MonkeyPatch) -> None:
    """A lower bound above the upper one stops the run."""
    monkeypatch.setattr("verifier.sensitivity.problem.Problem.certain", lambda *_: 1e3)
    with pytest.raises(verifier.UnsoundBound, match="report it"):
        verifier.lipschitz(loaded(layers(3, (2, 4, 2)), 2), verifier.Box([-1] * 2, [1] * 2), timeout=2)
