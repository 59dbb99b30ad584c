"""Quantisation by what the numbers at hand are: scale and zero point come from the least and the largest of them.

`DynamicQuantizeLinear` codes x as `round(x / s) + z`, so that `s·(code − z)` is `s·round(x / s)`: the zero point
cancels.  Behind what is linear that comes to `x + s·rest`, where the rest is what rounding adds, at most a half.  Of
that sum bounds know much, and little of a product with a reciprocal: so such a multiplication is put in terms of it.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod

import numpy as np

from verifier.graph import convert_products as products
from verifier.graph.convert import Call, Value
from verifier.graph.convert_affine import scale, total
from verifier.graph.graph import Affine, Builder
from verifier.graph.ops.affine import Add
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Concat, Reshape, Take
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step

_LEVELS = 255.0
"""Steps between the codes of the least and the largest number."""
_LONGEST = 32
"""Nodes between a coded tensor and what undoes its coding."""


def dynamic_quantize_linear(call: Call) -> tuple[int, int, int]:
    """DynamicQuantizeLinear: codes, scale and zero point.

    No code has to be cut to 0 … 255, but for one: where the zero point lies exactly between two numbers and is rounded
    up, so is the largest code, to 256.  There the staircase `nearest` may take the number below.
    Where all numbers are zero, the scale is one.
    """
    x = call.activation(0)
    n = prod(call.shape(x))
    highest = call.add(Relu(), _largest(call, x, n))
    lowest = call.add(Relu(), _largest(call, scale(call, x, np.array(-1.0), None), n))  # of the negatives
    s = scale(call, total(call, [(1, highest), (1, lowest)]), np.array(1.0 / _LEVELS), None, rounded=True)
    s = total(call, [(1, s), (1, call.add(Step("zero"), s))])
    inverse = call.add(Curve("power", (-1.0,)), s)
    zero = call.add(Step("round", 0.0, 0.0, _LEVELS), products.product(call, lowest, inverse))
    steps = call.add(Step("nearest", 0.0, -_LEVELS, _LEVELS), products.product(call, x, inverse))
    return total(call, [(1, steps), (1, zero)]), s, zero


def _largest(call: Call, x: int, n: int) -> int:
    return call.add(MaxOf(np.arange(n)[None], ()), x)


def known_whole(call: Call, q: int, zero: int) -> int:
    """A coded tensor less its zero point, where that depends on the network's input."""
    node = call.builder.nodes[q]
    if node.op == Add((1, 1)) and _same(call.builder, node.inputs[1], zero):
        return node.inputs[0]
    return total(call, [(1, q), (-1, zero)])


def _same(builder: Builder, a: int, b: int) -> bool:
    """Whether a is b broadcast."""
    while a != b and isinstance(builder.nodes[a].op, (Take, Reshape)) and builder.nodes[b].size == 1:
        a = builder.nodes[a].inputs[0]
    return a == b


def mul(call: Call) -> int:
    """Mul; what undoes a coding is put in terms of what was coded."""
    if not (call.is_constant(0) or call.is_constant(1)):
        found = undone(call, call.activation(0), call.activation(1))
        if found is not None:
            return found
    return products.mul(call)


def undone(call: Call, a: int, b: int) -> int | None:
    """The product of a node that is linear in steps of a coded tensor with another that is a multiple of its scale."""
    for v, w in ((a, b), (b, a)):
        chain = _linear(call.builder, v)
        coded = None if chain is None else _coded(call.builder, chain[-1])
        if chain is None or coded is None:
            continue
        x, s, ratio = coded
        factor = _multiple(call.builder, w, s)
        if factor is None:
            continue
        rest = call.add(Step("rest"), ratio)
        y = total(call, [(1, x), (1, products.product(call, rest, s))])
        for i in reversed(chain[:-1]):
            y = call.add(call.builder.nodes[i].op, y)
        return scale(call, y, factor, None)
    return None


def _linear(builder: Builder, i: int) -> list[int] | None:
    """The nodes that lead back to a staircase by linear operators of one input, which comes last."""
    chain = [i]
    while len(chain) < _LONGEST:
        node = builder.nodes[chain[-1]]
        if isinstance(node.op, Step):
            return chain if node.op.kind == "nearest" else None
        if not isinstance(node.op, Affine) or len(node.inputs) != 1 or node.op.bias() is not None:
            return None
        chain.append(node.inputs[0])
    return None


def _coded(builder: Builder, steps: int) -> tuple[int, int, int] | None:
    """What was coded, by which scale, and their quotient, of the steps of `dynamic_quantize_linear`."""
    (ratio,) = builder.nodes[steps].inputs
    pair = builder.nodes[builder.nodes[ratio].inputs[0]]
    if not isinstance(pair.op, Concat) or len(pair.inputs) != 2:
        return None
    x, inverse = (_moved_from(builder, i) for i in pair.inputs)
    if builder.nodes[x].shape != builder.nodes[steps].shape or builder.nodes[inverse].op != Curve("power", (-1.0,)):
        return None
    return x, builder.nodes[inverse].inputs[0], ratio


def _moved_from(builder: Builder, i: int) -> int:
    """Behind the reshapes and copies that products put before their factors."""
    node = builder.nodes[i]
    while isinstance(node.op, Reshape) or (isinstance(node.op, Take) and builder.nodes[node.inputs[0]].size == 1):
        i = node.inputs[0]
        node = builder.nodes[i]
    return i


def _multiple(builder: Builder, i: int, s: int) -> np.ndarray | None:
    """By what constants, in its own shape, node i multiplies s; None if it is something else."""
    chain: list[int] = []
    while i != s:
        node = builder.nodes[i]
        if not isinstance(node.op, Affine) or len(node.inputs) != 1 or node.op.bias() is not None:
            return None
        if len(chain) == _LONGEST:
            return None
        chain.append(i)
        (i,) = node.inputs
    value = np.ones((1, *builder.nodes[s].shape))
    for i in reversed(chain):
        value = np.asarray(builder.nodes[i].op.evaluate(value))
    return np.asarray(value[0])


def dynamic_quantize_matmul(call: Call) -> int:
    """DynamicQuantizeMatMul: activations coded as they come, constant codes of weights; real results."""
    coded, s, zero = dynamic_quantize_linear(call)
    steps = known_whole(call, coded, zero)
    W = call.doubles(call.constant(1), call.names[1])
    W = W - call.parameter(3) if call.has(3) else W
    y = products.matmul(replace(call, op="MatMul", inputs=(steps, W), names=(call.names[0], call.names[1])))
    return _biased(call, _scaled(call, y, s, call.parameter(2)), 4)


def _scaled(call: Call, y: int, s: Value, by: np.ndarray) -> int:
    """Whole sums times both scales, of which one may depend on the input."""
    if not isinstance(s, int):
        return scale(call, y, s * by, None, rounded=True)
    w = scale(call, s, by.reshape(()) if by.size == 1 else by, None)
    found = undone(call, y, w)
    return products.product(call, y, w) if found is None else found


def _biased(call: Call, y: int, i: int) -> int:
    if not call.has(i):
        return y
    c = call.inputs[i]
    return total(call, [(1, y), (1, c)]) if isinstance(c, int) else scale(call, y, None, call.parameter(i))


def matmul_integer_to_float(call: Call) -> int:
    """MatMulIntegerToFloat: a product of codes (of constant weights on the right) times both scales, and a bias."""
    q, zero = call.activation(0), call.inputs[4] if call.has(4) else None
    if isinstance(zero, int):
        steps = known_whole(call, q, zero)
    else:
        steps = q if zero is None else scale(call, q, None, -call.parameter(4))
    W = call.doubles(call.constant(1), call.names[1])
    W = W - call.parameter(5) if call.has(5) else W
    y = products.matmul(replace(call, op="MatMul", inputs=(steps, W), names=(call.names[0], call.names[1])))
    a_scale = call.inputs[2]
    s: Value = a_scale if isinstance(a_scale, int) else call.parameter(2)
    return _biased(call, _scaled(call, y, s, call.parameter(3)), 6)
