"""Bounds of one box don't depend on how they are computed: alone or batched, with numpy or torch, sparse or dense."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from verifier.bounds.propagate import Bounds, propagate
from verifier.graph.graph import Graph
from verifier.values.arrays import Place, to_numpy

from . import cases
from .cases import GRAPHS, HOST, Ready, domains, place_id, points, ready, wide_values
from .test_bounds import check_rows, check_walk, setting

NUMPY = [Place("numpy", dtype) for dtype in ("float32", "float64")]
SHARE = {"float32": 1e-4, "float64": 1e-12}
"""How far two computations may differ, as a share of the magnitudes behind a value."""


def close(a: Bounds, b: Bounds, size: dict[int, np.ndarray], share: float) -> None:
    assert a.interval.keys() == b.interval.keys()
    for j in a.interval:
        for p, q in zip(a.interval[j], b.interval[j], strict=True):
            away = abs(to_numpy(p).astype(float) - to_numpy(q)).reshape(len(p), -1)
            assert (away <= share * size[j] + 1e-30).all(), f"node {j}"


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_torch_and_numpy(dtype: str, name: str) -> None:
    graph, lower, upper, _ = setting(name, "plain", 5)
    r, s = (ready(graph, Place(kind, dtype), lower, upper) for kind in ("numpy", "torch"))
    for critical in (None, {}):
        a, b = r.walk(critical), s.walk(critical)
        close(a, b, r.size, SHARE[dtype])
        for i, form in a.forms.items():
            for p, q in ((form.C, b.forms[i].C), (form.r, b.forms[i].r), (form.span, b.forms[i].span)):
                np.testing.assert_allclose(p, to_numpy(q), atol=SHARE[dtype] * r.size[i].max() * 10)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("place", NUMPY, ids=place_id)
def test_batch_independence(place: Place, name: str) -> None:
    """Alone, in the batch, and in the batch reversed; rounding allowances are shared, so up to those."""
    graph, lower, upper, _ = setting(name, "plain", 6)
    r = ready(graph, place, lower, upper)
    box = r.box
    for critical in (None, {}):
        whole = r.walk(critical)
        for order in ([0], [1], [2], [2, 1, 0]):
            part = type(box)(*(a[order] for a in (box.lower, box.upper, box.center, box.radius)), box.symbols)
            got = propagate(r.net, part, None, set(), critical, 500, r.known)
            some = {j: (l[order], u[order]) for j, (l, u) in whole.interval.items()}
            picked = Bounds(some, {}, {}, {}, box.symbols, {})
            close(got, picked, r.size, SHARE[place.dtype])


@pytest.mark.parametrize("kind", ["plain", "sides", "tiny", "huge"])
@pytest.mark.parametrize("place", NUMPY, ids=place_id)
def test_sparse_weights(place: Place, kind: str) -> None:
    """Matrices kept by scipy: sound, and the same bounds as dense ones."""
    graph, lower, upper, x = setting("thinned", kind, 7)
    r = ready(graph, place, lower, upper)
    s = Ready(graph, ready(cases.sparse_layers(graph), place, lower, upper).net, r.size, r.box, r.known)
    for critical in (None, {}):
        a, b = r.walk(critical), s.walk(critical)
        close(a, b, r.size, SHARE[place.dtype])
        check_walk(s, b, x)
    sparse_rows(s, b, x)


def sparse_rows(s: Ready, bounds: Bounds, x: np.ndarray) -> None:
    check_rows(s, bounds, x)
    check_rows(Ready(cases.sparse_layers(s.graph), s.net, s.size, s.box, s.known), bounds, x, evaluated=s.graph)


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("place", NUMPY, ids=place_id)
def test_parts_lie_inside(place: Place, name: str) -> None:
    """Interval bounds of a part of a box lie inside those of the box, up to the allowance for rounding."""
    graph, lower, upper, _ = setting(name, "plain", 8)
    rng = np.random.default_rng(8)
    ends = np.sort(lower + (upper - lower) * rng.random((2, *lower.shape)), 0)
    r, s = (ready(graph, place, lo, hi, interval=True) for lo, hi in ((lower, upper), ends))
    a, b = r.walk(known=False), s.walk(known=False)
    for j, (l, u) in a.interval.items():
        slack = SHARE[place.dtype] * r.size[j].reshape(l.shape[1:])
        assert (b.interval[j][0] >= l - slack).all()
        assert (b.interval[j][1] <= u + slack).all()


@pytest.mark.parametrize("name", GRAPHS)
def test_the_backward_walk_only_tightens(name: str) -> None:
    """Layer by layer: given the same relaxations below, the backward walk never loosens what the forward walk found."""
    graph, lower, upper, x = setting(name, "plain", 9)
    r = ready(graph, HOST, lower, upper)
    bounds, forward = r.walk({}, known=False), r.walk(None, known=False)
    first = next((j for j in r.net.sources if not np.array_equal(bounds.interval[j][0], forward.interval[j][0])), None)
    if first is not None:
        assert (bounds.interval[first][0] >= forward.interval[first][0]).all()
        assert (bounds.interval[first][1] <= forward.interval[first][1]).all()
    else:
        assert len(r.net.sources) < 3, "nothing was tightened"


@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("place", NUMPY, ids=place_id)
def test_some_neurons_and_known_signs(place: Place, name: str) -> None:
    """Any choice of critical neurons is sound, and so are signs that hold on the boxes: those of an outer box."""
    graph, lower, upper, x = setting(name, "plain", 10)
    rng = np.random.default_rng(10)
    B, nodes = len(lower), graph.nodes
    r = ready(graph, place, lower, upper)
    critical = {j: rng.random((B, *nodes[j].shape)) < 0.5 for j in r.net.sources}
    some, every = r.walk(critical), r.walk({})
    check_walk(r, some, x)
    sign = {j: (l >= 0).astype(np.int8) - ((u <= 0) & (l < 0)).astype(np.int8) for j, (l, u) in every.interval.items()}
    keep: Any = set(range(len(nodes)))
    signed = propagate(r.net, r.box, sign, keep, None, 500, r.known)
    check_walk(r, signed, x)
    check_rows(r, signed, x)
    for j, (l, u) in signed.interval.items():
        assert (l[sign[j] > 0] >= 0).all()
        assert (u[sign[j] < 0] <= 0).all()


@pytest.mark.parametrize("name", ["chain", "residual", "moves"])
def test_bounds_are_not_idle(name: str) -> None:
    """On small boxes the bounds come close to what points reach: a law that holds for infinite bounds says nothing."""
    rng = np.random.default_rng(11)
    graph: Graph = GRAPHS[name](rng)
    lower, upper = domains(rng, "tiny", graph.nodes[0].size)
    r = ready(graph, HOST, lower, upper)
    value = wide_values(graph, points(rng, lower, upper, 400))
    for j, (l, u) in r.walk({}).interval.items():
        l, u = l.reshape(3, -1), u.reshape(3, -1)
        reach = value[j].max(1) - value[j].min(1)
        assert ((u - l).astype(np.longdouble) <= 1.5 * reach + 1e-11 * r.size[j]).all()


def test_graphs_cover_all_affine_operators() -> None:
    ops = {type(n.op).__name__ for make in GRAPHS.values() for n in make(np.random.default_rng(0)).nodes}
    assert ops >= {"Add", "Concat", "Conv", "Dense", "Reshape", "Scale", "Sum", "Take", "Transpose", "Relu", "Input"}
