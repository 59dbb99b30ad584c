"""Laws of complete clipping: never above the true constrained minimum, and equal to it for one half-space."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import linprog

from verifier.search.clipping.complete import _dual, minimise

from .cases import fractions

B, R = 8, 2


def problems(rng: np.random.Generator, n: int, S: int) -> tuple[np.ndarray, ...]:
    """A, b, lower, upper, G, h: boxes with some sides fixed, half-spaces that cut, touch, miss and contradict."""
    lower = rng.normal(size=(B, n))
    upper = lower + rng.random((B, n)) * 2 * (rng.random((B, n)) < 0.9)
    A = rng.normal(size=(B, R, n)) * 10.0 ** rng.integers(-3, 4, (B, R, 1)) * (rng.random((B, R, n)) < 0.8)
    G = rng.normal(size=(B, S, n)) * 10.0 ** rng.integers(-3, 4, (B, S, 1)) * (rng.random((B, S, n)) < 0.8)
    x = lower[:, None] + (upper - lower)[:, None] * rng.random((B, S, n))
    h = -np.einsum("bsn,bsn->bs", G, x) + rng.normal(size=(B, S)) * abs(G).sum(2) * 0.1
    return A, rng.normal(size=(B, R)), lower, upper, G, h


def optimum(c: np.ndarray, d: float, lower: np.ndarray, upper: np.ndarray, G: np.ndarray, h: np.ndarray) -> float:
    """The linear program's value; infinite where it has no point.  Rows are scaled for the solver's tolerances."""
    size = np.maximum(abs(G).max(1), 1e-300)
    top = max(abs(c).max(), 1e-300)
    options = {"primal_feasibility_tolerance": 1e-10, "dual_feasibility_tolerance": 1e-10}
    sides = np.stack([lower, upper], 1)
    found = linprog(c / top, G / size[:, None], -h / size, bounds=sides, method="highs", options=options)
    if found.status == 2:
        return np.inf
    assert found.status == 0
    return float(found.fun) * top + d


@pytest.mark.parametrize("S", [0, 1, 2, 4])
@pytest.mark.parametrize("n", [1, 3, 6])
@pytest.mark.parametrize("sweeps", [1, 3])
def test_below_the_optimum(n: int, S: int, sweeps: int) -> None:
    rng = np.random.default_rng([n, S, sweeps])
    cut = 0
    for _ in range(3):
        A, b, lower, upper, G, h = problems(rng, n, S)
        use = rng.random((B, R, S)) < 0.7
        use[: B // 2] = True
        with np.errstate(all="ignore"):
            found = minimise(A, b, lower, upper, G, h, use, sweeps)
        free = np.minimum(A * lower[:, None], A * upper[:, None]).sum(2) + b
        scale = abs(A).sum(2) * 4 + abs(b)
        for i in range(B):
            for r in range(R):
                k = use[i, r]
                best = optimum(A[i, r], b[i, r], lower[i], upper[i], G[i, k], h[i, k])
                assert found[i, r] <= best + 1e-9 * scale[i, r], "above the optimum"
                if np.isfinite(best):
                    assert found[i, r] >= free[i, r] - 1e-9 * scale[i, r], "worse than without half-spaces"
                cut += best > free[i, r] + 1e-3 * scale[i, r]
                if k.sum() <= 1 and np.isfinite(best):
                    assert found[i, r] >= best - 1e-6 * scale[i, r], "one half-space: the dual is exact"
    assert cut > 5 or S == 0, "the law was not put to the test"


@pytest.mark.parametrize("exponent", [-300, -100, 0, 100, 300])
def test_of_any_size(exponent: int) -> None:
    """Points of the box that satisfy the half-spaces are never above the bound, whatever the numbers' size."""
    rng = np.random.default_rng(abs(exponent))
    A, b, lower, upper, G, h = problems(rng, 3, 2)
    scale = 10.0**exponent
    sized = [(A * scale, b * scale, G, h), (A, b, G * scale, h * scale), (A * scale, b * scale, G * scale, h * scale)]
    for a, c, g, k in sized:
        with np.errstate(all="ignore"):
            found = minimise(a, c, lower, upper, g, k)
        assert not np.isnan(found).any() and not (found == np.inf).any()
        for i in range(B):
            x = lower[i] + (upper[i] - lower[i]) * rng.random((200, 3))
            x = x[(x @ G[i].T + h[i] <= -1e-9 * abs(G[i]).sum(1)).all(1)]
            for r in range(R):
                value = x @ A[i, r] + b[i, r]
                assert (found[i, r] <= scale_of(a, A) * (value + 1e-12 * abs(A[i, r]).sum())).all()


def scale_of(a: np.ndarray, A: np.ndarray) -> float:
    at = np.unravel_index(abs(A).argmax(), A.shape)
    return float(a[at] / A[at])


def test_contradiction_proves_emptiness() -> None:
    """Two half-spaces without a common point: the bound rises above anything the function reaches."""
    lower, upper = np.full((1, 2), -1.0), np.full((1, 2), 1.0)
    G, h = np.array([[[1.0, 1.0], [-1.0, -1.0]]]), np.array([[1.0, 0.5]])  # x + y <= -1 and x + y >= 0.5
    assert minimise(np.array([[[1.0, -0.5]]]), np.zeros((1, 1)), lower, upper, G, h)[0, 0] > 1.5


def test_not_finite_is_no_bound() -> None:
    lower, upper, one = np.full((1, 2), -1.0), np.full((1, 2), 1.0), np.ones((1, 1, 2))
    for bad in (np.nan, np.inf, -np.inf):
        worse = one.copy()
        worse[0, 0, 1] = bad
        with np.errstate(all="ignore"):
            assert minimise(worse, np.zeros((1, 1)), lower, upper, one, np.zeros((1, 1)))[0, 0] == -np.inf
            for G, h in ((worse, np.zeros((1, 1))), (one, np.full((1, 1), bad))):
                assert minimise(one, np.zeros((1, 1)), lower, upper, G, h)[0, 0] <= 1e-9


def test_its_own_rounding_is_taken_off() -> None:
    """On boxes that are points the value is known in rational arithmetic, and never below the bound."""
    rng = np.random.default_rng(4)
    for _ in range(10):
        A, b, lower, _, G, _ = problems(rng, 4, 2)
        h = -np.einsum("bsn,bn->bs", G, lower) - abs(rng.normal(size=(B, 2))) * abs(G).max(2)
        found = minimise(A, b, lower, lower, G, h)
        for i in range(B):
            exact = fractions(A[i]) @ fractions(lower[i]) + fractions(b[i])
            assert (fractions(found[i]) <= exact).all()
            assert (abs(fractions(found[i]) - exact) <= fractions(1e-13 * (abs(A[i]).sum(1) * 4 + abs(b[i])))).all()


def test_a_dual_of_many_half_spaces_is_rounded_down() -> None:
    """Constants of which most vanish in a sum that begins with the others, whatever the order (rational arithmetic)."""
    S, first = 1024, 16
    h = np.full((1, S), -0.9 * 2.0**-53)
    h[0, :first] = -1.0
    true = -fractions(abs(h)).sum()
    zero = np.zeros((1, 1))
    value = _dual(zero[None], zero, zero, zero, np.zeros((1, S, 1)), h, np.ones((1, 1, S)))
    assert fractions(value)[0, 0] <= true < -first
