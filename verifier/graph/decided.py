"""Which entries of tensors are known where some of the network's inputs are fixed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod
from typing import Any

import numpy as np

from verifier.graph.convert import Call, Value
from verifier.graph.exactly import always, entries
from verifier.graph.fold import fold
from verifier.graph.graph import Builder, Shape
from verifier.graph.ops.affine import Scale
from verifier.graph.ops.moves import Move

_PLACING = ("Concat", "Pad", "Where", "Scatter", "ScatterElements", "ScatterND")
"""Operators whose shifts only put constants into the room left for them."""
_ARITHMETIC = ("Add", "Sub", "Mul", "Div", "Neg")
"""Operators entry by entry, of which an unknown number (NaN) never makes a known one."""


_MOVING = ("Flatten", "Gather", "Identity", "Reshape", "Slice", "Split", "Squeeze", "Transpose", "Unsqueeze")
"""Operators whose first input's entries are followed by name."""
_WHOLE = (6, 7)  # TensorProto types: int32, int64


@dataclass(frozen=True, eq=False)
class Condition:
    """A node that was exact for the numbers it had: operator, names and values of its inputs, names of its results."""

    op: str
    names: tuple[str, ...]
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[str, ...]


@dataclass(eq=False)
class Front:
    """Where exact computation of what inputs decide ends, and the network begins.

    Attributes:
        tensors: names of the known tensors that became nodes.
        conditions: what must hold for other inputs to have these tensors exactly.
        apart: whether the network has what is decided from these tensors only.
    """

    tensors: dict[str, int] = field(default_factory=dict)
    conditions: list[Condition] = field(default_factory=list)
    apart: bool = True


class Decided:
    """What is known of the Builder's nodes: by position, an array with NaN where an entry is not known.

    `parted`: what is decided is kept apart from the network (see `Front`), as far as that goes: real numbers that are
    decided, and that anything is computed of, become nodes.
    """

    def __init__(self, parted: bool = False) -> None:
        self.parted = parted
        self.known: dict[int, np.ndarray] = {}
        self.traced: dict[str, np.ndarray] = {}
        self.depends: set[str] = set()
        self.cut: list[np.ndarray] = []
        self.front = Front()

    def start(self, position: int, values: np.ndarray) -> Value:
        """Note what is known of an input; the input itself, or its values where all are known."""
        if not np.isnan(values).all():
            self.known[position] = values
        return self._settled(position)

    def trace(self, name: str, shape: Shape) -> None:
        """Follow the entries of an input by the name of the tensor they stand in."""
        self.depends.add(name)
        start, size = sum(len(a) for a in self.cut), prod(shape)
        self.traced[name] = np.arange(start, start + size).reshape(shape)
        self.cut.append(np.ones(size, bool))

    def look(self, call: Call, node: Any, imports: Any) -> None:
        """Note which entries of inputs a node uses, and how: cut to whole numbers, or as they are."""
        used = [n for n in call.names if n in self.traced]
        if used and call.op in ("Shape", "Size"):  # moves by constants leave no doubt about shapes
            return
        first, others = set(call.names[:1]), set(call.names[1:])
        if self.depends & (first | others):
            self.depends.update(node.output)
        if not used or (call.op == "Cast" and call.get("to") in _WHOLE):
            return
        if call.op in _MOVING and not self.depends & others:  # where they go must not hang on values
            given = replace(call, inputs=(self.traced[used[0]], *call.inputs[1:]))
            self.traced.update(zip(node.output, fold(given, node, imports), strict=False))
            return
        self.spoil(used)

    def exact(self, call: Call, outputs: Sequence[str], results: Sequence[np.ndarray]) -> bool:
        """Whether the results of a node on constants are what real arithmetic gives, as far as inputs are behind them.

        What the model's own constants are made of is a constant of the model, as onnxruntime computes it.
        """
        names = [n for n in call.names if n in self.depends]
        if not names or always(call):
            return True
        if self.parted and call.op != "Cast" and any(np.asarray(y).dtype.kind == "f" for y in results):
            return False
        given = tuple(v for v in call.inputs if isinstance(v, np.ndarray))
        if not all(bool(entries(call.op, given, np.asarray(y)).all()) for y in results):
            return False
        self.front.conditions.append(Condition(call.op, call.names, given, tuple(outputs)))
        return True

    def meet(self, call: Call) -> None:
        """Note a call on nodes and arrays: if inputs decide an array, the network is another one for others."""
        pairs = zip(call.names, call.inputs, strict=True)
        if any(isinstance(v, np.ndarray) and n in self.depends for n, v in pairs):
            self.front.apart = False

    def alias(self, new: str, old: str) -> None:
        """A tensor has another name, too."""
        if old in self.depends:
            self.depends.add(new)
        if old in self.traced:
            self.traced[new] = self.traced[old]

    def hang(self, name: str, results: Sequence[str]) -> None:
        """The value of a tensor decides which nodes there are, and so who is used and how; their results hang on it."""
        if name in self.depends:
            self.depends.update(results)
            self.front.apart = False
            self.spoil(list(self.traced))
            self.traced.clear()

    def spoil(self, used: Sequence[str]) -> None:
        """Tensors are used as they are."""
        flat = np.concatenate(self.cut or [np.zeros(0, bool)])
        for name in set(used) & self.traced.keys():
            flat[self.traced[name]] = False
        self.cut = np.split(flat, np.cumsum([len(a) for a in self.cut])[:-1])

    def results(self, call: Call, node: Any, imports: Any, results: list[Value], first: int) -> list[Value]:
        """The results of a converted node, constants in the place of those that are known.

        Parameters:
            first: how many nodes the Builder had before.
        """
        if not self.known or not any(isinstance(v, int) for v in results):
            return results
        if call.op in _ARITHMETIC:
            self._compute(call, node, imports, results[0])
        else:
            self._follow(call.builder, first, call.op in _PLACING)
        return [self._settled(v) if isinstance(v, int) else v for v in results]

    def _settled(self, position: int) -> Value:
        values = self.known.get(position)
        return position if values is None or np.isnan(values).any() else values

    def _compute(self, call: Call, node: Any, imports: Any, result: Value) -> None:
        inputs = tuple(self.known.get(v) if isinstance(v, int) else v for v in call.inputs)
        if all(v is not None for v in inputs) and isinstance(result, int) and result not in self.known:
            given = replace(call, inputs=inputs)
            with np.errstate(all="ignore"):
                (values,) = fold(given, node, imports)
            values = np.where(entries(call.op, tuple(v for v in inputs if v is not None), values), values, np.nan)
            if not np.isnan(values).all():
                self.known[result] = values

    def _follow(self, builder: Builder, first: int, placing: bool) -> None:
        """Carry what is known through the nodes added last, as far as they only move entries."""
        for i in range(first, len(builder.nodes)):
            node = builder.nodes[i]
            if all(j in self.known for j in node.inputs) and node.inputs:
                op, x = node.op, [self.known[j][None] for j in node.inputs]
                if isinstance(op, Move):
                    self.known[i] = np.asarray(op.evaluate(*x)[0])
                elif placing and isinstance(op, Scale) and op.s is None and op.t is not None:
                    self.known[i] = np.asarray(x[0][0] + np.broadcast_to(op.t, node.shape).astype(x[0].dtype))
