"""Allowances that only a hard case needs: each of them is wrong without one term of the formula it is about."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from verifier.graph.graph import Builder, Input
from verifier.graph.ops.affine import Dense
from verifier.relax import difference
from verifier.search.clipping import relaxed
from verifier.search.domains import roots
from verifier.search.evaluate import evaluate
from verifier.search.query import make_query
from verifier.values import ball
from verifier.values.arrays import Place
from verifier.values.ball import Ball

from . import cases


def exact(a: object) -> Fraction:
    return Fraction(float(a))  # type: ignore[arg-type]


@pytest.mark.parametrize("place", [Place("numpy", "float32"), Place("numpy", "float64")], ids=str)
def test_a_row_over_thousands_of_inputs(place: Place) -> None:
    """Each of the last summands vanishes in the sum of the first ones, and together they count."""
    n = 4096
    x = np.where(np.arange(n) < 32, 1.0, -(2.0**-55))
    build = Builder()
    source = build.add(Input((n,)), (), "x")
    graph = build.graph((source,), (build.add(Dense(np.zeros((1, n)), None), (source,), "y"),))
    prop = cases.property_of(x, x, [[(np.zeros(1), np.ones(n), 0.0)]])
    query = make_query(graph, prop, place)
    true = sum(map(exact, x), Fraction(0))
    row = evaluate(query, roots(query), 10**6).row[0, 0]
    assert exact(row) <= true < 32
    assert row > 31.99


def test_a_quotient_too_small_for_a_double() -> None:
    """`1e20·x <= 1e-305` leaves all x up to 1e-325, which is more than zero."""
    a, b, upper = 1e20, -1e-305, 5e-324
    for sign in (1.0, -1.0):
        box = np.sort([[0.0, sign * upper]])
        low, up = relaxed.clip(box[:, :1], box[:, 1:], np.array([[[sign * a]]]), np.array([[b]]))
        reach = -exact(b) / exact(a)
        assert (exact(up[0, 0]) >= reach) if sign > 0 else (exact(low[0, 0]) <= -reach)


def test_half_spaces_whose_terms_cancel() -> None:
    """Terms of inputs that are fixed are large and cancel: what they leave errs by far more than the constant does."""
    rng = np.random.default_rng(5)
    for _ in range(400):
        n = int(rng.integers(3, 9))
        a, x = rng.normal(size=n) * 1e8, rng.normal(size=n)
        a[1] = -(a @ x - a[0] * x[0] - a[1] * x[1] + a[0] * x[0]) / x[1]
        a[0], lower, upper = 1.0, x.copy(), x.copy()
        lower[0], upper[0] = -10.0, 10.0
        rest = sum((exact(p) * exact(q) for p, q in zip(a[1:], x[1:], strict=True)), Fraction(0))
        b = rng.normal()
        _, up = relaxed.clip(lower[None], upper[None], a[None, None], np.array([[b]]))
        assert exact(up[0, 0]) >= min(-(exact(b) + rest), Fraction(10))


def test_products_too_small_for_a_double() -> None:
    """`1e-200·x <= 1e-200·1e-200` leaves all x up to 1e-200, though both products are zero in doubles."""
    a, low, up = np.array([[[1e-200, -1e-200]]]), np.array([[0.0, 1e-200]]), np.array([[1e-200, 1e-200]])
    assert relaxed.clip(low, up, a, np.zeros((1, 1)))[1][0, 0] == 1e-200


@pytest.mark.parametrize("norm", [1, 2])
def test_what_a_ball_leaves_of_a_box_that_touches_it(norm: int) -> None:
    """Other entries use up nearly all of the radius, so that what they leave is less than the rounding of their sum."""
    rng, met = np.random.default_rng(norm), 0
    for _ in range(200):
        n = int(rng.integers(3, 60))
        away = rng.random(n)
        away[-1] = 0.0
        size = [exact(v) ** norm for v in away]
        total = sum(size, Fraction(0))
        eps = float(total) if norm == 1 else float(np.sqrt(float(total)))
        while exact(eps) ** norm < total:
            eps = float(np.nextafter(eps, np.inf))
        b = Ball(np.zeros(n), eps, norm)
        lower, upper = away[None], np.ones((1, n))
        low, up, empty = ball.clip(b, lower, upper)
        assert not empty[0], "the corner of the box is in the ball"
        for i in range(n):
            room = exact(eps) ** norm - (total - size[i])
            assert exact(up[0, i]) ** norm >= min(room, Fraction(1))
            met += room < exact(eps) ** norm / 10**14
        assert (low <= lower).all()
    assert met > 20


def corners(z: list[Fraction], e: list[Fraction], d: list[Fraction]) -> list[tuple[Fraction, Fraction]]:
    """The corners of the pieces on which `relu(e) − relu(z)` is linear, where all three bounds hold."""
    zero = Fraction(0)
    along = [(v, w) for v, w in product([*z, zero], [*e, zero])]
    along += [(v, v + k) for v, k in product([*z, zero], d)] + [(w - k, w) for w, k in product([*e, zero], d)]
    return [(v, w) for v, w in along if z[0] <= v <= z[1] and e[0] <= w <= e[1] and d[0] <= w - v <= d[1]]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_planes_of_differences_are_exact(dtype: str) -> None:
    """Planes hold for the numbers they are made of, to the last digit, at every corner."""
    rng, tilted = np.random.default_rng(7), 0
    for _ in range(800):
        z = np.sort(rng.normal(size=2) * rng.choice([1.0, 1e-3])).astype(dtype)
        e = np.sort(rng.normal(size=2)).astype(dtype)
        wide = float(e[0]) - float(z[1]), float(e[1]) - float(z[0])
        d = np.sort(rng.uniform(*wide, size=2)).astype(dtype)
        box = [np.array([a[k] for a in (z, e, d)], dtype)[None] for k in (0, 1)]
        f = difference.lines(*box)
        points = corners(*([exact(v) for v in a] for a in (z, e, d)))
        tilted += bool((f.s_u[0, 0] not in (0, 1, -1)) and f.s_u[0, 1] == 0)
        for v, w in points:
            true = max(w, Fraction(0)) - max(v, Fraction(0))
            at = (v, w, w - v)
            above = sum((exact(s) * p for s, p in zip(f.s_u[0], at, strict=True)), exact(f.t_u[0]))
            below = sum((exact(s) * p for s, p in zip(f.s_l[0], at, strict=True)), exact(f.t_l[0]))  # type: ignore[index]
            assert below <= true <= above
    assert tilted > 30
