"""What stands in for an attribute that a model leaves out is what ONNX says, for every operator and version read."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st

from tests.laws.onnx_cases import CASES
from verifier.graph import from_onnx
from verifier.graph.convert import Call
from verifier.values.errors import ModelError

WORKED_OUT = {
    ("Clip", "max"), ("Clip", "min"), ("MeanVarianceNormalization", "axes"), ("RNN", "activations"),
    ("Resize", "coordinate_transformation_mode"),
}  # fmt: skip
"""Attributes whose absence the converter sees, and answers by itself; the law of operators compares that."""


def stated(call: Call, attribute: str) -> Any:
    """The schema's default; an exception where the operator has no such attribute in this version."""
    schema = onnx.defs.get_schema(call.op, call.opset, "")
    value = schema.attributes[attribute].default_value
    return onnx.helper.get_attribute_value(value) if value.type else None


@pytest.mark.parametrize("op", sorted(op for op in CASES if "." not in op))
def test_defaults(op: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: dict[tuple[str, str], list[tuple[Any, Any]]] = {}
    get, real = Call.get, Call.real

    def note(call: Call, attribute: str, default: Any) -> None:
        if attribute in call.attributes or call.op not in named:
            return
        try:
            asked.setdefault((call.op, attribute), []).append((default, stated(call, attribute)))
        except (KeyError, onnx.defs.SchemaError):
            pass  # this version has it as an input, or not at all

    def get_noted(call: Call, attribute: str, default: Any = None) -> Any:
        note(call, attribute, default)
        return get(call, attribute, default)

    def real_noted(call: Call, attribute: str, default: float) -> float:
        note(call, attribute, default)
        return real(call, attribute, default)

    monkeypatch.setattr(Call, "get", get_noted)
    monkeypatch.setattr(Call, "real", real_noted)
    named = {op}

    @seed(0)
    @settings(max_examples=12, deadline=None, database=None, phases=[Phase.generate],
              suppress_health_check=list(HealthCheck))  # fmt: skip
    @given(st.data())
    def load(data: Any) -> None:
        try:
            from_onnx.load(onnx.load_from_string(CASES[op](data.draw).bytes()))
        except ModelError:
            pass

    load()
    for (_, attribute), pairs in asked.items():
        for ours, theirs in pairs:
            if ours is None:
                assert theirs is None or (op, attribute) in WORKED_OUT
            else:
                theirs = theirs.decode() if isinstance(theirs, bytes) else theirs
                assert ours == theirs or np.float32(ours) == theirs, (
                    f"{op} {attribute}: {ours}, where ONNX has {theirs}"
                )
    if op in ("LeakyRelu", "Gemm", "ReduceMean", "LRN"):
        assert asked  # the law looks at something
