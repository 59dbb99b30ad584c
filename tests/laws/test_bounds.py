"""Laws of bounds: whatever is claimed about a box holds at every point of it, rounding included.

Values are computed in extended precision (or in rational arithmetic), so that a bound which only rounding has moved
too far is caught, too.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from verifier.bounds.propagate import Bounds
from verifier.bounds.rows import make_rows, rows_backward, rows_forward
from verifier.graph.graph import Graph
from verifier.values.arrays import Place, to_numpy

from . import cases
from .cases import BOXES, GRAPHS, PLACES, Ready, domains, place_id, points, ready, wide_values

FINE = np.longdouble(2.0**-61)
"""What extended precision leaves unknown of a sum, relative to its magnitudes."""


def ld(a: Any) -> np.ndarray:
    return to_numpy(a).astype(np.longdouble)


@cache
def setting(name: str, kind: str, seed: int) -> tuple[Graph, np.ndarray, np.ndarray, np.ndarray]:
    """Graph, boxes, and points in them, some of them attacked."""
    rng = np.random.default_rng([seed, *name.encode(), *kind.encode()])
    graph = GRAPHS[name](rng)
    lower, upper = domains(rng, kind, graph.nodes[graph.inputs[0]].size)
    targets = [graph.outputs[0], graph.nodes[graph.outputs[0] - 1].inputs[0]]
    x = [points(rng, lower, upper), *(cases.attacked(rng, graph, t, lower, upper) for t in targets)]
    return graph, lower, upper, np.concatenate(x, 1)


def check_walk(r: Ready, bounds: Bounds, x: np.ndarray) -> None:
    """Intervals and forms enclose the values."""
    value = wide_values(r.graph, x)
    slack = [FINE * s[None, None] for s in (r.size[i] for i in range(len(r.graph.nodes)))]
    for j, (l, u) in bounds.interval.items():
        l, u = (ld(a).reshape(len(x), 1, -1) for a in (l, u))
        assert (l <= value[j] + slack[j]).all(), f"lower bound of node {j}"
        assert (value[j] <= u + slack[j]).all(), f"upper bound of node {j}"
    eps = symbols_at(r, bounds, x)
    for i, form in bounds.forms.items():
        C, rest = ld(form.C).reshape(len(x), form.C.shape[1], -1), ld(form.r).reshape(len(x), 1, -1)
        away = value[i] - C[:, -1:] - eps @ C[:, :-1]
        assert (abs(away) <= rest + slack[i] * 4).all(), f"form of node {i}"
        assert (ld(form.span).reshape(len(x), -1) * (1 + 1e-5) >= abs(C[:, :-1]).sum(1)).all()


def symbols_at(r: Ready, bounds: Bounds, x: np.ndarray) -> np.ndarray:
    """`[B, P, k]` the symbols' values at points."""
    s = to_numpy(bounds.symbols)
    center, radius = ld(r.box.center)[:, None, s], ld(r.box.radius)[:, None, s]
    eps = (x[:, :, s] - center) / np.where(radius > 0, radius, 1)
    assert (abs(eps) <= 1).all()
    return eps


def check_rows(r: Ready, bounds: Bounds, x: np.ndarray, seed: int = 0, evaluated: Graph | None = None) -> None:
    """Planes and forms of rows over outputs and inputs stand below the rows' values (of `evaluated`, if given)."""
    rng = np.random.default_rng(seed)
    m, n, B = r.graph.nodes[r.net.output].size, x.shape[2], len(x)
    A_y, A_x = rng.normal(size=(4, m)), rng.normal(size=(4, n)) * (np.arange(4)[:, None] % 2)
    A_y, A_x, d = np.concatenate([A_y, -A_y]), np.concatenate([A_x, -A_x]), rng.normal(size=8)
    rows = make_rows(r.graph, r.net, r.size, A_y, A_x, d)
    ids = np.stack([rng.permutation(8) for _ in range(B)])
    value = wide_values(evaluated or r.graph, x)[r.net.output]
    truth = value @ A_y.T.astype(np.longdouble) + x @ A_x.T.astype(np.longdouble) - d  # [B, P, L]
    truth = np.take_along_axis(truth, ids[:, None], 2)
    size = abs(A_y) @ r.size[r.net.output] + abs(A_x) @ abs(x).max((0, 1)) + abs(d)
    slack = FINE * size[ids][:, None]
    array = r.net.place.array
    planes = rows_backward(r.net, rows, array(ids), bounds.weights(r.net), bounds.relaxed)
    A, b, error = (ld(a).reshape(B, 8, -1) for a in (planes.A, planes.b, planes.error))
    plane = x @ np.swapaxes(A, 1, 2) + (b - error)[:, :, 0][:, None]
    assert (plane <= truth + slack).all(), "a plane of the backward walk"
    C, b, less = (ld(a) for a in rows_forward(r.net, rows, array(ids), bounds.forms))
    plane = symbols_at(r, bounds, x) @ np.swapaxes(C, 1, 2) + (b - less)[:, None]
    assert (plane <= truth + slack).all(), "a plane of the forward walk"


@pytest.mark.parametrize("kind", BOXES)
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("place", PLACES, ids=place_id)
def test_bounds_enclose(place: Place, name: str, kind: str) -> None:
    for seed in range(2):
        graph, lower, upper, x = setting(name, kind, seed)
        for interval, critical in ((True, None), (False, None), (False, {})):
            r = ready(graph, place, lower, upper, interval)
            bounds = r.walk(critical, known=seed == 1)
            check_walk(r, bounds, x)
            check_rows(r, bounds, x, seed)
