"""The law of branching scores: finite, not negative, zero where nothing varies, and each domain on its own."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.laws.cases import GRAPHS, PLACES, Ready, domains, place_id, ready
from verifier.bounds.propagate import Bounds, Boxes
from verifier.bounds.rows import make_rows, rows_backward
from verifier.search.branching.gap import Gap
from verifier.values.arrays import Place, to_numpy


def score(r: Ready, bounds: Bounds, row: np.ndarray) -> np.ndarray:
    """Scores `[B, n]` for one row over the outputs."""
    B = len(r.box.lower)
    rows = make_rows(r.graph, r.net, r.size, row[None], None, np.zeros(1))
    seen: dict[int, Any] = {}
    ids = r.net.place.array(np.zeros((B, 1), np.int64))
    planes = rows_backward(r.net, rows, ids, bounds.weights(r.net), bounds.relaxed, seen)
    picked = {i: a.reshape(B, -1) for i, a in seen.items()}
    return to_numpy(Gap().score(r.net, bounds, picked, planes.A, r.box.radius))


def reordered(r: Ready, order: list[int]) -> Ready:
    box = Boxes(*(a[order] for a in (r.box.lower, r.box.upper, r.box.center, r.box.radius)), r.box.symbols)
    return Ready(r.graph, r.net, r.size, box, r.known)


@pytest.mark.parametrize("kind", ["plain", "sides", "huge", "tiny", "point"])
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("place", PLACES[:3], ids=place_id)
def test_law(place: Place, name: str, kind: str) -> None:
    rng = np.random.default_rng([len(name), len(kind)])
    graph = GRAPHS[name](rng)
    lower, upper = domains(rng, kind, graph.nodes[0].size, 4)
    lower, upper = (a.astype(place.dtype).astype(np.float64) for a in (lower, upper))  # so that a point stays one
    row = rng.normal(size=graph.nodes[graph.outputs[0]].size)
    r = ready(graph, place, lower, upper)
    found = score(r, r.walk({}), row)
    assert found.shape == lower.shape
    assert np.isfinite(found).all()
    assert (found >= 0).all()
    assert (found[lower == upper] == 0).all()
    if kind == "plain":
        assert (found.max(1) > 0).all()
    order = [2, 0, 3, 1]
    s = reordered(r, order)
    size = found.max() + 1e-30
    np.testing.assert_allclose(score(s, s.walk({}), row), found[order], rtol=1e-2, atol=1e-4 * size)


def test_the_input_that_makes_the_gap_is_chosen() -> None:
    """`relu(x) − x/1000` and a second input that only adds a constant slope of 1/1000."""
    from verifier.graph.graph import Builder, Input
    from verifier.graph.ops.affine import Dense
    from verifier.graph.ops.relu import Relu

    b = Builder()
    x = b.add(Input((2,)))
    z = b.add(Relu(), [b.add(Dense(np.array([[1.0, 0.0]]), np.zeros(1)), [x])])
    graph = b.graph([x], [b.add(Dense(np.array([[-1.0]])), [z])])
    r = ready(graph, PLACES[1], np.array([[-1.0, -1.0]]), np.array([[1.0, 1.0]]))
    found = score(r, r.walk({}), np.ones(1))
    assert found[0, 0] > found[0, 1] == 0
