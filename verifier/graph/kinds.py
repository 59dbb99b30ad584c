"""What the numbers of a tensor are: floating point ("f"), whole numbers ("i") or truth values ("b")."""

from __future__ import annotations

import numpy as np

from verifier.graph.convert import Call, Value

_TRUTH = ("And", "Equal", "Greater", "GreaterOrEqual", "Less", "LessOrEqual", "Not", "Or", "Xor")
_WHOLE = ("ArgMax", "ArgMin")
_CAST = {9: "b", **dict.fromkeys((2, 3, 4, 5, 6, 7, 12, 13), "i")}  # TensorProto types


def kind_of(value: Value | None, named: str) -> str:
    """The kind of a value; `named` is that of an activation."""
    if not isinstance(value, np.ndarray):
        return named
    return {"i": "i", "u": "i", "b": "b"}.get(value.dtype.kind, "f")


def result_kind(call: Call) -> str:
    """The kind of an operator's result."""
    if call.op in _TRUTH:
        return "b"
    if call.op in _WHOLE:
        return "i"
    if call.op == "Cast":
        return _CAST.get(call.get("to"), "f")
    if call.op in ("Where", "CastLike"):
        return call.kinds[1]
    return call.kinds[0] if call.kinds else "f"
