"""Reading ONNX files: what is refused, and how; batches, types, external data; the comparison with onnxruntime."""

from __future__ import annotations

import gzip
import subprocess
import sys
from dataclasses import replace
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from verifier.graph.from_onnx import Model, check, load
from verifier.graph.graph import Graph, Node
from verifier.graph.ops import table
from verifier.graph.ops.affine import Add, Dense
from verifier.graph.ops.table import supported
from verifier.values.errors import ModelError, UnsoundBound


def make(
    nodes: list[Any],
    tensors: dict[str, Any],
    shape: Any = (1, 2),
    out: Any = (1, None),
    dtype: int = TensorProto.FLOAT,
    opset: int = 13,
    inputs: list[Any] | None = None,
) -> Any:
    """A model with input `x` and output `y`."""
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        nodes,
        "test",
        inputs if inputs is not None else [info("x", dtype, shape)],
        [info("y", dtype, out)],
        [numpy_helper.from_array(np.asarray(a), n) for n, a in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def layer(W: Any = ((1.0, 2.0), (3.0, 4.0)), **how: Any) -> Any:
    return make([helper.make_node("MatMul", ["x", "W"], ["y"])], {"W": np.array(W, np.float32)}, **how)


@pytest.fixture
def save(tmp_path: Path) -> Any:
    def write(model: Any, name: str = "net.onnx") -> Path:
        path = tmp_path / name
        data = model if isinstance(model, bytes) else model.SerializeToString()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write


def refused(path: Path, *words: str) -> None:
    """`load` refuses with one line that names the file and says these words."""
    with pytest.raises(ModelError) as e:
        load(path)
    text = str(e.value)
    assert "\n" not in text and str(path) in text
    for word in words:
        assert word in text


def test_plain_and_compressed_files(save: Any) -> None:
    for name in ("net.onnx", "net.onnx.gz", "compressed_without_saying_so.onnx"):
        data = layer().SerializeToString()
        path = save(gzip.compress(data) if "saying" in name else data, name)
        model = load(path)
        assert model.input_names == ("x",) and model.output_names == ("y",)
        assert model.input_shapes == ((1, 2),) and model.output_shapes == ((1, 2),)
        assert model.input_dtype == "float32" and model.path == path
        check(model)
        np.testing.assert_array_equal(model.run(np.array([[1.0, 1.0], [0.0, 1.0]])), [[4, 6], [3, 4]])
        assert model.session() is model.session()


def test_unusable_files(save: Any, tmp_path: Path) -> None:
    data = layer().SerializeToString()
    refused(tmp_path / "none.onnx", "no such file")
    refused(tmp_path, "folder")
    refused(save(b""), "empty")
    refused(save(data[: len(data) // 2]), "truncated")
    refused(save(b"not a model at all"), "not an ONNX model")
    refused(save(gzip.compress(data)[:-9]), "gzip")
    refused(save(gzip.compress(data)[:20] + b"\x00" * 40), "gzip")
    refused(save(b"version https://git-lfs.github.com/spec/v1\noid sha256:1"), "git lfs pull")


def test_every_truncation_is_refused(save: Any) -> None:
    data = layer().SerializeToString()
    for n in range(0, len(data) - 1, 3):
        try:
            load(save(data[:n]))
        except ModelError as e:
            assert "\n" not in str(e)


def test_unsupported_operators_are_named(save: Any) -> None:
    node = helper.make_node
    masked = {"c": np.array([0, -np.inf], np.float32)}
    refused(save(make([node("Add", ["x", "c"], ["h"]), node("Tanh", ["h"], ["y"])], masked)), "minus infinity", "'h'")
    refused(save(make([node("Add", ["x", "c"], ["y"])], {"c": np.array([0, np.inf], np.float32)})), "infinite")
    refused(save(make([node("Bernoulli", ["x"], ["y"])], {})), "'y'", "Bernoulli", "verifier info")
    refused(save(make([node("Cast", ["x"], ["y"], to=TensorProto.FLOAT8E5M2)], {})), "Cast", "float8e5m2")
    refused(save(make([node("Pow", ["c", "x"], ["y"])], {"c": -np.ones(1, np.float32)})), "not positive")
    whole = [node("Cast", ["x"], ["h"], to=TensorProto.INT64), node("Div", ["h", "c"], ["y"])]
    refused(save(make(whole, {"c": np.array([2])})), "Div of whole numbers")
    refused(save(make([node("Gather", ["c", "h"], ["y"], axis=0)], {"c": np.zeros(3, np.float32)})), "'h'")
    refused(save(make([whole[0], node("Gather", ["c", "h"], ["y"])], {"c": np.zeros(3, np.float32)})), "is constant")
    wide = make([node("PRelu", ["x", "s"], ["y"])], {"s": np.ones((7, 9), np.float32)})
    refused(save(wide), "slopes of shape [7, 9]", "do not broadcast")
    train = {"r": np.array(0.5, np.float32), "t": np.array(True)}
    refused(save(make([node("Dropout", ["x", "r", "t"], ["y"])], train)), "Dropout in training mode")
    refused(save(make([node("Foo", ["x"], ["y"], domain="com.example")], {})), "com.example")
    refused(save(make([node("Relu", ["z"], ["y"])], {})), "'z'")
    refused(save(make([node("Relu", ["x"], ["z"])], {})), "'y'")
    refused(save(make([node("Identity", ["c"], ["y"])], {"c": np.full(2, np.inf, np.float32)})), "does not depend")
    refused(save(make([node("Reshape", ["x", "c"], ["y"])], {"c": np.array([5])})), "Reshape of [1, 2] to [5]")
    refused(save(make([node("Add", ["x", "c"], ["y"])], {"c": np.zeros(3, np.float32)})), "'y'", "Add")
    refused(save(make([node("Conv", ["x", "c"], ["y"])], {"c": np.zeros((1, 1, 2), np.float32)})), "Conv")
    refused(save(make([node("If", ["c"], ["y"])], {"c": np.array(True)})), "If")
    big = np.array([1 << 20, 1 << 20])
    refused(save(make([node("Expand", ["x", "c"], ["y"])], {"c": big}, shape=(1, 1))), "Expand", "entries")
    zeros = [node("ConstantOfShape", ["c"], ["z"]), node("Add", ["x", "z"], ["y"])]
    refused(save(make(zeros, {"c": big})), "ConstantOfShape", "entries")


def test_bad_weights_are_named(save: Any) -> None:
    refused(save(layer([[1.0, np.nan], [0.0, 0.0]])), "'W'", "NaN")
    refused(save(layer([[1.0, 2.0], [np.inf, 0.0]])), "'W'", "infinite")
    divided = make([helper.make_node("Div", ["x", "c"], ["y"])], {"c": np.zeros(2, np.float32)})
    refused(save(divided), "1/c", "infinite")
    damaged = layer()
    damaged.graph.initializer[0].raw_data = b"123"
    refused(save(damaged), "'W'", "damaged")
    damaged.graph.initializer[0].data_type = 99
    refused(save(damaged), "'W'", "damaged")


def test_inputs_of_other_kinds(save: Any) -> None:
    info = helper.make_tensor_value_info
    node = [helper.make_node("Relu", ["x"], ["y"])]
    refused(save(make(node, {}, inputs=[info("x", TensorProto.INT64, (1, 2))])), "'x'", "floating-point")
    refused(save(make(node, {}, inputs=[info("x", TensorProto.FLOAT, None)])), "'x'", "rank")
    refused(save(make(node, {}, shape=("N", "H"))), "'x'", "[N, H]", "first dimension")
    for shape in ((5,), (), ("N",), (1, 3, 2)):
        model = load(save(make(node, {}, shape=shape, out=shape)))
        check(model)
    two = [info("x", TensorProto.FLOAT, (1, 2)), info("z", TensorProto.FLOAT, (1, 2))]
    model = load(save(make([helper.make_node("Add", ["x", "z"], ["y"])], {}, inputs=two)))
    assert model.input_names == ("x", "z") and len(model.graph.inputs) == 2
    check(model)
    none = make([helper.make_node("Relu", ["c"], ["y"])], {"c": np.zeros(2, np.float32)}, inputs=[])
    refused(save(none), "does not depend")


def test_initializers_listed_as_inputs(save: Any) -> None:
    info = helper.make_tensor_value_info
    inputs = [info("x", TensorProto.FLOAT, (1, 2)), info("W", TensorProto.FLOAT, (2, 2))]
    model = load(save(layer(inputs=inputs)))
    assert model.input_names == ("x",)
    check(model)


@pytest.mark.parametrize(("dtype", "name"), [(TensorProto.DOUBLE, "float64"), (TensorProto.FLOAT16, "float16")])
def test_other_precisions(save: Any, dtype: int, name: str) -> None:
    rng = np.random.default_rng(0)
    tensors = {"W": rng.standard_normal((2, 3)).astype(name), "b": rng.standard_normal(3).astype(name)}
    nodes = [helper.make_node("Gemm", ["x", "W", "b"], ["h"]), helper.make_node("Relu", ["h"], ["y"])]
    model = load(save(make(nodes, tensors, dtype=dtype)))
    assert model.input_dtype == name
    check(model)
    dense = model.graph.nodes[1].op
    assert isinstance(dense, Dense) and (dense.W == tensors["W"].T.astype(np.float64)).all()


def batch(nodes: list[Any], tensors: dict[str, Any], out: Any = ("N", None)) -> Any:
    return make(nodes, tensors, shape=("N", 2), out=out)


def test_batches(save: Any) -> None:
    x = np.random.default_rng(0).standard_normal((5, 2))
    fixed, free = load(save(layer(), "a.onnx")), load(save(layer(shape=("N", 2), out=("N", 2)), "b.onnx"))
    assert not fixed.batched and free.batched
    assert free.run(x).shape == (5, 2)
    np.testing.assert_allclose(free.run(x), fixed.run(x), rtol=1e-5, atol=1e-6)
    calls: list[Any] = []
    inner = free.session()
    free._state["session"] = type("Spy", (), {"run": lambda _, o, f: calls.append(f) or inner.run(o, f)})()
    free.run(x)
    assert len(calls) == 1
    assert free.run(x[:0]).shape == (0, 2)


def test_a_batch_that_the_network_mixes_goes_point_by_point(save: Any) -> None:
    mean = [
        helper.make_node("ReduceMean", ["x"], ["m"], axes=[0], keepdims=1),
        helper.make_node("Add", ["x", "m"], ["y"]),
    ]
    model = load(save(batch(mean, {})))
    check(model)
    x = np.array([[1.0, 2.0], [3.0, 5.0]])
    np.testing.assert_array_equal(model.run(x), 2 * x)
    flat = [helper.make_node("Reshape", ["x", "s"], ["y"])]
    model = load(save(batch(flat, {"s": np.array([1, -1])})))
    check(model)
    np.testing.assert_array_equal(model.run(x), x)
    small = [helper.make_node("Reshape", ["x", "s"], ["y"])]
    model = load(save(batch(small, {"s": np.array([1, 2])})))
    with pytest.raises(ModelError, match="onnxruntime fails"):
        model._call([np.zeros((2, 2), np.float32)])


def test_shape_arithmetic_and_constants_fold_away(save: Any) -> None:
    node = helper.make_node
    nodes = [
        node("Shape", ["x"], ["s"]),
        node("Gather", ["s", "zero"], ["n"], axis=0),
        node("Range", ["zero", "four", "one"], ["r"]),  # not one that numpy does here
        node("ReduceMax", ["r"], ["three"], keepdims=0),
        node("Sub", ["three", "four"], ["minus"]),
        node("Unsqueeze", ["n", "axes"], ["n1"]),
        node("Unsqueeze", ["minus", "axes"], ["m1"]),
        node("Concat", ["n1", "m1"], ["t"], axis=0),
        node("Reshape", ["x", "t"], ["h"]),
        node("Sqrt", ["W"], ["V"]),
        node("MatMul", ["h", "V"], ["y"]),
    ]
    W = np.array([[1.0], [4.0], [9.0], [16.0]], np.float32)
    scalars = {"zero": np.array(0), "one": np.array(1), "four": np.array(4), "axes": np.array([0]), "W": W}
    model = load(save(make(nodes, scalars, shape=("N", 2, 2), out=("N", 1))))
    assert [type(n.op).__name__ for n in model.graph.nodes] == ["Input", "Reshape", "Dense"]
    check(model)


def test_external_data_stays_in_the_folder(save: Any, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    model = layer()
    model.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.eye(2, dtype=np.float32), "W"))
    onnx.save_model(model, str(home / "net.onnx"), save_as_external_data=True, location="w.bin", size_threshold=0)
    good = load(home / "net.onnx")
    check(good)
    for location in ("../w.bin", str(home / "w.bin"), "", "missing.bin"):
        (tmp_path / "w.bin").write_bytes((home / "w.bin").read_bytes())
        proto = onnx.load_model(str(home / "net.onnx"), load_external_data=False)
        proto.graph.initializer[0].external_data[0].value = location
        path = home / "bad.onnx"
        path.write_bytes(proto.SerializeToString())
        if location != str(home / "w.bin"):
            refused(path, "'W'")
    (home / "link.bin").symlink_to(tmp_path / "w.bin")
    proto.graph.initializer[0].external_data[0].value = "link.bin"
    path.write_bytes(proto.SerializeToString())
    refused(path, "outside the model's folder")


def test_check_finds_a_wrong_graph(save: Any) -> None:
    model = load(save(layer()))
    nodes = list(model.graph.nodes)
    W = nodes[1].op.W.copy()  # type: ignore[attr-defined]
    W[0, 0] += 1e-4
    nodes[1] = Node("y", Dense(W), (0,), (1, 2))
    wrong = Graph(tuple(nodes), model.graph.inputs, model.graph.outputs)
    with pytest.raises(UnsoundBound, match=r"net\.onnx.*differs"):
        check(model, wrong)
    with pytest.raises(UnsoundBound):
        check(replace(model, graph=wrong))
    short = Graph((model.graph.nodes[0],), (0,), (0,))
    twice = Graph((*model.graph.nodes, Node("z", Add((1, 1)), (1, 1), (1, 2))), (0,), (2,))
    for graph in (short, twice):
        with pytest.raises(UnsoundBound):
            check(model, graph)


def test_check_is_sharp_in_deep_networks(save: Any) -> None:
    """The bound on rounding grows with every layer; what rounding usually does does not."""
    rng = np.random.default_rng(0)
    nodes, tensors, x = [], {}, "x"
    for k in range(12):
        tensors[f"W{k}"] = (rng.standard_normal((30, 30)) * 0.25).astype(np.float32)
        nodes += [helper.make_node("MatMul", [x, f"W{k}"], [f"z{k}"]), helper.make_node("Relu", [f"z{k}"], [f"a{k}"])]
        x = f"a{k}"
    nodes.append(helper.make_node("Neg", [x], ["y"]))
    model = load(save(make(nodes, tensors, shape=(1, 30))))
    check(model)
    wrong = list(model.graph.nodes)
    k = next(i for i, n in enumerate(wrong) if isinstance(n.op, Dense))
    wrong[k] = replace(wrong[k], op=Dense(wrong[k].op.W * 1.001))  # type: ignore[attr-defined]
    with pytest.raises(UnsoundBound):
        check(model, replace(model.graph, nodes=tuple(wrong)))


def test_functions_are_inlined(save: Any) -> None:
    node = helper.make_node
    model = make([node("Twice", ["x"], ["y"], domain="mine")], {})
    body = [node("Add", ["a", "a"], ["b"])]
    model.functions.append(helper.make_function("mine", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 13)]))
    model.opset_import.append(helper.make_opsetid("mine", 1))
    read = load(save(model))
    check(read)
    np.testing.assert_array_equal(read.graph.evaluate(np.ones((1, 1, 2)))[0], [[[2, 2]]])


def test_several_outputs_are_joined(save: Any) -> None:
    model = make([helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Neg", ["x"], ["z"])], {})
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 2)))
    read: Model = load(save(model))
    assert read.output_names == ("y", "z")
    np.testing.assert_array_equal(read.run(np.array([[1.0, -1.0]])), [[1, 0, -1, 1]])
    check(read)


def test_the_list_of_operators() -> None:
    assert {"Conv", "Gemm", "Relu", "Constant"} <= set(supported())
    assert list(supported()) == sorted(supported())


def test_importing_is_light() -> None:
    code = (
        "import sys, verifier.graph.from_onnx, verifier.graph.passes.runner\n"
        "heavy = {'onnx', 'onnxruntime', 'scipy', 'torch', 'onnxscript'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    root = Path(__file__).parents[2]
    subprocess.run([sys.executable, "-c", code], check=True, cwd=root)


def test_converters_that_are_imported_late_are_there() -> None:
    """A name in the table that no module has would be found out by the first model that needs it."""
    late = [c for rows in (table.CONVERTERS, table.FUSED, table.LEARNED, table.PLAIN) for c in rows.values()]
    found = [c.args for c in late if isinstance(c, partial) and c.func is table._read]
    assert len(found) > 40
    for module, name in found:
        assert callable(getattr(import_module(f"verifier.graph.{module}"), name)), (module, name)
