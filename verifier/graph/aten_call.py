"""What a rule for an ATen operator gets and gives: the call with its arguments, activations as results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from torch import Tensor

from verifier.graph.graph import Builder, Operator, Shape

MIXES = "it mixes or drops the batch axis (the first axis of the example), which networks must leave alone"


def refuse(why: str) -> NoReturn:
    """Say in one line why a call is not supported."""
    raise ValueError(why)


@dataclass(frozen=True)
class Activation:
    """A value that depends on the input: its node in the graph, and its shape without the batch axis."""

    at: int
    shape: Shape


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
        """Append a node."""
        at = self.builder.add(op, [v.at for v in x], self.name)
        return Activation(at, self.builder.nodes[at].shape)

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
