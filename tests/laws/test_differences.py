"""Laws of the differences of two copies of a network: the same function, sound and no looser bounds, exact literals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from math import prod

import numpy as np
import pytest

from verifier.bounds.network import magnitudes, prepare
from verifier.bounds.propagate import boxes, propagate
from verifier.bounds.rows import make_rows, rows_backward
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Add, Dense, Scale
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.product import Difference
from verifier.graph.ops.relu import Relu
from verifier.graph.passes.differences import alike
from verifier.graph.passes.maxima import maxima_to_relu
from verifier.graph.passes.runner import simplify
from verifier.run.joint import Joint, Part
from verifier.spec.apart import over_differences
from verifier.spec.builders import output_property
from verifier.values.arrays import Place, to_numpy

from .cases import chain, conv, leaky, moves, pooled, residual, sources

Rng = np.random.Generator


@dataclass(frozen=True, eq=False)
class Model:
    """A graph as a loaded network."""

    graph: Graph
    input_dtype: str = "float64"

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(self.graph.nodes[i].shape for i in self.graph.inputs)

    @property
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(self.graph.nodes[i].shape for i in self.graph.outputs)


def smooth(rng: Rng) -> Graph:
    """A rectifier, then a sigmoid and a scale."""
    b = Builder()
    x = b.add(Input((3,)))
    h = b.add(Relu(), [b.add(Dense(rng.normal(size=(5, 3)), rng.normal(size=5)), [x])])
    s = b.add(Curve("sigmoid"), [b.add(Scale(rng.normal(size=5), None), [h])])
    t = b.add(Scale(None, rng.normal(size=5)), [s])
    return b.graph([x], [b.add(Dense(rng.normal(size=(2, 5)), None), [b.add(Relu(), [b.add(Add((1, -1)), [t, h])])])])


GRAPHS: list[Callable[[Rng], Graph]] = [chain, conv, residual, moves, sources, pooled, leaky, smooth]


def altered(graph: Graph, rng: Rng, share: float = 0.1) -> Graph:
    """The same with other weights; some of them by as little as rounding in subtraction shows, one layer not at all."""
    left = [True]

    def other(a: np.ndarray) -> np.ndarray:
        if a.dtype.kind != "f" or (left and left.pop()):
            return a
        return a * (1 + share * rng.normal(size=a.shape) * (rng.random(a.shape) < 0.5)) + 1e-17

    return graph.cast(other)


def pair(rng: Rng, make: Callable[[Rng], Graph], isomorphic: bool, shared: float) -> Joint:
    """Two copies; a share of their inputs is the same."""
    model = Model(make(rng))
    second = Model(altered(model.graph, rng)) if isomorphic else model
    n = prod(model.input_shapes[0])
    at = np.where(rng.random(n) < shared, np.arange(n), np.arange(n) + n)
    if not isomorphic and (at == np.arange(n)).all():
        at[0] = n
    names, at = np.unique(np.concatenate([np.arange(n), at]), return_inverse=True)
    return Joint((Part(model, (at[:n],), (0,)), Part(second, (at[n:],), (0,))), len(names))


@pytest.mark.parametrize("isomorphic", [False, True], ids=["equal", "isomorphic"])
@pytest.mark.parametrize("make", GRAPHS, ids=lambda m: m.__name__)
def test_the_same_function_and_its_differences(make: Callable[[Rng], Graph], isomorphic: bool) -> None:
    for seed in range(6):
        rng = np.random.default_rng(seed)
        joint = pair(rng, make, isomorphic, float(rng.choice([0.0, 0.5, 1.0])))
        found = joint.compared
        if make is leaky:
            assert found is None  # there is nothing that differences are followed through
            continue
        assert found is not None
        x = rng.normal(size=(20, joint.n))
        (y,) = joint.graph.evaluate(x)
        for graph in (found.graph, simplify(found.graph)):
            (z,) = graph.evaluate(x)
            scale = 1e-9 * (1 + abs(y).max())
            assert abs(z[:, : y.shape[1]] - y).max() < scale
            want = y[:, found.pairs[:, 1]] - y[:, found.pairs[:, 0]]
            assert abs(z[:, y.shape[1] :] - want).max() < scale
        m = y.shape[1] // 2
        assert found.pairs.tolist() == [[k, k + m] for k in range(m)]
        if make is chain:  # every rectifier of the second copy has its difference
            count = sum(isinstance(n.op, Relu) for n in joint.graph.nodes) // 2
            assert sum(isinstance(n.op, Difference) for n in found.graph.nodes) == count


def test_what_is_alike() -> None:
    rng = np.random.default_rng(0)
    a, b = chain(rng), chain(rng)
    assert alike(a, a) and alike(a, b) and not alike(a, chain(rng, (3, 6, 6, 2))) and not alike(a, conv(rng))
    assert not alike(leaky(rng), leaky(rng))


def lower_bound(graph: Graph, row: np.ndarray, lower: np.ndarray, upper: np.ndarray) -> float:
    """Of a row over the outputs, by the backward walk with every neuron bounded so, too."""
    place = Place()
    net, zero = prepare(graph, place), np.zeros(1)
    rows = make_rows(graph, net, magnitudes(graph, lower, upper), row[None], None, zero)
    box = boxes(lower[None], upper[None], np.flatnonzero(lower < upper), "float64")
    bounds = propagate(net, box, None, set(), {}, 10**6)
    planes = rows_backward(net, rows, np.zeros((1, 1), np.int64), bounds.weights(net), bounds.relaxed)
    A, b = to_numpy(planes.A)[0], float(to_numpy(planes.b - planes.error)[0])
    return float(A @ (lower + upper) / 2 - abs(A) @ (upper - lower) / 2 + b)


@pytest.mark.parametrize("make", [chain, conv, residual, moves, sources, pooled, smooth], ids=lambda m: m.__name__)
def test_bounds_are_sound_and_tighter_where_copies_are_close(make: Callable[[Rng], Graph]) -> None:
    apart, alone = 0.0, 0.0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        isomorphic = bool(seed % 2)
        joint = pair(rng, lambda r: maxima_to_relu(make(r)), isomorphic, 1.0)
        found = joint.compared
        assert found is not None
        center, radius = rng.normal(size=joint.n) * 0.3, rng.uniform(0.1, 0.5, joint.n)
        first = np.concatenate([p.inputs[0] for p in joint.parts[:1]])
        for i, j in zip(first, joint.parts[1].inputs[0], strict=True):
            if i != j:
                center[j], radius[i], radius[j] = center[i] + 1e-3, 1e-3, 1e-3
        lower, upper = center - radius, center + radius
        plain = simplify(joint.graph)
        m = plain.nodes[plain.outputs[0]].size // 2
        row = np.zeros(2 * m)
        row[0], row[m] = -1.0, 1.0
        row *= rng.choice([-1.0, 1.0])
        prop = over_differences(output_property(lower, upper, [[(row, 0.0)]]), found.pairs)
        assert prop is not None and not prop.A_y[0, : 2 * m].any()
        x = rng.uniform(lower, upper, (2000, joint.n))
        least = float((plain.evaluate(x)[0] @ row).min())
        got = lower_bound(simplify(found.graph), prop.A_y[0], lower, upper)
        other = lower_bound(plain, row, lower, upper)
        assert got <= least and other <= least
        apart, alone = apart + least - got, alone + least - other
    assert apart <= 1.02 * alone
    if make in (chain, residual, pooled):
        assert apart < 0.5 * alone


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_bounds_hold_where_copies_are_far_apart(dtype: str) -> None:
    """Every node's interval on boxes that differ, in both precisions."""
    for seed in range(8):
        rng = np.random.default_rng(seed)
        joint = pair(rng, chain, bool(seed % 2), float(rng.choice([0.0, 0.5])))
        assert joint.compared is not None
        graph, place = simplify(joint.compared.graph), Place("numpy", dtype)
        net = prepare(graph, place)
        center, radius = rng.normal(size=joint.n), rng.uniform(0, 1.0, joint.n) ** 3
        lower, upper = ((center + s * radius).astype(dtype) for s in (-1, 1))
        bounds = propagate(net, boxes(lower[None], upper[None], np.arange(joint.n), dtype), None, set(), {}, 10**6)
        x = rng.uniform(lower.astype(float), upper.astype(float), (2000, joint.n))
        values = graph.values(x)
        assert net.pair
        for j, (l, u) in bounds.interval.items():
            assert (l[0] <= values[j] + 1e-12).all() and (values[j] - 1e-12 <= u[0]).all()


def test_literals_keep_their_value_exactly() -> None:
    rng = np.random.default_rng(1)
    pairs = np.array([[0, 3], [1, 4], [2, 5]])
    A = rng.normal(size=(40, 6)) * 10.0 ** rng.integers(-8, 8, (40, 6)) * (rng.random((40, 6)) < 0.7)
    A[:10, 3:] = -A[:10, :3]
    A[0] = [1, 0, 0, -1, 0, 0]
    prop = output_property(np.zeros(2), np.ones(2), [[(a, 0.0)] for a in A])
    found = over_differences(prop, pairs)
    assert found is not None and (found.A_y[:, 6:] != 0).sum() > 15
    for a, b in zip(prop.A_y, found.A_y, strict=True):
        for k, (i, j) in enumerate(pairs):  # a·y_i + b·y_j = a'·y_i + b'·y_j + k·(y_j − y_i) for all y
            assert Fraction(b[i]) - Fraction(b[6 + k]) == Fraction(a[i])
            assert Fraction(b[j]) + Fraction(b[6 + k]) == Fraction(a[j])
    assert any((r[:6] == 0).all() and r[6:].any() for r in found.A_y)
    assert over_differences(replace(prop, A_y=abs(prop.A_y)), pairs) is None
