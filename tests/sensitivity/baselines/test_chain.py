"""Networks as chains of layers."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Add, Dense, Scale, Sum
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Concat, Reshape, Take
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.product import Share
from verifier.graph.ops.relu import Relu
from verifier.graph.passes.runner import simplify
from verifier.sensitivity.baselines import chain
from verifier.values.errors import ModelError

from .chain_cases import exactly
from .test_products import SHARED, chained, read

seeds = st.integers(0, 2**32 - 1)


def apply(layers: list[Any], x: np.ndarray) -> np.ndarray:
    """What a chain computes of `[B, n]`."""
    for layer in layers:
        x = x @ layer.W.T + layer.b
        if layer.activation is not None:
            x = layer.activation.evaluate(x)
    return x


def varied() -> Graph:
    """Convolution, scale, moves, sums of two paths from one activation, a mean."""
    rng = np.random.default_rng(0)
    b = Builder()
    x = b.add(Input((2, 5, 5)))
    at = b.add(Scale(np.array([[[2.0]], [[-1.0]]]), np.ones((2, 1, 1))), [x])
    at = b.add(Conv(rng.standard_normal((3, 2, 3, 3)), np.ones(3), (2, 2), ((1, 1), (0, 1)), (1, 1)), [at])
    at = b.add(Relu(0.1), [at])
    one = b.add(Conv(rng.standard_normal((3, 1, 2, 2)), None, (1, 1), ((0, 1), (1, 0)), (1, 1), 3), [at])
    at = b.add(Add((1, -1)), [at, b.add(Scale(np.array(0.5)), [one])])
    at = b.add(Concat(0), [at, one])
    at = b.add(Curve("tanh"), [at])
    at = b.add(Curve("sigmoid"), [at])
    at = b.add(Sum((1,), False), [at])
    at = b.add(Reshape((b.nodes[at].size,)), [at])
    return b.graph([x], [b.add(Dense(rng.standard_normal((4, b.nodes[at].size)), np.ones(4)), [at])])


@pytest.mark.parametrize("change", [lambda g: g, simplify], ids=["plain", "simplified"])
def test_chain_computes_the_same(change: Callable[[Graph], Graph]) -> None:
    g = change(varied())
    layers = chain(g)
    assert [type(layer.activation) for layer in layers] == [Relu, Curve, Curve, type(None)]
    assert [g.nodes[layer.node].op for layer in layers[:3]] == [layer.activation for layer in layers[:3]]
    x = np.random.default_rng(1).standard_normal((5, 50))
    np.testing.assert_allclose(apply(layers, x), g.evaluate(x.reshape(5, 2, 5, 5))[0], rtol=1e-12, atol=1e-12)


@given(seeds)
@settings(max_examples=20)
def test_chain_knows_what_it_rounds(seed: int) -> None:
    """Against products of the given matrices in rational numbers; also where a pass has merged them before."""
    rng = np.random.default_rng(seed)
    A, s, B = (rng.standard_normal(k) * 10.0 ** rng.integers(-9, 9, k) for k in ((3, 4), (3,), (2, 3)))
    g = chained((4,), Dense(A), Scale(s, np.ones(3)), Dense(B))
    true = exactly(B) @ (exactly(s)[:, None] * exactly(A))
    for graph in (g, simplify(g)):
        (layer,) = chain(graph)
        assert (abs(exactly(layer.W) - true) <= exactly(layer.error)).all()
        assert (layer.error <= 1e-14 * (abs(B) @ abs(s[:, None] * A))).all()


def test_errors_add_up() -> None:
    """Over many layers they exceed what any one of them allows for; recorded magnitudes count as well."""
    rng = np.random.default_rng(0)
    scales = rng.uniform(0.5, 2, (200, 50))
    (layer,) = chain(chained((50,), Dense(np.eye(50)), *(Scale(s) for s in scales)))
    off = [abs(Fraction(float(w)) - f) for w, f in zip(np.diag(layer.W), np.prod(exactly(scales), 0), strict=True)]
    assert all(a <= Fraction(float(e)) for a, e in zip(off, np.diag(layer.error), strict=True))
    assert max(a / Fraction(float(w)) for a, w in zip(off, np.diag(layer.W), strict=True)) > 6 * 2.0**-53
    (layer,) = chain(chained((2,), Dense(np.eye(2), None, Dense(np.full((2, 2), 1e6)))))
    assert (layer.error >= 1e6 * 2.0**-53).all()


def test_nothing_is_rounded_in_plain_layers() -> None:
    layers = chain(read("fc_2_16_16_2")[0]) if SHARED.exists() else chain(chained((2,), Dense(np.eye(2)), Relu()))
    assert not any(layer.error.any() for layer in layers)
    conv = Conv(np.random.default_rng(0).standard_normal((2, 1, 3, 3)), None, (1, 1), ((1, 1), (1, 1)), (1, 1))
    assert not any(layer.error.any() for layer in chain(chained((1, 4, 4), conv, Relu(), Reshape((32,)))))


def skipping() -> Graph:
    b = Builder()
    x = b.add(Input((3,)))
    return b.graph([x], [b.add(Add((1, 1)), [x, b.add(Relu(), [x])])])


def beside() -> Graph:
    b = Builder()
    x = b.add(Input((3,)))
    return b.graph([x], [b.add(Add((1, 1)), [b.add(Curve("tanh"), [x]), b.add(Relu(), [x])])])


def two_inputs() -> Graph:
    b = Builder()
    x, y = b.add(Input((3,))), b.add(Input((3,)))
    return b.graph([x, y], [b.add(Add((1, 1)), [x, y])])


@pytest.mark.parametrize(
    "graph,says",
    [
        (skipping(), "skips an activation"),
        (beside(), "beside"),
        (two_inputs(), "one input"),
        (chained((4,), Share()), "Share.*neither affine nor elementwise"),
        (chained((4,), MaxOf(np.array([[0, 1]]), (1,))), "MaxOf"),
        (chained((700,), Relu()), "600 neurons"),
        (chained((300,), Relu(), Curve("tanh"), Relu()), "600 neurons"),
        (chained((5000,), Relu()), "neurons"),
        (chained((5000,), Sum((0,))), "too many"),
        (chained((4000,), Take(np.zeros(3000, int), (3000,))), "3000 by 4000"),
    ],
)
def test_what_is_no_chain(graph: Graph, says: str) -> None:
    with pytest.raises(ModelError, match=says) as e:
        chain(graph)
    assert "\n" not in str(e.value)


def test_what_no_output_needs_is_no_matter() -> None:
    g = skipping()
    assert len(chain(Graph(g.nodes, g.inputs, (1,)))) == 2
