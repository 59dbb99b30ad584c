"""Smooth nonlinear functions of one number: sigmoid, exp, sin, powers, …: values and derivatives.

Where each bends which way, and where its derivative takes a value, is for `relax.shapes` to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from math import pi, sqrt
from typing import TYPE_CHECKING, Any

from verifier.graph.graph import Elementwise
from verifier.graph.ops import slopes
from verifier.graph.ops.affine import Add
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.slopes import SLOPES, Function
from verifier.values.arrays import Array, erf, namespace
from verifier.values.errors import ModelError

if TYPE_CHECKING:
    from verifier.graph.chain import Chain, Rows

Rule = Callable[..., "Rows"]
"""`rule(chain, g, x, y, *parameters)`: see `RULES`."""


@dataclass(frozen=True)
class Curve(Elementwise):
    """A named function of every entry.

    Attributes:
        kind: a key of `KINDS`.
        parameters: numbers that it takes; see there.

    Raises:
        KeyError: there is no such kind.
    """

    kind: str
    parameters: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        KINDS[self.kind]

    def evaluate(self, *x: Array) -> Array:
        """The function."""
        return KINDS[self.kind][0](namespace(x[0]), x[0], *self.parameters)

    def slope(self, x: Array) -> Array:
        """Its derivative."""
        return KINDS[self.kind][1](namespace(x), x, *self.parameters)

    def chain(self, t: Chain, g: Rows, i: int) -> Rows:
        """By kind: see `RULES`."""
        if self.kind not in RULES:
            raise ModelError(t.refusal(i))
        return RULES[self.kind](t, g, t.inputs(i)[0], i, *self.parameters)


def _softplus(xp: Any, z: Array) -> Array:
    return xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


def _elu(xp: Any, z: Array, a: float, b: float, gain: float) -> Array:
    """`gain·z` above zero, `gain·a·(exp(z/b) − 1)` below."""
    return gain * xp.where(z > 0, z, a * xp.expm1(xp.minimum(z, 0.0) / b))


def _d_elu(xp: Any, z: Array, a: float, b: float, gain: float) -> Array:
    return gain * xp.where(z > 0, z * 0 + 1, (a / b) * xp.exp(xp.minimum(z, 0.0) / b))


def _gelu(xp: Any, z: Array) -> Array:
    return 0.5 * z * (1.0 + erf(z * (1 / sqrt(2))))


_ROOT = sqrt(2 / pi)


def _gelu_tanh(xp: Any, z: Array) -> Array:
    return 0.5 * z * (1.0 + xp.tanh(_ROOT * (z + 0.044715 * z * z * z)))


def _mish(xp: Any, z: Array) -> Array:
    return z * xp.tanh(_softplus(xp, z))


def _hard_swish(xp: Any, z: Array) -> Array:
    return z * (xp.minimum(xp.maximum(z + 3.0, 0.0), 6.0) * (1 / 6))


def _d_hard_swish(xp: Any, z: Array) -> Array:
    return xp.where(z <= -3, z * 0, xp.where(z >= 3, z * 0 + 1, (2 * z + 3.0) * (1 / 6)))


def _power(xp: Any, z: Array, p: float) -> Array:
    """`z^p`; for a whole p on either side of zero, else NaN below it."""
    if p == int(p) and abs(p) <= 4:
        y = z
        for _ in range(int(abs(p)) - 1):
            y = y * z
        return y if p > 0 else 1.0 / y
    if p == 0.5:
        return xp.sqrt(z)
    if p == -0.5:
        return 1.0 / xp.sqrt(z)
    return xp.power(z, p)


def _d_power(xp: Any, z: Array, p: float) -> Array:
    return p * _power(xp, z, p - 1) if p != 1 else z * 0 + 1


def _d_asin(xp: Any, z: Array) -> Array:
    return 1.0 / xp.sqrt((1.0 - z) * (1.0 + z))


def _d_acosh(xp: Any, z: Array) -> Array:
    """`1/√(z² − 1)`, without a square that overflows."""
    return 1.0 / (xp.sqrt(z - 1.0) * xp.sqrt(z + 1.0))


def _d_asinh(xp: Any, z: Array) -> Array:
    """`1/√(z² + 1)`, likewise."""
    a = xp.maximum(xp.abs(z), 1.0)
    one, z = 1.0 / a, z / a
    return one / xp.sqrt(one * one + z * z)


KINDS: dict[str, tuple[Function, Function]] = {
    "sigmoid": (slopes.sigmoid, slopes.d_sigmoid),
    "tanh": (lambda xp, z: xp.tanh(z), slopes.d_tanh),
    "asin": (lambda xp, z: xp.arcsin(z), _d_asin),
    "asinh": (lambda xp, z: xp.arcsinh(z), _d_asinh),
    "acosh": (lambda xp, z: xp.arccosh(z), _d_acosh),
    "atanh": (lambda xp, z: xp.arctanh(z), lambda xp, z: 1.0 / ((1.0 - z) * (1.0 + z))),
    "sinh": (lambda xp, z: xp.sinh(z), lambda xp, z: xp.cosh(z)),
    "cosh": (lambda xp, z: xp.cosh(z), lambda xp, z: xp.sinh(z)),
    "atan": (lambda xp, z: xp.arctan(z), SLOPES["atan_slope"][0]),
    "erf": (lambda xp, z: erf(z), SLOPES["erf_slope"][0]),
    "softsign": (lambda xp, z: z / (1.0 + xp.abs(z)), SLOPES["softsign_slope"][0]),
    "softplus": (_softplus, slopes.sigmoid),
    "elu": (_elu, _d_elu),
    "gelu": (_gelu, slopes.d_gelu),
    "gelu_tanh": (_gelu_tanh, slopes.d_gelu_tanh),
    "silu": (lambda xp, z: z * slopes.sigmoid(xp, z), slopes.d_silu),
    "mish": (_mish, slopes.d_mish),
    "hard_swish": (_hard_swish, _d_hard_swish),
    "exp": (lambda xp, z: xp.exp(z), lambda xp, z: xp.exp(z)),
    "log": (lambda xp, z: xp.log(z), lambda xp, z: 1.0 / z),
    "square": (lambda xp, z: z * z, lambda xp, z: 2.0 * z),
    "power": (_power, _d_power),
    "sin": (lambda xp, z: xp.sin(z), lambda xp, z: xp.cos(z)),
    "cos": (lambda xp, z: xp.cos(z), lambda xp, z: -xp.sin(z)),
    "tan": (lambda xp, z: xp.tan(z), lambda xp, z: 1.0 + xp.tan(z) * xp.tan(z)),
    **SLOPES,
}
"""Kind -> function and derivative.  Parameters: `elu` takes (a, b, gain), `power` its exponent (sqrt is 0.5, the
reciprocal -1), `elu_slope` b, the others none."""


def _slope_of(kind: str, *parameters: float) -> Rule:
    return lambda t, g, x, y: t.times(g, t.add(Curve(kind, parameters), x))


def _of_square(p: float, a: float, b: float) -> Rule:
    """Where the derivative is `(a·z² + b)^p`."""
    return lambda t, g, x, y: t.times(g, t.add(Curve("power", (p,)), t.line(t.add(Curve("square"), x), a, b)))


def _power_rule(t: Chain, g: Rows, x: int, y: int, p: float) -> Rows:
    """`p·z^(p − 1)`."""
    if p == 1.0:
        return g
    q = p - 1.0
    if Fraction(q) != Fraction(p) - 1:  # a rounded exponent would be another function
        return t.times(t.times(g, t.line(y, p, 0.0)), t.add(Curve("power", (-1.0,)), x))
    z = x if q == 1.0 else t.add(Curve("square") if q == 2.0 else Curve("power", (q,)), x)
    return t.times(g, t.line(z, p, 0.0))


def _elu_rule(t: Chain, g: Rows, x: int, y: int, a: float, b: float, gain: float) -> Rows:
    """`gain·(d·(1 − a/b) + a/b·exp(min(z, 0)/b))` with d the derivative of a rectifier: both are one above zero."""
    smooth = t.add(Curve("elu_slope", (b,)), x)
    if a == b:
        return t.times(g, t.line(smooth, gain, 0.0))
    ratio = a / b
    exact = Fraction(ratio) * Fraction(b) == Fraction(a)
    kink = t.scaled(t.gate(g, x, 0.0), gain * (1.0 - ratio), rounded=True)
    return t.sum([kink, t.times(g, t.line(smooth, gain * ratio, 0.0, rounded=not exact or gain != 1.0))])


def _hard_swish_rule(t: Chain, g: Rows, x: int, y: int) -> Rows:
    """With `r = relu(z ± 3)` it is `q(r) = (r² ∓ 3r)/6`, the one less the other: `d·(2r − 3)/6 − d'·(2r' + 3)/6`."""
    parts = []
    for shift in (3.0, -3.0):
        z = t.line(x, 1.0, shift)
        r = t.add(Relu(), z)
        parts.append(t.passed(t.line(r, 1 / 3, -0.5 if shift > 0 else 0.5, rounded=True), z, 0.0))
    return t.times(g, t.add(Add((1, -1)), *parts))


RULES: dict[str, Rule] = {
    **{kind.removesuffix("_slope"): _slope_of(kind) for kind in SLOPES if kind != "elu_slope"},
    "softplus": _slope_of("sigmoid"),
    "elu": _elu_rule,
    "hard_swish": _hard_swish_rule,
    "asin": _of_square(-0.5, -1.0, 1.0),
    "asinh": _of_square(-0.5, 1.0, 1.0),
    "acosh": _of_square(-0.5, 1.0, -1.0),
    "atanh": _of_square(-1.0, -1.0, 1.0),
    "sinh": _slope_of("cosh"),
    "cosh": _slope_of("sinh"),
    "exp": lambda t, g, x, y: t.times(g, y),
    "log": _slope_of("power", -1.0),
    "square": lambda t, g, x, y: t.times(g, t.line(x, 2.0, 0.0)),
    "power": _power_rule,
    "sin": _slope_of("cos"),
    "cos": lambda t, g, x, y: t.times(g, t.line(t.add(Curve("sin"), x), -1.0, 0.0)),
    "tan": lambda t, g, x, y: t.times(g, t.line(t.add(Curve("square"), y), 1.0, 1.0)),
}
"""Kind -> rows (or directions) times its derivative at node x, y being its value.  (Derivatives have none in turn.)"""
