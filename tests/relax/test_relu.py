"""Lines of ReLU and LeakyReLU enclose it, in rational arithmetic, for every slope in the range."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verifier.graph.ops.affine import Scale
from verifier.graph.ops.relu import Relu
from verifier.relax import relu, table
from verifier.relax.relu import alpha_range
from verifier.values.arrays import Place, to_numpy
from verifier.values.rounding import tiny, unit

PLACES = [Place(kind, dtype) for kind in ("numpy", "torch") for dtype in ("float32", "float64")]
LEAKS = [0.0, 0.01, 0.1, 0.25, 0.9, 1.0, -0.5, -0.3, 1 - 2.0**-20, 1e-7]


def ends(dtype: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Intervals of every size, one-sided, degenerate, and with ends that differ by many orders."""
    top = 30 if dtype == "float32" else 200
    sizes = 10.0 ** rng.uniform(-40, top, (2, 80))
    a, b = -sizes[0] * rng.random(80), sizes[1] * rng.random(80)
    a[:20], b[:20] = -abs(rng.normal(size=20)), abs(rng.normal(size=20))
    c, d = np.sort(rng.normal(size=(2, 20)), 0)
    special = [-(10.0**top), -1.0, -1e-40, -0.0, 0.0, 1e-40, 1.0, 10.0**top, float(np.finfo(dtype).smallest_subnormal)]
    pairs = [(p, q) for p in special for q in special if p <= q]
    lower = np.concatenate([a, c, c, abs(c) * 1e30, [p for p, _ in pairs]])
    upper = np.concatenate([b, d, c, abs(c) * 1e30, [q for _, q in pairs]])
    lower, upper = lower.astype(dtype), upper.astype(dtype)
    return np.minimum(lower, upper), np.maximum(lower, upper)


def inside(l: float, u: float, rng: np.random.Generator, dtype: str) -> list[Fraction]:
    """Ends, kink, their neighbours, and points between."""
    lo, hi = Fraction(float(l)), Fraction(float(u))
    step = Fraction(float(np.finfo(dtype).smallest_subnormal))
    z = [lo, hi, Fraction(0), step, -step, *(lo + (hi - lo) * Fraction(float(t)) for t in rng.random(3))]
    return [v for v in z if lo <= v <= hi]


def value(leak: float, z: Fraction) -> Fraction:
    return z if z >= 0 else z * Fraction(leak)


def check(leak: float, place: Place, alpha: str | None, rng: np.random.Generator) -> None:
    op = Relu(leak)
    lower, upper = ends(place.dtype, rng)
    low, high = alpha_range(op)
    given = {None: None, "least": low, "most": high, "between": low + (high - low) * rng.random(len(lower))}[alpha]
    slope: Any = None if given is None else place.array(np.broadcast_to(np.asarray(given, place.dtype), lower.shape))
    f = relu.lines(op, place.array(lower)[None], place.array(upper)[None], None if slope is None else slope[None])
    s_l, s_u, t_u = (to_numpy(a)[0] for a in (f.s_l, f.s_u, f.t_u))
    t_l = s_l * 0 if f.t_l is None else to_numpy(f.t_l)[0]
    assert all(a.dtype == place.dtype and np.isfinite(a).all() for a in (s_l, s_u, t_u, t_l))
    assert (s_l <= 1).all() and (s_l >= np.asarray(leak, place.dtype)).all(), "outside the range of slopes"
    rows = zip(lower, upper, *([Fraction(float(v)) for v in a] for a in (s_l, t_l, s_u, t_u)), strict=True)
    for l, u, sl, tl, su, tu in rows:
        for z in inside(l, u, rng, place.dtype):
            assert sl * z + tl <= value(leak, z), f"lower line on [{l}, {u}] at {float(z)}"
            assert value(leak, z) <= su * z + tu, f"upper line on [{l}, {u}] at {float(z)}"
        if alpha is None and l < 0 < u:  # tight where it touches: at both ends
            unseen = 36 * Fraction(unit(place.dtype)) * Fraction(float(max(-l, u))) + 2 * Fraction(tiny(place.dtype))
            for end in (l, u):
                z = Fraction(float(end))
                assert su * z + tu <= value(leak, z) + unseen


@pytest.mark.parametrize("alpha", [None, "least", "most", "between"])
@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")
def test_lines_enclose(place: Place, leak: float, alpha: str | None) -> None:
    leak = float(np.asarray(leak, place.dtype))  # a leak is a number of the model's type
    check(leak, place, alpha, np.random.default_rng([len(place.kind), int(leak * 1000) % 97, len(alpha or "")]))


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")
def test_image_holds_all_values(place: Place, leak: float) -> None:
    """Up to one rounding."""
    rng = np.random.default_rng(1)
    lower, upper = ends(place.dtype, rng)
    least, most = (to_numpy(a)[0] for a in table.image(Relu(leak), place.array(lower)[None], place.array(upper)[None]))
    u, small = 1 + 2 * Fraction(unit(place.dtype)), Fraction(tiny(place.dtype))
    for l, h, p, q in zip(lower, upper, least, most, strict=True):
        for z in inside(l, h, rng, place.dtype):
            v, low, high = value(leak, z), Fraction(float(p)), Fraction(float(q))
            assert low - abs(low) * (u - 1) - small <= v <= high + abs(high) * (u - 1) + small


def test_only_convex_activations() -> None:
    assert table.relaxable(Relu()) and table.relaxable(Relu(-0.5)) and table.relaxable(Relu(1.0))
    assert not table.relaxable(Relu(1.5)) and not table.relaxable(Scale())
    for function in (table.lines, table.image):
        with pytest.raises(TypeError, match="Scale"):
            function(Scale(), np.zeros((1, 1)), np.zeros((1, 1)))


def test_numbers_that_are_none_stay_so() -> None:
    """NaN bounds give NaN lines: nothing is ever proved from them."""
    nan, inf = np.nan, np.inf
    lower, upper = np.array([[nan, nan, -1.0, -inf, -inf, -1.0, -inf]]), np.array([[nan, 1.0, nan, inf, 1.0, inf, nan]])
    for leak in (0.0, 0.1, -0.5):
        with np.errstate(all="ignore"):
            f = table.lines(Relu(leak), lower, upper)
        proved = np.isfinite(f.s_u) & np.isfinite(f.t_u)
        assert not proved.any()
