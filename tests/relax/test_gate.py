"""Planes around gates enclose all that a gate may do, in rational arithmetic; the choices are facets of its hull."""

from __future__ import annotations

from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

from verifier.bounds.layers import Layer
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.moves import Take
from verifier.relax import gate, table
from verifier.relax.lines import Lines
from verifier.values.arrays import Place, to_numpy

from .test_product import rectangles

PLACES = [Place(kind, dtype) for kind in ("numpy", "torch") for dtype in ("float32", "float64")]
placed = pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")
LEAKS = [0.0, 0.1, -0.5, 1.0, -1.0, 0.25]
leaks = pytest.mark.parametrize("leak", LEAKS)
everywhere = pytest.mark.parametrize(
    ("place", "leak"),
    [(p, leak) for p in PLACES for leak in (LEAKS if p.kind == "numpy" else LEAKS[:2])],
    ids=lambda v: f"{v.kind}-{v.dtype}" if isinstance(v, Place) else f"{v:g}",
)


@cache
def values(leak: float, dtype: str) -> list[list[tuple[Fraction, Fraction, Fraction]]]:
    """Of each box, `(v, z, y)`: what the gate may be at corners, on sides, inside, and on both sides of its jump."""
    rng = np.random.default_rng(3)
    found = []
    for low, high in zip(*rectangles(dtype), strict=True):
        (a, l), (b, u) = ([Fraction(float(v)) for v in w] for w in (low, high))
        t = [Fraction(float(v)) for v in rng.random(4)]
        p = [(v, z) for v in (a, b, a + (b - a) * t[0], Fraction(0)) for z in (l, u, l + (u - l) * t[1], Fraction(0))]
        points = []
        for v, z in p:
            if not (a <= v <= b and l <= z <= u):
                continue
            ds = {Fraction(leak)} if z < 0 else {Fraction(1)} if z > 0 else {Fraction(leak), t[2], Fraction(1)}
            if z == 0 and l < u and 0 in (l, u):  # a split put the end there: see `relax.gate`
                ds = {Fraction(1)} if l == 0 else {Fraction(leak)}
            ds = {d if d in (leak, 1) else Fraction(leak) + d * (1 - Fraction(leak)) for d in ds}
            points += [(v, z, d * v) for d in ds]
        found.append(points)
    return found


def enclose(leak: float, dtype: str, f: Lines) -> None:
    s_l, t_l, s_u, t_u = (to_numpy(a)[0] for a in (f.s_l, f.t_l, f.s_u, f.t_u))
    lower, upper = rectangles(dtype)
    for i, points in enumerate(values(leak, dtype)):
        for s, t, sign in ((s_l[i], t_l[i], 1), (s_u[i], t_u[i], -1)):
            assert not np.isnan(t) and np.isfinite(s).all()
            if np.isinf(t):
                assert sign * t < 0
                continue
            p, r, shift = Fraction(float(s[0])), Fraction(float(s[1])), Fraction(float(t))
            for v, z, y in points:
                away = p * v + r * z + shift - y
                assert sign * away <= 0, (
                    f"{'lower' if sign == 1 else 'upper'} plane on {lower[i]!r} .. {upper[i]!r}: {s} and {t} at "
                    f"{float(v)}, {float(z)}, off by {float(away):.3g}"
                )


def at(place: Place) -> Any:
    return tuple(place.array(a)[None] for a in rectangles(place.dtype))


@everywhere
def test_default_and_parallel_planes_enclose(place: Place, leak: float) -> None:
    with np.errstate(all="ignore"):
        enclose(leak, place.dtype, table.lines(Gate(leak), *at(place)))  # type: ignore[arg-type]
        f = gate.parallel(Gate(leak), *at(place))
        low, high = (to_numpy(a) for a in table.image(Gate(leak), *at(place)))
    assert bool((f.s_l == f.s_u).all())
    enclose(leak, place.dtype, f)
    zero = np.zeros((*low.shape, 2))
    enclose(leak, place.dtype, Lines(zero, low, zero, high))


@everywhere
def test_every_choice_encloses(place: Place, leak: float) -> None:
    """At the ends, in the middle, anywhere between, and far outside."""
    rng = np.random.default_rng(0)
    N = len(rectangles(place.dtype)[0])
    whole = rng.choice([0.0, 0.5, 1.0], (2, 1, N))
    for q in (whole, rng.random((2, 1, N)), rng.normal(size=(2, 1, N)) * 100):
        alpha = tuple(place.array(np.asarray(a, place.dtype)) for a in q)
        with np.errstate(all="ignore"):
            enclose(leak, place.dtype, gate.gate_lines(Gate(leak), *at(place), alpha))  # type: ignore[arg-type]


BOXES = [((-1.0, -2.0), (0.5, 3.0)), ((0.2, -1.0), (0.7, 0.5)), ((-0.9, -0.3), (-0.3, 4.0)), ((-2.0, -1.0), (2.0, 1.0))]


@pytest.mark.parametrize("box", BOXES, ids=str)
@pytest.mark.parametrize("leak", [0.0, 0.1, -0.5])
def test_choices_are_facets_of_the_hull(leak: float, box: Any) -> None:
    """0, 1/2 and 1 are facets of the convex hull of what a gate may do, none twice; there are no others but walls."""
    from scipy.spatial import ConvexHull

    low, up = (np.array(a)[None, None] for a in box)
    (a, l), (b, u) = box
    corners = [(v, z, y) for v in (a, b) for z, y in ((l, leak * v), (0, leak * v), (0, v), (u, v))]
    walls = ConvexHull(np.array(corners)).equations
    walls = {tuple(np.round(e / np.linalg.norm(e[:3]), 9)) for e in walls if abs(e[2]) > 1e-9}
    found = set()
    for q in (0.0, 0.5, 1.0):
        f = gate.gate_lines(Gate(leak), low, up, (np.full((1, 1), q),) * 2)
        for s, t, side in ((f.s_l[0, 0], f.t_l[0, 0], -1), (f.s_u[0, 0], f.t_u[0, 0], 1)):  # type: ignore[index]
            e = side * np.array([-s[0], -s[1], 1.0, -t])
            found.add(tuple(np.round(e / np.linalg.norm(e[:3]), 9)))
    assert len(found) == 6
    near = [min(np.abs(np.subtract(e, f)).max() for f in found) for e in walls]
    assert max(near) < 1e-6 and len(walls) == 6


def test_the_default_is_the_known_rule() -> None:
    """Without a choice it is what Shi et al. (2022) take: a rectifier's lines of v, and of minus v."""
    rng = np.random.default_rng(2)
    v, z = np.sort(rng.normal(size=(2, 2, 1, 200)), 1)
    z[0], z[1] = -abs(z[0]), abs(z[1])
    f = gate.gate_lines(Gate(), *(np.stack([v[k], z[k]], -1) for k in (0, 1)))
    a, b = v
    mixed, w = (a < 0) & (b > 0), np.where(b > a, b - a, 1)
    s_u = np.where(a >= 0, 1.0, np.where(mixed, b / w, 0.0))
    s_l = np.where(b <= 0, 1.0, np.where(mixed, -a / w, 0.0))
    assert not f.s_l[..., 1].any() and not f.s_u[..., 1].any()
    np.testing.assert_allclose(f.s_u[..., 0], s_u, rtol=1e-14)
    np.testing.assert_allclose(f.s_l[..., 0], s_l, rtol=1e-14)
    np.testing.assert_allclose(f.t_u, np.where(mixed, -s_u * a, 0.0), atol=1e-14)
    np.testing.assert_allclose(f.t_l, np.where(mixed, -s_l * b, 0.0), atol=1e-14)


@leaks
def test_where_the_sign_is_known_it_is_linear(leak: float) -> None:
    for low, up, d in (
        ((-1.0, 0.0), (2.0, 1.0), 1.0),
        ((-1.0, -2.0), (2.0, 0.0), leak),
        ((-1.0, 1.0), (2.0, 2.0), 1.0),
    ):
        ends = tuple(np.array(a)[None, None] for a in (low, up))
        f = gate.gate_lines(Gate(leak), *ends)
        for s, t in ((f.s_l, f.t_l), (f.s_u, f.t_u)):
            assert s.tolist() == [[[d, 0.0]]] and t == 0.0
        low_y, up_y = gate.gate_image(Gate(leak), *ends)
        assert np.allclose([low_y, up_y], np.sort([[[-1 * d]], [[2 * d]]], 0))
    still = gate.gate_lines(Gate(leak), np.array([[[2.0, 0.0]]]), np.array([[[2.0, 0.0]]]))
    assert leak == 1.0 or still.t_u[0, 0] - still.t_l[0, 0] + 2 * (still.s_u - still.s_l)[0, 0, 0] > 0.5 * (1 - leak)  # type: ignore[index]


@placed
def test_a_z_that_is_not_bounded(place: Place) -> None:
    """Nothing known of z: what is known of v is enough.  Nothing known of v: nothing is claimed."""
    inf, nan = np.inf, np.nan
    low = np.array([[-1.0, -inf], [-1.0, -1.0], [-inf, -1.0], [nan, -1.0], [-1.0, nan]], place.dtype)
    up = np.array([[2.0, inf], [2.0, inf], [inf, 1.0], [1.0, 1.0], [1.0, 1.0]], place.dtype)
    ends = tuple(place.array(a)[None] for a in (low, up))
    with np.errstate(all="ignore"):
        f = gate.gate_lines(Gate(), *ends)
        t_l, t_u = (to_numpy(a)[0] for a in (f.t_l, f.t_u))
        least, most = (to_numpy(a)[0] for a in gate.gate_image(Gate(), *ends))
    assert np.isfinite(t_l[:2]).all() and np.isfinite(t_u[:2]).all()
    assert (t_l[2:4] == -inf).all() and (t_u[2:4] == inf).all()
    assert least[:2].tolist() == [-1, -1] and most[:2].tolist() == [2, 2]
    assert (least[2:4] == -inf).all() and most[2] == inf


@pytest.mark.parametrize("leak", [0.0, 0.1, -0.5])
def test_how_planes_rise_with_the_choice(leak: float) -> None:
    """The closed form against differences, on either side of the middle; in the middle, the way that promises more."""
    rng = np.random.default_rng(4)
    N = 200
    v, z = np.sort(rng.normal(size=(2, 2, 1, N)), 1)
    low, up = (np.stack([v[k], z[k]], -1) for k in (0, 1))
    point = low + (up - low) * rng.random((1, N, 2))
    layer = Layer(Gate(leak), slice(0, N), Take(np.arange(2 * N), (N, 2)), slice(0, 0), 2 * N)
    q = rng.uniform(0.01, 0.99, (2, 1, N))
    q = np.where(abs(q - 0.5) < 0.01, 0.3, q)

    def value(q: np.ndarray) -> np.ndarray:
        f, _ = layer.lines(low, up, q[0], q[1])
        assert isinstance(f, Lines)
        return np.stack([(f.s_l * point).sum(-1) + f.t_l, (f.s_u * point).sum(-1) + f.t_u])

    _, touch = layer.lines(low, up, q[0], q[1])
    for a, side in ((1.0, 0), (-1.0, 1)):
        own = layer.gradient(np.full((1, N), a), point, low, up, touch)[side]
        h = np.zeros((2, 1, 1))
        h[side] = 1e-6
        central = a * (value(q + h) - value(q - h))[side] / 2e-6
        np.testing.assert_allclose(own, central, rtol=1e-5, atol=1e-7)
    half = np.full((2, 1, N), 0.5)
    _, touch = layer.lines(low, up, half[0], half[1])
    for a, side in ((1.0, 0), (-1.0, 1)):
        own = layer.gradient(np.full((1, N), a), point, low, up, touch)[side]
        h = np.zeros((2, 1, N))
        h[side] = 1e-4 * np.sign(own)
        gain = a * (value(half + h) - value(half))[side]
        other = a * (value(half - h) - value(half))[side]
        assert (gain >= np.minimum(0, other) - 1e-12).all() and (gain + 1e-12 >= other).all()


def test_what_is_left_of_zero_is_no_choice() -> None:
    """Both planes of a v that rounding has made of zero have one slope; of any other v they differ."""
    for size, one in ((0.0, True), (1e-303, True), (1e-200, False), (1.0, False)):
        f = gate.gate_lines(Gate(), np.array([[[-size, -1.0]]]), np.array([[[2 * size, 1.0]]]))
        assert (f.s_l == f.s_u).all() == one
        assert f.t_l is not None and (f.t_u - f.t_l <= 4 * size + 1e-305).all()


def test_where_choosing_begins_and_may_lead() -> None:
    layer = Layer(Gate(), slice(0, 2), Take(np.arange(4), (2, 2)), slice(0, 0), 4)
    low, up = np.array([[[-1.0, -1.0], [-2.0, 0.0]]]), np.array([[[1.0, 1.0], [1.0, 2.0]]])
    assert [a.tolist() for a in layer.start(low, up)] == [[[0.5, 0.5]]] * 2
    assert [a.tolist() for a in layer.span(low, up)] == [[[0.0, 0.0]], [[1.0, 1.0]]]
    assert layer.admissible == (0.0, 1.0)
