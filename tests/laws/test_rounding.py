"""Laws of rounding allowances, in rational arithmetic: what is claimed to cover an error does cover it."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verifier.bounds.backward import backward
from verifier.bounds.network import UNDERFLOW
from verifier.bounds.propagate import boxes, lower_bounds, propagate
from verifier.graph.graph import Graph
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.relu import Relu
from verifier.relax import relu, table
from verifier.relax.lines import Lines
from verifier.relax.relu import alpha_range
from verifier.values.arrays import Place, to_numpy
from verifier.values.rounding import inward, outward, unit

from . import cases
from .cases import HOST, PLACES, Ready, domains, exact_values, fractions, place_id, points, ready

TINY_NETS = {
    "chain": lambda rng: cases.chain(rng, (2, 3, 3, 2)),
    "leaky": lambda rng: cases.chain(rng, (2, 3, 3, 2), leak=0.1),
    "mirrored": lambda rng: cases.chain(rng, (2, 3, 3, 2), leak=-0.5),
    "cancelling": cases.cancelling,
    "vanishing": cases.vanishing,
    "vanishing leaky": lambda rng: cases.vanishing(rng, 0.3),
}


def made(name: str, kind: str, place: Place, seed: int) -> tuple[Graph, Ready, np.ndarray]:
    rng = np.random.default_rng([seed, *name.encode(), *kind.encode()])
    graph = TINY_NETS[name](rng)
    lower, upper = domains(rng, kind, graph.nodes[0].size, 2)
    return graph, ready(graph, place, lower, upper), points(rng, lower, upper, 4)


@pytest.mark.parametrize("kind", ["plain", "tiny", "huge", "point"])
@pytest.mark.parametrize("name", TINY_NETS)
@pytest.mark.parametrize("place", PLACES, ids=place_id)
def test_weights_dominate(place: Place, name: str, kind: str) -> None:
    """|A|·weight is at least what rounding may change: gamma(products) times the magnitudes, at every point."""
    graph, r, x = made(name, kind, place, 0)
    bounds = r.walk({})
    u = Fraction(unit(place.dtype))
    weights = bounds.weights(r.net)
    assert float(weights.pop(UNDERFLOW)) > 0
    assert set(weights) == {i for i, n in enumerate(graph.nodes) if isinstance(n.op, Dense)} | {0}
    for p in x.reshape(-1, x.shape[2]):
        value = exact_values(graph, p)
        for i, w in weights.items():
            op = graph.nodes[i].op
            size, n = abs(value[i]), 1
            if isinstance(op, Dense):
                b = 0 if op.b is None else abs(fractions(op.b))
                size = fractions(abs(op.W)) @ abs(value[graph.nodes[i].inputs[0]]) + b
                n = op.W.shape[1] + 1
            assert (fractions(to_numpy(w)) >= n * u * size).all(), f"node {i}"
            assert (fractions(r.size[i]) >= size).all()


@pytest.mark.parametrize("kind", ["plain", "tiny", "huge", "point", "far"])
@pytest.mark.parametrize("name", TINY_NETS)
@pytest.mark.parametrize("place", PLACES, ids=place_id)
def test_neurons_exactly(place: Place, name: str, kind: str) -> None:
    """Intervals, and the backward walk on every neuron, at points evaluated in rational arithmetic."""
    for seed in range(2):
        graph, r, x = made(name, kind, place, seed)
        bounds = r.walk({})
        B, weight = len(x), bounds.weights(r.net)
        claims = [(j, *(to_numpy(a) for a in pair)) for j, pair in bounds.interval.items()]
        for j in r.net.sources:
            size = graph.nodes[j].size
            owner, neuron = (place.array(a) for a in np.divmod(np.arange(B * size), size))
            both = to_numpy(lower_bounds(r.net, r.box, weight, bounds.relaxed, j, neuron, owner)).reshape(2, B, size)
            claims.append((j, both[0], -both[1]))
        for i in range(B):
            for p in x[i]:
                value = exact_values(graph, p)
                for j, l, u in claims:
                    assert (fractions(l[i]) <= value[j]).all(), f"lower bound of node {j}"
                    assert (value[j] <= fractions(u[i])).all(), f"upper bound of node {j}"


@pytest.mark.parametrize("name", ["chain", "leaky", "mirrored", "cancelling"])
@pytest.mark.parametrize("place", PLACES, ids=place_id)
def test_every_lower_slope(place: Place, name: str) -> None:
    """Planes hold exactly whatever slopes in the range the lower lines have."""
    for seed in range(4):
        graph, r, x = made(name, ("plain", "far")[seed % 2], place, seed)
        rng = np.random.default_rng(seed)
        bounds = r.walk({})
        relaxed = {}
        for i, f in bounds.relaxed.items():
            l, u = bounds.interval[i - 1]
            low, high = alpha_range(graph.nodes[i].op)  # type: ignore[arg-type]
            slope = place.array(low + (high - low) * rng.random(tuple(l.shape)))
            undecided = (l < 0) & (u > 0)
            relaxed[i] = replace(f, s_l=place.xp.where(undecided, slope, f.s_l))
        planes_hold(graph, r, relaxed, bounds.weights(r.net), x)


@pytest.mark.parametrize("place", PLACES, ids=place_id)
def test_slopes_far_steeper_than_the_chord(place: Place) -> None:
    """A lower slope of 1 over a chord that is nearly flat: its rounding must not leak into rows with the other sign."""
    rng = np.random.default_rng(3)
    for _ in range(10):
        W = rng.normal(size=(2, 2)) * 1e3
        top = 10.0 ** -rng.integers(1, 6, 2)  # the interval is about [-2|W|, top]
        graph = cases.stack([Dense(W, top - abs(W).sum(1)), Dense(rng.normal(size=(1, 2)))])
        lower, upper = np.full((1, 2), -1.0), np.full((1, 2), 1.0)
        r = ready(graph, place, lower, upper)
        bounds = r.walk()
        l, u = bounds.interval[1]
        slope = place.array(1 - rng.random((1, 2)) / 3)
        relaxed = {2: relu.lines(Relu(), l, u, slope)}
        planes_hold(graph, r, relaxed, bounds.weights(r.net), points(rng, lower, upper, 4))


def planes_hold(graph: Graph, r: Ready, relaxed: dict[int, Lines], weight: dict[int, Any], x: np.ndarray) -> None:
    """Both signs of the outputs as rows from the output node."""
    place, m, B = r.net.place, graph.nodes[r.net.output].size, len(x)
    eye = np.concatenate([np.eye(m), -np.eye(m)])
    A = place.array(np.tile(eye, (B, 1)))
    owner = place.array(np.repeat(np.arange(B), 2 * m))
    planes = backward(r.net, weight, relaxed, {r.net.output: A}, A[:, 0] * 0, owner)
    together = backward(r.net, weight, relaxed, {r.net.output: A}, A[:, 0] * 0, None)
    for found in (planes, together):
        A, b, error = (fractions(to_numpy(a)).reshape(B, 2 * m, *a.shape[1:]) for a in (found.A, found.b, found.error))
        for i in range(B):
            for p in x[i]:
                y = exact_values(graph, p)[r.net.output]
                plane = A[i] @ fractions(p) + b[i] - error[i]
                assert (plane[:m] <= y).all()
                assert (plane[m:] <= -y).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_boxes_enclose(dtype: str) -> None:
    """`outward` holds the box, `center ± radius` holds that; `inward` lies inside; numbers of the type stay."""
    rng = np.random.default_rng(0)
    scale = 10.0 ** rng.integers(-44, 38, 300)
    lower = rng.normal(size=300) * scale
    width = abs(rng.normal(size=300)) * scale * 10.0 ** -rng.integers(0, 20, 300)
    upper = lower + np.where(rng.random(300) < 0.3, 0, width)
    lo, hi = outward(lower, upper, Place("numpy", dtype))
    box = boxes(lo[None], hi[None], np.arange(0), dtype)
    c, rad = fractions(box.center[0]), fractions(box.radius[0])
    assert (c - rad <= fractions(lo)).all() and (fractions(lo) <= fractions(lower)).all()
    assert (c + rad >= fractions(hi)).all() and (fractions(hi) >= fractions(upper)).all()
    assert (rad[np.flatnonzero(lo == hi)] == 0).all()
    inner_lo, inner_hi = inward(lower, upper, dtype)
    assert (fractions(inner_lo) >= fractions(lower)).all() and (fractions(inner_hi) <= fractions(upper)).all()
    same = lower.astype(np.float32)
    for f in (outward(same.astype(float), same.astype(float), Place("numpy", dtype)), inward(same, same, dtype)):
        assert all((a == same).all() for a in f)


@pytest.mark.parametrize("name", TINY_NETS)
def test_double_relaxations_of_single_intervals(name: str) -> None:
    """As the search does: intervals and magnitudes in float32, lines and rows in double precision."""
    for seed in range(3):
        graph, r, x = made(name, "plain", Place("numpy", "float32"), seed)
        bounds = r.walk({})
        double = ready(graph, HOST, *(a.astype(np.float64) for a in (r.box.lower, r.box.upper)))
        relaxed = propagate_lines(double, bounds.interval)
        planes_hold(graph, double, relaxed, bounds.weights(double.net), x)


def propagate_lines(r: Ready, interval: dict[int, Any]) -> dict[int, Lines]:
    nodes = r.net.graph.nodes
    pairs = {i: interval[n.inputs[0]] for i, n in enumerate(nodes) if n.inputs and n.inputs[0] in interval}
    return {i: table.lines(nodes[i].op, *(a.astype(np.float64) for a in pair)) for i, pair in pairs.items()}


def test_propagate_is_used() -> None:
    """`known` bounds are met, not replaced."""
    graph, r, _ = made("chain", "plain", HOST, 0)
    wide = {j: (l * 0 - 1e9, u * 0 + 1e9) for j, (l, u) in r.known.items()}
    a = propagate(r.net, r.box, None, set(), None, 500, wide)
    b = propagate(r.net, r.box, None, set(), None, 500, None)
    assert all(np.array_equal(a.interval[j][0], b.interval[j][0]) for j in a.interval)
