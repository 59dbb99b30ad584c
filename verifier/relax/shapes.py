"""Where curves bend which way, and where their derivatives take a given value.

A curve is cut into pieces on each of which it is convex (bend 1), concave (-1) or straight (0).  That is all that
linear bounds need: on a convex piece the least of `f(z) − s·z` lies where `f' = s`, on others at an end.  Where the
derivative takes a value is only a proposal (`relax.curves` allows for what it is off), so it may be approximate.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from math import inf, pi, sqrt
from typing import Any

from verifier.graph.ops.curves import Curve
from verifier.values.arrays import Array, namespace
from verifier.values.rounding import dtype_of, unit

SILU = 2.3993572805154677
"""`z·tanh(z/2) = 2`, where silu'' changes sign."""
MISH = (-2.2563763963607931, 1.4905711794854284)
GELU_TANH = (-1.4185040087908284, 1.4185040087908284)
"""Where these change theirs: roots of the second derivatives, found with 60 digits."""

SLOPE_BENDS = {
    "sigmoid_slope": (-1.3169578969248167, 1.3169578969248167),
    "tanh_slope": (-0.6584789484624084, 0.6584789484624084),
    "atan_slope": (-sqrt(1 / 3), sqrt(1 / 3)),
    "erf_slope": (-sqrt(1 / 2), sqrt(1 / 2)),
    "gelu_slope": (-2.0, 0.0, 2.0),
    "gelu_tanh_slope": (-2.0134807246242579, 0.0, 2.0134807246242579),
    "silu_slope": (-3.4358409935351107, 0.0, 3.4358409935351107),
    "mish_slope": (-3.2673378465204046, -0.08793443131491421, 2.1148425630208771),
}
"""Where derivatives of curves change the sign of their bend: roots of the curves' third derivatives."""

Inverse = Callable[[Array], Array]


@dataclass(frozen=True)
class Piece:
    """One piece of a curve.

    Attributes:
        start, end: numbers, or arrays broadcastable to the bounds (periodic curves).
        bend: 1, -1 or 0, or an array of these.
        inverse: where in the piece (or anywhere, outside the derivative's range) the derivative is s; None: to be
            found by halving.
    """

    start: Any
    end: Any
    bend: Any
    inverse: Inverse | None = None


def pieces(f: Curve, lower: Array, upper: Array) -> list[Piece]:
    """The pieces of a curve that meet `[lower, upper]` (others may be among them), from left to right."""
    if f.kind in _PERIODIC:
        return _PERIODIC[f.kind](lower)
    return _PIECES[f.kind](*f.parameters)


def kinks(f: Curve) -> tuple[float, ...]:
    """Where the slope jumps."""
    if f.kind == "hard_swish":
        return (-3.0, 3.0)
    if f.kind in ("softsign_slope", "elu_slope"):
        return (0.0,)
    return (0.0,) if f.kind == "elu" and f.parameters[0] != f.parameters[1] else ()


_DOMAINS = {"asin": (-1.0, 1.0), "atanh": (-1.0, 1.0), "acosh": (1.0, inf)}


def domain(f: Curve) -> tuple[float, float]:
    """Where the curve is defined; elsewhere a network has no value, and so no counterexample."""
    if f.kind == "log" or (f.kind == "power" and f.parameters[0] != int(f.parameters[0])):
        return (0.0, inf)
    return _DOMAINS.get(f.kind, (-inf, inf))


def poles(f: Curve, sign: int, lower: Array, upper: Array) -> Array | None:
    """Which of the intervals hold a pole at which `sign·f` falls to minus infinity, or None where it never does.

    (Logarithms do so at the end of their domain, where their value says it.)
    """
    if f.kind == "power" and f.parameters[0] < 0:
        p = f.parameters[0]
        if p != int(p) or int(p) % 2 == 0:  # up to plus infinity, on both sides
            return None if sign > 0 else (lower <= 0) & (upper >= 0)
        return (lower <= 0) & (upper >= 0)
    if f.kind == "tan":
        xp = namespace(lower)
        low, high = (a * (1 / pi) + 0.5 for a in (lower, upper))
        slack = 8 * unit(dtype_of(lower)) * (1 + xp.abs(low) + xp.abs(high))
        return (xp.floor(low - slack) < xp.floor(high + slack)) | far(lower, upper)
    return None


TURNS = {"float32": 100.0, "float64": 1e6}
"""Half periods from zero up to which multiples of pi are known well enough."""


def far(lower: Array, upper: Array) -> Array:
    """Whether a wave's four half periods may not reach the other end, or lie too far from zero to be placed."""
    xp = namespace(lower)
    reach = xp.maximum(xp.abs(lower), xp.abs(upper))
    return ~((upper - lower <= 3 * pi) & (reach < pi * TURNS[dtype_of(lower)]))


def _s_shaped(size: Inverse) -> list[Piece]:
    """Convex below zero and concave above, with an even derivative: `size(s)` is |z| where it is s."""
    return [Piece(-inf, 0.0, 1, lambda s: -size(s)), Piece(0.0, inf, -1, size)]


def _bell(kind: str, factor: float) -> list[Piece]:
    """Convex, concave, convex: derivatives of sigmoid (factor 2) and tanh (factor 1).

    With `t = tanh(z/factor)` their own derivative is `−2·t·(1 − t²)/factor³`, so it is s at roots of a cubic.
    """
    (a, b), to_cubic = SLOPE_BENDS[kind], 0.5 * factor**3

    def flank(s: Array) -> Array:
        """Where it is −s, s > 0, beyond the bend: there t is near one, and its distance from one counts."""
        xp, c = namespace(s), _within(s * to_cubic, 1e-30, _TOP)
        t = (2 / sqrt(3)) * xp.cos(xp.arccos(-c / _TOP) * (1 / 3))
        off = xp.where(c < 1e-3, 0.5 * c + 0.375 * c * c, xp.maximum(1 - t, 1e-6))
        return (0.5 * factor) * xp.log((2 - off) / off)

    def middle(s: Array) -> Array:
        """Where it is −s, between the bends."""
        xp, c = namespace(s), _within(s * to_cubic, -_TOP, _TOP)
        t = (2 / sqrt(3)) * xp.cos(xp.arccos(-c / _TOP) * (1 / 3) - 2 * pi / 3)
        return (0.5 * factor) * xp.log((1 + t) / (1 - t))

    return [
        Piece(-inf, a, 1, lambda s: -flank(s)),
        Piece(a, b, -1, lambda s: middle(-s)),
        Piece(b, inf, 1, lambda s: flank(-s)),
    ]


_TOP = 2 / sqrt(27)
"""The largest value of `t·(1 − t²)`."""


def _softsign_slope(s: Array) -> Array:
    xp = namespace(s)
    return xp.exp(xp.log(2 / _within(s, 1e-30, 2.0)) * (1 / 3)) - 1


def _elu_slope(b: float) -> list[Piece]:
    return [
        Piece(-inf, 0.0, 1, lambda s: b * namespace(s).log(_within(s * b, 1e-30, 1e30))),
        Piece(0.0, inf, 0),
    ]


def _within(s: Array, low: float, high: float) -> Array:
    xp = namespace(s)
    return xp.minimum(xp.maximum(s, low), high)


def _sigmoid(s: Array) -> Array:
    xp, s = namespace(s), _within(s, 1e-30, 0.25)
    q = xp.sqrt(1 - 4 * s)
    return 2 * xp.log(1 + q) - xp.log(4 * s)


def _tanh(s: Array) -> Array:
    xp, s = namespace(s), _within(s, 1e-30, 1.0)
    return xp.log(1 + xp.sqrt(1 - s)) - 0.5 * xp.log(s)


def _atan(s: Array) -> Array:
    return namespace(s).sqrt(1 / _within(s, 1e-30, 1.0) - 1)


def _asin(s: Array) -> Array:
    """Not at the end of the domain: there the slope is infinite.  (Likewise below.)"""
    xp, q = namespace(s), 1 / _within(s, 1.0, 1e15)
    return _within(xp.sqrt((1 - q) * (1 + q)), 0.0, 1 - unit(dtype_of(s)))


def _atanh(s: Array) -> Array:
    xp = namespace(s)
    return _within(xp.sqrt(1 - 1 / _within(s, 1.0, 1e15)), 0.0, 1 - unit(dtype_of(s)))


def _acosh(s: Array) -> Array:
    xp, q = namespace(s), 1 / _within(s, 1e-15, 1e15)
    return xp.maximum(xp.sqrt(1 + q * q), 1 + 2 * unit(dtype_of(s)))


def _asinh(s: Array) -> Array:
    xp, q = namespace(s), 1 / _within(s, 1e-15, 1.0)
    return xp.sqrt(xp.maximum((q - 1) * (q + 1), 0.0))


def _turned_s(size: Inverse) -> list[Piece]:
    """Concave below zero and convex above, with an even derivative: `size(s)` is |z| where it is s."""
    return [Piece(-inf, 0.0, -1, lambda s: -size(s)), Piece(0.0, inf, 1, size)]


def _erf(s: Array) -> Array:
    xp = namespace(s)
    return xp.sqrt(xp.maximum(-xp.log(_within(s, 1e-30, 2 / sqrt(pi)) * (sqrt(pi) / 2)), 0.0))


def _softsign(s: Array) -> Array:
    return 1 / namespace(s).sqrt(_within(s, 1e-30, 1.0)) - 1


def _softplus(s: Array) -> Array:
    xp, s = namespace(s), _within(s, 1e-30, 1 - 1e-7)
    return xp.log(s) - xp.log(1 - s)


def _elu(a: float, b: float, gain: float) -> list[Piece]:
    if gain * a == 0.0:
        return [Piece(-inf, 0.0, 0), Piece(0.0, inf, 0)]
    scale = b / (gain * a)
    ratio = (1e-30, 1.0) if b > 0 else (1.0, 1e30)  # of exp(z/b) below zero

    def inverse(s: Array) -> Array:
        return b * namespace(s).log(_within(s * scale, *ratio))

    return [Piece(-inf, 0.0, 1 if gain * a > 0 else -1, inverse), Piece(0.0, inf, 0)]


def _power(p: float) -> list[Piece]:
    if p == 1:
        return [Piece(-inf, inf, 0)]

    def size(s: Array) -> Array:
        xp = namespace(s)
        ratio = xp.maximum(s / p, 1e-30)
        return xp.sqrt(ratio) if p == 3 else 1 / xp.sqrt(ratio) if p == -1 else xp.power(ratio, 1 / (p - 1))

    right = Piece(0.0, inf, 1 if p > 1 or p < 0 else -1, size)
    if p != int(p):
        return [right]
    even = int(p) % 2 == 0
    return [Piece(-inf, 0.0, 1 if even else -1, (lambda s: -size(-s)) if even else lambda s: -size(s)), right]


def _sine(lower: Array) -> list[Piece]:
    xp = namespace(lower)
    k0 = xp.floor(lower * (1 / pi))
    found = []
    for j in range(4):
        k = k0 + j
        odd = k - 2 * xp.floor(k * 0.5)  # 1 where k is odd: there the sine is convex

        def inverse(s: Array, k: Array = k, odd: Array = odd) -> Array:
            return k * pi + namespace(s).arccos(_within(s * (1 - 2 * odd), -1.0, 1.0))

        found.append(Piece(k * pi, (k + 1) * pi, 2 * odd - 1, inverse))
    return _ends_open(found)


def _ends_open(found: list[Piece]) -> list[Piece]:
    """So that rounded ends of pieces leave nothing out; what is too wide for them is dealt with apart (`far`)."""
    found[0] = replace(found[0], start=-inf)
    found[-1] = replace(found[-1], end=inf)
    return found


def _cosine(lower: Array) -> list[Piece]:
    xp = namespace(lower)
    k0 = xp.floor(lower * (1 / pi) + 0.5)
    found = []
    for j in range(4):
        k = k0 + j
        odd = k - 2 * xp.floor(k * 0.5)

        def inverse(s: Array, k: Array = k, odd: Array = odd) -> Array:
            return k * pi + namespace(s).arcsin(_within(s * (2 * odd - 1), -1.0, 1.0))

        found.append(Piece((k - 0.5) * pi, (k + 0.5) * pi, 2 * odd - 1, inverse))
    return _ends_open(found)


def _tangent(lower: Array) -> list[Piece]:
    xp = namespace(lower)
    k = xp.floor(lower * (1 / pi) + 0.5)

    def size(s: Array) -> Array:
        return namespace(s).arctan(namespace(s).sqrt(namespace(s).maximum(s - 1, 0.0)))

    return [
        Piece(-inf, k * pi, -1, lambda s: k * pi - size(s)),
        Piece(k * pi, inf, 1, lambda s: k * pi + size(s)),
    ]


_PERIODIC: dict[str, Callable[[Array], list[Piece]]] = {"sin": _sine, "cos": _cosine, "tan": _tangent}


def _bumps(*ends: float) -> list[Piece]:
    """Pieces of alternating bend that end at the given points, the first one concave, without inverses."""
    edges = (-inf, *ends, inf)
    return [Piece(a, b, 1 if i % 2 else -1) for i, (a, b) in enumerate(zip(edges[:-1], edges[1:], strict=True))]


def _bump(kind: str) -> list[Piece]:
    """A bell without inverses."""
    a, b = SLOPE_BENDS[kind]
    return [Piece(-inf, a, 1), Piece(a, b, -1), Piece(b, inf, 1)]


_PIECES: dict[str, Callable[..., list[Piece]]] = {
    "sigmoid": lambda: _s_shaped(_sigmoid),
    "tanh": lambda: _s_shaped(_tanh),
    "atan": lambda: _s_shaped(_atan),
    "asin": lambda: _turned_s(_asin),
    "asinh": lambda: _s_shaped(_asinh),
    "acosh": lambda: [Piece(1.0, inf, -1, _acosh)],
    "atanh": lambda: _turned_s(_atanh),
    "sinh": lambda: _turned_s(lambda s: namespace(s).arccosh(namespace(s).maximum(s, 1.0))),
    "cosh": lambda: [Piece(-inf, inf, 1, lambda s: namespace(s).arcsinh(s))],
    "erf": lambda: _s_shaped(_erf),
    "softsign": lambda: _s_shaped(_softsign),
    "softplus": lambda: [Piece(-inf, inf, 1, _softplus)],
    "elu": _elu,
    "gelu": lambda: _bumps(-sqrt(2), sqrt(2)),  # f'' = (2 − z²)·φ(z)
    "gelu_tanh": lambda: _bumps(*GELU_TANH),
    "silu": lambda: _bumps(-SILU, SILU),
    "mish": lambda: _bumps(*MISH),
    "hard_swish": lambda: [
        Piece(-inf, -3.0, 0),
        Piece(-3.0, 3.0, 1, lambda s: 3.0 * s - 1.5),
        Piece(3.0, inf, 0),
    ],
    "exp": lambda: [Piece(-inf, inf, 1, lambda s: namespace(s).log(namespace(s).maximum(s, 1e-30)))],
    "log": lambda: [Piece(0.0, inf, -1, lambda s: 1 / namespace(s).maximum(s, 1e-30))],
    "square": lambda: [Piece(-inf, inf, 1, lambda s: 0.5 * s)],
    "power": _power,
    "sigmoid_slope": lambda: _bell("sigmoid_slope", 2.0),
    "tanh_slope": lambda: _bell("tanh_slope", 1.0),
    "atan_slope": lambda: _bump("atan_slope"),
    "erf_slope": lambda: _bump("erf_slope"),
    "softsign_slope": lambda: [
        Piece(-inf, 0.0, 1, lambda s: -_softsign_slope(s)),
        Piece(0.0, inf, 1, lambda s: _softsign_slope(-s)),
    ],
    "elu_slope": _elu_slope,
    **{
        kind: lambda kind=kind: _bumps(*SLOPE_BENDS[kind])
        for kind in ("gelu_slope", "gelu_tanh_slope", "silu_slope", "mish_slope")
    },
}
