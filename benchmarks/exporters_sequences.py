"""Small modules on sequences: attention and recurrence.  See `exporters_nets`."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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
    """torch's decoder, causal, with a memory made of the same input, whose end may be padding."""

    def __init__(self, padding: bool = False) -> None:
        super().__init__()
        self.inner = nn.TransformerDecoderLayer(8, 2, 12, 0.1, batch_first=True)
        self.memory = nn.Linear(8, 8)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(4))
        self.register_buffer("padding", torch.tensor([[False, False, True, True]]) if padding else None)

    def forward(self, x: Tensor) -> Tensor:
        """Decoded."""
        padding = None if self.padding is None else self.padding.expand(x.shape[0], -1)
        memory = torch.tanh(self.memory(x))
        return self.inner(x, memory, tgt_mask=self.mask, tgt_is_causal=True, memory_key_padding_mask=padding)


class Transformer(nn.Module):
    """torch's encoder and decoder together, both reading the same input, the decoder causally."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.Transformer(8, 2, 1, 1, 12, batch_first=True)
        self.register_buffer("mask", nn.Transformer.generate_square_subsequent_mask(4))

    def forward(self, x: Tensor) -> Tensor:
        """Decoded."""
        return self.inner(x, x, tgt_mask=self.mask, tgt_is_causal=True)


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
