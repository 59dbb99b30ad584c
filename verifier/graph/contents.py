"""What is in an ONNX file, whether it can be read as a network or not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

from verifier.graph.ops.table import FOLDED, converter


@dataclass(frozen=True)
class Contents:
    """A file's declarations.

    Attributes:
        opset: version of the standard operators.  producer: what wrote the file.
        inputs, outputs: name, element type and shape (open dimensions by name).
        parameters: numbers stored in the file.
        operators: how often each occurs, by name (with the domain, where it is not the standard one).
        refused: nodes that depend on the network's input and whose operators have no converter: name of the node's
            first output, and the operator.
    """

    opset: int
    producer: str
    inputs: tuple[tuple[str, str, str], ...]
    outputs: tuple[tuple[str, str, str], ...]
    parameters: int
    operators: dict[str, int]
    refused: tuple[tuple[str, str], ...]


def contents(path: str | Path) -> Contents:
    """Read a file's declarations.

    Raises:
        ModelError: it is no ONNX file.
    """
    from verifier.graph.opened import parse

    proto = parse(Path(path))
    graph = proto.graph
    stored = {t.name for t in graph.initializer}
    opset = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)
    names = [(_full(node), next((o for o in node.output if o), node.name)) for node in graph.node]
    refused, constant = [], {"", *stored}
    for (op, name), node in zip(names, graph.node, strict=True):
        if node.op_type in ("Shape", "Size") or all(n in constant for n in node.input):
            constant.update(node.output)  # computed at once, whatever it is
        elif converter(node.domain, node.op_type) is None and node.op_type not in FOLDED:
            refused.append((name, op))
    return Contents(
        opset,
        " ".join(s for s in (proto.producer_name, proto.producer_version) if s),
        tuple(_declared(v) for v in graph.input if v.name not in stored),
        tuple(_declared(v) for v in graph.output),
        sum(prod(t.dims) for t in graph.initializer),
        dict(Counter(op for op, _ in names).most_common()),
        tuple(refused),
    )


def _full(node: Any) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _declared(v: Any) -> tuple[str, str, str]:
    from onnx import TensorProto

    tensor = v.type.tensor_type
    dims = ", ".join(str(d.dim_value or d.dim_param or "?") for d in tensor.shape.dim)
    kind = TensorProto.DataType.Name(tensor.elem_type).lower()
    return v.name, {"float": "float32", "double": "float64"}.get(kind, kind), f"[{dims}]"
