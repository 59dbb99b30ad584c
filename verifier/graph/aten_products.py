"""ATen operators that multiply, divide, raise to powers: by constants and of activations."""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import Any

import torch
from torch import Tensor

from verifier.graph.aten import scaled, spread, total
from verifier.graph.aten_call import Activation, Call, refuse
from verifier.graph.ops.affine import Add, Dense, Scale, Sum
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Concat, Reshape, Take, Transpose
from verifier.graph.ops.product import Product
from verifier.graph.ops.relu import Relu


def mul(c: Call) -> Activation:
    """A product."""
    a, b = c.args["self"], c.args["other"]
    if isinstance(a, Activation) and isinstance(b, Activation):
        return product(c, a, b)
    return scaled(c, a, b) if isinstance(a, Activation) else scaled(c, b, a)


def div(c: Call) -> Activation:
    """A quotient."""
    if c.args.get("rounding_mode") is not None:
        refuse("it rounds its quotient")
    if isinstance(c.args["other"], Activation):
        return quotient(c, c.args["self"], c.args["other"])
    divisor = torch.as_tensor(c.args["other"], dtype=torch.float64)
    if bool((divisor == 0).any()):
        refuse("it divides by zero")
    return scaled(c, c.activation(), 1.0 / divisor)


def product(c: Call, a: Activation, b: Activation) -> Activation:
    """`a∘b`, broadcast to each other."""
    if a == b:
        return c.add(Curve("square"), a)
    shape = torch.broadcast_shapes(c.full(a), c.full(b))
    return paired(c, *(c.reshape(v, (*v.shape, 1)) for v in (spread(c, a, shape), spread(c, b, shape))))


def paired(c: Call, a: Activation, b: Activation) -> Activation:
    """The product of two activations `[..., 1]` of one shape: `[...]`."""
    return c.add(Product(), c.add(Concat(len(a.shape) - 1), a, b))


def quotient(c: Call, a: Any, b: Activation) -> Activation:
    """`a / b` for an activation b."""
    if isinstance(a, Activation) and _is_one_plus_size(c, b, a):
        return c.add(Curve("softsign"), a)
    y = c.add(Curve("power", (-1.0,)), b)
    return product(c, a, y) if isinstance(a, Activation) else scaled(c, y, a)


def _is_one_plus_size(c: Call, b: Activation, a: Activation) -> bool:
    """Whether `b = 1 + |a|`, as `size` writes it."""
    nodes = c.builder.nodes
    shift = nodes[b.at]
    if (
        not isinstance(shift.op, Scale)
        or shift.op.s is not None
        or shift.op.t is None
        or not bool((shift.op.t == 1).all())
    ):
        return False
    total = nodes[shift.inputs[0]]
    if total.op != Add((1, -1)) or total.inputs[1] != a.at or total.shape != a.shape:
        return False
    double = nodes[total.inputs[0]]
    return double.name == "size" and nodes[double.inputs[0]].inputs == (a.at,)


def size(c: Call, x: Activation) -> Activation:
    """`|x| = 2·relu(x) − x`."""
    y = replace(c, name="size").add(Scale(c.constant(2.0)), c.add(Relu(), x))
    return c.add(Add((1, -1)), y, x)


def contracted(c: Call, a: Activation, b: Activation) -> Activation:
    """`a b` as torch's matmul, of two activations."""
    if not (a.lead and b.lead and len(a.shape) == len(b.shape) >= 2):
        a, b = c.bare(a), c.bare(b)
    p, q = (torch.arange(prod(v.shape)).reshape(v.shape) for v in (a, b))
    single = p.ndim == 1, q.ndim == 1
    p, q = p[None] if single[0] else p, q[:, None] if single[1] else q
    lead = torch.broadcast_shapes(p.shape[:-2], q.shape[:-2])
    whole = (*lead, p.shape[-2], q.shape[-1], p.shape[-1])
    if p.shape[-1] != q.shape[-2] or prod(whole) > 1 << 25:
        refuse(f"a product of shapes {list(a.shape)} and {list(b.shape)}")
    left = p[..., :, None, :].broadcast_to(whole)
    right = q.mT[..., None, :, :].broadcast_to(whole)
    pairs = (c.add(Take(c.index(i), (*whole, 1)), v) for v, i in ((a, left), (b, right)))
    y = c.add(Sum((len(whole) - 1,), False), paired(c, *pairs))
    return c.reshape(y, (*lead, *whole[-3:-2][single[0] :], *whole[-2:-1][single[1] :]))


def linear(c: Call) -> Activation:
    """A dense layer."""
    W = c.constant(c.args["weight"])
    if W.ndim != 2:
        refuse(f"a weight of shape {list(W.shape)} is no matrix")
    return c.add(Dense(W, c.optional("bias")), c.activation("input"))


def matmul(c: Call) -> Activation:
    """A product of matrices, of activations or with a constant."""
    return by_matrix(c, c.args["self"], c.args["other" if "other" in c.args else "mat2"])


def by_matrix(c: Call, a: Any, b: Any, bias: Tensor | None = None) -> Activation:
    """`a b + bias`, where a or b may be constant."""
    if isinstance(a, Activation) and isinstance(b, Activation):
        y = contracted(c, a, b)
        return y if bias is None else c.add(Scale(None, bias), y)
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
        x, rank = c.bare(x), 2
    swap = Transpose((*range(rank - 2), rank - 1, rank - 2))
    return c.add(swap, c.add(Dense(C), c.add(swap, x)))


def addmm(c: Call) -> Activation:
    """`beta·self + alpha·mat1 mat2`."""
    b, x, C, beta, alpha = (c.args[k] for k in ("self", "mat1", "mat2", "beta", "alpha"))
    if not isinstance(x, Activation) and not isinstance(C, Activation):
        return total(c, b, beta, c.constant(x) @ c.constant(C), alpha)
    if isinstance(x, Activation) and isinstance(b, Tensor) and b.ndim == 1 and beta == alpha == 1:
        return by_matrix(c, x, C, c.constant(b))
    return total(c, b, beta, by_matrix(c, x, C), alpha)
