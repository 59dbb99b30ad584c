"""ONNX operators that multiply, divide and raise to powers, of activations as well as constants."""

from __future__ import annotations

from math import prod, sqrt

import numpy as np

from verifier.graph import convert_affine as affine
from verifier.graph.convert import Call
from verifier.graph.convert_affine import scale
from verifier.graph.convert_curves import magnitude
from verifier.graph.ops.affine import Scale, Sum
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Concat, Transpose
from verifier.graph.ops.product import Product

_EXPONENTS = 256
"""Most different exponents of one Pow."""


def product(call: Call, x: int, y: int) -> int:
    """`x∘y` with numpy broadcasting."""
    shape = np.broadcast_shapes(call.shape(x), call.shape(y))
    if x == y:
        return call.add(Curve("square"), x)
    if call.shape(x) == call.shape(y):
        known = _gate(call, x, y) or _gate(call, y, x)
        if known is not None:
            return known
    return paired(call, *(call.reshape(call.expand(v, shape), (*shape, 1)) for v in (x, y)))


def paired(call: Call, x: int, y: int) -> int:
    """The product of two activations `[..., 1]` of one shape: `[...]`."""
    return call.add(Product(), call.add(Concat(len(call.shape(x)) - 1), x, y))


def _gate(call: Call, x: int, gate: int) -> int | None:
    """`x∘gate` as one function where the gate is a known function of x: SiLU, Mish, GELU."""
    a, b, g = _line(call, gate)
    op, source = call.builder.nodes[g].op, call.builder.nodes[g].inputs
    if op == Curve("sigmoid") and (a, b) == (1.0, 0.0):
        return _swish(call, x, source[0])
    if op == Curve("tanh") and (a, b) == (1.0, 0.0):
        inner = call.builder.nodes[source[0]]
        if inner.op == Curve("softplus") and inner.inputs == (x,):
            return call.add(Curve("mish"), x)
    if op == Curve("erf") and a == b:
        d, shift, x0 = _line(call, x)
        c, inside, x1 = _line(call, source[0])
        if x0 == x1 and shift == inside == 0.0 and c != 0.0 and a * d != 0.0:  # d·x0·(a·erf(c·x0) + a)
            k = c * sqrt(2.0)
            y = call.add(Curve("gelu"), scale(call, x0, np.array(k), None, rounded=True))
            return scale(call, y, np.array(2.0 * a * d / k), None, rounded=True)
    return None


def _swish(call: Call, x: int, inner: int) -> int | None:
    """`x∘sigmoid(inner)` where both are multiples of one: `d·z·sigmoid(c·z)`, a multiple of SiLU at `c·z`."""
    if x == inner:
        return call.add(Curve("silu"), x)
    d, shift, z = _line(call, x)
    c, inside, same = _line(call, inner)
    if z != same or shift != 0.0 or inside != 0.0 or c == 0.0 or d == 0.0:
        return None
    return scale(call, call.add(Curve("silu"), inner), np.array(d / c), None, rounded=True)


def _line(call: Call, x: int) -> tuple[float, float, int]:
    """`(a, b, z)` with `x = a·z + b`, by the scales by one number that lead to it; a and b hold a few roundings."""
    a, b = 1.0, 0.0
    while True:
        node = call.builder.nodes[x]
        op = node.op
        if not isinstance(op, Scale) or any(p is not None and p.size != 1 for p in (op.s, op.t)):
            return a, b, x
        a, b, x = a * _number(op.s, 1.0), a * _number(op.t, 0.0) + b, node.inputs[0]


def _number(p: np.ndarray | None, default: float) -> float:
    return default if p is None else float(p.reshape(()))


def mul(call: Call) -> int:
    """Mul."""
    if call.is_constant(0) or call.is_constant(1):
        c = 0 if call.is_constant(0) else 1
        return scale(call, call.activation(1 - c), call.parameter(c), None)
    return product(call, call.activation(0), call.activation(1))


def div(call: Call) -> int:
    """Div."""
    if call.kinds[:1] == ("i",) and not (call.is_constant(1) and (call.constant(1) == 1).all()):
        raise ValueError("Div of whole numbers that depend on the input")
    if call.is_constant(1):
        return affine.div(call)
    y = inverse(call, call.activation(1))
    return scale(call, y, call.parameter(0), None) if call.is_constant(0) else product(call, call.activation(0), y)


def reciprocal(call: Call) -> int:
    """Reciprocal."""
    return inverse(call, call.activation(0))


def inverse(call: Call, x: int) -> int:
    """`1/x`; of a root `z^q`, which has the same domain, it is the one curve `z^(-q)`."""
    node = call.builder.nodes[x]
    root = node.op.parameters[0] if isinstance(node.op, Curve) and node.op.kind == "power" else 0.0
    if 0.0 < root < 1.0:
        return call.add(Curve("power", (-root,)), node.inputs[0])
    return call.add(Curve("power", (-1.0,)), x)


def power(call: Call) -> int:
    """Pow."""
    whole = call.kinds[:1] == ("i",)
    if whole and not call.is_constant(1):
        raise ValueError("Pow of whole numbers, to a power that depends on the input")
    if call.is_constant(1):
        exponents = call.parameter(1)
        if whole and ((exponents < 0) | (exponents != np.floor(exponents))).any():
            raise ValueError("Pow of whole numbers to a power that is none, or negative")
        shape = np.broadcast_shapes(call.shape(call.activation(0)), exponents.shape)
        return powers(call, call.expand(call.activation(0), shape), exponents)
    if not call.is_constant(0):
        x, p = call.activation(0), call.activation(1)
        return call.add(Curve("exp"), product(call, call.add(Curve("log"), x), p))
    c = call.parameter(0)
    if (c <= 0).any():
        raise ValueError("Pow of a base that is not positive, to a power that depends on the input")
    return call.add(Curve("exp"), scale(call, call.activation(1), np.log(c), None, rounded=True))


def powers(call: Call, x: int, p: np.ndarray) -> int:
    """`x^p` for constant exponents, which broadcast to x: each on the entries that it stands at."""
    kinds, which = np.unique(np.broadcast_to(p, call.shape(x)), return_inverse=True)
    if len(kinds) == 1:
        return one_power(call, x, float(kinds[0]))
    if len(kinds) > _EXPONENTS:
        raise ValueError(f"Pow with {len(kinds)} different exponents")
    places = [np.flatnonzero(which.reshape(-1) == k) for k in range(len(kinds))]
    parts = [one_power(call, call.take(x, at), float(k)) for k, at in zip(kinds, places, strict=True)]
    back = np.argsort(np.concatenate(places))
    return call.take(call.add(Concat(0), *parts), back.reshape(call.shape(x)))


def to_power(call: Call, x: int, p: int) -> int:
    """`|x|^p`."""
    if p < 1:
        raise ValueError(f"{call.op} with p {p}")
    return one_power(call, x if p % 2 == 0 else magnitude(call, x), float(p))


def root(call: Call, x: int, p: int) -> int:
    """The p-th root of what is not negative."""
    return one_power(call, x, 1.0 / p)


def one_power(call: Call, x: int, p: float) -> int:
    """`x^p` for one constant exponent."""
    if p == 0.0:
        return scale(call, x, np.array(0.0), np.array(1.0))
    if p == 1.0:
        return x
    return call.add(Curve("square") if p == 2.0 else Curve("power", (p,)), x)


def matmul(call: Call) -> int:
    """MatMul."""
    if call.is_constant(0) or call.is_constant(1):
        return affine.matmul(call)
    return contracted(call, call.activation(0), call.activation(1))


def contracted(call: Call, x: int, y: int) -> int:
    """`x y`, as numpy's matmul, of two activations."""
    shape = affine.matmul_shape(call.shape(x), call.shape(y))
    a, b = call.positions(x), call.positions(y)
    a, b = a[None] if a.ndim == 1 else a, b[:, None] if b.ndim == 1 else b
    k = a.shape[-1]
    lead = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    full = (*lead, a.shape[-2], b.shape[-1], k)
    if 2 * prod(full) > (1 << 26):
        raise ValueError(f"{call.op} of {prod(full)} products of activations")
    left = np.broadcast_to(a[..., :, None, :], full)
    right = np.broadcast_to(b.swapaxes(-1, -2)[..., None, :, :], full)
    return call.reshape(sum_of_products(call, call.take(x, left[..., None]), call.take(y, right[..., None])), shape)


def sum_of_products(call: Call, x: int, y: int) -> int:
    """`Σ_k x_k·y_k` for `[..., k, 1]`: `[...]`."""
    p = paired(call, x, y)
    return call.add(Sum((len(call.shape(p)) - 1,), False), p)


def gemm(call: Call) -> int:
    """Gemm."""
    if call.is_constant(0) or call.is_constant(1):
        return affine.gemm(call)
    x, y = (
        call.add(Transpose((1, 0)), call.activation(i)) if call.get(name, 0) else call.activation(i)
        for i, name in ((0, "transA"), (1, "transB"))
    )
    return affine.with_bias(call, contracted(call, x, y))
