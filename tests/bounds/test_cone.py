"""What rows depend on: whatever moves a row is in the cone, and leaving the rest alone changes no bound."""

from __future__ import annotations

import numpy as np
import pytest

from tests.laws.general_nets import network
from verifier.bounds.cone import cone, wanted
from verifier.bounds.network import prepare
from verifier.bounds.propagate import boxes, propagate
from verifier.bounds.rows import make_rows, rows_backward
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Reshape, Take
from verifier.graph.ops.product import Share
from verifier.graph.ops.relu import Relu
from verifier.search.domains import roots
from verifier.search.neurons import tree
from verifier.search.query import make_query
from verifier.spec.builders import output_property
from verifier.values.arrays import Place, to_numpy

PLACE = Place("numpy", "float64")


def local(rng: np.random.Generator) -> Graph:
    """Convolutions, of whose output rows ask for one corner; two branches, of which one is not asked for."""
    b = Builder()
    x = b.add(Input((1, 9, 9)))
    h = x
    for c, op in ((3, Relu()), (2, Curve("tanh")), (2, Relu())):
        n = b.nodes[h].shape[0]
        h = b.add(op, (b.add(Conv(rng.normal(size=(c, n, 3, 3)), None, (1, 1), ((0, 0), (0, 0)), (1, 1)), (h,)),))
    soft = b.add(Share(), (b.add(Reshape((3, 6)), (h,)),))
    both = b.add(Take(np.array([0, 1, 17]), (3,)), (soft,))
    return b.graph([x], [b.add(Dense(np.array([[1.0, -1.0, 0.0], [0.0, 0.0, 1.0]]), None), (both,))])


def later(graph: Graph, values: list, j: int, e: int, by: float) -> np.ndarray:
    """The output where entry e of node j is moved."""
    moved = list(values)
    moved[j] = values[j].copy()
    moved[j].reshape(-1)[e] += by
    for i in range(j + 1, len(graph.nodes)):
        node = graph.nodes[i]
        if i not in graph.inputs:
            moved[i] = node.op.evaluate(*(moved[k] for k in node.inputs))
    return moved[graph.outputs[0]].reshape(-1)


def test_what_moves_a_row_is_inside_and_not_everything_is() -> None:
    rng = np.random.default_rng(0)
    graph = local(rng)
    net = prepare(graph, PLACE)
    for row in ([1.0, 0.0], [0.0, 1.0]):
        start = {graph.outputs[0]: np.array([row])}
        reached = cone(net, start)
        values = graph.values(rng.normal(size=(1, 1, 9, 9)))
        plain = values[graph.outputs[0]].reshape(-1) @ row
        for j in range(len(graph.nodes) - 1):
            mask = to_numpy(reached[j]).reshape(-1) if j in reached else np.zeros(graph.nodes[j].size, bool)
            moves = [later(graph, values, j, e, 0.3) @ row != plain for e in range(graph.nodes[j].size)]
            assert mask[np.array(moves)].all(), f"node {j}"
        shares = [float(m.mean()) for m in wanted(net, reached).values()]
        assert shares and min(shares) < 0.6


@pytest.mark.parametrize("seed", range(8))
def test_bounds_are_the_same(seed: int) -> None:
    """Rows by the backward walk, and the folded network, with and without what no row depends on."""
    rng = np.random.default_rng(seed)
    if seed < 4:
        graph, lower, upper = network(rng)
    else:
        graph = local(rng)
        lower = rng.normal(size=81) * 0.5
        upper = lower + 0.05
    A = np.array([[1.0, 0.0]])
    net = prepare(graph, PLACE)
    box = boxes(lower[None], upper[None], np.arange(len(lower)), "float64")
    size = {i: np.full(n.size, 1e3) for i, n in enumerate(graph.nodes)}
    rows = make_rows(graph, net, size, A, None, np.zeros(1))
    masks = wanted(net, cone(net, rows.start))
    found = []
    for critical in ({}, masks):
        bounds = propagate(net, box, None, set(), critical, 10**6)
        planes = rows_backward(net, rows, np.array([[0]]), bounds.weights(net), bounds.relaxed)
        found.append((planes.A, planes.b))
    for a, c in zip(*found, strict=True):
        assert np.allclose(a, c, rtol=1e-9, atol=1e-9)

    query = make_query(graph, output_property(lower, upper, [[(A[0], -1e3)]], "law"), PLACE)
    root = tree.root(query, roots(query))
    F = tree.plant(query, roots(query), tree.Root(root.bounds, np.ones(1, bool), root.corner)).exact
    x = rng.uniform(lower, upper, (50, len(lower)))
    values = graph.values(x.reshape(50, *graph.nodes[0].shape))
    z = np.stack([values[j].reshape(50, -1)[:, e] for j, e in zip(F.source, F.entry, strict=True)], 1)
    if F.plain:
        h = np.maximum(z, 0) + to_numpy(F.leak) * np.minimum(z, 0)
    else:
        h = np.concatenate([f.real(f.gather(z)) for f in F.layers], 1)
    got = x[:, F.varying] @ F.rows.X.T + h @ F.rows.H.T + F.rows.c
    truth = values[graph.outputs[0]].reshape(50, -1) @ A.T + 1e3
    assert (abs(got - truth) <= F.rows.error + 1e-9).all()
