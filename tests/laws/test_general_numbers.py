"""Numbers at their limits: cancellation, overflow, infinite bounds, boxes in boxes, and sums of sums."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import verifier
from verifier.bounds.propagate import boxes
from verifier.bounds.rows import make_rows, rows_backward
from verifier.graph.graph import Builder, Elementwise, Graph, Input
from verifier.graph.ops.affine import Dense, Scale
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Concat, Reshape
from verifier.graph.ops.product import Product, Share
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.run.bound import METHODS
from verifier.values.arrays import Place, to_numpy
from verifier.values.box import Box

from .cases import HOST, PLACES, Net, Rng, domains, layer, place_id, points, property_of, ready, short
from .general_cases import ELEMENTWISE, LD, SHAPES, fine_values, jumps, name_of, put, shaped
from .test_general import check_rows, check_walk

swept = pytest.mark.parametrize("k", range(len(ELEMENTWISE)), ids=lambda k: name_of(ELEMENTWISE[k]))
placed = pytest.mark.parametrize("place", PLACES, ids=place_id)
SINGLE = [p for p in PLACES if p.dtype == "float32"]


def cancelling(rng: Rng, op: Elementwise) -> Graph:
    """Sums of numbers of 1e4 that leave numbers of one, before and after the operator."""
    b = Builder()
    source = b.add(Input((3,)))
    pair = rng.normal(size=(4, 3)) * 1e4
    twice = b.add(Dense(np.concatenate([np.eye(3), np.eye(3)])), [source])
    z = b.add(Dense(np.concatenate([pair, -pair + rng.normal(size=(4, 3))], 1), rng.normal(size=4)), [twice])
    y = put(b, op, z)
    up = np.where(np.arange(4) % 2, 1e4, -1e4) * np.ones((3, 1))
    both = b.add(Concat(0), [y, y])
    w = b.add(Dense(np.concatenate([up, -up + rng.normal(size=(3, 4)) * 0.5], 1), rng.normal(size=3)), [both])
    return b.graph([source], [b.add(layer(rng, 2, 3), [put(b, op, w)])])


@swept
def test_cancellation(k: int) -> None:
    """What is claimed to cover rounding covers it, in single precision, at points of one box and of nearly none."""
    rng = np.random.default_rng(k)
    graph = cancelling(rng, ELEMENTWISE[k])
    for kind in ("tiny", "point"):
        lower, upper = domains(rng, kind, 3, 2)
        x = points(rng, lower, upper, 12)
        value, off = fine_values(graph, x)
        for place in (SINGLE[k % 2], HOST):
            with np.errstate(all="ignore"):
                r = ready(graph, place, lower, upper)
                bounds = r.walk({}, known=False)
                assert check_walk(r, bounds, x, value, off)
                check_rows(r, bounds, x, value, off)


def towering(rng: Rng, seed: int) -> Graph:
    """Powers and exponentials of large numbers, which overflow here and there; then what may bring them back."""
    b = Builder()
    source = b.add(Input((2,)))
    ops = [Curve("exp"), Curve("power", (4.0,)), Curve("square"), Curve("power", (-3.0,)), Curve("power", (5.0,))]
    z = b.add(layer(rng, 4, 2, 10.0 ** rng.integers(0, 3)), [source])
    y = b.add(ops[seed % 5], [z])
    p = b.add(Product(), [b.add(Concat(1), [b.add(Reshape((4, 1)), [v]) for v in (y, b.add(ops[seed % 3], [z]))])])
    w = b.add(layer(rng, 3, 4, 10.0 ** rng.integers(-20, 20)), [p])
    last = [Curve("tanh"), Curve("silu"), Share(), Curve("log"), Curve("gelu"), Relu(), Curve("softplus"), Curve("sin")]
    return b.graph([source], [b.add(layer(rng, 2, 3), [b.add(last[seed % 8], [w])])])


@pytest.mark.parametrize("place", SINGLE, ids=place_id)
def test_bounds_that_are_numbers_hold(place: Place) -> None:
    for seed in range(40):
        rng = np.random.default_rng([seed, 5])
        graph = towering(rng, seed)
        lower, upper = domains(rng, "plain", 2, 2)
        x = points(rng, lower, upper, 12)
        value, off = fine_values(graph, x)
        with np.errstate(all="ignore"):
            r = ready(graph, place, lower, upper)
            bounds = r.walk({}, known=False)
            check_walk(r, bounds, x, value, off)
            check_rows(r, bounds, x, value, off)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_no_wrong_unsat(dtype: str) -> None:
    """Where points of the real network satisfy the property the verdict is anything but `unsat`."""
    verdicts = []
    for seed in range(16):
        rng = np.random.default_rng([seed, 6])
        graph = short(towering(rng, seed))
        lower, upper = (a[0] for a in domains(rng, "plain", 2, 1))
        value, off = (v[-1][0] for v in fine_values(graph, points(rng, lower[None], upper[None], 64)))
        row = rng.normal(size=2)
        high = value @ row.astype(LD) + off @ abs(row)
        high = high[np.isfinite(high)].astype(float)
        if not len(high) or not np.isfinite(high).any():
            continue
        prop = property_of(lower, upper, [[(row, np.zeros(2), float(np.quantile(high, rng.choice([0.02, 0.5]))))]])
        with np.errstate(all="ignore"):
            verdicts.append(verifier.verify(Net(graph, dtype), prop, timeout=0.1).verdict)
        assert verdicts[-1] != "unsat", f"seed {seed}"
    assert len(verdicts) > 8


@placed
def test_an_infinite_bound_spoils_nothing_else(place: Place) -> None:
    """One domain holds a pole, another does not; one entry is unbounded, others are not used with it."""
    b = Builder()
    source = b.add(Input((2,)))
    y = b.add(Curve("power", (-1.0,)), [source])
    graph = b.graph([source], [b.add(Dense(np.array([[1.0, 0.0], [0.0, 1.0]]), np.array([0.1, 0.2])), [y])])
    lower, upper = np.array([[1.0, 1.0], [1.0, -1.0]]), np.array([[2.0, 2.0], [2.0, 1.0]])
    box = boxes(place.array(lower), place.array(upper), place.array(np.arange(2)), place.dtype)
    with np.errstate(all="ignore"):
        r = ready(graph, place, lower[:1], upper[:1])
        r = type(r)(r.graph, r.net, r.size, box, {})
        bounds = r.walk({}, known=False)
        rows = make_rows(graph, r.net, r.size, np.eye(2), None, np.zeros(2))
        ids = place.array(np.array([[0, 1], [0, 1]]))
        planes = rows_backward(r.net, rows, ids, bounds.weights(r.net), bounds.relaxed)
        A, c = (to_numpy(a) for a in (planes.A, planes.b - planes.error))
        least = (c - (abs(A) * to_numpy(box.radius)[[0, 0, 1, 1]]).sum(1)) + (
            A * to_numpy(box.center)[[0, 0, 1, 1]]
        ).sum(1)
    assert np.isfinite(least[:2]).all(), "the domain without a pole"
    assert np.isfinite(least[2]), "the entry without a pole"
    assert not least[3] > -1e30


@pytest.mark.parametrize("method", METHODS[:3])
def test_bounds_of_what_is_defined_on_the_box(method: str) -> None:
    """Of a network whose curves have poles, or overflow, elsewhere: finite, and close where the box is small."""
    for op, low, high in (
        (Curve("log"), 1.0, 1.1), (Curve("power", (-1.0,)), 1.0, 1.1), (Curve("power", (-0.5,)), 1.0, 1.1),
        (Curve("tan"), 3.0, 3.1), (Curve("exp"), -200.0, -199.9), (Curve("power", (0.5,)), 0.0, 0.1),
        (Curve("power", (0.5,)), 0.0, 0.0),
    ):  # fmt: skip
        b = Builder()
        source = b.add(Input((2,)))
        graph = b.graph([source], [b.add(Dense(np.array([[1.0, -0.5]]), np.array([0.1])), [b.add(op, [source])])])
        l, u = verifier.bound(Net(graph), Box([low, low], [high, high]), method)
        y = np.sort(op.evaluate(np.array([low, high])))
        reach = 1.5 * (y[1] - y[0])
        assert u[0] - l[0] <= 1.4 * reach + 1e-9, f"{op.kind} on [{low}, {high}]: {l} .. {u}"


@swept
def test_parts_lie_inside(k: int) -> None:
    """Interval bounds of a part of a box lie inside those of the box, up to rounding."""
    op = ELEMENTWISE[k]
    graph = shaped(("plain", "gated", "attention", "residual")[k % 4], op, 7)
    n = graph.nodes[graph.inputs[0]].size
    for seed in range(2):
        rng = np.random.default_rng([k, seed])
        lower, upper = -rng.random((2, n)), rng.random((2, n))
        ends = np.sort(lower + (upper - lower) * rng.random((2, *lower.shape)), 0)
        with np.errstate(all="ignore"):
            r, s = (ready(graph, HOST, lo, hi, interval=True) for lo, hi in ((lower, upper), ends))
            a, b = r.walk(known=False), s.walk(known=False)
        for j, (l, u) in a.interval.items():
            slack = 1e-11 * (1 + np.where(np.isfinite(r.size[j]), r.size[j], 0)).reshape(l.shape[1:])
            assert not (b.interval[j][0] < l - slack).any(), f"node {j}"
            assert not (b.interval[j][1] > u + slack).any(), f"node {j}"


def test_every_shape_and_jump_is_known() -> None:
    assert len(SHAPES) == 8
    assert sum(map(jumps, ELEMENTWISE)) == 10


@placed
@pytest.mark.parametrize("n", [20, 130])
def test_sums_of_sums(place: Place, n: int) -> None:
    """Normalised, then two layers, with more inputs than get symbols: the first neurons' bounds are those of the
    composed affine map, up to rounding."""
    rng = np.random.default_rng(n)
    b = Builder()
    source = b.add(Input((n,)))
    x = b.add(Scale(np.full(n, 2.5), rng.normal(size=n)), [source])
    first, second = layer(rng, 40, n), layer(rng, 12, 40)
    z = b.add(second, [b.add(first, [x])])
    graph = b.graph([source], [b.add(layer(rng, 2, 12), [b.add(Curve("tanh"), [z])])])
    lower = rng.normal(size=(1, n)).astype(np.float32).astype(float)
    upper = (lower + 0.1 * rng.random(n)).astype(np.float32).astype(float)
    with np.errstate(all="ignore"):
        r = ready(graph, place, lower, upper, interval=n > 100)
        bounds = r.walk({}, known=False)
    W = second.W @ first.W * 2.5
    c = second.W @ (first.W @ graph.nodes[1].op.t + first.b) + second.b  # type: ignore[attr-defined]
    center, radius = (lower[0] + upper[0]) / 2, (upper[0] - lower[0]) / 2
    middle, reach = W @ center + c, abs(W) @ radius
    l, u = (to_numpy(a)[0] for a in bounds.interval[3])
    share: Any = {"float32": 2e-2, "float64": 1e-9}[place.dtype]
    assert (l <= middle - reach * (1 - 1e-5)).all() and (u >= middle + reach * (1 - 1e-5)).all()
    assert ((u - l) <= 2 * reach * (1 + share)).all(), ((u - l) / (2 * reach)).max()


@placed
def test_small_terms_lost_in_a_large_sum(place: Place) -> None:
    """Intercepts of a thousand operators, added to one that is so much larger that rounding swallows each of them."""
    n, lost = 2000, {"float32": 2.0**-25, "float64": 2.0**-54}[place.dtype]
    b = Builder()
    source = b.add(Input((n,)))
    graph = b.graph([source], [b.add(Step("positive"), [source])])
    lower, upper = np.full((1, n), 0.5), np.full((1, n), 1.0)
    r = ready(graph, place, lower, upper, interval=True)
    bounds = r.walk({}, known=False)
    for big in (0, 7, 100):
        A = np.full((2, n), lost)
        A[:, big] = 1.0
        A[1] *= -1
        truth = A.astype(LD).sum(1)
        rows = make_rows(graph, r.net, r.size, A, None, np.zeros(2))
        planes = rows_backward(r.net, rows, place.array(np.array([[0, 1]])), bounds.weights(r.net), bounds.relaxed)
        assert not to_numpy(planes.A).any()
        least = (to_numpy(planes.b).astype(LD) - to_numpy(planes.error))[:2]
        assert (least <= truth).all()


@placed
def test_products_of_slopes_round(place: Place) -> None:
    """Forms of a leaky rectifier right after the input, which nothing but its own allowance covers."""
    rng = np.random.default_rng(3)
    b = Builder()
    source = b.add(Input((60,)))
    leak = float(np.float32(0.1))
    graph = b.graph([source], [b.add(Relu(leak), [source])])
    lower = -1 - rng.random((2, 60))
    upper = lower * rng.random((2, 60))
    lower, upper = (a.astype(place.dtype).astype(float) for a in (lower, upper))
    x = points(rng, lower, upper, 12)
    value, off = fine_values(graph, x)
    r = ready(graph, place, lower, upper)
    assert check_walk(r, r.walk({}, known=False), x, value, off)
