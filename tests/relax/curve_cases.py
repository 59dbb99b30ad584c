"""What the laws of curves are swept over: parameters, intervals, points in them, and values from elsewhere.

Values are computed in extended precision, by formulas of their own, for the real function of the real number.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import mpmath
import numpy as np

from verifier.graph.ops.curves import Curve

Rng = np.random.Generator
LD = np.longdouble
FINE = LD(2.0**-59)
"""What extended precision leaves unknown, relative to the magnitudes involved."""

PARAMETERS: dict[str, list[tuple[float, ...]]] = {
    "elu": [
        (1.0, 1.0, 1.0), (0.3, 1.0, 1.0), (1.6732632423543772, 1.0, 1.0507009873554805), (2.5, 2.5, 1.0),
        (0.3, 0.3, 1.0), (1.0, 2.0, 1.0), (0.0, 1.0, 1.0), (-0.5, 1.0, 1.0), (-0.5, -0.5, 1.0), (1.0, 1.0, -1.0),
    ],
    "elu_slope": [(1.0,), (0.3,), (2.0,), (-0.5,)],
    "power": [(p,) for p in (-5.0, -4.0, -3.0, -2.0, -1.0, 1.0, 2.0, 3.0, 4.0, 5.0, 0.5, -0.5, 1 / 3, 1.5, 2.7, -1.5)],
}  # fmt: skip
"""Kind -> what it is tried with; nothing for all others.  (An exponent of zero is never read as a curve.)"""

SPECIAL = {
    "sigmoid": [0.0], "tanh": [0.0], "atan": [0.0], "erf": [0.0], "softsign": [0.0], "softplus": [0.0], "elu": [0.0],
    "gelu": [0.0, -(2**0.5), 2**0.5, -0.7517915246935645],
    "gelu_tanh": [0.0, -1.4185040087908284, 1.4185040087908284, -0.7524614220710162],
    "asin": [0.0, -1.0, 1.0], "asinh": [0.0], "acosh": [1.0, 2.0, 6.0], "atanh": [0.0, -1.0, 1.0],
    "sinh": [0.0], "cosh": [0.0],
    "silu": [0.0, -2.3993572805154677, 2.3993572805154677, -1.2784645427610738],
    "mish": [0.0, -2.2563763963607931, 1.4905711794854284, -1.1924312145155],
    "hard_swish": [-3.0, 3.0, 0.0, -1.5], "exp": [0.0], "log": [0.0, 1.0], "square": [0.0], "power": [0.0, 1.0],
    "sin": [k * np.pi / 2 for k in range(-4, 5)], "cos": [k * np.pi / 2 for k in range(-4, 5)],
    "tan": [k * np.pi / 2 for k in range(-4, 5)],
    "sigmoid_slope": [0.0, -1.3169578969248167, 1.3169578969248167],
    "tanh_slope": [0.0, -0.6584789484624084, 0.6584789484624084], "atan_slope": [0.0, -(3**-0.5), 3**-0.5],
    "erf_slope": [0.0, -(2**-0.5), 2**-0.5], "softsign_slope": [0.0], "elu_slope": [0.0],
    "gelu_slope": [0.0, -2.0, 2.0, -(2**0.5), 2**0.5, -0.7517915246935645],
    "gelu_tanh_slope": [
        0.0, -2.013480724624258, 2.013480724624258, -1.4185040087908284, 1.4185040087908284, -0.7524614220710162,
    ],
    "silu_slope": [
        0.0, -3.4358409935351107, 3.4358409935351107, -2.3993572805154677, 2.3993572805154677, -1.2784645427610738,
    ],
    "mish_slope": [
        -0.08793443131491421, -3.2673378465204046, 2.114842563020877, -2.2563763963607931, 1.4905711794854284,
        -1.1924312145155,
    ],
}  # fmt: skip
"""Kinks, inflections, extreme points, poles, ends of the domain."""


def curves(kinds: Any) -> list[Curve]:
    """Every kind with every parameter set."""
    return [Curve(kind, p) for kind in kinds for p in PARAMETERS.get(kind, [()])]


def curve_id(f: Curve) -> str:
    return "-".join([f.kind, *(f"{p:.3g}" for p in f.parameters)])


# ---- values, independent of the implementation ----

MP = mpmath.mp.clone()
MP.prec = 90


def fine(a: Any) -> Any:
    """Entries of an array in extended precision as numbers of mpmath, exactly."""
    high = a.astype(np.float64)
    rest = (a - high).astype(np.float64)
    return np.frompyfunc(lambda h, r: MP.mpf(h) + MP.mpf(r), 2, 1)(high, rest)


def coarse(a: Any) -> np.ndarray:
    """Back again, up to a rounding of extended precision."""
    high = a.astype(np.float64)
    rest = np.where(np.isfinite(high), np.frompyfunc(lambda v, h: v - MP.mpf(h), 2, 1)(a, high), 0)
    return high.astype(LD) + rest.astype(np.float64)


def _by_mpmath(f: Callable[[Any], Any]) -> Callable[[np.ndarray], np.ndarray]:
    each = np.frompyfunc(f, 1, 1)
    return lambda z: coarse(each(fine(z)))


def _bell(z: np.ndarray, times: int = 1) -> np.ndarray:
    """Derivative of the logistic function at `times·z`."""
    e = np.exp(-times * abs(z))
    return e / (1 + e) ** 2


def _gauss(z: np.ndarray) -> np.ndarray:
    """`exp(−z²)`, the square in two parts."""
    z = np.clip(z, -100, 100)
    a = np.floor(16 * z + LD(0.5)) / 16
    return np.exp(-a * a) * np.exp(-(z - a) * (z + a))


def _approximate_gelu(z: Any) -> Any:
    w, c = MP.sqrt(2 / MP.pi), MP.mpf(44715) / 10**6
    if abs(z) > 1e4:
        return MP.mpf(z > 0)
    e = MP.exp(-2 * w * (z + c * z**3))
    return 1 / (1 + e) + 2 * z * e / (1 + e) ** 2 * w * (1 + 3 * c * z * z)


def _mish_slope(z: Any) -> Any:
    if z > 1e4:
        return MP.mpf(1)
    p = MP.log1p(MP.exp(z))
    return MP.tanh(p) + z * MP.sech(p) ** 2 / (1 + MP.exp(-z))


_logistic = lambda z: 1 / (1 + np.exp(-z))  # noqa: E731
REFERENCE: dict[str, Callable[..., np.ndarray]] = {
    "sigmoid": _logistic,
    "tanh": np.tanh,
    "atan": np.arctan,
    "asin": _by_mpmath(lambda z: MP.asin(z) if abs(z) <= 1 else MP.nan),
    "asinh": _by_mpmath(MP.asinh),
    "acosh": _by_mpmath(lambda z: MP.acosh(z) if z >= 1 else MP.nan),
    "atanh": _by_mpmath(lambda z: MP.atanh(z) if abs(z) < 1 else MP.nan),
    "sinh": np.sinh,
    "cosh": np.cosh,
    "erf": _by_mpmath(MP.erf),
    "softsign": lambda z: z / (1 + abs(z)),
    "softplus": lambda z: np.where(z > 40, z + np.exp(-z), np.log1p(np.exp(np.minimum(z, 41)))),
    "elu": lambda z, a, b, gain: LD(gain) * np.where(z > 0, z, LD(a) * np.expm1(np.minimum(z, 0) / LD(b))),
    "gelu": _by_mpmath(lambda z: z * MP.ncdf(z)),
    "gelu_tanh": lambda z: (
        z * _logistic(2 * np.sqrt(2 / (LD(np.pi) + LD(1.2246467991473532e-16))) * (z + LD(44715) / 10**6 * z**3))
    ),
    "silu": lambda z: z * _logistic(z),
    "mish": lambda z: z * np.where(z > 40, 1, 1 - 2 / (1 + (1 + np.exp(np.minimum(z, 41))) ** 2)),
    "hard_swish": lambda z: z * np.clip(z + 3, 0, 6) / 6,
    "exp": np.exp,
    "log": lambda z: np.where(z > 0, np.log(np.where(z > 0, z, 1)), np.nan),
    "square": lambda z: z * z,
    "power": lambda z, p: np.where((z == 0) & (p < 0), np.nan, np.power(z, LD(p))),
    "sin": np.sin,
    "cos": np.cos,
    "tan": np.tan,
    "sigmoid_slope": _bell,
    "tanh_slope": lambda z: 4 * _bell(z, 2),
    "atan_slope": lambda z: 1 / (1 + z * z),
    "erf_slope": lambda z: _gauss(z) * 2 / np.sqrt(LD(np.pi) + LD(1.2246467991473532e-16)),
    "softsign_slope": lambda z: 1 / (1 + abs(z)) ** 2,
    "elu_slope": lambda z, b: (
        _by_mpmath(lambda v: MP.exp(min(v, MP.mpf(0)) / b))(z) if b != 1 else np.exp(np.minimum(z, 0))
    ),
    "gelu_slope": _by_mpmath(lambda z: MP.ncdf(z) + z * MP.npdf(z)),
    "gelu_tanh_slope": _by_mpmath(_approximate_gelu),
    "silu_slope": _by_mpmath(lambda z: 1 / (1 + MP.exp(-z)) + z * MP.exp(-abs(z)) / (1 + MP.exp(-abs(z))) ** 2),
    "mish_slope": _by_mpmath(_mish_slope),
}


@np.errstate(all="ignore")
def value(f: Curve, z: np.ndarray) -> np.ndarray:
    """The real function, in extended precision; NaN where there is none."""
    if f.kind == "mish":  # 1 − 2/(1 + q²) cancels for small q − 1
        q = np.exp(np.minimum(z, LD(41)))
        return np.where(z > 40, z, z * (q * (q + 2)) / (q * (q + 2) + 2))
    return REFERENCE[f.kind](z, *f.parameters)


# ---- intervals and points ----


@cache
def intervals(kind: str, dtype: str, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Everything that may go wrong: `[N]` twice."""
    rng = np.random.default_rng([seed, *kind.encode()])
    t = np.dtype(dtype).type
    special = np.array(SPECIAL[kind], dtype)
    ulps = lambda z, n: t(z + n * abs(np.spacing(z)))  # noqa: E731
    pairs: list[tuple[Any, Any]] = []
    for z in special:
        w = t(10.0) ** rng.uniform(-8, 1.3, 12).astype(dtype)
        pairs += [(z, z + w[0]), (z - w[1], z), (z - w[2], z + w[3]), (z - w[4], z + w[5]), (z, z), (z - w[6], z + 30)]
        pairs += [(z - 30, z + w[7]), (z + w[8], z + w[8] + w[9]), (z - w[10] - w[11], z - w[10])]
        n = rng.integers(1, 100, 4)
        pairs += [(ulps(z, -n[0]), ulps(z, n[1])), (ulps(z, -n[2]), z), (z, ulps(z, n[3])), (ulps(z, -1), z)]
        pairs += [(z, ulps(z, 1)), (ulps(z, 1), ulps(z, 3)), (ulps(z, -3), ulps(z, -1)), (ulps(z, -1), z + 1)]
        pairs += [(z - 1, ulps(z, 1)), (t(0), z) if z > 0 else (z, t(0))]
    center = rng.normal(size=70) * 10 ** rng.uniform(-2, 1.5, 70)
    width = 10 ** rng.uniform(-7, 1.5, (2, 70))
    pairs += list(zip(center - width[0], center + width[1], strict=True))
    narrow = center * (1 + rng.integers(0, 100, 70) * np.finfo(dtype).eps)
    pairs += list(zip(center, narrow, strict=True))
    far = rng.choice([-1, 1], 40) * 10 ** rng.uniform(2, 7, 40)
    pairs += list(zip(far, far + 10 ** rng.uniform(-3, 2, 40), strict=True))
    if kind in ("sin", "cos", "tan"):  # where multiples of pi are known worse and worse
        turn = np.rint(10 ** rng.uniform(1, 7, 60)) * (np.pi / 2) * rng.choice([-1, 1], 60)
        pairs += [(ulps(t(z), -a), ulps(t(z), b)) for z, (a, b) in zip(turn, rng.integers(0, 4, (60, 2)), strict=True)]
        pairs += list(zip(turn - 10 ** rng.uniform(-6, 0.6, 60), turn + 10 ** rng.uniform(-6, 0.6, 60), strict=True))
    huge = [-1e30, -1e10, -100.0, -20.0, -1e-3, -1e-40, 0.0, 1e-30, 1e-3, 20.0, 100.0, 1e6]
    pairs += [(p, q) for p in huge for q in [*huge, 1e10, 1e30] if p <= q]
    ends = np.sort(np.array([(t(p), t(q)) for p, q in pairs], dtype), 1)
    return ends[:, 0], ends[:, 1]


@cache
def inside(kind: str, dtype: str, P: int = 12) -> np.ndarray:
    """`[N, P']` real points of the intervals: ends and what is near them, special points and what is near them."""
    rng = np.random.default_rng([P, *kind.encode()])
    lower, upper = (a.astype(LD)[:, None] for a in intervals(kind, dtype))
    width = upper - lower
    share = np.concatenate([rng.random((len(lower), P)), np.array([[0, 1, 0.5]] * len(lower))], 1).astype(LD)
    near = 10 ** rng.uniform(-9, 0, (len(lower), 4)).astype(LD)
    z = [lower + width * share, lower + width * near, upper - width * near]
    special = np.array(SPECIAL[kind]).astype(LD)
    u = LD(np.finfo(dtype).eps)
    for k in (-3, -1, 0, 1, 3):
        z.append(np.broadcast_to(special * (1 + k * u / 3), (len(lower), len(special))))
    if kind in ("sin", "cos"):  # a top and a bottom next to each end
        half = LD(np.pi) / 2
        z += [
            half * (np.floor(end / half) + k)
            for end, way in ((lower, 1), (upper, -1))
            for k in (-way, 0, way, 2 * way, 3 * way, 4 * way, 5 * way)
        ]
    z += [lower, upper]  # exactly: a sum may miss them
    return np.clip(np.concatenate([np.broadcast_to(a, (len(lower), a.shape[1])) for a in z], 1), lower, upper)


@cache
def values_inside(f: Curve, dtype: str) -> np.ndarray:
    """The curve at those points."""
    return value(f, inside(f.kind, dtype))


def cancelling(f: Curve, reach: np.ndarray) -> np.ndarray:
    """What rounding acts on besides the value, on intervals that reach as far from zero: terms that cancel."""
    if f.kind in ("gelu", "gelu_tanh"):
        return reach
    return reach * 0 + 2 * (f.kind in ("gelu_slope", "gelu_tanh_slope", "silu_slope", "mish_slope"))


def pole_between(f: Curve, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Which intervals hold a point where the curve is unbounded (or the end of its domain with such a limit)."""
    lower, upper = lower.astype(LD), upper.astype(LD)
    if f.kind == "atanh":
        return ((lower <= -1) & (upper >= -1)) | ((lower <= 1) & (upper >= 1))
    if f.kind == "log" or (f.kind == "power" and f.parameters[0] < 0):
        return (lower <= 0) & (upper >= 0)
    if f.kind == "tan":
        pi = LD(np.pi) + LD(1.2246467991473532e-16)
        return np.floor(lower / pi + 0.5) < np.floor(upper / pi + 0.5)
    return np.zeros(len(lower), bool)
