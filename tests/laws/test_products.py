"""Laws of products: several balls of the ℓ1 and ℓ2 norm, each about entries of its own, and a box about the rest."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

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
from verifier.spec.builders import on_set, output_property
from verifier.values.arrays import Place, to_numpy
from verifier.values.ball import Ball
from verifier.values.sets import Product

PLACES = [Place(kind, dtype) for kind in ("numpy", "torch") for dtype in ("float32", "float64")]
Parts = tuple[tuple[tuple[int, ...], float, float], ...]
SHAPES: tuple[Parts, ...] = (
    (((0, 1, 2), 1.0, 2), ((3, 4), 0.5, 1)),
    (((4, 0), 0.25, 2), ((1, 3), 2.0, 2)),
    (((1,), 0.5, 1), ((2, 5), 1.0, 2), ((0, 3), 0.3, float("inf"))),
    (((0, 1, 2, 3, 4, 5, 6), 1.5, 2),),
)


def made(center: np.ndarray, parts: Parts, radius: float = 0.5) -> Product:
    """Balls of radius and norm about some entries each (in ascending order), the others within a radius."""
    lower, upper = center - radius, center + radius
    balls, index = [], []
    for at, eps, norm in parts:
        own = np.sort(at)
        ball = Ball(center[own], eps, norm)
        lower[own], upper[own] = ball.box().lower, ball.box().upper
        balls.append(ball)
        index.append(own)
    return Product(tuple(balls), tuple(index), lower, upper)


def points(rng: np.random.Generator, s: Product, count: int) -> np.ndarray:
    """Points `[count, n]` of a product, many on its surface."""
    x = s.lower + (s.upper - s.lower) * rng.random((count, len(s))).round(rng.integers(0, 4))
    for at, ball in s.parts():
        z = rng.normal(size=(count, len(at))) * (rng.random((count, len(at))) < 0.8)
        size = np.maximum(np.linalg.norm(z, ball.norm, axis=1, keepdims=True), 1e-300)
        size = size / np.where(rng.random((count, 1)) < 0.7, 1.0, rng.random((count, 1)))
        x[:, at] = ball.center + ball.eps * (1 - 1e-12) * z / size
    return np.asarray(np.clip(x, s.lower, s.upper))


def inside(s: Product, x: np.ndarray) -> bool:
    """In exact arithmetic."""
    ok = bool(((s.lower <= x) & (x <= s.upper)).all())
    for at, ball in s.parts():
        d = [abs(Fraction(float(a)) - Fraction(float(c))) for a, c in zip(x[at], ball.center, strict=True)]
        eps = Fraction(float(ball.eps))
        size = max(d) if ball.norm == np.inf else sum((v ** int(ball.norm) for v in d), Fraction(0))
        ok = ok and size <= (eps if ball.norm == np.inf else eps ** int(ball.norm))
    return ok


def least(s: Product, a: np.ndarray) -> float:
    """`min a·x`, in closed form (Hölder)."""
    value, left = 0.0, np.ones(len(s), bool)
    for at, ball in s.parts():
        q = {1: np.inf, 2: 2, np.inf: 1}[ball.norm]
        value += float(a[at] @ ball.center) - ball.eps * float(np.linalg.norm(a[at], q))
        left[at] = False
    return value + float(np.minimum(a * s.lower, a * s.upper)[left].sum())


def products() -> list[Product]:
    rng = np.random.default_rng(5)
    return [made(rng.normal(size=7) * far, parts) for parts in SHAPES for far in (0.0, 1.0, 100.0)]


@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")
def test_linear_functions(place: Place) -> None:
    """On its box the bound is the closed form's; on smaller boxes it holds for what is there, and is better."""
    rng = np.random.default_rng(0)
    better = 0
    for s in products():
        A = (rng.normal(size=(3, 5, 7)) * 10.0 ** rng.integers(-20, 8, (3, 5, 1))).astype(place.dtype)
        A[0, 0] = 0
        b = (rng.normal(size=(3, 5)) * abs(A).max(2)).astype(place.dtype)
        x = points(rng, s, 200)
        some = x[rng.integers(0, 200, 3)]
        middle, side = np.stack([s.box().lower * 0.5 + s.box().upper * 0.5, *some[1:]]), (s.upper - s.lower)
        radius = np.stack([0.5 * side, 0.3 * side, 0.05 * side]).astype(place.dtype).astype(float)
        radius[0] *= 1 + 4 * np.finfo(place.dtype).eps
        middle = middle.astype(place.dtype).astype(float)
        given = [place.array(a[:, None], place.dtype) for a in (middle, radius)]
        bound = to_numpy(s.concretise(place.array(A), place.array(b), *given)).astype(np.float64)
        wide, grain = A.astype(np.float64), np.finfo(place.dtype).eps
        size = abs(wide) @ (abs(s.center) + side) + abs(b)
        for k in range(3):
            here = x[((middle[k] - radius[k] <= x) & (x <= middle[k] + radius[k])).all(1)]
            assert len(here)
            for r in range(5):
                exact = least(s, wide[k, r]) + float(b[k, r])
                value = (here @ wide[k, r] + float(b[k, r])).min(initial=np.inf)
                assert bound[k, r] <= value + 1e-12 * size[k, r]
                if k == 0:
                    assert exact - 1e4 * grain * size[k, r] - 1e-30 <= bound[k, r] <= exact + 1e-12 * size[k, r]
                elif bound[k, r] > exact + 1e-3 * size[k, r]:
                    better += 1
    assert better > 50


@pytest.mark.parametrize("place", PLACES, ids=lambda p: f"{p.kind}-{p.dtype}")
def test_sums_are_rounded_down(place: Place) -> None:
    """Where every ball is a point the least value is known in rational arithmetic: no bound is above it."""
    rng, near = np.random.default_rng(6), 0
    for parts in SHAPES[:3]:
        center = (rng.normal(size=7) * 10.0 ** rng.integers(-3, 4, 7)).astype(np.float32).astype(float)
        radius = np.zeros(7)
        s = made(center, tuple((at, 0.0, norm) for at, _, norm in parts), 0.0)
        radius[s.rest] = abs(rng.normal(size=len(s.rest))).astype(np.float32)
        A = (rng.normal(size=(300, 7)) * 10.0 ** rng.integers(-6, 6, (300, 7))).astype(place.dtype)
        b = -(A.astype(float) @ center).astype(place.dtype)
        given = [place.array(v, place.dtype) for v in (center, radius)]
        bound = to_numpy(s.concretise(place.array(A), place.array(b), *given)).astype(np.float64)
        for row, c, value in zip(A.astype(float), b.astype(float), bound, strict=True):
            ends = [Fraction(m) - Fraction(r) if v > 0 else Fraction(m) + Fraction(r)
                    for v, m, r in zip(row, center, radius, strict=True)]  # fmt: skip
            exact = sum((Fraction(v) * e for v, e in zip(row, ends, strict=True)), Fraction(c))
            assert Fraction(value) <= exact
            near += float(exact - Fraction(value)) <= 1e3 * np.finfo(place.dtype).eps * float(
                abs(row) @ abs(center) + abs(c)
            )
    assert near > 500


def test_parts_are_asked_for_themselves() -> None:
    """Exact test, points moved and rounded into it, boxes clipped: nothing of it is lost, nothing else is in it."""
    rng = np.random.default_rng(1)
    met, gone = 0, 0
    for s in products():
        curved = replace(s, every=tuple(b for _, b in s.balls()), at=tuple(at for at, _ in s.balls()))
        x = points(rng, s, 300)
        far = x + rng.normal(size=x.shape) * 0.3
        for p in (*x[:40], *far[:40]):
            assert s.contains(p) == inside(replace(curved, lower=np.full(7, -1e9), upper=np.full(7, 1e9)), p)
        assert all(curved.contains(p) for p in s.rounded(far[:50], "float64"))
        assert abs(s.project(x) - x).max() < 1e-9
        x = x[[inside(s, p) for p in x]]
        side = rng.uniform(0, 1, (100, 7)) ** 3
        shift = np.where(np.arange(100)[:, None] < 50, rng.uniform(-1, 0, (100, 7)), rng.uniform(-2, 1, (100, 7)))
        lower = x[rng.integers(len(x), size=100)] + shift * side
        low, high, empty = s.clip(lower, lower + side)
        assert (low >= lower).all() and (high <= lower + side).all() and (low <= high).all()
        for k in range(100):
            here = x[((lower[k] <= x) & (x <= lower[k] + side[k])).all(1)]
            met, gone = met + len(here), gone + bool(empty[k])
            assert not (empty[k] and len(here)) and ((low[k] <= here) & (here <= high[k])).all()
    assert met > 300 and gone > 100


def test_steps_lead_to_the_least_point() -> None:
    rng = np.random.default_rng(2)
    for s in products():
        g, x = rng.normal(size=(40, 7)), points(rng, s, 40)
        lower, upper = (np.tile(a, (40, 1)) for a in (s.lower, s.upper))
        first = towards(s, x, g, lower, upper, 0)
        want = [least(s, row) for row in g]
        assert (first * g).sum(1) == pytest.approx(want, rel=1e-9, abs=1e-9 * float(abs(s.upper).max()))


@pytest.mark.parametrize("method", ["interval", "forward", "crown", "alpha-crown"])
def test_bounds_of_affine_networks_are_the_closed_form(method: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(3)
    W = rng.normal(size=(3, 7)).astype(np.float32)
    (tmp_path / "n.onnx").write_bytes(dense(W))
    for s in products()[1::3]:
        low, up = verifier.bound(tmp_path / "n.onnx", s, method)
        want = [least(s, row) for row in W.astype(float)], [-least(s, -row) for row in W.astype(float)]
        assert (low <= np.array(want[0]) + 1e-12).all() and (up >= np.array(want[1]) - 1e-12).all()
        if "crown" in method:
            assert low == pytest.approx(want[0], abs=1e-4) and up == pytest.approx(want[1], abs=1e-4)


def test_bounds_hold_what_is_sampled(tmp_path: Path) -> None:
    rng = np.random.default_rng(4)
    W = [rng.normal(size=size).astype(np.float32) for size in ((8, 7), (6, 8), (2, 6))]
    (tmp_path / "n.onnx").write_bytes(dense(*W))
    for s in products()[:2] + products()[6:8]:
        x = points(rng, s, 3000)
        y = np.maximum(np.maximum(x @ W[0].T, 0) @ W[1].T, 0) @ W[2].T
        for method in ("crown", "alpha-crown"):
            low, up = verifier.bound(tmp_path / "n.onnx", s, method)
            plain = verifier.bound(tmp_path / "n.onnx", s.box(), method)
            assert (low <= y.min(0) + 1e-5).all() and (y.max(0) - 1e-5 <= up).all()
            assert (up - low).sum() < 0.97 * (plain[1] - plain[0]).sum()


def least_margin(weights: list[np.ndarray], s: Product) -> float:
    """`min y_0 − y_1` over the set, by one convex program a pattern of hidden neurons."""
    W1, W2 = weights
    best, left = np.inf, s.rest
    for bits in range(2 ** len(W1)):
        on = np.array([(bits >> i) & 1 for i in range(len(W1))])
        x = cp.Variable(W1.shape[1])
        z = W1 @ x
        rules: list[Any] = [cp.norm(x[at] - b.center, b.norm) <= b.eps for at, b in s.parts()]
        rules += [x[left] >= s.lower[left], x[left] <= s.upper[left]] if len(left) else []
        problem = cp.Problem(cp.Minimize(((W2[0] - W2[1]) * on) @ z), [*rules, cp.multiply(2 * on - 1, z) >= 0])
        best = min(best, float(problem.solve(solver=cp.CLARABEL)))
    return best


def planted(rng: np.random.Generator, k: int) -> tuple[list[np.ndarray], Product]:
    """A network of five inputs and a product about them."""
    weights = [rng.normal(size=size).astype(np.float32).astype(np.float64) for size in ((4, 5), (2, 4))]
    parts: Parts = ((((0, 1), 0.5, 2), ((2, 4), 0.7, 1)), (((1, 2), 0.4, 2), ((3, 4), 0.6, 2)))[k % 2]
    return weights, made(rng.normal(size=5).astype(np.float32).astype(float), parts, 0.25)


def test_counterexamples_at_the_surface_are_found_and_nothing_beyond(tmp_path: Path) -> None:
    """The least margin of a product is known: a little more is refuted by a point of it, a little less is proved."""
    for k in range(4):
        weights, s = planted(np.random.default_rng(k), k)
        path = tmp_path / f"{k}.onnx"
        path.write_bytes(dense(*weights))
        margin = least_margin(weights, s)
        for step, verdict in ((-2e-3, "unsat"), (2e-3, "sat")):
            prop = output_property(s.lower, s.upper, [[(np.array([1.0, -1.0]), margin + step)]])
            result = verifier.verify(path, on_set(prop, s), timeout=60)
            assert result.verdict == verdict, (k, step)
            if result.witness is not None:
                x = result.witness.flat
                y = outputs(str(path), x.tolist())
                assert inside(s, x) and y[0] - y[1] <= margin + step


def test_splitting_inputs_closes_all_of_a_product_and_nothing_else(tmp_path: Path) -> None:
    """Without an attack: just below the least margin everything is refuted, just above it something stays open."""
    split = 0
    for k in range(3):
        weights, s = planted(np.random.default_rng(20 + k), k)
        (tmp_path / "n.onnx").write_bytes(dense(*weights))
        margin = least_margin(weights, s)
        graph = boundable(verifier.load(tmp_path / "n.onnx"))
        for step in (-0.05, 0.02):
            prop = output_property(s.lower, s.upper, [[(np.array([1.0, -1.0]), margin + step)]])
            search = InputSearch(make_query(graph, on_set(prop, s), Place("numpy", "float32")), lambda x, group: None)
            done = search.advance(Budget.seconds(60 if step < 0 else 0.3))
            assert (done is not None and done.verdict == "unsat") == (step < 0), (k, step)
            split += search.progress.bounded > 1 and step < 0
    assert split >= 1


def reached(weights: list[np.ndarray], s: Product) -> list[np.ndarray]:
    """The Jacobians `[2, n]` of all patterns of hidden neurons that occur inside the set."""
    found, left = [], s.rest
    W1, W2 = weights
    for bits in range(2 ** len(W1)):
        on = np.array([(bits >> i) & 1 for i in range(len(W1))])
        x, room = cp.Variable(W1.shape[1]), cp.Variable()
        rules: list[Any] = [cp.norm(x[at] - b.center, b.norm) <= b.eps for at, b in s.parts()]
        rules += [x[left] >= s.lower[left], x[left] <= s.upper[left]] if len(left) else []
        problem = cp.Problem(cp.Maximize(room), [*rules, cp.multiply(2 * on - 1, W1 @ x) >= room])
        if problem.solve(solver=cp.CLARABEL) > 1e-4:
            found.append((W2 * on) @ W1)
    return found


@pytest.mark.parametrize("norm", [2.0, 1.0])
def test_lipschitz_constants_are_those_of_the_patterns_reached(norm: float, tmp_path: Path) -> None:
    smaller = 0
    for k in range(2):
        weights, s = planted(np.random.default_rng(40 + k), k)
        (tmp_path / "n.onnx").write_bytes(dense(*weights))
        q = {2.0: 2, float("inf"): 1, 1.0: np.inf}[norm]
        best = max(float(np.linalg.norm(J[0], q)) for J in reached(weights, s))
        found = verifier.lipschitz(tmp_path / "n.onnx", s, norm, outputs=0, timeout=10)
        assert found.lower <= best * (1 + 1e-6) and best <= found.upper * (1 + 1e-6)
        assert found.settled and found.upper <= best * 1.01 and inside(s, found.point)
        around = verifier.lipschitz(tmp_path / "n.onnx", s.box(), norm, outputs=0, timeout=10)
        smaller += found.upper < 0.99 * around.lower
        low, up = verifier.jacobian(tmp_path / "n.onnx", s, timeout=0.2)
        for J in reached(weights, s):
            assert (low - 1e-6 <= J).all() and (up + 1e-6 >= J).all()
    assert smaller or norm != 2


def test_monotone_in_what_the_patterns_reached_say(tmp_path: Path) -> None:
    seen = set()
    for k in range(2):
        weights, s = planted(np.random.default_rng(60 + k), k)
        (tmp_path / "n.onnx").write_bytes(dense(*weights))
        slopes = np.array([J[0] for J in reached(weights, s)])
        for i in range(5):
            found = verifier.monotone(tmp_path / "n.onnx", s, i, timeout=5)
            low, up = slopes[:, i].min(), slopes[:, i].max()
            said = "neither" if low < 0 < up else "increasing" if low >= 0 else "decreasing"
            assert found.lower - 1e-6 <= low and up <= found.upper + 1e-6
            if min(abs(low), abs(up)) > 1e-6:
                assert found.direction == said, (k, i)
                seen.add(said)
    assert len(seen) > 1
