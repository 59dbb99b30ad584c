"""What a converter is given: one ONNX node, with its constants at hand and a Builder to add to."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from verifier.graph.graph import Builder, Operator, Shape
from verifier.graph.ops.moves import Reshape, Take

Value = np.ndarray | int
"""A tensor of the model: an array where it is constant, else the position of a node of the Builder."""

Converter = Callable[["Call"], "Value | Sequence[Value]"]
"""Adds the operators that stand for an ONNX node and returns its outputs.  Raises `ValueError` to refuse."""

LARGEST = 1 << 28
"""Most entries that one activation or folded constant may have; more is taken for a damaged file."""


def kind(type_name: str) -> str:
    """What the numbers of a type are: "f" floating point, "i" whole, "b" truth values (0 or 1)."""
    return "b" if type_name == "bool" else "i" if type_name.startswith(("int", "uint")) else "f"


def _large(a: np.ndarray, wide: np.ndarray) -> Iterator[tuple[Any, Any]]:
    """Whole numbers that double precision may not hold, and what it makes of them."""
    at = np.abs(wide) >= 2.0**53
    return zip(a[at], wide[at], strict=True)


@dataclass(frozen=True)
class Call:
    """One ONNX node to be converted.

    Activations have their full ONNX shape with batch size 1, so that axes mean what they mean in ONNX.

    Attributes:
        op: operator type.  name: its first output, for messages and for the nodes made.
        attributes: by name.
        inputs: values; None where an optional one is left out.
        names: the inputs' names, for messages.
        used: for each output, whether anybody reads it.
        opset: version of the operator set.
        builder: where nodes go.
        types: for each input the type of its numbers, by name.
    """

    op: str
    name: str
    attributes: dict[str, Any]
    inputs: tuple[Value | None, ...]
    names: tuple[str, ...]
    used: tuple[bool, ...]
    opset: int
    builder: Builder
    types: tuple[str, ...] = ()

    def get(self, attribute: str, default: Any = None) -> Any:
        """An attribute, strings as str and lists as tuples."""
        value = self.attributes.get(attribute, default)
        if isinstance(value, bytes):
            return value.decode()
        return tuple(value) if isinstance(value, list) else value

    @property
    def kinds(self) -> tuple[str, ...]:
        """For each input what its numbers are: "f" floating point, "i" whole, "b" truth values (0 or 1)."""
        return tuple(kind(t) for t in self.types)

    def real(self, attribute: str, default: float) -> float:
        """A floating-point attribute; those are float32, and so is what stands in for one."""
        return float(self.attributes.get(attribute, np.float32(default)))

    def has(self, i: int) -> bool:
        """Whether input `i` is given."""
        return i < len(self.inputs) and self.inputs[i] is not None

    def is_constant(self, i: int) -> bool:
        """Whether input `i` is given and constant."""
        return self.has(i) and isinstance(self.inputs[i], np.ndarray)

    def activation(self, i: int = 0) -> int:
        """Position of input `i`, which must depend on the network's input."""
        v = self.inputs[i] if self.has(i) else None
        if not isinstance(v, int):
            what = "missing" if v is None else "constant, while others depend on the network's input"
            raise ValueError(f"input {i} of {self.op} is {what}")
        return v

    def constant(self, i: int) -> np.ndarray:
        """Input `i` as stored."""
        v = self.inputs[i] if self.has(i) else None
        if v is None:
            raise ValueError(f"input {i} of {self.op} is missing")
        if isinstance(v, int):
            raise ValueError(f"{self.op} where input {i} ('{self.names[i]}') is not constant")
        return v

    def parameter(self, i: int) -> np.ndarray:
        """Input `i` as finite doubles."""
        return self.finite(self.doubles(self.constant(i), self.names[i]), self.names[i])

    def shift(self, i: int) -> np.ndarray:
        """Input `i` as doubles to be added, which may be minus infinity if a softmax then takes that in."""
        a = self.doubles(self.constant(i), self.names[i])
        self.finite(np.where(np.isneginf(a), 0.0, a), self.names[i])
        return a

    def doubles(self, a: Any, name: str) -> np.ndarray:
        """`a` in double precision, which must be able to hold it."""
        a = np.asarray(a)
        wide = np.asarray(a, np.float64)
        if a.dtype.kind in "iu" and a.dtype.itemsize == 8 and any(int(v) != int(w) for v, w in _large(a, wide)):
            raise ValueError(f"tensor '{name}' holds whole numbers beyond 2^53 that double precision cannot hold")
        return wide

    def finite(self, a: np.ndarray, name: str) -> np.ndarray:
        """`a`, which must not hold NaN or infinities."""
        if not np.isfinite(a).all():
            raise ValueError(f"tensor '{name}' holds {'NaN' if np.isnan(a).any() else 'infinite'} values")
        return a

    def integers(self, i: int, attribute: str | None = None, default: Any = None) -> tuple[int, ...] | None:
        """Whole numbers that newer operator sets give as input `i` and older ones as an attribute."""
        if self.has(i):
            return tuple(int(v) for v in np.asarray(self.constant(i)).reshape(-1))
        value = self.get(attribute, default) if attribute else default
        return None if value is None else tuple(int(v) for v in value)

    def shape(self, v: Value) -> Shape:
        """Full shape of a value."""
        return self.builder.nodes[v].shape if isinstance(v, int) else v.shape

    def add(self, op: Operator, *inputs: int) -> int:
        """Append a node named after this one."""
        shape = op.shape(*(self.builder.nodes[j].shape for j in inputs))
        if prod(shape) > LARGEST:
            raise ValueError(f"{self.op} makes a tensor of {prod(shape):,} entries; at most {LARGEST:,} are supported")
        return self.builder.add(op, inputs, self.name)

    def reshape(self, x: int, shape: Sequence[int]) -> int:
        """`x` in another shape, if it is another."""
        return x if self.shape(x) == tuple(shape) else self.add(Reshape(tuple(int(d) for d in shape)), x)

    def positions(self, x: int) -> np.ndarray:
        """The flat position of every entry of `x`, in its shape: what moves entries is tried out on it."""
        shape = self.shape(x)
        return np.arange(prod(shape), dtype=np.int64).reshape(shape)

    def take(self, x: int, index: np.ndarray) -> int:
        """The entries of flattened `x` at `index`, in the shape of `index`; zero where it is -1."""
        if index.size > LARGEST:
            raise ValueError(f"{self.op} makes a tensor of {index.size:,} entries; at most {LARGEST:,} are supported")
        if index.size == prod(self.shape(x)) and np.array_equal(index.reshape(-1), np.arange(index.size)):
            return self.reshape(x, index.shape)
        return self.add(Take(np.ascontiguousarray(index).reshape(-1), index.shape), x)

    def expand(self, x: int, shape: Shape) -> int:
        """`x` broadcast to `shape`."""
        return x if self.shape(x) == shape else self.take(x, np.broadcast_to(self.positions(x), shape))

    def axis(self, axis: int, rank: int) -> int:
        """`axis` counted from the front."""
        if not -rank <= axis < rank:
            raise ValueError(f"axis {axis} of a tensor with {rank} axes")
        return axis % rank

    def only_first_output(self) -> None:
        """Refuse if an output but the first is read."""
        if any(self.used[1:]):
            raise ValueError(f"only the first output of {self.op} can be used")
