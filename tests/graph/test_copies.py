"""Entries that are said to be copies of one number, or constants, are."""

from __future__ import annotations

import numpy as np
import pytest

from verifier.graph.graph import Builder, Graph, Input, Node
from verifier.graph.ops.adjoint import Constant
from verifier.graph.ops.affine import Dense, Scale
from verifier.graph.ops.moves import Concat, Reshape, Take
from verifier.graph.passes.copies import Copies, copies
from verifier.graph.passes.edit import Editor


def _graph(rng: np.random.Generator, steps: int) -> Graph:
    """Of five inputs: entries taken, padded, scaled, shifted, put side by side with constants and with a layer."""
    b = Builder()
    x = b.add(Input((5,)), ())
    nodes = [x, b.add(Dense(rng.integers(-2, 3, (4, 5)).astype(float), None), (x,))]
    for _ in range(steps):
        i = int(rng.choice(nodes[-3:]))
        size, kind = b.nodes[i].size, rng.integers(5)
        if kind == 0:
            i = b.add(Take(rng.integers(-1, size, 8), (8,)), (i,))
        elif kind == 1:
            s = [None, np.array(rng.choice([1.0, -1.0, 3.0, 0.1])), rng.choice([1.0, -1.0, 0.3], size)][rng.integers(3)]
            t = [None, np.array(rng.choice([0.0, 0.7])), rng.choice([0.0, -2.0, 0.1], size)][rng.integers(3)]
            i = b.add(Scale(s, t), (i,))
        elif kind == 2:
            i = b.add(Concat(0), (i, int(rng.choice(nodes))))
        elif kind == 3:
            i = b.add(Concat(0), (i, b.add(Constant(rng.integers(-1, 2, 3).astype(float)), (x,))))
        else:
            i = b.add(Reshape((size,)), (b.add(Reshape((1, size)), (i,)),))
        nodes.append(i)
    return b.graph([x], [nodes[-1]])


def _of_every_node(graph: Graph) -> dict[int, Copies]:
    """What is said of each node; the editor's positions are the graph's."""
    found: dict[int, Copies] = {}

    def rule(edit: Editor, node: Node, inputs: tuple[int, ...]) -> None:
        found.update({i: copies(edit, i) for i in inputs if i not in found})

    Editor().rewrite(graph, rule)
    return found


def _values(graph: Graph, i: int, x: np.ndarray) -> np.ndarray:
    (y,) = Graph(graph.nodes[: i + 1], graph.inputs, (i,)).evaluate(x)
    return y.reshape(len(x), -1)


def test_what_is_said_is_so() -> None:
    """On random graphs, at random points, to the last bit; and much is said."""
    equal = constant = traced = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        graph = _graph(rng, 8)
        x = rng.normal(size=(4, 5)).round(2)
        for i, c in _of_every_node(graph).items():
            y = _values(graph, i, x)
            assert c.ids.shape == c.values.shape == (graph.nodes[i].size,)
            assert (y[:, c.ids == 0] == c.values[c.ids == 0]).all() and not c.values[c.ids != 0].any()
            for same in (np.flatnonzero(c.ids == k) for k in np.unique(c.ids[c.ids != 0])):
                assert (y[:, same] == y[:, same[:1]]).all()
                equal += len(same) - 1
            constant += int((c.ids == 0).sum())
            for at in (np.flatnonzero(c.ids != 0), rng.choice(graph.nodes[i].size, 2)):
                source = c.traced(at)
                if source is not None:
                    assert (_values(graph, source[0], x)[:, source[1]] == y[:, at]).all()
                    traced += len(at)
    assert min(equal, constant, traced) > 300


@pytest.mark.parametrize("s, t, found", [(2.0, 0.0, False), (1.0, 3.0, False), (-1.0, 0.0, True), (1.0, 0.0, True)])
def test_constants_that_might_be_rounded_are_none(s: float, t: float, found: bool) -> None:
    """A constant is followed where nothing is rounded; a zero may be shifted by anything."""
    b = Builder()
    x = b.add(Input((2,)), ())
    c = b.add(Constant(np.array([0.1, 0.0])), (x,))
    y = b.add(Scale(np.array(s), np.array(t)), (c,))
    of = _of_every_node(b.graph([x], [b.add(Reshape((1, 2)), (y,))]))[y]
    assert ((of.ids == 0) == (found, True)).all()
    assert of.values.tolist() == [s * 0.1 if found else 0.0, t]


def test_a_result_of_rounding_is_nobodys_copy() -> None:
    """What is only known up to rounding stands for itself."""
    b = Builder()
    x = b.add(Input((2,)), ())
    value = np.array([1.0, 1.0])
    c = b.add(Constant(value, value), (x,))
    d = b.add(Scale(np.array(1.0), None, Scale(np.array(1.0))), (x,))
    of = _of_every_node(b.graph([x], [b.add(Concat(0), (c, d))]))
    assert len(set(of[c].ids)) == 2 and (of[c].ids != 0).all()
    assert (of[d].ids != of[x].ids).all()


def test_numbers_that_are_scaled_are_copies_among_themselves_only() -> None:
    """Of two nodes that scale the same entries none is the other's copy."""
    b = Builder()
    x = b.add(Input((4,)), ())
    h = b.add(Take(np.array([0, 0, 1, 2, 2, 3]), (6,)), (x,))
    both = b.add(Concat(0), [b.add(Scale(np.array(s), None), (h,)) for s in (3.0, 0.1, -2.0)])
    of = _of_every_node(b.graph([x], [b.add(Reshape((1, 18)), (both,))]))[both]
    each = of.ids.reshape(3, 6)
    assert len(np.unique(each)) == 12
    assert (each[:, 0] == each[:, 1]).all() and (each[:, 3] == each[:, 4]).all()
