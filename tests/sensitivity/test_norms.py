"""Spectral norms of many matrices are bounded from above, closely; NaN says nothing."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

import verifier
from tests.laws.cases import Net, chain
from tests.laws.general_nets import network
from tests.sensitivity.cases import inside
from verifier.graph.derivative import jacobian
from verifier.graph.graph import Builder, Input
from verifier.graph.ops.affine import Dense
from verifier.sensitivity.spectral import around, middle

KINDS = ("plain", "ill", "zero", "huge", "tiny", "rank one", "orthogonal", "column", "repeated")


def matrices(kind: str, K: int, n: int, rng: np.random.Generator) -> np.ndarray:
    A = rng.normal(size=(6, K, n))
    if kind == "ill":
        A = A * 10.0 ** rng.integers(-9, 9, (6, K, 1))
    if kind == "column":
        A = A * 10.0 ** rng.integers(-9, 9, (6, 1, n))
    if kind == "rank one":
        A = A[:, :, :1] * A[:, :1]
    if kind == "orthogonal":
        A = np.linalg.qr(rng.normal(size=(6, max(K, n), max(K, n))))[0][:, :K, :n]
    if kind == "repeated":
        A = np.ones((6, K, n)) / 3
    return A * {"zero": 0.0, "huge": 1e140, "tiny": 1e-140}.get(kind, 1.0)


@pytest.mark.parametrize("size", [(1, 1), (1, 5), (4, 1), (3, 3), (6, 2), (2, 9), (8, 8)])
@pytest.mark.parametrize("kind", KINDS)
@np.errstate(all="ignore")
def test_above_and_close(kind: str, size: tuple[int, int]) -> None:
    rng = np.random.default_rng([KINDS.index(kind), *size])
    A = matrices(kind, *size, rng)
    truth = np.linalg.norm(A, 2, axis=(1, 2))
    got = middle(A)
    assert (got >= truth * (1 - 1e-14)).all()
    assert (got <= truth * (1 + 1e-6) + 1e-100).all()
    R = abs(A)
    truth, got = np.linalg.norm(R, 2, axis=(1, 2)), around(R)
    assert (got >= truth * (1 - 1e-14)).all()
    assert (got <= truth * 1.1 + 1e-100).all()


@np.errstate(all="ignore")
def test_in_exact_arithmetic() -> None:
    """Of rank one and of diagonal matrices the norm is known exactly."""
    rng = np.random.default_rng(0)
    for _ in range(40):
        u, v = rng.integers(-99, 99, (2, 4)).astype(float)
        exact = sum(Fraction(a) ** 2 for a in u) * sum(Fraction(a) ** 2 for a in v)
        for value in (middle(np.outer(u, v)[None]), around(abs(np.outer(u, v))[None])):
            assert Fraction(float(value[0])) ** 2 >= exact
        d = rng.normal(size=4) * 10.0 ** rng.integers(-5, 5)
        for value in (middle(np.diag(d)[None]), around(abs(np.diag(d))[None])):
            assert value[0] >= abs(d).max()


@np.errstate(all="ignore")
def test_what_is_not_finite() -> None:
    for bad in (np.nan, np.inf):
        A = np.ones((3, 2, 2))
        A[1, 0, 1] = bad
        for f in (middle, around):
            got = f(A)
            assert got[1] == np.inf and got[[0, 2]] == pytest.approx(2.0, rel=1e-5)
        assert (middle(np.full((1, 3, 2), 1e300)) >= 1e300).all()


@pytest.mark.parametrize("seed", range(6))
def test_against_all_patterns(seed: int) -> None:
    """On tiny rectifier networks sampled so densely that every cell of some size is met."""
    rng = np.random.default_rng(seed)
    graph = chain(rng, (2, 4, 3, 2), leak=float(rng.choice([0.0, 0.1, -0.5])))
    box = verifier.Box([-1.0, -0.8], [0.9, 1.0])
    grid = np.stack(np.meshgrid(*(np.linspace(a, b, 120) for a, b in zip(box.lower, box.upper, strict=True))), -1)
    most = np.linalg.norm(jacobian(graph).evaluate(grid.reshape(-1, 2))[0], 2, axis=(1, 2)).max()
    found = verifier.lipschitz(Net(graph), box, (2, 2), timeout=10)
    assert found.settled
    assert found.upper >= most * (1 - 1e-12)
    assert found.lower <= found.upper
    assert most >= 0.97 * found.lower, "a cell so small that the grid misses it"


@pytest.mark.parametrize("seed", range(12))
def test_smooth_and_mixed(seed: int) -> None:
    """Boxes and balls; the bound holds whenever it stops, and is never below what is attained."""
    rng = np.random.default_rng(seed + 50)
    graph, lower, upper = network(rng, jumps=False)
    ball = verifier.Ball((lower + upper) / 2, float((upper - lower).max() / 2), int(rng.integers(1, 3)))
    for region in (verifier.Box(lower, upper), ball):
        found = verifier.lipschitz(Net(graph, "float64"), region, (2, 2), timeout=0.1)
        with np.errstate(all="ignore"):
            J = jacobian(graph).evaluate(inside(region, 200, rng))[0]
        assert np.linalg.norm(J, 2, axis=(1, 2)).max() <= found.upper * (1 + 1e-12) + 1e-12
        assert found.lower <= found.upper


def test_nothing_moves() -> None:
    """Of a constant."""
    b = Builder()
    source = b.add(Input((2,)))
    graph = b.graph([source], [b.add(Dense(np.zeros((2, 2)), np.ones(2)), [source])])
    assert verifier.lipschitz(Net(graph), verifier.Box([-1, -1], [1, 1]), (2, 2)).upper <= 1e-9


@pytest.mark.parametrize("scale", [0.1, 1.0, 3.0])
@pytest.mark.parametrize(
    "rows", [np.eye(4), np.eye(4)[1:] - np.eye(4)[0], np.ones((2, 4))], ids=["all", "margins", "same"]
)
def test_functionals_of_any_size(rows: np.ndarray, scale: float) -> None:
    """Both bounds are of the norm of rows·J, whatever the rows' lengths and angles."""
    graph = chain(np.random.default_rng(2), (3, 6, 4))
    box = verifier.Box([-0.5] * 3, [0.6] * 3)
    J = jacobian(graph).evaluate(inside(box, 3000, np.random.default_rng(0)))[0]
    most = np.linalg.norm(scale * rows @ J, 2, axis=(1, 2)).max()
    found = verifier.lipschitz(Net(graph, "float64"), box, (2, 2), outputs=scale * rows, timeout=10)
    assert found.settled
    assert found.lower <= found.upper == pytest.approx(found.lower, rel=2e-4)
    assert most * (1 - 1e-12) <= found.upper
    assert found.lower <= most * (1 + 1e-3)
