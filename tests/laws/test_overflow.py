"""Numbers too large for their type prove nothing."""

from __future__ import annotations

import numpy as np
import pytest

import verifier
from verifier.graph.graph import Graph
from verifier.graph.ops.affine import Dense
from verifier.values.arrays import Place, to_numpy

from .cases import Net, domains, holds, place_id, points, property_of, ready, short, stack, wide_values

Rng = np.random.Generator


def chained(rng: Rng) -> Graph:
    """Weights of 1e30 one after the other."""
    return stack([Dense(rng.normal(size=(m, n)) * 1e30, rng.normal(size=m)) for n, m in ((2, 3), (3, 3), (3, 2))])


def cancelled(rng: Rng) -> Graph:
    """Sums that overflow on the way although the result would not."""
    n = 6
    first = Dense(rng.normal(size=(n, 2)), rng.choice([2.0, 0.5], n))
    second = Dense(rng.choice([-1, 1], (4, n)) * rng.uniform(1, 3.3, (4, n)) * 1e38, rng.choice([-1, 0, 1], 4) * 3e38)
    return stack([first, second, Dense(rng.normal(size=(3, 4)), rng.normal(size=3)), Dense(rng.normal(size=(2, 3)))])


def biased(rng: Rng) -> Graph:
    """Biases near the largest number of the type."""
    first = Dense(rng.normal(size=(5, 2)) * 1e38, rng.choice([-1, 1], 5) * 3.3e38)
    return stack([first, Dense(rng.choice([-1.0, 1.0], (4, 5)), rng.normal(size=4)), Dense(rng.normal(size=(2, 4)))])


def returning(rng: Rng) -> Graph:
    """Up by 1e60 and down again: the results are ordinary numbers."""
    scales = (1e30, 1e30, 1e-30, 1e-30)
    sizes = ((2, 3), (3, 3), (3, 3), (3, 2))
    return stack([Dense(rng.normal(size=(m, n)) * s) for s, (n, m) in zip(scales, sizes, strict=True)])


NETS = {f.__name__: f for f in (chained, cancelled, biased, returning)}
PLACES = [Place("numpy", "float32"), Place("torch", "float32")]


@pytest.mark.parametrize("name", NETS)
@pytest.mark.parametrize("place", PLACES, ids=place_id)
@np.errstate(all="ignore")
def test_bounds_that_are_numbers_hold(place: Place, name: str) -> None:
    for seed in range(25):
        rng = np.random.default_rng([seed, len(name)])
        graph = NETS[name](rng)
        lower, upper = domains(rng, "plain", 2)
        x = points(rng, lower, upper)
        r = ready(graph, place, lower, upper)
        value = wide_values(graph, x)
        for known in (False, True):
            bounds = r.walk({}, known=known)
            for j, (l, u) in bounds.interval.items():
                l, u = (to_numpy(a).reshape(3, 1, -1) for a in (l, u))
                slack = 1e-15 * r.size[j]
                assert not (l > value[j] + slack).any(), f"lower bound of node {j}, seed {seed}"
                assert not (u < value[j] - slack).any(), f"upper bound of node {j}, seed {seed}"


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", NETS)
@np.errstate(all="ignore")
def test_no_wrong_unsat(name: str, dtype: str) -> None:
    """Where points of the real network satisfy the property the verdict is anything but `unsat`."""
    verdicts = set()
    for seed in range(4):
        rng = np.random.default_rng([seed, len(name), 1])
        graph = short(NETS[name](rng))
        lower, upper = (a[0] for a in domains(rng, "plain", 2))
        x = points(rng, lower[None], upper[None], 64)
        y = wide_values(graph, x)[-1][0]
        row = rng.normal(size=2)
        value = y @ row.astype(np.longdouble)
        d = float(np.quantile(value.astype(float), rng.choice([0.02, 0.5])))
        if not np.isfinite(d):
            continue
        prop = property_of(lower, upper, [[(row, np.zeros(2), d)]])
        result = verifier.verify(Net(graph, dtype), prop, timeout=0.15)
        verdicts.add(result.verdict)
        assert result.verdict != "unsat", f"seed {seed}: {int((value <= d).sum())} points satisfy it"
        if result.verdict == "sat":
            assert holds(prop, result.witness.flat, Net(graph, dtype).run(result.witness.flat[None])[0])
    assert verdicts


@np.errstate(all="ignore")
def test_outputs_that_are_none_satisfy_nothing() -> None:
    """A network whose outputs are NaN or infinite in its own type: no counterexample, whatever is asked."""
    up = Dense(np.full((1, 1), 1e38), np.zeros(1))
    graph = stack([up, up, Dense(np.array([[1.0], [-1.0]]), None), Dense(np.array([[1.0, -1.0], [1.0, 1.0]]))])
    net = Net(graph)
    assert not np.isfinite(net.run(np.ones((1, 1)))).all()
    for row, d in (([1.0, 0.0], 1e300), ([-1.0, 0.0], 1e300), ([0.0, 0.0], 1.0)):
        prop = property_of([1.0], [2.0], [[(np.array(row), np.zeros(1), d)]])
        assert verifier.verify(net, prop, timeout=0.15).verdict != "sat"
