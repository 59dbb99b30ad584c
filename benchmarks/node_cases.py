"""ONNX's own tests of operators, read as questions: see `benchmarks.node_tests`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

KINDS = ("node", "simple", "pytorch-converted", "pytorch-operator")
FLOATS = (TensorProto.FLOAT, TensorProto.DOUBLE, TensorProto.FLOAT16, TensorProto.BFLOAT16)


@dataclass(frozen=True)
class Case:
    """A test as a question.

    Attributes:
        name, kind, op: of the test: its folder, and the operator of its graph.
        model: one input, all others constant; None where no input is a tensor of floating-point numbers.
        x: the free input; y: the stored outputs, by name, where they are tensors.
    """

    name: str
    kind: str
    op: str
    model: Any
    x: np.ndarray
    y: dict[str, np.ndarray]


def cases(kinds: Sequence[str] = KINDS) -> Iterator[Case]:
    """Every test there is, in the order of their names."""
    from onnx.backend.test import loader

    with warnings.catch_warnings(), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        found = [t for kind in kinds for t in loader.load_model_tests(kind=kind)]
    for test in sorted(found, key=lambda t: (t.kind, t.name)):
        model, data = (test.model, test.data_sets) if test.model is not None else _stored(Path(test.model_dir))
        if data:
            yield _case((test.name, test.kind), model, *([_array(a) for a in side] for side in data[0]))


def _array(a: Any) -> Any:
    """Data as numpy has them; types that it lacks come as TensorProto."""
    return numpy_helper.to_array(a) if isinstance(a, onnx.TensorProto) else a


def _stored(folder: Path) -> tuple[Any, list[tuple[list[Any], list[Any]]]]:
    """Model and first data set of a test that is kept in files."""
    model = onnx.load(folder / "model.onnx")
    data: list[tuple[list[Any], list[Any]]] = []
    for where in sorted(folder.glob("test_data_set_*"))[:1]:
        sides = []
        for what, declared in (("input", model.graph.input), ("output", model.graph.output)):
            count = len(list(where.glob(f"{what}_*.pb")))
            sides.append([_tensor(where / f"{what}_{i}.pb", v) for i, v in zip(range(count), declared, strict=False)])
        data.append((sides[0], sides[1]))
    return model, data


def _tensor(path: Path, declared: Any) -> Any:
    data = path.read_bytes()
    if declared.type.WhichOneof("value") == "sequence_type":
        return numpy_helper.to_list(onnx.SequenceProto.FromString(data))
    return numpy_helper.to_array(onnx.TensorProto.FromString(data))


def _case(name: tuple[str, str], given: Any, inputs: Sequence[Any], outputs: Sequence[Any]) -> Case:
    """The test with its first floating-point input free."""
    model = type(given).FromString(given.SerializeToString())
    graph = model.graph
    declared = list(graph.input)
    operators = list(dict.fromkeys(node.op_type for node in graph.node))
    op = operators[0] if len(operators) == 1 else "several" if operators else "none"
    free = next((i for i, (v, a) in enumerate(zip(declared, inputs, strict=False)) if _free(v, a)), None)
    y = {v.name: a for v, a in zip(graph.output, outputs, strict=False) if _is_tensor(a)}
    if free is None:
        return Case(*name, op, None, np.zeros(0), y)
    kept = declared[free]
    values = [(v, a) for i, (v, a) in enumerate(zip(declared, inputs, strict=False)) if i != free]
    names = {v.name for v, _ in values} | {kept.name}
    left = [t for t in graph.initializer if t.name not in names]
    del graph.input[:], graph.initializer[:]
    graph.input.extend([_closed(kept, np.asarray(inputs[free]))])
    graph.initializer.extend(left)
    first: list[Any] = []
    for v, a in values:
        first += _constants(graph, v, a)
    nodes = [*first, *(type(n).FromString(n.SerializeToString()) for n in graph.node)]
    del graph.node[:]
    graph.node.extend(nodes)
    return Case(*name, op, model, np.asarray(inputs[free]), y)


def _is_tensor(a: Any) -> bool:
    return isinstance(a, np.ndarray) and a.dtype.kind not in "OSUc"


def _free(v: Any, a: Any) -> bool:
    """Whether an input can be bounded: there are numbers in it."""
    return v.type.tensor_type.elem_type in FLOATS and isinstance(a, np.ndarray) and a.size > 0


def _closed(v: Any, a: np.ndarray) -> Any:
    """A declaration with the shape of the test's data."""
    return helper.make_tensor_value_info(v.name, v.type.tensor_type.elem_type, a.shape)


def _constants(graph: Any, v: Any, a: Any) -> list[Any]:
    """Put a constant in the place of an input: an initializer, or nodes that make a sequence or an optional value."""
    kind = v.type.WhichOneof("value")
    if kind == "tensor_type":
        tensor = numpy_helper.from_array(np.asarray(a), v.name)
        tensor.data_type = v.type.tensor_type.elem_type
        graph.initializer.append(tensor)
        return []
    if kind == "optional_type":
        if a is None:
            return [helper.make_node("Optional", [], [v.name], type=v.type.optional_type.elem_type)]
        inner = onnx.ValueInfoProto(name=f"{v.name}_element", type=v.type.optional_type.elem_type)
        return [*_constants(graph, inner, a), helper.make_node("Optional", [inner.name], [v.name])]
    parts = [numpy_helper.from_array(np.asarray(e), f"{v.name}_{i}") for i, e in enumerate(a)]
    graph.initializer.extend(parts)
    if not parts:
        return [helper.make_node("SequenceEmpty", [], [v.name])]
    return [helper.make_node("SequenceConstruct", [p.name for p in parts], [v.name])]
