"""Attention as one operator, and the turning of pairs of entries by their position that goes before it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from math import sqrt

import numpy as np

from verifier.graph.convert import Call, Value
from verifier.graph.convert_affine import scale, total
from verifier.graph.convert_mixed import given, joined, matmul, moved, plus, scaled, shaped, turned
from verifier.graph.convert_norms import masked_share
from verifier.graph.kinds import named
from verifier.graph.ops.affine import Scale
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.fit import FLOATS
from verifier.graph.ops.product import Share

Heads = tuple[Value, Value, Value]
"""Queries, keys and values, each `(batch, heads, length, size)`."""


@dataclass(frozen=True)
class Scores:
    """What queries find of keys, `(batch, heads, queries, keys)`, and how it is weighed.

    Attributes:
        factor: products of queries and keys are multiplied by it.
        cap: they are bent to stay between −cap and cap; 0 for not at all.
        bias: what is added to them, or None.
        keep: which keys a query looks at, to be broadcast; None for all.  A query that looks at none gets zeros.
    """

    factor: float
    cap: float = 0.0
    bias: Value | None = None
    keep: np.ndarray | None = None


def attended(call: Call, heads: Heads, how: Scores, mode: int = 0) -> tuple[Value, Value | None]:
    """The values weighed by a softmax of how well queries and keys agree, and what stands at a stage on the way.

    Parameters:
        mode: the products (0), these bent (1), the mask added (2), or their shares (3).
    """
    q, k, v = heads
    stages = [matmul(call, scaled(call, q, how.factor, rounded=True), turned(call, k, 0, 1, 3, 2))]
    stages.append(_bent(call, stages[0], how.cap))
    x = stages[1] if how.bias is None else plus(call, stages[1], how.bias)
    shape = call.shape(x)
    keep = None if how.keep is None or how.keep.all() else np.broadcast_to(how.keep, shape)
    stages.append(x if keep is None or mode != 2 else _without(call, x, keep))
    stages.append(_shares(call, x, keep))
    return matmul(call, stages[3], v), stages[mode]


def _bent(call: Call, x: Value, cap: float) -> Value:
    """`cap·tanh(x/cap)`."""
    if cap == 0.0:
        return x
    inside = scaled(call, x, 1.0 / cap, rounded=True)
    return scaled(call, call.add(Curve("tanh"), inside) if isinstance(inside, int) else np.tanh(inside), cap)


def _without(call: Call, x: Value, keep: np.ndarray) -> Value:
    """Minus infinity where a key does not count: what may only be read where there is none."""
    t = np.where(keep, 0.0, -np.inf)
    return call.add(Scale(None, t), x) if isinstance(x, int) else x + t


def _shares(call: Call, x: Value, keep: np.ndarray | None) -> Value:
    """Softmax over the last axis of what is kept; zero elsewhere."""
    if isinstance(x, int):
        return call.add(Share(), x) if keep is None else masked_share(call, x, keep, nothing=True)
    keep = np.ones(x.shape, bool) if keep is None else keep
    top = np.max(x, -1, keepdims=True, where=keep, initial=-np.inf)
    e = np.where(keep, np.exp(np.where(keep, x - np.where(np.isfinite(top), top, 0.0), 0.0)), 0.0)
    sums = e.sum(-1, keepdims=True)
    return e / np.where(sums == 0.0, 1.0, sums)


def attention(call: Call) -> list[Value]:
    """Attention of operator sets 23 and later."""
    flat = len(call.shape(given(call, 0))) == 3
    counts = [call.get(n) for n in ("q_num_heads", "kv_num_heads", "kv_num_heads")] if flat else [None] * 3
    q, k, v = (_split(call, given(call, i), n) for i, n in enumerate(counts))
    past = call.shape(given(call, 4))[2] if call.has(4) else 0
    k, v = (joined(call, [given(call, i), x], 2) if call.has(i) else x for i, x in ((4, k), (5, v)))
    factor = call.get("scale")
    factor = 1.0 / sqrt(call.shape(q)[3]) if factor is None else float(factor)
    if factor <= 0:
        raise ValueError(f"{call.op} with scale {factor:g}")
    _soft_type(call)
    shape = (call.shape(q)[0], call.shape(q)[1], call.shape(q)[2], call.shape(k)[2])
    keep = _window(call, shape, past)
    bias: Value | None = None
    if call.has(3):
        bias, allowed = _mask(call, shape)
        keep = keep & allowed
    how = Scores(factor, float(call.get("softcap", 0.0)), bias, keep)
    mode = call.get("qk_matmul_output_mode", 0)
    if mode not in (0, 1, 2, 3):
        raise ValueError(f"{call.op} with qk_matmul_output_mode {mode}")
    read = len(call.used) > 3 and call.used[3]
    y, stage = attended(call, (q, *shared(call, k, v, shape[1])), how, mode if read else 0)
    return [_whole(call, y) if flat else y, k, v, stage if stage is not None and read else np.zeros(0)]


def _split(call: Call, x: Value, heads: int | None) -> Value:
    """`(batch, length, heads·size)` as heads; as it is where it is that already."""
    shape = call.shape(x)
    if len(shape) == 4 and heads is None:
        return x
    if len(shape) != 3 or not heads or shape[2] % heads:
        raise ValueError(f"{call.op} of shape {list(shape)} in {heads or 'unknown'} heads")
    return turned(call, shaped(call, x, *shape[:2], heads, shape[2] // heads), 0, 2, 1, 3)


def _whole(call: Call, y: Value) -> Value:
    """Heads side by side again."""
    B, H, S, D = call.shape(y)
    return shaped(call, turned(call, y, 0, 2, 1, 3), B, S, H * D)


def shared(call: Call, k: Value, v: Value, heads: int) -> tuple[Value, Value]:
    """Keys and values for so many heads: each of theirs serves several that follow each other."""
    have = call.shape(k)[1]
    if have == heads:
        return k, v
    if call.shape(v)[1] != have or heads % have:
        raise ValueError(f"{call.op} of {heads} heads with {have} heads of keys and {call.shape(v)[1]} of values")
    k, v = (moved(call, x, lambda a: np.repeat(a, heads // have, 1)) for x in (k, v))
    return k, v


def _soft_type(call: Call) -> None:
    """Refuse a softmax in a type that is shorter than the inputs'."""
    number_, own = call.get("softmax_precision"), (call.types or ("float32",))[0]
    kind = own if number_ is None else named(number_)
    if kind not in FLOATS or own not in FLOATS or FLOATS[kind][0] < FLOATS[own][0]:
        raise ValueError(f"{call.op} of {own} with a softmax in {kind}")


def _window(call: Call, shape: tuple[int, ...], past: int) -> np.ndarray:
    """Which keys a query looks at by their positions, `(batch or 1, 1, queries, keys)`."""
    B, _, S, T = shape
    key, query = np.arange(T), np.arange(S)[:, None]
    keep = np.ones((1, 1, S, T), bool)
    offset = np.array(past).reshape(1, 1, 1, 1)
    if call.has(6):
        lengths = call.constant(6).astype(np.int64).reshape(-1, 1, 1, 1)
        if len(lengths) != B:
            raise ValueError(f"{call.op} with {len(lengths)} lengths for a batch of {B}")
        keep = keep & (key < lengths)
        offset = offset if call.has(4) else lengths - S
    at = query + offset
    if call.get("is_causal", 0):
        if past and S == 1 and T - past > 1:  # onnxruntime then looks at every key, the standard at the first new one
            raise ValueError(f"causal {call.op} of one query with {T - past} new keys and a cache")
        keep = keep & (key <= at)
    for name, side in (("left_window_size", at - key), ("right_window_size", key - at)):
        if (reach := call.get(name, -1)) >= 0:
            keep = keep & (side <= reach)
    return keep


def _mask(call: Call, shape: tuple[int, ...]) -> tuple[Value | None, np.ndarray]:
    """What input 3 adds to the scores, and which keys it leaves; what it does not reach to is left out."""
    mask, T = call.inputs[3], shape[3]
    assert mask is not None
    own = call.shape(mask)
    short = T - own[-1] if own else 0
    if short < 0 or len(own) > 4:
        raise ValueError(f"{call.op} with a mask of shape {list(own)} for scores of shape {list(shape)}")
    width = [*([(0, 0)] * (len(own) - 1)), (0, short)]
    reached = np.arange(T) < T - short
    if isinstance(mask, int):
        if call.kinds[3] == "b":
            raise ValueError(f"{call.op} with a mask of truth values that depends on the input")
        return moved(call, mask, lambda a: np.pad(a, width, constant_values=-1)), reached
    if mask.dtype == bool:
        return None, np.pad(mask, width) & reached
    t = np.pad(call.shift(3), width)
    keep = ~np.isneginf(t) & reached
    t = np.where(keep, t, 0.0)
    return (t if t.any() else None), keep


def rotary_embedding(call: Call) -> int:
    """RotaryEmbedding: pairs of entries turned by an angle that belongs to their position."""
    cos, sin = call.parameter(1), call.parameter(2)
    if call.has(3):
        at = call.constant(3).astype(np.int64)
        cos, sin = cos[at], sin[at]
    return _rotated(call, cos, sin, call.get("num_heads") or 0)


def fused_rotary_embedding(call: Call) -> int:
    """RotaryEmbedding of com.microsoft: positions stand before the tables, one of them may stand for all."""
    if call.get("is_packed_batching", 0) or call.get("scale", 1.0) != 1.0:
        raise ValueError(f"{call.op} with is_packed_batching or scale")
    shape, at = call.shape(call.activation(0)), call.constant(1).astype(np.int64)
    cos, sin = call.parameter(2), call.parameter(3)
    length = shape[1] if len(shape) == 3 else shape[2]
    if at.size == 1 and at.ndim < 2:
        at = np.broadcast_to(at.reshape(()) + np.arange(length), (shape[0], length))
    heads = call.get("num_heads", 0) if call.get("rotary_embedding_dim", 0) else 0
    heads = heads or (shape[2] // (2 * cos.shape[-1]) if len(shape) == 3 else 0)
    return _rotated(call, cos[at], sin[at], heads)


def _rotated(call: Call, cos: np.ndarray, sin: np.ndarray, heads: int) -> int:
    """`x∘cos + (the other of its pair)∘(∓sin)`, tables `(batch, length, pairs)`."""
    x = call.activation(0)
    shape = call.shape(x)
    if len(shape) == 3 and (heads < 1 or shape[2] % heads):
        raise ValueError(f"{call.op} of shape {list(shape)} in {heads or 'unknown'} heads")
    size = shape[3] if len(shape) == 4 else shape[2] // heads
    turn = call.get("rotary_embedding_dim", 0) or size
    if turn % 2 or turn > size or cos.shape != sin.shape or cos.shape[-1] != turn // 2 or cos.ndim != 3:
        raise ValueError(f"{call.op} of {turn} of {size} entries with tables of shape {list(cos.shape)}")
    pair = np.arange(turn // 2)
    first, second = (2 * pair, 2 * pair + 1) if call.get("interleaved", 0) else (pair, pair + turn // 2)
    other = np.arange(size)
    other[first], other[second] = second, first
    c, s = np.ones((*cos.shape[:2], size)), np.zeros((*cos.shape[:2], size))
    c[..., first] = c[..., second] = cos
    s[..., first], s[..., second] = -sin, sin
    if len(shape) == 4:
        c, s, at = c[:, None], s[:, None], call.positions(x)[..., other]
    else:
        inside = call.positions(x).reshape(*shape[:2], heads, size)[..., other]
        c, s = (np.broadcast_to(a[:, :, None], (*a.shape[:2], heads, size)).reshape(*a.shape[:2], -1) for a in (c, s))
        at = inside.reshape(shape)
    return total(call, [(1, scale(call, x, c, None)), (1, scale(call, call.take(x, at), s, None))])


def multi_head_attention(call: Call) -> list[Value]:
    """MultiHeadAttention of com.microsoft: queries, keys and values apart, their biases in one vector."""
    n = call.get("num_heads")
    if not n or not (call.has(0) and call.has(1) and call.has(2)) or len(call.shape(given(call, 0))) != 3:
        raise ValueError(f"{call.op} with packed queries, keys and values")
    sides = [given(call, i) for i in range(3)]
    if call.has(3):
        ends = np.cumsum([call.shape(x)[2] if len(call.shape(x)) == 3 else 0 for x in sides])[:-1]
        parts = np.split(call.parameter(3), ends)
        sides = [plus(call, x, b) if b.size else x for x, b in zip(sides, parts, strict=True)]
    q, k, v = (_split(call, x, n if len(call.shape(x)) == 3 else None) for x in sides)
    past = call.shape(given(call, 6))[2] if call.has(6) else 0
    k, v = (joined(call, [given(call, i), x], 2) if call.has(i) else x for i, x in ((6, k), (7, v)))
    if any(call.has(i) for i in (8, 9)):
        raise ValueError(f"{call.op} with a shared cache")
    bias: Value | None = given(call, 5) if call.has(5) else None
    y = _fused(call, (q, k, v), past, bias, call.constant(4) if call.has(4) else None)
    return [y, k, v]


def fused_attention(call: Call) -> list[Value]:
    """Attention of com.microsoft: queries, keys and values by one matrix."""
    n, x, W = call.get("num_heads"), call.activation(0), call.parameter(1)
    if call.get("do_rotary", 0) or call.has(4) or any(call.used[1:]):
        raise ValueError(f"{call.op} with do_rotary or a cache")
    sizes = call.get("qkv_hidden_sizes") or (W.shape[1] // 3,) * 3
    y = matmul(call, x, W)
    y = plus(call, y, call.parameter(2)) if call.has(2) else y
    ends = np.cumsum(sizes)
    parts = [np.arange(end - size, end) for size, end in zip(sizes, ends, strict=True)]
    q, k, v = (_split(call, moved(call, y, partial(np.take, indices=at, axis=2)), n) for at in parts)
    bias: Value | None = given(call, 5) if call.has(5) else None
    return [_fused(call, (q, k, v), 0, bias, call.constant(3) if call.has(3) else None), np.zeros(0)]


def _fused(call: Call, heads: Heads, past: int, bias: Value | None, mask: np.ndarray | None) -> Value:
    """What both have in common; `mask` says which keys count, `(batch, keys)`, and takes from the others."""
    q, k, _ = heads
    B, _, S, D = call.shape(q)
    T = call.shape(k)[2]
    factor = call.real("scale", 0.0) or 1.0 / sqrt(D)
    if mask is not None:
        if mask.shape != (B, T):
            raise ValueError(f"{call.op} with a mask of shape {list(mask.shape)}")
        taken = np.where(mask == 0, call.real("mask_filter_value", -10000.0), 0.0).reshape(B, 1, 1, T)
        bias = taken if bias is None else plus(call, bias, taken)
    keep = np.arange(T) <= np.arange(S)[:, None] + past if call.get("unidirectional", 0) else None
    y, _ = attended(call, heads, Scores(factor, bias=bias, keep=keep))
    return _whole(call, y)
