"""What a classifier of the domain ai.onnx.ml answers: probabilities as a tensor for a map of them, and no label beside.

Exporters of scikit-learn let a classifier give a label and, for people, a list of maps from labels to probabilities.
Questions are about numbers: those that the map is made of stand in its place.  A label is what is largest among them,
and may be a word: it is left out where there are scores.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from verifier.graph.tidy import names_read

DOMAIN = "ai.onnx.ml"
_LABELS = (6, 7, 8)
"""TensorProto types of labels: int32, int64 and string."""


def simplified(graph: Any, asked: Sequence[str] = ()) -> tuple[str, ...]:
    """Change an onnx GraphProto so that its outputs are tensors of numbers, as far as a classifier gives others.

    Args:
        graph: see above.  asked: names of tensors that are asked for, which stay.

    Returns:
        What was done, a line each; nothing where nothing was.
    """
    if not any(node.domain == DOMAIN for node in graph.node):
        return ()
    maps = {node.output[0]: node.input[0] for node in graph.node if _is(node, "ZipMap")}
    names = [o.name for o in graph.output]
    said = [f"output '{n}' is a map; '{maps[n]}', which it is made of, is read" for n in names if n in maps]
    kept = [o for o in graph.output if o.name not in maps]
    for name in dict.fromkeys(maps[n] for n in names if n in maps):
        if name not in names:
            kept.append(type(graph.output[0])(name=name))  # its type is inferred
    labels = [o for o in kept if o.name not in asked and o.type.tensor_type.elem_type in _LABELS]
    if len(labels) < len(kept):
        kept = [o for o in kept if o not in labels]
        said += [f"output '{o.name}' is a label, which is left out: ask about the scores" for o in labels]
    if said and kept:
        _replace(graph, kept, asked)
    return tuple(said) if kept else ()


def _is(node: Any, op: str) -> bool:
    return bool(node.domain == DOMAIN and node.op_type == op)


def _replace(graph: Any, outputs: list[Any], asked: Sequence[str]) -> None:
    """Outputs in the place of those that a graph has, and no nodes but those that they, or tensors by name, need."""
    made = {name: k for k, node in enumerate(graph.node) for name in node.output}
    needed, stack = set[int](), [*(o.name for o in outputs), *asked]
    while stack:
        k = made.get(stack.pop(), -1)
        if k >= 0 and k not in needed:
            needed.add(k)
            stack += names_read(graph.node[k])
    for field, values in (("node", [graph.node[k] for k in sorted(needed)]), ("output", outputs)):
        held = [type(v).FromString(v.SerializeToString()) for v in values]
        graph.ClearField(field)
        getattr(graph, field).extend(held)
