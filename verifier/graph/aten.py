"""What ATen operators that move, multiply by constants and add become in our graph; `aten_table` lists all rules.

A rule gets a `Call` (the operator, its arguments by name, the shape and type of its result) and answers with the
activation that holds the result.  It refuses with `ValueError` and one clear line.  Arguments that depend on the input
are `Activation`s; everything else (parameters, buffers, numbers) is a constant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from verifier.graph.aten_call import MIXES, Activation, Call, refuse
from verifier.graph.ops.affine import Add, Scale, Sum
from verifier.graph.ops.moves import Concat, Reshape, Take, Transpose


def identity(c: Call) -> Activation:
    """The same activation."""
    return c.activation()


# --- moves: the operator itself, run on positions instead of values, says what goes where ---


def move(c: Call) -> Activation | list[Activation]:
    """What the operator does to the positions of entries says what goes where."""
    name = "self" if "self" in c.args else "input"
    if any(isinstance(v, Activation) for k, v in c.args.items() if k != name):
        refuse("where its entries come from depends on the input")
    x, n = c.activation(name), prod(c.activation(name).shape)
    # Counted from one, so that zeros are what padding wrote; doubles, because some pads refuse integers.
    positions = torch.arange(1, c.batch * n + 1, dtype=torch.float64).reshape(c.full(x))
    fill = c.args.get("value") or 0.0
    args = {"value": 0.0} if "value" in c.args else {}
    rest = {k: v.cpu() if isinstance(v, Tensor) else v for k, v in (c.args | args | {name: positions}).items()}
    if "indices" in rest and isinstance(rest["indices"], (list, tuple)):
        rest["indices"] = [i.cpu() if isinstance(i, Tensor) else i for i in rest["indices"]]
    out = c.op(**rest)
    if isinstance(out, Tensor):
        return moved(c, x, out, fill)
    return [moved(c, x, part, fill) for part in out]


def moved(c: Call, x: Activation, out: Tensor, fill: float) -> Activation:
    """The entries of x that stand at these positions (counted from one; zero is what padding wrote)."""
    if c.batch == 1 and (not x.lead or out.ndim < 1 or out.shape[0] != 1):
        flat = out.unsqueeze(0)
        return replace(moved(c, replace(x, lead=1), flat, fill), lead=0)
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


def permute(c: Call) -> Activation:
    """Axes in another order."""
    x = c.activation()
    marked = torch.empty(tuple(range(2, len(c.full(x)) + 2)), device="meta")  # sizes all differ: they name the axes
    axes = tuple(d - 2 for d in c.op(**(c.args | {"self": marked})).shape)
    if not x.lead or axes[0] != 0:
        return c.add(Transpose(axes), c.bare(x))
    return c.add(Transpose(tuple(a - 1 for a in axes[1:])), x)


def cat(c: Call) -> Activation:
    """Tensors joined along an axis."""
    parts = _all_activations(c)
    axis = c.args["dim"] % len(c.full(parts[0]))
    if axis == 0 or not all(p.lead for p in parts):
        return c.add(Concat(axis), *(c.bare(p) for p in parts))
    return c.add(Concat(axis - 1), *parts)


def stack(c: Call) -> Activation:
    """Tensors joined along a new axis."""
    parts = _all_activations(c)
    axis = c.args["dim"] % (len(c.full(parts[0])) + 1) - 1
    if axis < 0 or not all(p.lead for p in parts):
        parts, axis = [c.bare(p) for p in parts], axis + 1
    parts = [c.add(Reshape((*p.shape[:axis], 1, *p.shape[axis:])), p) for p in parts]
    return c.add(Concat(axis), *parts)


def _all_activations(c: Call) -> list[Activation]:
    """The tensors to be joined; a constant among them becomes zeros of an activation, plus itself."""
    parts = c.args["tensors"]
    some = next(p for p in parts if isinstance(p, Activation))
    out = []
    if not some.lead or c.batch == 1:
        some = c.bare(some)
    for p in parts:
        if not isinstance(p, Activation):
            if some.lead and (p.ndim < 1 or p.shape[0] != c.batch):
                refuse(MIXES)
            value = one_row(c.constant(p)) if some.lead else c.constant(p)
            nothing = torch.full((value.numel(),), -1, device=c.device)
            p = c.add(Scale(None, value), c.add(Take(nothing, tuple(value.shape)), some))
            p = c.settled(p, c.full(p))
        out.append(p)
    return out


def one_row(t: Tensor) -> Tensor:
    """A constant without its batch axis."""
    if not bool((t == t[:1]).all()):
        refuse("a constant differs along the batch axis")
    return t[0]


# --- sums, scales, sums over axes ---


def spread(c: Call, x: Activation, shape: Sequence[int]) -> Activation:
    """x broadcast to the full shape."""
    if c.full(x) == tuple(shape):
        return x
    if c.batch == 1:
        at = torch.arange(prod(x.shape)).reshape(c.full(x)).broadcast_to(tuple(shape))
        return c.settled(c.add(Take(c.index(at), tuple(shape)), replace(x, lead=0)), tuple(shape))
    if len(shape) != len(x.shape) + 1 or shape[0] != c.batch:
        refuse(MIXES)
    size = tuple(shape[1:])
    if size == x.shape:
        return x
    return c.add(Take(c.index(torch.arange(prod(x.shape)).reshape(x.shape).broadcast_to(size)), size), x)


def with_constant(c: Call, x: Activation, value: Any) -> tuple[Activation, Tensor]:
    """x, and a constant that joins it entry by entry, broadcast to each other; the constant loses its batch axis."""
    t = c.constant(value)
    shape = torch.broadcast_shapes(c.full(x), t.shape)
    x = spread(c, x, shape)
    return x, one_row(t) if x.lead and t.ndim == len(shape) else t


def scaled(c: Call, x: Activation, factor: Any) -> Activation:
    """x times a constant."""
    if not isinstance(factor, Tensor) and factor == 1:
        return x
    x, s = with_constant(c, x, factor)
    return c.add(Scale(s), x)


def total(c: Call, a: Any, fa: float, b: Any, fb: float) -> Activation:
    """`fa·a + fb·b`; at least one of them is an activation."""
    if not isinstance(a, Activation):
        a, fa, b, fb = b, fb, a, fa
    if isinstance(b, Activation):
        shape = torch.broadcast_shapes(c.full(a), c.full(b))
        x, y = (spread(c, v if abs(f) == 1 else scaled(c, v, abs(f)), shape) for v, f in ((a, fa), (b, fb)))
        return c.add(Add((1 if fa > 0 else -1, 1 if fb > 0 else -1)), x, y)
    x, t = with_constant(c, a, b)
    # −(−fa·a + t) rather than a computed −t: a trained parameter stays itself, and negation never rounds.
    turn = -1 if fb == -1 and t.requires_grad else 1
    t = t if fb == turn else t * fb
    y = c.add(Scale(None if fa * turn == 1 else c.constant(fa * turn), t), x)
    return y if turn == 1 else c.add(Scale(c.constant(-1)), y)


def add(c: Call) -> Activation:
    """A sum."""
    return total(c, c.args["self"], 1, c.args["other"], c.args.get("alpha", 1))


def sub(c: Call) -> Activation:
    """A difference."""
    return total(c, c.args["self"], 1, c.args["other"], -c.args.get("alpha", 1))


def rsub(c: Call) -> Activation:
    """A difference, turned round."""
    return total(c, c.args["other"], 1, c.args["self"], -c.args.get("alpha", 1))


def neg(c: Call) -> Activation:
    """−x."""
    return scaled(c, c.activation(), -1)


def reduce(c: Call) -> Activation:
    """Sum and mean over axes."""
    x, axes = reduced_axes(c)
    y = c.add(Sum(axes, bool(c.args.get("keepdim"))), x)
    return y if "sum" in c.op.name() else scaled(c, y, 1.0 / prod(x.shape[a] for a in axes))


def reduced_axes(c: Call) -> tuple[Activation, tuple[int, ...]]:
    """The activation, and the axes that the call's `dim` names; all of them where it names none."""
    x, dims = c.activation(), c.args.get("dim")
    return c.axes(x, [dims] if isinstance(dims, int) else dims or range(len(c.full(x))))
