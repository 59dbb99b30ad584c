"""Bounds at points hold what real arithmetic gives there, one by one and with one deviation for all."""

from __future__ import annotations

import numpy as np
import pytest

from tests.bounds.test_maxima import pooling
from tests.laws.cases import Rng
from tests.laws.general_cases import fine_values
from tests.laws.general_nets import network
from verifier.bounds.point import Pointwise, at_points
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Reshape
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.product import Product
from verifier.graph.ops.steps import Step
from verifier.graph.passes.maxima import maxima_to_relu


def products(rng: Rng) -> Graph:
    """Products of sums, of products."""
    b = Builder()
    x = b.add(Input((3,)))
    y = b.add(Dense(rng.normal(size=(4, 3)), rng.normal(size=4)), (x,))
    for _ in range(2):
        pairs = b.add(Reshape((2, 2)), (y,))
        y = b.add(Dense(rng.normal(size=(4, 2)), rng.normal(size=4)), (b.add(Product(), (pairs,)),))
    return b.graph([x], [y])


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("scale", [1.0, 1e-3, 1e4, 1e-170])
@pytest.mark.parametrize("seed", range(12))
def test_the_real_value_is_inside(seed: int, scale: float, shared: bool) -> None:
    """And the bounds are no wider than a few thousand roundings, except where a jump is near."""
    rng = np.random.default_rng(seed)
    kinds = [products(rng), pooling(rng, seed % 4), network(rng, False)[0], network(rng)[0]]
    for graph in kinds if scale == 1.0 else kinds[:2]:
        (source,) = graph.inputs
        x = rng.normal(size=(9, graph.nodes[source].size)) * scale
        x[0] = np.rint(x[0])
        lower, upper = at_points(Pointwise.of(graph), x, shared)
        fine = maxima_to_relu(graph)  # the same function, of operators whose values are known beyond doubles
        value, off = fine_values(fine, x[:, None])
        (out,) = fine.outputs
        real, unknown = value[out][:, 0], off[out][:, 0]
        assert (real + unknown >= lower).all() and (real - unknown <= upper).all()
        if scale == 1.0 and not any(isinstance(node.op, Step) for node in graph.nodes):
            assert (upper - lower <= 1e-9 * (1 + abs(real))).all()


def test_rounding_is_inside() -> None:
    """Numbers that round: neither bound is what double precision gives, and whole numbers are exact."""
    b = Builder()
    x = b.add(Input((2,)))
    graph = b.graph([x], [b.add(Product(), (x,))])
    ready = Pointwise.of(graph)
    for shared in (False, True):
        lower, upper = at_points(ready, np.array([[0.1, 0.3], [3.0, 5.0]]), shared)
        assert (lower[0] < 0.1 * 0.3).all() and (upper[0] > 0.1 * 0.3).all()
    lower, upper = at_points(ready, np.array([[3.0, 5.0]]))
    assert upper - lower <= 4 * np.spacing(15.0)
    lower, upper = at_points(ready, np.array([[1e-200, 1e-200]]))  # underflows
    assert lower < 0 < upper
    lower, upper = at_points(ready, np.array([[1e200, 1e200]]))
    assert upper == np.inf


def test_a_jump_nearby_is_wide() -> None:
    """A step of what rounds onto its edge has both values."""
    b = Builder()
    x = b.add(Input((3,)))
    total = b.add(Dense(np.ones((1, 3)), np.array([-0.6])), (x,))
    graph = b.graph([x], [b.add(Step("positive"), (total,))])
    for shared in (False, True):
        lower, upper = at_points(Pointwise.of(graph), np.array([[0.1, 0.2, 0.3]]), shared)
        assert lower <= 0 and upper >= 1


def test_where_there_is_no_value_nothing_is_known() -> None:
    """A maximum, or a step, may make a number of what is none."""
    b = Builder()
    x = b.add(Input((2,)))
    root = b.add(Curve("power", (0.5,)), (x,))
    graph = b.graph([x], [b.add(MaxOf(np.array([[0, 1]]), (1,)), (root,))])
    lower, upper = at_points(Pointwise.of(graph), np.array([[-1.0, 4.0], [1.0, 4.0]]))
    assert lower[0] == -np.inf and upper[0] == np.inf
    assert 1.9 < lower[1] <= 2 <= upper[1] < 2.1
