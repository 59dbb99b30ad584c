"""Cases of ONNX's attention in its forms, the standard's and com.microsoft's, and of rotary embeddings."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from .onnx_models import Case, Draw, ints, numbers

Make = Callable[[Draw], Case]


def _picked(m: Case, draw: Draw, shape: list[int]) -> str:
    """A tensor of the input's own entries, or a constant."""
    if draw(st.booleans()):
        return m.tensor(numbers(draw, shape))
    (flat,) = m.node("Reshape", *m.node("Tanh", "x"), m.tensor(np.array([-1])))
    at = np.random.default_rng(draw(ints(0, 99))).integers(0, int(np.prod(m.shape)), shape)
    return m.node("Gather", flat, m.tensor(at), axis=0)[0]


def attention(draw: Draw) -> Case:
    """Several heads that may share keys and values, masks, caches, caps; tensors of three or four axes."""
    B, S, L, D, Dv = draw(ints(1, 2)), draw(ints(1, 3)), draw(ints(1, 3)), 2, draw(ints(1, 2))
    kv, past, flat = draw(ints(1, 2)), draw(ints(0, 2)), draw(st.booleans())
    heads = kv * draw(ints(1, 2))
    T = L + past
    q, k, v = ([B, h, n, d] for h, n, d in ((heads, S, D), (kv, L, D), (kv, L, Dv)))
    if flat:
        q, k, v = ([s[0], s[2], s[1] * s[3]] for s in (q, k, v))
    which = draw(ints(0, 2))
    m = Case((q, k, v)[which], draw(st.sampled_from([23, 24])))
    names = ["x" if i == which else _picked(m, draw, s) for i, s in enumerate((q, k, v))]
    shape = draw(st.sampled_from([[S, T], [1, 1, S, T], [B, heads, S, T]]))
    mask = draw(st.sampled_from(["none", "bool", "float", "infinite", "active"]))
    if mask == "bool":
        names.append(m.tensor(numbers(draw, shape) > -0.5))
    elif mask == "none":
        names.append("")
    else:
        t = numbers(draw, shape)
        name = m.tensor(np.where(t < -0.5, -np.inf, t) if mask == "infinite" else t)
        names.append(m.node("Add", name, *m.node("ReduceMax", "x", keepdims=0))[0] if mask == "active" else name)
    if past:
        names += [_picked(m, draw, [B, kv, past, d]) for d in (D, Dv)]
    elif m.opset > 23 and draw(st.booleans()):
        names += ["", "", m.tensor(np.array([draw(ints(S, T) if S <= T else ints(1, T)) for _ in range(B)]))]
    a: dict[str, Any] = {"q_num_heads": heads, "kv_num_heads": kv} if flat else {}
    a["scale"] = draw(st.sampled_from([None, 0.3]))
    a["softcap"] = draw(st.sampled_from([None, 1.5]))
    apart = bool(past) and S == 1 and L > 1  # here onnxruntime is not what the standard says, and it is refused
    a["is_causal"] = None if apart else draw(st.sampled_from([None, 1]))
    stage = draw(st.sampled_from([None, 0, 1, 3])) if which < 2 else None
    while not names[-1]:
        names.pop()
    outputs = m.node("Attention", *names, outputs=4 if stage is not None else 1, qk_matmul_output_mode=stage, **a)
    if stage is not None:
        m.outputs = [outputs[0], *outputs[3:]]
    return m


def rotary(draw: Draw) -> Case:
    B, S, heads, pairs = draw(ints(1, 2)), draw(ints(1, 3)), draw(ints(1, 2)), draw(ints(1, 2))
    size, flat, ids = 2 * pairs + 2 * draw(ints(0, 1)), draw(st.booleans()), draw(st.booleans())
    m = Case([B, S, heads * size] if flat else [B, heads, S, size], 23)
    table = [5, pairs] if ids else [B, S, pairs]
    inputs = ["x", *(m.tensor(numbers(draw, table)) for _ in range(2))]
    if ids:
        inputs.append(m.tensor(np.random.default_rng(draw(ints(0, 99))).integers(0, 5, (B, S))))
    partial = 2 * pairs if size > 2 * pairs else draw(st.sampled_from([None, 0]))
    m.node("RotaryEmbedding", *inputs, num_heads=heads if flat else None, rotary_embedding_dim=partial,
           interleaved=draw(st.sampled_from([None, 1])))  # fmt: skip
    return m


def fused_rotary(draw: Draw) -> Case:
    B, S, heads, pairs = draw(ints(1, 2)), draw(ints(1, 3)), draw(ints(1, 2)), draw(ints(1, 2))
    m = Case([B, S, heads * 2 * pairs] if draw(st.booleans()) else [B, heads, S, 2 * pairs])
    at = np.array([1]) if draw(st.booleans()) else np.random.default_rng(draw(ints(0, 99))).integers(0, 6, (B, S))
    tables = [m.tensor(numbers(draw, [6, pairs])) for _ in range(2)]
    m.node("RotaryEmbedding", "x", m.tensor(at), *tables, interleaved=draw(ints(0, 1)), domain="com.microsoft")
    return m


def multi_head(draw: Draw) -> Case:
    B, S, L, heads, D = draw(ints(1, 2)), draw(ints(1, 3)), draw(ints(1, 3)), draw(ints(1, 2)), 2
    m = Case([B, S, heads * D])
    names = ["x", *(_picked(m, draw, [B, L, heads * D]) for _ in range(2))]
    names.append(m.tensor(numbers(draw, [3 * heads * D])) if draw(st.booleans()) else "")
    names.append(m.tensor(np.ones((B, L), np.int32)) if draw(st.booleans()) else "")
    names.append(m.tensor(numbers(draw, [B, heads, S, L])) if draw(st.booleans()) else "")
    while not names[-1]:
        names.pop()
    a: dict[str, Any] = {"scale": draw(st.sampled_from([None, 0.4])), "domain": "com.microsoft"}
    m.node("MultiHeadAttention", *names, num_heads=heads, **a)
    return m


def packed(draw: Draw) -> Case:
    B, S, heads, n = draw(ints(1, 2)), draw(ints(1, 3)), draw(ints(1, 2)), 3
    m = Case([B, S, n])
    size = heads * 2
    names = ["x", m.tensor(numbers(draw, [n, 3 * size])), m.tensor(numbers(draw, [3 * size]))]
    names += [m.tensor(np.ones((B, S), np.int32))] if draw(st.booleans()) else []
    m.node("Attention", *names, num_heads=heads, unidirectional=draw(ints(0, 1)), domain="com.microsoft")
    return m


def is_nan(draw: Draw) -> Case:
    """Of a softmax, some of whose rows may look at nothing."""
    m = Case([3, 3])
    keep = numbers(draw, [3, 3]) > draw(st.sampled_from([-1.0, 0.3]))
    (p,) = m.node("Softmax", *m.node("Add", "x", m.tensor(np.where(keep, 0, -np.inf))))
    m.node("Where", *m.node("IsNaN", p), m.tensor(0.5), p)
    return m


CASES: dict[str, Make] = {
    "Attention": attention,
    "IsNaN": is_nan,
    "RotaryEmbedding": rotary,
    "com.microsoft.Attention": packed,
    "com.microsoft.MultiHeadAttention": multi_head,
    "com.microsoft.RotaryEmbedding": fused_rotary,
}
