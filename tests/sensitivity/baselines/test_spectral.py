"""Norms of matrices and operators are bounded from above in exact arithmetic, and closely."""

from __future__ import annotations

from fractions import Fraction
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.graph.graph import Affine, Shape
from verifier.graph.ops.adjoint import Adjoint, Tangent
from verifier.graph.ops.affine import Add, Dense, Scale, Sum
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.moves import Concat, Repeat, Reshape, Take, Transpose
from verifier.sensitivity.baselines import spectral
from verifier.sensitivity.baselines.spectral import affine_norm_above, norm_above

seeds = st.integers(0, 2**32 - 1)


def matrix(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    m, n = rng.integers(1, 6, 2)
    A = rng.standard_normal((m, n)) * 10.0 ** rng.integers(-3, 4)
    kind = rng.integers(5)
    if kind == 0:
        A = np.round(A)
    if kind == 1:
        A[:, 0] = 0
    if kind == 2:
        A = np.outer(A[:, 0], A[0])
    if kind == 3:
        A = A * 10.0 ** rng.integers(-8, 8, A.shape)
    return A


def definite(M: list[list[Fraction]]) -> bool:
    """Whether a rational symmetric matrix is positive semidefinite, by elimination."""
    for k in range(len(M)):
        if M[k][k] < 0 or (M[k][k] == 0 and any(M[k][j] for j in range(k, len(M)))):
            return False
        for i in range(k + 1, len(M)):
            f = M[i][k] / M[k][k] if M[k][k] else Fraction(0)
            M[i] = [a - f * b for a, b in zip(M[i], M[k], strict=True)]
    return True


def bounds_exactly(s: float, A: np.ndarray) -> bool:
    """`s² I − AᵀA >= 0` in rational numbers, which is `‖A‖₂ <= s`."""
    rows = [[Fraction(float(a)) for a in row] for row in A]
    n, square = A.shape[1], Fraction(s) ** 2
    gram = [[sum(r[i] * r[j] for r in rows) for j in range(n)] for i in range(n)]
    return definite([[square * (i == j) - gram[i][j] for j in range(n)] for i in range(n)])


def test_the_rational_test_tells() -> None:
    assert bounds_exactly(5.0, np.array([[3.0, 4.0]]))
    assert not bounds_exactly(float(np.nextafter(5.0, 0.0)), np.array([[3.0, 4.0]]))


@given(seeds)
@settings(max_examples=60)
def test_norm(seed: int) -> None:
    A = matrix(seed)
    for scale in (1.0, 2.0**-700, 2.0**700):
        s = norm_above(A * scale)
        assert bounds_exactly(s, A * scale)
        assert s <= np.linalg.norm(A, 2) * scale * (1 + 1e-10) + 1e-300


def perron(R: np.ndarray, steps: int) -> float:
    """Of a matrix without negative entries."""
    return spectral._collatz(lambda v: R @ v, lambda y: y @ R, (R.shape[1],), max(R.shape), steps)


@given(seeds)
@settings(max_examples=60)
def test_perron(seed: int) -> None:
    R = abs(matrix(seed))
    s = perron(R, 200)
    assert bounds_exactly(s, R)
    assert s <= perron(R, 1) * (1 + 1e-14)
    assert s <= np.sqrt(abs(R).sum(0).max() * abs(R).sum(1).max()) * (1 + 1e-14)


def test_perron_is_close() -> None:
    R = np.random.default_rng(0).random((30, 20))
    assert perron(R, 30) <= np.linalg.norm(R, 2) * (1 + 1e-12)
    assert perron(np.diag([1.0, 2.0, 0.0]), 60) <= 2 * (1 + 1e-12)
    assert perron(np.zeros((3, 2)), 5) == 0


@pytest.mark.parametrize("A", [np.full((2, 2), np.nan), np.array([[np.inf, 0.0]])])
def test_what_is_not_finite_has_no_bound(A: np.ndarray) -> None:
    assert norm_above(A) == np.inf


def test_overflow_is_infinite() -> None:
    assert norm_above(np.full((2, 2), 1.7e308)) == np.inf


def test_nothing_is_zero() -> None:
    assert norm_above(np.zeros((0, 3))) == 0
    assert norm_above(np.zeros((2, 3))) == 0


@pytest.mark.parametrize("of_V", [1e-3, 0, np.nan, 2, 1 + 1e-9])
def test_a_wrong_decomposition_is_noticed(monkeypatch: pytest.MonkeyPatch, of_V: float) -> None:
    """What LAPACK says is only a proposal."""
    true = np.linalg.eigh

    def eigh(*given: Any) -> Any:
        s, V = true(*given)
        return s * 0, V * of_V

    A = np.random.default_rng(1).standard_normal((4, 4))
    monkeypatch.setattr(np.linalg, "eigh", eigh)
    for name in ("norm", "svdvals"):  # nor is it asked for the norm
        monkeypatch.setattr(np.linalg, name, lambda *_, **__: np.float64(0.1))
    assert bounds_exactly(norm_above(A), A)


def test_rounding_up() -> None:
    assert spectral.up(1.0, 1000) >= 1 + 1000 * 2.0**-53
    assert spectral.up(0.0) == 0
    assert spectral.up(np.nan) == spectral.up(inf) == inf


def test_frobenius() -> None:
    assert spectral.frobenius_above(np.zeros((2, 2)), 1.0) >= 2
    assert spectral.frobenius_above(np.full((2, 2), 1e-200)) >= 2e-200
    assert spectral.frobenius_above(np.full((2, 2), 3.0), np.eye(2)) >= np.sqrt(9 + 9 + 16 + 16)
    assert spectral.frobenius_above(np.array([[np.nan]])) == inf


def test_no_decomposition(monkeypatch: pytest.MonkeyPatch) -> None:
    def eigh(*given: Any) -> Any:
        raise np.linalg.LinAlgError

    monkeypatch.setattr(np.linalg, "eigh", eigh)
    A = np.random.default_rng(1).standard_normal((4, 4))
    assert bounds_exactly(norm_above(A), A)
    assert norm_above(A) < np.inf


# -- operators --------------------------------------------------------------------------------------------------------

rng = np.random.default_rng(5)
W = rng.standard_normal((3, 4))
KERNEL = rng.standard_normal((4, 3, 3, 3))
CONVS = [
    Conv(KERNEL, None, (1, 1), ((1, 1), (1, 1)), (1, 1)),
    Conv(KERNEL, None, (2, 2), ((1, 0), (0, 1)), (1, 1)),
    Conv(KERNEL, None, (2, 1), ((2, 2), (2, 2)), (2, 2)),
    Conv(rng.standard_normal((6, 1, 2, 3)), None, (1, 1), ((0, 0), (0, 0)), (1, 1), 3),
]
OPERATORS: list[tuple[Affine, tuple[Shape, ...]]] = [
    (Dense(W, np.ones(3)), ((4,),)),
    (Dense(W), ((2, 4),)),
    (Dense(W, None, Dense(abs(W) * 5)), ((4,),)),
    (Scale(rng.standard_normal((2, 1)), np.ones(3)), ((2, 3),)),
    (Scale(None, np.ones(3)), ((3,),)),
    (Add((1, -1)), ((3,), (3,))),
    (Sum((0,), False), ((4, 3),)),
    (Reshape((6,)), ((2, 3),)),
    (Transpose((1, 0)), ((2, 3),)),
    (Repeat(3), ((2,),)),
    (Take(np.array([0, 0, 2, -1, 2, 2]), (6,)), ((3,),)),
    (Concat(0), ((2,), (3,))),
    *((op, ((3, 6, 7),)) for op in CONVS),
    (Adjoint(CONVS[1], 0, 2, ((3, 6, 7),)), ((2, *CONVS[1].shape((3, 6, 7))),)),
    (Tangent(Dense(W), 2), ((2, 4),)),
]


def full(op: Affine, which: int, shapes: tuple[Shape, ...]) -> np.ndarray:
    n = int(np.prod(shapes[which]))
    x = [np.zeros((n, *s)) for s in shapes]
    x[which] = np.eye(n).reshape(n, *shapes[which])
    return op.linear(*x).reshape(n, -1).T


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("op,shapes", OPERATORS, ids=lambda v: type(v).__name__ if isinstance(v, Affine) else "")
def test_operators(op: Affine, shapes: tuple[Shape, ...], large: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if large:
        monkeypatch.setattr(spectral, "ENTRIES", 0)
    for which in range(len(shapes)):
        M = full(op, which, shapes)
        true, s = np.linalg.norm(M, 2), affine_norm_above(op, which, *shapes)
        assert true <= s * (1 + 1e-14)
        assert s <= np.sqrt(abs(M).sum(0).max() * abs(M).sum(1).max()) * (1 + 1e-12)
        if not large:
            assert s <= true * (1 + 1e-10)


def test_a_large_convolution_by_its_kernel() -> None:
    """As a matrix over patches: of 9 that a pixel is in, far less than magnitudes say."""
    K = np.random.default_rng(0).standard_normal((32, 32, 3, 3))
    op = Conv(K, None, (1, 1), ((1, 1), (1, 1)), (1, 1))
    s = affine_norm_above(op, 0, (32, 40, 40))
    assert s <= 3 * np.linalg.norm(K.reshape(32, -1), 2) * (1 + 1e-10)
    image = np.random.default_rng(1).standard_normal((1, 32, 40, 40))
    for _ in range(20):
        (image,) = op.adjoint(op.linear(image / np.linalg.norm(image)), (32, 40, 40))
    assert np.sqrt(np.linalg.norm(image)) <= s


def test_strides_that_dilation_meets() -> None:
    """Taps two apart at every other place read every second number, all three of them."""
    op = Conv(np.ones((1, 1, 3)), None, (2,), ((4, 4),), (2,))
    for entries in (spectral.ENTRIES, 0):
        with pytest.MonkeyPatch.context() as m:
            m.setattr(spectral, "ENTRIES", entries)
            m.setattr(spectral, "STEPS", 0 if entries else spectral.STEPS)
            assert np.linalg.norm(full(op, 0, ((1, 80),)), 2) <= affine_norm_above(op, 0, (1, 80))
            assert np.linalg.norm(full(op, 0, ((1, 80),)), 2) <= spectral._patches(op)


def test_operators_that_overflow(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spectral, "ENTRIES", 0)
    assert affine_norm_above(Dense(np.full((2, 2), 1e200)), 0, (2,)) >= 2e200
    assert spectral._collatz(lambda v: v * 1e200, lambda y: y * 1e200, (2,), 1, 5) == inf


def test_merged_weights_may_be_off() -> None:
    """Magnitudes say by how much the weights may differ from those of the model, in units of rounding."""
    size = 1e12
    op = Dense(np.eye(2), None, Dense(np.full((2, 2), size)))
    assert affine_norm_above(op, 0, (2,)) >= 1 + size * 2.0**-53
