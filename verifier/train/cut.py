"""A network cut in two: the part that is bounded, and the part behind it that is attacked."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.graph.graph import Affine, Builder, Graph, Input
from verifier.values.errors import ModelError


@dataclass(frozen=True, eq=False)
class Cut:
    """Where a network is cut.

    Attributes:
        node: what every path from input to output goes through: a nonlinear operator, or what one reads.
        behind: the network from there on: `node` is its input, the outputs are the whole network's.
    """

    node: int
    behind: Graph


def cut(graph: Graph, layers: int) -> Cut:
    """The first cut that leaves so many nonlinear layers behind it: straight after the layer before them, if it can be.

    Raises:
        ModelError: there is none: too few layers, or branches of the network run past every such place.
    """
    nodes, (start,) = graph.nodes, graph.inputs
    bends = [not isinstance(node.op, (Affine, Input)) for node in nodes]
    readers = {j: i for i, node in enumerate(nodes) for j in node.inputs}  # the last one of each
    borders = {i for i, bend in enumerate(bends) if bend} | {
        j for i, n in enumerate(nodes) if bends[i] for j in n.inputs
    }
    places: dict[int, int] = {}
    left, reach = sum(bends), readers.get(start, start)
    for i in range(start + 1, len(nodes)):
        left -= bends[i]
        # Nodes are in topological order: all paths meet here exactly if no edge passes over this node.
        if reach <= i and i in borders:
            places.setdefault(left, i)
        reach = max(reach, readers.get(i, i))
    if layers not in places:
        known = ", ".join(str(k) for k in sorted(places)) or "none"
        raise ModelError(
            f"the network cannot be cut with {layers} nonlinear layers behind the cut, which all its paths must go "
            f"through; numbers that can be: {known}"
        )
    return Cut(places[layers], _behind(graph, places[layers]))


def _behind(graph: Graph, at: int) -> Graph:
    """The part of a graph that reads node `at`."""
    builder = Builder()
    new = {at: builder.add(Input(graph.nodes[at].shape), name=graph.nodes[at].name)}
    for i in range(at + 1, len(graph.nodes)):
        node = graph.nodes[i]
        new[i] = builder.add(node.op, [new[j] for j in node.inputs], node.name)
    return builder.graph([new[at]], [new[i] for i in graph.outputs])
