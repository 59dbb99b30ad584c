"""What the numbers of a tensor are: their type by name, and its kind: floating point, whole numbers, truth values."""

from __future__ import annotations

from typing import Any

import numpy as np

from verifier.graph.convert import Call, Value
from verifier.graph.ops.fit import FLOATS

_NAMED = {
    1: "float32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 8: "string", 9: "bool",
    10: "float16", 11: "float64", 12: "uint32", 13: "uint64", 14: "complex64", 15: "complex128", 16: "bfloat16",
    17: "float8e4m3fn", 18: "float8e4m3fnuz", 19: "float8e5m2", 20: "float8e5m2fnuz", 21: "uint4", 22: "int4",
    23: "float4e2m1",
}  # fmt: skip
"""TensorProto types."""
_TRUTH = ("And", "Equal", "Greater", "GreaterOrEqual", "IsInf", "IsNaN", "Less", "LessOrEqual", "Not", "Or", "Xor")
_COUNTS = ("ArgMax", "ArgMin", "NonZero", "Shape", "Size")
_SINGLE = (
    "FeatureVectorizer", "LinearClassifier", "LinearRegressor", "Normalizer", "SVMClassifier", "SVMRegressor", "Scaler",
    "TreeEnsembleClassifier", "TreeEnsembleRegressor",
)  # fmt: skip
"""Operators of ai.onnx.ml that give float32, whatever they take (a classifier's label is never read)."""
_TYPED_BY = {
    "CastLike": 1, "Where": 1, "OneHot": 2, "DequantizeLinear": 1, "QLinearAdd": 0, "QLinearConv": 7,
    "QLinearMatMul": 7, "QLinearConcat": 1,
}  # fmt: skip
"""Operators whose result has the type of another input than the first."""


def named(number: int) -> str:
    """The name of a TensorProto type."""
    return _NAMED.get(number, f"type {number}")


def type_of(value: Value | None, activation: str) -> str:
    """The type of a value; `activation` is that of one that depends on the network's input."""
    return value.dtype.name if isinstance(value, np.ndarray) else activation


def number_of(value: Value, activation: str) -> int:
    """The number that ONNX gives to the type of a value; `activation` as of `type_of`.

    Raises:
        ValueError: it has none.
    """
    if isinstance(value, np.ndarray):
        from onnx import helper

        return int(helper.np_dtype_to_tensor_dtype(value.dtype))
    found = next((number for number, name in _NAMED.items() if name == activation), None)
    if found is None:
        raise ValueError(f"{activation} is no type of ONNX's")
    return found


def result_types(call: Call) -> tuple[str, ...]:
    """The types of an operator's results."""
    first = _result_type(call)
    if call.op == "DynamicQuantizeLinear":
        return "uint8", "float32", "uint8"
    others = {"Dropout": "bool", "MaxPool": "int64", "TopK": "int64"}.get(call.op, first)
    return (first, *(others for _ in call.used[1:]))


def _result_type(call: Call) -> str:
    if call.op in _TRUTH:
        return "bool"
    if call.op in _COUNTS:
        return "int64"
    if call.op == "Cast":
        return named(call.get("to"))
    if call.op in _SINGLE:
        return "float32"
    codes = _of_codes(call)
    if codes:
        return codes
    at = _TYPED_BY.get(call.op, 0)
    return call.types[at] if at < len(call.types) else "float32"


def _of_codes(call: Call) -> str:
    """The type of the result of an operator that makes or takes quantised numbers; nothing for others."""
    given = call.get("output_dtype", 0)
    if call.op in ("ConvInteger", "MatMulInteger"):
        return "int32"
    if call.op in ("DynamicQuantizeMatMul", "MatMulIntegerToFloat"):
        return call.types[2] if call.op[0] == "M" else call.types[0]
    if call.op in ("QuantizeLinear", "QGemm"):  # by the zero point, where there is one
        at, least = (2, "uint8") if call.op[1] == "u" else (8, "float32")
        return call.types[at] if call.has(at) else named(given) if given else least
    return named(given) if call.op == "DequantizeLinear" and given else ""


def clash(node: Any, types: tuple[str, ...], version: int) -> str:
    """What does not match where an onnx NodeProto takes inputs of such types; nothing where all does."""
    from onnx import defs

    if len({t for t in types if t in FLOATS}) < 2:
        return ""
    try:
        schema = defs.get_schema(node.op_type, version, "" if node.domain == "ai.onnx" else node.domain)
    except Exception:  # onnx has an error type of its own for what it does not know
        return ""
    held: dict[str, str] = {}
    for k, t in enumerate(types):
        formal = schema.inputs[min(k, len(schema.inputs) - 1)].type_str
        if k < len(node.input) and node.input[k] and held.setdefault(formal, t) != t and t in FLOATS:
            return f"{held[formal]} and {t} at node '{next((o for o in node.output if o), node.name)}' ({node.op_type})"
    return ""


def unlike(declared: Any, kind: str) -> str:
    """What does not match where an output, an onnx ValueInfoProto, is of a type; nothing where all does."""
    said = named(declared.type.tensor_type.elem_type)
    differs = said != kind and said in FLOATS and kind in FLOATS
    return f"output '{declared.name}' is declared {said} and is {kind}" if differs else ""
