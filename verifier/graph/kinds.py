"""What the numbers of a tensor are: their type by name, and its kind: floating point, whole numbers, truth values."""

from __future__ import annotations

import numpy as np

from verifier.graph.convert import Call, Value

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
_TYPED_BY = {"CastLike": 1, "Where": 1, "OneHot": 2}
"""Operators whose result has the type of another input than the first."""


def named(number: int) -> str:
    """The name of a TensorProto type."""
    return _NAMED.get(number, f"type {number}")


def type_of(value: Value | None, activation: str) -> str:
    """The type of a value; `activation` is that of one that depends on the network's input."""
    return value.dtype.name if isinstance(value, np.ndarray) else activation


def result_types(call: Call) -> tuple[str, ...]:
    """The types of an operator's results."""
    first = _result_type(call)
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
    at = _TYPED_BY.get(call.op, 0)
    return call.types[at] if at < len(call.types) else "float32"
