"""What onnxruntime runs where its kernel of Attention takes fewer masks than the standard has.

A mask may have one row that is meant for every query, as torch's exporter writes one that leaves out padding; the
kernel wants a row for each.  Repeating it is what the standard says it means, so the outputs are the model's own.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from verifier.graph.opened import proto_of

REMARK = "onnxruntime takes no attention mask of one row for all queries: it runs the model with that row repeated"
_MASK = 3
"""Which input of Attention the mask is."""


def has_masks(proto: Any) -> bool:
    """Whether a ModelProto has an Attention with a mask."""
    return any(_masked(node) for nodes in _lists(proto) for node in nodes)


def repeated(source: bytes | str) -> bytes | None:
    """A model with a row of its own for each query in every mask, for onnxruntime; None where there is no room for it.

    Args:
        source: its bytes, or the name of its file.
    """
    try:
        proto = proto_of(Path(source) if isinstance(source, str) else source)
        mark, data = "each_query", proto.SerializeToString()
        while mark.encode() in data:
            mark += "_"
        for k, nodes in enumerate(_lists(proto)):
            held = [n for i, node in enumerate(nodes) for n in _written(node, f"{mark}_{k}_{i}")]
            kept = [type(n).FromString(n.SerializeToString()) for n in held]
            del nodes[:]
            nodes.extend(kept)
        return bytes(proto.SerializeToString())
    except Exception:  # protobuf's error type depends on its implementation: a message holds 2 GB
        return None


def _masked(node: Any) -> bool:
    own = node.op_type == "Attention" and node.domain in ("", "ai.onnx")
    return own and len(node.input) > _MASK and bool(node.input[_MASK])


def _lists(proto: Any) -> list[Any]:
    """The lists of nodes of a model: its own, of graphs inside nodes, of functions."""
    out, stack = [], [proto.graph.node, *(f.node for f in proto.functions)]
    while stack:
        out.append(nodes := stack.pop())
        for node in nodes:
            for a in node.attribute:
                stack.extend(g.node for g in (*([a.g] if a.HasField("g") else []), *a.graphs))
    return out


def _written(node: Any, mark: str) -> list[Any]:
    """A node, and before it what repeats its mask; names that are new start with `mark`."""
    from onnx import helper

    if not _masked(node):
        return [node]
    flat = any(a.name == "q_num_heads" for a in node.attribute)  # (batch, length, heads·size); else heads apart
    count, one, shape, mask = (f"{mark}_{what}" for what in ("count", "one", "shape", "mask"))
    given, node.input[_MASK] = node.input[_MASK], mask
    axis = 1 if flat else 2
    return [
        helper.make_node("Shape", [node.input[0]], [count], start=axis, end=axis + 1),
        helper.make_node("Constant", [], [one], value_ints=[1]),
        helper.make_node("Concat", [count, one], [shape], axis=0),
        helper.make_node("Expand", [given, shape], [mask]),
        node,
    ]
