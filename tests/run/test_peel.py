"""A last layer that keeps the order of the outputs is left out where only their order is asked about."""

from __future__ import annotations

import numpy as np
import pytest

from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Reshape
from verifier.graph.ops.product import Share
from verifier.graph.ops.relu import Relu
from verifier.run.peel import peeled
from verifier.spec.builders import output_property
from verifier.spec.property import Property


def network(last: list) -> Graph:
    rng = np.random.default_rng(0)
    b = Builder()
    x = b.add(Input((1, 3)))
    h = b.add(Relu(), (b.add(Dense(rng.normal(size=(8, 3)), rng.normal(size=8)), (x,)),))
    y = b.add(Dense(rng.normal(size=(4, 8)), rng.normal(size=4)), (h,))
    for op in last:
        y = b.add(op, (y,))
    return b.graph([x], [y])


def order(rows: list[list[float]], d: float = 0.0) -> Property:
    return output_property(np.zeros(3), np.ones(3), [[(np.array(row), d) for row in rows]], "law")


COMPARE = order([[1, -1, 0, 0], [0, 2, 0, -2]])


@pytest.mark.parametrize(
    "last",
    [
        [Share()],
        [Curve("sigmoid")],
        [Curve("tanh"), Share()],
        [Reshape((1, 4)), Share(), Reshape((4,))],
        [Reshape((4,)), Curve("exp")],
    ],
    ids=str,
)
def test_literals_hold_as_before(last: list) -> None:
    graph = network(last)
    short = peeled(graph, COMPARE)
    assert not any(isinstance(n.op, (Share, Curve)) for n in short.nodes)
    assert short.nodes[short.outputs[0]].shape == graph.nodes[graph.outputs[0]].shape
    x = np.random.default_rng(1).normal(size=(500, 1, 3))
    signs = [np.sign(g.evaluate(x)[0].reshape(500, -1) @ COMPARE.A_y.T) for g in (graph, short)]
    assert (signs[0] == signs[1]).all() and {-1, 1} <= set(signs[0].ravel())


@pytest.mark.parametrize(
    ("last", "prop"),
    [
        ([Share()], order([[1, 0, 0, 0]], 0.5)),
        ([Share()], order([[1, -1, 0, 0]], 0.1)),
        ([Share()], order([[1, -2, 0, 0]])),
        ([Share()], order([[1, 1, -1, -1]])),
        ([Reshape((2, 2)), Share(), Reshape((4,))], order([[1, 0, -1, 0]])),
        ([Curve("sin")], COMPARE),
        ([Curve("square")], COMPARE),
        ([Relu()], COMPARE),
    ],
    ids=str,
)
def test_what_is_not_order_stays(last: list, prop: Property) -> None:
    """A threshold, a difference, weights, two groups of a softmax, or a function that is not strictly increasing."""
    graph = network(last)
    assert peeled(graph, prop) is graph
