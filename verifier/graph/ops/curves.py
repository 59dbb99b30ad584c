"""Smooth nonlinear functions of one number: sigmoid, exp, sin, powers, …: values and derivatives.

Where each bends which way, and where its derivative takes a value, is for `relax.shapes` to say.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import pi, sqrt
from typing import Any

from verifier.graph.graph import Elementwise
from verifier.values.arrays import Array, erf, namespace

Function = Callable[..., Array]
"""`f(xp, z, *parameters)`."""


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


def _sigmoid(xp: Any, z: Array) -> Array:
    e = xp.exp(-xp.abs(z))  # never overflows, and keeps the relative error small on both sides
    return xp.where(z >= 0, 1.0, e) / (1.0 + e)


def _d_sigmoid(xp: Any, z: Array) -> Array:
    e = xp.exp(-xp.abs(z))
    return e / ((1.0 + e) * (1.0 + e))


def _softplus(xp: Any, z: Array) -> Array:
    return xp.maximum(z, 0.0) + xp.log1p(xp.exp(-xp.abs(z)))


def _d_tanh(xp: Any, z: Array) -> Array:
    e = xp.exp(-2.0 * xp.abs(z))
    return 4.0 * e / ((1.0 + e) * (1.0 + e))


def _elu(xp: Any, z: Array, a: float, b: float, gain: float) -> Array:
    """`gain·z` above zero, `gain·a·(exp(z/b) − 1)` below."""
    return gain * xp.where(z > 0, z, a * xp.expm1(xp.minimum(z, 0.0) / b))


def _d_elu(xp: Any, z: Array, a: float, b: float, gain: float) -> Array:
    return gain * xp.where(z > 0, z * 0 + 1, (a / b) * xp.exp(xp.minimum(z, 0.0) / b))


def _gelu(xp: Any, z: Array) -> Array:
    return 0.5 * z * (1.0 + erf(z * (1 / sqrt(2))))


def _d_gelu(xp: Any, z: Array) -> Array:
    return 0.5 * (1.0 + erf(z * (1 / sqrt(2)))) + z * xp.exp(-0.5 * z * z) * (1 / sqrt(2 * pi))


_ROOT = sqrt(2 / pi)


def _gelu_tanh(xp: Any, z: Array) -> Array:
    return 0.5 * z * (1.0 + xp.tanh(_ROOT * (z + 0.044715 * z * z * z)))


def _d_gelu_tanh(xp: Any, z: Array) -> Array:
    inner = _ROOT * (z + 0.044715 * z * z * z)
    return 0.5 * (1.0 + xp.tanh(inner)) + 0.5 * z * _d_tanh(xp, inner) * (_ROOT * (1.0 + 3 * 0.044715 * z * z))


def _d_silu(xp: Any, z: Array) -> Array:
    return _sigmoid(xp, z) + z * _d_sigmoid(xp, z)


def _mish(xp: Any, z: Array) -> Array:
    return z * xp.tanh(_softplus(xp, z))


def _d_mish(xp: Any, z: Array) -> Array:
    p = _softplus(xp, z)
    return xp.tanh(p) + z * _d_tanh(xp, p) * _sigmoid(xp, z)


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


KINDS: dict[str, tuple[Function, Function]] = {
    "sigmoid": (_sigmoid, _d_sigmoid),
    "tanh": (lambda xp, z: xp.tanh(z), _d_tanh),
    "atan": (lambda xp, z: xp.arctan(z), lambda xp, z: 1.0 / (1.0 + z * z)),
    "erf": (lambda xp, z: erf(z), lambda xp, z: (2 / sqrt(pi)) * xp.exp(-z * z)),
    "softsign": (
        lambda xp, z: z / (1.0 + xp.abs(z)),
        lambda xp, z: 1.0 / ((1.0 + xp.abs(z)) * (1.0 + xp.abs(z))),
    ),
    "softplus": (_softplus, _sigmoid),
    "elu": (_elu, _d_elu),
    "gelu": (_gelu, _d_gelu),
    "gelu_tanh": (_gelu_tanh, _d_gelu_tanh),
    "silu": (lambda xp, z: z * _sigmoid(xp, z), _d_silu),
    "mish": (_mish, _d_mish),
    "hard_swish": (_hard_swish, _d_hard_swish),
    "exp": (lambda xp, z: xp.exp(z), lambda xp, z: xp.exp(z)),
    "log": (lambda xp, z: xp.log(z), lambda xp, z: 1.0 / z),
    "square": (lambda xp, z: z * z, lambda xp, z: 2.0 * z),
    "power": (_power, _d_power),
    "sin": (lambda xp, z: xp.sin(z), lambda xp, z: xp.cos(z)),
    "cos": (lambda xp, z: xp.cos(z), lambda xp, z: -xp.sin(z)),
    "tan": (lambda xp, z: xp.tan(z), lambda xp, z: 1.0 + xp.tan(z) * xp.tan(z)),
}
"""Kind -> function and derivative.  Parameters: `elu` takes (a, b, gain), `power` its exponent (sqrt is 0.5, the
reciprocal -1), the others none."""
