"""Laws of clipping: the result lies inside the box, and no point that satisfies the half-spaces is lost."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from verifier.search.clipping.relaxed import clip, clip_any

Rng = np.random.Generator


def scale(rng: Rng, shape: tuple[int, ...], exponent: int) -> np.ndarray:
    """Powers of two from 2**-exponent to 2**exponent."""
    return 2.0 ** rng.integers(-exponent, exponent + 1, shape)


def boxes(rng: Rng, B: int, n: int, kind: str) -> tuple[np.ndarray, np.ndarray]:
    """`dyadic`: small numbers, with which products and sums are exact; else any."""
    if kind == "dyadic":
        lower = rng.integers(-8, 8, (B, n)) / 4.0
        return lower, lower + rng.integers(0, 12, (B, n)) / 4.0
    size = np.ones((B, 1)) if kind == "plain" else scale(rng, (B, 1), 300)
    lower = rng.normal(size=(B, n)) * size
    return lower, lower + rng.random((B, n)) * size * (rng.random((B, n)) < 0.8)


def dot(a: np.ndarray, x: np.ndarray, b: float = 0.0) -> Fraction:
    return sum((Fraction(float(p)) * Fraction(float(q)) for p, q in zip(a, x, strict=True)), Fraction(float(b)))


def points(rng: Rng, lower: np.ndarray, upper: np.ndarray, P: int, kind: str) -> np.ndarray:
    """`[B, P, n]`, half of them with coordinates at the ends; dyadic where the box is."""
    u = rng.random((len(lower), P, lower.shape[1]))
    u[:, ::2] = np.where(rng.random(u[:, ::2].shape) < 0.5, np.rint(u[:, ::2]), u[:, ::2])
    u = np.rint(u * 4) / 4 if kind == "dyadic" else u
    return np.clip(lower[:, None] + (upper - lower)[:, None] * u, lower[:, None], upper[:, None])


def through(rng: Rng, x: np.ndarray, kind: str) -> tuple[np.ndarray, float]:
    """A half-space with x exactly on its boundary (dyadic), or as near to it as numbers allow, x inside."""
    n = len(x)
    if kind == "dyadic":
        a = rng.integers(-4, 5, n) * scale(rng, (), 900)
        return a, -float(dot(a, x))
    a = rng.normal(size=n) * scale(rng, (n,), 4 if kind == "plain" else 300) * (rng.random(n) < 0.8)
    with np.errstate(over="ignore"):
        b = -float(dot(a, x)) if abs(dot(a, x)) < 10**300 else -np.copysign(1e300, float(dot(a, x) / 10**280))
    while dot(a, x, b) > 0:
        b = float(np.nextafter(b, -np.inf))
    return a, b


@pytest.mark.parametrize("kind", ["dyadic", "plain", "extreme"])
@pytest.mark.parametrize("seed", range(4))
def test_no_point_is_lost(kind: str, seed: int) -> None:
    rng = np.random.default_rng([seed, len(kind)])
    B, n, S = 60, int(rng.integers(1, 6)), int(rng.integers(1, 4))
    lower, upper = boxes(rng, B, n, kind)
    x = points(rng, lower, upper, 6, kind)
    A, b = np.zeros((B, S, n)), np.zeros((B, S))
    for i in range(B):
        for s in range(S):
            A[i, s], b[i, s] = through(rng, x[i, s % 2], kind)
    use = rng.random((B, S)) < 0.8
    use[: B // 2] = True
    with np.errstate(all="ignore"):
        l, u = clip(lower, upper, A, b, use, sweeps=1 + seed % 2)
    assert (l >= lower).all() and (u <= upper).all(), "outside the box"
    met = clipped = 0
    for i in range(B):
        clipped += bool(((l[i] > lower[i]) | (u[i] < upper[i])).any())
        for p in x[i]:
            if all(dot(A[i, s], p, b[i, s]) <= 0 for s in range(S) if use[i, s]):
                met += 1
                assert (l[i] <= p).all() and (p <= u[i]).all(), "a point is lost"
    assert met >= B // 2 and clipped > B // 4, "the law was not put to the test"


def test_the_hull_of_one_halfspace_is_exact() -> None:
    """Each side becomes what rational arithmetic says, up to rounding; empty only when truly empty."""
    rng = np.random.default_rng(0)
    lower, upper = boxes(rng, 200, 4, "plain")
    A, b = rng.normal(size=(200, 1, 4)), rng.normal(size=(200, 1)) * 2
    l, u = clip(lower, upper, A, b)
    empties = 0
    for i in range(200):
        a = A[i, 0]
        ends = zip(a, lower[i], upper[i], strict=True)
        least = [min(Fraction(c) * Fraction(p), Fraction(c) * Fraction(q)) for c, p, q in ends]
        room = -Fraction(float(b[i, 0])) - sum(least)
        empty = bool((l[i] > u[i]).any())
        assert not (empty and room >= 0), "an empty box that is not"
        if room < -Fraction(1, 10**9):
            assert empty
            empties += 1
            continue
        for j in range(4):
            side = Fraction(float(lower[i, j] if a[j] > 0 else upper[i, j])) + room / Fraction(float(a[j]))
            inner = min(side, Fraction(float(upper[i, j]))) if a[j] > 0 else max(side, Fraction(float(lower[i, j])))
            found = Fraction(float(u[i, j] if a[j] > 0 else l[i, j]))
            assert abs(inner - found) < Fraction(1, 10**10) * (1 + abs(inner))
    assert 20 < empties < 180


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_clip_nothing(bad: float) -> None:
    lower, upper = np.array([[-1.0, -2.0]]), np.array([[3.0, 4.0]])
    for A, b in (([bad, 1.0], 0.0), ([1.0, bad], 5.0), ([1.0, 1.0], bad), ([bad, bad], bad), ([0.0, bad], 1.0)):
        with np.errstate(all="ignore"):
            l, u = clip(lower, upper, np.array([[A]]), np.array([[b]]))
        assert np.array_equal(l, lower) and np.array_equal(u, upper)


def test_zeros_and_the_smallest_numbers_clip_nothing_wrong() -> None:
    """A function that is constant can't tell where its points lie, and neither can one that underflows."""
    lower, upper = np.array([[-1.0, -1.0]]), np.array([[1.0, 1.0]])
    for a, b in ((0.0, 0.0), (0.0, -1.0), (5e-324, 0.0), (5e-324, -5e-324), (1e-310, 1e-311), (1e-300, 0.0)):
        l, u = clip(lower, upper, np.array([[[a, 0.0]]]), np.array([[b]]))
        for x in np.linspace(-1, 1, 9):
            if dot(np.array([a, 0.0]), np.array([x, 0.0]), b) <= 0:
                assert l[0, 0] <= x <= u[0, 0]
        assert l[0, 1] == -1 and u[0, 1] == 1


@pytest.mark.parametrize("kind", ["dyadic", "plain", "extreme"])
@pytest.mark.parametrize("seed", range(3))
def test_the_hull_of_disjuncts(kind: str, seed: int) -> None:
    """A point that satisfies all half-spaces of a living disjunct stays, and its disjunct stays alive."""
    rng = np.random.default_rng([seed, 7, len(kind)])
    B, n, K, J = 40, 3, 4, 3
    lower, upper = boxes(rng, B, n, kind)
    x = points(rng, lower, upper, 8, kind)
    A, b = np.zeros((B, K, n)), np.zeros((B, K))
    for i in range(B):
        for k in range(K):
            A[i, k], b[i, k] = through(rng, x[i, k % 2], kind)
            if rng.random() < 0.3:
                A[i, k], b[i, k] = -A[i, k], -b[i, k] + abs(b[i, k]) + 1e-9
    uses, alive = rng.random((B, J, K)) < 0.4, rng.random((B, J)) < 0.7
    before = alive.copy()
    with np.errstate(all="ignore"):
        l, u, left = clip_any(lower, upper, A, b, uses, alive)
    assert np.array_equal(alive, before), "the argument was changed"
    assert not (left & ~before).any()
    some = left.any(1)
    assert (l >= lower)[some].all() and (u <= upper)[some].all() and (l <= u)[some].all()
    met = 0
    for i in range(B):
        for p in x[i]:
            for j in np.flatnonzero(before[i]):
                if all(dot(A[i, k], p, b[i, k]) <= 0 for k in np.flatnonzero(uses[i, j])):
                    met += 1
                    assert left[i, j], "a disjunct is lost"
                    assert (l[i] <= p).all() and (p <= u[i]).all(), "a point is lost"
    assert met > B and (before & ~left).any(), "the law was not put to the test"


def test_the_hull_is_no_larger_than_the_disjuncts() -> None:
    """Dead disjuncts don't count: with one alive the hull is that one's clipped box."""
    rng = np.random.default_rng(5)
    lower, upper = boxes(rng, 30, 3, "plain")
    A, b = rng.normal(size=(30, 2, 3)), rng.normal(size=(30, 2)) * 0.3
    uses = np.broadcast_to(np.eye(2, dtype=bool), (30, 2, 2))
    alive = np.tile([True, False], (30, 1))
    l, u, left = clip_any(lower, upper, A, b, uses, alive)
    one_l, one_u = clip(lower, upper, A[:, :1], b[:, :1])
    full = (one_l <= one_u).all(1)
    assert np.array_equal(left[:, 0], full)
    assert np.array_equal(l[full], one_l[full]) and np.array_equal(u[full], one_u[full])
