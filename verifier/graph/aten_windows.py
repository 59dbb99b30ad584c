"""ATen operators that slide a window or resize, and batch norm."""

from __future__ import annotations

import re
from dataclasses import replace
from itertools import product
from math import prod

import numpy as np
import torch

from verifier.graph.aten import move, scaled
from verifier.graph.aten_call import MIXES, Activation, Call, refuse
from verifier.graph.ops.affine import Dense, Scale, Standardize, Sum
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.moves import Take
from verifier.graph.ops.pool import MaxOf, max_pool_windows


def _axes(c: Call) -> int:
    """Number of spatial axes, from the operator's name."""
    found = re.search(r"(\d)d", c.op.name())
    assert found is not None
    return int(found[1])


def _each(c: Call, name: str) -> tuple[int, ...]:
    """An argument with one number a spatial axis."""
    value = c.args[name]
    value = [value] if isinstance(value, int) else list(value)
    return tuple(value * _axes(c) if len(value) == 1 else value)


def conv(c: Call) -> Activation:
    """A convolution."""
    W = c.constant(c.args["weight"])
    stride, dilation = _each(c, "stride"), _each(c, "dilation")
    padding = c.args["padding"]
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, W.shape[2:], strict=True)]
        pads = tuple((p // 2, p - p // 2) for p in total)
    else:
        pads = tuple((p, p) for p in ((0,) * _axes(c) if padding == "valid" else _each(c, "padding")))
    return c.add(Conv(W, c.optional("bias"), stride, pads, dilation, c.args["groups"]), c.activation("input"))


def batch_norm(c: Call) -> list[Activation]:
    """Batch norm with the statistics that it has stored."""
    x = c.activation("input")
    column = (-1,) + (1,) * (len(x.shape) - 1)
    mean, var = (c.constant(c.args[k]).detach().double() for k in ("running_mean", "running_var"))
    s = torch.rsqrt(var + c.args["eps"])
    # Two nodes: the statistics' part is computed here once, weight and bias stay the module's own tensors.
    statistics = (c.args["running_mean"], c.args["running_var"])
    stored = (c.constant(s).reshape(column), c.constant(-mean * s).reshape(column))
    y = c.add(Standardize(*stored, statistics=statistics, eps=float(c.args["eps"])), x)
    weight, bias = (None if t is None else t.reshape(column) for t in (c.optional("weight"), c.optional("bias")))
    return [y if weight is None and bias is None else c.add(Scale(weight, bias), y)]


def _windows(c: Call) -> tuple[Activation, tuple[int, ...], tuple[int, ...], tuple[tuple[int, int], ...]]:
    """Input, kernel, stride and pads; the pads behind grow where `ceil_mode` lets a window reach further."""
    x, kernel, padding = c.activation(), _each(c, "kernel_size"), _each(c, "padding")
    stride = _each(c, "stride") if c.args["stride"] else kernel
    dilation = _each(c, "dilation") if "dilation" in c.args else (1,) * len(kernel)
    if len(x.shape) != len(kernel) + 1:
        refuse(MIXES)
    reach = [(o - 1) * t + d * (k - 1) + 1 for o, t, d, k in zip(c.shape[1:], stride, dilation, kernel, strict=True)]
    pads = tuple((p, max(p, r - n - p)) for p, r, n in zip(padding, reach, x.shape[1:], strict=True))
    return x, kernel, stride, pads


def max_pool(c: Call) -> Activation | list[Activation]:
    """Max pooling; positions are not computed."""
    x, kernel, stride, pads = _windows(c)
    windows, size = max_pool_windows(x.shape, kernel, stride, pads, _each(c, "dilation"))
    y = c.add(MaxOf(torch.from_numpy(windows).to(c.device), size), x)
    return [y] if "with_indices" in c.op.name() else y


def avg_pool(c: Call) -> Activation:
    """Average pooling."""
    x, kernel, stride, pads = _windows(c)
    window = Conv(torch.ones(1, 1, *kernel, dtype=torch.float64), None, stride, pads, (1,) * len(kernel))
    ones = torch.ones(1, 1, *x.shape[1:], dtype=torch.float64)
    # What the operator divides by, of which it has several definitions: the count inside over its own mean of ones.
    divisor = (window.linear(ones) / c.op(**(c.args | {"self": ones}))).round()[0]
    W, C = window.W.expand(x.shape[0], *window.W.shape[1:]), x.shape[0]
    if bool((divisor == divisor.reshape(-1)[0]).all()):
        return c.add(replace(window, W=c.constant(W / divisor.reshape(-1)[0]), groups=C), x)
    return c.add(Scale(c.constant(1.0 / divisor)), c.add(replace(window, W=c.constant(W), groups=C), x))


def adaptive_avg_pool(c: Call) -> Activation:
    """Average pooling to a given size: a convolution where that divides the input."""
    x, out = c.activation(), _each(c, "output_size")
    if len(x.shape) != len(out) + 1:
        refuse(MIXES)
    if any(n % o for n, o in zip(x.shape[1:], out, strict=True)):
        return resized(c)
    kernel = tuple(n // o for n, o in zip(x.shape[1:], out, strict=True))
    if set(out) == {1}:
        return scaled(c, c.add(Sum(tuple(range(1, len(x.shape)))), x), 1.0 / prod(kernel))
    W = torch.full((x.shape[0], 1, *kernel), 1.0 / prod(kernel), dtype=c.dtype, device=c.device)
    return c.add(Conv(W, None, kernel, ((0, 0),) * len(kernel), (1,) * len(kernel), x.shape[0]), x)


def adaptive_max_pool(c: Call) -> list[Activation]:
    """Largest entries of windows that share the input; positions are not computed."""
    x, out = c.activation(), _each(c, "output_size")
    if len(x.shape) != len(out) + 1:
        refuse(MIXES)
    sides = [[range(i * n // o, -(-(i + 1) * n // o)) for i in range(o)] for n, o in zip(x.shape[1:], out, strict=True)]
    at, channels = np.arange(prod(x.shape)).reshape(x.shape), range(x.shape[0])
    windows = [torch.from_numpy(at[np.ix_(channels, *places)]).reshape(len(channels), -1) for places in product(*sides)]
    width = max(w.shape[1] for w in windows)
    filled = [torch.cat([w, w[:, :1].expand(-1, width - w.shape[1])], 1) for w in windows]  # repeats change nothing
    return [c.add(MaxOf(torch.stack(filled, 1).reshape(-1, width).to(c.device), (x.shape[0], *out)), x)]


def conv_transpose(c: Call) -> Activation:
    """A convolution of the input with zeros between its entries; the kernel is turned round once, at import."""
    x, W = c.activation("input"), c.constant(c.args["weight"])
    groups, r = c.args["groups"], _axes(c)
    stride, dilation, padding, extra = (_each(c, k) for k in ("stride", "dilation", "padding", "output_padding"))
    if not x.lead or len(x.shape) != r + 1:
        refuse(MIXES)
    index = torch.arange(prod(x.shape)).reshape(x.shape)
    for i, (n, k, t, d) in enumerate(zip(x.shape[1:], W.shape[2:], stride, dilation, strict=True)):
        axis, reach = i + 1, d * (k - 1)
        stuffed = torch.full((*index.shape[:axis], (n - 1) * t + 1, *index.shape[axis + 1 :]), -1)
        stuffed[(slice(None),) * axis + (slice(None, None, t),)] = index
        before, after = reach - padding[i], reach - padding[i] + extra[i]
        size = stuffed.shape[axis]
        stuffed = stuffed[(slice(None),) * axis + (slice(max(0, -before), size - max(0, -after)),)]
        sides = [
            torch.full((*stuffed.shape[:axis], max(0, w), *stuffed.shape[axis + 1 :]), -1) for w in (before, after)
        ]
        index = torch.cat([sides[0], stuffed, sides[1]], axis)
    W = W.reshape(groups, W.shape[0] // groups, *W.shape[1:]).transpose(1, 2)
    W = W.reshape(-1, *W.shape[2:]).flip(tuple(range(2, r + 2)))
    ones = (1,) * r
    layer = Conv(W, c.optional("bias"), ones, ((0, 0),) * r, dilation, groups)
    return c.add(layer, c.add(Take(c.index(index), tuple(index.shape)), x))


def nearest(c: Call) -> Activation:
    """Interpolation by the nearest entry: a move, whatever its arguments are called."""
    return move(c)  # type: ignore[return-value]


def resized(c: Call) -> Activation:
    """Interpolation, the same for every channel: what it makes of unit vectors is its matrix."""
    x = c.activation("input" if "input" in c.args else "self")
    n = prod(x.shape[1:])
    if not x.lead or n > 1 << 13:
        refuse(f"it resizes {n} entries a channel")
    unit = torch.eye(n, dtype=torch.float64).reshape(1, n, *x.shape[1:])
    out = c.op(**(c.args | {"input" if "input" in c.args else "self": unit}))
    W = out.reshape(n, -1).T.to(dtype=c.dtype, device=c.device)
    magnitude = Dense(4 * W.abs())  # weights are sums of a few taps, rounded
    y = c.add(Dense(W, None, magnitude), c.reshape(x, (x.shape[0], n)))
    return c.reshape(y, (x.shape[0], *out.shape[2:]))
