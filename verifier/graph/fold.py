"""Nodes whose inputs are all constant, computed once: the usual shape arithmetic in numpy, the rest by onnxruntime."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from math import prod
from typing import Any

import numpy as np

from verifier.graph.convert import LARGEST, Call
from verifier.graph.convert_moves import slice_index, target_shape
from verifier.values.errors import memory_is_out


def fold(call: Call, node: Any, opset_imports: Any) -> list[np.ndarray]:
    """The outputs of a node (an onnx NodeProto) whose inputs are all constant."""
    rule = _RULES.get(call.op)
    y = rule(call) if rule else None
    if y is None:
        return _by_onnxruntime(call, node, opset_imports)
    y = np.asarray(y)
    if y.size > LARGEST:
        raise ValueError(f"{call.op} makes a tensor of {y.size:,} entries; at most {LARGEST:,} are supported")
    return [y]


def _constant(call: Call) -> np.ndarray | None:
    for key, dtype in (("value_float", "float32"), ("value_floats", "float32"), ("value_int", "int64"),
                       ("value_ints", "int64")):  # fmt: skip
        if key in call.attributes:
            return np.array(call.attributes[key], dtype)
    if "value" in call.attributes:
        from onnx import numpy_helper

        return numpy_helper.to_array(call.attributes["value"])
    raise ValueError("Constant without a numeric value")


def _constant_of_shape(call: Call) -> np.ndarray:
    shape = call.integers(0) or ()
    if prod(shape) > LARGEST:
        raise ValueError(f"{call.op} makes a tensor of {prod(shape):,} entries; at most {LARGEST:,} are supported")
    if "value" not in call.attributes:
        return np.zeros(shape, np.float32)
    from onnx import numpy_helper

    value = numpy_helper.to_array(call.attributes["value"])
    return np.full(shape, value.reshape(-1)[0], value.dtype)


def _gather(call: Call) -> np.ndarray:
    return np.take(call.constant(0), call.constant(1), axis=call.get("axis", 0))


def _concat(call: Call) -> np.ndarray:
    return np.concatenate([call.constant(i) for i in range(len(call.inputs))], call.get("axis", 1))


def _reshape(call: Call) -> np.ndarray:
    x = call.constant(0)
    return x.reshape(target_shape(x.shape, call.integers(1, "shape") or (), bool(call.get("allowzero", 0))))


def _squeeze(call: Call) -> np.ndarray:
    axes = call.integers(1, "axes")
    return np.squeeze(call.constant(0), axis=axes)


def _unsqueeze(call: Call) -> np.ndarray:
    return np.expand_dims(call.constant(0), call.integers(1, "axes") or ())


def _dequantized(call: Call) -> np.ndarray | None:
    """DequantizeLinear of numbers so short that onnxruntime takes none from numpy; others are left to it."""
    q, s = call.constant(0), call.constant(1)
    if q.dtype.kind in "iu" or s.dtype != np.float32 or q.dtype.name.lstrip("u") not in ("int2", "int4"):
        return None
    from verifier.graph.convert_quantised import spread

    axis = call.get("axis", 1)
    zero = call.constant(2).astype(np.int32) if call.has(2) else np.zeros(s.shape, np.int32)
    steps = q.astype(np.int32) - spread(call, zero, q.shape, axis)
    return np.asarray(steps.astype(np.float32) * spread(call, s, q.shape, axis))


def _transpose(call: Call) -> np.ndarray:
    return np.transpose(call.constant(0), call.get("perm"))


def _binary(f: Callable[[Any, Any], Any]) -> Callable[[Call], np.ndarray | None]:
    def rule(call: Call) -> np.ndarray | None:
        a, b = call.constant(0), call.constant(1)
        with np.errstate(all="ignore"):
            return f(a, b).astype(a.dtype) if a.dtype == b.dtype else None

    return rule


def _divide(call: Call) -> np.ndarray | None:
    if call.constant(0).dtype.kind != "f":  # whole numbers are cut towards zero: left to onnxruntime
        return None
    return _binary(np.divide)(call)


_RULES: dict[str, Callable[[Call], np.ndarray | None]] = {
    "Add": _binary(np.add),
    "Concat": _concat,
    "Constant": _constant,
    "ConstantOfShape": _constant_of_shape,
    "DequantizeLinear": _dequantized,
    "Div": _divide,
    "Gather": _gather,
    "Identity": lambda call: call.constant(0),
    "Mul": _binary(np.multiply),
    "Neg": lambda call: -call.constant(0),
    "Reshape": _reshape,
    "Shape": lambda call: np.array(call.constant(0).shape[slice(call.get("start", 0), call.get("end"))], np.int64),
    "Slice": lambda call: slice_index(call.constant(0), call),
    "Squeeze": _squeeze,
    "Sub": _binary(np.subtract),
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}


def _by_onnxruntime(call: Call, node: Any, opset_imports: Any) -> list[np.ndarray]:
    """Any other operator: a model of this one node."""
    names = dict.fromkeys(n for n, v in zip(call.names, call.inputs, strict=True) if v is not None)
    return compute(node, {n: call.constant(call.names.index(n)) for n in names}, opset_imports)


def compute(node: Any, given: dict[str, np.ndarray], opset_imports: Any) -> list[np.ndarray]:
    """The outputs of an onnx NodeProto for inputs by name, as onnxruntime computes them."""
    plain = {n: a for n, a in given.items() if a.dtype.isbuiltin == 1}  # bfloat16 and float8 are none of numpy's own
    (results,) = computed(node, [plain], opset_imports, {n: a for n, a in given.items() if n not in plain})
    return results


def computed(
    node: Any,
    given: Iterable[dict[str, np.ndarray]],
    opset_imports: Any,
    stored: Mapping[str, np.ndarray] | None = None,
) -> Iterator[list[np.ndarray]]:
    """The same for several inputs of the same types and shapes, one after the other; `stored` stay what they are."""
    import onnx
    import onnxruntime

    if any(a.HasField("g") or a.graphs for a in node.attribute):
        raise ValueError(f"{node.op_type} holds a subgraph")
    points = iter(given)
    first = next(points)
    inputs = [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(a.dtype), a.shape)
        for n, a in first.items()
    ]
    outputs = [onnx.ValueInfoProto(name=n) for n in node.output if n]
    kept = [onnx.numpy_helper.from_array(a, n) for n, a in (stored or {}).items()]
    graph = onnx.helper.make_graph([node], "folded", inputs, outputs, kept)
    model = onnx.helper.make_model(graph, opset_imports=opset_imports, ir_version=10)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        for each in chain([first], points):
            results = iter(session.run(None, each))
            yield [next(results) if n else np.zeros(0) for n in node.output]
    except Exception as e:  # onnxruntime has no common type of error
        if memory_is_out(e):
            raise MemoryError(f"{node.op_type} of constants: {e}") from None
        reason = str(e).splitlines()[0][:200]
        raise ValueError(f"{node.op_type} of constants cannot be computed: {reason}") from None


def tried(call: Call, inputs: dict[int, np.ndarray], outputs: int = 1) -> list[np.ndarray]:
    """What onnxruntime makes of the call with other inputs in the place of its own (by their number)."""
    return compute(*_trial(call, inputs, outputs))


def tried_each(call: Call, like: np.ndarray, others: dict[int, np.ndarray]) -> Iterator[np.ndarray]:
    """What onnxruntime makes of zeros like an array, and of each entry alone being one, as the first input."""
    node, given, opsets = _trial(call, {0: np.zeros_like(like), **others}, 1)

    def points() -> Iterator[dict[str, np.ndarray]]:
        yield given
        for k in range(like.size):
            unit = np.zeros(like.size, like.dtype)
            unit[k] = 1.0
            yield {**given, "i0": unit.reshape(like.shape)}

    return (y for (y,) in computed(node, points(), opsets))


def _trial(call: Call, inputs: dict[int, np.ndarray], outputs: int) -> tuple[Any, dict[str, np.ndarray], Any]:
    import onnx

    given = {f"i{k}": a for k, a in inputs.items()}
    last = max(inputs) + 1
    names = [f"i{k}" if k in inputs else "" for k in range(last)]
    node = onnx.helper.make_node(call.op, names, [f"o{k}" for k in range(outputs)])
    node.attribute.extend(onnx.helper.make_attribute(k, v) for k, v in call.attributes.items())
    return node, given, [onnx.helper.make_opsetid("", call.opset)]
