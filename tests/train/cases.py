"""What the laws of training are swept over: small networks, boxes, points in them, and methods."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from verifier.train.attack import Attack
from verifier.train.method import Loss, Method
from verifier.train.methods.cc_ibp import CCIBP
from verifier.train.methods.crown_ibp import CROWNIBP
from verifier.train.methods.exp_ibp import ExpIBP
from verifier.train.methods.ibp import IBP
from verifier.train.methods.mtl_ibp import MTLIBP
from verifier.train.methods.pgd import PGD
from verifier.train.methods.sabr import SABR
from verifier.train.methods.staps import STAPS
from verifier.train.methods.taps import TAPS
from verifier.train.methods.trades import TRADES
from verifier.train.model import Trainable

K = 4
"""Classes of every network here."""


class Residual(nn.Module):
    """A branch around two convolutions, and the sum read twice."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.a = nn.Conv2d(1, 3, 3, 2, 1), nn.Conv2d(3, 3, 3, 1, 1)
        self.b, self.norm = nn.Conv2d(3, 3, 3, 1, 1), nn.BatchNorm2d(3)
        self.last = nn.Linear(27, K)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.first(x))
        h = torch.relu(h + self.norm(self.b(torch.relu(self.a(h)))))
        return self.last(h.flatten(1))


class Joined(nn.Module):
    """Inputs of a concatenation of which one has met a layer and the other has not; a padding; the output reshaped."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(6, 5), nn.Linear(11, 6), nn.Linear(8, K)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.tanh(self.b(torch.cat([self.a(x), x], 1)))
        return self.last(torch.nn.functional.pad(h, (1, 1))).reshape(-1, K)


class Multiplied(nn.Module):
    """Activations multiplied with each other."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.last = nn.Linear(6, 5), nn.Linear(6, 5), nn.Linear(5, K)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.a(x)) * self.b(x))


class Normed(nn.Module):
    """Activations divided by their norm."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.last = nn.Linear(6, 5), nn.Linear(5, K)

    def forward(self, x: Tensor) -> Tensor:
        h = torch.relu(self.a(x))
        return self.last(h / (h.norm(dim=1, keepdim=True) + 0.5))


class Rows(nn.Module):
    """A layer on each of several rows, and the last layer's own output with more than one axis."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.last = nn.Linear(2, 3), nn.Linear(3, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.a(x)))[:, :, 0]


def _dense(*between: nn.Module) -> nn.Sequential:
    layers: list[nn.Module] = [nn.Linear(6, 8)]
    for f in between:
        layers += [f, nn.Linear(8, 8)]
    return nn.Sequential(*layers[:-1], nn.Linear(8, K))


def _conv_bn() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, 1, 1), nn.BatchNorm2d(3), nn.ReLU(), nn.Conv2d(3, 4, 3, 2, 1, bias=False),
        nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(36, 6), nn.BatchNorm1d(6), nn.ReLU(), nn.Linear(6, K),
    )  # fmt: skip


def _conv() -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, 1, 1), nn.ReLU(), nn.Conv2d(3, 4, 4, 2), nn.ReLU(), nn.Flatten(), nn.Linear(16, K)
    )


def _pool() -> nn.Sequential:
    """Windows at the border repeat their entries."""
    return nn.Sequential(
        nn.Conv2d(1, 3, 3, 1, 1), nn.MaxPool2d(3, 2, 1), nn.ReLU(), nn.Flatten(), nn.Linear(27, 6), nn.ReLU(),
        nn.Linear(6, K),
    )  # fmt: skip


def _average() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(1, 3, 3, 1, 1), nn.ReLU(), nn.AvgPool2d(2), nn.Flatten(), nn.Linear(27, K))


@dataclass(frozen=True)
class Net:
    """A kind of network.

    Attributes:
        make: the module.
        shape: of one input.
        linear: linear bounds exist.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    linear: bool = True


IMAGE = (1, 6, 6)
NETS: dict[str, Net] = {
    "dense": Net(lambda: _dense(nn.ReLU(), nn.ReLU()), (6,)),
    "leaky": Net(lambda: _dense(nn.LeakyReLU(0.1), nn.LeakyReLU(0.3)), (6,)),
    "conv": Net(_conv, IMAGE),
    "conv_bn": Net(_conv_bn, IMAGE),
    "residual": Net(Residual, IMAGE),
    "pool": Net(_pool, IMAGE),
    "average": Net(_average, IMAGE),
    "rows": Net(Rows, (K, 2)),
    "sigmoid": Net(lambda: _dense(nn.Sigmoid(), nn.Tanh()), (6,)),
    "smooth": Net(lambda: _dense(nn.Hardswish(), nn.ELU(0.7)), (6,)),
    "bumps": Net(lambda: _dense(nn.GELU(), nn.SiLU()), (6,)),
    "joined": Net(Joined, (6,)),
    "softplus": Net(lambda: _dense(nn.Softplus(), nn.ReLU()), (6,), linear=False),
    "product": Net(Multiplied, (6,), linear=False),
    "softmax": Net(lambda: _dense(nn.Softmax(-1), nn.ReLU()), (6,), linear=False),
    "norm": Net(Normed, (6,), linear=False),
}
LINEAR = [name for name, net in NETS.items() if net.linear]


def module(name: str, dtype: torch.dtype = torch.float64, scale: float = 1.0) -> nn.Module:
    """A network with random weights, larger than a fresh one's, and batch norms that have seen other data."""
    g = torch.Generator().manual_seed(len(name) + ord(name[0]))
    with torch.random.fork_rng():
        torch.manual_seed(0)
        net = NETS[name].make().to(torch.float64)

    def normal(a: Tensor) -> Tensor:
        return torch.randn(a.shape, generator=g, dtype=a.dtype)

    with torch.no_grad():
        for p in net.parameters():
            p.copy_(normal(p) * scale * (1.5 / max(p[0].numel(), 1) ** 0.5 if p.ndim > 1 else 0.3))
        for m in net.modules():
            if isinstance(m, nn.modules.batchnorm._BatchNorm):
                m.weight.copy_(normal(m.weight))
                assert m.running_mean is not None and m.running_var is not None
                m.running_mean.copy_(normal(m.running_mean) * 0.3)
                m.running_var.copy_(normal(m.running_var).exp())
    return net.to(dtype)


def fresh(name: str, dtype: torch.dtype = torch.float64, training: bool = False, scale: float = 1.0) -> Trainable:
    """A network ready to be trained; in evaluation mode unless told."""
    net = module(name, dtype, scale).train(training)
    return Trainable(net, torch.zeros(1, *NETS[name].shape, dtype=dtype))


trainable = cache(fresh)
"""The same for all who leave its weights as they are."""


@dataclass(frozen=True, eq=False)
class Data:
    """Inputs `[B, *shape]`, classes `[B]`, and the box of each."""

    x: Tensor
    y: Tensor
    lower: Tensor
    upper: Tensor


def data(name: str, eps: float = 0.1, B: int = 6, seed: int = 0, dtype: torch.dtype = torch.float64) -> Data:
    """Random data in [0, 1], boxes not all as wide, some inputs fixed."""
    g = torch.Generator().manual_seed(seed)
    x = torch.rand(B, *NETS[name].shape, generator=g, dtype=torch.float64)
    y = torch.randint(0, K, (B,), generator=g)
    below, above = (torch.rand(x.shape, generator=g, dtype=x.dtype) * eps for _ in range(2))
    fixed = torch.rand(x.shape, generator=g, dtype=x.dtype) < 0.1
    lower, upper = torch.where(fixed, x, x - below), torch.where(fixed, x, x + above)
    return Data(*(a.to(dtype) if a.is_floating_point() else a for a in (x, y, lower, upper)))


def points(lower: Tensor, upper: Tensor, count: int = 200, seed: int = 1) -> Tensor:
    """Points `[count, B, *shape]` of boxes: corners, ends mixed with the inside, and anywhere."""
    g = torch.Generator().manual_seed(seed)
    share = torch.rand((count, *lower.shape), generator=g, dtype=torch.float64).to(lower.dtype)
    third = count // 3
    share[:third] = share[:third].round()
    share[third : 2 * third] = (2 * share[third : 2 * third] - 0.5).clamp(0, 1)
    return torch.minimum(torch.maximum(lower + share * (upper - lower), lower), upper)


def worst_points(net: Trainable, d: Data, seed: int = 2) -> Tensor:
    """Points `[20, B, *shape]` that many attacks find."""
    g, clean = torch.Generator().manual_seed(seed), net.clean(d.x)
    return torch.stack([Attack(10, 0.3).points(clean, d.y, d.lower, d.upper, g) for _ in range(20)])


METHODS_TRIED: dict[str, Method] = {
    "ibp": IBP(),
    "crown_ibp": CROWNIBP(),
    "crown_ibp-whole": CROWNIBP(beta_end=1.0),
    "crown_ibp-flat": CROWNIBP(beta_start=0.5, beta_end=1.0, flat=True),
    "crown_ibp-fusion": CROWNIBP(beta_end=1.0, fusion=True),
    "crown_ibp-fusion-flat": CROWNIBP(beta_end=0.6, fusion=True, flat=True),
    "sabr": SABR(),
    "sabr-shrink": SABR(lambda_=0.8, shrink=0.7, steps=2, restarts=2),
    "taps": TAPS(),
    "taps-steps": TAPS(weight=1.0, shrink=0.8, steps=3, size=0.5),
    "staps": STAPS(),
    "staps-shrink": STAPS(lambda_=0.7, shrink=0.8, weight=1.0),
    "mtl_ibp": MTLIBP(),
    "mtl_ibp-wide": MTLIBP(alpha=0.02, scale=2.1, steps=1),
    "cc_ibp": CCIBP(alpha=0.3),
    "exp_ibp": ExpIBP(alpha=0.3, restarts=2),
    "pgd": PGD(steps=3),
    "trades": TRADES(beta=3.0),
}
"""Row of the table, and how it is tried -> method."""


def tried(names: list[str], methods: dict[str, Method] = METHODS_TRIED) -> list[tuple[str, str]]:
    """Every network of `names` with every method that can be used on it."""
    return [(n, m) for n in names for m, f in methods.items() if NETS[n].linear or not isinstance(f, CROWNIBP)]


def phases(method: Method) -> tuple[float, ...]:
    """Progress of eps at which a method is tried: more than one where it matters."""
    return (0.3, 1.0) if isinstance(method, (CROWNIBP, TAPS, STAPS)) else (1.0,)


def slopes_agree(value: Callable[[], Tensor], parameters: list[Tensor], step: float = 1e-6, seed: int = 3) -> None:
    """Backpropagation equals central differences along random directions, one each parameter and one of all."""
    grads = torch.autograd.grad(value(), parameters, allow_unused=True)
    g = torch.Generator().manual_seed(seed)
    directions = [torch.randn(p.shape, generator=g, dtype=p.dtype) for p in parameters]
    groups = [[i] for i in range(len(parameters))] + [list(range(len(parameters)))]
    total = sum(float((gr.abs() * d.abs()).sum()) for gr, d in zip(grads, directions, strict=True) if gr is not None)
    assert total > 0
    for group in groups:
        ends = []
        for side in (1, -1):
            with torch.no_grad():
                for i in group:
                    parameters[i].add_(directions[i], alpha=side * step)
                ends.append(float(value().detach()))
                for i in group:
                    parameters[i].sub_(directions[i], alpha=side * step)
        measured = (ends[0] - ends[1]) / (2 * step)
        pairs = ((grads[i], directions[i]) for i in group)
        expected = sum(float((gr * d).sum()) for gr, d in pairs if gr is not None)
        size = max(total / len(groups), abs(expected), abs(ends[0]) * 1e-6)
        assert abs(measured - expected) <= 1e-4 * size, (group, measured, expected)


def loss(method: Method, net: Trainable, d: Data, progress: float = 1.0, seed: int = 0) -> Loss:
    generator = torch.Generator().manual_seed(seed)
    return method.loss(net, d.x, d.y, d.lower, d.upper, generator=generator, progress=progress)


def at_corners(monkeypatch: pytest.MonkeyPatch) -> None:
    """Attacks return a corner of every box, always the same one."""

    def corner(
        self: Attack, clean: object, y: Tensor, lower: Tensor, upper: Tensor, *rest: object, **more: object
    ) -> Tensor:
        one = torch.rand(lower.shape[1:], generator=torch.Generator().manual_seed(9)) < 0.5
        return torch.where(one, lower, upper).detach()

    monkeypatch.setattr(Attack, "points", corner)


def cross_entropies(net: Trainable, d: Data, x: Tensor) -> tuple[Tensor, Tensor]:
    """At points `[count, B, *shape]`: `[count, B]`, and whether they are classified right."""
    (z,) = net.clean(d.x).graph.evaluate(x.flatten(0, 1))
    y = d.y.repeat(len(x))
    right = (z.gather(1, y[:, None]) > z.scatter(1, y[:, None], -torch.inf)).all(1)
    return F.cross_entropy(z, y, reduction="none").reshape(len(x), -1), right.reshape(len(x), -1)
