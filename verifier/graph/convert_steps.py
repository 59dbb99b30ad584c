"""ONNX operators that compare, decide and count; truth values are the numbers 0 and 1."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from verifier.graph.convert import Call, Converter, Value
from verifier.graph.convert_affine import scale, total
from verifier.graph.convert_products import product
from verifier.graph.convert_select import select
from verifier.graph.ended import Side, may_end, sheltered
from verifier.graph.kinds import named
from verifier.graph.ops.fit import FLOATS, WHOLE
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.moves import Concat
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.graph.undefined import undefined


def step(kind: str) -> Converter:
    """The converter of an operator that is a step function of its own."""

    def convert(call: Call) -> int:
        return call.add(Step(kind), call.activation(0))

    return convert


def minus(call: Call, a: Value, b: Value) -> Value:
    """`a − b` with numpy broadcasting, for activations and finite constants."""
    if isinstance(a, int) and isinstance(b, int):
        return total(call, [(1, a), (-1, b)])
    if isinstance(a, int):
        return scale(call, a, None, -_number(call, b))
    if isinstance(b, int):
        return scale(call, b, np.array(-1.0), _number(call, a))
    return _number(call, a) - _number(call, b)


def _number(call: Call, a: Value) -> np.ndarray:
    return call.finite(call.doubles(a, call.name), call.name)


def _given(call: Call, i: int) -> Value:
    v = call.inputs[i] if call.has(i) else None
    if v is None:
        raise ValueError(f"input {i} of {call.op} is missing")
    return v


def compare(kind: str, turned: bool = False) -> Converter:
    """A comparison as a step of a difference: of `a − b`, or of `b − a` (turned)."""

    def convert(call: Call) -> int:
        a, b = _given(call, 0), _given(call, 1)
        difference = minus(call, b, a) if turned else minus(call, a, b)
        assert isinstance(difference, int)
        return call.add(Step(kind), difference)

    return convert


def is_nan(call: Call) -> np.ndarray:
    """IsNaN: of a softmax of nothing; elsewhere real numbers are some, as far as every function has a value."""
    x = call.activation(0)
    if may_end(call.builder, x):
        raise ValueError("IsNaN of what may have no value")
    return undefined(call.builder, [x]).get(x, np.zeros(call.shape(x), bool))


def invert(call: Call) -> int:
    """Not."""
    return scale(call, call.activation(0), np.array(-1.0), np.array(1.0))


def both(call: Call, a: int, b: int) -> int:
    """1 where a and b are, else 0."""
    return call.add(Relu(), scale(call, total(call, [(1, a), (1, b)]), None, np.array(-1.0)))


def _logic(constant: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], together: float) -> Converter:
    """With a constant c: `s(c)·a + t(c)`; of two activations: `a + b + together·(a and b)`, or only the last."""

    def convert(call: Call) -> int:
        for c in (0, 1):
            if call.is_constant(c):
                s, t = constant(call.parameter(c))
                return scale(call, call.activation(1 - c), s, t)
        a, b = call.activation(0), call.activation(1)
        join = both(call, a, b)
        if together == 0.0:
            return join
        return total(call, [(1, a), (1, b), (1, scale(call, join, np.array(together), None))])

    return convert


conjunction = _logic(lambda c: (c, np.zeros(1)), 0.0)
disjunction = _logic(lambda c: (1.0 - c, c), -1.0)
exclusive = _logic(lambda c: (1.0 - 2.0 * c, c), -2.0)


def where(call: Call) -> Value:
    """Where: a choice of entries if the condition is constant, else `y + condition·(x − y)`."""
    condition, x, y = (_given(call, i) for i in range(3))
    if isinstance(condition, np.ndarray):
        shape = np.broadcast_shapes(condition.shape, call.shape(x), call.shape(y))
        sizes = [prod(call.shape(v)) for v in (x, y)]
        first, second = (
            np.broadcast_to(np.arange(n).reshape(call.shape(v)) + start, shape)
            for v, n, start in ((x, sizes[0], 0), (y, sizes[1], sizes[0]))
        )
        return select(call, [x, y], np.where(condition, first, second))
    x, y = (
        sheltered(call.builder, v, call.name, Side(condition, sign)) if isinstance(v, int) else v
        for v, sign in ((x, 1), (y, -1))
    )
    if any(isinstance(v, int) and may_end(call.builder, v) for v in (x, y)):
        return total(call, [(1, _gated(call, x, condition, 1)), (1, _gated(call, y, condition, -1))])
    gap = minus(call, x, y)
    part = product(call, condition, gap) if isinstance(gap, int) else scale(call, condition, gap, None)
    return total(call, [(1, part), (1, y)]) if isinstance(y, int) else scale(call, part, None, _number(call, y))


def _gated(call: Call, v: Value, condition: int, sign: int) -> int:
    """v where the condition holds (sign 1) or does not (-1), else zero, whatever v is there."""
    if not isinstance(v, int):
        s, t = (1.0, 0.0) if sign > 0 else (-1.0, 1.0)
        return scale(call, scale(call, condition, np.array(s), np.array(t)), _number(call, v), None)
    shape = np.broadcast_shapes(call.shape(v), call.shape(condition))
    side = scale(call, condition, np.array(float(sign)), np.array(-0.5 * sign))
    pair = [call.reshape(call.expand(p, shape), (*shape, 1)) for p in (v, side)]
    return call.add(Gate(), call.add(Concat(len(shape)), *pair))


def cast(call: Call) -> int:
    """Cast: floating-point and whole numbers stay what they are, see `fitting` for what a type makes of them."""
    return _converted(call, named(call.get("to")))


def cast_like(call: Call) -> int:
    """CastLike."""
    return _converted(call, call.types[1])


def _converted(call: Call, to: str) -> int:
    x, before = call.activation(0), (call.kinds or ("f",))[0]
    if to not in ("bool", *WHOLE, *FLOATS):
        raise ValueError(f"{call.op} of an activation to {to}")
    if to in FLOATS or to == (call.types or ("",))[0] or (to in WHOLE and before != "f"):
        return x
    if to == "bool":
        return scale(call, call.add(Step("zero"), x), np.array(-1.0), np.array(1.0))
    return truncated(call, x)


def truncated(call: Call, x: int) -> int:
    """x without what follows its decimal point.

    Whole parts are taken before signs: zero, the other sign's share, stays off the jump there.
    """
    sides = (x, scale(call, x, np.array(-1.0), None))
    up, down = (call.add(Relu(), call.add(Step("floor"), v)) for v in sides)
    return total(call, [(1, up), (-1, down)])
