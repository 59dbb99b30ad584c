"""Writing nodes that stand for others out as plain nodes: what that takes.

Which nodes they stand for must be decided: how often a loop turns, which entry of a sequence is taken.  A sequence is
the names of its tensors, an optional value that of one or none, so nothing is computed here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from verifier.graph.convert import Value

NODES = 100_000
"""Nodes that may be written out in all."""

Held = tuple[str, ...] | None
"""The names of a sequence's tensors; None for an optional value that is not there."""


class Host(Protocol):
    """Who reads the nodes; see `importer.Importer`."""

    values: dict[str, Value]
    lists: dict[str, Held]
    opset: int

    def write(self, nodes: Sequence[Any], results: Sequence[str]) -> None:
        """Read nodes; `results` are tensors of theirs that somebody reads."""
        ...

    def fresh(self, count: int) -> str:
        """An ending that no name has, for so many nodes."""
        ...

    def alias(self, new: str, old: str) -> None:
        """Give what has a name another one, too."""
        ...

    def hang(self, name: str, outputs: Sequence[str]) -> None:
        """Note that the value of a tensor decides which nodes there are, and that results depend on it."""
        ...

    def place(self, name: str, value: np.ndarray) -> None:
        """Name a constant."""
        ...

    def shape(self, name: str) -> tuple[int, ...]:
        """The shape of a tensor."""
        ...

    def type_number(self, name: str) -> int:
        """The type of a tensor's numbers, as ONNX numbers them."""
        ...


def known(host: Host, node: Any, i: int, what: str) -> np.ndarray:
    """The value of input `i`, which must not depend on the network's input."""
    value = host.values.get(node.input[i])
    if isinstance(value, np.ndarray):
        host.hang(node.input[i], list(node.output))
        return value
    raise ValueError(f"{what} ('{node.input[i]}') depends on the network's input; only decided ones are supported")


def given(node: Any, i: int) -> bool:
    """Whether input `i` is there."""
    return len(node.input) > i and bool(node.input[i])


def attribute(node: Any, name: str, default: Any = None) -> Any:
    """An attribute's value."""
    from onnx.helper import get_attribute_value

    return next((get_attribute_value(a) for a in node.attribute if a.name == name), default)


def body(node: Any, name: str = "body") -> Any:
    """A node's subgraph.

    Raises:
        ValueError: it has none.
    """
    graph = attribute(node, name)
    if graph is None or not hasattr(graph, "node"):
        raise ValueError(f"{node.op_type} without its attribute '{name}'")
    return graph


def inline(host: Host, graph: Any, inputs: Sequence[str]) -> list[str]:
    """Read a subgraph's nodes, its inputs being these tensors; the names of its results."""
    from onnx import numpy_helper

    ending = host.fresh(len(graph.node))
    names = dict(zip((v.name for v in graph.input), inputs, strict=False))
    for tensor in graph.initializer:
        names[tensor.name] = tensor.name + ending
        host.place(names[tensor.name], numpy_helper.to_array(tensor))
    nodes = [renamed(node, names, ending) for node in graph.node]
    results = [names.get(o.name, o.name) for o in graph.output]
    host.write(nodes, results)
    return results


def renamed(node: Any, names: dict[str, str], ending: str) -> Any:
    """A copy of a node that reads other names, and whose results' names get an ending."""
    new = type(node).FromString(node.SerializeToString())
    del new.input[:], new.output[:]
    new.input.extend(names.get(n, n) for n in node.input)
    for a in new.attribute:
        if a.HasField("g"):
            _captured(a.g, names)
    for name in node.output:
        names[name] = name + ending if name else ""
    new.output.extend(names[n] for n in node.output)
    return new


def _captured(graph: Any, names: dict[str, str]) -> None:
    """Rename what a subgraph reads from around it."""
    own = {v.name for v in graph.input} | {t.name for t in graph.initializer}
    own |= {o for node in graph.node for o in node.output}
    outer = {k: v for k, v in names.items() if k not in own}
    for node in graph.node:
        inputs = [outer.get(n, n) for n in node.input]
        del node.input[:]
        node.input.extend(inputs)
        for a in node.attribute:
            if a.HasField("g"):
                _captured(a.g, outer)
    for o in graph.output:
        o.name = outer.get(o.name, o.name)


def put(host: Host, op: str, inputs: Sequence[str], outputs: Sequence[str], **attributes: Any) -> None:
    """Write a node."""
    from onnx import helper

    host.write([helper.make_node(op, inputs, outputs, **attributes)], outputs)


def stack(host: Host, node: Any, names: Sequence[str], axis: int, out: str) -> None:
    """Tensors of one shape side by side on a new axis."""
    if not names:
        raise ValueError(f"output '{out}' of {node.op_type} has no entries")
    rank = len(host.shape(names[0])) + 1
    if not -rank <= axis < rank:
        raise ValueError(f"axis {axis} of a tensor with {rank} axes")
    parts = [_lifted(host, name, axis % rank) for name in names]
    put(host, "Concat", parts, [out], axis=axis % rank)


def _lifted(host: Host, name: str, axis: int) -> str:
    """A tensor with another axis of one entry."""
    ending = host.fresh(1)
    new, at = f"{name}{ending}", f"axis{ending}"
    if host.opset < 13:
        put(host, "Unsqueeze", [name], [new], axes=[axis])
    else:
        host.place(at, np.array([axis], np.int64))
        put(host, "Unsqueeze", [name, at], [new])
    return new
