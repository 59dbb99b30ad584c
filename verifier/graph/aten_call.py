"""What a rule for an ATen operator gets and gives: the call with its arguments, activations as results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any, NoReturn

import torch
from torch import Tensor

from verifier.graph.graph import Builder, Operator, Shape
from verifier.graph.ops.moves import Reshape

MIXES = "it mixes or drops the batch axis (the first axis of the example), which networks must leave alone"


def refuse(why: str) -> NoReturn:
    """Say in one line why a call is not supported."""
    raise ValueError(why)


@dataclass(frozen=True)
class Activation:
    """A value that depends on the input.

    Attributes:
        at: its node in the graph.
        shape: that node's shape.
        lead: 1 where a batch axis stands in front of that; 0 where the batch axis is another one, or none, as it may
            be while the example is a single input: then the shape is the whole shape.
    """

    at: int
    shape: Shape
    lead: int = 1


@dataclass(frozen=True)
class Call:
    """One call of an ATen operator.

    Attributes:
        builder: collects the nodes.
        name: of the result, for messages.
        op: the operator.
        args: every argument by its name in the operator's schema, defaults included.
        batch: size of the batch axis of the example.
        shape, dtype, device: of the result (the first one where there are several), batch axis left out of the shape.
    """

    builder: Builder
    name: str
    op: Any
    args: dict[str, Any]
    batch: int
    shape: Shape
    dtype: torch.dtype
    device: torch.device

    def add(self, op: Operator, *x: Activation) -> Activation:
        """Append a node; its inputs must agree on where the batch axis is."""
        if len({v.lead for v in x}) > 1:
            refuse(MIXES)
        at = self.builder.add(op, [v.at for v in x], self.name)
        return Activation(at, self.builder.nodes[at].shape, x[0].lead)

    def full(self, x: Activation) -> Shape:
        """The shape that the tensor has in the module."""
        return (self.batch,) * x.lead + x.shape

    def reshape(self, x: Activation, shape: Shape) -> Activation:
        """The same entries in another shape (of the node)."""
        return x if x.shape == tuple(shape) else self.add(Reshape(tuple(shape)), x)

    def bare(self, x: Activation) -> Activation:
        """x with its batch axis among the others, which only a single input allows."""
        if x.lead and self.batch != 1:
            refuse(MIXES)
        return replace(self.reshape(x, self.full(x)), lead=0)

    def settled(self, x: Activation, shape: Shape) -> Activation:
        """x of this shape in the module, the batch axis in front wherever it can be."""
        if self.full(x) == tuple(shape) and (x.lead or shape[:1] != (1,)):
            return x
        if self.batch != 1 or prod(shape) != prod(x.shape):
            refuse(f"its result {list(shape)} would be {list(self.full(x))} here")
        if shape[:1] == (1,):
            return replace(self.reshape(replace(x, lead=0), shape[1:]), lead=1)
        return replace(self.reshape(replace(x, lead=0), shape), lead=0)

    def axes(self, x: Activation, dims: Sequence[int]) -> tuple[Activation, tuple[int, ...]]:
        """Axes of the module's tensor as axes of the node, and x so that none of them is the batch axis."""
        rank = len(self.full(x))
        at = [d % rank for d in dims]
        if x.lead and 0 in at:
            x = self.bare(x)
        return x, tuple(sorted(d - x.lead for d in at))

    def axis(self, x: Activation, dim: int) -> tuple[Activation, int]:
        """One axis; see `axes`."""
        x, (axis,) = self.axes(x, [dim])
        return x, axis

    def number(self, value: Any) -> float:
        """A number rounded to the type of the result, as kernels do."""
        return float(self.constant(value))

    def constant(self, value: Any) -> Tensor:
        """A number or tensor in the type of the result; a tensor that has it already stays the same tensor."""
        if isinstance(value, Activation):
            refuse("an activation stands where only a constant or a parameter is supported")
        return torch.as_tensor(value, dtype=self.dtype, device=self.device)

    def optional(self, name: str) -> Tensor | None:
        """A constant argument that may be None."""
        value = self.args[name]
        return None if value is None else self.constant(value)

    def activation(self, name: str = "self") -> Activation:
        """An argument that must be an activation."""
        value = self.args[name]
        if not isinstance(value, Activation):
            refuse(f"its argument {name} is a constant; only activations are supported there")
        return value

    def index(self, i: Tensor) -> Tensor:
        """Positions as flat integers on the right device."""
        return i.reshape(-1).to(device=self.device, dtype=torch.int64)


Rule = Callable[[Call], Activation | list[Activation]]
"""The results of a call, from the call; refuses with `ValueError`."""
