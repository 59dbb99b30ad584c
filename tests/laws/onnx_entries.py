"""Cases of ONNX operators that work entry by entry: curves, steps, comparisons, products and quotients."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st
from onnx import TensorProto

from .onnx_models import Case, Draw, ints, numbers, shapes, smaller

Make = Callable[[Draw], Case]


def entry(op: str, opset: int = 13, **choices: list[Any]) -> Make:
    """An operator of one input; its attributes are drawn from the choices."""

    def case(draw: Draw) -> Case:
        m = Case(draw(shapes()), opset)
        m.node(op, "x", **{k: draw(st.sampled_from(v)) for k, v in choices.items()})
        return m

    return case


def positive(op: str, opset: int = 13) -> Make:
    """An operator that wants positive numbers."""

    def case(draw: Draw) -> Case:
        m = Case(draw(shapes()), opset)
        (y,) = m.node("Exp", "x") if draw(st.booleans()) else m.node("Add", *m.node("Abs", "x"), m.tensor(0.1))
        m.node(op, y)
        return m

    return case


def within(op: str) -> Make:
    """An operator of numbers between −1 and 1."""

    def case(draw: Draw) -> Case:
        m = Case(draw(shapes()))
        m.node(op, *m.node("Mul", *m.node("Tanh", "x"), m.tensor(0.99)))
        return m

    return case


def acosh(draw: Draw) -> Case:
    m = Case(draw(shapes()))
    m.node("Acosh", *m.node("Add", *m.node("Abs", "x"), m.tensor(1.01)))
    return m


def _other(draw: Draw, m: Case, y: str = "x") -> str:
    """Another activation that broadcasts to the input's shape."""
    kind = draw(ints(0, 2))
    if kind == 0:
        return y
    if kind == 1:
        return m.node("Tanh", "x")[0]
    axes = draw(st.lists(ints(0, len(m.shape) - 1), min_size=1, unique=True))
    return m.node("ReduceSum", "x", m.tensor(np.array(axes)))[0]


def mul(draw: Draw) -> Case:
    m = Case(draw(shapes()))
    other = _other(draw, m)
    m.node("Mul", *draw(st.permutations(["x", other])))
    return m


def div(draw: Draw) -> Case:
    m = Case(draw(shapes()))
    other = _other(draw, m)
    (y,) = m.node("Add", *m.node("Abs", other), m.tensor(0.2))
    shape = list(m.shape)
    top = m.tensor(numbers(draw, smaller(draw, shape))) if draw(st.booleans()) else "x"  # type: ignore[arg-type]
    m.node("Div", top, y)
    return m


def power(draw: Draw) -> Case:
    shape = draw(shapes())
    m = Case(shape, draw(st.sampled_from([7, 13])))
    kind = draw(ints(0, 3))
    if kind == 0:  # whole exponents, of any number
        p = draw(st.sampled_from([0.0, 1.0, 2.0, 3.0, 4.0, 5.0]))
        m.node("Pow", "x", m.tensor(np.array(int(p)) if m.opset > 7 and draw(st.booleans()) else np.array(p)))
        return m
    (y,) = m.node("Add", *m.node("Abs", "x"), m.tensor(0.3))
    if kind == 1:
        p = np.random.default_rng(draw(ints(0, 99))).choice([-1.0, -2.0, 0.5, 2.0, 1.7], smaller(draw, shape))
        m.node("Pow", y, m.tensor(np.array(p)))
    elif kind == 2:
        m.node("Pow", m.tensor(abs(numbers(draw, smaller(draw, shape))) + 0.2), "x")
    else:
        m.node("Pow", y, *m.node("Tanh", "x"))
    return m


def gated(draw: Draw) -> Case:
    """SiLU, Mish and GELU as exporters write them; what looks alike but is something else must stay so."""
    m = Case([2, 3])
    kind = draw(ints(0, 2))
    if kind == 0:
        (g,) = m.node("Sigmoid", "x")
    elif kind == 1:
        (g,) = m.node("Tanh", *m.node("Softplus", "x"))
    else:
        k = draw(st.sampled_from([1.4142135, 2.0, -1.0]))
        (g,) = m.node("Erf", *m.node("Div", "x", m.tensor(k)))
        (g,) = m.node("Add", g, m.tensor(draw(st.sampled_from([1.0, 1.0, 0.5, -1.0]))))
    (y,) = m.node("Mul", *draw(st.permutations(["x", g])))
    if draw(st.booleans()):
        m.node("Mul", y, m.tensor(0.5))
    return m


def rounded(op: str) -> Make:
    """A step function of numbers that also hit its jumps."""

    def case(draw: Draw) -> Case:
        m = Case(draw(shapes()))
        m.tensor(numbers(draw, [1]), "c")
        y = m.node("Round", "x")[0] if draw(st.booleans()) else "x"
        y = m.node("Mul", y, m.tensor(0.5))[0] if draw(st.booleans()) else y
        m.node(op, y)
        return m

    return case


def _truth(m: Case, y: str) -> Case:
    m.node("Cast", y, to=TensorProto.FLOAT)
    return m


def comparison(op: str) -> Make:
    def case(draw: Draw) -> Case:
        shape = draw(shapes())
        m = Case(shape, draw(st.sampled_from([13, 16])))
        (y,) = m.node("Round", "x")
        kind = draw(ints(0, 2))
        if kind == 0:
            other = m.tensor(np.round(numbers(draw, smaller(draw, shape))))
        else:
            other = m.node("Neg", y)[0] if kind == 1 else "x"
        (z,) = m.node(op, *draw(st.permutations([y, other])))
        return _truth(m, z)

    return case


def logic(op: str) -> Make:
    def case(draw: Draw) -> Case:
        shape = draw(shapes())
        m = Case(shape)
        (a,) = m.node("Greater", "x", m.tensor(0.1))
        if op == "Not":
            return _truth(m, m.node("Not", a)[0])
        if draw(st.booleans()):
            b = m.tensor(numbers(draw, smaller(draw, shape)) > 0)
        else:
            (b,) = m.node("Less", "x", m.tensor(0.6))
        return _truth(m, m.node(op, *draw(st.permutations([a, b])))[0])

    return case


def where(draw: Draw) -> Case:
    shape = draw(shapes())
    m = Case(shape)
    if draw(st.booleans()):
        c = m.tensor(numbers(draw, smaller(draw, shape)) > 0)
    else:
        (c,) = m.node("Greater", "x", m.tensor(0.1))
    (y,) = m.node("Neg", "x")
    k = m.tensor(numbers(draw, smaller(draw, shape)))
    (z,) = m.node("Where", c, *draw(st.permutations(["x", draw(st.sampled_from([k, y, "x"]))])))
    m.node("Add", z, "x")
    return m


def cast(draw: Draw) -> Case:
    m = Case([2, 3])
    to = [TensorProto.DOUBLE, TensorProto.INT64, TensorProto.INT32, TensorProto.BOOL]
    y = m.node("Round", "x")[0] if draw(st.booleans()) else m.node("Mul", "x", m.tensor(3.0))[0]
    for _ in range(draw(ints(1, 2))):
        (y,) = m.node("Cast", y, to=draw(st.sampled_from(to)))
    return _truth(m, y)


def cast_like(draw: Draw) -> Case:
    m = Case([2, 3], 15)
    (y,) = m.node("Mul", "x", m.tensor(3.0))
    like = draw(st.sampled_from([np.zeros(1, np.int64), np.zeros(1, bool), np.zeros(1, np.float32)]))
    return _truth(m, m.node("CastLike", y, m.tensor(like))[0])


def clip(draw: Draw) -> Case:
    """Bounds that depend on the input."""
    m = Case([2, 3])
    (low,) = m.node("Neg", *m.node("Abs", *m.node("ReduceMax", "x", keepdims=0)))
    (high,) = m.node("Add", low, m.tensor(np.array(draw(st.sampled_from([0.0, 1.5, -0.5])), np.float32)))
    m.node("Clip", "x", *draw(st.sampled_from([[low], [low, high], ["", high], [m.tensor(np.float32(-0.2)), high]])))
    return m


def either(*cases: Make) -> Make:
    def case(draw: Draw) -> Case:
        return draw(st.sampled_from(cases))(draw)

    return case


CASES: dict[str, Make] = {
    "Abs": entry("Abs"),
    "Acos": either(within("Acos"), entry("Acos")),
    "Acosh": either(acosh, entry("Acosh")),
    "And": logic("And"),
    "Asin": either(within("Asin"), entry("Asin")),
    "Asinh": entry("Asinh"),
    "Atanh": either(within("Atanh"), entry("Atanh")),
    "Atan": entry("Atan"),
    "Cast": cast,
    "CastLike": cast_like,
    "Ceil": rounded("Ceil"),
    "Celu": entry("Celu", alpha=[None, 0.5, 2.0]),
    "Cos": entry("Cos"),
    "Cosh": entry("Cosh"),
    "Elu": entry("Elu", alpha=[None, 0.3, 2.0]),
    "Equal": comparison("Equal"),
    "Erf": entry("Erf"),
    "Exp": entry("Exp"),
    "Floor": rounded("Floor"),
    "Gelu": entry("Gelu", 20, approximate=[None, "none", "tanh"]),
    "Greater": comparison("Greater"),
    "GreaterOrEqual": comparison("GreaterOrEqual"),
    "HardSigmoid": entry("HardSigmoid", alpha=[None, 0.3], beta=[None, 0.1]),
    "HardSwish": entry("HardSwish", 14),
    "Less": comparison("Less"),
    "LessOrEqual": comparison("LessOrEqual"),
    "Log": either(positive("Log"), entry("Log")),
    "Mish": entry("Mish", 18),
    "Not": logic("Not"),
    "Or": logic("Or"),
    "Pow": power,
    "Reciprocal": positive("Reciprocal"),
    "Round": rounded("Round"),
    "Selu": entry("Selu", alpha=[None, 0.5], gamma=[None, 2.0]),
    "Shrink": entry("Shrink", lambd=[None, 0.2], bias=[None, 0.2, 0.7]),
    "Sigmoid": entry("Sigmoid"),
    "Sign": rounded("Sign"),
    "Sin": entry("Sin"),
    "Sinh": entry("Sinh"),
    "Softplus": entry("Softplus"),
    "Softsign": entry("Softsign"),
    "Sqrt": either(positive("Sqrt"), entry("Sqrt")),
    "Swish": entry("Swish", 24, alpha=[None, 1.0, 0.7, -2.0]),
    "Tan": entry("Tan"),
    "Tanh": entry("Tanh"),
    "ThresholdedRelu": entry("ThresholdedRelu", alpha=[None, 0.3, -0.5]),
    "Where": where,
    "Xor": logic("Xor"),
    "com.microsoft.QuickGelu": entry("QuickGelu", domain=["com.microsoft"], alpha=[None, 1.0, 0.5]),
    "com.microsoft.Gelu": entry("Gelu", domain=["com.microsoft"]),
}
