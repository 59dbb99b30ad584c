"""What a network computes, as frozen data: nodes in topological order, one operator each, no batch dimension."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING

from verifier.values.arrays import Array
from verifier.values.errors import ModelError

if TYPE_CHECKING:  # rules of derivatives build graphs of operators
    from verifier.graph.chain import Chain, Rows

TOUCHED, CALLED = 20, 3e5
"""Multiply-adds in the time that a number takes in a node besides its own, and that a node takes with no numbers."""

Shape = tuple[int, ...]
Convert = Callable[[Array], Array]
Tick = Callable[[], None]
"""Called between steps of what may take long; whoever has run out of time raises there."""


def nothing() -> None:
    """A tick of those who have time."""


class Operator(ABC):
    """One operation on activations.

    Activations carry a batch dimension in front that shapes leave out: an input of shape `(3, 8, 8)` is an array
    `[B, 3, 8, 8]`.  Operators are immutable; parameters are numpy arrays or torch tensors.
    """

    exact: bool = False
    """Whether evaluating it never rounds (moves and selects numbers only)."""

    @abstractmethod
    def shape(self, *inputs: Shape) -> Shape:
        """Shape of the result.  Raises `ValueError` with one clear line when the inputs don't fit."""

    @abstractmethod
    def evaluate(self, *x: Array) -> Array:
        """The result `[B, *shape]` for inputs `[B, *input shape]`."""

    def cast(self, convert: Convert) -> Operator:
        """The same operator with every parameter replaced by `convert(parameter)`.  Default: there are none."""
        return self

    def vjp(self, t: Chain, g: Rows, i: int) -> tuple[Rows | None, ...]:
        """Rows over the inputs of node `i`, whose operator this is, from rows `(K, *shape)` over its result.

        Raises:
            ModelError: the operator has no derivative, or none that can be written with operators.
        """
        raise ModelError(t.refusal(i))

    def jvp(self, t: Chain, dx: tuple[Rows, ...], i: int) -> Rows:
        """How node `i` moves, `(K, *shape)`, where its inputs move by dx.

        Raises:
            ModelError: as of `vjp`.
        """
        raise ModelError(t.refusal(i))


class Affine(Operator):
    """An operator `y = Σ_i W_i x_i + b`, linear in all its inputs together."""

    @abstractmethod
    def linear(self, *x: Array) -> Array:
        """`Σ_i W_i x_i`, without the constant: `[B, *shape]`."""

    def evaluate(self, *x: Array) -> Array:
        """`Σ_i W_i x_i + b`."""
        y, b = self.linear(*x), self.bias()
        return y if b is None else y + b

    @abstractmethod
    def adjoint(self, A: Array, *inputs: Shape) -> tuple[Array, ...]:
        """Rows over the inputs from rows over the result.

        `A` is `[M, *shape]`; returns one `[M, *input shape]` per input, with ⟨A, linear(x)⟩ = Σ_i ⟨adjoint(A)_i, x_i⟩.
        """

    def bias(self) -> Array | None:
        """The constant b, broadcastable to the shape of the result, or None for zero."""
        return None

    @abstractmethod
    def absolute(self) -> Affine:
        """The operator with |W_i| and |b| in place of W_i and b.

        Where W was itself computed by rounding (a merged operator) it may be larger: what matters is that
        `absolute().evaluate(|x|)` bounds the sum of magnitudes of every product that stands behind y, so that
        rounding errors are at most a small multiple of it.
        """

    @abstractmethod
    def terms(self, *inputs: Shape) -> int:
        """An upper bound on how many products (and one constant) are summed for one entry of y, or of an adjoint."""

    @abstractmethod
    def work(self, *inputs: Shape) -> int:
        """Multiply-adds of one evaluation."""

    def transposed(self, rows: int, *inputs: Shape) -> tuple[Affine | int, ...] | None:
        """For each input, an operator that does to `(rows, *shape)` what the adjoint does; 1 or -1 for a mere sign.

        None where nothing is simpler than `ops.adjoint.Adjoint`.
        """
        return None

    def batched(self, rows: int, *inputs: Shape) -> Affine | None:
        """The linear part on `rows` directions, `(rows, *shape)` from `(rows, *input shape)`; None as above."""
        return None

    def vjp(self, t: Chain, g: Rows, i: int) -> tuple[Rows | None, ...]:
        """The adjoint."""
        return t.adjoint(self, g, i)

    def jvp(self, t: Chain, dx: tuple[Rows, ...], i: int) -> Rows:
        """The linear part."""
        return t.tangent(self, dx, i)


class Elementwise(Operator):
    """A nonlinear function of each entry of one input."""

    def shape(self, *inputs: Shape) -> Shape:
        """Same as the input's."""
        return inputs[0]

    @abstractmethod
    def slope(self, x: Array) -> Array:
        """A (sub)derivative at `x`, for gradient search; `[B, *shape]`."""

    def gradient(self, g: Array, x: Array) -> Array:
        """Rows over the input from rows over the result, at `x`."""
        return g * self.slope(x)

    def chain(self, t: Chain, g: Rows, i: int) -> Rows:
        """g times the derivative at node `i`, for rows g over its result as well as for directions of its input.

        Raises:
            ModelError: as of `vjp`.
        """
        raise ModelError(t.refusal(i))

    def vjp(self, t: Chain, g: Rows, i: int) -> tuple[Rows | None, ...]:
        """See `chain`."""
        return (self.chain(t, g, i),)

    def jvp(self, t: Chain, dx: tuple[Rows, ...], i: int) -> Rows:
        """See `chain`."""
        return self.chain(t, dx[0], i)


class Rowwise(Operator):
    """A nonlinear function of the entries of the last axis of one input.

    Operators of several inputs are of this kind: their inputs are put side by side first, which only moves numbers, so
    that bounding needs to know of one input only.
    """

    width: int = 0
    """How long the last axis must be; 0 for any length."""

    def shape(self, *inputs: Shape) -> Shape:
        """The input's without the last axis."""
        (s,) = inputs
        if not s or (self.width and s[-1] != self.width):
            raise ValueError(f"{type(self).__name__} of the last axis of shape {list(s)}")
        return s[:-1]

    @abstractmethod
    def gradient(self, g: Array, x: Array) -> Array:
        """Rows `[B, *input shape]` over the input from rows `[B, *shape]` over the result, at `x`."""


@dataclass(frozen=True)
class Input(Operator):
    """A network input of a given shape."""

    size: Shape

    def shape(self, *inputs: Shape) -> Shape:
        """The declared shape."""
        return self.size

    def evaluate(self, *x: Array) -> Array:
        """Inputs are given, not computed."""
        raise TypeError("an input is not evaluated")


@dataclass(frozen=True)
class Node:
    """One operator applied to earlier nodes.

    Attributes:
        name: the tensor's name in the original model, for messages.
        op: the operator.
        inputs: positions of its inputs in `Graph.nodes`, all smaller than its own.
        shape: shape of its result, without the batch dimension.
    """

    name: str
    op: Operator
    inputs: tuple[int, ...]
    shape: Shape

    @property
    def size(self) -> int:
        """Number of entries."""
        n = 1
        for d in self.shape:
            n *= d
        return n


@dataclass(frozen=True)
class Graph:
    """A network: nodes in topological order, and which of them are inputs and outputs."""

    nodes: tuple[Node, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]

    def values(self, *x: Array) -> list[Array]:
        """The value `[B, *shape]` of every node for inputs `[B, *input shape]`, in the order of `nodes`."""
        values: list[Array] = [None] * len(self.nodes)
        for i, given in zip(self.inputs, x, strict=True):
            values[i] = given
        for i, node in enumerate(self.nodes):
            if values[i] is None:
                values[i] = node.op.evaluate(*(values[j] for j in node.inputs))
        return values

    def evaluate(self, *x: Array, tick: Tick = nothing) -> tuple[Array, ...]:
        """The outputs `[B, *output shape]` for inputs `[B, *input shape]`; `tick` is called before every node."""
        last = {j: i for i, node in enumerate(self.nodes) for j in node.inputs}
        values: dict[int, Array] = dict(zip(self.inputs, x, strict=True))
        for i, node in enumerate(self.nodes):
            tick()
            if i not in values:
                values[i] = node.op.evaluate(*(values[j] for j in node.inputs))
            for j in set(node.inputs):  # free what nobody needs any more
                if last[j] == i and j not in self.outputs:
                    del values[j]
        return tuple(values[i] for i in self.outputs)

    def said(self, dtype: str) -> list[tuple[str, str]]:
        """Its size in words: the type of its inputs, layers, entries of its widest one."""
        widest = max((node.size for node in self.nodes), default=0)
        return [("type", dtype), ("nodes", f"{len(self.nodes):,}"), ("widest", f"{widest:,}")]

    def cast(self, convert: Convert) -> Graph:
        """The same graph with every parameter converted."""
        nodes = tuple(Node(n.name, n.op.cast(convert), n.inputs, n.shape) for n in self.nodes)
        return Graph(nodes, self.inputs, self.outputs)

    @cached_property
    def works(self) -> tuple[int, ...]:
        """Multiply-adds of evaluating each node; none, where it is not affine."""
        return tuple(n.op.work(*self.shapes_in(i)) if isinstance(n.op, Affine) else 0 for i, n in enumerate(self.nodes))

    @property
    def work(self) -> int:
        """Multiply-adds of evaluating it once."""
        return sum(self.works)

    @cached_property
    def _behind(self) -> tuple[int, ...]:
        """What one row costs on its way from each node back to the input."""
        return tuple(accumulate(w + TOUCHED * n.size for w, n in zip(self.works, self.nodes, strict=True)))

    def effort(self, rows: float, last: int = -1) -> float:
        """Multiply-adds that stand for the time of walking rows (or points) over all nodes up to one of them."""
        return rows * self._behind[last] + CALLED * (len(self.nodes) if last < 0 else last + 1)

    def shapes_in(self, i: int) -> tuple[Shape, ...]:
        """Shapes of the inputs of node `i`."""
        return tuple(self.nodes[j].shape for j in self.nodes[i].inputs)


class Builder:
    """Collects nodes and hands out their positions; checks shapes as it goes.

    Attributes:
        nodes: so far.
        undefined: of nodes some of whose entries have no value at any input, which; see `graph.undefined`.
        shelters: nodes that keep roots defined where that may be one value more than there is; see `graph.ended`.
        one_of: for nodes that say which entry of another's last axis is 1 while all others are 0: that other node.
    """

    def __init__(self) -> None:
        self.nodes: list[Node] = []
        self.undefined: dict[int, Array] = {}
        self.shelters: set[int] = set()
        self.one_of: dict[int, int] = {}

    def add(self, op: Operator, inputs: Sequence[int] = (), name: str = "") -> int:
        """Append a node and return its position."""
        shape = op.shape(*(self.nodes[j].shape for j in inputs))
        self.nodes.append(Node(name or f"{type(op).__name__.lower()}_{len(self.nodes)}", op, tuple(inputs), shape))
        return len(self.nodes) - 1

    def graph(self, inputs: Sequence[int], outputs: Sequence[int]) -> Graph:
        """The finished graph, without nodes that no output needs (inputs always stay)."""
        keep, stack = set(inputs), list(outputs)
        while stack:
            i = stack.pop()
            if i not in keep or i in inputs:
                keep.add(i)
                stack.extend(j for j in self.nodes[i].inputs if j not in keep)
        order = sorted(keep)
        new = {old: k for k, old in enumerate(order)}
        nodes = tuple(
            Node(n.name, n.op, tuple(new[j] for j in n.inputs), n.shape) for n in (self.nodes[i] for i in order)
        )
        return Graph(nodes, tuple(new[i] for i in inputs), tuple(new[i] for i in outputs))
