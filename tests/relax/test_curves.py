"""Linear bounds of curves: whatever the slope, they enclose the real function; the default ones are close to it."""

from __future__ import annotations

from typing import Any

import mpmath
import numpy as np
import pytest

from verifier.graph.ops.curves import KINDS, Curve
from verifier.relax import curves as relaxed
from verifier.relax import table
from verifier.relax.lines import Lines
from verifier.relax.shapes import SLOPE_BENDS
from verifier.values.arrays import Place, to_numpy

from . import curve_cases as cases
from .curve_cases import FINE, LD, curve_id, inside, intervals, pole_between, value, values_inside

PLACES = [Place(kind, dtype) for kind in ("numpy", "torch") for dtype in ("float32", "float64")]
NUMPY = [Place("numpy", dtype) for dtype in ("float32", "float64")]
CURVES = cases.curves(KINDS)
swept = pytest.mark.parametrize("f", CURVES, ids=curve_id)
placed = pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")


def at(place: Place, *arrays: np.ndarray) -> Any:
    """`[1, N]` at a place."""
    return tuple(place.array(a)[None] for a in arrays)


def host(f: Lines) -> list[np.ndarray]:
    return [to_numpy(a)[0].astype(LD) for a in (f.s_l, f.t_l, f.s_u, f.t_u)]  # type: ignore[arg-type]


def enclose(f: Curve, dtype: str, lines: Lines) -> None:
    """The lines at every point, on the safe side of the value."""
    lower, upper = intervals(f.kind, dtype)
    z, y = inside(f.kind, dtype), values_inside(f, dtype)
    s_l, t_l, s_u, t_u = (a[:, None] for a in host(lines))
    assert not np.isnan(t_l).any() and not np.isnan(t_u).any(), "an intercept that is none"
    assert not (t_l == np.inf).any() and not (t_u == -np.inf).any()
    for s, t, sign in ((s_l, t_l, 1), (s_u, t_u, -1)):
        known = np.isfinite(t) & ~np.isnan(y)
        assert np.isfinite(s[np.isfinite(t)]).all(), "a line with a slope that is none"
        with np.errstate(all="ignore"):
            slack = FINE * (abs(s * z) + abs(t) + abs(np.where(np.isfinite(y), y, 0))) + LD(10.0) ** -4000
            wrong = known & ~(sign * (s * z + t - y) <= slack)
        for i, j in np.argwhere(wrong)[:1]:
            side = "lower" if sign == 1 else "upper"
            raise AssertionError(
                f"{side} line on [{lower[i]!r}, {upper[i]!r}]: {s[i, 0]} z + {t[i, 0]} at {z[i, j]!r}, where the value "
                f"is {y[i, j]!r}; off by {sign * (s * z + t - y)[i, j]:.3g} ({wrong.any(1).sum()} intervals)"
            )


def test_every_kind_is_swept() -> None:
    assert {f.kind for f in CURVES} == set(KINDS) == set(cases.SPECIAL) == set(cases.REFERENCE)


@swept
def test_references_agree_with_mpmath(f: Curve) -> None:
    """Extended precision is as good as the laws take it to be."""
    m = cases.MP
    cubic = lambda v: m.sqrt(8 / m.pi) * (v + v**3 * 44715 / 10**6)  # noqa: E731
    exact = {
        "sigmoid": lambda z: 1 / (1 + m.exp(-z)),
        "tanh": m.tanh, "asin": m.asin, "asinh": m.asinh, "acosh": m.acosh, "atanh": m.atanh, "sinh": m.sinh,
        "cosh": m.cosh, "atan": m.atan, "erf": m.erf, "exp": m.exp, "log": m.log, "sin": m.sin, "cos": m.cos,
        "tan": m.tan, "square": lambda z: z**2, "softsign": lambda z: z / (1 + abs(z)),
        "softplus": lambda z: m.log1p(m.exp(z)), "gelu": lambda z: z * (1 + m.erf(z / m.sqrt(2))) / 2,
        "gelu_tanh": lambda z: z * (1 + m.tanh(m.sqrt(2 / m.pi) * (z + m.mpf(44715) / 10**6 * z**3))) / 2,
        "silu": lambda z: z / (1 + m.exp(-z)), "mish": lambda z: z * m.tanh(m.log1p(m.exp(z))),
        "hard_swish": lambda z: z * min(max(z + 3, 0), 6) / 6, "power": lambda z, p: m.power(z, m.mpf(p)),
        "sigmoid_slope": lambda z: m.exp(-z) / (1 + m.exp(-z)) ** 2, "tanh_slope": lambda z: m.sech(z) ** 2,
        "atan_slope": lambda z: 1 / (1 + z * z), "erf_slope": lambda z: 2 / m.sqrt(m.pi) * m.exp(-z * z),
        "softsign_slope": lambda z: (1 + abs(z)) ** -2, "elu_slope": lambda z, b: m.exp(min(z, 0) / m.mpf(b)),
        "gelu_slope": lambda z: (1 + m.erf(z / m.sqrt(2))) / 2 + z * m.exp(-z * z / 2) / m.sqrt(2 * m.pi),
        "gelu_tanh_slope": lambda z: m.diff(lambda v: v / (1 + m.exp(-cubic(v))), z),
        "silu_slope": lambda z: m.diff(lambda v: v / (1 + m.exp(-v)), z),
        "mish_slope": lambda z: m.diff(lambda v: v * m.tanh(m.log1p(m.exp(v))), z),
        "elu": lambda z, a, b, g: g * (z if z > 0 else a * m.expm1(z / m.mpf(b))),
    }[f.kind]  # fmt: skip
    rng = np.random.default_rng(0)
    z = (rng.normal(size=60) * 10 ** rng.uniform(-3, 1.3, 60)).astype(LD) / 3
    z = 1 + abs(z) if f.kind == "acosh" else z
    z = z[np.isfinite(value(f, z))]
    m.prec, kept = 400, m.prec
    try:
        truth = cases.coarse(np.frompyfunc(lambda v: exact(v, *f.parameters), 1, 1)(cases.fine(z)))
    finally:
        m.prec = kept
    assert len(z) > 20
    assert (abs(value(f, z) - truth) <= LD(2.0**-60) * (abs(truth) + 1e-300)).all()


@swept
@placed
def test_default_lines_enclose(place: Place, f: Curve) -> None:
    with np.errstate(all="ignore"):
        enclose(f, place.dtype, table.lines(f, *at(place, *intervals(f.kind, place.dtype))))  # type: ignore[arg-type]


@swept
@placed
def test_parallel_lines_enclose(place: Place, f: Curve) -> None:
    parallel = table.family(f).parallel
    assert parallel is not None
    with np.errstate(all="ignore"):
        lines = parallel(f, *at(place, *intervals(f.kind, place.dtype)))
    assert bool((lines.s_l == lines.s_u).all())
    enclose(f, place.dtype, lines)


def slopes(f: Curve, dtype: str, k: int) -> np.ndarray:
    """Slopes of the curve itself, next to these, of every size, and absurd ones."""
    lower, upper = intervals(f.kind, dtype)
    rng = np.random.default_rng(k)
    with np.errstate(all="ignore"):
        own = f.slope(lower + (upper - lower) * rng.random(len(lower)).astype(dtype))
        special = rng.choice(cases.SPECIAL[f.kind], len(lower)) + rng.uniform(-0.3, 0.3, len(lower))
        near = f.slope(np.clip(special.astype(dtype), lower, upper))
        chord = (f.evaluate(upper) - f.evaluate(lower)) / (upper - lower)
    own, near, chord = (np.where(np.isfinite(a), a, 0) for a in (own, near, chord))
    size = rng.normal(size=len(lower)) * 10 ** rng.uniform(-8, 6, len(lower))
    odd = rng.choice([0.0, -1.0, 1.0, 0.25, -0.25, 1e30, -1e30, 1e-40, -1e-30], len(lower))
    options = [
        own,
        near,
        near,
        own * (1 + rng.normal(size=len(lower)) * 1e-3),
        chord,
        size,
        odd,
        rng.normal(size=len(lower)),
    ]
    return np.choose(rng.integers(len(options), size=len(lower)), options).astype(dtype)


@swept
@placed
def test_any_slope_encloses(place: Place, f: Curve) -> None:
    for k in range(2):
        alpha = at(place, slopes(f, place.dtype, 2 * k), slopes(f, place.dtype, 2 * k + 1))
        with np.errstate(all="ignore"):
            lines = relaxed.lines(f, *at(place, *intervals(f.kind, place.dtype)), alpha)
        assert lines.s_l is alpha[0] and lines.s_u is alpha[1]
        enclose(f, place.dtype, lines)


def ordinary(f: Curve, dtype: str) -> np.ndarray:
    """Intervals of moderate size without poles, wholly in the domain."""
    lower, upper = intervals(f.kind, dtype)
    most = 30 if f.kind not in ("exp", "power", "sinh", "cosh") else 12
    good = (abs(lower) <= most) & (abs(upper) <= most) & ~pole_between(f, lower, upper)
    if f.kind == "tan":  # that keep away from poles
        good &= ~pole_between(f, lower - 1e-3, upper + 1e-3)
    if f.kind == "asin":  # that are not as narrow next to where the slope is infinite
        good &= (np.maximum(abs(lower), abs(upper)) < 0.99) | (upper - lower > 1e-3)
    if f.kind in ("log", "power"):
        size = np.minimum(abs(lower), abs(upper))
        at_zero = (lower == 0) & ((upper == 0) | (upper >= 1e-2))
        good &= (size >= 1e-2) | (at_zero & (f.parameters[:1] > (0.0,)))
    y = values_inside(f, dtype)
    return good & np.isfinite(y).all(1)


@swept
@placed
def test_image_is_the_range(place: Place, f: Curve) -> None:
    """It encloses every value, and its ends are taken (up to rounding) where points are dense."""
    lower, upper = intervals(f.kind, place.dtype)
    with np.errstate(all="ignore"):
        low, high = (to_numpy(a)[0].astype(LD) for a in table.image(f, *at(place, lower, upper)))
    zero = np.zeros((1, len(lower)))
    with np.errstate(all="ignore"):
        enclose(f, place.dtype, Lines(zero, low[None], zero, high[None]))
    good, y = ordinary(f, place.dtype), values_inside(f, place.dtype)
    assert good.sum() > 40
    u = np.finfo(place.dtype).eps
    lower, upper, low, high, least, most = (a[good] for a in (lower, upper, low, high, y.min(1), y.max(1)))
    reach = np.maximum(abs(lower), abs(upper))
    size = abs(y[good]).max(1) * (1 + reach / 0.3 * (f.kind == "elu_slope")) + cases.cancelling(f, reach)
    loose = np.maximum(least - low, high - most) - 40 * u * size - 1e-5 * (most - least) - 1e-30
    i = loose.argmax()
    assert (loose <= 0).all(), (
        f"on [{lower[i]!r}, {upper[i]!r}]: {low[i]} .. {high[i]} for values {least[i]} .. {most[i]}"
    )


# Open: `elu` with negative a = b (a celu of negative alpha), whose slopes lie above one: its inverse is cut off there.
@pytest.mark.parametrize("f", CURVES, ids=curve_id)
@pytest.mark.parametrize("place", NUMPY, ids=lambda p: p.dtype)
def test_default_lines_are_close(place: Place, f: Curve) -> None:
    """In the middle, not more than a twentieth farther apart than the best lines that dense points allow.

    A ten-thousandth of the range of values or slopes (a millionth in double precision) is what halving may leave.
    """
    lower, upper = intervals(f.kind, place.dtype)
    good = np.flatnonzero(ordinary(f, place.dtype) & (upper - lower > 8 * np.spacing(abs(upper))))
    lower, upper = (a[good] for a in intervals(f.kind, place.dtype))
    with np.errstate(all="ignore"):
        s_l, t_l, s_u, t_u = host(table.lines(f, *at(place, lower, upper)))  # type: ignore[arg-type]
    middle = lower.astype(LD) * 0.5 + upper.astype(LD) * 0.5
    gap = (s_u * middle + t_u) - (s_l * middle + t_l)
    half = np.concatenate([np.linspace(0, 1, 60), 10.0 ** -np.arange(2, 9)]).astype(LD)
    left = middle[:, None] - (middle - lower)[:, None] * half
    right = middle[:, None] + (upper - middle)[:, None] * half
    special = np.array(cases.SPECIAL[f.kind]).astype(LD)[None]
    left, right = (
        np.concatenate([side, np.clip(special, low[:, None], up[:, None])], 1)
        for side, low, up in ((left, lower, middle), (right, middle, upper))
    )
    a, b = value(f, left), value(f, right)
    near, off = (middle[:, None] - left)[:, :, None], (right - middle[:, None])[:, None]
    width = near + off
    chord = np.where(width > 0, a[:, :, None] * off + b[:, None] * near, a[:, :, None]) / np.where(width > 0, width, 1)
    best = chord.max((1, 2)) - chord.min((1, 2))  # of both envelopes, in the middle
    size = abs(a).max(1) + abs(b).max(1) + (abs(s_l) + abs(s_u)) * np.maximum(abs(lower), abs(upper))
    size = size + cases.cancelling(f, np.maximum(abs(lower), abs(upper)))
    reach = np.concatenate([a, b], 1).max(1) - np.concatenate([a, b], 1).min(1)
    with np.errstate(all="ignore"):
        steep = abs(f.slope(np.concatenate([left, right, lower[:, None], upper[:, None]], 1).astype(np.float64)))
    steep = np.where(np.isfinite(steep), steep, 0).max(1) * (upper - lower)
    rest = {"float32": 1e-4, "float64": 1e-6}[place.dtype] * (reach + steep) + 60 * np.finfo(place.dtype).eps * size
    excess = gap - 1.05 * best - rest - 1e-30
    i = excess.argmax()
    assert (excess <= 0).all(), (
        f"on [{lower[i]!r}, {upper[i]!r}]: {gap[i]:.6g} apart, {best[i]:.6g} would do ({(excess > 0).sum()} intervals)"
    )


@swept
def test_torch_gives_the_same_lines(f: Curve) -> None:
    """In double precision, up to rounding: at the middle the lines agree."""
    good = ordinary(f, "float64")
    ends = tuple(a[good] for a in intervals(f.kind, "float64"))
    middle = (ends[0] * 0.5 + ends[1] * 0.5).astype(LD)
    alpha = tuple(slopes(f, "float64", k)[good] for k in (0, 1))
    found: list[Any] = []
    for place in (Place("numpy"), Place("torch")):
        with np.errstate(all="ignore"):
            pair = (relaxed.lines(f, *at(place, *ends)), relaxed.lines(f, *at(place, *ends), at(place, *alpha)))
        found.append([host(lines) for lines in pair])
    for k, share in ((0, 1e-5), (1, 1e-13)):  # halving may stop at a neighbour
        with np.errstate(all="ignore"):
            p, q = ([(h[j], h[j + 1], h[j] * middle + h[j + 1]) for j in (0, 2)] for h in (found[0][k], found[1][k]))
        known = np.isfinite(p[0][1]) & np.isfinite(p[1][1])
        gap = p[1][2][known] - p[0][2][known]
        for (s, t, v), (_, r, w) in zip(p, q, strict=True):
            assert (np.isfinite(t) == np.isfinite(r)).all()
            size = abs(s) * np.maximum(abs(ends[0]), abs(ends[1])) + abs(values_inside(f, "float64")[good]).max(1)
            size = size + cases.cancelling(f, np.maximum(abs(ends[0]), abs(ends[1])))
            assert (abs(v[known] - w[known]) <= share * abs(gap) + 1e-12 * size[known] + 1e-300).all()


@swept
@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")
def test_poles_and_numbers_that_are_none(place: Place, f: Curve) -> None:
    """Bounds over a pole claim nothing; bounds that are NaN or infinite give no line that could prove anything."""
    lower, upper = intervals(f.kind, place.dtype)
    unbounded = pole_between(f, lower, upper) & (lower < upper)
    nan, inf = np.nan, np.inf
    odd = np.array([(nan, nan), (nan, 1.0), (0.5, nan)]).T.astype(place.dtype)
    with np.errstate(all="ignore"):
        lines = host(table.lines(f, *at(place, lower, upper)))  # type: ignore[arg-type]
        none = host(table.lines(f, *at(place, *odd)))  # type: ignore[arg-type]
        wide = at(place, np.array([-inf, -inf, 0.5], place.dtype), np.array([inf, -0.5, inf], place.dtype))
        endless = host(table.lines(f, *wide))  # type: ignore[arg-type]
    if f.kind == "tan" or (f.kind == "power" and f.parameters[0] in (-1.0, -3.0, -5.0)):
        both = unbounded & (lower < 0) & (upper > 0) if f.kind == "power" else unbounded
        assert (lines[1][both] == -inf).all() and (lines[3][both] == inf).all()
        assert both.any()
    elif f.kind == "atanh":
        ends = [(lower <= z) & (upper >= z) & (lower < upper) for z in (-1, 1)]
        assert (lines[1][ends[0]] == -inf).all() and (lines[3][ends[1]] == inf).all() and ends[0].any()
    elif unbounded.any():
        bottomless = lines[1] if f.kind == "log" else -lines[3]
        assert (bottomless[unbounded] == -inf).all()
    assert (none[1] == -inf).all() and (none[3] == inf).all()
    for i, z in ((0, LD(0.3)), (1, LD(-3.0)), (2, LD(3.0))):  # whatever is claimed holds
        y = value(f, np.array([z]))[0]
        if not np.isnan(y):
            assert not endless[0][i] * z + endless[1][i] > y and not endless[2][i] * z + endless[3][i] < y


def test_bends_of_slopes_are_the_nearest_numbers() -> None:
    """Between the neighbours of each double the second derivative changes its sign, in sixty digits."""
    m = mpmath.mp.clone()
    m.dps = 60
    functions = {
        "sigmoid_slope": lambda z: 1 / (1 + m.exp(-z)), "tanh_slope": m.tanh, "atan_slope": m.atan, "erf_slope": m.erf,
        "gelu_slope": lambda z: z * m.ncdf(z), "silu_slope": lambda z: z / (1 + m.exp(-z)),
        "gelu_tanh_slope": lambda z: z / (1 + m.exp(-m.sqrt(8 / m.pi) * (z + z**3 * 44715 / 10**6))),
        "mish_slope": lambda z: z * m.tanh(m.log1p(m.exp(z))),
    }  # fmt: skip
    assert set(functions) == set(SLOPE_BENDS)
    for kind, f in functions.items():
        for z in SLOPE_BENDS[kind]:
            ends = (m.mpf(v) for v in (np.nextafter(z, -np.inf), np.nextafter(z, np.inf)))
            low, high = (m.diff(f, v if z else v * 10**300, 3, h=m.mpf(10) ** -14) for v in ends)
            assert low * high < 0, f"{kind}: {z}"
