"""Where a value or a derivative may be infinite, or is no number, nothing is proved."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import verifier
from tests.sensitivity.cases import inside, jacobians, layers, loaded, operator_norm
from verifier.cli.app import run
from verifier.graph.graph import Builder, Input
from verifier.graph.ops.adjoint import Constant
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.moves import Concat, Take
from verifier.graph.ops.relu import Relu
from verifier.run.asked import ask
from verifier.run.model import boundable
from verifier.search.budget import Budget
from verifier.sensitivity.problem import pose
from verifier.sensitivity.search import Aim, DerivativeSearch
from verifier.sensitivity.spectral import Spectral, around, middle

INF = float("inf")


class Root(nn.Module):
    """A root behind a rectifier: its derivative grows without bound where the rectifier shuts."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.a, self.b = nn.Linear(2, 3).double(), nn.Linear(3, 2).double()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Affine, rectified, root, affine."""
        return self.b(torch.sqrt(torch.relu(self.a(x))))


class Reciprocal(nn.Module):
    """A pole at -3."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """One over."""
        return 1 / (x + 3.0)


class Towers(nn.Module):
    """Overflows well within the numbers there are."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Twice exp."""
        return torch.exp(torch.exp(x))


CASES: dict[str, tuple[Any, verifier.Box]] = {
    "root": (Root, verifier.Box([-1, -1], [1, 1])),
    "pole": (Reciprocal, verifier.Box([-4, 0], [-2, 1])),
    "overflow": (Towers, verifier.Box([5, 0], [8, 1])),
}


@pytest.mark.parametrize("norm", [(INF, INF), (2.0, 2.0), (1.0, 1.0), (1.0, INF)])
@pytest.mark.parametrize("name", CASES)
def test_no_finite_upper_bound(name: str, norm: tuple[float, float]) -> None:
    """The constant is infinite, and nothing is settled."""
    make, box = CASES[name]
    found = verifier.lipschitz(loaded(make(), 2), box, norm, timeout=2)
    assert found.upper == INF and not found.settled and 0 <= found.lower < INF
    assert "may be infinite on the set" in found.why


@pytest.mark.parametrize("name", CASES)
def test_no_direction_and_no_entry(name: str) -> None:
    """Nothing is said of signs, and entries have no bounds."""
    make, box = CASES[name]
    net = loaded(make(), 2)
    assert verifier.monotone(net, box, 0, timeout=2).direction in ("unknown", "neither")
    lower, upper = verifier.jacobian(net, box)
    assert lower.shape == upper.shape == (2, 2)
    assert (upper == INF).any() and (lower == -INF).any()


def test_away_from_the_pole() -> None:
    """The same networks have constants where they are smooth."""
    found = verifier.lipschitz(loaded(Reciprocal(), 2), verifier.Box([-2, 0], [-1, 1]), tolerance=1e-3, timeout=10)
    assert found.settled and found.upper == pytest.approx(1.0, rel=2e-3)


def test_nan_closes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Parts whose bounds are no numbers stay open: the upper bound does not fall to what was met."""
    module = layers(7, (3, 8, 6, 2))
    graph = boundable(loaded(module, 3))
    asked = ask(graph, verifier.Box([-1] * 3, [1] * 3), INF, None, None, "net", 1e-4, False)
    search = asked.search(lambda *_: None)
    search.root()
    start, kept = search.upper.max(), DerivativeSearch._value

    def spoiled(self: DerivativeSearch, s: Any) -> Any:
        s = kept(self, s)
        s.lower[:, 0] = np.nan
        return s

    monkeypatch.setattr(DerivativeSearch, "_value", spoiled)
    search.run(Budget.seconds(0.2))
    J = jacobians(module, inside(verifier.Box([-1] * 3, [1] * 3), 300, np.random.default_rng(0)))
    assert max(operator_norm(j, INF, INF) for j in J) <= search.upper.max() <= start


def test_memory_lost_and_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where a batch does not fit, it is split again in smaller ones: no part is lost."""
    net = loaded(layers(7, (3, 8, 6, 2)), 3)
    box = verifier.Box([-1] * 3, [1] * 3)
    told, kept, calls = verifier.lipschitz(net, box, timeout=20), DerivativeSearch.expand, []

    def tight(self: DerivativeSearch, s: Any, budget: Budget) -> Any:
        calls.append(len(s))
        if len(s) > 2:
            raise MemoryError
        return kept(self, s, budget)

    monkeypatch.setattr(DerivativeSearch, "expand", tight)
    found = verifier.lipschitz(net, box, timeout=20)
    assert found.settled and found.upper == pytest.approx(told.upper, rel=1e-4)
    monkeypatch.setattr(DerivativeSearch, "expand", lambda *_: (_ for _ in ()).throw(MemoryError))
    found = verifier.lipschitz(net, box, timeout=20)
    assert not found.settled and told.upper <= found.upper < INF and found.lower > 0 and "memory" in found.why


def test_directions_and_jacobians_without_memory(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was known before holds; where nothing was, nothing is said, in Python as on the command line."""
    net, box = loaded(layers(7, (3, 8, 6, 2)), 3), verifier.Box([-1] * 3, [1] * 3)
    told, direction = verifier.jacobian(net, box), verifier.monotone(net, box, 0, timeout=20)

    def full(*_: Any, **__: Any) -> Any:
        raise MemoryError

    for stage, known in (("run", True), ("root", False), ("__init__", False)):
        with monkeypatch.context() as m:
            m.setattr(DerivativeSearch, stage, full)
            low, high = verifier.jacobian(net, box, timeout=5)
            assert (low <= told[0]).all() and (told[1] <= high).all() and np.isfinite(low).all() == known
            found = verifier.monotone(net, box, 0, timeout=5)
            assert found.direction in ("unknown", direction.direction) and found.stats["stopped"] == "out of memory"
            assert np.isfinite([found.lower, found.upper]).all() == known
            asked = ["models/pendulum.onnx", "--input", "0,0", "--eps", "0.5", "--timeout", "1e6"]
            assert run(["monotone", *asked, "--input-index", "1"]) == 0
            out, err = capsys.readouterr()
            assert (known or out.startswith("unknown\n")) and "out of memory" in err and "Traceback" not in err


MOVED = {
    "behind constants": lambda b, x: b.add(Concat(0), [b.add(Constant(np.ones(3)), [x]), x]),
    "turned around": lambda b, x: b.add(Take(np.array([2, 0, 1]), (3,)), [x]),
    "twice": lambda b, x: b.add(Concat(0), [b.add(Take(np.array([1, 2]), (2,)), [x]), x]),
}


@pytest.mark.parametrize("kind", MOVED)
def test_entries_of_the_matrix_are_where_they_belong(kind: str) -> None:
    """Whatever moves lie between the input and the first weights, each entry's bounds are its own."""
    b, rng = Builder(), np.random.default_rng(0)
    source = b.add(Input((3,)))
    joined = MOVED[kind](b, source)
    hidden = b.add(Relu(), [b.add(Dense(rng.normal(size=(4, b.nodes[joined].size)), None), [joined])])
    graph = b.graph([source], [b.add(Dense(rng.normal(size=(3, 4)), None), [hidden])])
    problem = pose(graph, verifier.Box([-1] * 3, [1] * 3), np.eye(3), 2)
    (square,) = [f for f in problem.F.layers if (np.asarray(problem.F.rows.H)[:, f.units] != 0).any()]
    rows = np.asarray(square.take.index).reshape(-1)  # one an entry, in order: none is decided
    assert problem.F.entry[rows].tolist() == [0, 1, 2]
    search = Spectral(problem, Aim(np.zeros(1, int), 1e-3))
    search.run(Budget.seconds(5))
    x = rng.uniform(-1, 1, (300, 3))
    true = np.linalg.norm(problem.derivatives(x), 2, axis=(1, 2)).max()
    assert true <= problem.norm(search.upper, True)[0] <= 1.5 * true


def test_fixed_inputs_count_alike() -> None:
    """Derivatives by inputs that do not vary count in every norm."""
    module, box = layers(3, (3, 6, 2)), verifier.Box([-0.3, 0.1, -0.2], [0.4, 0.1, 0.2])
    J = jacobians(module, inside(box, 300, np.random.default_rng(0)))
    only = J[:, :, 1:2]
    for norm in ((INF, INF), (1.0, 1.0), (2.0, 2.0)):
        found = verifier.lipschitz(loaded(module, 3), box, norm, tolerance=1e-3)
        assert max(operator_norm(j, *norm) for j in J) <= found.upper
        assert max(operator_norm(j, *norm) for j in only) <= found.upper


@pytest.mark.parametrize("scale", [1e-300, 1e-170, 1e-160])
def test_norms_of_matrices_too_small_to_square(scale: float) -> None:
    """Squares that underflow do not make a norm smaller than it is."""
    A = scale * np.random.default_rng(0).uniform(0.5, 1, (1, 3, 4))
    true = np.linalg.norm(A[0] / scale, 2) * scale
    assert middle(A)[0] >= true and around(A)[0] >= true


def test_norms_are_rounded_to_the_safe_side() -> None:
    """Roots of what is bounded: up for upper bounds, down for lower ones, in exact numbers."""
    problem = pose(boundable(loaded(layers(3, (2, 3, 2)), 2)), verifier.Box([-1, -1], [1, 1]), np.eye(2), 2)
    values = np.random.default_rng(0).uniform(0, 10, 200)
    for value, up, down in zip(values, problem.norm(values, True), problem.norm(values, False), strict=True):
        assert Fraction(float(down)) ** 2 < Fraction(float(value)) < Fraction(float(up)) ** 2


def test_only_points_of_the_ball_count() -> None:
    """A point of the box that the ball leaves out proves nothing of the ball."""
    module = layers(3, (2, 3, 2))
    ball = verifier.Ball([0, 0], 1.0, 2)
    problem = pose(boundable(loaded(module, 2)), ball.box(), np.eye(2), 1, ball)
    assert problem.certain(np.array([0.9, 0.9]), np.eye(2)[0], 0) == -INF
    assert problem.certain(np.array([0.5, 0.5]), np.eye(2)[0], 0) > 0


def test_matrices_of_numbers_are_bounded_by_their_norm() -> None:
    """Where all entries are known the bound of the matrix is its norm, neither less nor much more."""
    module = layers(4, (3, 6, 4))
    problem = pose(boundable(loaded(module, 3)), verifier.Box([-1] * 3, [1] * 3), np.eye(4), 2)
    search = Spectral(problem, Aim(np.zeros(1, int), 1e-3))
    J = jacobians(module, inside(verifier.Box([-1] * 3, [1] * 3), 20, np.random.default_rng(0)))
    rows = np.zeros((20 * 4, len(problem.F.z)))
    (square,) = [f for f in problem.F.layers if (np.asarray(problem.F.rows.H)[:, f.units] != 0).any()]
    rows[:, np.asarray(square.take.index).reshape(-1)] = J.reshape(-1, 3)
    found, true = search._matrix(rows, rows, 20), np.linalg.norm(J, 2, axis=(1, 2))
    assert (found >= true).all() and found == pytest.approx(true, rel=1e-9)
