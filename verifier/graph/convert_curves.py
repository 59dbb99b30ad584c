"""ONNX operators that are smooth functions of every entry."""

from __future__ import annotations

from math import pi

import numpy as np

from verifier.graph.convert import Call, Converter
from verifier.graph.convert_affine import scale, total
from verifier.graph.convert_kinks import above, below
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.fit import FLOATS
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step


def curve(kind: str, *parameters: float) -> Converter:
    """The converter of an operator that is a curve of its own."""

    def convert(call: Call) -> int:
        return call.add(Curve(kind, parameters), call.activation(0))

    return convert


def elu(call: Call) -> int:
    """Elu."""
    return call.add(Curve("elu", (call.real("alpha", 1.0), 1.0, 1.0)), call.activation(0))


def selu(call: Call) -> int:
    """Selu."""
    a, gain = call.real("alpha", 1.67326319217681884765625), call.real("gamma", 1.05070102214813232421875)
    return call.add(Curve("elu", (a, 1.0, gain)), call.activation(0))


def celu(call: Call) -> int:
    """Celu."""
    a = call.real("alpha", 1.0)
    if a == 0.0:
        raise ValueError("Celu with alpha 0")
    return call.add(Curve("elu", (a, a, 1.0)), call.activation(0))


def gelu(call: Call) -> int:
    """Gelu, exact or by tanh."""
    how = call.get("approximate", "none")
    if how not in ("none", "tanh"):
        raise ValueError(f"Gelu with approximate {how}")
    return call.add(Curve("gelu_tanh" if how == "tanh" else "gelu"), call.activation(0))


def swish(call: Call) -> int:
    """Swish, `x·sigmoid(alpha·x)`; QuickGelu is the same with another alpha."""
    a = call.real("alpha", 1.702 if call.op == "QuickGelu" else 1.0)
    x = call.activation(0)
    if a == 0.0:
        return scale(call, x, np.array(0.5), None)
    if a == 1.0:
        return call.add(Curve("silu"), x)
    return scale(
        call, call.add(Curve("silu"), scale(call, x, np.array(a), None)), np.array(1.0 / a), None, rounded=True
    )


def hard_sigmoid(call: Call) -> int:
    """HardSigmoid: an affine function between 0 and 1."""
    return hard(call, call.activation(0), call.real("alpha", 0.2), call.real("beta", 0.5))


def hard(call: Call, x: int, a: float, b: float) -> int:
    """`min(max(a·x + b, 0), 1)`."""
    y = scale(call, x, np.array(a), np.array(b))
    return below(call, above(call, y, np.array(0.0)), np.array(1.0))


def absolute(call: Call) -> int:
    """Abs."""
    return magnitude(call, call.activation(0))


def magnitude(call: Call, x: int) -> int:
    """`|x| = 2·relu(x) − x`."""
    return total(call, [(1, scale(call, call.add(Relu(), x), np.array(2.0), None)), (-1, x)])


def thresholded_relu(call: Call) -> int:
    """ThresholdedRelu."""
    return call.add(Step("threshold", call.real("alpha", 1.0)), call.activation(0))


def shrink(call: Call) -> int:
    """Shrink: what is within lambd of zero becomes zero, the rest comes closer by bias."""
    x, bias, lambd = call.activation(0), call.real("bias", 0.0), call.real("lambd", 0.5)
    if lambd < 0:
        raise ValueError("Shrink with a negative lambd")
    turned = scale(call, x, np.array(-1.0), None)
    if bias == lambd:
        sides = [call.add(Relu(), scale(call, v, None, np.array(-bias))) for v in (x, turned)]
        return total(call, [(1, sides[0]), (-1, sides[1])])
    sides = [call.add(Step("threshold", lambd), v) for v in (x, turned)]
    terms = [(1, sides[0]), (-1, sides[1])]
    if bias:
        for sign, v in ((-1, x), (1, turned)):
            beyond = call.add(Step("positive"), scale(call, v, None, np.array(-lambd)))
            terms.append((sign, scale(call, beyond, np.array(bias), None)))
    return total(call, terms)


def acos(call: Call) -> int:
    """Acos, `π/2 − asin(x)`."""
    y = call.add(Curve("asin"), call.activation(0))
    return scale(call, y, np.array(-1.0), np.array(pi / 2), rounded=True)


def _clipped(call: Call, x: int, low: float | None, high: float | None) -> int:
    """Between two numbers; the ends of float32 stand for none."""
    if low is not None and low > -FLOATS["float32"][2]:
        x = above(call, x, np.array(low))
    return x if high is None or high >= FLOATS["float32"][2] else below(call, x, np.array(high))


def activation(call: Call, name: str, x: int, a: float | None = None, b: float | None = None) -> int:
    """An activation function by the name that fused and recurrent operators give it, with its parameters."""

    def given(value: float | None, default: float) -> float:
        return float(np.float32(default)) if value is None else value

    lower = name.lower()
    if lower in ("sigmoid", "tanh", "softsign", "softplus"):
        return call.add(Curve(lower), x)
    if lower in ("relu", "leakyrelu"):
        leak = given(a, 0.01) if lower == "leakyrelu" else 0.0
        if not 0 <= leak <= 1:
            raise ValueError(f"{call.op} with a LeakyRelu of slope {leak:g}")
        return call.add(Relu(leak), x)
    if lower == "elu":
        return call.add(Curve("elu", (given(a, 1.0), 1.0, 1.0)), x)
    if lower == "selu":
        a, b = given(a, 1.67326319217681884765625), given(b, 1.05070102214813232421875)
        return call.add(Curve("elu", (a, 1.0, b)), x)
    if lower == "thresholdedrelu":
        return call.add(Step("threshold", given(a, 1.0)), x)
    if lower == "clip":
        return _clipped(call, x, a, b)
    if lower == "hardsigmoid":
        return hard(call, x, given(a, 0.2), given(b, 0.5))
    if lower == "affine":
        return scale(call, x, np.array(given(a, 1.0)), np.array(given(b, 0.0)))
    if lower == "scaledtanh":
        y = call.add(Curve("tanh"), scale(call, x, np.array(given(b, 1.0)), None))
        return scale(call, y, np.array(given(a, 1.0)), None)
    raise ValueError(f"{call.op} with the activation function {name}")


def bias_gelu(call: Call) -> int:
    """BiasGelu and FastGelu: GELU of the sum of two inputs."""
    x = call.activation(0) if isinstance(call.inputs[0], int) else call.activation(1)
    if call.has(1):
        other = 1 if isinstance(call.inputs[0], int) else 0
        x = (
            scale(call, x, None, call.parameter(other))
            if call.is_constant(other)
            else total(call, [(1, x), (1, call.activation(other))])
        )
    return call.add(Curve("gelu_tanh" if call.op == "FastGelu" else "gelu"), x)
