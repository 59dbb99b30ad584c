"""Small networks, and how fast they change where they are sampled."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

import verifier

SHARED = Path(__file__).resolve().parents[3] / "shared" / "lipschitz"


def layers(seed: int, sizes: tuple[int, ...], activation: type[nn.Module] | Any = nn.ReLU) -> nn.Sequential:
    """A fully connected network in double precision."""
    torch.manual_seed(seed)
    found: list[nn.Module] = []
    for a, b in zip(sizes[:-1], sizes[1:], strict=True):
        found += [nn.Linear(a, b, dtype=torch.float64), activation()]
    return nn.Sequential(*found[:-1])


def convolutional(seed: int, pool: bool = False) -> nn.Sequential:
    """A small image network, with or without max pooling."""
    torch.manual_seed(seed)
    first: list[nn.Module] = [nn.Unflatten(1, (1, 4, 4)), nn.Conv2d(1, 2, 3, padding=1), nn.ReLU()]
    if pool:
        first.append(nn.MaxPool2d(2))
    return nn.Sequential(*first, nn.Flatten(), nn.Linear(8 if pool else 32, 3)).double()


class Residual(nn.Module):
    """A sum of paths."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.a, self.b, self.c = (nn.Linear(4, 4).double() for _ in range(3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Twice."""
        h = x + torch.relu(self.a(x))
        return self.c(h - torch.nn.functional.leaky_relu(self.b(h), 0.2))


def loaded(module: nn.Module, n: int) -> Any:
    """A module as a network."""
    return verifier.load(module, torch.zeros(1, n, dtype=torch.float64))


def jacobians(module: nn.Module, x: np.ndarray) -> np.ndarray:
    """`[P, m, n]` by autograd at points `[P, n]`."""
    at = torch.tensor(x, dtype=torch.float64)
    f = lambda v: module(v[None])[0]  # noqa: E731
    return torch.stack([torch.autograd.functional.jacobian(f, v) for v in at]).detach().numpy()


def inside(region: verifier.Box | verifier.Ball, count: int, rng: np.random.Generator) -> np.ndarray:
    """Points `[count, n]` of a set, many of them near its boundary."""
    if isinstance(region, verifier.Box):
        u = rng.random((count, len(region.lower)))
        u[::3] = np.rint(u[::3])
        return region.lower + (region.upper - region.lower) * u
    d = rng.normal(size=(count, len(region.center)))
    if region.norm == 1:
        d = d * (rng.random(d.shape) < 0.5)
    d = d / np.maximum(np.linalg.norm(d, region.norm, axis=1, keepdims=True), 1e-12)
    return region.center + region.eps * (1 - 1e-9) * d * rng.random((count, 1)) ** 0.2


def operator_norm(J: np.ndarray, p: float, q: float) -> float:
    """The norm of a matrix `[m, n]` from p to q, of those that have a formula."""
    if (p, q) == (2, 2):
        return float(np.linalg.norm(J, 2))
    if (p, q) == (1, 1):
        return float(abs(J).sum(0).max())
    dual = np.inf if p == 1 else 1 if p == np.inf else p / (p - 1)
    return float(np.linalg.norm(J, dual, axis=1).max())
