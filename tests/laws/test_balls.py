"""Laws of balls of the ℓ1 and ℓ2 norm: nothing of them is lost, bounds hold, steps and roundings stay inside."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import cvxpy as cp
import numpy as np
import pytest

import verifier
from tests.cli.files import dense, outputs
from verifier.attack.ball import towards
from verifier.run.model import boundable
from verifier.search.budget import Budget
from verifier.search.inputs import InputSearch
from verifier.search.query import make_query
from verifier.spec.builders import robustness
from verifier.spec.witness import satisfies
from verifier.values.arrays import Place, to_numpy
from verifier.values.ball import Ball, clip, holds, into, rounded

norms = pytest.mark.parametrize("norm", [1, 2])
PLACES = [Place(kind, dtype) for kind in ("numpy", "torch") for dtype in ("float32", "float64")]


def points(rng: np.random.Generator, ball: Ball, count: int = 2000) -> np.ndarray:
    """Points of a ball, most of them on its surface, many sparse."""
    z = rng.normal(size=(count, len(ball.center)))
    z[: count // 2] *= rng.random((count // 2, len(ball.center))) < 0.3
    size = np.linalg.norm(z, ball.norm, axis=1, keepdims=True)
    size = size / np.where(rng.random((count, 1)) < 0.7, 1.0, rng.random((count, 1)))
    return np.asarray(ball.center + ball.eps * (1 - 1e-12) * z / np.maximum(size, 1e-300))


def balls(norm: int) -> list[Ball]:
    """Of several sizes, far from zero and near it."""
    rng = np.random.default_rng(3)
    return [
        Ball(rng.normal(size=n) * far, eps, norm)
        for n in (1, 2, 7, 40)
        for far, eps in ((0.0, 1.0), (1.0, 0.1), (1e3, 1e-4), (1.0, 1e-30))
    ]


def distance(ball: Ball, x: np.ndarray) -> Fraction:
    """ℓ1, or squared ℓ2."""
    d = [abs(Fraction(a) - Fraction(c)) for a, c in zip(x.tolist(), ball.center.tolist(), strict=True)]
    return sum((v if ball.norm == 1 else v * v for v in d), Fraction(0))


@norms
def test_the_exact_test(norm: int) -> None:
    three, four, five = 3.0, 4.0, 5.0 if norm == 2 else 7.0
    ball = Ball([1.0, -1.0], five, norm)
    on = np.array([1.0 + three, -1.0 - four])
    assert holds(ball, on) and not holds(ball, np.array([np.nextafter(on[0], 9), on[1]]))
    tenth = Ball([0.0], 0.1, norm)
    assert holds(tenth, np.array([0.1])) and not holds(tenth, np.array([np.nextafter(0.1, 1)]))


@norms
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_what_is_rounded_is_inside(norm: int, dtype: str) -> None:
    rng = np.random.default_rng(0)
    for ball in balls(norm):
        ball = Ball(ball.center.astype(dtype).astype(np.float64), ball.eps, norm)
        x = np.concatenate([points(rng, ball, 50), ball.center + rng.normal(size=(50, len(ball.center))) * ball.eps])
        eps = Fraction(ball.eps) ** norm
        for point in rounded(ball, x, dtype):
            assert (point.astype(dtype) == point).all() and distance(ball, point) <= eps
        if ball.eps == 1.0:  # and hardly moved
            assert abs(rounded(ball, points(rng, ball), dtype) - into(ball, points(rng, ball) * 0)).max() > 0.5
            assert abs(rounded(ball, x, dtype) - into(ball, x)).max() < 1e-6


@norms
def test_clipping_loses_no_point(norm: int) -> None:
    rng = np.random.default_rng(1)
    met = 0
    for ball in balls(norm):
        x, n = points(rng, ball, 400), len(ball.center)
        x = x[[distance(ball, p) <= Fraction(ball.eps) ** norm for p in x]]
        at = x[rng.integers(len(x), size=200)]
        side = rng.uniform(0, 2, (200, n)) ** 3 * ball.eps
        middle = at + rng.uniform(-1, 1, (200, n)) * side * 1.5
        lower, upper = middle - side, middle + side
        low, high, empty = clip(ball, lower, upper)
        assert (low >= lower).all() and (high <= upper).all() and (low <= high).all()
        for k in range(200):
            inside = x[((lower[k] <= x) & (x <= upper[k])).all(1)]
            met += len(inside)
            assert not (empty[k] and len(inside))
            assert ((low[k] <= inside) & (inside <= high[k])).all()
        if n > 1 and ball.eps > 1e-3:
            assert empty.any() and ((low > lower) | (high < upper)).any()
    assert met > 5000


@norms
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("eps", [1e308, 1e160, 1e154, 1e-150, 1e-200, 1e-310, 5e-324])
def test_clipping_whatever_the_size(eps: float, norm: int) -> None:
    """Squares of such numbers are none, or zero."""
    ball = Ball(np.zeros(2), eps, norm)
    lower = np.array([[-1.0, -1.0], [-1.0, 0.75], [0.8, 0.8], [0.9, -1.0], [3.0, -1.0]])
    upper = np.array([[1.0, 1.0], [1.0, 0.75], [1.0, 1.0], [1.0, 1.0], [4.0, 1.0]])
    with np.errstate(over="ignore"):
        lower, upper = (np.clip(a * eps, -1.7e308, 1.7e308) for a in (lower, upper))
    low, high, empty = clip(ball, lower, upper)
    assert (low >= lower).all() and (high <= upper).all() and (low <= high).all()
    for k, x in enumerate(np.array([[0.0, 1.0], [0.0, 0.75], [0.8, 0.8], [0.9, 0.0]]) * eps):
        if distance(ball, x) <= Fraction(eps) ** norm:
            assert not empty[k] and (low[k] <= x).all() and (x <= high[k]).all()
    if 1e-300 < eps < 1e300:  # where numbers are as fine as anywhere
        assert empty.tolist() == [False, False, True, False, True]
        assert high[1, 0] < 0.7 * eps and high[3, 1] < 0.5 * eps


@norms
@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")
def test_linear_functions(norm: int, place: Place) -> None:
    """The bound is below every sampled value, and close to the least one in exact arithmetic."""
    rng = np.random.default_rng(2)
    for ball in balls(norm):
        n = len(ball.center)
        A = (rng.normal(size=(30, n)) * 10.0 ** rng.integers(-30, 8, (30, 1))).astype(place.dtype)
        A[0] = 0
        b = (rng.normal(size=30) * abs(A).max(1)).astype(place.dtype)
        bound = to_numpy(ball.concretise(place.array(A), place.array(b), None, None)).astype(np.float64)
        x = points(rng, ball, 200)
        dual = np.inf if norm == 1 else 2
        for k in range(30):
            a = [Fraction(float(v)) for v in A[k]]
            center = sum((p * Fraction(float(c)) for p, c in zip(a, ball.center, strict=True)), Fraction(float(b[k])))
            reach = Fraction(ball.eps) * Fraction(float(np.linalg.norm(A[k].astype(np.float64), dual)))
            assert Fraction(float(bound[k])) <= center - reach * (1 - Fraction(1, 10**12))
            size = abs(A[k].astype(np.float64)) @ abs(ball.center) + float(reach) + abs(float(b[k]))
            assert bound[k] >= float(center - reach) - 1e3 * n * np.finfo(place.dtype).eps * size - 1e-30 * (n + 4)
            assert bound[k] <= (x @ A[k].astype(np.float64)).min() + float(b[k]) + 1e-12 * size


@norms
def test_steps_stay_inside(norm: int) -> None:
    rng = np.random.default_rng(4)
    for ball in balls(norm)[:12]:
        n = len(ball.center)
        lower, upper = (np.tile(ball.center + s * ball.eps * 0.6, (50, 1)) for s in (-1, 1))
        x, g = into(ball, np.clip(points(rng, ball, 50), lower, upper)), rng.normal(size=(50, n))
        for step in range(4):
            x = towards(ball, x, g, lower, upper, step)
            assert (np.linalg.norm(x - ball.center, norm, axis=1) <= ball.eps * (1 + 1e-9)).all()
            assert (x >= lower - 1e-12 * abs(lower)).all() and (x <= upper + 1e-12 * abs(upper)).all()
            if step == 0 and norm == 1:  # the first step leads to the least point
                v = points(rng, ball, 2000)
                v = v[((v >= lower[:1]) & (v <= upper[:1])).all(1)]
                assert len(v) == 0 or ((x * g).sum(1) <= (v @ g.T).min(0) + 1e-9 * (1 + abs(x * g).sum(1))).all()


def least_margin(weights: list[np.ndarray], ball: Ball, label: int, rival: int) -> float:
    """`min y_label − y_rival` over the ball, by one convex program a pattern of hidden neurons."""
    best = np.inf
    W1, W2 = weights
    for bits in range(2 ** len(W1)):
        on = np.array([(bits >> i) & 1 for i in range(len(W1))])
        x = cp.Variable(W1.shape[1])
        z = W1 @ x
        row = (W2[label] - W2[rival]) * on
        problem = cp.Problem(
            cp.Minimize(row @ z),
            [cp.norm(x - ball.center, ball.norm) <= ball.eps, cp.multiply(2 * on - 1, z) >= 0],
        )
        value = problem.solve(solver=cp.CLARABEL)
        best = min(best, float(value))
    return best


@norms
def test_verdicts_are_those_of_exact_optimisation(norm: int, tmp_path: Path) -> None:
    seen = set()
    for seed in range(12):
        rng = np.random.default_rng(seed)
        weights = [rng.normal(size=s).astype(np.float32).astype(np.float64) for s in ((5, 3), (2, 5))]
        path = tmp_path / f"{seed}.onnx"
        path.write_bytes(dense(*weights))
        center = rng.normal(size=3).astype(np.float32).astype(np.float64)
        y = outputs(str(path), center.tolist())
        label = int(np.argmax(y))
        scale = abs(y[0] - y[1]) / np.linalg.norm(weights[1] @ weights[0], 2)
        ball = Ball(center, float(scale * rng.uniform(0.3, 2.5)), norm)
        margin = least_margin(weights, ball, label, 1 - label)
        if abs(margin) < 1e-4:
            continue
        result = verifier.verify(path, verifier.robustness(ball, label), timeout=60)
        assert result.verdict == ("sat" if margin < 0 else "unsat"), (seed, margin)
        seen.add(str(result.verdict))
        if result.witness is not None:
            x = result.witness.flat
            assert distance(ball, x) <= Fraction(ball.eps) ** norm
            given = outputs(str(path), x.tolist())
            assert given == result.witness.y.tolist() and given[1 - label] >= given[label]
    assert seen == {"sat", "unsat"}


@norms
def test_splitting_inputs_closes_all_of_a_ball_and_nothing_else(norm: int, tmp_path: Path) -> None:
    """Without an attack: just below the least margin everything is refuted, just above it something stays open."""
    split = 0
    for seed in range(6):
        rng = np.random.default_rng(seed)
        weights = [rng.normal(size=s).astype(np.float32).astype(np.float64) for s in ((6, 3), (2, 6))]
        (tmp_path / "n.onnx").write_bytes(dense(*weights))
        ball = Ball(rng.normal(size=3), 1.0, norm)
        margin = least_margin(weights, ball, 0, 1)
        for step in (-0.02, 0.02):
            prop = robustness(ball.center, 1.0, 0, 2, norm=norm)
            d = np.array([margin + step])
            graph = boundable(verifier.load(tmp_path / "n.onnx"))
            query = make_query(graph, replace(prop, d=d, inner_d=d), Place("numpy", "float32"))
            search = InputSearch(query, lambda x, group: None)
            done = search.advance(Budget.seconds(60 if step < 0 else 0.3))
            assert (done is not None and done.verdict == "unsat") == (step < 0), (seed, step)
            split += search.progress.bounded > 1 and step < 0
    assert split >= 2


@norms
def test_a_ball_is_a_part_of_the_property(norm: int) -> None:
    prop = robustness([0.0, 0.0], 1.0, 0, 2, norm=norm)
    corner, axis = np.array([0.9, 0.9]), np.array([1.0, 0.0])
    wrong = np.array([0.0, 1.0])
    assert satisfies(prop, 0, axis, wrong) and not satisfies(prop, 0, corner, wrong)
    assert satisfies(robustness([0.0, 0.0], 1.0, 0, 2), 0, corner, wrong)
