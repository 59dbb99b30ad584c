"""Chains compute what their graphs do; LipSDP's bounds are certified, and lie between truth and product of norms."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.graph.ops.affine import Dense
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.relu import Relu
from verifier.sensitivity.baselines import chain, semidefinite
from verifier.sensitivity.baselines.products import product_of_norms
from verifier.sensitivity.baselines.semidefinite import lipsdp
from verifier.values.errors import ModelError

from .chain_cases import exactly, random_chain
from .test_products import SHARED, chained, stretched
from .test_spectral import definite

seeds = st.integers(0, 2**32 - 1)


def test_one_neuron() -> None:
    """`|w·φ(v·x)|` has the constant `|w|·‖v‖·max|slope|`, and LipSDP is exact there."""
    v = np.array([[3.0, 4.0]])
    for f, slope in ((Relu(), 1.0), (Relu(-3.0), 3.0), (Curve("sigmoid"), 0.25), (Curve("sin"), 1.0)):
        g = chained((2,), Dense(v, np.ones(1)), f, Dense(np.array([[-2.0]])))
        assert 10 * slope <= lipsdp(g) <= 10 * slope * (1 + 1e-6)


def test_better_than_products() -> None:
    """Two neurons that are never steep at once: `relu(x) + relu(−x)` has the constant 1, the product says 2."""
    g = chained((1,), Dense(np.array([[1.0], [-1.0]])), Relu(), Dense(np.array([[1.0, 1.0]])))
    assert product_of_norms(g, 2) >= 2
    assert 1 <= lipsdp(g) <= 1 + 1e-6
    g = chained((1,), Dense(np.array([[1.0], [-1.0]])), Relu(), Dense(np.array([[1.0, -1.0]])))
    assert lipsdp(g) == pytest.approx(2, rel=1e-6)  # this is the identity, but neurons are not told of each other


@given(seeds)
@settings(max_examples=40)
def test_between_truth_and_product(seed: int) -> None:
    rng = np.random.default_rng(seed)
    g = random_chain(rng)
    s, product = lipsdp(g), product_of_norms(g, 2)
    assert stretched(g, 2, rng) <= s
    assert s <= product * (1 + 1e-4)


@given(seeds)
@settings(max_examples=25)
def test_local(seed: int) -> None:
    """With bounds of what enters the activations it bounds the function between them, and only gets better."""
    rng = np.random.default_rng(seed)
    g = random_chain(rng)
    layers = chain(g)
    n = layers[0].W.shape[1]
    x0, eps = rng.standard_normal(n), 10.0 ** rng.uniform(-3, 0)
    box, bounds = (x0 - eps, x0 + eps), []
    lower, upper = box
    for layer in layers[:-1]:
        c, r = layer.W @ (lower + upper) / 2 + layer.b, abs(layer.W) @ (upper - lower) / 2
        lower, upper = c - r - 1e-9, c + r + 1e-9
        bounds.append((lower, upper))
        y = layer.activation.evaluate(np.linspace(lower, upper, 2001))
        wide = (upper - lower) * 1e-3 * 3 + 1e-9
        lower, upper = y.min(0) - wide, y.max(0) + wide
    s = lipsdp(g, bounds=bounds)
    assert s <= lipsdp(g) * (1 + 1e-4)
    x = rng.uniform(*box, (300, n))
    x[::2] = np.where(rng.random((150, n)) < 0.5, *box)
    y = g.evaluate(x)[0]
    moved, d = np.linalg.norm(y[1:] - y[:-1], axis=1), np.linalg.norm(x[1:] - x[:-1], axis=1)
    assert (moved <= s * d + 1e-11 * abs(y).max()).all()


def test_decided_rectifiers_are_affine() -> None:
    rng = np.random.default_rng(3)
    A, B = rng.standard_normal((6, 4)), rng.standard_normal((3, 6))
    g = chained((4,), Dense(A), Relu(), Dense(B))
    on = np.arange(6) < 3
    bounds = [(np.where(on, 0.5, -2.0), np.where(on, 2.0, -0.5))]
    true = np.linalg.norm(B[:, on] @ A[on], 2)
    assert true * (1 - 1e-15) <= lipsdp(g, bounds=bounds) <= true * (1 + 1e-10)


def test_rows() -> None:
    rng = np.random.default_rng(4)
    g = chained((3,), Dense(rng.standard_normal((5, 3))), Relu(), Dense(rng.standard_normal((4, 5))))
    C = rng.standard_normal((2, 4))
    folded = chained((3,), *(n.op for n in g.nodes[1:]), Dense(C))
    assert lipsdp(g, rows=C) == pytest.approx(lipsdp(folded), rel=1e-6)
    one = [lipsdp(g, rows=c[None]) for c in C]
    assert max(one) <= lipsdp(g, rows=C) * (1 + 1e-6) <= np.linalg.norm(one) * (1 + 1e-4)


def test_solvers_agree() -> None:
    """What cvxpy's solvers propose is certified to nearly the same value."""
    rng = np.random.default_rng(5)
    for _ in range(3):
        g = random_chain(rng, 4, 2, (Relu(), Curve("tanh"), Curve("gelu")))
        close, coarse = lipsdp(g, solver="CLARABEL"), lipsdp(g, solver="SCS")
        assert close <= coarse * (1 + 1e-6)
        assert coarse <= close * (1 + 1e-4)


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
@pytest.mark.parametrize("case,true", [("fc_2_16_16_2", 0.481717198), ("fc_10_50_50_10", 0.597558061)])
def test_as_another_method_solves_it(case: str, true: float) -> None:
    """Newton's method on the barrier function, which was here before cvxpy, found these: SCS comes near them."""
    stored = np.load(SHARED / f"{case}.npz")
    W = [stored[f"{k}.weight"].astype(float) for k in (0, 2, 4)]
    g = chained((W[0].shape[1],), Dense(W[0]), Relu(), Dense(W[1]), Relu(), Dense(W[2]))
    assert true <= lipsdp(g, solver="SCS") <= true * (1 + 1e-4)


@pytest.mark.parametrize("solver,seconds", [("SCS", 0.0), ("SCS", 0.05), ("CLARABEL", 0.0)])
def test_out_of_time(solver: str, seconds: float) -> None:
    """A solver that is stopped leaves a bound that holds."""
    rng = np.random.default_rng(12)
    ops = [op for _ in range(3) for op in (Dense(rng.standard_normal((12, 12))), Relu())]
    g = chained((12,), *ops[:-1])
    best = lipsdp(g)
    assert best * (1 - 1e-4) <= lipsdp(g, solver=solver, seconds=seconds) < inf


def test_a_solver_that_gives_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Then the start is what there is."""
    import cvxpy as cp

    def fail(*_: Any, **__: Any) -> None:
        raise cp.SolverError

    rng = np.random.default_rng(13)
    g = chained((4,), Dense(rng.standard_normal((5, 4))), Relu(), Dense(rng.standard_normal((2, 5))))
    best = lipsdp(g)
    monkeypatch.setattr(cp.Problem, "solve", fail)
    assert best * (1 - 1e-6) <= lipsdp(g) <= 10 * best


def test_a_proposal_with_negative_parts() -> None:
    """These are cut off, at no more loss than their size."""
    F, Z = np.array([[0.0, 1.0, 0.0]]), np.array([[1.0, 0.0, 0.0], [0.0, 0.0, 0.0]])  # N is diag(ρ − T_0, T_0 − 1, T_1)
    q = semidefinite.Quadratic(1, F, Z, F * 0, Z * 0, np.zeros(2), np.ones(2))
    proposal, start = (np.array([1 + 1e-9, -1e-3]), 1 + 2e-9), (np.array([10.0, 1.0]), 100.0)
    T, rho = semidefinite.certified(q, proposal, start)
    assert (T >= 0).all()
    assert rho < 1 + 1e-6


@pytest.mark.parametrize("damage", [0.0, -1.0, 1e-3, 1e6, np.nan])
def test_a_wrong_proposal_is_still_certified(damage: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    g = random_chain(rng, 5, 3, (Relu(),))
    true, good = semidefinite._solved, lipsdp(g)

    def broken(*given: Any) -> Any:
        T, rho = true(*given)
        return T * damage, rho * abs(damage)

    monkeypatch.setattr(semidefinite, "_solved", broken)
    assert good * (1 - 1e-6) <= lipsdp(g) <= 1e4 * good


@pytest.mark.parametrize("damage", [0.0, 0.5, 1 - 1e-6])
def test_the_least_rho_for_given_multipliers(damage: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """A solver that was stopped early may name a ρ too small for its multipliers: that costs nothing."""
    rng = np.random.default_rng(6)
    g = chained((4,), Dense(rng.standard_normal((6, 4))), Relu(), Dense(rng.standard_normal((2, 6))))
    true, good = semidefinite._solved, lipsdp(g)

    def broken(*given: Any) -> Any:
        T, rho = true(*given)
        return T, rho * damage

    monkeypatch.setattr(semidefinite, "_solved", broken)
    assert good * (1 - 1e-6) <= lipsdp(g) <= good * (1 + 1e-5)


@given(seeds)
@settings(max_examples=15)
def test_certified_in_rational_numbers(seed: int) -> None:
    """The matrix of the returned multipliers is definite without any rounding."""
    rng = np.random.default_rng(seed)
    g = random_chain(rng, 3, 2, (Relu(), Relu(0.25), Curve("sin")))
    q = semidefinite._quadratic(chain(g), None, None)
    if q is None or not len(q.Z):
        return
    start = semidefinite._start(q)
    T, rho = semidefinite.certified(q, semidefinite._solved(q, start, "CLARABEL", inf), start)
    assert (T >= 0).all()
    assert rho < inf
    Z, F, t = (exactly(v) for v in (q.Z, q.F, T))
    M = -(Z.T * t) @ Z - F.T @ F
    for j in range(len(M)):
        M[j, j] += Fraction(rho) if j < q.n else t[j - q.n]
    assert definite(M.tolist())


@given(seeds)
@settings(max_examples=15)
def test_rounding_of_the_problem(seed: int) -> None:
    """Z and F are as far from those in rational numbers as they are said to be, at most."""
    rng = np.random.default_rng(seed)
    n = [3, 4, 3, 2]
    layers = chain(
        chained(
            (3,),
            *(
                op
                for a, b in zip(n[:-1], n[1:], strict=True)
                for op in (Dense(rng.standard_normal((b, a)) * 10.0 ** rng.integers(-9, 9, (b, a))), Relu(0.1))
            ),
        )
    )
    q = semidefinite._quadratic(layers, None, None)
    assert q is not None
    a, b = Fraction(0.1), Fraction(1)
    V, at = exactly(np.eye(3, 3 + len(q.Z))), 3
    Zs = []
    mid, width = (float(v[0]) for v in semidefinite._slopes(layers, None)[0])
    assert Fraction(mid) - Fraction(width) <= a
    assert Fraction(mid) + Fraction(width) >= b
    for layer in layers[:-1]:
        Z = exactly(layer.W) @ V
        scale = exactly(q.scale[at - 3 : at - 3 + len(Z)])
        V = Fraction(mid) * Z
        for i in range(len(Z)):
            V[i, at + i] += Fraction(width * float(scale[i]))
        Zs += list(Z / scale[:, None])
        at += len(Z)
    assert (abs(np.array(Zs) - exactly(q.Z)) <= exactly(q.Z_error)).all()
    assert (abs(exactly(layers[-1].W) @ V - exactly(q.F)) <= exactly(q.F_error)).all()
    assert q.F_error.max() <= 1e-13 * abs(q.F).max()


@given(seeds)
@settings(max_examples=20)
def test_what_weights_are_off_by_counts(seed: int) -> None:
    """The problem of any weights within the errors lies within the errors of the problem."""
    rng = np.random.default_rng(seed)
    n = [3, 4, 3, 2]
    ops = [op for a, b in zip(n[:-1], n[1:], strict=True) for op in (Dense(rng.standard_normal((b, a))), Relu(-0.5))]
    exact = chain(chained((3,), *ops[:-1]))
    loose = [replace(k, error=0.3 * abs(k.W) * rng.random(k.W.shape)) for k in exact]
    other = [replace(k, W=k.W + k.error * rng.choice([-1, 1], k.W.shape), error=k.error * 0) for k in loose]
    q, r = (semidefinite._quadratic(k, None, None) for k in (loose, other))
    assert q is not None and r is not None
    units = np.r_[np.ones(3), r.scale / q.scale]  # of residuals
    assert (abs(q.F - r.F / units) <= q.F_error + 1e-12).all()
    assert (abs(q.Z - r.Z / units * (r.scale / q.scale)[:, None]) <= q.Z_error + 1e-12).all()
    assert lipsdp(other) <= lipsdp(loose)


@pytest.mark.parametrize("Z_error,F_error,holds", [(0, 0, True), (0.2, 0, False), (0, 0.2, False), (0.01, 0.01, True)])
def test_errors_of_the_problem_count(Z_error: float, F_error: float, holds: bool) -> None:
    """N is diag(ρ − z²T, T − f²), so that one entry is negative where z or f is as large as it may be."""
    Z, F = np.array([[1.0, 0.0]]), np.array([[0.0, 1.0]])
    q = semidefinite.Quadratic(1, F, Z, F * F_error, Z * Z_error, np.zeros(1), np.ones(1))
    assert semidefinite.definite(q, np.array([1.05]), 1.3) == holds


def test_decompositions_that_go_through_by_luck() -> None:
    """Where N has an eigenvalue just below zero, Cholesky in floating point often finds none."""
    rng, lucky = np.random.default_rng(0), 0
    for _ in range(100):
        F = rng.standard_normal((12, 12))
        rho = float(np.linalg.norm(F, 2) ** 2 * (1 - 3e-16))
        q = semidefinite.Quadratic(12, F, np.zeros((0, 12)), F * 0, np.zeros((0, 12)), np.zeros(0), np.zeros(0))
        lucky += semidefinite._cholesky(q.matrix(np.zeros(0), rho)) is not None
        assert not semidefinite.definite(q, np.zeros(0), rho)
        assert semidefinite.definite(q, np.zeros(0), rho * (1 + 1e-11))
    assert lucky > 5


def test_rounding_of_the_matrix_counts() -> None:
    """`ρ − Σ T_i z_i²` that is positive as computed only."""
    rng, wrong = np.random.default_rng(0), 0
    for _ in range(300):
        z, T = rng.standard_normal(8), rng.random(8) + 1
        Z = np.concatenate([z[:, None], np.zeros((8, 8))], 1)
        q = semidefinite.Quadratic(1, np.zeros((1, 9)), Z, np.zeros((1, 9)), Z * 0, np.zeros(8), np.ones(8))
        rho = float(np.nextafter(-q.matrix(T, 0.0)[0, 0], inf))
        if sum(Fraction(t) * Fraction(a) ** 2 for t, a in zip(T.tolist(), z.tolist(), strict=True)) > Fraction(rho):
            wrong += 1
            assert not semidefinite.definite(q, T, rho)
    assert wrong > 5


@pytest.mark.parametrize("where", [0, 1, 2])
def test_dead_parts(where: int) -> None:
    """Neurons that read nothing, that nothing reads, and outputs that depend on nothing."""
    rng = np.random.default_rng(7)
    A, B, C = (rng.standard_normal(s) for s in ((4, 3), (4, 4), (2, 4)))
    g = chained((3,), Dense(A), Relu(), Dense(B), Relu(), Dense(C))
    whole = lipsdp(g)
    (A, B, C)[where][:2] = 0
    if where:
        (A, B, C)[where][:, :2] = 0
    part = lipsdp(g)
    assert 0 <= part < whole * 1.01
    (A, B, C)[where][:] = 0
    assert lipsdp(g) == 0


def test_an_output_that_cancels_up_to_rounding() -> None:
    rng = np.random.default_rng(11)
    A, B = rng.standard_normal((5, 3)), rng.standard_normal((6, 5))
    c = np.linalg.svd(B.T)[2][-1]  # c·B is zero but for rounding
    s = lipsdp(chained((3,), Dense(A), Relu(), Dense(B), Dense(c[None])))
    exact = exactly(c[None]) @ exactly(B)
    assert float(abs(exact.sum())) * 1e-3 < s < 1e-10
    g = chained(
        (3,), Dense(A), Relu(), Dense(np.array([[1.0, 2.0, 3.0, 4.0, 5.0]] * 2)), Dense(np.array([[1.0, -1.0]]))
    )
    assert lipsdp(g) < 1e-10


def test_tiny_and_huge_weights() -> None:
    rng = np.random.default_rng(8)
    A, C = rng.standard_normal((4, 3)), rng.standard_normal((2, 4))
    value = lipsdp(chained((3,), Dense(A), Relu(), Dense(C)))
    for s, t in ((1e-60, 1e60), (1e-8, 1.0), (1e8, 1e8)):
        got = lipsdp(chained((3,), Dense(A * s), Relu(), Dense(C * t)))
        assert got == pytest.approx(value * s * t, rel=1e-5)
    A[1] *= 1e-120  # this neuron hardly counts
    assert lipsdp(chained((3,), Dense(A), Relu(), Dense(C))) <= value * 1.01


def test_deep() -> None:
    rng = np.random.default_rng(9)
    ops: list[Any] = []
    for _ in range(8):
        ops += [Dense(rng.standard_normal((8, 8)) / np.sqrt(8)), Relu()]
    g = chained((8,), *ops[:-1])
    assert stretched(g, 2, rng) <= lipsdp(g) <= product_of_norms(g, 2) * 0.9


def test_more_inputs_than_anything_else() -> None:
    rng = np.random.default_rng(10)
    g = chained((300,), Dense(rng.standard_normal((5, 300))), Relu(), Dense(rng.standard_normal((2, 5))))
    assert stretched(g, 2, rng) <= lipsdp(g) <= product_of_norms(g, 2) * (1 + 1e-4)


def test_unbounded_slopes() -> None:
    g = chained((2,), Dense(np.eye(2)), Curve("exp"), Dense(np.eye(2)))
    assert lipsdp(g) == inf
    assert lipsdp(chained((2,), Dense(np.eye(2)))) == pytest.approx(1, rel=1e-12)


def test_bounds_that_do_not_fit() -> None:
    g = chained((2,), Dense(np.eye(2)), Relu(), Dense(np.eye(2)))
    with pytest.raises(ModelError, match="bounds"):
        lipsdp(g, bounds=[])
    with pytest.raises(ModelError, match="bounds"):
        lipsdp(g, bounds=[(np.zeros(3), np.ones(3))])
    with pytest.raises(ModelError, match="lower exceeds upper"):
        lipsdp(g, bounds=[(np.ones(2), np.zeros(2))])
