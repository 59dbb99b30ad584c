"""What the laws of derivatives are swept over: networks, their Jacobians from elsewhere, and points next to kinks."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from verifier.graph.graph import Graph
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.slopes import SLOPES

from .general_cases import ELEMENTWISE, jumps

Rng = np.random.Generator
SMOOTH = [k for k, op in enumerate(ELEMENTWISE) if not jumps(op) and getattr(op, "kind", "") not in SLOPES]
"""Of the operators of `general_cases`, those that have a derivative here."""


def autograd(function: Any, x: np.ndarray) -> np.ndarray:
    """`[P, m, n]`: the Jacobian of a torch function of one batch at points `[P, *shape]`, by torch."""
    each = []
    for p in torch.from_numpy(x):
        J = torch.autograd.functional.jacobian(lambda z: function(z[None]).reshape(-1), p)
        each.append(J.reshape(len(J), -1).numpy())  # type: ignore[union-attr]
    return np.stack(each)


def of_graph(graph: Graph, x: np.ndarray) -> np.ndarray:
    """The same of a graph."""
    live = graph.cast(lambda a: torch.from_numpy(np.ascontiguousarray(a)))
    return autograd(lambda z: live.evaluate(z)[0], x)


def next_to_kinks(rng: Rng, derivative: Graph, lower: np.ndarray, upper: np.ndarray, P: int) -> np.ndarray:
    """`[P', n]`, at most P points of a box, two by two on either side of where some gate opens, as near as can be."""
    nodes, n = derivative.nodes, len(lower)
    pairs = [node.inputs[0] for node in nodes if isinstance(node.op, Gate)]
    shape = nodes[derivative.inputs[0]].shape

    def signs(x: np.ndarray) -> np.ndarray:
        values = derivative.values(x.reshape(len(x), *shape))
        return np.concatenate([np.sign(values[j][..., 1]).reshape(len(x), -1) for j in pairs], 1)

    if not pairs:
        return np.zeros((0, n))
    a, b = rng.uniform(lower, upper, (2, P // 2, n))
    differ = signs(a) * signs(b) < 0
    which = np.array([rng.choice(np.flatnonzero(d)) if d.any() else -1 for d in differ])
    a, b, which = a[which >= 0], b[which >= 0], which[which >= 0]
    if not len(which):
        return np.zeros((0, n))
    each = np.arange(len(which))
    side = signs(a)[each, which]
    for _ in range(60):
        middle = 0.5 * a + 0.5 * b
        same = (signs(middle)[each, which] == side)[:, None]
        a, b = np.where(same, middle, a), np.where(same, b, middle)
    return np.concatenate([a, b])


class Of(nn.Module):
    """Functions of one input side by side, flattened into one output: tracing costs more than what is traced."""

    def __init__(self, *functions: Any) -> None:
        super().__init__()
        self.functions = functions
        self.parts = nn.ModuleList(f for f in functions if isinstance(f, nn.Module))

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([f(x).flatten(1) for f in self.functions], 1)


def block(channels: int) -> nn.Module:
    """Convolution, normalisation and a rectifier around which there is a shortcut."""

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Sequential(nn.Conv2d(channels, channels, 3, padding=1), nn.BatchNorm2d(channels), nn.ReLU())
            for p in self.body[1].parameters():
                nn.init.normal_(p)
            nn.init.normal_(self.body[1].running_mean)

        def forward(self, x: Tensor) -> Tensor:
            return x + self.body(x)

    return Block()


def recurrent(x: Tensor, m: nn.Module) -> Tensor:
    return m(x)[0]


class Recurrent(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.LSTM(4, 2, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x)[0]


MODULES: dict[str, tuple[Any, tuple[int, ...]]] = {
    "activations": (
        lambda: Of(
            F.relu, F.leaky_relu, F.relu6, F.hardtanh, F.hardswish, F.elu, F.selu, F.celu,
            nn.PReLU(), lambda x: (x / 6 + 0.5).clamp(0, 1),
            lambda x: F.elu(x, 0.3), lambda x: F.celu(x, 0.5), abs,
            torch.sigmoid, torch.tanh, torch.atan, torch.erf, F.gelu, lambda x: F.gelu(x, approximate="tanh"), F.silu,
            F.mish, lambda x: F.softplus(x, 2.0, 40.0), F.softsign, F.logsigmoid, F.tanhshrink, F.glu,
        ),
        (4,),
    ),
    "powers": (
        lambda: Of(
            torch.exp, torch.sin, torch.cos, lambda x: (0.3 * x).tan(), torch.expm1, torch.sinh, lambda x: x**2,
            lambda x: x**3, lambda x: x**4, lambda x: (x.abs() + 0.1).sqrt(), lambda x: (x.abs() + 0.5) ** x,
            lambda x: (x * x + 1).rsqrt(), lambda x: (x.exp() + 1).log(), lambda x: 1 / (x.exp() + 1),
            lambda x: (x.abs() + 1) ** 1.7, lambda x: (x.abs() + 1) ** (1 / 3), lambda x: x / (x.abs() + 1),
            lambda x: x * x.tanh(), lambda x: x[:, :1] * x, lambda x: x.maximum(x.sin()), lambda x: x.clamp(-0.5, 0.7),
            lambda x: torch.minimum(x, -x), lambda x: 2**x,
        ),
        (4,),
    ),
    "rows": (
        lambda: Of(
            lambda x: x.softmax(-1), lambda x: x.softmax(1), lambda x: x.log_softmax(-1), lambda x: x @ x.mT,
            lambda x: x.norm(dim=-1), lambda x: F.normalize(x, dim=-1), lambda x: x.logsumexp(-1), lambda x: x.amax(-1),
            lambda x: x.std(-1), nn.LayerNorm(4), lambda x: F.scaled_dot_product_attention(x, x.tanh(), x),
            nn.TransformerEncoderLayer(4, 2, 6, activation="gelu", batch_first=True), Recurrent(),
        ),
        (3, 4),
    ),
    "images": (
        lambda: Of(
            nn.Sequential(block(2), nn.MaxPool2d(2), nn.Conv2d(2, 3, 2, stride=2), nn.AvgPool2d(1)),
            nn.Sequential(nn.Conv2d(2, 4, 3, padding=2, dilation=2, groups=2), nn.LeakyReLU(), nn.AvgPool2d(3, 2)),
            nn.Sequential(nn.ConvTranspose2d(2, 2, 2, stride=2), nn.ReLU(), nn.MaxPool2d(3, 2, 1), nn.Conv2d(2, 1, 3)),
            nn.Sequential(nn.ZeroPad2d((1, 0, 0, 2)), block(2), nn.AdaptiveAvgPool2d(1)),
            lambda x: F.pad(x, (1, 1, 0, 0), "replicate")[:, :, ::2].transpose(1, 2).relu().sum((1, 2)),
        ),
        (2, 5, 5),
    ),
}  # fmt: skip
