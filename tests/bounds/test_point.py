"""Bounds at points hold what real arithmetic gives there, one by one and with one deviation for all."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from tests.bounds.test_maxima import pooling
from tests.laws.cases import Rng
from tests.laws.general_cases import fine_values
from tests.laws.general_nets import network
from verifier.bounds.point import Pointwise, _affine, _image, at_points
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Reshape
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.product import Product
from verifier.graph.ops.relu import Relu
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


ENDS = {
    "relu": (Relu(), lambda v: [max(e, Fraction(0)) for e in v]),
    "max": (MaxOf(np.array([[0, 1, 2], [3, 3, 4], [5, 4, 3]]), (3,)), lambda v: [max(v[:3]), max(v[3:5]), max(v[3:])]),
    "product": (Product(), lambda v: [v[0] * v[1], v[2] * v[3], v[4] * v[5]]),
    "sum": (Dense(np.full((2, 6), 1e-9), np.array([0.1, -1e9])), lambda v: [sum(v) * Fraction(1e-9) + Fraction(c)
                                                                           for c in (0.1, -1e9)]),
}  # fmt: skip


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("end", ENDS)
def test_every_operator_passes_on_what_its_input_is_off(end: str, shared: bool) -> None:
    """Sums that cancel are off by more than what any later operator rounds; exact in rational numbers."""
    op, exactly = ENDS[end]
    for seed in range(20):
        rng = np.random.default_rng(seed)
        W, b = rng.normal(size=(6, 4)), rng.normal(size=6)
        W = np.concatenate([W * 1e9, -W * 1e9 + rng.normal(size=W.shape)], 1)
        build = Builder()
        x = build.add(Input((8,)))
        y = build.add(Dense(W, b), (x,))
        y = build.add(Reshape((3, 2)), (y,)) if end == "product" else y
        graph = build.graph([x], [build.add(op, (y,))])
        some = rng.normal(size=(5, 4))
        points = np.concatenate([some, some], 1)
        lower, upper = at_points(Pointwise.of(graph), points, shared)
        for p, l, u in zip(points, lower, upper, strict=True):
            sums = [sum((Fraction(w) * Fraction(v) for w, v in zip(row, p, strict=True)), Fraction(c))
                    for row, c in zip(W.tolist(), b.tolist(), strict=True)]  # fmt: skip
            real = exactly(sums)
            assert all(Fraction(a) <= r <= Fraction(c) for a, r, c in zip(l, real, u, strict=True))


def test_a_constant_rounds() -> None:
    """However small what is added to it."""
    build = Builder()
    x = build.add(Input((1,)))
    graph = build.graph([x], [build.add(Dense(np.array([[1e-30]]), np.array([0.7])), (x,))])
    for shared in (False, True):
        lower, upper = at_points(Pointwise.of(graph), np.array([[0.3]]), shared)
        assert Fraction(lower[0, 0]) < Fraction(0.7) + Fraction(1e-30) * Fraction(0.3) < Fraction(upper[0, 0])
        assert upper[0, 0] - lower[0, 0] > 3 * np.spacing(0.7)  # more than the last step outward


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("size", [1.0, 1e-9, 1e9, 1e-162])
def test_deviations_of_any_size_are_passed_on(shared: bool, size: float) -> None:
    """One operator, its input off by up to what it may be: corners in rational numbers."""
    rng = np.random.default_rng(3)
    for op in (
        Relu(),
        Product(),
        MaxOf(np.array([[0, 1]]), (1,)),
        Dense(rng.normal(size=(1, 2)), np.array([0.7 * size])),
    ):
        build = Builder()
        x = build.add(Input((2,)))
        net = Pointwise.of(build.graph([x], [build.add(op, (x,))]))
        for _ in range(200):
            value = rng.normal(size=(3, 2)) * size * rng.choice([1e-3, 1.0, 0.0, 1e3], (3, 1))
            off = abs(rng.normal(size=(1 if shared else 3, 2))) * size * rng.choice([1.0, 1e-10, 0.0])
            given = (value, off)
            got = _affine(net, 1, [given], shared) if isinstance(op, Dense) else _image(net, 1, given, shared)
            for middle, wide, v, o in zip(got[0], np.broadcast_to(got[1], got[0].shape), value,
                                          np.broadcast_to(off, value.shape), strict=True):  # fmt: skip
                for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1), (0, 0)):
                    at = [Fraction(a) + s * Fraction(e) for a, e, s in zip(v.tolist(), o.tolist(), signs, strict=True)]
                    for m, w, real in zip(
                        middle.reshape(-1).tolist(), wide.reshape(-1).tolist(), _exactly(op, at), strict=True
                    ):
                        assert abs(Fraction(m) - real) <= Fraction(w)


def _exactly(op: object, at: list[Fraction]) -> list[Fraction]:
    if isinstance(op, Relu):
        return [max(a, Fraction(0)) for a in at]
    if isinstance(op, Dense):
        rows = zip(op.W.tolist(), op.b.tolist(), strict=True)
        return [sum((Fraction(w) * a for w, a in zip(row, at, strict=True)), Fraction(c)) for row, c in rows]
    return [at[0] * at[1] if isinstance(op, Product) else max(at)]
