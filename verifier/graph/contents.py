"""What is in an ONNX file, whether it can be read as a network or not."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Contents:
    """A file's declarations.

    Attributes:
        opset: version of the standard operators.  producer: what wrote the file.
        inputs, outputs: name, element type and shape (open dimensions by name).
        parameters: numbers stored in the file.
        operators: how often each occurs, by name (with the domain, where it is not the standard one).
    """

    opset: int
    producer: str
    inputs: tuple[tuple[str, str, str], ...]
    outputs: tuple[tuple[str, str, str], ...]
    parameters: int
    operators: dict[str, int]


def contents(source: Any) -> Contents:
    """Read a file's declarations, or those of a model in memory.

    Raises:
        ModelError: it is no ONNX model.
    """
    from verifier.graph.opened import in_memory, parse, proto_of

    proto = proto_of(source) if in_memory(source) else parse(Path(source))
    graph = proto.graph
    stored = {t.name for t in graph.initializer}
    opset = next((o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")), 0)
    return Contents(
        opset,
        " ".join(s for s in (proto.producer_name, proto.producer_version) if s),
        tuple(_declared(v) for v in graph.input if v.name not in stored),
        tuple(_declared(v) for v in graph.output),
        sum(prod(t.dims) for t in graph.initializer),
        dict(Counter(_full(node) for node in graph.node).most_common()),
    )


def _full(node: Any) -> str:
    return node.op_type if node.domain in ("", "ai.onnx") else f"{node.domain}.{node.op_type}"


def _declared(v: Any) -> tuple[str, str, str]:
    from onnx import TensorProto

    tensor = v.type.tensor_type
    dims = ", ".join(str(d.dim_value or d.dim_param or "?") for d in tensor.shape.dim)
    kind = TensorProto.DataType.Name(tensor.elem_type).lower()
    return v.name, {"float": "float32", "double": "float64"}.get(kind, kind), f"[{dims}]"
