"""Network architectures of the certified-training literature.

Sources: the convolutional networks of Shi et al., *Fast Certified Robust Training with Short Warmup*, 2021 (CNN7), and
of Mao et al., *Understanding Certified Training with Interval Bound Propagation*, 2024 (CNN3, CNN5).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from math import prod

import torch
from torch import Tensor, nn

from verifier.values.errors import UserError

DENSE = 512
"""Neurons of the dense layer before the last, whatever the width of the convolutions."""


class Normalize(nn.Module):
    """`(x − mean) / std`, channel by channel: inside the network, so that eps is in units of the data."""

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float], rank: int) -> None:
        """For inputs of so many axes (batch not counted)."""
        super().__init__()
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.tensor([float(v) for v in values]).reshape(-1, *(1,) * (rank - 1)))

    def forward(self, x: Tensor) -> Tensor:
        """Normalised inputs."""
        return (x - self.mean) / self.std


def _conv(c: int, width: int, kernel: int, stride: int, padding: int, bn: bool) -> list[nn.Module]:
    layers: list[nn.Module] = [nn.Conv2d(c, width, kernel, stride, padding)]
    return [*layers, *([nn.BatchNorm2d(width)] if bn else []), nn.ReLU()]


def _dense(n: int, width: int, bn: bool) -> list[nn.Module]:
    return [nn.Linear(n, width), *([nn.BatchNorm1d(width)] if bn else []), nn.ReLU()]


def cnn3(shape: tuple[int, ...], classes: int, width: int = 16, bn: bool = False) -> list[nn.Module]:
    """Two strided convolutions and a linear layer."""
    c, h, w = _image(shape)
    body = [*_conv(c, width, 5, 2, 2, bn), *_conv(width, 2 * width, 4, 2, 1, bn), nn.Flatten()]
    return [*body, nn.Linear(_entries(body, (c, h, w)), classes)]


def cnn5(shape: tuple[int, ...], classes: int, width: int = 16, bn: bool = False) -> list[nn.Module]:
    """Three convolutions, two of them strided, and two linear layers."""
    c, h, w = _image(shape)
    body = [
        *_conv(c, width, 3, 1, 1, bn),
        *_conv(width, width, 4, 2, 1, bn),
        *_conv(width, 2 * width, 4, 2, 1, bn),
        nn.Flatten(),
    ]
    return [*body, *_dense(_entries(body, (c, h, w)), DENSE, bn), nn.Linear(DENSE, classes)]


def cnn7(shape: tuple[int, ...], classes: int, width: int = 64, bn: bool = True) -> list[nn.Module]:
    """Five 3 x 3 convolutions, the third of them strided, and two linear layers."""
    c, h, w = _image(shape)
    body: list[nn.Module] = []
    for out, stride in ((width, 1), (width, 1), (2 * width, 2), (2 * width, 1), (2 * width, 1)):
        body += _conv(c, out, 3, stride, 1, bn)
        c = out
    body.append(nn.Flatten())
    return [*body, *_dense(_entries(body, (shape[0], h, w)), DENSE, bn), nn.Linear(DENSE, classes)]


def mlp(shape: tuple[int, ...], classes: int, width: int = 100, bn: bool = False, depth: int = 2) -> list[nn.Module]:
    """So many hidden layers of one width."""
    sizes = [prod(shape), *[width] * depth]
    hidden = [layer for a, b in zip(sizes, sizes[1:], strict=False) for layer in _dense(a, b, bn)]
    return [nn.Flatten(), *hidden, nn.Linear(sizes[-1], classes)]


ARCHITECTURES: dict[str, Callable[..., list[nn.Module]]] = {"cnn3": cnn3, "cnn5": cnn5, "cnn7": cnn7, "mlp": mlp}


def build(
    name: str,
    shape: tuple[int, ...],
    classes: int,
    *,
    normalize: tuple[Sequence[float], Sequence[float]] | None = None,
    **options: object,
) -> nn.Sequential:
    """A network by name, on inputs of `shape`, with torch's own initialisation (Kaiming uniform).

    Args:
        normalize: mean and standard deviation of each channel (or of all), the first layer.
        options: `width`, `bn`, and `depth` for `mlp`.

    Raises:
        UserError: no such network, or one that doesn't fit the inputs.
    """
    if name not in ARCHITECTURES:
        raise UserError(f"architecture {name!r}: use one of {', '.join(ARCHITECTURES)}")
    first: list[nn.Module] = [] if normalize is None else [Normalize(*normalize, rank=len(shape))]
    return nn.Sequential(*first, *ARCHITECTURES[name](shape, classes, **options))


def _image(shape: tuple[int, ...]) -> tuple[int, int, int]:
    if len(shape) != 3 or min(shape[1:]) < 4:
        raise UserError(f"inputs of shape {list(shape)}: a convolutional network needs images, at least 4 x 4; use mlp")
    return shape[0], shape[1], shape[2]


def _entries(body: list[nn.Module], shape: tuple[int, ...]) -> int:
    """Numbers behind the layers, found by sending one input through."""
    with torch.no_grad():
        return nn.Sequential(*body).eval()(torch.zeros(1, *shape)).shape[1]
