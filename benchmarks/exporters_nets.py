"""Small modules of the kinds that people have: what `benchmarks/exporters.py` exports."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


# --- convolutions ---


class Basic(nn.Module):
    """A residual block."""

    def __init__(self, n: int, m: int, stride: int) -> None:
        super().__init__()
        self.a, self.na = nn.Conv2d(n, m, 3, stride, 1, bias=False), nn.BatchNorm2d(m)
        self.b, self.nb = nn.Conv2d(m, m, 3, 1, 1, bias=False), nn.BatchNorm2d(m)
        self.skip = nn.Sequential(nn.Conv2d(n, m, 1, stride, bias=False), nn.BatchNorm2d(m))

    def forward(self, x: Tensor) -> Tensor:
        """`relu(skip + b(relu(a)))`."""
        y = F.relu(self.na(self.a(x)), inplace=True)
        y = self.nb(self.b(y))
        y += self.skip(x)
        return F.relu(y)


def resnet() -> nn.Module:
    """Stem, block, head."""
    stem = nn.Sequential(
        nn.Conv2d(3, 4, 7, 2, 3, bias=False), nn.BatchNorm2d(4), nn.ReLU(inplace=True), nn.MaxPool2d(3, 2, 1)
    )
    return nn.Sequential(stem, Basic(4, 6, 2), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6, 5))


class Squeeze(nn.Module):
    """Squeeze and excite."""

    def __init__(self, n: int, gate: type[nn.Module] = nn.Sigmoid) -> None:
        super().__init__()
        self.down, self.up, self.gate = nn.Conv2d(n, n // 2, 1), nn.Conv2d(n // 2, n, 1), gate()

    def forward(self, x: Tensor) -> Tensor:
        """Channels times what their means say."""
        return x * self.gate(self.up(F.relu(self.down(F.adaptive_avg_pool2d(x, 1)))))


class Inverted(nn.Module):
    """An inverted residual block: wide, depthwise, narrow."""

    def __init__(self, n: int, wide: int, act: type[nn.Module], squeeze: bool) -> None:
        super().__init__()
        parts: list[nn.Module] = [nn.Conv2d(n, wide, 1, bias=False), nn.BatchNorm2d(wide), act()]
        parts += [nn.Conv2d(wide, wide, 3, 1, 1, groups=wide, bias=False), nn.BatchNorm2d(wide), act()]
        parts += [Squeeze(wide, nn.Hardsigmoid)] if squeeze else []
        self.body = nn.Sequential(*parts, nn.Conv2d(wide, n, 1, bias=False), nn.BatchNorm2d(n))

    def forward(self, x: Tensor) -> Tensor:
        """The block beside its input."""
        return x + self.body(x)


def mobile(act: type[nn.Module], squeeze: bool) -> nn.Module:
    """Two convolutions and a block."""
    first = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.BatchNorm2d(4), act())
    return nn.Sequential(
        first, Inverted(4, 8, act, squeeze), nn.AdaptiveAvgPool2d((1, 1)), nn.Flatten(), nn.Linear(4, 3)
    )


class UNet(nn.Module):
    """One step down and up again."""

    def __init__(self, up: str) -> None:
        super().__init__()
        self.a, self.b, self.c = nn.Conv2d(2, 4, 3, padding=1), nn.Conv2d(4, 4, 3, padding=1), nn.Conv2d(8, 2, 1)
        self.mode, self.up = up, nn.ConvTranspose2d(4, 4, 2, 2) if up == "transposed" else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """Scores of every pixel."""
        a = F.relu(self.a(x))
        b = self.up(F.relu(self.b(F.max_pool2d(a, 2))))
        if self.mode == "nearest":
            b = F.interpolate(b, scale_factor=2, mode="nearest")
        elif self.mode == "bilinear":
            b = F.interpolate(b, size=a.shape[-2:], mode="bilinear", align_corners=False)
        return self.c(torch.cat([a, b], 1))


class Yolo(nn.Module):
    """A detection head: boxes on a grid, scores, all in one list."""

    def __init__(self, anchors: int = 2, classes: int = 2) -> None:
        super().__init__()
        self.conv, self.anchors, self.each = nn.Conv2d(3, anchors * (5 + classes), 1), anchors, 5 + classes
        self.register_buffer("sizes", torch.rand(anchors, 2) + 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, boxes, 5 + classes]`."""
        B, _, h, w = x.shape
        y = self.conv(x).view(B, self.anchors, self.each, h, w).permute(0, 1, 3, 4, 2).contiguous().sigmoid()
        rows, columns = torch.meshgrid(torch.arange(h), torch.arange(w), indexing="ij")
        grid = torch.stack((columns, rows), 2).view(1, 1, h, w, 2).float()
        xy = (y[..., :2] * 2 - 0.5 + grid) * 8.0
        wh = (y[..., 2:4] * 2) ** 2 * self.sizes.view(1, self.anchors, 1, 1, 2)
        return torch.cat((xy, wh, y[..., 4:]), -1).view(B, -1, self.each)


def segmentation(x: Tensor, conv: nn.Module, head: nn.Module) -> Tensor:
    """Scores of every pixel from a map half as large."""
    return F.interpolate(head(F.relu(conv(x))), size=x.shape[-2:], mode="bilinear", align_corners=False)


def convolutions() -> nn.Module:
    """One axis: dilated, depthwise, padded round."""
    return nn.Sequential(
        nn.Conv1d(2, 4, 3, padding=2, dilation=2), nn.ReLU(), nn.Conv1d(4, 4, 3, padding="same", groups=4),
        nn.LeakyReLU(0.1), nn.Conv1d(4, 3, 2, 2, padding_mode="circular", padding=1), nn.AvgPool1d(2),
    )  # fmt: skip


def pooled() -> nn.Module:
    """Pools of all kinds in a row."""
    return nn.Sequential(
        nn.MaxPool2d(3, 1, 1), nn.AvgPool2d(3, 2, 1, count_include_pad=False), nn.AdaptiveAvgPool2d((2, 1)),
        nn.ConstantPad2d((1, 0, 0, 1), 0.5), nn.ReflectionPad2d(1), nn.ZeroPad2d((0, 1, 0, 0)), nn.AdaptiveMaxPool2d(1),
    )  # fmt: skip


# --- attention ---


class Attention(nn.Module):
    """torch's own attention of a sequence to itself."""

    def __init__(self, weights: bool, mask: str = "") -> None:
        super().__init__()
        self.inner, self.weights = nn.MultiheadAttention(8, 2, batch_first=True), weights
        causal = torch.full((4, 4), float("-inf")).triu(1) if mask == "causal" else None
        padding = torch.tensor([[False, False, False, True]]) if mask == "padding" else None
        self.register_buffer("causal", causal)
        self.register_buffer("padding", padding)

    def forward(self, x: Tensor) -> Any:
        """Attended values, and maybe the weights."""
        padding = None if self.padding is None else self.padding.expand(x.shape[0], -1)
        y, w = self.inner(x, x, x, need_weights=self.weights, attn_mask=self.causal, key_padding_mask=padding)
        return torch.cat((y, w), -1) if self.weights else y


class Block(nn.Module):
    """A block of a vision transformer, attention by hand."""

    def __init__(self, d: int, heads: int) -> None:
        super().__init__()
        self.heads, self.n1, self.n2 = heads, nn.LayerNorm(d), nn.LayerNorm(d)
        self.qkv, self.out = nn.Linear(d, 3 * d), nn.Linear(d, d)
        self.mlp = nn.Sequential(nn.Linear(d, 2 * d), nn.GELU(), nn.Dropout(0.1), nn.Linear(2 * d, d))

    def forward(self, x: Tensor) -> Tensor:
        """Attention and layers, each beside its input."""
        B, N, d = x.shape
        q, k, v = self.qkv(self.n1(x)).reshape(B, N, 3, self.heads, d // self.heads).permute(2, 0, 3, 1, 4).unbind(0)
        weights = ((q @ k.transpose(-2, -1)) * (d // self.heads) ** -0.5).softmax(-1)
        x = x + self.out((weights @ v).transpose(1, 2).reshape(B, N, d))
        return x + self.mlp(self.n2(x))


class ViT(nn.Module):
    """Patches, a class token, positions, a block, a head."""

    def __init__(self, d: int = 8) -> None:
        super().__init__()
        self.patch, self.token = nn.Conv2d(1, d, 4, 4), nn.Parameter(torch.randn(1, 1, d))
        self.place, self.block = nn.Parameter(torch.randn(1, 5, d)), Block(d, 2)
        self.norm, self.head = nn.LayerNorm(d), nn.Linear(d, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Scores of classes."""
        y = self.patch(x).flatten(2).transpose(1, 2)
        y = torch.cat((self.token.expand(x.shape[0], -1, -1), y), 1) + self.place
        return self.head(self.norm(self.block(y))[:, 0])


class Encoder(nn.Module):
    """torch's encoder, masked or not."""

    def __init__(self, mask: str, first: bool = False, act: str = "relu") -> None:
        super().__init__()
        layer = nn.TransformerEncoderLayer(8, 2, 12, 0.1, act, batch_first=True, norm_first=first)
        self.inner = nn.TransformerEncoder(layer, 1, enable_nested_tensor=False)
        self.kind = mask
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(4))
        self.register_buffer("padding", torch.tensor([[False, False, False, True]]))

    def forward(self, x: Tensor) -> Tensor:
        """Encoded."""
        if self.kind == "causal":
            return self.inner(x, mask=self.mask, is_causal=True)
        if self.kind == "padding":
            return self.inner(x, src_key_padding_mask=self.padding.expand(x.shape[0], -1))
        return self.inner(x)


class Decoder(nn.Module):
    """torch's decoder, causal, with a memory made of the same input."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.TransformerDecoderLayer(8, 2, 12, 0.1, batch_first=True)
        self.memory = nn.Linear(8, 8)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(4))

    def forward(self, x: Tensor) -> Tensor:
        """Decoded."""
        return self.inner(x, torch.tanh(self.memory(x)), tgt_mask=self.mask, tgt_is_causal=True)


class Dot(nn.Module):
    """Scaled dot-product attention by torch's function; fewer heads of keys than of queries with `grouped`."""

    def __init__(self, how: str) -> None:
        super().__init__()
        self.how, self.q = how, nn.Linear(8, 8)
        self.k, self.v = (nn.Linear(8, 4 if how == "grouped" else 8) for _ in "kv")
        self.register_buffer("mask", torch.tensor([[True, False, True], [True, True, False], [True, True, True]]))
        self.register_buffer("bias", torch.randn(1, 1, 3, 3))

    def forward(self, x: Tensor) -> Tensor:
        """Attended values."""
        B, N, _ = x.shape
        q, k, v = (m(x).view(B, N, -1, 2).transpose(1, 2) for m in (self.q, self.k, self.v))
        how: dict[str, Any] = {
            "plain": {}, "causal": {"is_causal": True}, "grouped": {"enable_gqa": True}, "scaled": {"scale": 0.3},
            "boolean": {"attn_mask": self.mask}, "float": {"attn_mask": self.bias},
        }[self.how]  # fmt: skip
        return F.scaled_dot_product_attention(q, k, v, **how).transpose(1, 2).flatten(2)


class Rotary(nn.Module):
    """Attention with rotary positions, causal, and a gated layer: a block of a language model."""

    def __init__(self, d: int = 8, heads: int = 2, n: int = 3) -> None:
        super().__init__()
        self.heads, self.each = heads, d // heads
        self.n1, self.n2 = nn.RMSNorm(d), nn.RMSNorm(d)
        self.q, self.k, self.v, self.o = (nn.Linear(d, d, bias=False) for _ in range(4))
        self.gate, self.up, self.down = nn.Linear(d, 12, bias=False), nn.Linear(d, 12, bias=False), nn.Linear(12, d)
        angles = torch.outer(torch.arange(n).float(), 100.0 ** (-torch.arange(0, self.each, 2).float() / self.each))
        self.register_buffer("cos", torch.cat((angles, angles), -1).cos())
        self.register_buffer("sin", torch.cat((angles, angles), -1).sin())

    def turned(self, x: Tensor) -> Tensor:
        """Queries or keys by their positions."""
        a, b = x.chunk(2, -1)
        return x * self.cos + torch.cat((-b, a), -1) * self.sin

    def forward(self, x: Tensor) -> Tensor:
        """One block."""
        B, N, d = x.shape
        y = self.n1(x)
        q, k, v = (m(y).view(B, N, self.heads, self.each).transpose(1, 2) for m in (self.q, self.k, self.v))
        y = F.scaled_dot_product_attention(self.turned(q), self.turned(k), v, is_causal=True)
        x = x + self.o(y.transpose(1, 2).reshape(B, N, d))
        y = self.n2(x)
        return x + self.down(F.silu(self.gate(y)) * self.up(y))


def complex_free_rotary(x: Tensor) -> Tensor:
    """Rotation of neighbouring entries."""
    n, d = x.shape[-2:]
    angles = torch.arange(n).float()[:, None] * torch.tensor([1.0, 0.1])[None, : d // 2]
    a, b = x[..., ::2], x[..., 1::2]
    turned = torch.stack((a * angles.cos() - b * angles.sin(), a * angles.sin() + b * angles.cos()), -1)
    return turned.flatten(-2)


class Tokens(nn.Module):
    """Embeddings of tokens that are decided, beside an input."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.out = nn.Embedding(10, 4), nn.Linear(4, 3)
        self.register_buffer("tokens", torch.tensor([3, 1, 4]))

    def forward(self, x: Tensor) -> Tensor:
        """`[B, 3, 3]`."""
        return self.out(torch.relu(self.table(self.tokens) + x))


# --- recurrence ---


class Recurrent(nn.Module):
    """A recurrent layer and a head on its last step, its states or all steps."""

    def __init__(self, kind: Any, head: str = "last", **how: Any) -> None:
        super().__init__()
        self.inner, self.head = kind(3, 4, batch_first=True, **how), head
        self.out = nn.Linear(4 * (2 if how.get("bidirectional") else 1), 2)

    def forward(self, x: Tensor) -> Tensor:
        """Scores."""
        y, state = self.inner(x)
        if self.head == "state":
            return (state[0] if isinstance(state, tuple) else state)[-1]
        return self.out(y[:, -1] if self.head == "last" else y)


class Steps(nn.Module):
    """A cell, unrolled by a loop of Python's."""

    def __init__(self) -> None:
        super().__init__()
        self.cell, self.out = nn.GRUCell(3, 4), nn.Linear(4, 2)

    def forward(self, x: Tensor) -> Tensor:
        """The last state's scores."""
        h = x.new_zeros(x.shape[0], 4)
        for t in range(x.shape[1]):
            h = self.cell(x[:, t], h)
        return self.out(h)


# --- functions ---


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
    "softmax": Net(lambda: Of(soft), (3, 4)),
    "weight norm": Net(lambda: nn.utils.parametrizations.weight_norm(nn.Linear(4, 3)), (4,)),
    "spectral norm": Net(lambda: nn.utils.parametrizations.spectral_norm(nn.Conv2d(2, 3, 2)), (2, 3, 3)),
    "dropout": Net(lambda: nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 3), nn.AlphaDropout(0.2), nn.ReLU()), (4,)),
}
"""The modules by name."""
