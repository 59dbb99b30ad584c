"""Affine operators made of others, for derivatives: transposed, or applied to several directions; and constants.

Derivatives carry one more axis in front than what they are derivatives of: K rows, or directions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verifier.graph.graph import Affine, Convert, Shape
from verifier.values.arrays import Array, namespace


def _many(A: Array, shape: Shape) -> Array:
    """`[B, K, *shape]` as `[B·K, *shape]`."""
    return A.reshape(-1, *shape)


@dataclass(frozen=True, eq=False)
class Adjoint(Affine):
    """What an affine operator makes of K rows over its result: rows `(K, *shapes[which])` over one of its inputs.

    Attributes:
        op: the operator.  which: of its inputs.
        rows: K.  shapes: those of its inputs.
    """

    op: Affine
    which: int
    rows: int
    shapes: tuple[Shape, ...]

    @property
    def _result(self) -> Shape:
        return self.op.shape(*self.shapes)

    def shape(self, *inputs: Shape) -> Shape:
        """`(K, *shapes[which])`."""
        if inputs != ((self.rows, *self._result),):
            raise ValueError(f"rows over {list(self._result)}, {self.rows} of them, are given shape {inputs}")
        return (self.rows, *self.shapes[self.which])

    def linear(self, *x: Array) -> Array:
        """The operator's adjoint."""
        y = self.op.adjoint(_many(x[0], self._result), *self.shapes)[self.which]
        return y.reshape(x[0].shape[0], self.rows, *self.shapes[self.which])

    def adjoint(self, A: Array, *inputs: Shape) -> tuple[Array, ...]:
        """The operator itself, on that input alone."""
        rows = _many(A, self.shapes[self.which])
        given = (rows if i == self.which else _filled(_zeros(rows), s) for i, s in enumerate(self.shapes))
        return (self.op.linear(*given).reshape(A.shape[0], self.rows, *self._result),)

    def absolute(self) -> Adjoint:
        """That of the operator of magnitudes."""
        return replace(self, op=self.op.absolute())

    def terms(self, *inputs: Shape) -> int:
        """As many as the operator's own."""
        return self.op.terms(*self.shapes)

    def work(self, *inputs: Shape) -> int:
        """K evaluations."""
        return self.rows * self.op.work(*self.shapes)

    def cast(self, convert: Convert) -> Adjoint:
        """Convert the operator."""
        return replace(self, op=_affine(self.op.cast(convert)))


@dataclass(frozen=True, eq=False)
class Tangent(Affine):
    """An affine operator without its constant, on K directions at once: `(K, *shape)` from `(K, *input shape)`.

    Attributes:
        op: the operator.  rows: K.
    """

    op: Affine
    rows: int

    def shape(self, *inputs: Shape) -> Shape:
        """`(K, *shape)`."""
        if any(s[:1] != (self.rows,) for s in inputs):
            raise ValueError(f"{self.rows} directions are given shapes {[list(s) for s in inputs]}")
        return (self.rows, *self.op.shape(*(s[1:] for s in inputs)))

    def linear(self, *x: Array) -> Array:
        """The operator's linear part on each."""
        y = self.op.linear(*(_many(a, tuple(a.shape[2:])) for a in x))
        return y.reshape(x[0].shape[0], self.rows, *y.shape[1:])

    def adjoint(self, A: Array, *inputs: Shape) -> tuple[Array, ...]:
        """The operator's adjoint on each."""
        shapes = tuple(s[1:] for s in inputs)
        parts = self.op.adjoint(_many(A, tuple(A.shape[2:])), *shapes)
        return tuple(p.reshape(A.shape[0], self.rows, *s) for p, s in zip(parts, shapes, strict=True))

    def absolute(self) -> Tangent:
        """That of the operator of magnitudes."""
        return replace(self, op=self.op.absolute())

    def terms(self, *inputs: Shape) -> int:
        """As many as the operator's own."""
        return self.op.terms(*(s[1:] for s in inputs))

    def work(self, *inputs: Shape) -> int:
        """K evaluations."""
        return self.rows * self.op.work(*(s[1:] for s in inputs))

    def cast(self, convert: Convert) -> Tangent:
        """Convert the operator."""
        return replace(self, op=_affine(self.op.cast(convert)))


@dataclass(frozen=True, eq=False)
class Constant(Affine):
    """A value that does not depend on the input: it reads a node only to know how many results there are.

    Attributes:
        value: what it is.
        magnitude: as large as the sums behind it where the value is a result of rounding (see `Affine.absolute`).
    """

    value: Array
    magnitude: Array | None = None

    def shape(self, *inputs: Shape) -> Shape:
        """The value's."""
        return tuple(self.value.shape)

    def linear(self, *x: Array) -> Array:
        """Zeros."""
        return _filled(_zeros(x[0]), tuple(self.value.shape))

    def adjoint(self, A: Array, *inputs: Shape) -> tuple[Array, ...]:
        """Zeros."""
        return tuple(_filled(_zeros(A), s) for s in inputs)

    def bias(self) -> Array:
        """The value."""
        return self.value

    def absolute(self) -> Constant:
        """|value|, or the recorded magnitude."""
        return Constant(abs(self.value) if self.magnitude is None else self.magnitude)

    def terms(self, *inputs: Shape) -> int:
        """One."""
        return 1

    def work(self, *inputs: Shape) -> int:
        """None."""
        return 0

    def cast(self, convert: Convert) -> Constant:
        """Convert the value and its magnitude."""
        return Constant(convert(self.value), None if self.magnitude is None else convert(self.magnitude))


def _zeros(a: Array) -> Array:
    """`[B]` zeros in the type of `a`, `[B, …]`, whatever its entries are (infinity times zero is none)."""
    if isinstance(a, np.ndarray):
        return np.zeros(a.shape[0], a.dtype)
    return a.new_zeros(a.shape[0])


def _filled(zero: Array, shape: Shape) -> Array:
    """`[B]` zeros as `[B, *shape]`."""
    a = namespace(zero).broadcast_to(zero.reshape(-1, *([1] * len(shape))), (zero.shape[0], *shape))
    return a.copy() if isinstance(a, np.ndarray) else a.clone()


def _affine(op: Any) -> Affine:
    assert isinstance(op, Affine)
    return op
