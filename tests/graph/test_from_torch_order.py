"""Import of torch modules that order entries, write into tensors, divide and round."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

import verifier

from .test_from_torch import Of, Together, agree, random


def written(x: Tensor) -> Tensor:
    y = x.clone()
    y[:, 1:3] = 0.5
    y[:, 0] = x[:, 3]
    y[:, [2]] = x[:, [1]].tanh()
    return y


def scattered(x: Tensor) -> tuple[Tensor, ...]:
    at = torch.tensor([[0, 2]]).expand(len(x), -1)
    return (
        x.scatter(1, at, x[:, 2:]), x.scatter(1, at, 7.0), torch.zeros_like(x).scatter(1, at, x[:, 2:]),
        x.index_fill(1, torch.tensor([1]), -1.0), x.gather(1, at), x.new_ones(len(x), 4) + x,
        torch.full_like(x, 2.0) * x,
    )  # fmt: skip


CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "sort": (lambda: Of(lambda x: (x.sort(-1)[0], x.sort(1, descending=True).values)), (3, 7)),
    "topk": (lambda: Of(lambda x: (x.topk(2)[0], x.topk(3, 1, largest=False)[0], x.kthvalue(2)[0])), (3, 4)),
    "median": (lambda: Of(lambda x: (x.median(-1)[0], x.median(1, keepdim=True).values)), (3, 4)),
    "argmax": (
        lambda: Of(lambda x: (x.argmax(-1).to(x.dtype), x.argmin(1, keepdim=True) * x, (x.argmax(-1) == 2) * 1.0)),
        (3, 4),
    ),
    "one_hot": (lambda: Of(lambda x: F.one_hot(x.argmax(-1), 4).to(x.dtype) * x), (4,)),
    "heaviside": (
        lambda: Of(lambda x: (torch.heaviside(x, torch.tensor(0.5).to(x)), torch.heaviside(x - x.relu(), x), x)),
        (4,),
    ),
    "products": (lambda: Of(lambda x: (x.prod(-1), x.prod(1, keepdim=True), x[:, :, :3].prod(2))), (3, 4)),
    "written": (lambda: Of(written), (4,)),
    "scattered": (lambda: Of(scattered), (4,)),
    "unfold": (
        lambda: Of(lambda x: (F.unfold(x, 2, padding=1), x.unfold(2, 2, 1), F.channel_shuffle(x, 2))),
        (4, 3, 3),
    ),
    "quotients": (
        lambda: Of(lambda x: (torch.div(x, 0.3, rounding_mode="floor"), x // 0.7, x % 1.3, torch.fmod(x, 0.9))),
        (4,),
    ),
    "blended": (
        lambda: Of(lambda x, p: (torch.addcmul(p, x, x.exp(), value=2), torch.lerp(x, x.relu(), 0.3),
                                 torch.addcdiv(x, x, 1 + x.exp()), torch.logaddexp(x, 2 * x)), random(1, 4)),
        (4,),
    ),
    "defined": (
        lambda: Of(lambda x: (x.isnan() * x + x, torch.isfinite(x) * x, x.nan_to_num(), x.isinf() * 1.0)),
        (4,),
    ),
    "any": (lambda: Of(lambda x: ((x > 0).any(-1).to(x.dtype), (x > -1).all(1) * 2.0)), (3, 4)),
    "sheltered": (lambda: Of(lambda x: torch.where(x > 0.1, x.clamp(min=0.01).log(), -x)), (4,)),
    "adaptive": (lambda: Of(lambda x: (F.adaptive_avg_pool2d(x, (3, 2)), F.adaptive_max_pool2d(x, (2, 3)))), (2, 5, 4)),
    "statistics": (lambda: statistics(), (2, 3, 3)),
    "cells": (lambda: Cells(), (4,)),
    "grouped": (
        lambda: Of(lambda x: F.scaled_dot_product_attention(
            x.view(-1, 4, 2, 3), *(x[:, :12].view(-1, 2, 2, 3) * k for k in (1, 2)), enable_gqa=True)),
        (24,),
    ),
}  # fmt: skip


class Cells(nn.Module):
    """Cells of all kinds, the first state zeros or what another one gave."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b = nn.LSTMCell(4, 3), nn.GRUCell(4, 3)
        self.c, self.d = nn.RNNCell(4, 3), nn.RNNCell(4, 3, bias=False, nonlinearity="relu")

    def forward(self, x: Tensor) -> tuple[Tensor, ...]:
        h, memory = self.a(x)
        h, memory = self.a(x.flip(1), (h, memory))
        return h, memory, self.b(x, self.b(x)), self.c(x, h), self.d(x, self.c(x))


def statistics() -> nn.Module:
    layer = nn.InstanceNorm2d(2, affine=True, track_running_stats=True)
    for p in (layer.running_mean, layer.running_var, layer.weight):
        assert p is not None
        p.data.uniform_(0.5, 2.0)
    return layer


def groups(size: int = 6) -> list[tuple[str, ...]]:
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, (_, shape) in CASES.items():
        by_shape.setdefault(shape, []).append(name)
    return [tuple(names[i : i + size]) for names in by_shape.values() for i in range(0, len(names), size)]


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.mark.parametrize("names", groups(), ids=",".join)
def test_operators(names: tuple[str, ...]) -> None:
    agree(Together(*(CASES[name][0]() for name in names)), *CASES[names[0]][1])


def test_bounds_of_ordered_entries_hold() -> None:
    """Sorting, the largest, places: samples of a box inside the bounds, and these no looser than they may be."""
    module = Of(lambda x: torch.cat([x.sort(-1)[0], x.topk(2)[0], x.argmax(-1, keepdim=True).to(x.dtype)], 1))
    box = verifier.Box([-1.0, -0.5, 0.0, 2.0, 1.0], [1.0, 0.5, 0.4, 3.0, 2.5])
    lower, upper = verifier.bound(verifier.load(module, torch.zeros(1, 5)), box)
    x = np.random.default_rng(0).uniform(box.lower, box.upper, (500, 5))
    y = module(torch.from_numpy(x)).numpy()
    assert (lower <= y.min(0) + 1e-9).all() and (y.max(0) <= upper + 1e-9).all()
    assert lower[4] >= 1.9 and upper[4] <= 3.5 and lower[-1] >= -1e-6 and upper[-1] < 10
