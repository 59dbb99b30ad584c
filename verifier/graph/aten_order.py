"""ATen operators that order entries, take some of them, or put some in the place of others."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from verifier.graph.aten import scaled, spread, total
from verifier.graph.aten_call import MIXES, Activation, Call, Rule, refuse
from verifier.graph.aten_layers import last
from verifier.graph.aten_products import paired
from verifier.graph.ops.affine import Add, Dense, Scale
from verifier.graph.ops.moves import Concat, Take
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.graph.sorting import exchanges

_ENTRIES = 64
"""Most entries that are put in order, or among which the largest is looked for."""


# --- in order ---


def _along(c: Call, x: Activation, at: Tensor) -> Activation:
    """The entries of x at some places of its last axis."""
    index = torch.arange(prod(x.shape)).reshape(x.shape)[..., at]
    return c.add(Take(c.index(index), tuple(index.shape)), x)


def _ordered(c: Call, x: Activation) -> Activation:
    """The last axis in ascending order, by `max(a, b) = b + relu(a − b)` and `min(a, b) = a − relu(a − b)`."""
    n, axis = x.shape[-1], len(x.shape) - 1
    if n > _ENTRIES:
        refuse(f"it orders {n} entries that depend on the input; at most {_ENTRIES} are supported")
    for pairs in exchanges(n):
        low, high = (torch.tensor(side) for side in zip(*pairs, strict=True))
        a, b = _along(c, x, low), _along(c, x, high)
        step = c.add(Relu(), c.add(Add((1, -1)), a, b))
        joined = c.add(Concat(axis), x, c.add(Add((1, -1)), a, step), c.add(Add((1, 1)), b, step))
        at = torch.arange(n)
        at[low], at[high] = n + torch.arange(len(pairs)), n + len(pairs) + torch.arange(len(pairs))
        x = _along(c, joined, at)
    return x


def _part(c: Call, places: Tensor | int, dim: int, keep: bool = True) -> list[Activation]:
    """The entries of an axis, in ascending order, at some places; which entries these are is not computed."""
    x, back = last(c, c.activation(), dim)
    y = _along(c, _ordered(c, x), torch.as_tensor(places).reshape(-1))
    y = c.add(back, y) if back else y
    if not keep:
        y, axis = c.axis(y, dim)
        y = c.reshape(y, (*y.shape[:axis], *y.shape[axis + 1 :]))
    return [y]


def _size(c: Call, dim: int) -> int:
    """How many entries an axis has."""
    return c.full(c.activation())[dim]


def sort(c: Call) -> list[Activation]:
    """The entries of an axis in order."""
    at = torch.arange(_size(c, c.args["dim"]))
    return _part(c, at.flip(0) if c.args["descending"] else at, c.args["dim"])


def top(c: Call) -> list[Activation]:
    """The largest entries of an axis, or the smallest."""
    at, k = torch.arange(_size(c, c.args["dim"])), c.args["k"]
    return _part(c, at.flip(0)[:k] if c.args["largest"] else at[:k], c.args["dim"])


def kth(c: Call) -> list[Activation]:
    """The k-th smallest entry of an axis."""
    return _part(c, c.args["k"] - 1, c.args["dim"], c.args["keepdim"])


def median(c: Call) -> list[Activation]:
    """The entry in the middle of an axis; the lower one of two."""
    if "dim" not in c.args:
        refuse("a median over everything; give the axis")
    return _part(c, (_size(c, c.args["dim"]) - 1) // 2, c.args["dim"], c.args["keepdim"])


def arg_extreme(sign: int) -> Rule:
    """argmax and argmin: the first entry that is above all before it and not below any behind it, by its place."""

    def rule(c: Call) -> Activation:
        x, dim = c.activation(), c.args["dim"]
        x = scaled(c, x, sign)
        if dim is None:
            x = c.bare(x)
            x, back, keep = c.reshape(x, (prod(x.shape),)), None, False
        else:
            x, back = last(c, x, dim)
            keep = c.args["keepdim"]
        y = _place(c, x)
        y = c.reshape(y, (*y.shape, 1)) if keep or back else y
        y = c.add(back, y) if back else y
        if back and not keep:
            y, axis = c.axis(y, dim)
            y = c.reshape(y, (*y.shape[:axis], *y.shape[axis + 1 :]))
        return y

    return rule


def _place(c: Call, x: Activation) -> Activation:
    """The place of the largest entry of the last axis, the first of several."""
    n = x.shape[-1]
    if n > _ENTRIES:
        refuse(f"it looks among {n} entries that depend on the input; at most {_ENTRIES} are supported")
    if n == 1:
        return scaled(c, c.reshape(x, x.shape[:-1]), 0.0)
    above = _beats(c, x, range(1, n), "positive")
    behind = _beats(c, x, range(n - 1), "not_negative")
    one, every = torch.ones((), dtype=c.dtype), torch.arange(n - 1)
    final = Dense(torch.where(every == n - 2, n - 1, 0).to(c.device, c.dtype)[None])
    y = c.add(final, above)  # the first entry counts nothing, the last has nobody behind it
    if n > 2:
        both = c.add(Add((1, 1)), _along(c, above, every[:-1]), _along(c, behind, every[1:]))
        inner = c.add(Relu(), c.add(Scale(None, -one.to(c.device)), both))
        y = c.add(Add((1, 1)), y, c.add(Dense(torch.arange(1, n - 1).to(c.device, c.dtype)[None]), inner))
    return c.reshape(y, x.shape[:-1])


def _beats(c: Call, x: Activation, which: range, kind: str) -> Activation:
    """For each place k in `which`: whether its entry is above all before it, or not below any behind it."""
    n = x.shape[-1]
    at = torch.arange(prod(x.shape)).reshape(x.shape)
    others = [range(k) if kind == "positive" else range(k + 1, n) for k in which]
    width = max(map(len, others))
    windows = torch.tensor([[*o, *[o[0]] * (width - len(o))] for o in others])  # repeats change nothing
    best = c.add(MaxOf(at[..., windows].reshape(-1, width).to(c.device), (*x.shape[:-1], len(which))), x)
    return c.add(Step(kind), c.add(Add((1, -1)), _along(c, x, torch.tensor(list(which))), best))


def one_hot(c: Call) -> Activation:
    """1 at the place that an entry names, 0 elsewhere."""
    x, n = c.activation(), c.args["num_classes"]
    if n < 1:
        refuse("it counts its classes; give their number")
    wide = spread(c, c.reshape(x, (*x.shape, 1)), (*c.full(x), n))
    return c.add(Step("zero"), total(c, wide, 1, torch.arange(n), -1))


# --- in the place of others ---


def placed(c: Call) -> Activation:
    """Entries of a second tensor in the place of some of the first: the operator itself, run on places, says which."""
    name = next(
        (n for n in ("src", "values", "source", "value") if isinstance(c.args.get(n), (Tensor, Activation))), ""
    )
    if c.args.get("accumulate") or c.args.get("reduce"):
        refuse("it adds to entries")
    if not name:
        return _valued(c)
    if c.batch != 1:
        refuse("it writes into a tensor; give an example of one input [1, ...]")
    x = c.args["self"] if isinstance(c.args["self"], Activation) else None
    other = c.args[name] if isinstance(c.args[name], Activation) else None
    some = x or other
    assert some is not None
    parts = [c.bare(v) if v else _constant(c, some, c.args[n]) for v, n in ((x, "self"), (other, name))]
    n = prod(parts[0].shape)
    places = [torch.arange(prod(p.shape), dtype=torch.float64).reshape(p.shape) for p in parts]
    out = _run(c, {"self": places[0], name: places[1] + n})
    flat = [c.reshape(p, (prod(p.shape),)) for p in parts]
    index = out.to(torch.int64)
    return c.add(Take(c.index(index), tuple(index.shape)), c.add(Concat(0), *flat))


def _valued(c: Call) -> Activation:
    """A number in the place of some entries."""
    x = c.bare(c.activation())
    places = torch.arange(1, prod(x.shape) + 1, dtype=torch.float64).reshape(x.shape)
    out = _run(c, {"self": places, "value": 0.0}).to(torch.int64)
    y = c.add(Take(c.index(out - 1), tuple(out.shape)), x)
    value = c.number(c.args["value"])
    return c.add(Scale(None, c.constant((out == 0) * value)), y) if value else y


def _run(c: Call, given: dict[str, Any]) -> Tensor:
    """The operator on places."""
    args = {k: given.get(k, v) for k, v in c.args.items()}
    if any(isinstance(v, Activation) for v in [*args.values(), *(args.get("indices") or ())]):
        refuse("where it writes depends on the input")
    return c.op(**{k: v.cpu() if isinstance(v, Tensor) else v for k, v in args.items()})


def _constant(c: Call, some: Activation, value: Any) -> Activation:
    """A node of a constant, whole shape."""
    t = c.constant(value)
    nothing = c.add(Take(torch.full((t.numel(),), -1, device=c.device), tuple(t.shape)), c.bare(some))
    return c.add(Scale(None, t), nothing)


def copied(c: Call) -> Activation:
    """What is written over something, in its shape."""
    over = c.args["self"]
    shape = c.full(over) if isinstance(over, Activation) else tuple(over.shape)
    name = "src" if "src" in c.args else "value"
    if isinstance(c.args[name], Activation):
        return spread(c, c.args[name], shape)
    some = c.activation()
    if c.batch != 1:
        refuse(MIXES)
    return replace(_constant(c, some, c.constant(c.args[name]).expand(shape)), lead=0)


# --- products along an axis ---


def product_over(c: Call) -> Activation:
    """The product of the entries of an axis, halving it again and again."""
    dim = c.args.get("dim")
    if dim is None:
        x = c.bare(c.activation())
        return _multiplied(c, c.reshape(x, (prod(x.shape),)))
    x, back = last(c, c.activation(), dim)
    y = _multiplied(c, x)
    y = c.reshape(y, (*y.shape, 1))
    y = c.add(back, y) if back else y
    if not c.args["keepdim"]:
        y, axis = c.axis(y, dim)
        y = c.reshape(y, (*y.shape[:axis], *y.shape[axis + 1 :]))
    return y


def _multiplied(c: Call, x: Activation) -> Activation:
    while (n := x.shape[-1]) > 1:
        halves = (torch.arange(0, n - 1, 2), torch.arange(1, n, 2))
        y = paired(c, *(c.reshape(v, (*v.shape, 1)) for v in (_along(c, x, at) for at in halves)))
        x = c.add(Concat(len(x.shape) - 1), y, _along(c, x, torch.tensor([n - 1]))) if n % 2 else y
    return c.reshape(x, x.shape[:-1])
