"""The chain rule under way: a graph that grows, and what is known of derivatives so far.

Operators say what they do to derivatives (`Operator.vjp`, `jvp`, `Elementwise.chain`) in terms of what is here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from verifier.graph.graph import Affine, Builder, Graph, Operator, Shape
from verifier.graph.ops.adjoint import Adjoint, Constant, Tangent
from verifier.graph.ops.affine import Add, Scale, Sum
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.moves import Concat, Repeat, Reshape, Take
from verifier.graph.ops.product import Product


@dataclass(frozen=True, eq=False)
class Known:
    """Derivatives that are the same everywhere.

    Attributes:
        value: `(K, *shape)`.
        size: of this shape, the sums of magnitudes behind the value.
        terms: how many terms are summed one after the other behind an entry: it is off by at most gamma(terms)·size.
    """

    value: np.ndarray
    size: np.ndarray
    terms: int = 0

    @property
    def magnitude(self) -> np.ndarray | None:
        """What to record as a constant's magnitude (see `Affine.absolute`): enough for gamma(1) of it to do."""
        return self.size * (1.0 + self.terms + 1e-9) if self.terms else None


@dataclass(frozen=True)
class Node:
    """Derivatives `(K, *shape)` that are computed: the value of a node, or minus that."""

    at: int
    sign: int = 1


Rows = Known | Node


class Chain:
    """A graph, and what is added to it.

    Attributes:
        graph: whose derivatives are taken.  K: how many rows or directions.
    """

    def __init__(self, graph: Graph, K: int) -> None:
        self.graph, self.K = graph, K
        self._builder = Builder()
        self._builder.nodes = list(graph.nodes)
        self._made: dict[tuple[Operator, tuple[int, ...]], int] = {}
        for i, node in enumerate(graph.nodes):
            self._made.setdefault((node.op, node.inputs), i)
        self._lines: dict[tuple[int, float, float], int] = {}

    # ---- nodes ----

    def add(self, op: Operator, *inputs: int) -> int:
        """The node that applies an operator to some: what is there already is not added again."""
        key = (op, inputs)
        if key not in self._made:
            self._made[key] = self._builder.add(op, inputs)
        return self._made[key]

    def shape(self, i: int) -> Shape:
        """Of a node."""
        return self._builder.nodes[i].shape

    def inputs(self, i: int) -> tuple[int, ...]:
        """Of a node of the graph."""
        return self.graph.nodes[i].inputs

    def refusal(self, i: int, why: str = "its derivative is not supported") -> str:
        """Why the derivative at a node is not taken."""
        node = self.graph.nodes[i]
        kind = getattr(node.op, "kind", type(node.op).__name__.lower())
        return f"node {node.name} ({kind}): {why}, so no Lipschitz constant is known of the network"

    def finish(self, last: Rows, shape: Shape) -> Graph:
        """The graph of derivatives alone, `(K, *entries)` as `(K, n)`."""
        out = self.node(last)
        if len(shape) != 1:
            out = self.add(Reshape((self.K, int(np.prod(shape, dtype=int)))), out)
        return self._builder.graph(self.graph.inputs, (out,))

    def node(self, g: Rows) -> int:
        """A node whose value is g."""
        if isinstance(g, Known):
            return self.add(Constant(g.value, g.magnitude), self.graph.inputs[0])
        return g.at if g.sign > 0 else self.add(Scale(np.array(-1.0)), g.at)

    # ---- derivatives ----

    def sum(self, parts: Sequence[Rows]) -> Rows:
        """What comes from several sides, added up."""
        known = [g for g in parts if isinstance(g, Known)]
        nodes = [g for g in parts if isinstance(g, Node)]
        if len(known) > 1:
            terms = max(g.terms for g in known) + len(known)
            known = [Known(sum(g.value for g in known), sum(g.size for g in known), terms)]  # type: ignore[arg-type]
        if not nodes:
            return known[0]
        nodes += [Node(self.node(g)) for g in known]
        if len(nodes) == 1:
            return nodes[0]
        return Node(self.add(Add(tuple(g.sign for g in nodes)), *(g.at for g in nodes)))

    def adjoint(self, op: Affine, g: Rows, i: int) -> tuple[Rows, ...]:
        """Rows over the inputs of an affine node."""
        shapes = self.graph.shapes_in(i)
        if isinstance(g, Known):
            terms = g.terms + op.terms(*shapes)
            sizes = op.absolute().adjoint(g.size, *shapes)
            return tuple(
                Known(np.array(a), np.array(s), terms) for a, s in zip(op.adjoint(g.value, *shapes), sizes, strict=True)
            )
        back = op.transposed(self.K, *shapes) or tuple(Adjoint(op, k, self.K, shapes) for k in range(len(shapes)))
        return tuple(self._through(one, g) for one in back)

    def tangent(self, op: Affine, dx: tuple[Rows, ...], i: int) -> Rows:
        """How an affine node moves."""
        shapes = self.graph.shapes_in(i)
        if all(isinstance(g, Known) for g in dx):
            known = [g for g in dx if isinstance(g, Known)]
            terms = max(g.terms for g in known) + op.terms(*shapes)
            size = op.absolute().linear(*(g.size for g in known))
            return Known(np.array(op.linear(*(g.value for g in known))), np.array(size), terms)
        if isinstance(op, Add):
            return self.sum([signed(g, s) for g, s in zip(dx, op.signs, strict=True)])
        along = op.batched(self.K, *shapes) or Tangent(op, self.K)
        if len(dx) == 1:
            return self._through(along, dx[0])
        return Node(self.add(along, *(self.node(g) for g in dx)))

    def _through(self, op: Affine | int, g: Rows) -> Rows:
        """A linear operator of one input on what is computed: signs are kept for later."""
        assert isinstance(g, Node)
        if isinstance(op, int):
            return Node(g.at, g.sign * op)
        if isinstance(op, Reshape) and op.size == self.shape(g.at):
            return g
        return Node(self.add(op, g.at), g.sign)

    def gate(self, g: Rows, z: int, leak: float) -> Rows:
        """g times the derivative of a rectifier of the node z `(*shape)`."""
        if isinstance(g, Known):  # the derivative itself, for all rows at once
            one = self.add(Constant(np.ones(1)), self.graph.inputs[0])
            shape = self.shape(z)
            ones = self.add(Reshape(shape), self.add(Repeat(int(np.prod(shape, dtype=int))), one))
            return self.times(g, self._pair(Gate(leak), ones, z))
        return Node(self._pair(Gate(leak), g.at, self.add(Repeat(self.K), z)), g.sign)

    def times(self, g: Rows, factor: int) -> Rows:
        """g times a node `(*shape)`."""
        factor = self.add(Repeat(self.K), factor)
        if isinstance(g, Known):
            magnitude = None if g.magnitude is None else Scale(g.magnitude)
            return Node(self.add(Scale(g.value, None, magnitude), factor))
        return Node(self._pair(Product(), g.at, factor), g.sign)

    def passed(self, v: int, z: int, leak: float) -> int:
        """A node times the derivative of a rectifier of another, of one shape."""
        return self._pair(Gate(leak), v, z)

    def line(self, x: int, a: float, b: float, rounded: bool = False) -> int:
        """`a·x + b`, made once; `rounded` where a is not what is meant but the number next to it."""
        if (a, b) == (1.0, 0.0) and not rounded:
            return x
        if (x, a, b) not in self._lines:
            self._lines[x, a, b] = self.add(_scale(a, b, rounded), x)
        return self._lines[x, a, b]

    def scaled(self, g: Rows, a: float, rounded: bool = False) -> Rows:
        """a times g; `rounded` as of `line`, up to three roundings."""
        if isinstance(g, Known):
            return Known(g.value * a, g.size * abs(a), g.terms + 1 + 3 * rounded)
        return g if a == 1.0 and not rounded else Node(self.add(_scale(a, 0.0, rounded), g.at), g.sign)

    def negative(self, g: Rows) -> Rows:
        """−g."""
        return signed(g, -1)

    def spread(self, g: Rows, n: int) -> Rows:
        """Each entry n times, along a new last axis."""
        if isinstance(g, Known):
            size = (*g.value.shape, n)
            value, sums = (np.broadcast_to(a[..., None], size) * 1 for a in (g.value, g.size))
            return Known(value, sums, g.terms)
        shape = self.shape(g.at)
        index = np.repeat(np.arange(int(np.prod(shape, dtype=int))), n)
        return Node(self.add(Take(index, (*shape, n)), g.at), g.sign)

    def total(self, g: Rows) -> Rows:
        """The sum over the last axis."""
        if isinstance(g, Known):
            return Known(g.value.sum(-1), g.size.sum(-1), g.terms + int(g.value.shape[-1]))
        return Node(self.add(Sum((len(self.shape(g.at)) - 1,), False), g.at), g.sign)

    def _pair(self, op: Operator, x: int, y: int) -> int:
        """A function of two numbers of two nodes of one shape, entry by entry."""
        shape = self.shape(x)
        sides = (self.add(Reshape((*shape, 1)), j) for j in (x, y))
        return self.add(op, self.add(Concat(len(shape)), *sides))


def _scale(a: float, b: float, rounded: bool) -> Scale:
    """`a·x + b`; magnitudes that allow for three roundings of a (see `Affine.absolute`; one is what a sum has)."""
    shift = None if b == 0.0 else np.array(b)
    magnitude = Scale(np.array(4 * abs(a)), None if shift is None else abs(shift)) if rounded else None
    return Scale(np.array(a), shift, magnitude)


def signed(g: Rows, sign: int) -> Rows:
    """g or −g."""
    return replace(g, value=g.value * sign) if isinstance(g, Known) else Node(g.at, g.sign * sign)
