"""What a type does to numbers is taken out of a network only where no number leaves the type's range."""

from __future__ import annotations

import numpy as np
import pytest

from verifier.bounds.inside import settled
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Add, Dense, Scale
from verifier.graph.ops.fit import Fit
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step

KINDS = [("int8", "wraps", -128.0, 127.0), ("uint8", "cut", 0.0, 255.0), ("float16", "overflows", -65504.0, 65504.0)]


def network(kind: str, how: str, inputs: int = 2) -> Graph:
    """Inputs as numbers of a type, and their sum."""
    b = Builder()
    x = b.add(Input((inputs,)), ())
    h = b.add(Fit(kind, how), (x,))
    return b.graph([x], [b.add(Dense(np.ones((1, inputs)), None), (h,))])


def fits(graph: Graph) -> int:
    return sum(isinstance(node.op, Fit) for node in graph.nodes)


@pytest.mark.parametrize("kind, how, least, most", KINDS)
def test_only_where_every_number_fits(kind: str, how: str, least: float, most: float) -> None:
    graph, width = network(kind, how), most - least
    inside = (least + width / 4, most - width / 4)
    for low, high, out in (
        (*inside, True),
        (least + 1, most - 1, True),
        (least, most, kind != "float16"),  # rounding may not be told from what is beyond
        (least - 1, most + 1, False),
        (inside[0], most + 5, False),
        (least - 5, inside[1], False),
        (most + 1, most + 2, False),
        (least - 2, least - 1, False),
        (least, np.inf, False),
    ):
        for k in (0, 1):  # the other entry is inside
            lower, upper = np.full(2, inside[0]), np.full(2, inside[1])
            lower[k], upper[k] = low, high
            found = settled(graph, lower, upper)
            assert fits(found) == (not out), (low, high)
            if out:
                x = np.stack([lower, upper, lower * 0.5 + upper * 0.5])
                assert (found.evaluate(x)[0] == graph.evaluate(x)[0]).all()


def test_many_inputs() -> None:
    """More than bounds keep symbols for, some of them fixed."""
    graph = network("int8", "wraps", 130)
    lower, upper = np.full(130, -5.0), np.full(130, 5.0)
    lower[3] = upper[3] = 7.0
    assert fits(settled(graph, lower, upper)) == 0
    upper[129] = 128
    assert fits(settled(graph, lower, upper)) == 1


def test_rounding_stays() -> None:
    """A coarser type rounds wherever numbers are."""
    graph = network("float16", "rounds")
    assert settled(graph, -np.ones(2), np.ones(2)) is graph


def test_each_on_its_own() -> None:
    """Of two, the one that numbers may leave stays, whichever comes first."""
    for first, second in (("int8", "int16"), ("int16", "int8")):
        b = Builder()
        x = b.add(Input((1,)), ())
        h = b.add(Fit(first, "wraps"), (x,))
        h = b.add(Dense(np.ones((1, 1)), None), (h,))
        graph = b.graph([x], [b.add(Dense(np.ones((1, 1)), None), (b.add(Fit(second, "wraps"), (h,)),))])
        found = settled(graph, np.array([-200.0]), np.array([300.0]))
        assert [node.op.kind for node in found.nodes if isinstance(node.op, Fit)] == ["int8"]


def test_rounding_stays_next_to_what_goes() -> None:
    """A type that numbers fit in is left out, one that rounds them is not."""
    b = Builder()
    x = b.add(Input((2,)), ())
    h = b.add(Fit("float16", "rounds"), (b.add(Fit("int16", "cut"), (x,)),))
    found = settled(b.graph([x], [b.add(Dense(np.ones((1, 2)), None), (h,))]), -np.ones(2), np.ones(2))
    assert [node.op.how for node in found.nodes if isinstance(node.op, Fit)] == ["rounds"]


@pytest.mark.parametrize(("low", "high"), [(0.0, 0.1), (0.0, 1.0), (0.9, 1.0), (-0.01, 0.1)])
def test_numbers_that_begin_at_zero_do_not_wrap(low: float, high: float) -> None:
    """What rounding says of a bound at the end of a type is no number beyond it: whole numbers are as they are."""
    b = Builder()
    x = b.add(Input((1,)), ())
    scaled = b.add(Dense(np.array([[255.0]]), None), (x,))
    up, down = (b.add(Relu(), (v,)) for v in (scaled, b.add(Scale(np.array(-1.0)), (scaled,))))
    whole = b.add(Add((1, -1)), [b.add(Step("floor"), (v,)) for v in (up, down)])
    graph = b.graph([x], [b.add(Fit("uint8", "cut"), (whole,))])
    assert fits(settled(graph, np.array([low]), np.array([high]))) == (low < -1 / 255)
