"""Small modules of the kinds that people have: what `benchmarks/exporters.py` exports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmarks.exporters_images import Squeeze, UNet, Yolo, convolutions, mobile, pooled, resnet, segmentation
from benchmarks.exporters_sequences import (
    Attention,
    Decoder,
    Dot,
    Encoder,
    Recurrent,
    Rotary,
    Steps,
    Tokens,
    Transformer,
    ViT,
    complex_free_rotary,
)  # fmt: skip


class Of(nn.Module):
    """A function of the input and of submodules."""

    def __init__(self, function: Callable[..., Any], *modules: nn.Module) -> None:
        super().__init__()
        self.function, self.parts = function, nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Any:
        """The function."""
        return self.function(x, *self.parts)


@dataclass(frozen=True)
class Net:
    """A module by a function that makes it, the shape of its input without the batch axis, and half the width of the
    box that it is bounded on.
    """

    make: Callable[[], nn.Module]
    shape: tuple[int, ...]
    eps: float = 0.05

    def made(self) -> nn.Module:
        """The module in evaluation mode, always the same one; statistics of norms are not those of nothing."""
        state = torch.random.get_rng_state()
        try:
            torch.manual_seed(7)
            module = self.make().eval()
            for m in module.modules():
                if isinstance(m, nn.modules.batchnorm._BatchNorm) and m.running_mean is not None:
                    m.running_mean.normal_(std=0.1)
                    m.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
        finally:
            torch.random.set_rng_state(state)
        return module

    def example(self, batch: int = 1) -> Tensor:
        """A typical input."""
        generator = torch.Generator().manual_seed(3)
        return torch.randn(batch, *self.shape, generator=generator)


def activations(x: Tensor) -> Tensor:
    """All the usual ones side by side."""
    functions: tuple[Callable[[Tensor], Tensor], ...] = (
        torch.sigmoid, torch.tanh, F.gelu, lambda v: F.gelu(v, approximate="tanh"), F.silu, F.mish, F.hardswish,
        F.hardsigmoid, F.relu6, F.elu, F.selu, F.celu, F.softplus, F.softsign, F.leaky_relu, F.hardtanh, F.logsigmoid,
        F.tanhshrink, F.hardshrink, F.softshrink, torch.erf, torch.abs,
    )  # fmt: skip
    return torch.cat([f(x) for f in functions], -1)


def masks(x: Tensor) -> Tensor:
    """Choices by comparisons and by constant masks."""
    keep = torch.tensor([True, False, True, True])
    y = torch.where(keep, x, 2 * x)
    z = torch.where(x > 0.3, x, 0.1 * x)
    return torch.cat((y, z, x.masked_fill(~keep, -1.0), (x >= 0).float() * x, x.clamp(-0.5, 0.7), x.tril()), -1)


def products(x: Tensor) -> Tensor:
    """Einsums."""
    W = torch.arange(12.0).reshape(3, 4) / 12
    y = torch.einsum("bij,kj->bik", x, W)
    return torch.cat((y.flatten(1), torch.einsum("bij,bkj->bik", x, x).flatten(1), torch.einsum("bij->bj", x)), 1)


def sums(x: Tensor) -> Tensor:
    """Sums, means, extremes, norms and spreads over axes."""
    parts = (
        x.cumsum(1).flatten(1), x.mean((1, 2))[:, None], x.amax(-1), x.amin(1), x.sum(-1), x.var(-1), x.std(-1),
        x.norm(dim=-1), x.logsumexp(-1), x.max(1)[0], F.normalize(x, dim=-1).flatten(1), x.prod(-1),
    )  # fmt: skip
    return torch.cat(parts, 1)


def moves(x: Tensor) -> Tensor:
    """What only moves entries."""
    y = torch.cat((x.flip(1), x.roll(1, 2), x.unfold(2, 2, 1).flatten(2), x[:, [2, 0, 1]], x.repeat(1, 1, 2)), 2)
    a, b = y.split([2, y.shape[2] - 2], 2)
    return torch.cat((a.transpose(1, 2).flatten(1), b.chunk(2, 1)[0].flatten(1), torch.stack((a, a), 1).flatten(1)), 1)


def ordered(x: Tensor) -> Tensor:
    """Places that are decided: the largest entries of a constant say what is taken."""
    scores = torch.tensor([0.3, 0.9, 0.1, 0.5])
    return x[:, torch.topk(scores, 2).indices] + scores.sort().values[:2]


def smooth(x: Tensor) -> Tensor:
    """Exponentials, logarithms, roots, powers, angles."""
    y = x.abs() + 0.5
    parts = (x.exp(), y.log(), y.sqrt(), y.rsqrt(), x**2, x**3, 1 / y, x.sin(), x.cos(), torch.atan(x), x / y, y**0.3)
    return torch.cat(parts, -1)


def roots(x: Tensor) -> Tensor:
    """Roots that have a value on one side only, where they are chosen."""
    y = torch.where(x > 0, torch.sqrt(x), -x)
    return torch.cat((y, torch.sqrt(x + 0.5).masked_fill(x < -0.5, 0.0), torch.where(x > 0, x**0.5, (-x) ** 0.5)), -1)


def soft(x: Tensor) -> Tensor:
    """Softmax, its logarithm, a gate."""
    return torch.cat((x.softmax(-1), x.log_softmax(-1), F.glu(x, -1), x.softmax(1)), -1)


def swiglu(x: Tensor, gate: nn.Module, up: nn.Module, down: nn.Module) -> Tensor:
    """A gated layer."""
    return down(F.silu(gate(x)) * up(x))


def rms(x: Tensor) -> Tensor:
    """RMS norm by hand."""
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + 1e-6)


NETS: dict[str, Net] = {
    "mlp": Net(lambda: nn.Sequential(nn.Linear(4, 6), nn.ReLU(), nn.Linear(6, 6), nn.Tanh(), nn.Linear(6, 3)), (4,)),
    "resnet": Net(resnet, (3, 16, 16)),
    "mobile relu6": Net(lambda: mobile(nn.ReLU6, False), (3, 8, 8)),
    "mobile hardswish": Net(lambda: mobile(nn.Hardswish, True), (3, 8, 8)),
    "squeeze-excite": Net(lambda: Squeeze(4), (4, 4, 4)),
    "unet transposed": Net(lambda: UNet("transposed"), (2, 4, 4)),
    "unet nearest": Net(lambda: UNet("nearest"), (2, 4, 4)),
    "unet bilinear": Net(lambda: UNet("bilinear"), (2, 4, 4)),
    "pixel shuffle": Net(
        lambda: nn.Sequential(nn.Conv2d(2, 8, 3, padding=1), nn.PixelShuffle(2), nn.ReLU()), (2, 3, 3)
    ),
    "pixel unshuffle": Net(lambda: nn.Sequential(nn.PixelUnshuffle(2), nn.Conv2d(8, 2, 1)), (2, 4, 4)),
    "yolo": Net(Yolo, (3, 2, 2)),
    "segmentation": Net(lambda: Of(segmentation, nn.Conv2d(2, 4, 3, 2, 1), nn.Conv2d(4, 2, 1)), (2, 6, 6)),
    "upsample corners": Net(lambda: nn.Upsample(scale_factor=2, mode="bilinear", align_corners=True), (1, 3, 3)),
    "upsample cubic": Net(lambda: nn.Upsample(scale_factor=2, mode="bicubic"), (1, 4, 4)),
    "conv 1d": Net(convolutions, (2, 8)),
    "conv 3d": Net(
        lambda: nn.Sequential(nn.Conv3d(1, 2, 2), nn.BatchNorm3d(2), nn.ReLU(), nn.AvgPool3d(2)), (1, 4, 4, 4)
    ),
    "conv transposed": Net(lambda: nn.ConvTranspose2d(2, 4, 3, 2, 1, 1, groups=2, dilation=1), (2, 3, 3)),
    "pools": Net(pooled, (2, 6, 6)),
    "group norm": Net(lambda: nn.Sequential(nn.Conv2d(2, 4, 1), nn.GroupNorm(2, 4), nn.ReLU()), (2, 3, 3)),
    "instance norm": Net(lambda: nn.InstanceNorm2d(2, affine=True), (2, 3, 3)),
    "instance norm statistics": Net(lambda: nn.InstanceNorm2d(2, affine=True, track_running_stats=True), (2, 3, 3)),
    "layer norm": Net(lambda: nn.Sequential(nn.LayerNorm(4), nn.Linear(4, 3)), (3, 4)),
    "layer norm planes": Net(lambda: nn.LayerNorm((2, 3, 3)), (2, 3, 3)),
    "rms norm": Net(lambda: nn.RMSNorm(4), (3, 4)),
    "rms by hand": Net(lambda: Of(rms), (3, 4)),
    "batch norm 1d": Net(lambda: nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4), nn.PReLU(4)), (4,)),
    "swiglu": Net(lambda: Of(swiglu, nn.Linear(4, 6), nn.Linear(4, 6), nn.Linear(6, 4)), (3, 4)),
    "vit": Net(ViT, (1, 8, 8), 0.02),
    "attention": Net(lambda: Attention(False), (4, 8)),
    "attention weights": Net(lambda: Attention(True), (4, 8)),
    "attention causal": Net(lambda: Attention(False, "causal"), (4, 8)),
    "attention padding": Net(lambda: Attention(True, "padding"), (4, 8)),
    "encoder": Net(lambda: Encoder("", True, "gelu"), (4, 8), 0.02),
    "encoder causal": Net(lambda: Encoder("causal"), (4, 8), 0.02),
    "encoder padding": Net(lambda: Encoder("padding"), (4, 8), 0.02),
    "decoder": Net(Decoder, (4, 8), 0.02),
    "decoder padding": Net(lambda: Decoder(padding=True), (4, 8), 0.02),
    "transformer": Net(Transformer, (4, 8), 0.02),
    **{
        f"dot {how}": Net(lambda how=how: Dot(how), (3, 8))
        for how in ("plain", "causal", "grouped", "scaled", "boolean", "float")  # type: ignore[misc]
    },
    "rotary": Net(Rotary, (3, 8), 0.02),
    "rotary pairs": Net(lambda: Of(complex_free_rotary), (3, 4)),
    "tokens": Net(Tokens, (3, 4)),
    "lstm": Net(lambda: Recurrent(nn.LSTM), (4, 3)),
    "lstm both ways": Net(lambda: Recurrent(nn.LSTM, "all", bidirectional=True, num_layers=2), (3, 3)),
    "lstm state": Net(lambda: Recurrent(nn.LSTM, "state"), (3, 3)),
    "gru": Net(lambda: Recurrent(nn.GRU), (4, 3)),
    "gru both ways": Net(lambda: Recurrent(nn.GRU, "all", bidirectional=True), (3, 3)),
    "rnn": Net(lambda: Recurrent(nn.RNN, "state", nonlinearity="relu"), (4, 3)),
    "rnn both ways": Net(lambda: Recurrent(nn.RNN, "all", bidirectional=True, bias=False), (3, 3)),
    "cell": Net(Steps, (3, 3)),
    "activations": Net(lambda: Of(activations), (4,)),
    "masks": Net(lambda: Of(masks), (4, 4)),
    "einsum": Net(lambda: Of(products), (2, 4)),
    "sums": Net(lambda: Of(sums), (3, 4)),
    "moves": Net(lambda: Of(moves), (3, 4)),
    "decided order": Net(lambda: Of(ordered), (4,)),
    "smooth": Net(lambda: Of(smooth), (4,)),
    "roots": Net(lambda: Of(roots), (4,), 0.3),
    "softmax": Net(lambda: Of(soft), (3, 4)),
    "weight norm": Net(lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), (4,)),
    "spectral norm": Net(lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 3, 2)), (2, 3, 3)),
    "dropout": Net(lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3), nn.AlphaDropout(0.2), nn.ReLU()), (4,)),
}
"""The modules by name."""
