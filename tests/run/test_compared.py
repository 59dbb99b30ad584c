"""An imported network is compared with the original where it is asked about, too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from verifier.run.joint import flat
from verifier.run.model import boundable
from verifier.spec.builders import output_property
from verifier.values.errors import UnsoundBound


def saved(path: Path, nodes: list[Any], n: int, m: int, **stored: np.ndarray) -> Path:
    """A model of one input `x` `[1, n]` and one output `y` `[1, m]`."""
    info = helper.make_tensor_value_info
    ends = [info("x", TensorProto.FLOAT, [1, n])], [info("y", TensorProto.FLOAT, [1, m])]
    graph = helper.make_graph(nodes, "g", *ends, [numpy_helper.from_array(a, k) for k, a in stored.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


@pytest.fixture
def misread(tmp_path: Path) -> Any:
    """A network whose graph lacks the original's clip at 50: near zero both are the same."""
    W = np.array([[1.0, -0.5], [0.25, 1.0]], np.float32)
    product = helper.make_node("MatMul", ["x", "W"], ["h"])
    clip = helper.make_node("Clip", ["h", "least", "most"], ["y"])
    ends = {"W": W, "least": np.float32(-1e4), "most": np.float32(50)}
    right = verifier.load(saved(tmp_path / "right.onnx", [product, clip], 2, 2, **ends))
    ends["most"] = np.float32(1e4)
    return replace(right, graph=verifier.load(saved(tmp_path / "wrong.onnx", [product, clip], 2, 2, **ends)).graph)


FAR, NEAR = verifier.Box([100.0, 0.0], [101.0, 1.0]), verifier.Box([0.0, 0.0], [1.0, 1.0])


def asked(net: Any, box: verifier.Box) -> Any:
    prop = output_property(box.lower, box.upper, [[(np.array([1.0, 0.0]), -2e3)]], "law")
    return verifier.verify(net, prop, timeout=20)


DOORS: dict[str, Callable[[Any, verifier.Box], Any]] = {
    "verify": asked,
    "bound": verifier.bound,
    "lipschitz": lambda net, box: verifier.lipschitz(net, box, timeout=5),
    "monotone": lambda net, box: verifier.monotone(net, box, input=0, output=0, timeout=5),
    "jacobian": lambda net, box: verifier.jacobian(net, box),
    "certify": lambda net, box: verifier.certify(net, box.lower[None], np.array([0]), 0.0, timeout=5),
    "joint": lambda net, box: asked(flat(net), box),
}


@pytest.mark.parametrize("door", DOORS)
def test_what_is_misread_far_from_zero_stops_the_run(door: str, misread: Any) -> None:
    """Nobody answers for a network that differs on the set; where it does not, everybody does."""
    with pytest.raises(UnsoundBound, match="differs from onnxruntime by .* on inputs that are asked about") as e:
        DOORS[door](misread, FAR)
    assert "\n" not in str(e.value)
    DOORS[door](misread, NEAR)


def test_the_difference_of_two_networks_is_compared_there_too(misread: Any) -> None:
    """A relational question: both copies are misread alike, the original says so."""
    question = verifier.monotonicity(misread, input=0, box=FAR)
    with pytest.raises(UnsoundBound, match="asked about"):
        verifier.verify(question, timeout=20)


@pytest.mark.parametrize("corner", range(4))
def test_any_corner_of_several_boxes(corner: int, misread: Any) -> None:
    """The second of two boxes is where it differs; the first one is harmless."""
    sides = np.array([[-1.0, 1.0], [-9.0, 9.0]])
    lower = np.array([[0.0, 0.0], [120.0 + corner, sides[corner % 2, 0]]])
    prop = output_property(lower[0], lower[0] + 1, [[(np.array([1.0, 0.0]), -2e3)]], "law")
    both = replace(
        prop,
        **{k: np.concatenate([getattr(prop, k), lower[1:] + w]) for k, w in (("lower", 0), ("upper", 1))},
        **{k: np.concatenate([getattr(prop, k), lower[1:] + w]) for k, w in (("inner_lower", 0), ("inner_upper", 1))},
        box=np.array([0, 1]), start=np.array([0, 1, 2]), literal=np.array([0, 0]),
    )  # fmt: skip
    with pytest.raises(UnsoundBound, match="asked about"):
        verifier.verify(misread, both, timeout=20)


KINDS = {
    "rectifiers": [["MatMul", "x W"], ["Relu", "_"], ["MatMul", "_ W"]],
    "sigmoid": [["MatMul", "x W"], ["Sigmoid", "_"], ["MatMul", "_ W"]],
    "squares": [["MatMul", "x W"], ["Mul", "_ _"], ["MatMul", "_ W"]],
    "overflow that is clipped": [["Mul", "x x"], ["Clip", "_ least most"], ["MatMul", "_ W"]],
    "overflow that vanishes": [["Mul", "x x"], ["Exp", "_"], ["Reciprocal", "_"], ["MatMul", "_ W"]],
    "quotient": [["Mul", "x x"], ["Add", "_ one"], ["Div", "x _"]],
    "steps": [["MatMul", "x W"], ["Floor", "_"], ["MatMul", "_ W"]],
    "cancellation": [["Mul", "x big"], ["Add", "_ one"], ["Sub", "_ one"], ["MatMul", "_ W"]],
    "waves": [["MatMul", "x W"], ["Sin", "_"]],
}


def made(path: Path, steps: list[list[str]]) -> Path:
    """A chain of nodes; `_` is the result of the one before."""
    nodes, last = [], "x"
    for i, (op, names) in enumerate(steps):
        out = "y" if i == len(steps) - 1 else f"h{i}"
        nodes.append(helper.make_node(op, [last if n == "_" else n for n in names.split()], [out]))
        last = out
    W = np.array([[1.0, -0.7], [0.3, 1.1]], np.float32)
    numbers = {"least": -1e4, "most": 50, "one": 1, "big": 1e8}
    return saved(path, nodes, 2, 2, W=W, **{k: np.float32(v) for k, v in numbers.items()})


@pytest.mark.parametrize("kind", KINDS)
def test_nothing_that_is_read_rightly_is_refused_for_its_size(kind: str, tmp_path: Path) -> None:
    """Boxes of all magnitudes, up to where the original's arithmetic overflows and real arithmetic goes on."""
    net = verifier.load(made(tmp_path / "n.onnx", KINDS[kind]))
    for size in (1e-30, 1e-3, 1.0, 1e3, 1e6, 1e10, 1e18, 1e25, 1e30, 3e37, 3e38):
        for box in (verifier.Box([-size, -size], [size, size]), verifier.Box([size, size / 2], [size * 1.01, size])):
            lower, upper = verifier.bound(net, box, method="interval")
            assert (lower <= upper).all()


def test_a_logarithm_is_compared_where_it_has_values(tmp_path: Path) -> None:
    """Random inputs near zero give none; until now that was said of the weights."""
    nodes = [helper.make_node("Sub", ["x", "shift"], ["h"]), helper.make_node("Log", ["h"], ["y"])]
    path = saved(tmp_path / "log.onnx", nodes, 2, 2, shift=np.float32(100))
    lower, upper = verifier.bound(path, verifier.Box([200, 200], [300, 300]))
    assert (lower <= np.log(100)).all() and (upper >= np.log(200)).all() and (upper < 6).all()


@pytest.fixture
def eight_bits(tmp_path: Path) -> Path:
    """Weights of eight bits, which onnxruntime's optimised kernel multiplies by activations of eight bits."""
    W = np.random.default_rng(0).integers(-127, 128, (4, 3)).astype(np.int8)
    nodes = [
        helper.make_node("DequantizeLinear", ["W", "scale", "zero"], ["w"]),
        helper.make_node("MatMul", ["x", "w"], ["y"]),
    ]
    return saved(tmp_path / "q.onnx", nodes, 4, 3, W=W, scale=np.float32(0.01), zero=np.int8(0))


def test_weights_of_eight_bits_are_taken_and_both_kernels_must_agree(eight_bits: Path) -> None:
    """`unsat` where real arithmetic has no counterexample though the fast kernel has one, and no `sat` either way."""
    net = verifier.load(eight_bits)
    rng = np.random.default_rng(1)
    points = rng.random((200, 4)).astype(np.float32).astype(float)
    boundable(net, points[:5])
    assert net.second is not None
    fast, plain = net.run(points), net.second.run(points)
    off = fast - plain
    assert abs(off).max() > 1e-3, "onnxruntime's kernel is exact now; this needs another example"
    for k, sign in ((int(off[:, 0].argmax()), 1.0), (int(off[:, 0].argmin()), -1.0)):
        x, between = points[k], (fast[k, 0] + plain[k, 0]) / 2
        for side in (sign, -sign):
            prop = output_property(x, x, [[(np.array([side, 0.0, 0.0]), side * between)]], "law")
            verdict = verifier.verify(eight_bits, prop, timeout=2).verdict
            assert verdict == ("unsat" if side * plain[k, 0] > side * between else "unknown"), (side, sign)
    prop = output_property(points[0], points[0] + 0.5, [[(np.array([1.0, 0.0, 0.0]), plain[0, 0] + 1)]], "law")
    found = verifier.verify(eight_bits, prop, timeout=20)
    assert found.verdict == "sat" and net.run(found.witness.x[None])[0] == pytest.approx(found.witness.y, abs=0)


def test_saturated_gates_are_no_difference(tmp_path: Path) -> None:
    """Behind a sigmoid that is all but zero ours are numbers like 1e-40, and onnxruntime's kernel errs by 1e-9."""
    nodes = [
        helper.make_node("Mul", ["x", "big"], ["h"]),
        helper.make_node("Sub", ["h", "shift"], ["z"]),
        helper.make_node("Sigmoid", ["z"], ["y"]),
    ]
    for shift in (15.0, 20.0, 30.0, 60.0, 90.0):
        path = saved(tmp_path / "s.onnx", nodes, 2, 2, big=np.float32(0.1), shift=np.float32(shift))
        lower, upper = verifier.bound(path, verifier.Box([0, 0], [1, 1]))
        assert (0 <= lower).all() and (upper <= 2 * np.exp(0.1 - shift)).all()


@pytest.mark.parametrize("level, spread", [(0.0, 0.0), (0.5, 1e-6), (0.0, 1e-9)])
def test_a_large_network_asked_about_where_all_inputs_are_alike_is_compared_elsewhere(
    level: float, spread: float, tmp_path: Path
) -> None:
    """There a product says nothing of where its weights stand."""
    W = np.random.default_rng(0).normal(size=(1200, 1000)).astype(np.float32)
    product = helper.make_node("MatMul", ["x", "W"], ["y"])
    right, wrong = (
        verifier.load(saved(tmp_path / f"{name}.onnx", [product], 1200, 1000, W=w))
        for name, w in (("right", W), ("wrong", np.ascontiguousarray(W[::-1])))
    )
    box = verifier.Box(np.full(1200, level - spread), np.full(1200, level + spread))
    assert np.isfinite(verifier.bound(right, box, "interval")[0]).all()
    with pytest.raises(UnsoundBound, match="differs from onnxruntime"):
        verifier.bound(replace(right, graph=wrong.graph), box, "interval")


@pytest.mark.parametrize("behind", [TensorProto.FLOAT, TensorProto.INT32, TensorProto.UINT32])
def test_what_kernels_do_beyond_float16_is_no_difference(behind: int, tmp_path: Path) -> None:
    nodes = [
        helper.make_node("Cast", ["x"], ["short"], to=TensorProto.FLOAT16),
        helper.make_node("Cast", ["short"], ["other"], to=behind),
        helper.make_node("Cast", ["other"], ["y"], to=TensorProto.FLOAT),
    ]
    net = verifier.load(saved(tmp_path / "n.onnx", nodes, 2, 2))
    for at in (1e5, 3e9, 1e12):
        lower, upper = verifier.bound(net, verifier.Box([at, -at], [1.1 * at, -0.9 * at]))
        y = net.run(np.array([[at, -at]]))
        assert ((lower <= y) & (y <= upper)).all()
