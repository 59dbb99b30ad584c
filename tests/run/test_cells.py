"""Models that can be read only where some inputs are decided."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import verifier
from verifier.run import cells
from verifier.spec.builders import output_property
from verifier.values.errors import ModelError

H = 6


def patched(path: Path, rng: np.random.Generator) -> np.ndarray:
    """Inputs: an image of 6 numbers, a place in [0, 4]; two numbers of a patch are put there, and a layer follows.

    Returns its weights and bias `[9]`: `relu(W·image + b)` summed is the output, less 1.
    """
    W, patch = rng.normal(size=(H, 8)).astype(np.float32), np.array([2.0, -1.0], np.float32)
    stored = {
        "W": W, "patch": patch, "zero": np.array([0], np.int64), "six": np.array([H], np.int64),
        "seven": np.array([H + 1], np.int64), "two": np.array([2], np.int64), "one": np.array([-1.0], np.float32),
        "steps": np.array([0, 1], np.int64), "column": np.array([2, 1], np.int64), "row": np.array([1, H], np.int64),
    }  # fmt: skip
    nodes = [
        helper.make_node("Slice", ["x", "zero", "six"], ["image"]),
        helper.make_node("Slice", ["x", "six", "seven"], ["where"]),
        helper.make_node("Cast", ["where"], ["place"], to=TensorProto.INT64),
        helper.make_node("Add", ["place", "steps"], ["both"]),
        helper.make_node("Reshape", ["both", "column"], ["indices"]),
        helper.make_node("ScatterND", ["image", "indices", "patch"], ["pasted"]),
        helper.make_node("Reshape", ["pasted", "row"], ["vector"]),
        helper.make_node("MatMul", ["vector", "W"], ["z"]),
        helper.make_node("Relu", ["z"], ["h"]),
        helper.make_node("ReduceSum", ["h"], ["sum"], keepdims=0),
        helper.make_node("Add", ["sum", "one"], ["y"]),
    ]
    info = helper.make_tensor_value_info
    io = [info("x", TensorProto.FLOAT, [H + 1])], [info("y", TensorProto.FLOAT, [1])]
    graph = helper.make_graph(nodes, "g", *io, [numpy_helper.from_array(a, n) for n, a in stored.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return W


def outputs(W: np.ndarray, image: np.ndarray) -> np.ndarray:
    """The outputs for every place."""
    found = []
    for k in range(H - 1):
        x = image.copy()
        x[k : k + 2] = 2.0, -1.0
        found.append(np.maximum(x @ W, 0).sum() - 1)
    return np.array(found)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("width", [0.0, 0.01])
def test_every_cell_counts(seed: int, width: float, tmp_path: Path) -> None:
    """The least output over all places, with the image fixed or varying: refuted below, found above."""
    rng = np.random.default_rng(seed)
    W = patched(tmp_path / "n.onnx", rng)
    image = rng.normal(size=H).astype(np.float32).astype(float)
    lower, upper = np.append(image - width, 0.0), np.append(image + width, 4.4)
    y = outputs(W, image)
    slack = 0.05 + 2 * H * width * abs(W).sum()
    for d, expected in ((y.min() + 0.05, "sat"), (y.min() - slack, "unsat")):
        prop = output_property(lower, upper, [[(np.array([1.0]), d)]], "law")
        result = verifier.verify(tmp_path / "n.onnx", prop, timeout=30)
        assert result.verdict == expected, result.reason
        if expected == "sat":
            x = result.witness.flat
            assert (x >= lower).all() and (x <= upper).all()
            assert outputs(W, x[:H])[int(x[H])] <= d + 1e-5


def test_one_place_is_a_network(tmp_path: Path) -> None:
    """A property that fixes the place needs no cells."""
    rng = np.random.default_rng(9)
    W = patched(tmp_path / "n.onnx", rng)
    image = rng.normal(size=H).astype(np.float32).astype(float)
    lower, upper = np.append(image - 0.01, 3.0), np.append(image + 0.01, 3.0)
    prop = output_property(lower, upper, [[(np.array([1.0]), outputs(W, image)[3] - 1.0)]], "law")
    assert not isinstance(cells.divide(tmp_path / "n.onnx", prop), cells.Divided)
    assert verifier.verify(tmp_path / "n.onnx", prop, timeout=30).verdict == "unsat"


@pytest.mark.parametrize("place", [(0.0, 4.4), (3.0, 3.0)])
def test_no_time_left_is_a_timeout(place: tuple[float, float], tmp_path: Path) -> None:
    """What was left is never asked for as a negative number of seconds."""
    patched(tmp_path / "n.onnx", np.random.default_rng(3))
    lower, upper = np.append(np.zeros(H), place[0]), np.append(np.ones(H), place[1])
    prop = output_property(lower, upper, [[(np.array([1.0]), -0.5)]], "law")
    assert verifier.verify(tmp_path / "n.onnx", prop, timeout=0).verdict == "timeout"


def test_what_cells_do_not_help_is_refused_as_before(tmp_path: Path) -> None:
    """Too many places, and a property that speaks of the place itself."""
    rng = np.random.default_rng(3)
    patched(tmp_path / "n.onnx", rng)
    lower, upper = np.append(np.zeros(H), 0.0), np.append(np.zeros(H), 1e6)
    prop = output_property(lower, upper, [[(np.array([1.0]), 0.0)]], "law")
    with pytest.raises(ModelError, match="n.onnx: node"):
        verifier.verify(tmp_path / "n.onnx", prop, timeout=5)


def looked_up(path: Path, table: list[float], more: int = 0) -> Path:
    """`(t·1e8 + 1) − t·1e8` with t = table[x_0], times 1 + the sum of `more` inputs: 1 or more."""
    stored = {
        "table": np.array(table, np.float32), "big": np.float32(1e8), "one": np.float32(1), "zero": np.array([0]),
        "first": np.array([1]), "end": np.array([1 + more]),
    }  # fmt: skip
    nodes = [
        helper.make_node("Slice", ["x", "zero", "first"], ["name"]),
        helper.make_node("Slice", ["x", "first", "end"], ["rest"]),
        helper.make_node("Cast", ["name"], ["at"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "at"], ["t"], axis=0),
        helper.make_node("Mul", ["t", "big"], ["m"]),
        helper.make_node("Add", ["m", "one"], ["p"]),
        helper.make_node("Sub", ["p", "m"], ["v"]),
        helper.make_node("ReduceSum", ["rest"], ["s"], keepdims=1),
        helper.make_node("Add", ["s", "one"], ["f"]),
        helper.make_node("Mul", ["v", "f"], ["y"]),
    ]
    nodes = nodes if more else [*nodes[:1], *nodes[2:6], helper.make_node("Sub", ["p", "m"], ["y"])]
    info = helper.make_tensor_value_info
    io = [info("x", TensorProto.FLOAT, [1 + more])], [info("y", TensorProto.FLOAT, [1])]
    graph = helper.make_graph(nodes, "g", *io, [numpy_helper.from_array(a, n) for n, a in stored.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), path)
    return path


UNDECIDED = ("unknown", "timeout")
BOXES = {
    "every place": ([0.0], [2.0]),
    "one place": ([1.0], [1.0]),
    "places, and another input varies": ([0.0, 0.0], [2.0, 0.1]),
    "a place, and another input varies": ([1.0, 0.0], [1.0, 0.1]),
}


@pytest.mark.parametrize("kind", BOXES)
def test_what_the_models_arithmetic_computes_refutes_nothing(kind: str, tmp_path: Path) -> None:
    """In single precision the output is 0, in real arithmetic at least 1: then every input is a counterexample."""
    lower, upper = (np.array(a) for a in BOXES[kind])
    path = looked_up(tmp_path / "n.onnx", [1.0, 2.0, 3.0], len(lower) - 1)
    between = [(np.array([1.0]), 1.5), (np.array([-1.0]), -0.5)]
    assert verifier.verify(path, output_property(lower, upper, [between], "law"), timeout=3).verdict in UNDECIDED
    below = output_property(lower, upper, [[(np.array([1.0]), -0.5)]], "law")
    assert verifier.verify(path, below, timeout=20).verdict == "unsat"


def test_a_cell_without_a_number_of_the_models_type_is_not_forgotten(tmp_path: Path) -> None:
    """Between 1 − 1e-8 and 1 − 1e-9 there is no number of single precision, and the place is 0."""
    stored = {"table": np.array([1.0, 5.0], np.float32)}
    nodes = [
        helper.make_node("Cast", ["x"], ["at"], to=TensorProto.INT64),
        helper.make_node("Gather", ["table", "at"], ["y"], axis=0),
    ]
    info = helper.make_tensor_value_info
    io = [info("x", TensorProto.FLOAT, [1])], [info("y", TensorProto.FLOAT, [1])]
    graph = helper.make_graph(nodes, "g", *io, [numpy_helper.from_array(a, n) for n, a in stored.items()])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8), tmp_path / "n.onnx")
    for d, expected in ((2.0, "unknown"), (0.5, "unsat")):
        prop = output_property(np.array([1 - 1e-8]), np.array([1 - 1e-9]), [[(np.array([1.0]), d)]], "law")
        assert verifier.verify(tmp_path / "n.onnx", prop, timeout=5).verdict == expected


def test_patches_are_bounded_at_many_places_at_once(tmp_path: Path) -> None:
    """The fast way and the slow one say the same, and no margin is too small for the fast one."""
    rng = np.random.default_rng(5)
    W = patched(tmp_path / "n.onnx", rng)
    image = rng.normal(size=H).astype(np.float32).astype(float)
    lower, upper = np.append(image, 0.0), np.append(image, 4.4)
    least = outputs(W.astype(float), image).min()
    for d, refuted in ((least - 1e-12, True), (least + 1e-12, False)):
        prop = output_property(lower, upper, [[(np.array([1.0]), d)]], "law")
        divided = cells.divide(tmp_path / "n.onnx", prop)
        assert isinstance(divided, cells.Divided)
        points = np.array([x for x, _ in cells._points(divided, prop, 0)])
        split = cells.split(tmp_path / "n.onnx", points[0])
        assert split is not None and len(points) == H - 1
        assert split.refuted(prop, 0, points, divided.model.run(points)).all() == refuted
