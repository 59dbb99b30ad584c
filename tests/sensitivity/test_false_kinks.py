"""Kinks that are none: ties with padding, copies, equal sums, zeros and constants do not hide a derivative."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

import verifier

SHARED = Path(__file__).resolve().parents[3] / "shared" / "cases"
W = torch.tensor([[1.0, 2.0, -1.0, 0.5], [0.3, -1.0, 0.2, 0.7]], dtype=torch.float64)
relu, linear = torch.relu, functional.linear


def _row(x: torch.Tensor) -> torch.Tensor:
    return 3 * x.reshape(1, 1, 4)


def _image(x: torch.Tensor) -> torch.Tensor:
    return 3 * x.reshape(1, 1, 2, 2)


CASES: dict[str, tuple[Callable[[torch.Tensor], torch.Tensor], float]] = {
    "padded": (lambda x: functional.max_pool1d(_row(x), 2, 2, padding=1).flatten(1), 3.0),
    "padded corners": (lambda x: functional.max_pool2d(_image(x), 3, 1, padding=1).flatten(1), 3.0),
    "padded behind relu": (lambda x: functional.max_pool2d(relu(_image(x)), 3, 2, padding=1).flatten(1), 3.0),
    "ceil mode": (lambda x: functional.max_pool1d(_row(x), 3, 2, padding=1, ceil_mode=True).flatten(1), 3.0),
    "padded with a low number": (
        lambda x: functional.max_pool1d(functional.pad(_row(x), (1, 1), value=-1e3), 2, 2).flatten(1),
        3.0,
    ),
    "an entry with itself": (lambda x: torch.maximum(3 * x, 3 * x), 3.0),
    "an entry twice among others": (
        lambda x: torch.maximum(torch.maximum(3 * x, x - 4), torch.maximum(3 * x, x - 5)),
        3.0,
    ),
    "a least entry with itself": (lambda x: torch.minimum(3 * x, 3 * x), 3.0),
    "equal functions": (lambda x: torch.maximum(linear(x, W[:1]), linear(x, W[:1].clone())), 4.5),
    "equal sums": (lambda x: torch.maximum(2 * x + x, 4 * x - x), 3.0),
    "equal hidden layers": (
        lambda x: relu(relu(linear(x, W)) - relu(linear(x, W.clone()))) + linear(x, W),
        4.5,
    ),
    "zero times": (lambda x: relu(0 * x) + x, 1.0),
    "zero weights": (lambda x: relu(linear(x, 0 * W)) + linear(x, W), 4.5),
    "a clipped constant": (lambda x: torch.clamp(0 * x + 1, 0, 1) + x, 1.0),
    "magnitude of nothing": (lambda x: (x - x).abs() + 2 * x, 2.0),
    "equal curves": (lambda x: relu(torch.tanh(x) - torch.tanh(x)) + x, 1.0),
}


class _Function(nn.Module):
    def __init__(self, f: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.f = f

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.f(x)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("p", (1.0, 2.0, float("inf")))
def test_settled(name: str, p: float) -> None:
    """In every norm the bounds meet, at the norm of the derivative that the function has all over the set."""
    f, most = CASES[name]
    x = torch.tensor([[0.1, 0.5, 0.2, 0.7]], dtype=torch.float64)
    net = verifier.load(_Function(f), torch.zeros(1, 4, dtype=torch.float64))
    found = verifier.lipschitz(net, verifier.Ball(x.numpy(), 0.01, norm=p), norm=(p, p), timeout=20)
    J = torch.autograd.functional.jacobian(lambda v: f(v[None])[0], x[0] + torch.tensor([1e-3, 2e-3, -1e-3, 5e-4]))
    want = most if p == np.inf else float(torch.linalg.matrix_norm(J, p))
    assert found.settled
    assert found.lower <= want * (1 + 1e-12)
    assert found.lower == pytest.approx(want, rel=1e-6)
    assert found.upper == pytest.approx(want, rel=1e-3)


def test_a_kink_stays_one() -> None:
    """At a point on a kink nothing is certain but what both sides have in common."""
    net = verifier.load(_Function(lambda x: relu(x[:, :1]) + x[:, 1:]), torch.zeros(1, 2, dtype=torch.float64))
    from verifier.run.asked import ask
    from verifier.run.model import boundable

    asked = ask(boundable(net), verifier.Box([-1, -1], [1, 1]), None, None, None, "net", 1e-4, False)
    problem = asked.search(lambda *_: None).problem
    at = [problem.certain(np.array([x, 0.5]), np.ones(1), 0) for x in (-0.5, 0.0, 0.5)]
    assert at == pytest.approx([1.0, 1.0, 2.0], rel=1e-9)
    assert at[1] <= 1.0


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared folder is not here")
def test_case() -> None:
    """A padded pool from a file."""
    found = verifier.lipschitz(str(SHARED / "padded_maxpool.onnx"), verifier.Ball([0.1, 0.5], 0.01))
    assert found.settled
    assert found.lower == pytest.approx(3, rel=1e-6)
    assert found.upper == pytest.approx(3, rel=1e-6)


@pytest.mark.parametrize("broken, known", [(None, True), ([False], True), ([True], False)])
def test_where_a_value_may_be_infinite_nothing_is_walked_back(
    broken: list[bool] | None, known: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A lower bound that rests on a walk through what is not known to be finite is none."""
    net = verifier.load(_Function(lambda x: relu(0 * x) + x), torch.zeros(1, 2, dtype=torch.float64))
    from verifier.run.asked import ask
    from verifier.run.model import boundable
    from verifier.sensitivity import problem as module

    asked = ask(boundable(net), verifier.Box([-1, -1], [1, 1]), None, None, None, "net", 1e-4, False)
    problem, kept = asked.search(lambda *_: None).problem, module.propagate
    at = np.concatenate([[0.5, 0.25], np.ones(problem.seeds.shape[1])])[None]
    point = module.boxes(at, at, np.zeros(0, int), "float64")
    marks = None if broken is None else np.array(broken)
    monkeypatch.setattr(module, "propagate", lambda *a: replace(kept(*a), broken=marks))
    value = problem._walked(point, 0)
    assert np.isfinite(value) if known else value == -np.inf
