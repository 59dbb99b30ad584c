"""Gradient search stays inside boxes, and nothing is a counterexample before the original model says so exactly."""

from __future__ import annotations

import numpy as np
import pytest

import verifier
from tests.laws import cases
from tests.laws.cases import GRAPHS, Net, domains, holds, property_of
from verifier.attack.gradient import evaluate, search, targets
from verifier.attack.replay import Replay
from verifier.graph.ops.affine import Dense
from verifier.spec.property import Property
from verifier.values.arrays import Place

Rng = np.random.Generator


def random_property(rng: Rng, n: int, m: int, quantiles: np.ndarray, strict: bool = False) -> Property:
    """Three disjuncts over one box; thresholds among the values `quantiles` `[L]`."""
    lower, upper = (a[0] for a in domains(rng, "sides", n, 1))
    literals = [(rng.normal(size=m), rng.normal(size=n) * (k % 2), float(quantiles[k])) for k in range(5)]
    return property_of(lower, upper, [literals[:1], literals[1:3], literals[3:]], strict)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_points_lie_inside(dtype: str, name: str) -> None:
    rng = np.random.default_rng(len(name))
    graph = GRAPHS[name](rng)
    n, m = graph.nodes[0].size, graph.nodes[graph.outputs[0]].size
    fast, found = graph.cast(Place("numpy", dtype).array), 0
    for _ in range(3):
        prop = random_property(rng, n, m, rng.normal(size=5) * 3)
        t = targets(prop, np.arange(3), 8, rng)
        for x, box in search(fast, prop, t, 6):
            found += len(x)
            assert (x >= prop.lower[box]).all() and (x <= prop.upper[box]).all()
    assert found


@pytest.mark.parametrize("name", GRAPHS)
def test_gradients(name: str) -> None:
    """Rows pulled back are the derivative of what is evaluated (checked by differences where it is smooth)."""
    rng = np.random.default_rng(len(name))
    graph = GRAPHS[name](rng)
    n, m = graph.nodes[0].size, graph.nodes[graph.outputs[0]].size
    x, row, step = rng.normal(size=(20, n)), rng.normal(size=(20, m)), rng.normal(size=(20, n)) * 1e-7
    y, pull = evaluate(graph, x)
    slope = (pull(row) * step).sum(1)
    ahead, behind = (((evaluate(graph, x + s)[0] - y) * row).sum(1) for s in (step, -step))
    smooth = abs(ahead + behind) < 1e-3 * (abs(ahead) + abs(behind)) + 1e-12
    assert smooth.sum() > 5
    np.testing.assert_allclose(ahead[smooth], slope[smooth], rtol=1e-2, atol=1e-6 * abs(y).max())


def judge(net: Net, prop: Property) -> Replay:
    shape = net.input_shapes[0]
    real = lambda x: net.graph.evaluate(x.reshape(len(x), *shape))[0].reshape(len(x), -1)  # noqa: E731
    return Replay(prop, net.run, real, net.input_dtype)


@pytest.mark.parametrize("strict", [False, True])
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["chain", "leaky", "cancelling", "conv", "sources"])
def test_a_witness_is_one(name: str, dtype: str, strict: bool) -> None:
    """Whatever points are offered, also outside: an independent evaluation agrees that what is returned satisfies."""
    rng = np.random.default_rng([len(name), len(dtype), strict])
    net = Net(GRAPHS[name](rng), dtype)
    n, m = net.graph.nodes[0].size, net.graph.nodes[net.graph.outputs[0]].size
    yes = no = 0
    for _ in range(40):
        prop = random_property(rng, n, m, np.zeros(5), strict)
        x = prop.lower + (prop.upper - prop.lower) * rng.uniform(-0.2, 1.2, (6, n))
        inside = np.clip(x.astype(dtype), prop.lower, prop.upper)
        y = net.run(inside)
        near = np.nextafter((prop.A_y @ y[:3].T).T, rng.choice([-np.inf, np.inf], (3, 5)))  # just missed, or just met
        ids = ([0], [1, 2], [3, 4])
        disjuncts = [[(prop.A_y[i], np.zeros(n), float(near[k, i])) for i in ids[k]] for k in range(3)]
        prop = property_of(prop.lower[0], prop.upper[0], disjuncts, strict)
        witness = judge(net, prop)(x, np.zeros(6, np.int64))
        if witness is None:
            no += 1
            continue
        yes += 1
        assert np.array_equal(witness.x, witness.x.astype(dtype)), "not a number of the model's type"
        assert np.array_equal(net.run(witness.x[None])[0], witness.y)
        single = property_like(prop, int(witness.disjunct))
        # an input that is fixed at no number of the model's type stands for the nearest one: ask inside the type
        rounded = single.lower == single.upper
        assert holds(widened(single, rounded, dtype), witness.x, witness.y)
    assert yes > 5


def property_like(prop: Property, j: int) -> Property:
    """Disjunct j alone."""
    ids = prop.literals(j)
    return Property(
        prop.lower, prop.upper, prop.inner_lower, prop.inner_upper, prop.box[[j]], np.array([0, len(ids)]), ids,
        prop.A_y, prop.A_x, prop.d, prop.inner_d, prop.strict, prop.inexact,
    )  # fmt: skip


def widened(prop: Property, where: np.ndarray, dtype: str) -> Property:
    lower, upper = (np.where(where, a.astype(dtype), a) for a in (prop.inner_lower, prop.inner_upper))
    return Property(
        lower, upper, lower, upper, prop.box, prop.start, prop.literal, prop.A_y, prop.A_x, prop.d, prop.inner_d,
        prop.strict, prop.inexact,
    )  # fmt: skip


@pytest.mark.parametrize("c", [0.0, 0.1, -3.0, 1e-30])
def test_strict_and_not(c: float) -> None:
    """A constant output exactly at the threshold: `<` is never satisfied, `<=` always."""
    value = float(np.float32(c))
    net = Net(cases.stack([Dense(np.zeros((1, 2)), np.array([value]))]))
    for strict, verdict in ((True, {"unknown", "unsat", "timeout"}), (False, {"sat"})):
        prop = property_of([-1, -1], [1, 1], [[(np.ones(1), np.zeros(2), value)]], strict)
        assert verifier.verify(net, prop, timeout=0.15).verdict in verdict
    above = property_of([-1, -1], [1, 1], [[(np.ones(1), np.zeros(2), float(np.nextafter(value, -1e9)))]])
    assert verifier.verify(net, above, timeout=0.15).verdict != "sat"


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_not_numbers(bad: float) -> None:
    """A model that answers NaN or infinity has no witness, whatever the graph says."""
    graph = cases.chain(np.random.default_rng(0), (2, 3, 2))

    class Broken(Net):
        def run(self, x: np.ndarray) -> np.ndarray:
            return np.where(np.arange(2) == 0, bad, super().run(x))

    net = Broken(graph)
    for row, d in (([1.0, 0.0], 1e30), ([-1.0, 0.0], 1e30), ([1.0, 1.0], 1e300)):
        prop = property_of([-1, -1], [1, 1], [[(np.array(row), np.zeros(2), d)]])
        assert judge(net, prop)(np.zeros((3, 2)), np.zeros(3, np.int64)) is None
        assert verifier.verify(net, prop, timeout=0.05).verdict != "sat"


def test_points_that_are_not_numbers() -> None:
    net = Net(cases.chain(np.random.default_rng(0), (2, 3, 2)))
    prop = property_of([-1, -1], [1, 1], [[(np.ones(2), np.zeros(2), 1e9)]])
    x = np.array([[np.nan, 0.0], [np.inf, 0.0], [0.0, -np.inf]])
    assert judge(net, prop)(x, np.zeros(3, np.int64)) is None
    assert judge(net, prop)(np.concatenate([x, np.zeros((1, 2))]), np.zeros(4, np.int64)) is not None


def test_a_model_that_answers_otherwise_alone() -> None:
    """What a point gives in a batch does not count, only what it gives alone."""
    graph = cases.chain(np.random.default_rng(0), (2, 3, 1))

    class Fickle(Net):
        def run(self, x: np.ndarray) -> np.ndarray:
            return np.full((len(x), 1), 1.0 if len(x) == 1 else -1.0)

    prop = property_of([-1, -1], [1, 1], [[(np.ones(1), np.zeros(2), 0.0)]])
    assert judge(Fickle(graph), prop)(np.zeros((3, 2)), np.zeros(3, np.int64)) is None
