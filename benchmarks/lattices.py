"""Little networks of functions that jump, on lattices: a point planted on a jump, or a rounding away from one.

One to three operators follow one another, with affine layers between them whose weights are quarters and halves, so
that a lattice of inputs meets jumps exactly: staircases and comparisons, codes, what picks the largest, codes of long
sums that cancel.  The property asks for outputs within a thousandth of those at the planted point.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnxruntime

from tests.laws.onnx_models import Case

Rng = np.random.Generator
Made = tuple[str, int]
"""A tensor of shape `[1, width]` by name, and its width."""
Step = Callable[[Case, Rng, str, int], Made]

WIDEST, OUTPUTS, LONG = 4, 3, 64
MARGIN = 1e-3


def affine(m: Case, rng: Rng, h: str, w: int) -> Made:
    """A layer of quarters and halves."""
    n = int(rng.integers(1, 4))
    W, b = rng.integers(-3, 4, (w, n)) * rng.choice([0.25, 0.5, 1.0]), rng.integers(-3, 4, n) * rng.choice([0.25, 0.5])
    return m.node("Add", m.node("MatMul", h, m.tensor(W))[0], m.tensor(b))[0], n


def _plain(op: str, **attributes: Any) -> Step:
    return lambda m, rng, h, w: (m.node(op, h, **attributes)[0], w)


def _compared(op: str) -> Step:
    def step(m: Case, rng: Rng, h: str, w: int) -> Made:
        return m.node("Cast", m.node(op, h, _half(m, rng))[0], to=1)[0], w

    return step


def _half(m: Case, rng: Rng) -> str:
    return m.tensor(np.float32(rng.integers(-2, 3) * 0.5))


def _code(m: Case, rng: Rng, scales: tuple[float, ...] = (0.25, 0.5, 1.0, 2.0), kind: Any = None) -> tuple[str, str]:
    kind = kind or rng.choice([np.int8, np.uint8])
    return m.tensor(np.float32(rng.choice(scales))), m.tensor(kind(rng.integers(0, 128)))


def _coded(m: Case, h: str, code: tuple[str, str]) -> str:
    return m.node("DequantizeLinear", m.node("QuantizeLinear", h, *code)[0], *code)[0]


def codes(m: Case, rng: Rng, h: str, w: int) -> Made:
    """In codes, once or twice, by one scale or two."""
    code = _code(m, rng)
    h = _coded(m, h, code)
    if rng.random() < 0.5:
        h = _coded(m, m.node("Relu", h)[0], code if rng.random() < 0.6 else _code(m, rng))
    return h, w


def fused(op: str) -> Step:
    """An operator on codes, of a tensor with itself or with constants."""

    def step(m: Case, rng: Rng, h: str, w: int) -> Made:
        kind = np.int8 if rng.random() < 0.5 else np.uint8
        one, to = _code(m, rng, (0.25, 0.5, 1.0), kind), _code(m, rng, (0.5, 1.0), kind)
        (q,) = m.node("QuantizeLinear", h, *one)
        other = (q, *one) if rng.random() < 0.5 else (m.tensor(rng.integers(0, 100, w).astype(kind)), *to)
        (r,) = m.node(op, q, *one, *other, *to, domain="com.microsoft")
        return m.node("DequantizeLinear", r, *to)[0], w

    return step


def cancelling(m: Case, rng: Rng, h: str, w: int) -> Made:
    """A code of long sums that cancel: in float32 they are off by more than what they come to would be."""
    code = m.tensor(np.float32(rng.choice([0.1, 0.3, 0.7]))), m.tensor(np.uint8(rng.integers(0, 128)))
    wide = _coded(m, m.node("MatMul", h, m.tensor(rng.choice([-1.0, 0.3, 1.0], (w, LONG))))[0], code)
    W = rng.normal(size=(LONG, 3)) * rng.choice([1.0, 30.0, 300.0])
    W[1::2] = rng.normal(size=(LONG // 2, 3)) - W[::2]
    twice = m.node("Gather", wide, m.tensor(np.repeat(np.arange(LONG // 2), 2)), axis=1)[0]
    to = m.tensor(np.float32(rng.choice([0.05, 0.3]))), m.tensor(np.int8(0))
    return _coded(m, m.node("MatMul", twice, m.tensor(W))[0], to), 3


def dynamic(m: Case, rng: Rng, h: str, w: int) -> Made:
    """Quantised as numbers come: codes, codes times a half, or a product with whole weights."""
    q, s, z = m.node("DynamicQuantizeLinear", h, outputs=3)
    how = rng.integers(3)
    if how < 2:
        return (m.node("Cast", q, to=1) if how else m.node("DequantizeLinear", q, m.tensor(np.float32(0.5))))[0], w
    (i,) = m.node("MatMulInteger", q, m.tensor(np.eye(w, dtype=np.int8)), z)
    return m.node("Mul", m.node("Cast", i, to=1)[0], s)[0], w


def _one_of(op: str) -> Step:
    def step(m: Case, rng: Rng, h: str, w: int) -> Made:
        return m.node("Cast", m.node(op, h, axis=1, select_last_index=int(rng.integers(2)))[0], to=1)[0], 1

    return step


def ordered(m: Case, rng: Rng, h: str, w: int) -> Made:
    """The largest or the least, or where they are."""
    k = int(rng.integers(1, w + 1))
    v, i = m.node("TopK", h, m.tensor(np.array([k])), outputs=2, axis=1, largest=int(rng.integers(2)))
    return (v if rng.random() < 0.5 else m.node("Cast", i, to=1)[0]), k


def one_hot(m: Case, rng: Rng, h: str, w: int) -> Made:
    """Which class a number names."""
    d = int(rng.integers(1, 4))
    ends = m.tensor(np.array([0, 1], np.float32))
    (y,) = m.node("OneHot", m.node("Cast", h, to=7)[0], m.tensor(np.array(d)), ends, axis=-1)
    return m.node("Reshape", y, m.tensor(np.array([1, -1])))[0], w * d


def whole(m: Case, rng: Rng, h: str, w: int) -> Made:
    """As a whole type, or what is left of a division there."""
    if rng.random() < 0.5:
        return m.node("Cast", m.node("Cast", h, to=int(rng.choice([2, 3, 6, 7, 12])))[0], to=1)[0], w
    left = m.node("Mod", m.node("Cast", h, to=6)[0], m.tensor(np.int32(rng.choice([-2, 2, 3]))))
    return m.node("Cast", left[0], to=1)[0], w


def pair(m: Case, rng: Rng, h: str, w: int) -> Made:
    """Two functions of one number, put together."""
    a, b = (m.node(str(op), h)[0] for op in rng.choice(["Ceil", "Floor", "Relu", "Round", "Sign"], 2, replace=False))
    return m.node(str(rng.choice(["Max", "Mul", "Sub"])), a, b)[0], w


def chosen(m: Case, rng: Rng, h: str, w: int) -> Made:
    """A staircase on one side of a threshold, a line on the other."""
    (c,) = m.node("Greater" if rng.random() < 0.5 else "GreaterOrEqual", h, _half(m, rng))
    return m.node("Where", c, m.node("Floor", h)[0], m.node("Neg", h)[0])[0], w


def with_own(op: str, stair: str) -> Step:
    """A number and its own staircase."""
    return lambda m, rng, h, w: (m.node(op, h, m.node(stair, h)[0])[0], w)


def beside(m: Case, rng: Rng, h: str, w: int) -> Made:
    """Numbers and their staircases side by side."""
    return m.node("Concat", h, m.node("Ceil", h)[0], axis=1)[0], 2 * w


STEPS: dict[str, Step] = {
    **{op: _plain(op) for op in ("Abs", "Ceil", "Floor", "Relu", "Round", "Sign")},
    **{op: _compared(op) for op in ("Equal", "Greater", "LessOrEqual")},
    **{op: _one_of(op) for op in ("ArgMax", "ArgMin")},
    **{op: fused(op) for op in ("QLinearAdd", "QLinearMul")},
    "Clip": lambda m, rng, h, w: (m.node("Clip", h, m.tensor(np.float32(-1)), m.tensor(np.float32(1.5)))[0], w),
    "Hardmax": _plain("Hardmax", axis=1),
    "Mod": lambda m, rng, h, w: (
        m.node("Mod", h, m.tensor(np.float32(rng.choice([-1.5, 0.5, 1.0, 2.0]))), fmod=1)[0],
        w,
    ),
    "ThresholdedRelu": lambda m, rng, h, w: (m.node("ThresholdedRelu", h, alpha=float(rng.choice([0, 0.5, 1])))[0], w),
    "beside": beside,
    "cancelling": cancelling,
    "chosen": chosen,
    "codes": codes,
    "dynamic": dynamic,
    "one hot": one_hot,
    "ordered": ordered,
    "own largest": with_own("Max", "Floor"),
    "own multiple": with_own("Mul", "Floor"),
    "own place": with_own("Less", "Round"),
    "pair": pair,
    "whole": whole,
}
"""What networks are made of; each is drawn as often as any other."""


def network(rng: Rng) -> tuple[bytes, int, int]:
    """A model `[1, n]` to `[1, m]`, with n and m."""
    n = int(rng.integers(1, 3))
    m, h, w = Case([1, n]), "x", n
    if rng.random() < 0.7:
        h, w = affine(m, rng, h, w)
    for name in rng.choice(list(STEPS), int(rng.integers(1, 4))):
        h, w = STEPS[name](m, rng, h, w)
        if name == "own place":
            (h,) = m.node("Cast", h, to=1)
        h, w = _narrowed(m, h, w, WIDEST)
        if rng.random() < 0.5:
            h, w = affine(m, rng, h, w)
    h, w = _narrowed(m, h, w, OUTPUTS)
    m.node("Identity", h)
    return m.bytes(), n, w


def _narrowed(m: Case, h: str, w: int, most: int) -> Made:
    if w <= most:
        return h, w
    return m.node("Slice", h, *(m.tensor(np.array([a])) for a in (0, most, 1)))[0], most


def question(rng: Rng) -> tuple[bytes, str, np.ndarray, np.ndarray] | None:
    """A model, a property's text, a point that satisfies it and its outputs; None where the model does not run."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    model, n, _ = network(rng)
    x = (rng.integers(-8, 9, n) * rng.choice([0.25, 0.5, 1.0])).astype(np.float32)
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        y = np.asarray(session.run(None, {"x": x[None]})[0], float).reshape(-1)
    except Exception:  # shapes or types that onnxruntime does not run
        return None
    if not np.isfinite(y).all():
        return None
    size = rng.choice([0.3, 0.7, 1.1, 2.2], n)
    t = rng.random(n) if rng.random() < 0.8 else rng.integers(0, 2, n)
    lower = np.minimum((x - size * t).astype(np.float32), x).astype(float)
    upper = np.maximum((x + size * (1 - t)).astype(np.float32), x).astype(float)
    margin = MARGIN * (1 + abs(y).max())
    lines = [f"(declare-const {v}_{i} Real)" for v, k in (("X", n), ("Y", len(y))) for i in range(k)]
    for v, low, high in (("X", lower, upper), ("Y", y - margin, y + margin)):
        for i, (a, b) in enumerate(zip(low, high, strict=True)):
            lines += [f"(assert (>= {v}_{i} {float(a)!r}))", f"(assert (<= {v}_{i} {float(b)!r}))"]
    return model, "\n".join(lines) + "\n", x.astype(float), y
