"""Import of torch modules with smooth functions, products, norms, attention and recurrence: against the module."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from verifier.graph.from_torch import load_torch
from verifier.graph.ops.curves import Curve

from .test_from_torch import Of, Together, agree, random

CASES: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...]]] = {
    "sigmoid tanh": (lambda: Of(lambda x: (x.sigmoid(), x.tanh(), x.atan(), x.erf())), (4,)),
    "gelu": (lambda: Of(lambda x: (F.gelu(x), F.gelu(x, approximate="tanh"), F.silu(x), F.mish(x))), (4,)),
    "elu": (lambda: Of(lambda x: (F.elu(x, 0.3), F.selu(x), F.celu(x, 0.7))), (4,)),
    "softplus": (lambda: Of(lambda x: (F.softplus(x, 2.0), F.softplus(x, 1.0, 3.0), F.logsigmoid(x))), (4,)),
    "softsign": (lambda: Of(lambda x: (F.softsign(x), F.tanhshrink(x), F.hardswish(x), F.hardsigmoid(x))), (4,)),
    "shrink": (lambda: Of(lambda x: (F.softshrink(x, 0.3), F.hardshrink(x, 0.4), F.threshold(x, 0.1, 2.0))), (4,)),
    "prelu": (lambda: Of(lambda x: (F.prelu(x, torch.tensor([0.2]).double()), F.glu(x))), (4,)),
    "powers": (
        lambda: Of(lambda x: (x**2, x**3, x**0, x.square(), (x.abs() + 0.1) ** 0.5, 2**x, 1 / (x.exp() + 1))),
        (4,),
    ),
    "power of both": (lambda: Of(lambda x: ((x.abs() + 0.5) ** x, (x.abs() + 1).rsqrt(), x.abs().sqrt())), (4,)),
    "exp": (lambda: Of(lambda x: (x.exp(), x.expm1(), x.exp2(), x.sinh() - x.cosh(), (x.abs() + 1).log())), (4,)),
    "logs": (lambda: Of(lambda x: ((x.abs() + 1).log2(), (x.abs() + 1).log10(), x.abs().add(1).reciprocal())), (4,)),
    "inverse": (
        lambda: Of(lambda x: (x.tanh().asin(), x.tanh().acos(), x.asinh(), (x * x + 1.1).acosh(), x.tanh().atanh())),
        (4,),
    ),
    "sin": (lambda: Of(lambda x: (x.sin(), x.cos(), (0.1 * x).tan())), (4,)),
    "steps": (lambda: Of(lambda x: (x.sign(), x.floor(), x.ceil(), x.round(), (3 * x).trunc())), (4,)),
    "compared": (
        lambda: Of(lambda x: ((x > 0.1) * x, torch.where(x <= x.relu(), x, -x), (x >= 0).to(x.dtype), (x < 1) * 2.0)),
        (4,),
    ),
    "logic": (
        lambda: Of(lambda x: (((x > 0) & (x < 1)).to(x.dtype), torch.logical_or(x > 1, x < -1) * x, (~(x > 0)) * x)),
        (4,),
    ),
    "masked": (
        lambda: Of(lambda x: x.masked_fill(torch.tensor([True, False, False, True]), float("-inf")).softmax(-1)),
        (4,),
    ),
    "clamped": (lambda: Of(lambda x: (x.clamp(-x.abs(), x.tanh()), x.maximum(x.sin()), x.minimum(-x))), (4,)),
    "product": (lambda: Of(lambda x: (x * x, x * x.tanh(), x[:, :1] * x, x / (x.abs() + 1).exp())), (4,)),
    "softmax": (lambda: Of(lambda x: (x.softmax(-1), x.softmax(1), x.log_softmax(-1), x.log_softmax(1))), (3, 4)),
    "norms": (
        lambda: Of(lambda x: (x.norm(dim=-1), x.norm(1, dim=1), F.normalize(x, dim=-1), x.norm(float("inf"), dim=-1))),
        (3, 4),
    ),
    "extremes": (
        lambda: Of(lambda x: (x.amax(-1), x.amin((1, 2)), x.max(1)[0], x.min(-1, keepdim=True)[0], x.logsumexp(-1))),
        (3, 4),
    ),
    "spread": (
        lambda: Of(lambda x: (x.var(-1), x.std(-1, keepdim=True), x.var((1, 2), correction=0), x.cumsum(1))),
        (3, 4),
    ),
    "layer_norm": (lambda: nn.LayerNorm(4), (3, 4)),
    "layer_norm_two": (lambda: nn.LayerNorm((3, 4), elementwise_affine=False), (3, 4)),
    "rms_norm": (lambda: nn.RMSNorm(4), (3, 4)),
    "group_norm": (lambda: nn.GroupNorm(2, 4), (4, 3)),
    "instance_norm": (lambda: nn.InstanceNorm1d(4, affine=True), (4, 3)),
    "bilinear": (
        lambda: Of(lambda x: (x @ x.mT, torch.bmm(x, x), x @ x[:, 0, :, None], torch.baddbmm(x, x, x))),
        (3, 3),
    ),
    "einsum": (
        lambda: Of(
            lambda x, w: (torch.einsum("bij,bkj->bik", x, x.tanh()), torch.einsum("bij,kj->bki", x, w)), random(2, 3)
        ),
        (3, 3),
    ),
    "triangles": (lambda: Of(lambda x: (x.tril(), x.triu(1), x.diagonal(dim1=1, dim2=2))), (3, 3)),
    "conv_transpose": (lambda: nn.ConvTranspose2d(2, 4, 3, 2, 1, 1, groups=2), (2, 3, 4)),
    "conv_transpose_dilated": (lambda: nn.ConvTranspose1d(2, 3, 2, 1, 0, 0, 1, False, 2), (2, 4)),
    "nearest": (lambda: nn.Upsample(scale_factor=2), (2, 3, 4)),
    "linear": (lambda: nn.Upsample(scale_factor=1.5, mode="bilinear"), (2, 3, 4)),
    "cubic": (lambda: nn.Upsample(size=(5, 3), mode="bicubic", align_corners=True), (2, 3, 4)),
    "attention": (lambda: Of(lambda x: (F.scaled_dot_product_attention(x, x.tanh(), x, is_causal=True),)), (3, 4)),
    "lstm": (lambda: Of(lambda x, m: m(x)[0], m=nn.LSTM(3, 2, 2, batch_first=True, bidirectional=True)), (3, 3)),
    "lstm_last": (lambda: Of(lambda x, m: m(x)[1][0][-1], m=nn.LSTM(3, 2, batch_first=True)), (3, 3)),
    "gru": (lambda: Of(lambda x, m: m(x)[0], m=nn.GRU(3, 2, batch_first=True)), (3, 3)),
    "rnn": (lambda: Of(lambda x, m: m(x)[0][:, -1], m=nn.RNN(3, 2, batch_first=True, nonlinearity="relu")), (3, 3)),
    "heads": (lambda: Of(lambda x, m: m(x, x, x)[0], m=nn.MultiheadAttention(4, 2, batch_first=True)), (3, 4)),
    "encoder": (lambda: nn.TransformerEncoderLayer(4, 2, 6, batch_first=True), (3, 4)),
    "encoder_gelu": (
        lambda: nn.TransformerEncoder(
            nn.TransformerEncoderLayer(4, 1, 6, activation="gelu", batch_first=True, norm_first=True), 2,
            enable_nested_tensor=False,
        ),
        (3, 4),
    ),
}  # fmt: skip


def groups(size: int = 6) -> list[tuple[str, ...]]:
    """Cases of one input shape, a few at a time."""
    by_shape: dict[tuple[int, ...], list[str]] = {}
    for name, (_, shape) in CASES.items():
        by_shape.setdefault(shape, []).append(name)
    return [tuple(names[i : i + size]) for names in by_shape.values() for i in range(0, len(names), size)]


@pytest.mark.parametrize("names", groups(), ids=",".join)
def test_operators(names: tuple[str, ...]) -> None:
    torch.manual_seed(0)
    agree(Together(*(CASES[name][0]() for name in names)), *CASES[names[0]][1])


@pytest.mark.parametrize("name", ["softmax", "bilinear", "einsum", "gru", "layer_norm", "spread"])
def test_operator_with_a_larger_example(name: str) -> None:
    make, shape = CASES[name]
    agree(make(), *shape, batch=3)


def test_layers_that_exchange_the_batch_axis() -> None:
    """Sequence first: while the example is a single input, it does not matter where the batch axis is."""
    agree(Of(lambda x, m: m(x.transpose(0, 1))[0].transpose(0, 1), m=nn.LSTM(3, 2)), 3, 3)
    agree(Of(lambda x, m: m(x.transpose(0, 1)).transpose(0, 1), m=nn.TransformerEncoderLayer(4, 2, 6)), 3, 4)


def test_parameters_of_norms_are_live() -> None:
    module = nn.Sequential(nn.LayerNorm(4), nn.PReLU(), nn.Linear(4, 2)).double()
    graph = load_torch(module, random(1, 4)).graph
    x = random(3, 4)
    with torch.no_grad():
        for p in module.parameters():
            p.add_(torch.randn_like(p))
    torch.testing.assert_close(graph.evaluate(x)[0], module(x), rtol=1e-9, atol=1e-9)


def test_known_shapes_become_one_curve() -> None:
    graph = load_torch(nn.Sequential(nn.Softsign(), nn.GELU(), nn.SiLU()), torch.randn(1, 4)).graph
    kinds = [n.op.kind for n in graph.nodes if isinstance(n.op, Curve)]
    assert "softsign" in kinds and "gelu" in kinds and "silu" in kinds


def test_single_precision() -> None:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = nn.TransformerEncoderLayer(8, 2, 16, activation="gelu", batch_first=True)
            self.out = nn.Linear(8, 3)

        def forward(self, x: Tensor) -> Any:
            return self.out(self.layer(x).mean(1)).log_softmax(-1)

    model = load_torch(Block(), torch.randn(1, 5, 8))
    assert model.input_dtype == "float32"
