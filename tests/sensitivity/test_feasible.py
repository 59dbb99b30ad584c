"""Clipping and multipliers never drop a point that satisfies the half-spaces, and find sets that are empty."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from verifier.sensitivity import feasible
from verifier.sensitivity.feasible import Round

Rng = np.random.Generator
SHAPES = ("box", "ball 1", "ball 2", "balls")


def a_set(rng: Rng, shape: str, k: int) -> tuple[np.ndarray, np.ndarray, feasible.Balls, np.ndarray]:
    """A box, what it is cut to, and points of both.  A ball is about some of the inputs only, of two each its own."""
    center = rng.normal(size=k)
    if shape == "box":
        radius = rng.uniform(0.1, 2.0, k) * (rng.random(k) < 0.9)
        u = rng.uniform(-1, 1, (200, k))
        u[::3] = np.rint(u[::3])
        return center - radius, center + radius, (), np.clip(center + radius * u, center - radius, center + radius)
    if shape == "balls":
        own = np.arange(k) < (k + 1) // 2
        halves = [
            (np.flatnonzero(part), a_set(rng, f"ball {n}", int(part.sum())))
            for n, part in ((1, own), (2, ~own))
            if part.any()
        ]
        low, high = (np.concatenate([s[i] for _, s in halves]) for i in (0, 1))
        balls = tuple(replace(b, at=at[b.at]) for at, s in halves for b in s[2])
        return low, high, balls, np.concatenate([s[3] for _, s in halves], 1)
    at, norm, eps = np.arange(max(1, k - 1)), float(shape[-1]), float(rng.uniform(0.2, 2.0))
    low, high = center - eps, center + eps
    d = rng.normal(size=(200, len(at))) * (rng.random((200, len(at))) < 0.7)
    d = d / np.maximum(np.linalg.norm(d, norm, axis=1, keepdims=True), 1e-9) * rng.random((200, 1)) ** 0.3
    x = center + eps * rng.uniform(-1, 1, (200, k))
    x[:, at] = center[at] + eps * (1 - 1e-9) * d
    return low, high, (Round(at, center[at], eps, norm),), x


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(12))
def test_no_point_is_lost(shape: str, seed: int) -> None:
    rng = np.random.default_rng([seed, SHAPES.index(shape)])
    k, S, B = int(rng.integers(1, 6)), int(rng.integers(1, 7)), 5
    low, high, ball, x = a_set(rng, shape, k)
    A = rng.normal(size=(B, S, k)) * 10.0 ** rng.integers(-6, 7, (B, S, 1)) * (rng.random((B, S, k)) < 0.8)
    kept = x[rng.integers(0, len(x), B)]  # tight at a point of the set, or loose
    b = -(A @ kept[..., None])[..., 0] - abs(A).sum(2) * rng.choice([1e-14, 0.1], (B, S))
    use = rng.random((B, S)) < 0.8
    lows, highs = np.tile(low, (B, 1)), np.tile(high, (B, 1))
    new_low, new_high, empty = feasible.shrink(lows, highs, A, b, use, ball)
    assert not empty.any()
    assert (new_low >= lows).all() and (new_high <= highs).all()
    fits = ((A @ x.T + b[..., None] <= 0) | ~use[..., None]).all(1)
    inside = (x >= new_low[:, None]).all(2) & (x <= new_high[:, None]).all(2)
    assert (inside | ~fits).all()
    use[:, 0] = True
    for weight in (rng.random((B, S)) * use, feasible.multipliers(lows, highs, A, b, use, ball)[0]):
        assert (weight >= 0).all() and (weight[~use] == 0).all()
        assert not feasible.positive(lows, highs, A, b, weight, ball).any()


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("seed", range(8))
def test_empty_sets_are_found(shape: str, seed: int) -> None:
    """`o·x <= t` and `o·x >= t + gap`; alone, and (where the gap is wide) among others that hold everywhere."""
    rng = np.random.default_rng([seed, 7, SHAPES.index(shape)])
    k = int(rng.integers(2, 6))
    low, high, ball, x = a_set(rng, shape, k)
    high = np.maximum(high, low + 0.05)
    o = rng.normal(size=k)
    for gap, others in ((0.02, False), (0.25, True)):
        t, apart = float(o @ x[0]), gap * float(abs(o) @ (high - low))
        A, b = np.stack([o, -o, *rng.normal(size=(2, k))])[None], np.array([[-t, t + apart, -1e3, -1e3]])
        use = np.array([[True, True, others, others]])
        for scale in (1.0, 1e-8, 1e8):
            assert feasible.shrink(low[None], high[None], scale * A, scale * b, use, ball)[2][0]
            one = use & [True, False, True, True]
            assert not feasible.shrink(low[None], high[None], scale * A, scale * b, one, ball)[2][0]


@pytest.mark.parametrize("norm", [1, 2])
def test_what_only_the_ball_rules_out(norm: int) -> None:
    """A corner of the box is not in the ball, and half-spaces on inputs that the ball is not about count as well."""
    k, low, high = 4, np.full(4, -1.0), np.full(4, 1.0)
    ball = (Round(np.arange(3), np.zeros(3), 1.0, norm),)
    A, far = np.array([[[-1.0, -1.0, -1.0, 0.0]]]), {1: 1.0, 2: 3.0**0.5}[norm]
    use = np.ones((1, 1), bool)
    for beyond, gone in ((1.01 * far, True), (0.99 * far, False)):
        assert feasible.shrink(low[None], high[None], A, np.array([[beyond]]), use, ball)[2][0] == gone
        assert not feasible.shrink(low[None], high[None], A, np.array([[beyond]]), use)[2][0]
    A = np.array([[[-1.0, 0.0, 0.0, -1.0]]])  # the fourth is free: together they reach 2
    for beyond, gone in ((2.02, True), (1.98, False)):
        assert feasible.shrink(low[None], high[None], A, np.array([[beyond]]), use, ball)[2][0] == gone
    assert k == A.shape[2]


@pytest.mark.parametrize("norm", [1, 2])
def test_least_over_a_ball(norm: int) -> None:
    rng = np.random.default_rng(norm)
    ball = Round(np.array([0, 2, 3]), rng.normal(size=3), 0.7, norm)
    o = rng.normal(size=(50, 4))
    o[0] = 0.0
    value, at = ball.least(o)
    assert (np.linalg.norm(at - ball.center, norm, axis=1) <= 0.7 * (1 + 1e-12)).all()
    assert value == pytest.approx((o[:, ball.at] * at).sum(1), abs=1e-12)
    d = rng.normal(size=(500, 3))
    x = ball.center + 0.7 * d / np.linalg.norm(d, norm, axis=1, keepdims=True)
    assert (o[:, ball.at] @ x.T >= value[:, None] - 1e-12).all()


@pytest.mark.parametrize("seed", range(8))
def test_the_linear_program(seed: int) -> None:
    """It says how far inside there is room; where there is none its multipliers prove it."""
    rng = np.random.default_rng(seed)
    k = int(rng.integers(1, 5))
    low, high, _, x = a_set(rng, "box", k)
    high = np.maximum(high, low + 0.01)
    A = rng.normal(size=(5, k)) * 10.0 ** rng.integers(-3, 4, (5, 1))
    b = -A @ x[0] - 0.05 * abs(A) @ (high - low)
    point, room, price = feasible.inside(low, high, A, b)
    assert point is not None and room > 0
    assert (low - 1e-9 <= point).all() and (point <= high + 1e-9).all()
    assert (A @ point + b <= 1e-9 * abs(A).sum(1)).all()
    assert not feasible.positive(low[None], high[None], A[None], b[None], price[None])[0]
    A[1], b[1] = -A[0], -b[0] + 0.05 * abs(A[0]) @ (high - low)
    _, room, price = feasible.inside(low, high, A, b)
    assert room < 0 and (price >= 0).all()
    assert feasible.positive(low[None], high[None], A[None], b[None], price[None])[0]


def test_rounding_is_taken_off() -> None:
    """What is positive by less than the sum rounds is not: here 1e17 − 1e17 + 1 is what is computed, or nothing."""
    A, b = np.array([[[1e17], [-1e17]]]), np.array([[0.0, 1.0]])
    assert not feasible.positive(np.array([[-1.0]]), np.array([[1.0]]), A, b, np.ones((1, 2)))[0]
    assert feasible.positive(np.array([[-1.0]]), np.array([[1.0]]), A / 1e17, b, np.ones((1, 2)))[0]
