"""Linear bounds of functions that jump: every value and both limits at every jump, whatever the slope."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from math import floor
from typing import Any

import numpy as np
import pytest

from verifier.graph.ops.steps import KINDS, Step
from verifier.relax import steps, table
from verifier.relax.lines import Lines
from verifier.values.arrays import Place, to_numpy

PLACES = [Place(kind, dtype) for kind in ("numpy", "torch") for dtype in ("float32", "float64")]
LD = np.longdouble
PARAMETERS = {"threshold": [0.0, 1.0, -1.0, 0.1, 0.7, -0.3, 20.0, 1e10]}
ENDS = [("round", -128.0, 127.0), ("nearest", 0.0, 3.0), ("floor", -1.0, np.inf), ("ceil", -2.0, 1.0)]
ENDS += [("rest", -3.0, 2.0), ("rest", 0.0, 255.0)]
STEPS = [Step(kind, p) for kind in KINDS for p in PARAMETERS.get(kind, [0.0])]
STEPS += [Step(kind, 0.0, low, high) for kind, low, high in ENDS]
swept = pytest.mark.parametrize("f", STEPS, ids=lambda f: f"{f.kind}-{f.parameter:g}-{f.low:g}-{f.high:g}")
placed = pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")


def exact(f: Step, z: Fraction) -> Fraction:
    """The function of a rational number, written anew."""
    p = Fraction(f.parameter)
    if f.kind == "rest":
        return exact(Step("nearest", 0.0, f.low, f.high), z) - z
    value = {
        "sign": lambda: Fraction((z > 0) - (z < 0)),
        "floor": lambda: Fraction(floor(z)),
        "ceil": lambda: Fraction(-floor(-z)),
        "round": lambda: Fraction(round(z)),
        "nearest": lambda: Fraction(round(z)),
        "positive": lambda: Fraction(int(z > 0)),
        "not_negative": lambda: Fraction(int(z >= 0)),
        "zero": lambda: Fraction(int(z == 0)),
        "threshold": lambda: z if z > p else Fraction(0),
    }[f.kind]()
    value = value if f.low == -np.inf else max(value, Fraction(f.low))
    return value if f.high == np.inf else min(value, Fraction(f.high))


@cache
def intervals(f: Step, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """`[N]` twice: around jumps by any width, on jumps, next to them, of any size."""
    rng = np.random.default_rng([len(f.kind), int(f.parameter * 10) % 1000])
    t = np.dtype(dtype).type
    jumps = [t(f.parameter)] * 4
    if f.stairs or f.kind == "rest":
        shift = 0.0 if f.kind in ("floor", "ceil") else 0.5
        jumps = [t(k + shift) for k in (-1000, -1, 0, 2, 2**20)]
        jumps += [t(e + shift) for e in (f.low - 1, f.low, f.high - 1, f.high) if abs(e) < np.inf]
    pairs: list[Any] = []
    for z in jumps:
        step = lambda n, z=z: t(z + n * abs(np.spacing(z)))  # noqa: E731
        w = (10.0 ** rng.uniform(-6, 1.2, 8)).astype(dtype)
        pairs += [(z, z), (z, z + w[0]), (z - w[1], z), (z - w[2], z + w[3]), (z + w[4], z + w[4] + w[5])]
        pairs += [(step(-2), step(1)), (step(-1), z), (z, step(1)), (step(1), step(2)), (step(-3), step(-1))]
        pairs += [(step(1), z + 1), (z - 1, step(-1)), (z - 1, z), (z, z + 1), (z - 2, z + 3), (z - 0.5, z + 0.5)]
    c, w = rng.normal(size=16) * 10 ** rng.uniform(-1, 3, 16), 10 ** rng.uniform(-3, 3, 16)
    pairs += list(zip(c - w, c + w * rng.random(16), strict=True))
    large = 2.0 ** rng.uniform(20, 60, 8) * rng.choice([-1, 1], 8)
    pairs += list(zip(large, large + abs(np.spacing(large.astype(dtype))) * rng.integers(0, 6, 8), strict=True))
    ends = [-1e30, -0.5, -1e-40, 0.0, 1e-40, 2.5, 1e6]
    pairs += [(p, q) for p in ends for q in ends if p <= q]
    ordered = np.sort(np.array([(t(p), t(q)) for p, q in pairs], dtype), 1)
    return ordered[:, 0], ordered[:, 1]


@cache
def points(f: Step, dtype: str) -> list[tuple[list[Fraction], list[Fraction]]]:
    """For each interval, real points and values: ends, jumps, next to jumps (nearer than numbers are), and others."""
    rng = np.random.default_rng(7)
    found = []
    small = Fraction(1, 10**60)
    for low, high in zip(*intervals(f, dtype), strict=True):
        l, u = Fraction(float(low)), Fraction(float(high))
        z = [l, u, *(l + (u - l) * Fraction(float(t)) for t in rng.random(3))]
        if f.stairs or f.kind == "rest":
            first, last = floor(l) - 1, floor(u) + 1
            whole = {first, first + 1, first + 2, last - 2, last - 1, last, (first + last) // 2}
            whole |= {int(e) + d for e in (f.low, f.high) if abs(e) < np.inf for d in (-1, 0)}
            jumps = [Fraction(k) + (0 if f.kind in ("floor", "ceil") else Fraction(1, 2)) for k in whole]
        else:
            jumps = [Fraction(f.parameter), Fraction(float(np.dtype(dtype).type(f.parameter)))]
        z += [j + d for j in jumps for d in (-small, 0, small)]
        z = [v for v in z if l <= v <= u]
        found.append((z, [exact(f, v) for v in z]))
    return found


def enclose(f: Step, dtype: str, lines: Lines) -> None:
    """In rational arithmetic."""
    s_l, t_l, s_u, t_u = (to_numpy(a)[0] for a in (lines.s_l, lines.t_l, lines.s_u, lines.t_u))
    assert not np.isnan(np.stack([s_l, t_l, s_u, t_u])).any()
    lower, upper = intervals(f, dtype)
    for i, (z, y) in enumerate(points(f, dtype)):
        for s, t, sign in ((s_l[i], t_l[i], 1), (s_u[i], t_u[i], -1)):
            if np.isinf(t):
                assert sign * t < 0
                continue
            slope, shift = Fraction(float(s)), Fraction(float(t))
            for a, b in zip(z, y, strict=True):
                assert sign * (slope * a + shift - b) <= 0, (
                    f"{'lower' if sign == 1 else 'upper'} line on [{lower[i]!r}, {upper[i]!r}]: {s} z + {t} at "
                    f"{float(a)!r}, where the value is {float(b)!r}"
                )


def at(place: Place, f: Step) -> Any:
    return tuple(place.array(a)[None] for a in intervals(f, place.dtype))


def test_every_kind_is_swept() -> None:
    assert {f.kind for f in STEPS} == set(KINDS)


@swept
@placed
def test_evaluation(place: Place, f: Step) -> None:
    """At the ends of all intervals."""
    for z in intervals(f, place.dtype):
        if f.kind == "threshold":
            z = z[z != np.dtype(place.dtype).type(f.parameter)]  # a parameter need not be a number of the type
        got = to_numpy(f.evaluate(place.array(z)))
        assert got.dtype == place.dtype
        expected = [exact(f, Fraction(float(v))) for v in z]
        if f.kind == "rest":  # far beyond its ends what is cut off is rounded
            expected = [Fraction(float(got.dtype.type(float(y)))) for y in expected]
        assert [Fraction(float(y)) for y in got] == expected


@swept
@placed
def test_default_lines_enclose(place: Place, f: Step) -> None:
    with np.errstate(all="ignore"):
        enclose(f, place.dtype, table.lines(f, *at(place, f)))  # type: ignore[arg-type]


@swept
@placed
def test_parallel_lines_enclose(place: Place, f: Step) -> None:
    parallel = table.family(f).parallel
    assert parallel is not None
    with np.errstate(all="ignore"):
        lines = parallel(f, *at(place, f))
    assert bool((lines.s_l == lines.s_u).all())
    enclose(f, place.dtype, lines)


@swept
@placed
def test_any_slope_encloses(place: Place, f: Step) -> None:
    rng = np.random.default_rng(3)
    lower, upper = at(place, f)
    for _ in range(1):
        options = [rng.normal(size=lower.shape) * 10 ** rng.uniform(-6, 6, lower.shape), rng.normal(size=lower.shape)]
        options += [rng.choice([0.0, 1.0, -1.0, 1e30, -1e30, 1e-40], lower.shape)]
        alpha = tuple(
            place.array(np.choose(rng.integers(3, size=tuple(lower.shape)), options).astype(place.dtype))
            for _ in range(2)
        )
        with np.errstate(all="ignore"):
            lines = steps.lines(f, lower, upper, alpha)  # type: ignore[arg-type]
        enclose(f, place.dtype, lines)


@swept
@placed
def test_image_is_the_range(place: Place, f: Step) -> None:
    """It encloses the values, and holds nothing but them and a rounding (a half may be rounded either way)."""
    with np.errstate(all="ignore"):
        low, high = table.image(f, *at(place, f))
    enclose(f, place.dtype, Lines(low * 0, low, high * 0, high))
    u = 20 * float(np.finfo(place.dtype).eps)
    half = Fraction(1, 2)
    for (z, y), least, most in zip(points(f, place.dtype), to_numpy(low)[0], to_numpy(high)[0], strict=True):
        if f.kind == "nearest":
            near = [v + d for v in z if (2 * v) % 2 == 1 for d in (-half, half)]
            y = [*y, *(exact(Step("floor", 0.0, f.low, f.high), v) for v in near)]
        if f.kind == "rest":  # which says less where there are no halves
            y = [*y, *(d for v in z if (2 * v) % 2 == 1 or abs(v) >= steps.MANY for d in (-half, half))]
        assert float(min(y)) - float(least) <= u * max(1.0, abs(float(min(y)))) + (f.kind == "threshold") * 1e-6
        assert float(most) - float(max(y)) <= u * max(1.0, abs(float(max(y)))) + (f.kind == "threshold") * 1e-6


@swept
def test_default_lines_are_close(f: Step) -> None:
    """Where one jump is well inside, the lines are not farther apart in the middle than the interval of values."""
    place = Place("numpy", "float64")
    lower, upper = intervals(f, "float64")
    with np.errstate(all="ignore"):
        lines = table.lines(f, *at(place, f))  # type: ignore[arg-type]
        low, high = (to_numpy(a)[0] for a in table.image(f, *at(place, f)))
    middle = 0.5 * lower + 0.5 * upper
    s_l, t_l, s_u, t_u = (to_numpy(a)[0] for a in (lines.s_l, lines.t_l, lines.s_u, lines.t_u))  # type: ignore
    gap = (s_u * middle + t_u) - (s_l * middle + t_l)
    size = abs(low) + abs(high) + (abs(s_l) + abs(s_u)) * np.maximum(abs(lower), abs(upper))
    assert (gap <= (high - low) + 1e-14 * size).all()
    if f.stairs and abs(f.low) == abs(f.high) == np.inf:
        wide = (upper - lower > 3) & (abs(lower) + abs(upper) < 1e5)
        assert wide.any() and (gap[wide] <= 1 + 1e-9).all()


@swept
def test_torch_gives_the_same_lines(f: Step) -> None:
    with np.errstate(all="ignore"):
        a, b = (table.lines(f, *at(Place(kind), f)) for kind in ("numpy", "torch"))
    for name in ("s_l", "t_l", "s_u", "t_u"):
        np.testing.assert_allclose(getattr(a, name), to_numpy(getattr(b, name)), rtol=1e-12, atol=1e-12)


@placed
def test_numbers_that_are_none_stay_so(place: Place) -> None:
    nan = np.nan
    lower, upper = (place.array(np.array([v], place.dtype)) for v in ([nan, nan, 0.5], [nan, 1.0, nan]))
    for f in STEPS:
        with np.errstate(all="ignore"):
            lines = table.lines(f, lower, upper)
        claims = to_numpy(lines.t_u)[0] - to_numpy(lines.t_l)[0]
        assert not (np.isfinite(claims) & (claims < 1)).any(), f.kind
