"""Constants, attributes and outputs that are easily read differently from the standard, compared with onnxruntime."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper, numpy_helper

import verifier
from verifier.graph import from_onnx
from verifier.graph.graph import Builder, Input
from verifier.graph.ops.affine import Scale
from verifier.graph.ops.curves import Curve
from verifier.values.errors import ModelError


def save(folder: Path, nodes: list[Any], shape: list[int], out: list[Any], tensors: Any = None, kind: int = 1) -> Path:
    stored = [numpy_helper.from_array(a, k) for k, a in (tensors or {}).items()]
    given = helper.make_tensor_value_info("x", kind, shape)
    results = [o if not isinstance(o, str) else helper.make_tensor_value_info(o, kind, None) for o in out]
    graph = helper.make_graph(nodes, "g", [given], results, stored)
    opsets = [helper.make_opsetid("", 13), helper.make_opsetid("ai.onnx.ml", 1)]
    path = folder / "m.onnx"
    path.write_bytes(helper.make_model(graph, opset_imports=opsets, ir_version=8).SerializeToString())
    return path


def clip(folder: Path, low: Any, high: Any, dtype: str) -> Path:
    tensors = {k: np.array(v, dtype) for k, v in (("l", low), ("h", high)) if v is not None}
    names = ["x", "l" if low is not None else "", "h" if high is not None else ""]
    kind = {"float32": 1, "float64": 11}[dtype]
    return save(folder, [helper.make_node("Clip", names, ["y"])], [1, 2], ["y"], tensors, kind)


def test_a_clip_beyond_float32_counts_in_a_model_of_doubles(tmp_path: Path) -> None:
    path = clip(tmp_path, -1e39, 1e39, "float64")
    model = from_onnx.load(path)
    x = np.array([[-1e40, 1e40], [-2e39, 5.0]])
    np.testing.assert_allclose(np.asarray(model.graph.evaluate(x.reshape(2, 1, 2))[0]).reshape(2, 2), model.run(x))
    assert verifier.bound(model, verifier.Box([1e40, 1e40], [2e40, 2e40]))[1][0] < 1.001e39
    low, high = verifier.bound(clip(tmp_path, None, np.inf, "float64"), verifier.Box([-2, -2], [3, 3]))
    np.testing.assert_allclose([low[0], high[0]], [-2, 3])


def test_where_min_is_above_max_a_clip_is_max(tmp_path: Path) -> None:
    path = clip(tmp_path, 2.0, 1.0, "float32")
    x = np.array([[-3.0, 1.5], [1.2, 9.0]])
    model = from_onnx.load(path)
    np.testing.assert_array_equal(model.run(x), 1.0)
    low, high = verifier.bound(model, verifier.Box([-9, -9], [9, 9]))
    np.testing.assert_allclose([low, high], 1.0)


@pytest.mark.parametrize(
    "how", [{}, {"auto_pad": "SAME_UPPER"}, {"auto_pad": "SAME_LOWER"}, {"output_padding": [1, 1]}]
)
@pytest.mark.parametrize("out", [[10, 8], [9, 7], [7, 6], None])
def test_the_shape_of_a_transposed_convolution(how: dict[str, Any], out: Any, tmp_path: Path) -> None:
    given = {**how, **({} if out is None else {"output_shape": out})}
    W, b = np.random.default_rng(0).normal(size=(1, 2, 3, 3)).astype(np.float32), np.array([0.5, -1], np.float32)
    node = helper.make_node("ConvTranspose", ["x", "W", "b"], ["y"], strides=[3, 2], **given)
    model = from_onnx.load(save(tmp_path, [node], [1, 1, 3, 3], ["y"], {"W": W, "b": b}))
    x = np.random.default_rng(1).normal(size=(4, 9))
    ours = np.asarray(model.graph.evaluate(x.reshape(4, 1, 1, 3, 3))[0]).reshape(4, -1)
    np.testing.assert_allclose(ours, model.run(x), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("auto", ["SAME_UPPER", "SAME_LOWER", "VALID"])
@pytest.mark.parametrize("kernel", [1, 2, 4])
def test_a_transposed_convolution_smaller_than_its_stride(auto: str, kernel: int, tmp_path: Path) -> None:
    """Where the natural size is less than input times stride."""
    W = np.random.default_rng(0).normal(size=(1, 2, kernel, 1)).astype(np.float32)
    node = helper.make_node("ConvTranspose", ["x", "W"], ["y"], strides=[3, 2], auto_pad=auto)
    model = from_onnx.load(save(tmp_path, [node], [1, 1, 3, 3], ["y"], {"W": W}))
    x = np.random.default_rng(1).normal(size=(4, 9))
    ours = np.asarray(model.graph.evaluate(x.reshape(4, 1, 1, 3, 3))[0]).reshape(4, -1)
    np.testing.assert_allclose(ours, model.run(x), rtol=1e-4, atol=1e-5)


def mapped() -> Any:
    value = helper.make_map_type_proto(7, helper.make_tensor_type_proto(1, None))
    return helper.make_value_info("z", helper.make_sequence_type_proto(value))


def test_a_map_beside_a_tensor_is_ignored(tmp_path: Path) -> None:
    W = np.array([[1.0, -1.0], [0.5, 2.0]], np.float32)
    zipped = helper.make_node("ZipMap", ["y"], ["z"], domain="ai.onnx.ml", classlabels_int64s=[0, 1])
    nodes = [helper.make_node("MatMul", ["x", "W"], ["y"]), zipped]
    for out in (["y", mapped()], [mapped(), "y"]):
        model = from_onnx.load(save(tmp_path, nodes, [1, 2], out, {"W": W}))
        assert model.output_names == ("y",) and model.own_outputs == 1
        low, high = verifier.bound(model, verifier.Box([0, 0], [1, 1]))
        np.testing.assert_allclose([low, high], [[0, -1], [1.5, 2]], atol=1e-9)
    alone = from_onnx.load(save(tmp_path, nodes, [1, 2], [mapped()], {"W": W}))
    assert alone.output_names == ("y",)  # what the map is made of


def test_a_tensor_without_entries_is_refused_in_one_line(tmp_path: Path) -> None:
    ends = {k: np.array([v]) for k, v in (("s", 5), ("e", 9), ("a", 1))}
    model = from_onnx.load(
        save(tmp_path, [helper.make_node("Slice", ["x", "s", "e", "a"], ["y"])], [1, 3], ["y"], ends)
    )
    box = verifier.Box([0, 0, 0], [1, 1, 1])
    for ask in (lambda: verifier.bound(model, box), lambda: verifier.lipschitz(model, box),
                lambda: verifier.monotone(model, box, input=0)):  # fmt: skip
        with pytest.raises(ModelError, match="no entries"):
            ask()


def chosen(folder: Path, op: str) -> Path:
    nodes = [
        helper.make_node("Greater", ["x", "o"], ["b"]),
        helper.make_node(op, ["x"], ["s"]),
        helper.make_node("Where", ["b", "s", "o"], ["y"]),
    ]
    return save(folder, nodes, [1, 1], ["y"], {"o": np.array([0.0], np.float32)})


@pytest.mark.parametrize("op", ["Sqrt", "Log", "Reciprocal"])
def test_what_a_where_does_not_choose_may_have_no_value(op: str, tmp_path: Path) -> None:
    """Its bounds hold for what is chosen, on both sides; where nothing is known of it they are infinite."""
    model = from_onnx.load(chosen(tmp_path, op))
    rng = np.random.default_rng(0)
    for _ in range(20):
        ends = np.sort(rng.normal(size=2))
        x = np.concatenate([ends[:, None], rng.uniform(*ends, (50, 1))])
        y = model.run(x)
        for method in ("interval", "crown", "alpha-crown"):
            low, high = verifier.bound(model, verifier.Box(ends[:1], ends[1:]), method=method)
            near = 1e-6 * (1 + abs(y).max())
            assert low[0] <= y.min() + near and y.max() - near <= high[0], (ends, method)
            assert op != "Sqrt" or high[0] < 10


def test_what_leaves_the_doubles_everywhere_is_refused_in_one_line(tmp_path: Path) -> None:
    """A kernel that shifts may have numbers where real arithmetic overflows: that is no difference to be reported."""
    nodes = [helper.make_node("Add", ["x", "b"], ["y"])]
    model = from_onnx.load(save(tmp_path, nodes, [1, 2], ["y"], {"b": np.array([900.0, 900.0], np.float32)}))
    build = Builder()
    x = build.add(Input((1, 2)), ())
    y = build.add(Curve("exp"), (build.add(Scale(None, np.array([900.0, 900.0])), (x,)),))
    graph = build.graph([x], [build.add(Curve("log"), (y,))])
    with pytest.raises(ModelError, match="leave the range of doubles at every input") as refused:
        from_onnx.check(model, graph)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("op", ["LogSoftmax", "ReduceLogSumExp", "Softmax"])
def test_large_logits_are_read(op: str, tmp_path: Path) -> None:
    how = {"keepdims": 1} if op == "ReduceLogSumExp" else {"axis": 1}
    nodes = [helper.make_node("Mul", ["x", "k"], ["h"]), helper.make_node(op, ["h"], ["y"], **how)]
    path = save(tmp_path, nodes, [1, 2], ["y"], {"k": np.array(1000.0, np.float32)})
    model = from_onnx.load(path)
    y = model.run(np.array([[1e-3, 2e-3]]))[0]
    low, high = verifier.bound(model, verifier.Box([1e-3, 2e-3], [1.001e-3, 2.001e-3]))
    assert (low <= y + 1e-5).all() and (y - 1e-5 <= high).all() and (high - low < 0.1).all()


def test_torch_reads_a_choice_that_hides_what_has_no_value() -> None:
    torch = pytest.importorskip("torch")

    class Chosen(torch.nn.Module):  # type: ignore[misc, name-defined]
        def forward(self, x: Any) -> Any:
            """A root behind a choice."""
            return torch.where(x > 0, torch.sqrt(x), x)

    net = verifier.load(Chosen(), torch.tensor([[1.5, 9.5]]))
    low, high = verifier.bound(net, verifier.Box([1.0, 4.0], [2.25, 9.0]))
    assert (low >= [0.9, 1.9]).all() and (low <= [1.0, 2.0]).all()
    assert (high >= [1.5, 3.0]).all() and (high <= [1.6, 3.1]).all()
    low, high = verifier.bound(net, verifier.Box([-4.0, -4.0], [-2.0, 9.0]))
    assert (low <= -4).all() and high[0] >= -2 and high[1] >= 3
