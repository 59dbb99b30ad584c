"""Laws of bounds for every nonlinear operator: whatever is claimed about a box holds at every point of it."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from verifier.bounds.network import magnitudes, prepare
from verifier.bounds.propagate import Bounds, boxes, propagate
from verifier.bounds.rows import make_rows, rows_backward, rows_forward, rows_interval
from verifier.graph.graph import Graph
from verifier.values.arrays import Place, to_numpy
from verifier.values.rounding import outward

from . import cases
from .cases import HOST, PLACES, Ready, place_id, points
from .general_cases import ELEMENTWISE, LD, SHAPES, assorted, fine_values, name_of, shaped

BOXES = {
    "plain": lambda rng, n: cases._box(rng, n, 0.7, 0.5),
    "sides": cases._sides,
    "tiny": lambda rng, n: cases._box(rng, n, 1.0, 1e-6),
    "wide": lambda rng, n: cases._box(rng, n, 0.5, 1.5),
    "point": cases._point,
}


def domains(rng: np.random.Generator, kind: str, n: int, B: int = 2) -> tuple[np.ndarray, np.ndarray]:
    pairs = [BOXES[kind](rng, n) for _ in range(B)]
    return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])


@cache
def setting(shape: str, k: int, kind: str) -> Any:
    """Graph, boxes, points in them (some attacked), values there, and what is unknown of these."""
    seed = sum(map(ord, kind))
    rng = np.random.default_rng([seed, k, *shape.encode()])
    graph = assorted(rng) if shape == "assorted" else shaped(shape, ELEMENTWISE[k], seed)
    lower, upper = domains(rng, kind, graph.nodes[graph.inputs[0]].size)
    with np.errstate(all="ignore"):
        x = climbed(rng, graph, lower, upper, points(rng, lower, upper, 12))
        symbols = np.flatnonzero((lower < upper).any(0))
        hull = boxes(lower.min(0)[None], upper.max(0)[None], symbols, "float64")
        sure = propagate(prepare(graph, HOST), hull, None, set(), {}, 10**6).interval
        size = magnitudes(graph, lower.min(0), upper.max(0), sure)
    return graph, lower, upper, symbols, size, x, *fine_values(graph, x)


def climbed(rng: np.random.Generator, graph: Graph, lower: Any, upper: Any, x: np.ndarray) -> np.ndarray:
    """Points, and better ones for random rows over the outputs, by changing some inputs at a time."""
    (B, P, n), shape = x.shape, graph.nodes[graph.inputs[0]].shape
    row = rng.choice([-1.0, 1.0], (P, graph.nodes[graph.outputs[0]].size))

    def worth(z: np.ndarray) -> np.ndarray:
        return (graph.evaluate(z.reshape(B * P, *shape))[0].reshape(B, P, -1) * row).sum(-1)

    best, now = x, worth(x)
    for k in range(5):
        step = np.where(rng.random((B, P, n)) < 0.5, rng.normal(size=(B, P, n)) * 0.5**k, 0)
        z = np.clip(best + (upper - lower)[:, None] * step, lower[:, None], upper[:, None])
        then = worth(z)
        best, now = np.where((then < now)[..., None], z, best), np.fmin(then, now)
    return np.concatenate([x, best], 1)


def made(place: Place, setting: Any, interval: bool) -> Ready:
    graph, lower, upper, symbols, size = setting[:5]
    box = boxes(*outward(lower, upper, place), place.array(symbols[: 0 if interval else None]), place.dtype)
    return Ready(graph, prepare(graph, place), size, box, {})


def ld(a: Any) -> np.ndarray:
    return to_numpy(a).astype(LD)


def symbols_at(r: Ready, bounds: Bounds, x: np.ndarray) -> np.ndarray:
    s = to_numpy(bounds.symbols)
    center, radius = ld(r.box.center)[:, None, s], ld(r.box.radius)[:, None, s]
    return (x[:, :, s] - center) / np.where(radius > 0, radius, 1)


def check_walk(r: Ready, bounds: Bounds, x: np.ndarray, value: Any, off: Any) -> int:
    """Intervals, images and forms enclose the values; how many finite bounds there were."""
    met = 0
    for claims in (bounds.interval, bounds.image):
        for j, (l, u) in claims.items():
            l, u = (ld(a).reshape(len(x), 1, -1) for a in (l, u))
            assert not (l > value[j] + off[j]).any(), f"lower bound of node {j}, {name_of(r.graph.nodes[j].op)}"
            assert not (u < value[j] - off[j]).any(), f"upper bound of node {j}, {name_of(r.graph.nodes[j].op)}"
            met += int(np.isfinite(l).sum() + np.isfinite(u).sum())
    eps = symbols_at(r, bounds, x)
    for i, form in bounds.forms.items():
        C, rest = ld(form.C).reshape(len(x), form.C.shape[1], -1), ld(form.r).reshape(len(x), 1, -1)
        with np.errstate(all="ignore"):
            away = value[i] - C[:, -1:] - eps @ C[:, :-1]
        size = FINE * (abs(eps) @ abs(C[:, :-1]) + abs(C[:, -1:]))
        assert not (abs(away) > rest + off[i] + size).any(), f"form of node {i}, {name_of(r.graph.nodes[i].op)}"
    return met


FINE = LD(2.0**-58)


def check_rows(r: Ready, bounds: Bounds, x: np.ndarray, value: Any, off: Any, seed: int = 0) -> int:
    """Planes, forms and intervals of rows over outputs and inputs stand below the rows' values."""
    rng = np.random.default_rng(seed)
    out, n, B, place = r.net.output, x.shape[2], len(x), r.net.place
    m = r.graph.nodes[out].size
    A_y, A_x = rng.normal(size=(3, m)), rng.normal(size=(3, n)) * (np.arange(3)[:, None] % 2)
    A_y, A_x, d = np.concatenate([A_y, -A_y]), np.concatenate([A_x, -A_x]), rng.normal(size=6)
    rows = make_rows(r.graph, r.net, r.size, A_y, A_x, d)
    ids = np.stack([rng.permutation(6) for _ in range(B)])
    truth = value[out] @ A_y.T.astype(LD) + x @ A_x.T.astype(LD) - d
    unknown = off[out] @ abs(A_y).T.astype(LD) + FINE * (abs(value[out]) @ abs(A_y).T + abs(x) @ abs(A_x).T + abs(d))
    truth, unknown = (np.take_along_axis(a, ids[:, None], 2) for a in (truth, unknown))
    planes = rows_backward(r.net, rows, place.array(ids), bounds.weights(r.net), bounds.relaxed)
    A, b, error = (ld(a).reshape(B, 6, -1) for a in (planes.A, planes.b, planes.error))
    known = np.isfinite(b - error)[:, :, 0]
    with np.errstate(all="ignore"):
        plane = x @ np.swapaxes(A, 1, 2) + (b - error)[:, :, 0][:, None]
    assert not (plane > truth + unknown).any(), "a plane of the backward walk"
    C, c, less = (ld(a) for a in rows_forward(r.net, rows, place.array(ids), bounds.forms))
    with np.errstate(all="ignore"):
        plane = symbols_at(r, bounds, x) @ np.swapaxes(C, 1, 2) + (c - less)[:, None]
    assert not (plane > truth + unknown).any(), "a plane of the forward walk"
    least = ld(rows_interval(r.net, rows, place.array(ids), bounds.image, (r.box.lower, r.box.upper)))
    assert not (least[:, None] > truth + unknown).any(), "intervals"
    return int(known.sum())


COMBINATIONS = [(shape, k) for shape in SHAPES for k in range(len(ELEMENTWISE))]
KINDS = list(BOXES)


def combination_id(c: tuple[str, int]) -> str:
    return f"{c[0]}-{name_of(ELEMENTWISE[c[1]])}"


def check(place: Place, shape: str, k: int, kind: str, interval: bool = False) -> None:
    given, met = setting(shape, k, kind), 0
    x, value, off = given[5:]
    with np.errstate(all="ignore"):
        r = made(place, given, interval)
        bounds = r.walk({}, known=False)
        met += check_walk(r, bounds, x, value, off)
        met += check_rows(r, bounds, x, value, off)
    assert met, "all bounds are infinite"


@pytest.mark.parametrize("combination", COMBINATIONS, ids=combination_id)
def test_bounds_enclose(combination: tuple[str, int]) -> None:
    """Every operator in every network, in single precision, on one kind of box, with and without symbols."""
    (shape, k), i = combination, COMBINATIONS.index(combination)
    check(Place("numpy", "float32"), shape, k, KINDS[i % len(KINDS)], i % 4 == 3)


@pytest.mark.parametrize("place", PLACES, ids=place_id)
@pytest.mark.parametrize("k", range(len(ELEMENTWISE)), ids=lambda k: name_of(ELEMENTWISE[k]))
def test_bounds_enclose_everywhere(place: Place, k: int) -> None:
    """Every operator at every place."""
    shape = list(SHAPES)[(k + PLACES.index(place)) % len(SHAPES)]
    check(place, shape, k, KINDS[(k + 3) % len(KINDS)])
    check(place, "assorted", k, KINDS[k % len(KINDS)])
