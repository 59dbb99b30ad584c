"""Networks of which some inputs are fixed: what depends on those alone is computed; the rest stays the network."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from verifier.graph.from_onnx import check, load
from verifier.graph.ops.affine import Add
from verifier.graph.passes.runner import simplify
from verifier.values.errors import ModelError

FREE = np.nan


class Net:
    """A model of inputs `x [6]`, and more if asked, in the making."""

    def __init__(self, **shapes: list[int]) -> None:
        self.shapes = shapes or {"x": [6]}
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def add(self, op: str, *inputs: Any, **attributes: Any) -> str:
        names = []
        for a in inputs:
            if not isinstance(a, str):
                self.tensors.append(numpy_helper.from_array(np.asarray(a), f"c{len(self.tensors)}"))
                a = self.tensors[-1].name
            names.append(a)
        out = f"t{len(self.nodes)}"
        self.nodes.append(helper.make_node(op, names, [out], **attributes))
        return out

    def save(self, folder: Path) -> Path:
        info = helper.make_tensor_value_info
        inputs = [info(n, TensorProto.FLOAT, s) for n, s in self.shapes.items()]
        outputs = [info(self.nodes[-1].output[0], TensorProto.FLOAT, None)]
        graph = helper.make_graph(self.nodes, "net", inputs, outputs, self.tensors)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8)
        (folder / "net.onnx").write_bytes(model.SerializeToString())
        return folder / "net.onnx"


def right(path: Path, *decided: np.ndarray) -> Any:
    """Load, compare with onnxruntime, before and after simplification."""
    model = load(path, decided=decided)
    check(model)
    check(model, simplify(model.graph))
    return model


def test_a_slice_at_a_place_that_an_input_gives(tmp_path: Path) -> None:
    net = Net()
    at = net.add("Slice", "x", np.array([4]), np.array([5]), np.array([0]))
    at = net.add("Cast", at, to=TensorProto.INT64)
    end = net.add("Add", at, np.array([2]))
    net.add("Relu", net.add("Slice", "x", at, end, np.array([0])))
    path = net.save(tmp_path)
    with pytest.raises(ModelError, match="not constant"):
        load(path)
    for value in (0.0, 2.0, 2.75):
        model = right(path, np.array([FREE, FREE, FREE, FREE, value, FREE]))
        assert model.output_shapes == ((2,),)
        x = np.array([[-1.0, 2.0, -3.0, 4.0, value, 6.0]])
        np.testing.assert_array_equal(model.graph.evaluate(x)[0], model.run(x))
    assert model.whole is not None and not model.whole[0].any()  # the slice itself looks at all entries


def test_entries_that_only_matter_as_whole_numbers(tmp_path: Path) -> None:
    net = Net()
    at = net.add("Cast", net.add("Gather", "x", np.array(4), axis=0), to=TensorProto.INT64)
    image = net.add("Slice", "x", np.array([0]), np.array([4]), np.array([0]))
    net.add("Gather", net.add("Tanh", image), at, axis=0)
    path = net.save(tmp_path)
    model = right(path, np.array([FREE] * 4 + [3.0, 0.0]))
    assert model.whole is not None
    np.testing.assert_array_equal(model.whole[0], [0, 0, 0, 0, 1, 1])
    assert model.output_shapes == ((),)


def test_an_output_is_a_use(tmp_path: Path) -> None:
    net = Net()
    net.add("Cast", "x", to=TensorProto.INT64)
    net.add("Identity", net.add("Reshape", "x", np.array([2, 3])))
    model = right(net.save(tmp_path), np.full(6, FREE))
    assert model.whole is not None and not model.whole[0].any()


def test_arithmetic_on_known_entries_is_not_rounded(tmp_path: Path) -> None:
    net = Net()
    y = net.add("Div", net.add("Sub", "x", np.float32(0.1)), np.float32(3.0))
    known = net.add("Slice", y, np.array([3]), np.array([6]), np.array([0]))
    free = net.add("Slice", y, np.array([0]), np.array([3]), np.array([0]))
    net.add("Add", free, net.add("Exp", known))
    model = right(net.save(tmp_path), np.array([FREE, FREE, FREE, 1.0, 2.0, 3.0]))
    x = np.array([0.5, -0.25, 4.0, 1.0, 2.0, 3.0])
    real = (x - float(np.float32(0.1))) / 3
    np.testing.assert_allclose(model.graph.evaluate(x[None])[0][0], real[:3] + np.exp(real[3:]), rtol=1e-14)


def test_arithmetic_that_is_exact_stays_constant(tmp_path: Path) -> None:
    net = Net()
    y = net.add("Mul", net.add("Sub", "x", np.float32(0.5)), np.float32(4.0))
    known = net.add("Slice", y, np.array([3]), np.array([6]), np.array([0]))
    at = net.add("Cast", known, to=TensorProto.INT64)
    net.add("Gather", "x", at, axis=0)
    model = right(net.save(tmp_path), np.array([FREE, FREE, FREE, 1.0, 0.5, 1.5]))
    np.testing.assert_array_equal(model.graph.evaluate(np.arange(6.0)[None])[0], [[2, 0, 4]])
    assert not any(isinstance(n.op, Add) for n in model.graph.nodes)


def test_concatenation_and_padding_keep_what_is_known(tmp_path: Path) -> None:
    net = Net()
    a = net.add("Gather", "x", np.array([5, 0]), axis=0)
    b = net.add("Concat", a, np.array([0.7], np.float32), axis=0)
    b = net.add("Pad", b, np.array([0, 1]), np.float32(2.0))
    at = net.add("Cast", net.add("Gather", b, np.array([0, 2, 3]), axis=0), to=TensorProto.INT64)
    net.add("Gather", "x", at, axis=0)
    model = right(net.save(tmp_path), np.array([FREE] * 5 + [4.0]))
    np.testing.assert_array_equal(model.graph.evaluate(np.arange(6.0)[None])[0], [[4, 0, 2]])


def test_all_decided(tmp_path: Path) -> None:
    net = Net(x=[2], p=[1])
    net.add("Mul", net.add("Sigmoid", "x"), "p")
    model = right(net.save(tmp_path), np.array([1.0, 2.0]), np.array([0.5]))
    x = [np.array([[1.0, 2.0]]), np.array([[0.5]])]
    np.testing.assert_allclose(model.graph.evaluate(*x)[0], model.run(*x), rtol=1e-6)
    one = right(net.save(tmp_path), np.array([FREE, FREE]), np.array([0.5]))
    assert len(one.graph.inputs) == 2 and len(one.graph.nodes) == 4


def test_nothing_decided_is_as_before(tmp_path: Path) -> None:
    net = Net()
    net.add("Relu", net.add("Mul", "x", np.float32(2.0)))
    path = net.save(tmp_path)
    assert len(right(path, np.full(6, FREE)).graph.nodes) == len(load(path).graph.nodes)
    assert load(path).whole is None and load(path).decided is None


def test_a_comparison_does_not_take_free_entries_for_known(tmp_path: Path) -> None:
    net = Net()
    y = net.add("Max", net.add("Add", "x", np.float32(0.0)), np.zeros(1, np.float32))  # max(NaN, 0) could be 0
    net.add("Gather", y, np.array([0, 5]), axis=0)
    model = right(net.save(tmp_path), np.array([FREE] * 5 + [4.0]))
    np.testing.assert_array_equal(model.graph.evaluate(np.full((1, 6), 4.0))[0], [[4, 4]])
