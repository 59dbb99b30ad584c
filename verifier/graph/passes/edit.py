"""Rebuilding a graph node by node, with a rule that may put something else in a node's place."""

from __future__ import annotations

from collections.abc import Callable

from verifier.graph.graph import Builder, Graph, Node, Operator, Shape
from verifier.graph.ops.moves import Reshape

Rule = Callable[["Editor", Node, tuple[int, ...]], "int | None"]
"""Given a node and its inputs' new positions: the position of what computes the same value, or None to copy it."""


class Editor:
    """The new graph so far."""

    def __init__(self) -> None:
        self.builder = Builder()
        self._uses: list[int] = []
        self._current = 0
        self._reshapes: dict[tuple[int, Shape], int] = {}

    def op(self, i: int) -> Operator:
        """Operator of a new node."""
        return self.builder.nodes[i].op

    def inputs(self, i: int) -> tuple[int, ...]:
        """Inputs of a new node."""
        return self.builder.nodes[i].inputs

    def shape(self, i: int) -> Shape:
        """Shape of a new node."""
        return self.builder.nodes[i].shape

    def alone(self, i: int) -> bool:
        """Whether nobody but the node at hand needs the value of a new node."""
        return self._uses[i] <= 1

    def add(self, op: Operator, inputs: tuple[int, ...], name: str) -> int:
        """Append a node."""
        self._uses.append(self._current)
        return self.builder.add(op, inputs, name)

    def reshape(self, x: int, shape: Shape, name: str) -> int:
        """`x` in another shape: undone, if it was reshaped before, and made only once."""
        while isinstance(self.op(x), Reshape):
            x = self.inputs(x)[0]
        if self.shape(x) == shape:
            return x
        if (x, shape) not in self._reshapes:
            self._reshapes[x, shape] = self.add(Reshape(shape), (x,), name)
        return self._reshapes[x, shape]

    def rewrite(self, graph: Graph, rule: Rule) -> Graph:
        """The graph with `rule` applied to every node but the inputs."""
        uses = [0] * len(graph.nodes)
        for j in [*graph.outputs, *(j for node in graph.nodes for j in node.inputs)]:
            uses[j] += 1
        new: list[int] = []
        for i, node in enumerate(graph.nodes):
            inputs = tuple(new[j] for j in node.inputs)
            self._current, before = uses[i], len(self.builder.nodes)
            at = None if i in graph.inputs else rule(self, node, inputs)
            if at is None:
                at = self.add(node.op, inputs, node.name)
            elif at < before:  # an older node serves these uses too
                self._uses[at] += uses[i]
            new.append(at)
        return self.builder.graph([new[i] for i in graph.inputs], [new[i] for i in graph.outputs])


def rewrite(graph: Graph, rule: Rule) -> Graph:
    """The graph with `rule` applied to every node but the inputs, in topological order."""
    return Editor().rewrite(graph, rule)
