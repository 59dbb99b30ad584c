"""Modules whose roots, logarithms and quotients have no value somewhere: read, and bounded where `where` chooses."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import verifier
from verifier.values.errors import ModelError

from .test_from_torch import Of

KEEP = torch.tensor([True, False, True])
FAR = torch.tensor([2.0, -9.0, 2.0])
"""Added to [-1, 2]: above zero, below, above."""

ROOTS: dict[str, Callable[[Tensor], Tensor]] = {
    "a root or nothing": lambda x: torch.where(x > 0, torch.sqrt(x), 0),
    "a root or the number": lambda x: torch.where(x > 0.5, 2 * torch.sqrt(x + 0.1) - x, x),
    "the other side": lambda x: torch.where(x <= 0, -x, x**0.5),
    "both sides": lambda x: torch.where(x > 0, torch.sqrt(x), torch.sqrt(-x)),
    "a choice in a choice": lambda x: torch.where(x > 0, torch.where(x > 1, torch.sqrt(x), x), torch.sqrt(-x)),
    "a root of a root": lambda x: torch.where(x > 0, torch.sqrt(torch.sqrt(x) + 1), 0),
    "a root times the number": lambda x: torch.where(x > 0, x * torch.sqrt(x), 0),
    "filled": lambda x: torch.sqrt(x).masked_fill(x <= 0, 0.0),
    "a constant choice": lambda x: torch.where(KEEP, torch.sqrt(x + FAR), x),
    "filled by a constant mask": lambda x: torch.sqrt(x + FAR).masked_fill(~KEEP, 1.0),
    "left out": lambda x: torch.sqrt(x + FAR)[:, [0, 2]],
}


def test_roots_that_are_chosen_are_bounded() -> None:
    module = Of(lambda x: torch.cat([f(x) for f in ROOTS.values()], 1))  # tracing costs more than what is traced
    lower, upper = verifier.bound(verifier.load(module, torch.ones(2, 3)), verifier.Box([-1.0] * 3, [2.0] * 3))
    y = module(torch.from_numpy(np.random.default_rng(0).uniform(-1, 2, (500, 3)))).numpy()
    assert np.isfinite(y).all() and (lower <= y).all() and (y <= upper).all()
    assert (upper - lower < 6).all()


@pytest.mark.parametrize("function", [torch.log, lambda x: x.rsqrt() @ torch.ones(3, 1)])
def test_a_module_that_has_values_near_its_example_only_is_read(function: Any) -> None:
    model = verifier.load(Of(function), torch.full((1, 3), 1.5))
    assert model.chunk is None  # any batch
    lower, upper = verifier.bound(model, verifier.Box([1.0] * 3, [2.0] * 3))
    y = function(torch.linspace(1, 2, 9)[:, None].expand(9, 3)).numpy()
    assert (lower <= y + 1e-5).all() and (y <= upper + 1e-5).all() and (upper - lower < 4).all()


MADE: dict[str, Callable[[Tensor], Tensor]] = {
    "a comparison": lambda x: (torch.where(x > -1, torch.sqrt(x), 0) < 0.5).to(x.dtype),
    "a choice": lambda x: torch.where(torch.where(x > -1, torch.sqrt(x), 0) < 0.5, x, x + 3),
    "entries in other places": lambda x: (torch.where(x < 0, torch.sqrt(-x.flip(1) - 0.5), 0) < 0.5).to(x.dtype),
    "the other side": lambda x: (torch.where(x > 0, 0, torch.sqrt(x)) < 0.5).to(x.dtype),
    "the wrong side of a sum": lambda x: (torch.where(x + 1 > 0, torch.sqrt(x + 0.5), 0) < 0.9).to(x.dtype),
}
"""What is made of a root that is chosen where it has no value."""


@pytest.mark.filterwarnings("ignore")  # TorchScript has been deprecated
@pytest.mark.parametrize("name", MADE)
def test_numbers_made_of_a_chosen_root_without_a_value_are_bounded(name: str) -> None:
    """A comparison with what is no number is false: bounds hold for that, too, or say nothing."""
    module, file = Of(MADE[name]), io.BytesIO()
    torch.onnx.export(module, (torch.full((1, 3), 1.5),), file, dynamo=False, opset_version=18)
    y = module(torch.from_numpy(np.random.default_rng(0).uniform(-0.9, -0.1, (100, 3)))).numpy()
    assert np.isfinite(y).all()
    lower, upper = verifier.bound(verifier.load(file.getvalue()), verifier.Box([-0.9] * 3, [-0.1] * 3))
    assert (lower <= y).all() and (y <= upper).all()


def test_a_root_that_its_condition_gives_a_value_is_compared() -> None:
    module = Of(lambda x: torch.relu(torch.where(x > 0.5, torch.sqrt(x - 0.25), -x) - 0.1))
    lower, upper = verifier.bound(verifier.load(module, torch.ones(1, 3)), verifier.Box([-1.0] * 3, [2.0] * 3))
    y = module(torch.linspace(-1, 2, 99)[:, None].expand(99, 3)).numpy()
    assert (lower <= y).all() and (y <= upper + 1e-6).all() and (upper - lower < 5).all()


def test_an_example_without_a_value_is_refused() -> None:
    with pytest.raises(ModelError, match="not finite numbers; give an example where they are$"):
        verifier.load(Of(torch.log), torch.tensor([[1.0, -1.0, 1.0]]))
