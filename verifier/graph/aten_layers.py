"""ATen operators of whole layers: softmax and norms, extremes over axes, attention, recurrence, einsum."""

from __future__ import annotations

from dataclasses import replace
from math import inf, prod, sqrt
from typing import Any

import numpy as np
import torch
from torch import Tensor

from verifier.graph.aten import one_row, reduced_axes, scaled, spread, total
from verifier.graph.aten_call import MIXES, Activation, Call, Rule, refuse
from verifier.graph.aten_products import by_matrix, contracted, paired, product, size
from verifier.graph.masks import groups, kept
from verifier.graph.ops.affine import Add, Dense, Scale, Sum
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Concat, Take, Transpose
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.product import Share
from verifier.graph.ops.relu import Relu
from verifier.values.arrays import to_numpy

_CENTRED = 256
"""Up to so many entries are centred by one matrix."""


# --- along one axis ---


def last(c: Call, x: Activation, dim: int) -> tuple[Activation, Transpose | None]:
    """x with an axis moved to the back by an exchange, and the exchange that undoes it."""
    x, axis = c.axis(x, dim)
    rank = len(x.shape)
    if axis == rank - 1:
        return x, None
    swap = list(range(rank))
    swap[axis], swap[-1] = swap[-1], swap[axis]
    return c.add(Transpose(tuple(swap)), x), Transpose(tuple(swap))


def softmax(c: Call) -> Activation:
    """Softmax, and its logarithm."""
    x, back = last(c, c.activation(), c.args["dim"])
    y = _log_share(c, x) if "log_softmax" in c.op.name() else share(c, x)
    return c.add(back, y) if back else y


def share(c: Call, x: Activation) -> Activation:
    """Softmax over the last axis; of what is not minus infinity, where a constant makes some of it so."""
    node = c.builder.nodes[x.at]
    keep = kept(to_numpy(node.op.t)) if isinstance(node.op, Scale) and node.op.t is not None else None
    if keep is None:
        return c.add(Share(), x)
    assert isinstance(node.op, Scale) and node.op.t is not None
    t = torch.where(torch.from_numpy(keep).to(c.device), node.op.t, 0.0)
    x = c.add(replace(node.op, t=t), replace(x, at=node.inputs[0], shape=c.builder.nodes[node.inputs[0]].shape))
    parts, where = groups(np.broadcast_to(keep, x.shape))
    shares = [c.add(Share(), c.add(Take(c.index(torch.from_numpy(p)), p.shape), x)) for p in parts]
    flat = [c.reshape(s, (prod(s.shape),)) for s in shares]
    joined = c.add(Concat(0), *flat) if len(flat) > 1 else flat[0]
    return c.add(Take(c.index(torch.from_numpy(where)), where.shape), joined)


def _log_share(c: Call, x: Activation) -> Activation:
    return c.add(Add((1, -1)), x, spread(c, _log_sum(c, x), c.full(x)))


def _log_sum(c: Call, x: Activation) -> Activation:
    """As `convert_reduce.log_sum`."""
    while (n := x.shape[-1]) > 1:
        at, h = torch.arange(prod(x.shape)).reshape(x.shape), n // 2
        a, b, *odd = (c.add(Take(c.index(i), tuple(i.shape)), x) for i in at.split([h, h, n % 2], -1) if i.numel())
        y = c.add(Add((1, 1)), a, c.add(Curve("softplus"), c.add(Add((1, -1)), b, a)))
        x = c.add(Concat(at.ndim - 1), y, *odd) if odd else y
    return x


def cumulative_sum(c: Call) -> Activation:
    """A running sum."""
    x, back = last(c, c.activation(), c.args["dim"])
    y = c.add(Dense(torch.ones(x.shape[-1], x.shape[-1], dtype=c.dtype, device=c.device).tril()), x)
    return c.add(back, y) if back else y


def glu(c: Call) -> Activation:
    """The first half times the sigmoid of the second."""
    x, axis = c.axis(c.activation(), c.args["dim"])
    halves = torch.arange(prod(x.shape)).reshape(x.shape).chunk(2, axis)
    a, b = (c.add(Take(c.index(i), tuple(i.shape)), x) for i in halves)
    return product(c, a, c.add(Curve("sigmoid"), b))


# --- over axes ---


def extreme_over(sign: int) -> Rule:
    """amax, amin, max and min over axes; positions are not computed."""

    def rule(c: Call) -> Any:
        x, axes = reduced_axes(c)
        kept = [i for i in range(len(x.shape)) if i not in axes]
        at = torch.arange(prod(x.shape)).reshape(x.shape).permute(*kept, *axes)
        windows = at.reshape(-1, prod(x.shape[a] for a in axes)).to(c.device)
        keep = bool(c.args.get("keepdim"))
        shape = tuple(1 if i in axes else d for i, d in enumerate(x.shape) if keep or i in kept)
        y = scaled(c, c.add(MaxOf(windows, shape), scaled(c, x, sign)), sign)
        return [y] if c.op in (torch.ops.aten.max.dim, torch.ops.aten.min.dim) else y

    return rule


def norm_over(c: Call) -> Activation:
    """The first, second or largest norm over axes."""
    x, axes = reduced_axes(c)
    p = float(c.args["ord"])
    if p == inf:
        return extreme_over(1)(replace(c, args=c.args | {"self": size(c, c.activation())}))  # type: ignore[return-value]
    if p not in (1.0, 2.0):
        refuse(f"a norm of order {p:g}; 1, 2 and infinity are supported")
    y = c.add(Sum(axes, bool(c.args.get("keepdim"))), size(c, x) if p == 1.0 else c.add(Curve("square"), x))
    return y if p == 1.0 else c.add(Curve("power", (0.5,)), y)


def log_sum_exp(c: Call) -> Activation:
    """`log Σ exp(x)`."""
    x, axes = reduced_axes(c)
    kept = [i for i in range(len(x.shape)) if i not in axes]
    at = torch.arange(prod(x.shape)).reshape(x.shape).permute(*kept, *axes).flatten(len(kept))
    y = _log_sum(c, c.add(Take(c.index(at), tuple(at.shape)), x))
    keep = bool(c.args.get("keepdim"))
    return c.reshape(y, tuple(1 if i in axes else d for i, d in enumerate(x.shape) if keep or i in kept))


def variance(c: Call) -> Activation:
    """Variance and standard deviation over axes."""
    x, axes = reduced_axes(c)
    n = prod(x.shape[a] for a in axes)
    correction = c.args.get("correction", 1 if c.args.get("unbiased", True) else 0)
    correction = 1 if correction is None else correction
    mean = scaled(c, c.add(Sum(axes, True), x), 1.0 / n)
    deviation = c.add(Add((1, -1)), x, spread(c, mean, c.full(x)))
    y = scaled(
        c, c.add(Sum(axes, bool(c.args.get("keepdim"))), c.add(Curve("square"), deviation)), 1.0 / (n - correction)
    )
    return c.add(Curve("power", (0.5,)), y) if "std" in c.op.name() else y


# --- norms ---


def normalised(c: Call, x: Activation, epsilon: float, centre: bool = True) -> Activation:
    """`(x − mean) / √(variance + epsilon)` over the last axis, or (not centred) by the mean of squares."""
    n, rank = x.shape[-1], len(x.shape)
    if centre and n <= _CENTRED:
        eye = torch.eye(n, dtype=c.dtype, device=c.device)
        x = c.add(Dense(eye - 1.0 / n, None, Dense(2 * (eye + 1.0 / n))), x)
    elif centre:
        mean = scaled(c, c.add(Sum((rank - 1,), True), x), 1.0 / n)
        x = c.add(Add((1, -1)), x, spread(c, mean, c.full(x)))
    squares = scaled(c, c.add(Sum((rank - 1,), True), c.add(Curve("square"), x)), 1.0 / n)
    return product(c, x, c.add(Curve("power", (-0.5,)), total(c, squares, 1, epsilon, 1)))


def _gained(c: Call, y: Activation, shape: tuple[int, ...] | None = None) -> Activation:
    weight, bias = (c.optional(k) if k in c.args else None for k in ("weight", "bias"))
    if weight is None and bias is None:
        return y
    if shape is not None:
        weight, bias = (None if t is None else t.reshape(shape) for t in (weight, bias))
    return c.add(Scale(weight, bias), y)


def layer_norm(c: Call) -> Activation:
    """Layer norm and RMS norm."""
    x, k, centre = c.activation("input"), len(c.args["normalized_shape"]), "rms" not in c.op.name()
    epsilon = torch.finfo(c.dtype).eps if c.args["eps"] is None else c.args["eps"]
    x = c.bare(x) if k > len(x.shape) else x
    flat = c.reshape(x, (*x.shape[: len(x.shape) - k], prod(x.shape[len(x.shape) - k :])))
    return _gained(c, c.reshape(normalised(c, flat, epsilon, centre), x.shape))


def group_norm(c: Call) -> Activation:
    """Group norm and instance norm: over channels of a group and all space."""
    x = c.activation("input")
    if not x.lead:
        refuse(MIXES)
    C, *space = x.shape
    if c.args.get("use_input_stats") is False:
        mean, spread = (c.constant(c.args[k]).reshape(C, *([1] * len(space))) for k in ("running_mean", "running_var"))
        y = c.add(Scale(by := (spread + c.args["eps"]).rsqrt(), -mean * by), x)
        return _gained(c, y, (C, *([1] * len(space))))
    groups = c.args.get("num_groups", C)
    y = normalised(c, c.reshape(x, (groups, prod(x.shape) // groups)), c.args["eps"])
    return _gained(c, c.reshape(y, x.shape), (C, *([1] * len(space))))


# --- attention ---


def attention(c: Call) -> Activation:
    """`softmax(q kᵀ · scale + mask) v`."""
    q, k, v = (c.activation(name) for name in ("query", "key", "value"))
    if c.args.get("dropout_p"):
        refuse("attention with dropout; export in evaluation mode: module.eval()")
    if c.args.get("enable_gqa"):
        k, v = (_for_each(c, t, q) for t in (k, v))
    scale = c.args.get("scale") or 1.0 / sqrt(q.shape[-1])
    rank = len(k.shape)
    y = contracted(c, q, c.add(Transpose((*range(rank - 2), rank - 1, rank - 2)), k))
    y, mask = scaled(c, y, scale), c.args.get("attn_mask")
    if c.args.get("is_causal"):
        mask = torch.ones(y.shape[-2:], dtype=torch.bool).tril()
    if isinstance(mask, Activation):
        y = total(c, y, 1, mask, 1)
    elif mask is not None:
        if mask.dtype == torch.bool:
            mask = torch.where(mask, 0.0, -inf)
        y = total(c, y, 1, mask.to(c.device), 1)
    return contracted(c, share(c, y), v)


def _for_each(c: Call, x: Activation, q: Activation) -> Activation:
    """Keys or values, each head as often as there are heads of queries for it."""
    at = torch.arange(prod(x.shape)).reshape(x.shape)
    at = at.repeat_interleave(q.shape[-3] // x.shape[-3], -3)
    return c.add(Take(c.index(at), tuple(at.shape)), x)


# --- recurrence ---


def recurrent(c: Call) -> list[Activation]:
    """LSTM, GRU and RNN, one step after the other; the outputs, and for a single input the last states."""
    x, name = c.activation("input"), c.op.name()
    if "batch_sizes" in c.args:
        refuse("packed sequences")
    if not c.args["batch_first"] or not x.lead:
        x = c.bare(x)
        x = c.reshape(x, (x.shape[0], *x.shape[2:])) if x.shape[1] == 1 else refuse("several inputs, sequence first")
        x = replace(x, lead=1)
    kind = "lstm" if "lstm" in name else "gru" if "gru" in name else "rnn_relu" if "relu" in name else "rnn_tanh"
    starts = [c.args["hx"]] if isinstance(c.args["hx"], (Tensor, Activation)) else list(c.args["hx"])
    if any(isinstance(s, Activation) for s in starts):
        refuse("a first state that depends on the input")
    ways, per = 2 if c.args["bidirectional"] else 1, 4 if c.args["has_biases"] else 2
    ends: list[list[Activation]] = []
    for layer in range(c.args["num_layers"]):
        runs = []
        for way in range(ways):
            k = layer * ways + way
            weights = [c.constant(p) for p in c.args["params"][k * per : (k + 1) * per]]
            state = [c.constant(s)[k, 0] for s in starts]
            steps, end = _run(c, kind, x, weights, state, bool(way))
            runs.append(c.add(Concat(0), *(c.reshape(h, (1, *h.shape)) for h in steps)))
            ends.append(end)
        x = c.add(Concat(1), *runs) if ways > 1 else runs[0]
    if c.batch != 1:
        return [x]
    if not c.args["batch_first"]:
        x = c.reshape(replace(x, lead=0), (x.shape[0], 1, x.shape[1]))
    states = [
        c.add(Concat(0), *(c.reshape(replace(e[i], lead=0), (1, 1, *e[i].shape)) for e in ends))
        for i in range(len(ends[0]))
    ]
    return [x, *states]


def cell(c: Call) -> Activation | list[Activation]:
    """One step of an LSTM, a GRU or an RNN."""
    x, name = c.activation("input"), c.op.name()
    kind = "lstm" if "lstm" in name else "gru" if "gru" in name else "rnn_relu" if "relu" in name else "rnn_tanh"
    given = c.args["hx"] if kind == "lstm" else [c.args["hx"]]
    state: list[Any] = [v if isinstance(v, Activation) else one_row(c.constant(v)) for v in given]
    W, R = c.constant(c.args["w_ih"]), c.constant(c.args["w_hh"])
    b, r = c.optional("b_ih"), c.optional("b_hh")
    if not x.lead or len(x.shape) != 1 or any(isinstance(v, Activation) and not v.lead for v in state):
        refuse(MIXES)
    h = state[0]
    inner = c.add(Dense(R, r), h) if isinstance(h, Activation) else R @ h + (0 if r is None else r)
    after = _step(c, kind, c.add(Dense(W, b), x), inner, state, R.shape[1])
    return after if kind == "lstm" else after[0]


def _run(
    c: Call, kind: str, x: Activation, weights: list[Tensor], state: list[Any], backwards: bool
) -> tuple[list[Activation], list[Activation]]:
    """Hidden states `[H]` after every step, in the order of the input `[T, n]`, and the last state."""
    W, R, *biases = weights
    b, r = biases or (None, None)
    T, G, H = x.shape[0], W.shape[0], R.shape[1]
    inputs = c.add(Dense(W, b), x)
    steps: list[Any] = [None] * T
    for t in reversed(range(T)) if backwards else range(T):
        z = c.add(Take(c.index(torch.arange(t * G, (t + 1) * G)), (G,)), inputs)
        h = state[0]
        inner = c.add(Dense(R, r), h) if isinstance(h, Activation) else R @ h + (0 if r is None else r)
        state = _step(c, kind, z, inner, state, H)
        steps[t] = state[0]
    return steps, state


def _step(c: Call, kind: str, z: Activation, inner: Any, state: list[Any], H: int) -> list[Any]:
    """One step from what the input and the last hidden state give, all gates side by side."""

    def part(v: Any, k: int, n: int = 1) -> Any:
        if isinstance(v, Activation):
            return c.add(Take(c.index(torch.arange(k * H, (k + n) * H)), (n * H,)), v)
        return v[k * H : (k + n) * H]

    def times(a: Activation, v: Any) -> Activation:
        return product(c, a, v) if isinstance(v, Activation) else c.add(Scale(v), a)

    if kind == "gru":
        h = state[0]
        first = c.add(Curve("sigmoid"), total(c, part(z, 0, 2), 1, part(inner, 0, 2), 1))
        r, u = part(first, 0), part(first, 1)
        n = c.add(Curve("tanh"), total(c, part(z, 2), 1, times(r, part(inner, 2)), 1))
        return [total(c, n, 1, product(c, u, total(c, h, 1, n, -1)), 1)]
    y = total(c, z, 1, inner, 1)
    if kind != "lstm":
        return [c.add(Curve("tanh") if kind == "rnn_tanh" else Relu(), y)]
    i, f, o = (c.add(Curve("sigmoid"), part(y, k)) for k in (0, 1, 3))
    new = product(c, i, c.add(Curve("tanh"), part(y, 2)))
    cell = total(c, new, 1, times(f, state[1]), 1)
    return [product(c, o, c.add(Curve("tanh"), cell)), cell]


# --- sums of products named by letters ---


def einsum(c: Call) -> Activation:
    """Einsum of one or two operands."""
    equation, operands = c.args["equation"].replace(" ", ""), list(c.args["tensors"])
    left, arrow, out = equation.partition("->")
    terms = left.split(",")
    if not arrow or "." in equation or len(terms) > 2 or any(len(set(t)) < len(t) for t in terms):
        refuse(f"einsum of {equation}; one or two operands, a result and no ellipsis or diagonal are supported")
    active = [i for i, v in enumerate(operands) if isinstance(v, Activation)]
    letter = out[:1]
    front = all(operands[i].lead and terms[i][:1] == letter for i in active)
    if front and not any(letter in t for i, t in enumerate(terms) if i not in active):
        terms, out = [t[1:] if i in active else t for i, t in enumerate(terms)], out[1:]
    else:
        operands = [c.bare(v) if isinstance(v, Activation) else v for v in operands]
    if len(terms) == 1:
        operands, terms = [*operands, torch.ones(())], [*terms, ""]
    sizes = {s: d for v, t in zip(operands, terms, strict=True) for s, d in zip(t, v.shape, strict=True)}
    names = out + "".join(s for s in sizes if s not in out)
    shape = tuple(sizes[s] for s in names)
    if prod(shape) > 1 << 25:
        refuse(f"einsum of {prod(shape)} products")
    parts: list[Any] = []
    for v, t in zip(operands, terms, strict=True):
        at = torch.arange(prod(v.shape)).reshape(v.shape) if isinstance(v, Activation) else c.constant(v)
        at = at.permute([t.index(s) for s in names if s in t])
        at = at.reshape([d if s in t else 1 for s, d in zip(names, shape, strict=True)]).broadcast_to(shape)
        parts.append(c.add(Take(c.index(at), (*shape, 1)), v) if isinstance(v, Activation) else at)
    if len(active) == 2:
        y = paired(c, *parts)
    else:
        y = c.add(Scale(parts[1 - active[0]]), c.reshape(parts[active[0]], shape))
    summed = tuple(range(len(out), len(names)))
    return c.add(Sum(summed, False), y) if summed else y


def batched_sum(c: Call) -> Activation:
    """`beta·self + alpha·batch1 batch2`."""
    y = by_matrix(c, c.args["batch1"], c.args["batch2"])
    return total(c, c.args["self"], c.args["beta"], y, c.args["alpha"])
