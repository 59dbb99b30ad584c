"""Planes around products, and around differences of rectifiers, enclose them, in rational arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from functools import cache
from typing import Any

import numpy as np
import pytest

from verifier.graph.graph import Rowwise
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.product import Difference, Product
from verifier.relax import product, table
from verifier.relax.lines import Lines
from verifier.values.arrays import Place, to_numpy

PLACES = [Place(kind, dtype) for kind in ("numpy", "torch") for dtype in ("float32", "float64")]
placed = pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")


def _relu(v: Fraction) -> Fraction:
    return max(v, Fraction(0))


EXACT: dict[type[Rowwise], Callable[..., Fraction]] = {
    Product: lambda x, y: x * y,
    Difference: lambda z, e, d: _relu(e) - _relu(z),
}
swept = pytest.mark.parametrize("kind", EXACT, ids=lambda k: k.__name__)
Point = tuple[Fraction, ...]


@cache
def rectangles(dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """`[N, 2]` twice: of every size and sign, degenerate on either axis, with ends of different orders."""
    rng = np.random.default_rng(5)
    ends = [-1e18, -30.0, -1.0, -1e-3, -1e-20, -1e-40, -0.0, 0.0, 1e-40, 1e-20, 0.1, 1.0, 7.0, 1e18]
    sides = [(p, q) for p in ends for q in ends if p <= q]
    chosen = rng.integers(len(sides), size=(100, 2))
    a = np.array([[sides[i][0], sides[j][0]] for i, j in chosen])
    b = np.array([[sides[i][1], sides[j][1]] for i, j in chosen])
    c = rng.normal(size=(120, 2)) * 10 ** rng.uniform(-3, 3, (120, 2))
    w = 10 ** rng.uniform(-8, 3, (2, 120, 2)) * rng.choice([0.0, 1.0], (2, 120, 2), p=[0.1, 0.9])
    d = np.repeat(rng.normal(size=(30, 1)), 2, 1) * [1, -1]  # z + d near zero
    v = 10 ** rng.uniform(-8, 0, (30, 2))
    lower = np.concatenate([a, c - w[0], d - v]).astype(dtype)
    upper = np.concatenate([b, c + w[1], d + v * rng.random((30, 1))]).astype(dtype)
    return np.minimum(lower, upper), np.maximum(lower, upper)


@cache
def bounds(kind: type[Rowwise], dtype: str) -> tuple[np.ndarray, np.ndarray]:
    """Of what an operator takes: of two numbers, or of z, e and d, which may be known better than e − z is."""
    lower, upper = rectangles(dtype)
    if kind is Product:
        return lower, upper
    rng = np.random.default_rng(8)
    (z_l, d_l), (z_u, d_u) = lower.T.astype(np.longdouble), upper.T.astype(np.longdouble)
    t = np.sort(rng.random((2, len(z_l))), 0)
    t = np.where(rng.random(len(z_l)) < 0.5, np.array([[0], [1]]), t)  # e as wide as z and d allow, or narrower
    t[:, ::7] = 0.5
    low, high = z_l + d_l, z_u + d_u
    e = np.stack([low + (high - low) * t[0], low + (high - low) * t[1]]).astype(dtype)
    return tuple(np.stack([a[:, 0], c, a[:, 1]], -1) for a, c in ((lower, e[0]), (upper, e[1])))  # type: ignore


@cache
def points(kind: type[Rowwise], dtype: str) -> list[list[Point]]:
    """Of each box, rational points: corners, sides, inside, on kinks and next to these; d = e − z."""
    rng = np.random.default_rng(6)
    found = []
    for low, high in zip(*bounds(kind, dtype), strict=True):
        (a, b), (c, d) = ([Fraction(float(v)) for v in w[[0, 1]]] for w in (low, high))
        p = [(x, y) for x in (a, c, Fraction(0)) for y in (b, d, Fraction(0))]
        t, r = ([Fraction(float(v)) for v in rng.random(4)] for _ in range(2))
        inner = [(a + (c - a) * s, b + (d - b) * q) for s, q in zip(t, r, strict=True)]
        p += inner + [(a, inner[0][1]), (c, inner[1][1]), (inner[2][0], b), (inner[3][0], d)]
        if kind is Difference:
            least, most = Fraction(float(low[2])), Fraction(float(high[2]))
            steps = (least, most, least + (most - least) * t[0], Fraction(0))
            p += [(x, x + v) for x in (a, c, inner[0][0], Fraction(0)) for v in steps]
            p += [(y - v, y) for y in (b, d, inner[1][1], Fraction(0)) for v in steps]
        p = [(x, y) for x, y in p if a <= x <= c and b <= y <= d]
        found.append(p if kind is Product else [(x, y, y - x) for x, y in p if least <= y - x <= most])
    return found


def enclose(kind: type[Rowwise], dtype: str, f: Lines) -> None:
    s_l, t_l, s_u, t_u = (to_numpy(a)[0] for a in (f.s_l, f.t_l, f.s_u, f.t_u))
    lower, upper = bounds(kind, dtype)
    for i, p in enumerate(points(kind, dtype)):
        for s, t, sign in ((s_l[i], t_l[i], 1), (s_u[i], t_u[i], -1)):
            assert not np.isnan(t)
            if np.isinf(t):
                assert sign * t < 0
                continue
            slope, shift = [Fraction(float(v)) for v in s], Fraction(float(t))
            for x in p:
                away = sum(q * v for q, v in zip(slope, x, strict=True)) + shift - EXACT[kind](*x)
                assert sign * away <= 0, (
                    f"{'lower' if sign == 1 else 'upper'} plane on {lower[i]!r} .. {upper[i]!r}: {s} and {t} at "
                    f"{[float(v) for v in x]}, off by {float(away):.3g}"
                )


def at(place: Place, kind: type[Rowwise] = Product) -> Any:
    return tuple(place.array(a)[None] for a in bounds(kind, place.dtype))


def test_every_one_is_swept() -> None:
    assert {*EXACT, Gate} == {k for k in table.FAMILIES if issubclass(k, Rowwise) and k.width}  # gates: `test_gate`
    assert sum(map(len, points(Difference, "float32"))) > 1000


@swept
@placed
def test_default_planes_enclose(place: Place, kind: type[Rowwise]) -> None:
    with np.errstate(all="ignore"):
        enclose(kind, place.dtype, table.lines(kind(), *at(place, kind)))  # type: ignore[arg-type]


@swept
@placed
def test_parallel_planes_enclose(place: Place, kind: type[Rowwise]) -> None:
    parallel = table.family(kind()).parallel
    if parallel is None:
        return
    with np.errstate(all="ignore"):
        f = parallel(kind(), *at(place, kind))
    assert bool(((f.s_l == f.s_u) | (f.s_l != f.s_l)).all())
    enclose(kind, place.dtype, f)


@placed
def test_every_plane_of_a_product_encloses(place: Place) -> None:
    """Between the planes of McCormick, at them, and far outside."""
    rng = np.random.default_rng(0)
    N = len(rectangles(place.dtype)[0])
    for r in (rng.random((2, 1, N)), rng.normal(size=(2, 1, N)) * 1e3):
        alpha = tuple(place.array(np.asarray(a, place.dtype)) for a in r)
        with np.errstate(all="ignore"):
            enclose(Product, place.dtype, product.product_lines(*at(place), alpha))  # type: ignore[arg-type]


@placed
def test_planes_of_products_touch_at_corners(place: Place) -> None:
    """McCormick: with r = 0 or 1 the lower plane is exact at three corners, the upper one too."""
    lower, upper = (a[100:220] for a in rectangles(place.dtype))
    u = float(np.finfo(place.dtype).eps)
    for r in (0.0, 1.0):
        alpha = (place.array(np.full((1, len(lower)), r, place.dtype)),) * 2
        ends = tuple(place.array(a)[None] for a in (lower, upper))
        f = product.product_lines(*ends, alpha)  # type: ignore[arg-type]
        s_l, t_l, s_u, t_u = (to_numpy(a)[0].astype(np.longdouble) for a in (f.s_l, f.t_l, f.s_u, f.t_u))  # type: ignore
        size = 20 * u * np.maximum(abs(lower), abs(upper)).astype(np.longdouble).prod(-1) + 1e-30
        for s, t, sign in ((s_l, t_l, 1), (s_u, t_u, -1)):
            away = []
            for x in (lower[:, 0], upper[:, 0]):
                for y in (lower[:, 1], upper[:, 1]):
                    xy = x.astype(np.longdouble) * y
                    away.append(sign * (xy - s[:, 0] * x - s[:, 1] * y - t) / size)
            assert (np.sort(np.stack(away), 0)[2] <= 1).all()


@swept
@placed
def test_image_encloses(place: Place, kind: type[Rowwise]) -> None:
    with np.errstate(all="ignore"):
        low, high = table.image(kind(), *at(place, kind))
    zero = np.zeros((1, len(low[0]), 2 if kind is Product else 3))
    enclose(kind, place.dtype, Lines(zero, low, zero, high))
    u = 20 * float(np.finfo(place.dtype).eps)
    ends_of = np.stack(bounds(kind, place.dtype), 1)
    for p, least, most, ends in zip(
        points(kind, place.dtype), to_numpy(low)[0], to_numpy(high)[0], ends_of, strict=True
    ):  # corners are among the points, and decide: nothing but rounding is added
        y = [float(EXACT[kind](*x)) for x in p]
        if kind is Product and np.isfinite(least) and np.isfinite(most):
            size = u * float(abs(ends.astype(np.longdouble)).max(0).prod()) + 1e-37
            assert least >= min(y) - size
            assert most <= max(y) + size


@placed
def test_overflow_claims_nothing(place: Place) -> None:
    """Products beyond the largest number: infinite bounds, or ones that hold."""
    big = 1e30 if place.dtype == "float32" else 1e200
    lower = np.array([[-big, -big], [big, big], [-big, big], [1.0, -big], [np.nan, 0.0], [0.0, np.nan]], place.dtype)
    upper = np.array([[big, big], [2 * big, 2 * big], [0.0, 2 * big], [big, 1.0], [1.0, 1.0], [1.0, 1.0]], place.dtype)
    with np.errstate(all="ignore"):
        f = product.product_lines(place.array(lower)[None], place.array(upper)[None])
        low, high = (to_numpy(a)[0] for a in table.image(Product(), place.array(lower)[None], place.array(upper)[None]))
    t_l, t_u = to_numpy(f.t_l)[0], to_numpy(f.t_u)[0]
    assert np.isneginf(t_l[[0, 1, 2, 3, 4, 5]]).all() and np.isposinf(t_u[[0, 1, 2, 3, 4, 5]]).all()
    assert np.isneginf(low[[0, 2, 3, 4, 5]]).all() and np.isposinf(high[[0, 1, 4, 5]]).all()


@swept
def test_torch_gives_the_same_planes(kind: type[Rowwise]) -> None:
    with np.errstate(all="ignore"):
        a, b = (table.lines(kind(), *at(Place(k), kind)) for k in ("numpy", "torch"))
    for name in ("s_l", "t_l", "s_u", "t_u"):
        np.testing.assert_allclose(getattr(a, name), to_numpy(getattr(b, name)), rtol=1e-10, atol=1e-12)


@swept
def test_planes_are_close(kind: type[Rowwise]) -> None:
    """Products: half of (b − a)(d − c) apart.  Differences: exact where signs are decided, never wider than d."""
    lower, upper = bounds(kind, "float64")
    with np.errstate(all="ignore"):
        f = table.lines(kind(), lower[None], upper[None])
    middle, size = 0.5 * lower + 0.5 * upper, abs(lower) + abs(upper)
    gap = ((f.s_u - f.s_l)[0] * middle).sum(-1) + f.t_u[0] - f.t_l[0]  # type: ignore[index,union-attr]
    if kind is Product:
        assert (gap <= 0.5 * (upper - lower).prod(-1) + 1e-14 * size.prod(-1) + 1e-300).all()
        return
    (z_l, e_l, d_l), (z_u, e_u, d_u) = lower.T, upper.T
    assert (gap <= np.maximum(d_u, 0) - np.minimum(d_l, 0) + 1e-14 * size.sum(-1) + 1e-300).all()
    decided = ((z_l >= 0) | (z_u <= 0)) & ((e_l >= 0) | (e_u <= 0))
    assert decided.any()
    assert not (gap > 1e-13 * size.sum(-1) + 1e-300)[decided].any()
