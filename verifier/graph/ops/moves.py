"""Affine operators that only move numbers: they never round."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from math import prod

import numpy as np

from verifier.graph.graph import Affine, Convert, Shape
from verifier.values.arrays import Array, namespace, place_of


class Move(Affine):
    """An affine operator that copies entries (or writes zeros)."""

    exact = True

    def absolute(self) -> Affine:
        """Itself."""
        return self

    def terms(self, *inputs: Shape) -> int:
        """One."""
        return 1

    def work(self, *inputs: Shape) -> int:
        """None worth counting."""
        return 0


@dataclass(frozen=True)
class Reshape(Move):
    """The same entries, row-major, in another shape."""

    size: Shape

    def shape(self, *inputs: Shape) -> Shape:
        """The given size."""
        if prod(self.size) != prod(inputs[0]):
            raise ValueError(f"shape {list(inputs[0])} cannot be read as {list(self.size)}")
        return self.size

    def linear(self, *x: Array) -> Array:
        """Reshape."""
        return x[0].reshape(x[0].shape[0], *self.size)

    def adjoint(self, A: Array, *inputs: Shape) -> tuple[Array, ...]:
        """Reshape back."""
        return (A.reshape(A.shape[0], *inputs[0]),)

    def transposed(self, rows: int, *inputs: Shape) -> tuple[Affine, ...]:
        """Reshape back."""
        return (Reshape((rows, *inputs[0])),)

    def batched(self, rows: int, *inputs: Shape) -> Reshape:
        """To the same shape."""
        return Reshape((rows, *self.size))


@dataclass(frozen=True)
class Transpose(Move):
    """Axes permuted (counted without the batch axis)."""

    axes: tuple[int, ...]

    def shape(self, *inputs: Shape) -> Shape:
        """Permuted."""
        if sorted(self.axes) != list(range(len(inputs[0]))):
            raise ValueError(f"axes {list(self.axes)} do not permute shape {list(inputs[0])}")
        return tuple(inputs[0][a] for a in self.axes)

    def linear(self, *x: Array) -> Array:
        """Permute."""
        return namespace(x[0]).transpose(x[0], (0, *(a + 1 for a in self.axes)))

    def adjoint(self, A: Array, *inputs: Shape) -> tuple[Array, ...]:
        """Permute back."""
        return (namespace(A).transpose(A, (0, *(a + 1 for a in self._back))),)

    @property
    def _back(self) -> tuple[int, ...]:
        return tuple(int(a) for a in np.argsort(self.axes))

    def transposed(self, rows: int, *inputs: Shape) -> tuple[Affine, ...]:
        """Permute back."""
        return (Transpose((0, *(a + 1 for a in self._back))),)

    def batched(self, rows: int, *inputs: Shape) -> Transpose:
        """The same axes, one further."""
        return Transpose((0, *(a + 1 for a in self.axes)))


@dataclass(frozen=True)
class Repeat(Move):
    """The same entries so many times, along a new axis in front."""

    times: int

    def shape(self, *inputs: Shape) -> Shape:
        """One more axis."""
        return (self.times, *inputs[0])

    def linear(self, *x: Array) -> Array:
        """Copies."""
        B, *s = x[0].shape
        y = namespace(x[0]).broadcast_to(x[0][:, None], (B, self.times, *s))
        return y.copy() if isinstance(y, np.ndarray) else y.clone()

    def adjoint(self, A: Array, *inputs: Shape) -> tuple[Array, ...]:
        """Their sum."""
        return (A.sum(1),)

    def terms(self, *inputs: Shape) -> int:
        """As many as there are copies (the adjoint adds them up)."""
        return self.times

    def batched(self, rows: int, *inputs: Shape) -> Affine:
        """Copies along the second axis."""
        n, s = prod(inputs[0]), inputs[0]
        index = np.arange(rows * n).reshape(rows, 1, n).repeat(self.times, 1)
        return Take(index.reshape(-1), (rows, self.times, *s))


@dataclass(frozen=True, eq=False)
class Take(Move):
    """Entry k of the result is entry `index[k]` of the flattened input, or zero where `index[k]` is -1.

    Slice, Gather with constant indices, Split, Expand, Tile and constant Pad are all of this kind.
    """

    index: Array
    size: Shape

    def shape(self, *inputs: Shape) -> Shape:
        """The given size."""
        n = prod(inputs[0])
        if prod(self.size) != prod(self.index.shape) or (n == 0 and prod(self.size) > 0):
            raise ValueError(f"{prod(self.index.shape)} indices for shape {list(self.size)}")
        return self.size

    def linear(self, *x: Array) -> Array:
        """Gather."""
        flat = x[0].reshape(x[0].shape[0], -1)
        y = flat[:, self.index]
        if self._padded:
            y = namespace(y).where(self.index < 0, y.dtype.type(0) if isinstance(y, np.ndarray) else 0.0, y)
        return y.reshape(x[0].shape[0], *self.size)

    def adjoint(self, A: Array, *inputs: Shape) -> tuple[Array, ...]:
        """Scatter-add, one pass per time that an entry is used."""
        xp, place = namespace(A), place_of(A)
        A = A.reshape(A.shape[0], -1)
        dtype = getattr(xp, place.dtype)
        shape = (A.shape[0], prod(inputs[0]))
        out = np.zeros(shape, dtype) if place.kind == "numpy" else xp.zeros(shape, dtype, A)
        for used, target in self._passes:
            if place.kind == "torch":
                used, target = place.array(used, "int64"), place.array(target, "int64")
            out[:, target] += A[:, used]
        return (out.reshape(A.shape[0], *inputs[0]),)

    @cached_property
    def _padded(self) -> bool:
        return bool((self.index < 0).any())

    @cached_property
    def _passes(self) -> list[tuple[np.ndarray, np.ndarray]]:
        """Positions of the result and of the input, so that no input entry is written twice in one pass."""
        from verifier.values.arrays import to_numpy

        index = to_numpy(self.index).reshape(-1)
        used = np.flatnonzero(index >= 0)
        used = used[np.argsort(index[used], kind="stable")]  # all uses of one entry together
        target = index[used]
        first = np.flatnonzero(np.diff(target, prepend=-1))
        turn = np.arange(len(target)) - np.repeat(first, np.diff(first, append=len(target)))
        at = np.split(np.argsort(turn, kind="stable"), np.cumsum(np.bincount(turn))[:-1]) if len(turn) else []
        return [(used[k], target[k]) for k in at]

    def terms(self, *inputs: Shape) -> int:
        """How often one entry is used (its adjoint sums so many)."""
        return max(1, len(self._passes))

    def transposed(self, rows: int, *inputs: Shape) -> tuple[Affine, ...] | None:
        """The move back, if no entry is used twice."""
        if len(self._passes) > 1:
            return None
        n, m = prod(inputs[0]), prod(self.size)
        back = np.full(n, -1)
        for used, target in self._passes:
            back[target] = used
        return (Take(_each(back, rows, m), (rows, *inputs[0])),)

    def batched(self, rows: int, *inputs: Shape) -> Take:
        """The same entries of each."""
        from verifier.values.arrays import to_numpy

        return Take(_each(to_numpy(self.index).reshape(-1), rows, prod(inputs[0])), (rows, *self.size))

    def cast(self, convert: Convert) -> Take:
        """Convert the index (integers stay integers)."""
        return Take(convert(self.index), self.size)


@dataclass(frozen=True)
class Concat(Move):
    """Inputs joined along an axis (counted without the batch axis)."""

    axis: int

    def shape(self, *inputs: Shape) -> Shape:
        """Sizes along the axis add up."""
        a = self.axis
        if any(len(s) != len(inputs[0]) or s[:a] + s[a + 1 :] != inputs[0][:a] + inputs[0][a + 1 :] for s in inputs):
            raise ValueError(f"shapes {[list(s) for s in inputs]} cannot be joined along axis {a}")
        return (*inputs[0][:a], sum(s[a] for s in inputs), *inputs[0][a + 1 :])

    def linear(self, *x: Array) -> Array:
        """Join."""
        return namespace(x[0]).concatenate(x, axis=self.axis + 1)

    def adjoint(self, A: Array, *inputs: Shape) -> tuple[Array, ...]:
        """Cut apart."""
        parts, at = [], 0
        for s in inputs:
            cut = [slice(None)] * (self.axis + 1) + [slice(at, at + s[self.axis])]
            parts.append(A[tuple(cut)])
            at += s[self.axis]
        return tuple(parts)

    def transposed(self, rows: int, *inputs: Shape) -> tuple[Affine, ...]:
        """Cut apart: moves."""
        at = np.arange(rows * prod(self.shape(*inputs))).reshape(rows, *self.shape(*inputs))
        parts = self.adjoint(at, *inputs)
        return tuple(Take(part.reshape(-1), (rows, *s)) for part, s in zip(parts, inputs, strict=True))

    def batched(self, rows: int, *inputs: Shape) -> Concat:
        """Along the same axis, one further."""
        return Concat(self.axis + 1)


def _each(index: np.ndarray, rows: int, n: int) -> np.ndarray:
    """Positions in n entries (or -1) as positions in each of `rows` times n entries."""
    return np.where(index < 0, -1, index + n * np.arange(rows)[:, None]).reshape(-1)
