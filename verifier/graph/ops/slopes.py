"""Derivatives of smooth functions, as functions of their own: values, and their derivatives in turn.

All are written in terms of `e = exp(−|z|)` and the like, which neither overflow nor lose their relative error, and
arguments are kept to where a function differs from its limit by more than the smallest number there is.
"""

from __future__ import annotations

from collections.abc import Callable
from math import frexp, pi, sqrt
from typing import Any

from verifier.values.arrays import Array, erf

Function = Callable[..., Array]
"""`f(xp, z, *parameters)`."""


def sigmoid(xp: Any, z: Array) -> Array:
    """`1/(1 + exp(−z))`."""
    e = xp.exp(-xp.abs(z))
    return xp.where(z >= 0, 1.0, e) / (1.0 + e)


def d_sigmoid(xp: Any, z: Array) -> Array:
    """Its derivative."""
    e = xp.exp(-xp.abs(z))
    return e / ((1.0 + e) * (1.0 + e))


def d2_sigmoid(xp: Any, z: Array) -> Array:
    """Its second derivative."""
    e = xp.exp(-xp.abs(z))
    return xp.sign(z) * xp.expm1(-xp.abs(z)) * e / ((1.0 + e) * (1.0 + e) * (1.0 + e))


def d_tanh(xp: Any, z: Array) -> Array:
    """Derivative of tanh."""
    e = xp.exp(-2.0 * xp.abs(z))
    return 4.0 * e / ((1.0 + e) * (1.0 + e))


def _gauss(xp: Any, z: Array) -> Array:
    """`exp(−z²)` with z in two parts, the square of the first one exact: a rounded square would be multiplied up."""
    z = within(xp, z, 30.0)
    a = xp.floor(16.0 * z + 0.5) * 0.0625
    return xp.exp(-a * a) * xp.exp(-(z - a) * (z + a))


def within(xp: Any, z: Array, far: float) -> Array:
    """z, no farther from zero than that."""
    return xp.minimum(xp.maximum(z, -far), far)


def _density(xp: Any, z: Array) -> Array:
    """Of the standard normal distribution."""
    return _gauss(xp, z * sqrt(0.5)) * (1 / sqrt(2 * pi))


def d_gelu(xp: Any, z: Array) -> Array:
    """Derivative of `z·Φ(z)`."""
    z = within(xp, z, 40.0)
    return 0.5 * (1.0 + erf(z * sqrt(0.5))) + z * _density(xp, z)


def d2_gelu(xp: Any, z: Array) -> Array:
    """Its second derivative."""
    z = within(xp, z, 40.0)
    return (2.0 - z * z) * _density(xp, z)


_ROOT, _CUBE = sqrt(2 / pi), 0.044715


def _tanh_inner(xp: Any, z: Array) -> tuple[Array, Array, Array, Array]:
    """z kept near zero, and w, w', w'' of the approximate GELU `z/2·(1 + tanh w)`."""
    z = within(xp, z, 50.0)
    return z, _ROOT * (z + _CUBE * z * z * z), _ROOT * (1.0 + 3 * _CUBE * z * z), (6 * _CUBE * _ROOT) * z


def d_gelu_tanh(xp: Any, z: Array) -> Array:
    """Derivative of the approximate GELU."""
    z, w, w1, _ = _tanh_inner(xp, z)
    return sigmoid(xp, 2.0 * w) + 0.5 * z * d_tanh(xp, w) * w1


def d2_gelu_tanh(xp: Any, z: Array) -> Array:
    """Its second derivative."""
    z, w, w1, w2 = _tanh_inner(xp, z)
    return d_tanh(xp, w) * (w1 + 0.5 * z * (w2 - 2.0 * xp.tanh(w) * w1 * w1))


def d_silu(xp: Any, z: Array) -> Array:
    """Derivative of `z·sigmoid(z)`."""
    z = within(xp, z, 800.0)
    return sigmoid(xp, z) + z * d_sigmoid(xp, z)


def d2_silu(xp: Any, z: Array) -> Array:
    """Its second derivative."""
    z = within(xp, z, 800.0)
    return 2.0 * d_sigmoid(xp, z) + z * d2_sigmoid(xp, z)


def _mish_parts(xp: Any, z: Array) -> tuple[Array, Array, Array, Array]:
    """z kept near zero; `t = tanh(softplus(z))`, its complement `1 − t²`, and sigmoid(z)."""
    z = within(xp, z, 800.0)
    e = xp.exp(-xp.abs(z))
    above = z >= 0
    sum_ = xp.where(above, 1.0 + 2.0 * e + 2.0 * e * e, 2.0 + 2.0 * e + e * e)
    t = xp.where(above, 1.0 + 2.0 * e, e * (2.0 + e)) / sum_
    root = xp.where(above, 2.0 * e * (1.0 + e), 2.0 * (1.0 + e)) / sum_
    return z, t, root * root, xp.where(above, 1.0, e) / (1.0 + e)


def d_mish(xp: Any, z: Array) -> Array:
    """Derivative of `z·tanh(softplus(z))`."""
    z, t, c, s = _mish_parts(xp, z)
    return t + z * c * s


def d2_mish(xp: Any, z: Array) -> Array:
    """Its second derivative."""
    z, t, c, s = _mish_parts(xp, z)
    return c * (2.0 * s + z * (d_sigmoid(xp, z) - 2.0 * t * s * s))


def _d_elu_slope(xp: Any, z: Array, b: float) -> Array:
    return xp.where(z > 0, z * 0, xp.exp(xp.minimum(z, 0.0) / b) * (1 / b))


def _atan_slope(xp: Any, z: Array) -> Array:
    return 1.0 / (1.0 + z * z)


def _d_softsign_slope(xp: Any, z: Array) -> Array:
    a = 1.0 + xp.abs(z)
    return -2.0 * xp.sign(z) / (a * a * a)


SLOPES: dict[str, tuple[Function, Function]] = {
    "sigmoid_slope": (d_sigmoid, d2_sigmoid),
    "tanh_slope": (d_tanh, lambda xp, z: -2.0 * xp.tanh(z) * d_tanh(xp, z)),
    "atan_slope": (_atan_slope, lambda xp, z: -2.0 * z * _atan_slope(xp, z) * _atan_slope(xp, z)),
    "erf_slope": (
        lambda xp, z: (2 / sqrt(pi)) * _gauss(xp, z),
        lambda xp, z: (-4 / sqrt(pi)) * within(xp, z, 30.0) * _gauss(xp, z),
    ),
    "softsign_slope": (lambda xp, z: 1.0 / ((1.0 + xp.abs(z)) * (1.0 + xp.abs(z))), _d_softsign_slope),
    "elu_slope": (lambda xp, z, b: xp.exp(xp.minimum(z, 0.0) / b), _d_elu_slope),
    "gelu_slope": (d_gelu, d2_gelu),
    "gelu_tanh_slope": (d_gelu_tanh, d2_gelu_tanh),
    "silu_slope": (d_silu, d2_silu),
    "mish_slope": (d_mish, d2_mish),
}
"""Kind -> function and derivative.  `elu_slope` takes b: `exp(min(z, 0)/b)`; the others nothing."""


def terms(xp: Any, kind: str, parameters: tuple[float, ...], z: Array) -> tuple[Array, Array] | None:
    """Of kinds whose terms may cancel: the sums of their magnitudes, of the value and of the derivative, at z.

    What both are off by is a few units of these.  (An exponent that is itself a result of rounding counts as a factor.)
    None for kinds whose values and derivatives keep a small relative error.
    """
    if kind == "elu_slope" and abs(frexp(parameters[0])[0]) != 0.5:  # dividing by a power of two is exact
        (b,) = parameters
        y = xp.exp(xp.minimum(z, 0.0) / b) * (1.0 + xp.abs(xp.minimum(z, 0.0) / b))
        return y, y * abs(1 / b)
    if kind == "gelu_slope":
        z = within(xp, z, 40.0)
        p = (1.0 + z * z) * _density(xp, z)
        return xp.abs(z) * p + 1.0, (2.0 + z * z) * p
    if kind == "gelu_tanh_slope":
        z, w, w1, w2 = _tanh_inner(xp, z)
        c, half = d_tanh(xp, w) * (1.0 + xp.abs(w)), 0.5 * xp.abs(z)
        value = sigmoid(xp, 2.0 * w) + c * (1.0 + half * w1)
        return value, c * (w1 + half * (xp.abs(w2) + 2.0 * xp.abs(xp.tanh(w)) * w1 * w1))
    if kind == "silu_slope":
        z = within(xp, z, 800.0)
        s, d = sigmoid(xp, z), d_sigmoid(xp, z)
        return s + xp.abs(z) * d, (2.0 + xp.abs(z)) * d
    if kind == "mish_slope":
        z, t, c, s = _mish_parts(xp, z)
        return t + xp.abs(z) * c * s, c * (2.0 * s + xp.abs(z) * (d_sigmoid(xp, z) + 2.0 * t * s * s))
    return None
