"""How other exporters write things: Keras through tf2onnx, MATLAB, pyNeVer.  Their forms, put together here by hand."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from verifier.graph.graph import Affine, Input
from verifier.run.model import boundable, remarks
from verifier.values.errors import ModelError

RNG = np.random.default_rng


class Form:
    """Nodes from `x`, whose batch is open, to the last node's output."""

    def __init__(self, shape: list[int], seed: int = 0, kind: int = TensorProto.FLOAT) -> None:
        self.shape, self.kind, self.rng = shape, kind, RNG(seed)
        self.nodes, self.tensors, self.opset, self.ir = list[Any](), list[Any](), 13, 8
        self.listed = False

    def tensor(self, a: Any, dtype: Any = np.float32) -> str:
        name = f"StatefulPartitionedCall/const_{len(self.tensors)}/ReadVariableOp:0"
        self.tensors.append(numpy_helper.from_array(np.array(a, dtype, order="C"), name))
        return name

    def whole(self, *a: int) -> str:
        return self.tensor(a, np.int64)

    def weights(self, *shape: int) -> str:
        return self.tensor(self.rng.standard_normal(shape) / np.sqrt(np.prod(shape[1:]) or 1))

    def __call__(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"StatefulPartitionedCall/{op}_{len(self.nodes)}:{k}" for k in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0] if outputs == 1 else names[-1]

    def bytes(self) -> bytes:
        x = helper.make_tensor_value_info("x", self.kind, ["unk__1", *self.shape])
        y = helper.make_tensor_value_info("Identity:0", self.kind, None)
        stored = [helper.make_tensor_value_info(t.name, t.data_type, t.dims) for t in self.tensors]
        last = helper.make_node("Identity", [self.nodes[-1].output[0]], ["Identity:0"])
        inputs, told = ([x, *stored], []) if self.listed else ([x], stored)
        graph = helper.make_graph([*self.nodes, last], "model_1", inputs, [y], self.tensors, value_info=told)
        opset = [helper.make_opsetid("", self.opset)]
        return bytes(helper.make_model(graph, opset_imports=opset, ir_version=self.ir).SerializeToString())


def batch(f: Form, x: str, *rest: int) -> str:
    """The shape `[batch, *rest]` as tf2onnx computes it."""
    shape = f("Cast", f("Shape", x), to=TensorProto.INT32)
    first = f("Slice", shape, f.whole(0), f.whole(1), f.whole(0))
    return f("Cast", f("Concat", first, f.tensor(rest, np.int32), axis=0), to=TensorProto.INT64)


def image(f: Form) -> dict[str, int]:
    """Channels last: Transposes around convolutions, SAME padding, norms as products and sums, ReLU6 as a Clip."""
    y = f("Transpose", "x", perm=[0, 3, 1, 2])
    y = f("Conv", y, f.weights(4, 2, 3, 3), auto_pad="SAME_UPPER", strides=[2, 2], kernel_shape=[3, 3])
    y = f("Add", f("Mul", y, f.tensor(f.rng.random((1, 4, 1, 1)) + 0.5)), f.weights(1, 4, 1, 1))
    y = f("Clip", y, f.tensor(0.0), f.tensor(6.0))
    y = f("Conv", y, f.weights(4, 1, 3, 3), f.weights(4), auto_pad="SAME_UPPER", group=4)
    y = f("LeakyRelu", y, alpha=0.3)
    y = f("AveragePool", y, auto_pad="SAME_UPPER", kernel_shape=[2, 2], strides=[2, 2])
    y = f("Transpose", y, perm=[0, 2, 3, 1])
    y = f("Reshape", y, batch(f, y, 4))
    y = f("Add", f("MatMul", y, f.weights(4, 3)), f.weights(3))
    f("Softmax", y, axis=-1)
    return {"Relu": 3, "Share": 1}


def upsampled(f: Form) -> dict[str, int]:
    """UpSampling2D, squeeze and excite with a hard sigmoid, and LayerNormalization from its parts."""
    y = f("Conv", f("Transpose", "x", perm=[0, 3, 1, 2]), f.weights(2, 2, 1, 1))
    y = f("Mul", y, f("Sigmoid", y))
    gate = f("Reshape", f("GlobalAveragePool", y), f.whole(-1, 2))
    gate = f("Add", f("Mul", f("MatMul", gate, f.weights(2, 2)), f.tensor(1 / 6)), f.tensor(0.5))
    gate = f("Clip", gate, f.tensor(0.0), f.tensor(1.0))
    y = f("Mul", y, f("Unsqueeze", f("Unsqueeze", gate, f.whole(2)), f.whole(3)))
    y = f("Transpose", y, perm=[0, 2, 3, 1])
    wide = f("Tile", f("Unsqueeze", y, f.whole(2)), f.whole(1, 1, 2, 1, 1))
    y = f("Reshape", wide, batch(f, y, 4, 4, 2))
    mean = f("ReduceMean", y, axes=[3], keepdims=1)
    away = f("Sub", y, mean)
    spread = f("Reciprocal", f("Sqrt", f("Add", f("ReduceMean", f("Mul", away, away), axes=[3]), f.tensor(1e-3))))
    y = f("Add", f("Mul", y, spread), f("Mul", f("Neg", mean), spread))
    f("ReduceMean", y, axes=[1, 2], keepdims=0)
    return {"silu": 1, "Relu": 2, "Product": 3, "square": 1, "power": 1}


def recurrent(f: Form) -> dict[str, int]:
    """An LSTM over time first, its states spread over the batch, and a gate as a clipped line."""
    y = f("Transpose", "x", perm=[1, 0, 2])
    zero = f("Expand", f.tensor(np.zeros((1, 3))), batch(f, "x", 3))
    state = f("Unsqueeze", zero, f.whole(0))
    H = 3
    inputs = (y, f.weights(1, 4 * H, 2), f.weights(1, 4 * H, H), f.weights(1, 8 * H), "", state, state)
    y = f("LSTM", *inputs, outputs=2, hidden_size=H, direction="forward")
    y = f("MatMul", f("Squeeze", y, f.whole(0)), f.weights(H, 2))
    f("Clip", f("Add", f("Mul", y, f.tensor(0.2)), f.tensor(0.5)), f.tensor(0.0), f.tensor(1.0))
    return {}


def causal(f: Form) -> dict[str, int]:
    """A one-dimensional convolution of the past as a two-dimensional one: Pad, Unsqueeze, Conv, Squeeze."""
    y = f("Pad", "x", f.whole(0, 2, 0, 0, 0, 0))
    y = f("Transpose", f("Unsqueeze", y, f.whole(1)), perm=[0, 3, 1, 2])
    y = f("Conv", y, f.weights(3, 2, 1, 2), f.weights(3), dilations=[1, 2])
    y = f("Transpose", f("Squeeze", y, f.whole(2)), perm=[0, 2, 1])
    y = f("Selu", y)
    y = f("Squeeze", f("GlobalAveragePool", f("Transpose", y, perm=[0, 2, 1])), f.whole(2))
    f("Softplus", f("Gemm", y, f.weights(2, 3), f.weights(2), transB=1))
    return {"elu": 1, "softplus": 1}


def matlab(f: Form) -> dict[str, int]:
    """The mean image taken off, weights among the inputs, softmax over channels between two Transposes."""
    f.opset, f.ir, f.listed = 8, 3, True
    y = f("Sub", "x", f.tensor(f.rng.random((1, 2, 4, 4))))
    y = f("Conv", y, f.weights(3, 2, 3, 3), f.weights(3), kernel_shape=[3, 3], pads=[1, 1, 1, 1], strides=[1, 1])
    norm = [f.tensor(f.rng.random(3) + 0.5) for _ in range(4)]
    y = f("Relu", f("BatchNormalization", y, *norm, epsilon=1e-5))
    y = f("MaxPool", y, kernel_shape=[2, 2], pads=[0, 0, 0, 0], strides=[2, 2])
    y = f("Softmax", f("Transpose", y, perm=[0, 2, 3, 1]), axis=3)
    y = f("Flatten", f("Transpose", y, perm=[0, 3, 1, 2]), axis=1)
    f("Gemm", y, f.weights(2, 12), f.weights(2), alpha=1.0, beta=1.0, transA=0, transB=1)
    return {"Relu": 3, "Share": 1}


FORMS = {"image": (image, [4, 4, 2]), "upsampled": (upsampled, [4, 2, 2]), "recurrent": (recurrent, [3, 2]),
         "causal": (causal, [4, 2]), "matlab": (matlab, [2, 4, 4])}  # fmt: skip


@pytest.mark.parametrize("name", FORMS)
def test_a_form_is_read_and_bounded(name: str) -> None:
    """Compared with onnxruntime as it is loaded; what only moves numbers leaves nothing to be bounded."""
    build, shape = FORMS[name]
    f = Form(shape)
    units = build(f)
    net = verifier.load(f.bytes())
    assert net.input_shapes == ((1, *shape),)
    rng, n = RNG(1), int(np.prod(shape))
    middle = rng.standard_normal(n) * 0.5
    for size in (0.01, 0.3):
        lower, upper = verifier.bound(net, verifier.Box(middle - size, middle + size))
        y = net.run(rng.uniform(middle - size, middle + size, (60, n)).astype(np.float32))
        assert (y >= lower - 1e-5).all() and (y <= upper + 1e-5).all()
        assert size > 0.1 or (upper - lower).max() < 1.0
    ops = [node.op for node in boundable(net).nodes if not isinstance(node.op, (Affine, Input))]
    assert not units or Counter(str(getattr(op, "kind", type(op).__name__)) for op in ops) == units


def test_doubles_declared_over_weights_of_float32() -> None:
    """pyNeVer declares its input, and each weight beside itself, a double; the weights are what torch had."""
    f = Form([3], kind=TensorProto.DOUBLE)
    y = f("Gemm", "x", f.weights(3, 4), f.weights(4), alpha=1.0, beta=1.0, transA=0, transB=0)
    norm = [f.tensor(f.rng.random(4) + 0.5) for _ in range(4)]
    y = f("BatchNormalization", f("Relu", y), *norm, epsilon=1e-5, momentum=0.9)
    f("Gemm", y, f.weights(4, 2), f.weights(2), alpha=1.0, beta=1.0, transA=0, transB=0)
    net = verifier.load(f.bytes())
    assert net.input_dtype == "float64" and "do not match" in remarks(net)[0]
    x = RNG(1).uniform(-1, 1, (50, 3))
    lower, upper = verifier.bound(net, verifier.Box(-np.ones(3), np.ones(3)))
    assert (lower <= net.run(x)).all() and (net.run(x) <= upper).all()


def test_an_attribute_that_is_none_is_refused_in_onnxruntimes_words() -> None:
    """A Conv with `groups`: the standard's is called `group`."""
    f = Form([2, 4, 4])
    f("Conv", "x", f.weights(2, 2, 3, 3), groups=1)
    with pytest.raises(ModelError, match="groups"):
        boundable(verifier.load(f.bytes()))
