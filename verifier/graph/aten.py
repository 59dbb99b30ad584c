"""What each ATen operator of an exported module becomes in our graph: one rule a family, one table.

A rule gets a `Call` (the operator, its arguments by name, the shape and type of its result) and answers with the
activation that holds the result.  It refuses with `ValueError` and one clear line.  Arguments that depend on the input
are `Activation`s; everything else (parameters, buffers, numbers) is a constant.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from math import inf, prod
from typing import Any

import torch
from torch import Tensor

from verifier.graph.aten_call import MIXES, Activation, Call, Rule, refuse
from verifier.graph.ops.affine import Add, Dense, Scale, Sum
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.moves import Concat, Reshape, Take, Transpose
from verifier.graph.ops.pool import MaxOf, max_pool_windows
from verifier.graph.ops.relu import Relu


def _identity(c: Call) -> Activation:
    return c.activation()


# --- moves: the operator itself, run on positions instead of values, says what goes where ---


def _move(c: Call) -> Activation | list[Activation]:
    x, n = c.activation(), prod(c.activation().shape)
    # Counted from one, so that zeros are what padding wrote; doubles, because some pads refuse integers.
    positions = torch.arange(1, c.batch * n + 1, dtype=torch.float64).reshape(c.batch, *x.shape)
    fill = c.args.get("value") or 0.0
    args = {"value": 0.0} if "value" in c.args else {}
    rest = {k: v.cpu() if isinstance(v, Tensor) else v for k, v in (c.args | args | {"self": positions}).items()}
    if "indices" in rest and isinstance(rest["indices"], (list, tuple)):
        rest["indices"] = [i.cpu() if isinstance(i, Tensor) else i for i in rest["indices"]]
    out = c.op(**rest)
    if isinstance(out, Tensor):
        return _moved(c, x, out, fill)
    return [_moved(c, x, part, fill) for part in out]


def _moved(c: Call, x: Activation, out: Tensor, fill: float) -> Activation:
    n, size = prod(x.shape), tuple(out.shape[1:])
    if out.ndim < 1 or out.shape[0] != c.batch:
        refuse(MIXES)
    index = out.reshape(c.batch, -1).to(torch.int64) - 1
    index = torch.where(index < 0, index, index - torch.arange(c.batch)[:, None] * n)
    first = index[0]
    if not bool(((index == first) & (first < n)).all()):
        refuse(MIXES)
    if torch.equal(first, torch.arange(n)):
        return x if size == x.shape else c.add(Reshape(size), x)
    y = c.add(Take(c.index(first), size), x)
    if fill == 0.0:
        return y
    return c.add(Scale(None, c.constant((first < 0) * fill).reshape(size)), y)


def _permute(c: Call) -> Activation:
    x = c.activation()
    marked = torch.empty(tuple(range(2, len(x.shape) + 3)), device="meta")  # sizes all differ: they name the axes
    axes = tuple(d - 2 for d in c.op(**(c.args | {"self": marked})).shape)
    if axes[0] != 0:
        refuse(MIXES)
    return c.add(Transpose(tuple(a - 1 for a in axes[1:])), x)


def _cat(c: Call) -> Activation:
    parts, dim = _all_activations(c), c.args["dim"]
    axis = dim % (len(parts[0].shape) + 1)
    if axis == 0:
        refuse(MIXES)
    return c.add(Concat(axis - 1), *parts)


def _stack(c: Call) -> Activation:
    parts = _all_activations(c)
    axis = c.args["dim"] % (len(parts[0].shape) + 2) - 1
    if axis < 0:
        refuse(MIXES)
    parts = [c.add(Reshape((*p.shape[:axis], 1, *p.shape[axis:])), p) for p in parts]
    return c.add(Concat(axis), *parts)


def _all_activations(c: Call) -> list[Activation]:
    """The tensors to be joined; a constant among them becomes zeros of an activation, plus itself."""
    parts = c.args["tensors"]
    some = next(p for p in parts if isinstance(p, Activation))
    out = []
    for p in parts:
        if not isinstance(p, Activation):
            if p.ndim < 1 or p.shape[0] != c.batch:
                refuse(MIXES)
            value = _one_row(c.constant(p))
            nothing = torch.full((value.numel(),), -1, device=c.device)
            p = c.add(Scale(None, value), c.add(Take(nothing, tuple(value.shape)), some))
        out.append(p)
    return out


def _one_row(t: Tensor) -> Tensor:
    """A constant without its batch axis."""
    if not bool((t == t[:1]).all()):
        refuse("a constant differs along the batch axis")
    return t[0]


# --- sums, products with constants ---


def _spread(c: Call, x: Activation, shape: Sequence[int]) -> Activation:
    """x broadcast to the full shape, batch axis in front."""
    if len(shape) != len(x.shape) + 1 or shape[0] != c.batch:
        refuse(MIXES)
    size = tuple(shape[1:])
    if size == x.shape:
        return x
    return c.add(Take(c.index(torch.arange(prod(x.shape)).reshape(x.shape).broadcast_to(size)), size), x)


def _with(c: Call, x: Activation, value: Any) -> tuple[Activation, Tensor]:
    """x, and a constant that joins it entry by entry, broadcast to each other; the constant loses its batch axis."""
    t = c.constant(value)
    shape = torch.broadcast_shapes((c.batch, *x.shape), t.shape)
    x = _spread(c, x, shape)
    return x, _one_row(t) if t.ndim == len(shape) else t


def _scaled(c: Call, x: Activation, factor: Any) -> Activation:
    if not isinstance(factor, Tensor) and factor == 1:
        return x
    x, s = _with(c, x, factor)
    return c.add(Scale(s), x)


def _total(c: Call, a: Any, fa: float, b: Any, fb: float) -> Activation:
    """`fa·a + fb·b`; at least one of them is an activation."""
    if not isinstance(a, Activation):
        a, fa, b, fb = b, fb, a, fa
    if isinstance(b, Activation):
        shape = torch.broadcast_shapes((c.batch, *a.shape), (c.batch, *b.shape))
        x, y = (_spread(c, v if abs(f) == 1 else _scaled(c, v, abs(f)), shape) for v, f in ((a, fa), (b, fb)))
        return c.add(Add((1 if fa > 0 else -1, 1 if fb > 0 else -1)), x, y)
    x, t = _with(c, a, b)
    # −(−fa·a + t) rather than a computed −t: a trained parameter stays itself, and negation never rounds.
    turn = -1 if fb == -1 and t.requires_grad else 1
    t = t if fb == turn else t * fb
    y = c.add(Scale(None if fa * turn == 1 else c.constant(fa * turn), t), x)
    return y if turn == 1 else c.add(Scale(c.constant(-1)), y)


def _add(c: Call) -> Activation:
    return _total(c, c.args["self"], 1, c.args["other"], c.args.get("alpha", 1))


def _sub(c: Call) -> Activation:
    return _total(c, c.args["self"], 1, c.args["other"], -c.args.get("alpha", 1))


def _rsub(c: Call) -> Activation:
    return _total(c, c.args["other"], 1, c.args["self"], -c.args.get("alpha", 1))


def _neg(c: Call) -> Activation:
    return _scaled(c, c.activation(), -1)


def _mul(c: Call) -> Activation:
    a, b = c.args["self"], c.args["other"]
    if isinstance(a, Activation) and isinstance(b, Activation):
        refuse("it multiplies two activations; only products with constants and parameters are supported")
    return _scaled(c, a, b) if isinstance(a, Activation) else _scaled(c, b, a)


def _div(c: Call) -> Activation:
    if c.args.get("rounding_mode") is not None:
        refuse("it rounds its quotient")
    if isinstance(c.args["other"], Activation):
        refuse("it divides by an activation")
    divisor = torch.as_tensor(c.args["other"], dtype=torch.float64)
    if bool((divisor == 0).any()):
        refuse("it divides by zero")
    return _scaled(c, c.activation(), 1.0 / divisor)


def _reduce(c: Call) -> Activation:
    x, rank = c.activation(), len(c.activation().shape) + 1
    dims = c.args.get("dim")
    axes = sorted(d % rank for d in ([dims] if isinstance(dims, int) else dims or range(rank)))
    if 0 in axes:
        refuse(MIXES)
    y = c.add(Sum(tuple(a - 1 for a in axes), bool(c.args["keepdim"])), x)
    return y if "sum" in c.op.name() else _scaled(c, y, 1.0 / prod(x.shape[a - 1] for a in axes))


# --- dense layers and convolutions ---


def _linear(c: Call) -> Activation:
    W = c.constant(c.args["weight"])
    if W.ndim != 2:
        refuse(f"a weight of shape {list(W.shape)} is no matrix")
    return c.add(Dense(W, c.optional("bias")), c.activation("input"))


def _matmul(c: Call) -> Activation:
    return _product(c, c.args["self"], c.args["other" if "other" in c.args else "mat2"])


def _product(c: Call, a: Any, b: Any, bias: Tensor | None = None) -> Activation:
    if isinstance(a, Activation) and isinstance(b, Activation):
        refuse("it multiplies two activations; only products with constants and parameters are supported")
    x, C = (a, c.constant(b)) if isinstance(a, Activation) else (b, c.constant(a))
    rank = len(x.shape)
    if 2 < C.ndim <= rank + 1 and prod(C.shape[:-2]) == 1:
        C = C.reshape(C.shape[-2:])
    if x is a and C.ndim == 1:
        return c.add(Reshape(x.shape[:-1]), c.add(Dense(C[None]), x))
    if C.ndim != 2:
        refuse(f"a product with a constant of shape {list(C.shape)}; only matrices are supported")
    if x is a:
        return c.add(Dense(C.T, bias), x)
    if rank < 2:
        refuse(MIXES)
    swap = Transpose((*range(rank - 2), rank - 1, rank - 2))
    return c.add(swap, c.add(Dense(C), c.add(swap, x)))


def _addmm(c: Call) -> Activation:
    b, x, C, beta, alpha = (c.args[k] for k in ("self", "mat1", "mat2", "beta", "alpha"))
    if not isinstance(x, Activation) and not isinstance(C, Activation):
        return _total(c, b, beta, c.constant(x) @ c.constant(C), alpha)
    if isinstance(x, Activation) and isinstance(b, Tensor) and b.ndim == 1 and beta == alpha == 1:
        return _product(c, x, C, c.constant(b))
    return _total(c, b, beta, _product(c, x, C), alpha)


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


def _conv(c: Call) -> Activation:
    W = c.constant(c.args["weight"])
    stride, dilation = _each(c, "stride"), _each(c, "dilation")
    padding = c.args["padding"]
    if padding == "same":
        total = [d * (k - 1) for d, k in zip(dilation, W.shape[2:], strict=True)]
        pads = tuple((p // 2, p - p // 2) for p in total)
    else:
        pads = tuple((p, p) for p in ((0,) * _axes(c) if padding == "valid" else _each(c, "padding")))
    return c.add(Conv(W, c.optional("bias"), stride, pads, dilation, c.args["groups"]), c.activation("input"))


def _batch_norm(c: Call) -> list[Activation]:
    x = c.activation("input")
    column = (-1,) + (1,) * (len(x.shape) - 1)
    mean, var = (c.constant(c.args[k]).detach().double() for k in ("running_mean", "running_var"))
    s = torch.rsqrt(var + c.args["eps"])
    # Two nodes: the statistics' part is computed here once, weight and bias stay the module's own tensors.
    y = c.add(Scale(c.constant(s).reshape(column), c.constant(-mean * s).reshape(column)), x)
    weight, bias = (None if t is None else t.reshape(column) for t in (c.optional("weight"), c.optional("bias")))
    return [y if weight is None and bias is None else c.add(Scale(weight, bias), y)]


# --- pooling ---


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


def _max_pool(c: Call) -> Activation | list[Activation]:
    x, kernel, stride, pads = _windows(c)
    windows, size = max_pool_windows(x.shape, kernel, stride, pads, _each(c, "dilation"))
    y = c.add(MaxOf(torch.from_numpy(windows).to(c.device), size), x)
    return [y] if "with_indices" in c.op.name() else y


def _avg_pool(c: Call) -> Activation:
    x, kernel, stride, pads = _windows(c)
    window = Conv(torch.ones(1, 1, *kernel, dtype=torch.float64), None, stride, pads, (1,) * len(kernel))
    ones = torch.ones(1, 1, *x.shape[1:], dtype=torch.float64)
    # What the operator divides by, of which it has several definitions: the count inside over its own mean of ones.
    divisor = (window.linear(ones) / c.op(**(c.args | {"self": ones}))).round()[0]
    W, C = window.W.expand(x.shape[0], *window.W.shape[1:]), x.shape[0]
    if bool((divisor == divisor.reshape(-1)[0]).all()):
        return c.add(replace(window, W=c.constant(W / divisor.reshape(-1)[0]), groups=C), x)
    return c.add(Scale(c.constant(1.0 / divisor)), c.add(replace(window, W=c.constant(W), groups=C), x))


def _adaptive_avg_pool(c: Call) -> Activation:
    x, out = c.activation(), _each(c, "output_size")
    if len(x.shape) != len(out) + 1:
        refuse(MIXES)
    if any(n % o for n, o in zip(x.shape[1:], out, strict=True)):
        refuse(f"size {list(x.shape[1:])} is no multiple of the output size {list(out)}")
    kernel = tuple(n // o for n, o in zip(x.shape[1:], out, strict=True))
    if set(out) == {1}:
        return _scaled(c, c.add(Sum(tuple(range(1, len(x.shape)))), x), 1.0 / prod(kernel))
    W = torch.full((x.shape[0], 1, *kernel), 1.0 / prod(kernel), dtype=c.dtype, device=c.device)
    return c.add(Conv(W, None, kernel, ((0, 0),) * len(kernel), (1,) * len(kernel), x.shape[0]), x)


# --- activations ---


def _relu(c: Call) -> Activation:
    slope = c.constant(c.args.get("negative_slope", 0.0))  # rounded to the type, as the kernel does
    return c.add(Relu(float(slope)), c.activation())


def _clamp(c: Call) -> Activation:
    low, high = (c.args.get(k, c.args.get(f"{k}_val")) for k in ("min", "max"))
    if isinstance(low, Tensor) or isinstance(high, Tensor):
        refuse("it clamps to tensors; only numbers are supported")
    return _between(c, -inf if low is None else low, inf if high is None else high)


def _between(c: Call, low: float, high: float) -> Activation:
    """`max(x, a) = a + relu(x − a)`, then `min(x, b) = b − relu(b − x)`."""
    x, low = c.activation(), min(low, high)  # torch lets the upper bound win
    if low > -inf:
        x = x if low == 0 else _total(c, x, 1, -low, 1)
        x = c.add(Relu(), x)
        x = x if low == 0 else _total(c, x, 1, low, 1)
    if high < inf:
        x = _total(c, high, 1, c.add(Relu(), _total(c, high, 1, x, -1)), -1)
    return x


def _rows(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


TABLE: dict[str, Rule] = {
    **_rows("clone detach alias contiguous _to_copy lift_fresh_copy", _identity),
    **_rows(
        "view _unsafe_view reshape flatten unflatten unsqueeze squeeze slice select narrow index index_select", _move
    ),
    **_rows("split split_with_sizes chunk unbind expand repeat flip roll movedim pixel_shuffle pixel_unshuffle", _move),
    **_rows("pad constant_pad_nd", _move),
    **_rows("permute transpose t numpy_T mT", _permute),
    **_rows("cat", _cat),
    **_rows("stack", _stack),
    **_rows("add", _add),
    **_rows("sub", _sub),
    **_rows("rsub", _rsub),
    **_rows("neg", _neg),
    **_rows("mul", _mul),
    **_rows("div", _div),
    **_rows("sum mean", _reduce),
    **_rows("linear", _linear),
    **_rows("addmm", _addmm),
    **_rows("mm matmul", _matmul),
    **_rows("conv1d conv2d conv3d", _conv),
    **_rows("_native_batch_norm_legit_no_training", _batch_norm),
    **_rows("max_pool1d max_pool2d max_pool3d max_pool2d_with_indices", _max_pool),
    **_rows("avg_pool1d avg_pool2d avg_pool3d", _avg_pool),
    **_rows("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d", _adaptive_avg_pool),
    **_rows("relu leaky_relu", _relu),
    **_rows("hardtanh clamp clamp_min clamp_max", _clamp),
    **_rows("relu6", lambda c: _between(c, 0.0, 6.0)),
}
"""The rule of each operator, by its name without overload."""

SUPPORTED = (
    "linear, matmul by constants, conv, batch_norm (eval), relu, leaky_relu, clamp and hardtanh, max_pool, avg_pool, "
    "adaptive_avg_pool, mean, sum, add and sub, mul and div by constants, neg, cat, stack, reshape, permute, "
    "slicing, indexing and splitting by constants, pad, expand, flip, dropout (eval)"
)
"""The table in words, for messages."""
