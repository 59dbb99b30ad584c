"""`verifier supports`: what the VNN-LIB standard lets tools ask of a solver, answered from the code's own tables."""

from __future__ import annotations

from collections.abc import Callable

from verifier.graph.from_onnx import OLDEST
from verifier.graph.ops.table import supported


def _opsets() -> tuple[str, str]:
    """The oldest operator set that is read, and the newest that both onnx knows and onnxruntime runs."""
    import onnx
    import onnxruntime
    from onnx import TensorProto, helper

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in "xy")
    graph = helper.make_graph([helper.make_node("Relu", ["x"], ["y"])], "probe", [x], [y])
    for version in range(onnx.defs.onnx_opset_version(), OLDEST, -1):
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", version)], ir_version=8)
        try:
            onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        except Exception:  # onnxruntime has no common type of error
            continue
        return str(OLDEST), str(version)
    return str(OLDEST), str(OLDEST)


_LISTS: dict[str, Callable[[], tuple[str, ...]]] = {
    "onnx-opset-versions": _opsets,
    # Proofs hold in real arithmetic: not a floating-point type is listed, as the standard asks.
    "onnx-element-types": lambda: ("real",),
    "onnx-operators": supported,
    "vnnlib-versions": lambda: ("1.0", "2.0"),
    "hidden-node-theories": lambda: ("NH", "H"),
    "multiple-input-output-theories": lambda: ("SIO", "MIO"),
    "multiple-network-theories": lambda: ("SNET", "MENET", "MINET", "MNET"),
    "multiple-node-comparison-theories": lambda: ("SNC", "MNC"),
    "arithmetic-complexity-theories": lambda: ("BND", "OUTC", "LIN", "POLY"),
    # Disjuncts over one box share their bounds, and the parts of a disjunction are searched together.
    "optimised-disjunctive-reasoning": lambda: ("true",),
    "serialise-assignments": lambda: ("true",),
}


def command(capability: str) -> None:
    """Print the answer, one entry a line."""
    for line in _LISTS[capability]():
        print(line)
