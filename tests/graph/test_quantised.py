"""Quantised models: operators one by one and networks that onnxruntime quantises, against onnxruntime's own values."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from tests.quantised import HOWS, network, quantised, random_weights
from verifier.graph.from_onnx import check
from verifier.graph.ops.fit import Fit
from verifier.graph.ops.steps import Step
from verifier.run.model import boundable
from verifier.spec.builders import output_property
from verifier.values.errors import ModelError, UnsoundBound

Rng = np.random.Generator
INT8, UINT8, INT16, UINT16 = np.int8, np.uint8, np.int16, np.uint16


def model(nodes: list[Any], shape: tuple[int, ...], opset: int = 21, **constants: Any) -> Any:
    """A model of float input x; its output y has any shape."""
    held = [
        v if isinstance(v, onnx.TensorProto) else numpy_helper.from_array(np.asarray(v)) for v in constants.values()
    ]
    for name, tensor in zip(constants, held, strict=True):
        tensor.name = name
    ends = helper.make_tensor_value_info("x", TensorProto.FLOAT, shape), onnx.ValueInfoProto(name="y")
    ends[1].type.tensor_type.elem_type = TensorProto.FLOAT
    graph = helper.make_graph(nodes, "quantised", ends[:1], ends[1:], held)
    sets = [helper.make_opsetid("", opset), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=sets, ir_version=10)


def node(op: str, inputs: str, outputs: str, **more: Any) -> Any:
    domain = "com.microsoft" if op in FUSED else ""
    return helper.make_node(op, inputs.replace("-", "").split(","), outputs.split(","), domain=domain, **more)


FUSED = (
    "QLinearAdd QLinearMul QLinearLeakyRelu QLinearSigmoid QLinearSoftmax QLinearAveragePool QLinearGlobalAveragePool "
    "QLinearConcat QGemm DynamicQuantizeMatMul MatMulIntegerToFloat"
).split()


def f(*v: float) -> np.ndarray:
    return np.array(v if len(v) > 1 else v[0], np.float32)


def weights(rng: Rng, *shape: int, kind: Any = INT8) -> np.ndarray:
    info = np.iinfo(kind)
    return rng.integers(info.min, info.max + 1, shape).astype(kind)


def coded(nodes: list[Any], last: str = "r", zero: str = "z") -> list[Any]:
    """With codes q of the input before, and the output decoded behind."""
    return [node("QuantizeLinear", "x,s,z", "q"), *nodes, node("DequantizeLinear", f"{last},t,{zero}", "y")]


def cases() -> dict[str, tuple[Any, tuple[int, ...]]]:
    rng, made = np.random.default_rng(0), {}
    both = [node("QuantizeLinear", "x,s,z", "q"), node("DequantizeLinear", "q,s,z", "y")]
    for kind in (INT8, UINT8, INT16, UINT16):
        made[f"code {kind.__name__}"] = model(both, (2, 3), s=f(0.1), z=kind(7)), (2, 3)
    axis = [helper.make_node("QuantizeLinear", ["x", "s", "z"], ["q"], axis=0)]
    axis += [helper.make_node("DequantizeLinear", ["q", "s", "z"], ["y"], axis=0)]
    made["axis"] = model(axis, (2, 3), s=f(0.1, 0.3), z=np.array([3, -4], INT8)), (2, 3)
    blocks = [helper.make_node(op, [i, "s"], [o], axis=1, block_size=2, **more)
              for op, i, o, more in (("QuantizeLinear", "x", "q", {"output_dtype": TensorProto.INT8}),
                                     ("DequantizeLinear", "q", "y", {}))]  # fmt: skip
    made["blocks"] = model(blocks, (2, 4), s=np.array([[0.1, 0.5], [0.2, 1.0]], np.float32)), (2, 4)
    four = helper.make_tensor("z", TensorProto.INT4, [], [1])
    made["int4"] = model(both, (4,), s=f(0.3), z=four), (4,)
    W4 = helper.make_tensor("W", TensorProto.INT4, [3, 2], [1, -2, 3, -8, 7, 0])
    short = [node("DequantizeLinear", "W,s", "V"), node("MatMul", "x,V", "y")]
    made["int4 weights"] = model(short, (1, 3), W=W4, s=f(0.3)), (1, 3)
    ends = {"s": f(0.05), "t": f(0.0717), "z": UINT8(100), "o": INT8(-3)}
    held = {**ends, "W": weights(rng, 3, 4), "u": f(0.01, 0.02, 0.01, 0.03), "v": np.zeros(4, INT8)}
    made["QLinearMatMul"] = model(coded([node("QLinearMatMul", "q,s,z,W,u,v,t,z", "r")]), (2, 3), **held), (2, 3)
    held = {**ends, "W": weights(rng, 3, 2, 3, 3), "u": f(0.003, 0.002, 0.004), "v": np.zeros(3, INT8)}
    held["b"] = rng.integers(-500, 500, 3).astype(np.int32)
    slid = [node("QLinearConv", "q,s,z,W,u,v,t,z,b", "r", pads=[1, 0, 1, 0])]
    made["QLinearConv"] = model(coded(slid), (1, 2, 4, 3), **held), (1, 2, 4, 3)
    whole = [node("QuantizeLinear", "x,s,z", "q"), node("MatMulInteger", "q,W,z,o", "i"), node("Cast", "i", "y", to=1)]
    made["MatMulInteger"] = model(whole, (2, 3), **ends, W=weights(rng, 3, 4)), (2, 3)
    whole = [node("QuantizeLinear", "x,s,z", "q"), node("ConvInteger", "q,W,z", "i"), node("Cast", "i", "y", to=1)]
    made["ConvInteger"] = model(whole, (1, 2, 4, 3), **ends, W=weights(rng, 3, 2, 2, 2)), (1, 2, 4, 3)
    for op in ("QLinearAdd", "QLinearMul"):
        made[op] = model(coded([node(op, "q,s,z,q,s,z,t,z", "r")]), (2, 3), **ends), (2, 3)
        other = model(coded([node(op, "q,s,z,c,s,z,t,z", "r")]), (2, 3), **ends, c=UINT8([90, 120, 7]))
        made[f"{op} constant"] = other, (2, 3)
        one = model(coded([node(op, "q,s,z,c,s,z,t,z", "r")]), (2, 3), **ends, c=UINT8(90))
        made[f"{op} one constant"] = one, (2, 3)
    for kind, opset, axis in ((UINT8, 13, 1), (UINT8, 11, 1), (INT8, 13, -1)):
        shares = {"s": f(0.05), "z": kind(10), "t": f(1 / 200.9), "e": kind(np.iinfo(kind).min)}
        soft = coded([node("QLinearSoftmax", "q,s,z,t,e", "r", axis=axis, opset=opset)], zero="e")
        made[f"QLinearSoftmax {kind.__name__} {opset}"] = model(soft, (2, 3, 2), **shares), (2, 3, 2)
    for op, more in (("QLinearLeakyRelu", {"alpha": 0.2}), ("QLinearSigmoid", {}), ("QLinearGlobalAveragePool", {}),
                     ("QLinearAveragePool", {"kernel_shape": [2, 2]})):  # fmt: skip
        made[op] = model(coded([node(op, "q,s,z,t,z", "r", **more)]), (1, 2, 4, 3), **ends), (1, 2, 4, 3)
    made["QLinearConcat"] = (
        model(coded([node("QLinearConcat", "t,z,q,s,z,q,s,z", "r", axis=1)]), (2, 3), **ends),
        (2, 3),
    )
    gemm = {**ends, "W": weights(rng, 4, 3), "u": f(0.01), "v": INT8(2), "b": np.array([5, -9, 300, 0], np.int32)}
    made["QGemm"] = model(coded([node("QGemm", "q,s,z,W,u,v,b,t,z", "r", transB=1)]), (2, 3), **gemm), (2, 3)
    made["QGemm real"] = (
        model([node("QuantizeLinear", "x,s,z", "q"), node("QGemm", "q,s,z,W,u,v,b", "y", transB=1)], (2, 3), **gemm),
        (2, 3),
    )
    dynamic = [
        node("DynamicQuantizeLinear", "x", "q,p,c"),
        node("MatMulInteger", "q,W,c,o", "i"),
        node("Cast", "i", "k", to=1),
        node("Mul", "p,u", "m"),
        node("Mul", "k,m", "y"),
    ]
    made["dynamic"] = model(dynamic, (2, 3), W=weights(rng, 3, 4), o=INT8(3), u=f(0.01, 0.02, 0.01, 0.03)), (2, 3)
    codes = [node("DynamicQuantizeLinear", "x", "q,p,c"), node("DequantizeLinear", "q,one,none", "y")]
    made["dynamic codes"] = model(codes, (2, 3), one=f(1.0), none=UINT8(0)), (2, 3)
    fused = [node("DynamicQuantizeMatMul", "x,W,u,-,b", "y")]
    made["DynamicQuantizeMatMul"] = model(fused, (2, 3), W=weights(rng, 3, 4), u=f(0.01), b=f(1, 2, 3, 4)), (2, 3)
    fused = [node("DynamicQuantizeLinear", "x", "q,p,c"), node("MatMulIntegerToFloat", "q,W,p,u,c,-,b", "y")]
    made["MatMulIntegerToFloat"] = model(fused, (2, 3), W=weights(rng, 3, 4), u=f(0.01), b=f(1, 2, 3, 4)), (2, 3)
    return made


CASES = cases()


@pytest.mark.parametrize("name", CASES)
def test_bounds_hold_what_onnxruntime_computes(name: str) -> None:
    """On boxes from narrow to wide, as close as a step or two where nothing is added up; import compares values."""
    made, shape = CASES[name]
    net, rng = verifier.load(made), np.random.default_rng(1)
    check(net)
    n = int(np.prod(shape))
    for scale, width in ((1.0, 0.02), (5.0, 0.3), (30.0, 20.0)):
        x = rng.normal(size=n) * scale
        box = verifier.Box(x - width, x + width)
        low, high = verifier.bound(net, box, method="crown")
        samples = rng.uniform(box.lower, box.upper, (200, n)).astype(np.float32)
        y = net.run(np.clip(samples, box.lower, box.upper))
        slack = 1e-4 * (1 + abs(y).max())
        if np.isfinite(low).all():  # scales of a box that holds nothing but zero are not bounded
            assert (low - slack <= y).all() and (y <= high + slack).all()
        assert np.isfinite(low).all() or (name.startswith(("dynamic", "Dynamic", "MatMulIntegerTo")) and width > 1)


def test_wrong_codes_are_noticed() -> None:
    """One step of tolerance at ties does not make the comparison blind: cut in the place of rounded, or ended early."""
    made, _ = CASES["QLinearConv"]
    net = verifier.load(made)
    steps = [k for k, n in enumerate(net.graph.nodes) if isinstance(n.op, Step)]
    assert len(steps) == 2
    for k in steps:
        n = net.graph.nodes[k]
        assert isinstance(n.op, Step)
        for op in (Step("floor", 0.0, n.op.low, n.op.high), Step("round", 0.0, 0.0, n.op.high)):
            nodes = list(net.graph.nodes)
            nodes[k] = replace(n, op=op)
            with pytest.raises(UnsoundBound):
                check(net, replace(net.graph, nodes=tuple(nodes)))


HALVES = {
    "QLinearAdd": (node("QLinearAdd", "q,s,z,c,s,z,t,o", "r"), (1, 4)),
    "QLinearMul": (node("QLinearMul", "q,s,z,c,s,z,t,o", "r"), (1, 4)),
    "QLinearAveragePool": (node("QLinearAveragePool", "q,s,z,t,o", "r", kernel_shape=[1, 2]), (1, 1, 2, 2)),
    "QLinearGlobalAveragePool": (node("QLinearGlobalAveragePool", "q,s,z,t,o", "r"), (1, 1, 2, 2)),
    "QLinearConcat": (node("QLinearConcat", "t,o,q,s,z", "r", axis=1), (1, 4)),
    "QLinearLeakyRelu": (node("QLinearLeakyRelu", "q,s,z,t,o", "r", alpha=0.5), (1, 4)),
    "QLinearMatMul": (node("QLinearMatMul", "q,s,z,W,s,v,t,o", "r"), (1, 4)),
    "QGemm": (node("QGemm", "q,s,z,W,s,v,-,t,o", "r"), (1, 4)),
    "QuantizeLinear": (node("QuantizeLinear", "x,t,o", "r"), (1, 4)),
}


@pytest.mark.parametrize("name", HALVES)
@pytest.mark.parametrize("kind", [INT8, UINT8])
def test_halves_beside_an_odd_zero_point(name: str, kind: Any) -> None:
    """Some kernels round before they add the zero point, some after it: with scales that are powers of two it shows."""
    (made, shape), rng = HALVES[name], np.random.default_rng(4)
    c = np.arange(4).reshape(shape) + kind(23)
    given = {"s": f(0.5), "z": kind(22), "t": f(1.0), "o": kind(33), "c": c.astype(kind), "v": INT8(0)}
    given["W"] = rng.integers(-3, 4, (4, 3)).astype(INT8)
    net = verifier.load(model(coded([made], zero="o"), shape, **given))
    x = rng.integers(-30, 31, (200, 4)) * 0.5
    ours = np.asarray(net.graph.evaluate(x.reshape(200, *shape))[0]).reshape(200, -1)
    np.testing.assert_array_equal(ours, net.run(x.astype(np.float32)))
    assert len(np.unique(ours)) > 5


NEAR = {
    "QLinearLeakyRelu": ([node("QLinearLeakyRelu", "q,s,z,s,z", "r", alpha=0.3)], 0.0606),
    "QLinearAveragePool": ([node("QLinearAveragePool", "q,s,z,s,z", "r", kernel_shape=[1, 2])], 0.0821),
    "QLinearMul": ([node("QLinearMul", "q,s,z,c,s,z,s,z", "r")], 0.1),
    "Mul": (
        [node("DequantizeLinear", "q,s,z", "a"), node("Mul", "a,h", "b"), node("QuantizeLinear", "b,s,z", "r")],
        0.07,
    ),
}


@pytest.mark.parametrize("name", NEAR)
def test_near_halves_either_code_is_right(name: str) -> None:
    """Codes by scales that are not exact are near halves on whole boxes: there bounds hold both."""
    made, s = NEAR[name]
    c = np.array([101, 103, 107, 115], UINT8).reshape(1, 1, 2, 2)
    made = model(coded(made), (1, 1, 2, 2), s=f(s), z=UINT8(100), t=f(s), c=c, h=f(0.3))
    net, rng, wide = verifier.load(made), np.random.default_rng(3), 0
    for _ in range(12):
        x = rng.integers(-30, 31, 4) * float(f(s))
        box = verifier.Box(x - 0.3 * s, x + 0.3 * s)  # of one code
        low, high = verifier.bound(net, box, method="crown")
        y = net.run(rng.uniform(box.lower, box.upper, (20, 4)).astype(np.float32))
        assert (low - 1e-5 <= y).all() and (y <= high + 1e-5).all()
        assert (high - low < 1.1 * s).all()
        wide += int((high - low > 0.5 * s).sum())
    assert 0 < wide < 8 * y.shape[1]


@pytest.mark.parametrize(("size", "held"), [(1000, False), (40000, True)])
def test_sums_beyond_32_bits_are_held_to_them(size: int, held: bool) -> None:
    """A sum of whole numbers is exact as long as it fits, whatever the codes are."""
    nodes = [node("QuantizeLinear", "x,s,z", "q"), node("MatMulInteger", "q,W,-,o", "i"), node("Cast", "i", "y", to=1)]
    given = {"s": f(1.0), "z": UINT8(0), "o": INT8(-128), "W": np.full((size, 1), 127, INT8)}
    net = verifier.load(model(nodes, (1, size), **given))
    assert any(isinstance(n.op, Fit) for n in net.graph.nodes) == held


REFUSED = {
    "float8": ([node("QuantizeLinear", "x,s,z", "q"), node("DequantizeLinear", "q,s,z", "y")], {"s": f(0.1)},
               "float8"),
    "scale of the input": ([node("QuantizeLinear", "x,x,z", "q"), node("DequantizeLinear", "q,s,z", "y")],
                           {"s": f(0.1), "z": UINT8(0)}, "scale depends"),
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED)
def test_refused_by_name(name: str) -> None:
    nodes, given, words = REFUSED[name]
    more = {} if "z" in given else {"z": helper.make_tensor("z", TensorProto.FLOAT8E4M3FN, [], [0.0])}
    with pytest.raises(ModelError, match=words):
        verifier.load(model(nodes, (1,), **given, **more))


# ---- networks that onnxruntime's tools quantise ----


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("signed", [False, True])
def test_quantised_networks(how: str, signed: bool) -> None:
    """Layers and convolutions: bounds hold what onnxruntime computes, and are not much wider than it varies."""
    rng = np.random.default_rng(5)
    kernels = [(rng.normal(size=s) * 0.5, rng.normal(size=s[0]) * 0.1) for s in ((3, 1, 3, 3), (4, 3, 3, 3))]
    nets = ((random_weights(rng, [3, 8, 6, 2]), (3,)), ([*kernels, *random_weights(rng, [16, 3])], (1, 4, 4)))
    for layers, shape in nets:
        data = rng.uniform(-1, 1, (40, *shape))
        made = quantised(network(layers, shape), how, data, per_channel=signed, signed=signed)
        net, x = verifier.load(made), data[0].reshape(-1)
        box = verifier.Box(x - 0.02, x + 0.02)
        low, high = verifier.bound(net, box, method="crown")
        points = rng.uniform(box.lower, box.upper, (400, len(x))).astype(np.float32)
        y = net.run(np.clip(points, box.lower, box.upper))
        assert (low - 1e-4 <= y).all() and (y <= high + 1e-4).all()
        assert (high - low <= 10 * (y.max(0) - y.min(0)) + 0.2).all()
        before = verifier.load(network(layers, shape))
        plain = verifier.bound(before, box, method="crown")
        assert abs(low - plain[0]).max() < 0.35 and abs(high - plain[1]).max() < 0.35


@pytest.mark.parametrize("how", ["qdq", "qoperator"])
def test_one_input_is_decided_completely(how: str) -> None:
    """Thresholds just above and just below the least value, found by trying every code, to the last bit."""
    rng = np.random.default_rng(3)
    layers = random_weights(rng, [1, 6, 5, 1])
    net = verifier.load(quantised(network(layers, (1,)), how, rng.uniform(-1, 1, (40, 1))))
    every = np.linspace(-0.5, 0.5, 20001).astype(np.float32).astype(np.float64)[:, None]
    graph = boundable(net)
    values = graph.evaluate(every.reshape(-1, *graph.nodes[graph.inputs[0]].shape))[0].reshape(-1)
    least = float(values.min())
    other = float(values[values > least + 1e-9].min())
    near = 0.25 * (other - least)
    for d, said in ((least + near, "sat"), (least - 1e-9, "unsat"), (least - near, "unsat")):
        ends = np.array([-0.5]), np.array([0.5])
        question = output_property(*ends, [[(np.array([1.0]), d)]], "least")
        result = verifier.verify(net, question, timeout=120)
        assert str(result.verdict) == said, (d, result.reason)


@pytest.mark.parametrize("coarse", [0.5, 40.0])
def test_quantised_as_they_come_where_all_numbers_are_zero(coarse: float) -> None:
    """Behind a coarse quantiser numbers may all be zero: the scale is one there, as in onnxruntime, and not zero."""
    nodes = [node("QuantizeLinear", "x,s,z", "q"), node("DequantizeLinear", "q,s,z", "d")]
    for op, last in (("DynamicQuantizeMatMul", "d,W,u"), ("DynamicQuantizeLinear", "d")):
        behind = [node(op, last, "y")] if "Mat" in op else [node(op, last, "r,p,c"), node("Cast", "p", "y", to=1)]
        given = {"s": f(coarse), "z": UINT8(100), "W": np.array([[1, -2], [3, 4]], INT8), "u": f(0.01)}
        net = verifier.load(model([*nodes, *behind], (1, 2), **given))
        check(net)
        x = np.array([[0.1, 0.2], [-0.1, 0.0], [0.9, 0.0], [50.0, -10.0]])
        y = net.run(x)
        assert np.isfinite(y).all() and abs(net.graph.evaluate(x[:, None])[0].reshape(y.shape) - y).max() < 1e-5
        assert ("Mat" in op) or (y[:2] == 1).all()
        low, high = verifier.bound(net, verifier.Box([0.55 * coarse, 0.0], [1.2 * coarse, 0.0]), method="crown")
        y = net.run(np.linspace(0.56, 1.19, 20)[:, None] * [[coarse, 0.0]])
        assert (low <= y + 1e-5).all() and (y <= high + 1e-5).all() and (high - low < 0.3 * coarse).all()


@pytest.mark.parametrize(("n", "size"), [(16, 75.0), (784, 1.0)])
def test_long_sums_before_a_code_leave_it_open(n: int, size: float) -> None:
    """What is rounded errs by all that is added up, not by what it comes to: where that cancels, codes are others."""
    chain = [node("QuantizeLinear", "x,s,z", "q"), node("DequantizeLinear", "q,s,z", "d"), node("MatMul", "d,W", "h")]
    chain += [node("QuantizeLinear", "h,t,o", "r"), node("DequantizeLinear", "r,e,o", "y")]
    tried = 0
    for seed in range(3):
        rng = np.random.default_rng(seed)
        W = rng.normal(size=(n, 100)) * size
        W[1::2] = rng.normal(size=(n // 2, 100)) * 4 / n**0.5 - W[0::2]
        s, t, W = f(rng.uniform(0.5, 2) / 255), f(0.03), W.astype(np.float32)
        net = verifier.load(model(chain, (1, n), s=s, z=UINT8(0), t=t, o=UINT8(128), e=f(1.0), W=W))
        x = np.repeat(rng.integers(0, 200, (600, n // 2)), 2, axis=1) * float(s)
        real, y = np.clip(np.rint(x @ W.astype(float) / float(t)), -128, 127), net.run(x.astype(np.float32))
        for k in np.flatnonzero((real != y).any(1))[:4]:
            low, high = verifier.bound(net, verifier.Box(x[k] - 0.3 * s, x[k] + 0.3 * s), method="crown")
            assert (low - 1e-5 <= np.minimum(y, real)[k]).all() and (np.maximum(y, real)[k] <= high + 1e-5).all()
            assert n > 100 or (high - low < 0.1).mean() > 0.5
            tried += 1
    assert tried >= 2
