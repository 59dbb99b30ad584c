"""Gates with ramps compute what gates do; their gradients are those of a jump that is spread out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from tests.laws.cases import chain
from verifier.attack.gradient import evaluate
from verifier.graph.graph import Builder, Input
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.moves import Reshape
from verifier.sensitivity.objective import pulled_back
from verifier.sensitivity.ramp import Ramp, ramped

LEAKS = (0.0, 0.1, -0.5)


@pytest.mark.parametrize("leak", LEAKS)
def test_the_same_value(leak: float) -> None:
    """Everywhere, the kink and what is not finite included."""
    z = np.array([-np.inf, -1.0, -1e-320, 0.0, 1e-320, 0.5, np.inf, np.nan])
    pairs = np.stack(np.meshgrid([-2.0, 0.0, 3.0], z, indexing="ij"), -1)
    soft, plain = Ramp(leak, half=np.full(len(z), 0.3)), Gate(leak)
    assert np.array_equal(soft.evaluate(pairs), plain.evaluate(pairs), equal_nan=True)
    g = np.ones((3, len(z)))
    assert np.array_equal(soft.gradient(g, pairs)[..., 0], plain.gradient(g, pairs)[..., 0])


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("width", [1e-6, 0.3, 50.0])
def test_the_ramp_climbs_the_jump(leak: float, width: float) -> None:
    """Over the whole ramp the gradient by z sums up to the jump, and off it it is zero."""
    v, g, count = -1.7, 0.6, 4001
    z = np.linspace(-2 * width, 2 * width, count)
    by_z = Ramp(leak, half=np.array(width)).gradient(np.full(count, g), np.stack([np.full(count, v), z], -1))[:, 1]
    jump = g * v * (1 - leak)
    assert by_z.sum() * (z[1] - z[0]) == pytest.approx(jump, rel=2e-3)
    assert (by_z[abs(z) > width * (1 + 1e-12)] == 0).all()
    assert (np.sign(by_z[abs(z) < width * 0.999]) == np.sign(jump)).all()


def test_gates_that_do_not_vary() -> None:
    """A ramp of no length has finite gradients, and none away from zero."""
    soft = Ramp(0.0, half=np.zeros(3))
    found = soft.gradient(np.ones((1, 3)), np.array([[[2.0, -1.0], [2.0, 0.0], [2.0, 1.0]]]))
    assert np.isfinite(found).all()
    assert (found[0, [0, 2], 1] == 0).all()


@pytest.mark.parametrize("leak", LEAKS)
def test_only_gates_are_replaced(leak: float) -> None:
    """Each has a ramp half as long as what opens it varies; the graph computes the same."""
    rng = np.random.default_rng(4)
    graph = pulled_back(chain(rng, (3, 6, 5, 2), leak=leak))
    gates = [i for i, node in enumerate(graph.nodes) if isinstance(node.op, Gate)]
    z = {i: (-rng.random(graph.nodes[i].shape), rng.random(graph.nodes[i].shape)) for i in gates}
    soft = ramped(graph, z)
    assert len(gates) == 2
    assert (soft.inputs, soft.outputs) == (graph.inputs, graph.outputs)
    for i, (one, other) in enumerate(zip(graph.nodes, soft.nodes, strict=True)):
        if i in gates:
            assert isinstance(other.op, Ramp) and other.op.leak == leak
            assert 2 * other.op.half == pytest.approx(0.5 * (z[i][1] - z[i][0]))
            assert replace(other, op=one.op) == one
        else:
            assert other is one
    x = rng.normal(size=(50, 3 + 2))
    assert np.array_equal(soft.evaluate(x)[0], graph.evaluate(x)[0])
    for node in graph.nodes:
        assert not isinstance(node.op, Ramp), "the graph that was given stays as it was"


def test_a_gradient_through_a_shut_gate() -> None:
    """The jump of `1[x > 0.3]` is seen from below, where the gate's own gradient is zero."""

    b = Builder()
    x0 = b.add(Input((1,)))
    pair = b.add(Reshape((1, 2)), (b.add(Dense(np.array([[0.0], [1.0]]), np.array([1.0, -0.3])), (x0,)),))
    gate = b.add(Gate(), (pair,))
    graph = b.graph((x0,), (gate,))
    graphs = [graph, *(ramped(graph, {gate: (np.array([-w]), np.array([w]))}) for w in (1.0, 0.2))]
    x = np.array([[0.1]])
    slopes = [evaluate(g, x)[1](np.ones((1, 1)))[0, 0] for g in graphs]
    assert slopes[0] == 0
    assert slopes[1] == pytest.approx(1.0)
    assert slopes[2] == 0, "too far away"
