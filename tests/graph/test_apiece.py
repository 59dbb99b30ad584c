"""Double models whose kernels compute in single precision: read, and yet weights of too few bits are found out."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from verifier.graph import apiece, compare
from verifier.graph.from_onnx import load
from verifier.run import joint
from verifier.run.model import boundable
from verifier.run.sample import points
from verifier.values.errors import UnsoundBound

RNG = np.random.default_rng(0)
W, V = RNG.normal(size=(4, 8)), RNG.normal(size=(8, 2))
BODIES: dict[str, list[Any]] = {
    "Shrink": [helper.make_node("Shrink", ["h"], ["r"], lambd=0.1, bias=0.3)],
    "FastGelu": [helper.make_node("FastGelu", ["h"], ["r"], domain="com.microsoft")],
    "Gelu": [helper.make_node("Gelu", ["h"], ["r"], approximate="tanh")],
    "GroupNormalization": [
        helper.make_node("Reshape", ["h", "shape"], ["g"]),
        helper.make_node("GroupNormalization", ["g", "ones", "zeros"], ["n"], num_groups=2),
        helper.make_node("Reshape", ["n", "flat"], ["r"]),
    ],
    "DFT": [
        helper.make_node("Reshape", ["h", "four"], ["g"]),
        helper.make_node("DFT", ["g", "three", "two"], ["n"], inverse=1),
        helper.make_node("Reshape", ["n", "six"], ["m"]),
        helper.make_node("Pad", ["m", "more"], ["r"]),
    ],
}


def double(body: str) -> onnx.ModelProto:
    """A double model of two matrices with something between them."""
    stored = {
        "W": W, "V": V, "shape": np.array([1, 4, 2]), "flat": np.array([1, 8]), "ones": np.ones(4) * 1.1,
        "zeros": np.zeros(4), "four": np.array([1, 1, 4, 2]), "three": np.array(3), "two": np.array(2),
        "six": np.array([1, 6]), "more": np.array([0, 0, 0, 2]),
    }  # fmt: skip
    nodes = [helper.make_node("MatMul", ["x", "W"], ["h"]), *BODIES[body]]
    nodes.append(helper.make_node("MatMul", ["r", "V"], ["y"]))
    used = {n for node in nodes for n in node.input}
    ends = [[helper.make_tensor_value_info(n, TensorProto.DOUBLE, [1, k])] for n, k in (("x", 4), ("y", 2))]
    kept = [numpy_helper.from_array(v, k) for k, v in stored.items() if k in used]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(helper.make_graph(nodes, body, *ends, kept), opset_imports=opsets, ir_version=10)


@pytest.mark.parametrize("body", BODIES)
def test_kernels_of_single_precision_are_taken(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    net: Any = load(double(body))
    box = verifier.Box(np.full(4, -0.5), np.full(4, 0.75))
    lower, upper = verifier.bound(net, box, method="crown")
    x = box.lower + RNG.random((500, 4)) * (box.upper - box.lower)
    y = net.run(x)
    room = 1e-5 * (1 + abs(y).max())  # bounds are of real arithmetic, values of the kernel's
    assert (y >= lower - room).all() and (y <= upper + room).all()
    ours = net.graph.evaluate(x.reshape(-1, 1, 4))[0].reshape(-1, 2)
    assert 1e-11 < abs(ours - y).max() < 1e-4  # these kernels do differ: what follows is asked
    monkeypatch.setattr(apiece, "agrees", lambda *_: False)
    with pytest.raises(UnsoundBound, match="differs from onnxruntime"):
        boundable(net)


@pytest.mark.parametrize("size", [1e-38, 1e-30, 1e-20, 1e-9])
@pytest.mark.parametrize("gain", [1.0, 1e25])
@pytest.mark.parametrize("op", ["Clip", "Max"])
def test_numbers_that_a_constant_swallows(op: str, gain: float, size: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Rectifiers that stand for Clip and Max add their ends and take them off: that is our rounding, no difference."""
    stored = {"l": np.array(-0.5), "h": np.array(0.5), "k": np.array(gain)}
    names = ["x", "l", "h"] if op == "Clip" else ["x", "l"]
    nodes = [helper.make_node(op, names, ["c"]), helper.make_node("Mul", ["c", "k"], ["y"])]
    ends = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, [1, 2])] for n in ("x", "y")]
    kept = [numpy_helper.from_array(v.astype(np.float32), k) for k, v in stored.items() if k in (*names, "k")]
    graph = helper.make_graph(nodes, op, *ends, kept)
    net = load(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8))
    x = points(np.array([[-size, size * 0.3]]), np.array([[size, size]]))
    boundable(net, x)
    if size == 1e-30:
        monkeypatch.setattr(apiece, "agrees", lambda *_: False)
        with pytest.raises(UnsoundBound, match="differs from onnxruntime"):
            boundable(net, x)


def test_joined_ones_are_taken() -> None:
    boundable(joint.flat(load(double("Shrink"))))


@pytest.mark.parametrize("body", BODIES)
def test_weights_that_were_read_with_too_few_bits_are_found_out(body: str, monkeypatch: pytest.MonkeyPatch) -> None:
    read = numpy_helper.to_array

    def coarse(tensor: Any, *rest: Any) -> np.ndarray:
        a = read(tensor, *rest)
        return a.astype(np.float32).astype(np.float64) if tensor.name == "V" else a

    proto = double(body)
    monkeypatch.setattr(numpy_helper, "to_array", coarse)
    net: Any = load(proto)
    x = [RNG.normal(size=(3, 4))]
    off = compare._ours(net, net.graph, x, 0, "float32").off(net.run(*x))
    assert not off.any()  # in the output it is no more than single precision does
    with pytest.raises(UnsoundBound, match="differs from onnxruntime"):
        boundable(net)


def test_an_operator_that_is_read_wrongly_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    proto = double("Shrink")
    net: Any = load(proto)
    assert apiece.agrees(net, [RNG.normal(size=(3, 4))])
    proto.graph.node[1].attribute[0].f *= 1.001  # another threshold or bias than the one that is run
    other: Any = load(proto)
    monkeypatch.setattr(apiece, "_opened", lambda model: _mixed(other, model))
    assert not apiece.agrees(net, [RNG.normal(size=(50, 4))])


def _mixed(other: Any, net: Any) -> Any:
    """The graph of one model, opened, and the runs of another one."""
    names = ["h", "r"]
    opened, original = load(other.source, names), load(net.source, names)
    kept = {k: getattr(opened, k) for k in ("graph", "output_names", "output_shapes")}
    return type("Mixed", (), {**kept, "run": original.run})()
