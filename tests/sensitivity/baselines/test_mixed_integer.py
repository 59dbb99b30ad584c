"""LipMIP against the published values, against enumeration of cells, and where little is left to decide."""

from __future__ import annotations

import json
from itertools import product
from math import inf
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import linprog

from verifier.graph.ops.affine import Dense
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Reshape
from verifier.graph.ops.relu import Relu
from verifier.sensitivity.baselines import Layer, chain
from verifier.sensitivity.baselines.mixed_integer import TOLERANCE, lipmip
from verifier.values.errors import ModelError

from .chain_cases import random_chain
from .test_products import SHARED, chained, read

seeds = st.integers(0, 2**32 - 1)


def norm(J: np.ndarray, p: float) -> float:
    return float(abs(J).sum() if p == inf else abs(J).max())


def enumerated(layers: list[Layer], lower: np.ndarray, upper: np.ndarray, p: float) -> np.ndarray:
    """The largest norm of each output's gradient over all closed cells that a linear program finds a point in."""
    sizes = [len(layer.b) for layer in layers[:-1]]
    best = np.zeros(len(layers[-1].b))
    for signs in product([False, True], repeat=sum(sizes)):
        A, b = np.eye(len(lower)), np.zeros(len(lower))
        G, h, at = [], [], 0
        for layer, k in zip(layers[:-1], sizes, strict=True):
            A, b, on = layer.W @ A, layer.W @ b + layer.b, np.array(signs[at : at + k])
            G.append(np.where(on, -1.0, 1.0)[:, None] * A)
            h.append(-np.where(on, -1.0, 1.0) * b)
            s = np.where(on, 1.0, layer.activation.leak)  # type: ignore[union-attr]
            A, b, at = A * s[:, None], b * s, at + k
        J = layers[-1].W @ A
        if all(norm(row, p) <= found for row, found in zip(J, best, strict=True)):
            continue
        if G:
            box = list(zip(lower, upper, strict=True))
            feasible = linprog(np.zeros(len(lower)), np.concatenate(G), np.concatenate(h), bounds=box).status == 0
        else:
            feasible = True
        if feasible:
            best = np.maximum(best, [norm(row, p) for row in J])
    return best


def close(layers: list[Layer], p: float, found: tuple[np.ndarray, np.ndarray], true: np.ndarray) -> None:
    """The lower bound is the truth, the upper one is above it by what HiGHS's tolerance is worth."""
    low, high = found
    J = np.eye(layers[0].W.shape[1])
    for layer in layers:
        J = abs(layer.W) @ J * max(1.0, abs(getattr(layer.activation, "leak", 1.0)))
    most = np.array([norm(row, p) for row in J])
    np.testing.assert_allclose(low, true, rtol=1e-7, atol=1e-12)
    assert (true <= high * (1 + 1e-9) + 1e-14).all()
    assert (high <= true * (1 + 1e-9) + 50 * TOLERANCE * most + 1e-14).all()  # (of the program's own intervals)


def sampled(layers: list[Layer], x: np.ndarray, p: float) -> np.ndarray:
    """The largest norm of each output's gradient at the given points."""
    best = np.zeros(len(layers[-1].b))
    for point in x:
        J = np.eye(len(point))
        for layer in layers:
            J, point = layer.W @ J, layer.W @ point + layer.b
            if layer.activation is not None:
                J, point = J * layer.activation.slope(point)[:, None], layer.activation.evaluate(point)
        best = np.maximum(best, [norm(row, p) for row in J])
    return best


# -- published values -------------------------------------------------------------------------------------------------

QUICK = [("fc_2_16_16_2", 0.05), ("fc_2_16_16_2", 0.2), ("fc_2_16_16_2", 0.5), ("fc_10_50_50_10", 0.01)]
QUICK += [("conv_1x8x8", 0.005)]


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
@pytest.mark.parametrize("name,eps", QUICK)
def test_reference(name: str, eps: float) -> None:
    graph, x0 = read(name)
    x0 = x0.reshape(-1)
    given = json.loads((SHARED / "results.json").read_text())[name]["eps"][str(eps)]["exact_milp"]
    low, high = lipmip(graph, x0 - eps, x0 + eps)
    np.testing.assert_allclose(low, given["per_output"], atol=1e-6)
    np.testing.assert_allclose(high, given["per_output_dual"], atol=1e-6)


# -- laws -------------------------------------------------------------------------------------------------------------


@given(seeds, st.sampled_from([1, inf]))
@settings(max_examples=40)
def test_enumeration(seed: int, p: float) -> None:
    rng = np.random.default_rng(seed)
    layers = chain(random_chain(rng, 3, 2, (Relu(), Relu(0.3), Relu(-1.0), Relu(2.0), Relu(1.0))))
    n = layers[0].W.shape[1]
    x0, eps = rng.standard_normal(n), 10.0 ** rng.uniform(-2, 1)
    true = enumerated(layers, x0 - eps, x0 + eps, p)
    close(layers, p, lipmip(layers, x0 - eps, x0 + eps, p), true)


@given(seeds, st.sampled_from([1, inf]))
@settings(max_examples=25)
def test_never_less_than_sampled(seed: int, p: float) -> None:
    rng = np.random.default_rng(seed)
    layers = chain(random_chain(rng, 6, 3, (Relu(), Relu(0.1))))
    n = layers[0].W.shape[1]
    x0, eps = rng.standard_normal(n), 10.0 ** rng.uniform(-2, 0)
    low, high = lipmip(layers, x0 - eps, x0 + eps, p, seconds=5.0)
    assert (sampled(layers, rng.uniform(x0 - eps, x0 + eps, (500, n)), p) <= high * (1 + 1e-8) + 1e-14).all()
    assert (low <= high).all()


@given(seeds)
@settings(max_examples=15)
def test_given_bounds_change_nothing(seed: int) -> None:
    """If they hold; here they are the range of each neuron, by its own integer program's cells: sampled and widened."""
    rng = np.random.default_rng(seed)
    layers = chain(random_chain(rng, 4, 2, (Relu(),)))
    n = layers[0].W.shape[1]
    x0, eps = rng.standard_normal(n), 0.3
    x = x0 + eps * np.array(list(product(np.linspace(-1, 1, 4), repeat=n)))
    bounds: list[Any] = []
    for layer in layers[:-1]:
        z = x @ layer.W.T + layer.b
        wide = eps * np.prod([abs(m.W).sum(1).max() for m in layers[: len(bounds) + 1]])  # Lipschitz times the mesh
        bounds.append((z.min(0) - wide, z.max(0) + wide))
        x = np.maximum(z, 0)
    plain = lipmip(layers, x0 - eps, x0 + eps)
    told = lipmip(layers, x0 - eps, x0 + eps, bounds=bounds)
    np.testing.assert_allclose(plain, told, rtol=1e-7, atol=1e-12)


def test_no_cell_is_cut_off() -> None:
    """HiGHS's presolve (1.16, at tolerances of 1e-9) loses the cell of the largest gradient, 1 % above the next."""
    rng = np.random.default_rng(45)
    layers = chain(random_chain(rng, int(rng.integers(3, 12)), int(rng.integers(1, 4)), (Relu(), Relu(0.1))))
    x0, eps = rng.standard_normal(6), 10.0 ** rng.uniform(-2, 1)
    assert lipmip(layers, x0 - eps, x0 + eps, rows=np.eye(8)[1:2])[0][0] == pytest.approx(15.26598984)


# -- special cases ----------------------------------------------------------------------------------------------------


def test_bounds_are_used() -> None:
    g = chained((1,), Dense(np.array([[1.0], [-1.0]])), Relu(), Dense(np.array([[1.0, 5.0]])))
    on = [(np.array([0.1, -1.0]), np.array([1.0, -0.1]))]
    assert lipmip(g, -np.ones(1), np.ones(1))[1][0] == pytest.approx(5)
    assert lipmip(g, -np.ones(1), np.ones(1), bounds=on)[1][0] == pytest.approx(1)


@pytest.mark.parametrize("p", [1, inf])
def test_one_layer(p: float) -> None:
    W = np.array([[1.0, -2.0], [0.0, 0.0]])
    low, high = lipmip(chained((2,), Dense(W, np.ones(2))), np.zeros(2), np.ones(2), p)
    assert low.tolist() == high.tolist() == [3.0 if p == inf else 2.0, 0.0]


def test_everything_decided() -> None:
    rng = np.random.default_rng(0)
    A, B = rng.standard_normal((5, 3)), rng.standard_normal((2, 5))
    b = np.array([10.0, 10, -10, -10, 10])
    low, high = lipmip(chained((3,), Dense(A, b), Relu(0.5), Dense(B)), -np.full(3, 0.1), np.full(3, 0.1))
    true = abs(B @ (A * np.where(b > 0, 1, 0.5)[:, None])).sum(1)
    np.testing.assert_allclose([low, high], [true, true], rtol=1e-14)


def test_dead_neurons() -> None:
    """Neurons that read nothing, with a bias or none; outputs that read nothing."""
    A, b = np.array([[1.0, 2.0], [0, 0], [0, 0], [0, 0]]), np.array([0.0, 1.0, -1.0, 0.0])
    B = np.array([[1.0, 2, 3, 4], [0, 1, 1, 1], [0, 0, 0, 0]])
    g = chained((2,), Dense(A, b), Relu(), Dense(B), Relu(), Dense(np.eye(3)))
    low, high = lipmip(g, -np.ones(2), np.ones(2))
    np.testing.assert_allclose(low, [3, 0, 0], atol=1e-9)
    np.testing.assert_allclose(high, [3, 0, 0], atol=1e-9)


@pytest.mark.parametrize("p", [1, inf])
def test_a_point(p: float) -> None:
    """At a point off all kinks the gradient there; at a kink all sides of it."""
    rng = np.random.default_rng(1)
    layers = chain(random_chain(rng, 5, 2, (Relu(),)))
    x = rng.standard_normal(layers[0].W.shape[1])
    low, high = lipmip(layers, x, x, p)
    np.testing.assert_allclose([low, high], [sampled(layers, x[None], p)] * 2, rtol=1e-9, atol=1e-14)
    g = chained((1,), Relu(0.25), Dense(np.array([[2.0], [-3.0]])))
    np.testing.assert_allclose(lipmip(g, np.zeros(1), np.zeros(1), p), [[2, 3]] * 2, rtol=1e-9)


def test_ends_of_the_box_are_closed() -> None:
    g = chained((1,), Relu(), Dense(np.array([[2.0]])))
    for l, u, value in ((0.0, 1.0, 2.0), (-1.0, 0.0, 2.0), (-1.0, -0.1, 0.0)):
        np.testing.assert_allclose(lipmip(g, np.array([l]), np.array([u])), [[value], [value]], atol=1e-9)


def test_a_flat_side_counts() -> None:
    """The gradient along an input that does not vary counts like any other."""
    g = chained((2,), Dense(np.array([[1.0, 5.0]])), Relu(), Dense(np.eye(1)))
    assert lipmip(g, np.array([-1.0, 0]), np.array([1.0, 0]))[0][0] == pytest.approx(6)


def test_rows() -> None:
    rng = np.random.default_rng(2)
    A, B, C = (rng.standard_normal(s) for s in ((5, 3), (4, 5), (2, 4)))
    g, folded = (chained((3,), Dense(A), Relu(), *end) for end in ((Dense(B),), (Dense(C @ B),)))
    box = -np.ones(3), np.ones(3)
    np.testing.assert_allclose(lipmip(g, *box, rows=C), lipmip(folded, *box), rtol=1e-9)


@pytest.mark.parametrize("p", [1, inf])
def test_small_and_large_weights(p: float) -> None:
    """Tolerances are relative: scaling layers scales the answer."""
    rng = np.random.default_rng(3)
    A, B, C, x = (rng.standard_normal(s) for s in ((4, 2), (4, 4), (1, 4), (2,)))
    value = lipmip(chained((2,), Dense(A), Relu(), Dense(B), Relu(), Dense(C)), x - 1, x + 1, p)
    for s, t, r in ((1e-9, 1e9, 1e-9), (1e6, 1e-9, 1e3), (1e-5, 1e-5, 1.0)):
        g = chained((2,), Dense(A * s), Relu(), Dense(B * t), Relu(), Dense(C * r))
        np.testing.assert_allclose(lipmip(g, x - 1, x + 1, p), np.array(value) * (s * t * r), rtol=1e-6)


def test_a_convolution() -> None:
    rng = np.random.default_rng(4)
    conv = Conv(rng.standard_normal((2, 1, 2, 2)), rng.standard_normal(2), (1, 1), ((0, 0), (1, 0)), (1, 1))
    layers = chain(chained((1, 2, 3), conv, Relu(), Reshape((6,)), Dense(rng.standard_normal((2, 6)))))
    x = rng.standard_normal(6)
    close(layers, inf, lipmip(layers, x - 0.5, x + 0.5), enumerated(layers, x - 0.5, x + 0.5, inf))


def test_out_of_time() -> None:
    """A bound is there all the same, and it is one."""
    rng = np.random.default_rng(5)
    layers = chain(random_chain(rng, 40, 3, (Relu(),)))
    n = layers[0].W.shape[1]
    low, high = lipmip(layers, -np.ones(n), np.ones(n), seconds=0.01, rows=np.eye(1, len(layers[-1].b)))
    assert (0 <= low).all()
    assert (low <= high).all()
    assert np.isfinite(high).all()
    assert sampled(layers, rng.uniform(-1, 1, (300, n)), inf)[0] <= high[0]


def test_no_time_at_all() -> None:
    """Then intervals bound it from above, and the gradient in the middle from below."""
    rng = np.random.default_rng(6)
    A, B, C, x = (rng.standard_normal(s) for s in ((12, 6), (12, 12), (2, 12), (6,)))
    layers = chain(chained((6,), Dense(A), Relu(), Dense(B), Relu(), Dense(C)))
    low, high = lipmip(layers, x - 1, x + 1, seconds=0.0)
    assert (sampled(layers, x[None], inf) <= low * (1 + 1e-12)).all()
    assert (low < high).all()
    assert (high <= abs(C).sum(1) * abs(B).sum(1).max() * abs(A).sum(1).max()).all()


def test_the_largest_may_be_far_above_what_is_sure() -> None:
    """One derivative is 1 for certain, another is 0 or 1.5."""
    A = np.array([[1.0, 0.0], [0.0, 1.0]])
    g = chained((2,), Dense(A, np.array([10.0, 0.0])), Relu(), Dense(np.array([[1.0, 1.5]])))
    np.testing.assert_allclose(lipmip(g, -np.ones(2), np.ones(2), 1), [[1.5], [1.5]], rtol=1e-9)


def test_nothing_is_printed(capfd: pytest.CaptureFixture[str]) -> None:
    lipmip(chained((1,), Dense(np.array([[1.0], [2.0]])), Relu(), Dense(np.eye(2))), -np.ones(1), np.ones(1))
    assert capfd.readouterr() == ("", "")


def test_refusals() -> None:
    g = chained((2,), Dense(np.eye(2)), Curve("tanh"), Dense(np.eye(2)))
    with pytest.raises(ModelError, match="tanh.*only networks of rectifiers"):
        lipmip(g, np.zeros(2), np.ones(2))
    g = chained((2,), Dense(np.eye(2)), Relu())
    with pytest.raises(ModelError, match="box"):
        lipmip(g, np.ones(2), np.zeros(2))
    with pytest.raises(ModelError, match="box"):
        lipmip(g, np.zeros(3), np.ones(3))
    with pytest.raises(ModelError, match="bounds"):
        lipmip(g, np.zeros(2), np.ones(2), bounds=[])
    with pytest.raises(ValueError, match="norm"):
        lipmip(g, np.zeros(2), np.ones(2), 2)
