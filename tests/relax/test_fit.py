"""Linear bounds of what a type makes of a number hold for whatever a machine may make of what does not fit."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verifier.graph.ops.fit import FLOATS, HOW, WHOLE, Fit, limits
from verifier.relax import fit, table
from verifier.relax.lines import Lines
from verifier.values.arrays import Place, to_numpy

PLACES = [Place(kind, dtype) for kind in ("numpy", "torch") for dtype in ("float32", "float64")]
FITS = [Fit(k, how) for k in WHOLE for how in ("wraps", "cut")] + [Fit(k, "overflows") for k in FLOATS]
FITS += [Fit(k, "rounds") for k in ("float16", "bfloat16")]
swept = pytest.mark.parametrize("f", FITS, ids=lambda f: f"{f.kind}-{f.how}")
placed = pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")


def intervals(f: Fit, dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """`[N]` twice: around the ends of the type, next to them, on them, inside, outside, unbounded."""
    rng = np.random.default_rng(len(f.kind))
    t, pairs = np.dtype(dtype).type, []
    with np.errstate(all="ignore"):
        for end in limits(f.kind):
            z = t(end)
            near = [z, np.nextafter(z, t(np.inf)), np.nextafter(z, t(-np.inf)), t(z * 0.999), t(z * 1.5), t(z / 3)]
            pairs += [(a, b) for a in near for b in near]
    pairs += [(a, b) for a in (-np.inf, -300.5, -1.0, 0.0, 1.0, 200.0) for b in (-1.0, 0.0, 1e-30, 1.0, 127.0, np.inf)]
    size = 10.0 ** rng.uniform(-9, 21, 40)
    pairs += list(zip(size * rng.normal(size=40), size * rng.normal(size=40), strict=True))
    both = np.sort(np.array(pairs, dtype), 1)
    return both[:, 0], both[:, 1]


def may_become(f: Fit, z: Fraction) -> tuple[Fraction, Fraction] | None:
    """The least and the largest number that a machine may make of one; None where that is anything."""
    low, high = (Fraction(v) for v in limits(f.kind))
    if not low <= z <= high:
        return (low, high) if f.kind in WHOLE else None
    if f.how != "rounds":
        return z, z
    precision, least, _ = FLOATS[f.kind]
    with np.errstate(all="ignore"):
        exponent = max(int(np.frexp(float(z))[1]), least + 1) if z else least + 1
    step = Fraction(2) ** (exponent - precision)  # between neighbours of the type
    error = step if f.kind == "bfloat16" else step / 2
    return z - error, z + error


def enclose(f: Fit, dtype: str, lines: Lines) -> None:
    """In rational arithmetic."""
    rows = [to_numpy(a)[0] for a in (lines.s_l, lines.t_l, lines.s_u, lines.t_u)]
    assert not np.isnan(np.stack(rows)).any()
    for low, high, s_l, t_l, s_u, t_u in zip(*intervals(f, dtype), *rows, strict=True):
        ends = [v if np.isfinite(v) else np.sign(v) * 1e39 for v in (float(low), float(high))]
        l, u = (Fraction(v) for v in ends)
        points = [l, u, (l + u) / 2, *(Fraction(v) for v in limits(f.kind)), l + (u - l) / 7, Fraction(0)]
        for z in (p for p in points if l <= p <= u):
            values = may_become(f, z)
            for s, t, sign in ((s_l, t_l, 1), (s_u, t_u, -1)):
                if np.isinf(t):
                    assert sign * t < 0
                    continue
                assert values is not None, f"a claim about {float(z)!r}, of which anything may become"
                y = values[0] if sign > 0 else values[1]
                assert sign * (Fraction(float(s)) * z + Fraction(float(t)) - y) <= 0, (low, high, float(z), s, t)


def at(place: Place, f: Fit) -> Any:
    return tuple(place.array(a)[None] for a in intervals(f, place.dtype))


def test_every_way_is_swept() -> None:
    assert {f.how for f in FITS} == set(HOW)


@swept
@placed
def test_lines_and_image_enclose(place: Place, f: Fit) -> None:
    with np.errstate(all="ignore"):
        lower, upper = at(place, f)
        lines, parallel = table.lines(f, lower, upper), table.family(f).parallel
        low, high = table.image(f, lower, upper)
        assert isinstance(lines, Lines) and parallel is not None
        enclose(f, place.dtype, lines)
        enclose(f, place.dtype, parallel(f, lower, upper))
        enclose(f, place.dtype, Lines(np.zeros_like(to_numpy(low)), low, np.zeros_like(to_numpy(low)), high))


@swept
@placed
def test_any_slope_encloses(place: Place, f: Fit) -> None:
    rng = np.random.default_rng(3)
    lower, upper = at(place, f)
    options = [rng.normal(size=lower.shape), rng.choice([0.0, 1.0, -1.0, 1e20, -1e-40], lower.shape)]
    alpha = tuple(place.array(rng.permuted(np.choose(rng.integers(2, size=tuple(lower.shape)), options)).astype(
        place.dtype)) for _ in range(2))  # fmt: skip
    with np.errstate(all="ignore"):
        enclose(f, place.dtype, fit.lines(f, lower, upper, alpha))  # type: ignore[arg-type]


@swept
@placed
def test_what_fits_stays_exactly(place: Place, f: Fit) -> None:
    """Lines without a gap and an image without an allowance: nothing is lost where nothing happens."""
    lower, upper = (place.array(np.array([[v]], place.dtype)) for v in (3.0, 100.0))
    lines, (low, high) = table.lines(f, lower, upper), table.image(f, lower, upper)
    assert isinstance(lines, Lines) and lines.t_l is not None
    exact = [float(a[0, 0]) for a in (lines.s_l, lines.t_l, lines.s_u, lines.t_u, low, high)]
    if f.exact:
        assert exact == [1.0, 0.0, 1.0, 0.0, 3.0, 100.0]
    else:
        assert exact[4] < 3.0 < 100.0 < exact[5] and exact[5] - exact[4] < 97.0 + 4.0


@pytest.mark.parametrize("kind", WHOLE)
def test_wrapping_is_numpys(kind: str) -> None:
    a = np.random.default_rng(0).integers(-(2**40), 2**40, 200)
    got = Fit(kind, "wraps").evaluate(a.astype(np.float64))
    if kind != "uint64":  # whose large numbers no double holds
        assert (got == a.astype(kind).astype(np.float64)).all()


@np.errstate(all="ignore")
def test_rounding_is_numpys() -> None:
    rng = np.random.default_rng(0)
    z = np.concatenate(
        [rng.normal(size=500) * 10.0 ** rng.uniform(-9, 5.5, 500), [0.0, 65504.0, 65519.0, 65520.0, -1e9]]
    )
    z = z[abs(z) < 65520]
    expected = z.astype(np.float16).astype(np.float64)
    np.testing.assert_array_equal(Fit("float16", "rounds").evaluate(z), expected)
    near = z.astype(np.float32)
    np.testing.assert_array_equal(Fit("float16", "rounds").evaluate(near), near.astype(np.float16).astype("f4"))
