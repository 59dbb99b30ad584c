"""What graphs of derivatives are made of: shared values, moves, constants, refusals."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest

from verifier.graph.chain import Chain
from verifier.graph.derivative import jacobian, jvp
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.adjoint import Adjoint, Constant
from verifier.graph.ops.affine import Add, Dense, Scale
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.moves import Move, Reshape
from verifier.graph.ops.pool import MaxOf, max_pool_windows
from verifier.graph.ops.product import Share
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.run.bound import bound
from verifier.values.box import Box
from verifier.values.errors import ModelError

from . import cases
from .cases import Net, layer
from .derivative_cases import SMOOTH
from .general_cases import ELEMENTWISE, SHAPES, apart_by, name_of

SHARED = Path(__file__).parents[3] / "shared" / "lipschitz"
NAMES = list(SHAPES)
swept = pytest.mark.parametrize("k", SMOOTH, ids=lambda k: name_of(ELEMENTWISE[k]))


def count(graph: Graph, kind: type) -> int:
    return sum(isinstance(node.op, kind) for node in graph.nodes)


def test_what_is_shared_is_made_once() -> None:
    rng = np.random.default_rng(0)
    b = Builder()
    source = b.add(Input((4,)))
    z = b.add(layer(rng, 4, 4), [source])
    e = b.add(Curve("exp"), [z])
    s = b.add(Share(), [b.add(layer(rng, 4, 4), [e])])
    last = b.add(layer(rng, 3, 4), [b.add(Curve("tanh"), [b.add(layer(rng, 4, 4), [s])])])
    J = jacobian(b.graph([source], [last]))
    curves = [node.op.kind for node in J.nodes if isinstance(node.op, Curve)]
    assert sorted(curves) == ["exp", "tanh_slope"], "exp is its own derivative; the last tanh is not needed"
    assert count(J, Share) == 1
    assert [n.shape for n in J.nodes if isinstance(n.op, Curve)] == [(4,), (4,)], "not once a row"
    b = Builder()
    source = b.add(Input((4,)))
    h = b.add(Relu(), [b.add(layer(rng, 5, 4), [source])])
    J = jacobian(b.graph([source], [b.add(layer(rng, 3, 5), [h])]))
    assert [n.shape for n in J.nodes if isinstance(n.op, Gate)] == [(5,)], "one gate for all rows where g is known"
    assert count(J, Relu) == 0


def test_moves_stay_moves() -> None:
    """Only what adds entries up needs a generic adjoint."""
    rng = np.random.default_rng(0)
    J = jacobian(cases.moves(rng))
    inner = [node.op.op for node in J.nodes if isinstance(node.op, Adjoint)]
    assert all(isinstance(op, Move) and op.terms() > 1 for op in inner) and len(inner) == 1


def test_constants_cost_no_nodes() -> None:
    """Rows that are known are multiplied out, with what that rounds on record."""
    rng = np.random.default_rng(0)
    b = Builder()
    source = b.add(Input((4,)))
    first, second = layer(rng, 5, 4), layer(rng, 3, 5)
    J = jacobian(b.graph([source], [b.add(second, [b.add(first, [source])])]))
    assert [type(node.op) for node in J.nodes] == [Input, Constant]
    op = J.nodes[1].op
    assert isinstance(op, Constant)
    exact = second.W.astype(np.longdouble) @ first.W.astype(np.longdouble)
    size = op.absolute().value
    assert (size >= abs(second.W) @ abs(first.W)).all() and (abs(op.value - exact) <= size * 2.0**-53).all()
    low, up = bound(Net(J), Box([0.0] * 4, [1.0] * 4))
    assert (low <= exact.reshape(-1)).all() and (up >= exact.reshape(-1)).all() and (up - low <= 1e-12).all()


def test_rounded_constants_are_on_record() -> None:
    """What numbers of a rule are off by is within what magnitudes allow, next to a layer's own two roundings."""
    unit = Fraction(1, 2**53)
    t = Chain(jacobian(cases.chain(np.random.default_rng(0))), 1)
    for exact in (Fraction(1, 3), Fraction(16732632423543772, 10**16) * Fraction(10507009873554805, 10**16)):
        op = t._builder.nodes[t.line(0, float(exact), 0.0, rounded=True)].op
        assert isinstance(op, Scale)
        size = Fraction(float(op.absolute().s))
        assert abs(Fraction(float(op.s)) - exact) + 3 * unit * abs(exact) + 2 * unit * abs(exact) <= 2 * unit * size
    for a, b, gain in ((1.6732632423543772, 1.0, 1.0507009873554805), (0.3, 0.7, 1.1)):
        b_ = Builder()
        source = b_.add(Input((1,)))
        J = jacobian(b_.graph([source], [b_.add(Curve("elu", (a, b, gain)), [source])]))
        scales = [n.op for n in J.nodes if isinstance(n.op, Scale) and n.op.s.shape == ()]
        assert scales and all(op.magnitude is not None for op in scales)


def test_rows_that_miss_the_input() -> None:
    rng = np.random.default_rng(0)
    b = Builder()
    source = b.add(Input((3,)))
    x = b.add(Scale(np.array(0.0), np.array(1.0)), [source])
    y = b.add(Step("sign"), [b.add(layer(rng, 2, 3), [source])])
    graph = b.graph([source], [b.add(Add(), [b.add(layer(rng, 2, 3), [x]), b.add(Scale(np.array(0.0)), [y])])])
    for J in (jacobian(graph), jvp(graph, np.zeros((2, 3)))):
        assert not J.evaluate(rng.normal(size=(4, 3)))[0].any()
    assert not jacobian(graph, np.zeros((1, 2))).evaluate(rng.normal(size=(4, 3)))[0].any()


def test_maxima_are_differentiated() -> None:
    rng = np.random.default_rng(0)
    b = Builder()
    source = b.add(Input((1, 4, 4)))
    windows, size = max_pool_windows((1, 4, 4), (2, 2), (2, 2), ((0, 0), (0, 0)), (1, 1))
    graph = b.graph([source], [b.add(Reshape((4,)), [b.add(MaxOf(windows, size), [source])])])
    x = rng.normal(size=(5, 1, 4, 4))
    got = jacobian(graph).evaluate(x)[0]
    flat = x.reshape(5, 16)[:, windows]
    wanted = np.zeros((5, 4, 16))
    for p in range(5):
        wanted[p, np.arange(4), windows[np.arange(4), flat[p].argmax(1)]] = 1
    assert (got == wanted).all()


@pytest.mark.parametrize("kind", ["sign", "floor", "threshold", "positive"])
def test_jumps_are_refused(kind: str) -> None:
    b = Builder()
    source = b.add(Input((3,)))
    step = b.add(Step(kind), [source], "cliff")
    for op in (Dense(np.ones((2, 3))), Curve("tanh")):
        graph = b.graph([source], [b.add(op, [step])])
        for make in (lambda g=graph: jacobian(g), lambda g=graph: jvp(g, np.eye(3))):
            with pytest.raises(ModelError, match=f"^node cliff \\({kind}\\): the function jumps there, so no [^\\n]*$"):
                make()


def test_what_has_no_rule_is_refused() -> None:
    b = Builder()
    source = b.add(Input((3,)))
    d = apart_by(b, source, b.add(Scale(np.array(2.0)), [source]))
    for i in (d, b.add(Curve("tanh_slope"), [source]), b.add(Gate(), [b.add(Dense(np.ones((2, 3))), [source])])):
        with pytest.raises(ModelError, match="its derivative is not supported"):
            jacobian(b.graph([source], [i]))
