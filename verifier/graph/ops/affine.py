"""Affine operators that multiply: dense layers, elementwise scale and shift, sums of activations, sums over axes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from verifier.graph.graph import Affine, Convert, Shape
from verifier.graph.ops.moves import Take
from verifier.values.arrays import Array, namespace


def _optional(convert: Convert, a: Array | None) -> Array | None:
    return None if a is None else convert(a)


@dataclass(frozen=True, eq=False)
class Dense(Affine):
    """`y = W x + b` on the last axis; leading axes are carried along.

    Attributes:
        W: `[m, n]`, an array or (on the CPU, where most weights are zero) a scipy sparse matrix.
        b: `[m]` or None.
        magnitude: Dense of magnitudes where W and b are results of rounding (see `Affine.absolute`), else None.
    """

    W: Any
    b: Array | None = None
    magnitude: Dense | None = None

    def shape(self, *inputs: Shape) -> Shape:
        """Last axis n becomes m."""
        (s,) = inputs
        if not s or s[-1] != self.W.shape[1]:
            raise ValueError(f"a matrix for {self.W.shape[1]} inputs is applied to shape {list(s)}")
        return (*s[:-1], self.W.shape[0])

    def linear(self, *x: Array) -> Array:
        """`W x`."""
        return _product(x[0], self.W, transposed=True)

    def adjoint(self, A: Array, *inputs: Shape) -> tuple[Array, ...]:
        """`A W`."""
        return (_product(A, self.W, transposed=False),)

    def bias(self) -> Array | None:
        """b."""
        return self.b

    def absolute(self) -> Dense:
        """|W|, |b|, or the recorded magnitudes."""
        return self.magnitude or Dense(abs(self.W), None if self.b is None else abs(self.b))

    def terms(self, *inputs: Shape) -> int:
        """Most non-zero weights in one row or one column, and one constant."""
        return self._most_nonzeros + 1

    @cached_property
    def _most_nonzeros(self) -> int:
        used = self.W != 0
        return max(int(used.sum(0).max()), int(used.sum(1).max())) if min(self.W.shape) else 0

    def work(self, *inputs: Shape) -> int:
        """Non-zero weights times leading entries."""
        nnz = getattr(self.W, "nnz", self.W.shape[0] * self.W.shape[1])
        return int(nnz) * prod(inputs[0][:-1])

    def transposed(self, rows: int, *inputs: Shape) -> tuple[Dense, ...]:
        """`Wᵀ`: rows are one more leading axis."""
        W = self.W.T.tocsr() if hasattr(self.W, "tocsr") else self.W.T
        return (Dense(W, None, None if self.magnitude is None else self.magnitude.transposed(rows, *inputs)[0]),)

    def batched(self, rows: int, *inputs: Shape) -> Dense:
        """W."""
        return Dense(self.W, None, None if self.magnitude is None else self.magnitude.batched(rows, *inputs))

    def cast(self, convert: Convert) -> Dense:
        """Convert W, b and magnitudes."""
        magnitude = None if self.magnitude is None else self.magnitude.cast(convert)
        return Dense(convert(self.W), _optional(convert, self.b), magnitude)


def _product(x: Array, W: Any, transposed: bool) -> Array:
    """`x Wᵀ` (transposed) or `x W` along the last axis of x."""
    if hasattr(x, "tocsr"):  # compressed rows stay compressed where the weights are
        return x @ (W.T if transposed else W)
    if hasattr(W, "tocsr"):  # scipy multiplies from the left, sparse times dense
        flat = x.reshape(-1, x.shape[-1])
        y = (W @ flat.T if transposed else W.T @ flat.T).T
        return y.reshape(*x.shape[:-1], y.shape[-1])
    lead = x.shape[:-1]
    y = x.reshape(-1, x.shape[-1]) @ (W.T if transposed else W)  # one product instead of a batch of small ones
    return y.reshape(*lead, y.shape[-1])


@dataclass(frozen=True, eq=False)
class Scale(Affine):
    """`y = s∘x + t`, entry by entry; s and t (either may be None) broadcast to the input's shape."""

    s: Array | None = None
    t: Array | None = None
    magnitude: Scale | None = None

    def shape(self, *inputs: Shape) -> Shape:
        """Same as the input's."""
        for a in (self.s, self.t):
            if a is not None and not _broadcasts(tuple(a.shape), inputs[0]):
                raise ValueError(f"a constant of shape {list(a.shape)} does not broadcast to {list(inputs[0])}")
        return inputs[0]

    def linear(self, *x: Array) -> Array:
        """`s∘x`."""
        return x[0] * 1 if self.s is None else x[0] * self.s  # always a new array

    def adjoint(self, A: Array, *inputs: Shape) -> tuple[Array, ...]:
        """`s∘A`."""
        return (A if self.s is None else A * self.s,)

    def bias(self) -> Array | None:
        """t."""
        return self.t

    def absolute(self) -> Scale:
        """|s|, |t|."""
        if self.magnitude is not None:
            return self.magnitude
        return Scale(None if self.s is None else abs(self.s), None if self.t is None else abs(self.t))

    def terms(self, *inputs: Shape) -> int:
        """One product, one constant."""
        return 2

    def work(self, *inputs: Shape) -> int:
        """One multiply-add an entry."""
        return prod(inputs[0])

    def transposed(self, rows: int, *inputs: Shape) -> tuple[Affine | int, ...]:
        """The same scale, without the shift."""
        return (1 if self.s is None and self.magnitude is None else self.batched(rows, *inputs),)

    def batched(self, rows: int, *inputs: Shape) -> Scale:
        """The same scale, without the shift."""
        return Scale(self.s, None, None if self.magnitude is None else self.magnitude.batched(rows, *inputs))

    def cast(self, convert: Convert) -> Scale:
        """Convert s, t and magnitudes."""
        magnitude = None if self.magnitude is None else self.magnitude.cast(convert)
        return replace(self, s=_optional(convert, self.s), t=_optional(convert, self.t), magnitude=magnitude)


@dataclass(frozen=True, eq=False)
class Standardize(Scale):
    """A batch norm's part that its statistics decide, as they are stored: `s = 1/√(var + eps)`, `t = −mean·s`.

    A Scale in all it does; training looks at where the statistics live, and takes its own.

    Attributes:
        statistics: the module's own buffers `[channels]`: mean and variance.
        eps: what is added to the variance.
    """

    statistics: tuple[Array, Array] | None = None
    eps: float = 0.0

    def cast(self, convert: Convert) -> Scale:
        """A mere Scale: converted numbers no longer belong to a module."""
        return Scale(self.s, self.t, self.magnitude).cast(convert)


def _broadcasts(small: Shape, big: Shape) -> bool:
    if len(small) > len(big):
        return False
    return all(a in (1, b) for a, b in zip(reversed(small), reversed(big), strict=False))


@dataclass(frozen=True)
class Add(Affine):
    """`y = Σ_i signs_i · x_i` for inputs of one shape."""

    signs: tuple[int, ...] = (1, 1)

    def shape(self, *inputs: Shape) -> Shape:
        """The common shape."""
        if len(inputs) != len(self.signs) or len(set(inputs)) != 1:
            raise ValueError(f"a sum of {len(self.signs)} activations is given shapes {[list(s) for s in inputs]}")
        return inputs[0]

    def linear(self, *x: Array) -> Array:
        """The signed sum."""
        y = x[0] if self.signs[0] > 0 else -x[0]
        for s, v in zip(self.signs[1:], x[1:], strict=True):
            y = y + v if s > 0 else y - v
        return y

    def adjoint(self, A: Array, *inputs: Shape) -> tuple[Array, ...]:
        """±A for each input."""
        return tuple(A if s > 0 else -A for s in self.signs)

    def absolute(self) -> Add:
        """All signs positive."""
        return Add((1,) * len(self.signs))

    def terms(self, *inputs: Shape) -> int:
        """As many as there are inputs."""
        return len(self.signs)

    def work(self, *inputs: Shape) -> int:
        """One addition an entry and input."""
        return prod(inputs[0]) * len(self.signs)

    def transposed(self, rows: int, *inputs: Shape) -> tuple[Affine | int, ...]:
        """Signs."""
        return self.signs

    def batched(self, rows: int, *inputs: Shape) -> Add:
        """Itself."""
        return self


@dataclass(frozen=True)
class Sum(Affine):
    """Sum over axes (without the batch axis, counted from 0), keeping or dropping them."""

    axes: tuple[int, ...]
    keepdims: bool = True

    def shape(self, *inputs: Shape) -> Shape:
        """Summed axes become 1 or vanish."""
        (s,) = inputs
        if any(not 0 <= a < len(s) for a in self.axes):
            raise ValueError(f"sum over axes {list(self.axes)} of shape {list(s)}")
        if self.keepdims:
            return tuple(1 if i in self.axes else d for i, d in enumerate(s))
        return tuple(d for i, d in enumerate(s) if i not in self.axes)

    def linear(self, *x: Array) -> Array:
        """The sum."""
        axes = tuple(a + 1 for a in self.axes)
        y = x[0].sum(axes) if axes else x[0]
        return y.reshape(y.shape[0], *self.shape(tuple(x[0].shape[1:])))

    def adjoint(self, A: Array, *inputs: Shape) -> tuple[Array, ...]:
        """A copied along the summed axes."""
        (s,) = inputs
        kept = tuple(1 if i in self.axes else d for i, d in enumerate(s))
        xp = namespace(A)
        return (xp.broadcast_to(A.reshape(A.shape[0], *kept), (A.shape[0], *s)),)

    def absolute(self) -> Sum:
        """Itself."""
        return self

    def terms(self, *inputs: Shape) -> int:
        """Entries summed."""
        return prod(inputs[0][a] for a in self.axes)

    def work(self, *inputs: Shape) -> int:
        """One addition an entry."""
        return prod(inputs[0])

    def transposed(self, rows: int, *inputs: Shape) -> tuple[Affine, ...]:
        """A copied along the summed axes: a move."""
        (s,) = inputs
        kept = tuple(1 if i in self.axes else d for i, d in enumerate(s))
        index = np.broadcast_to(np.arange(rows * prod(kept)).reshape(rows, *kept), (rows, *s))
        return (Take(index.reshape(-1).copy(), (rows, *s)),)

    def batched(self, rows: int, *inputs: Shape) -> Sum:
        """Over the same axes, one further."""
        return Sum(tuple(a + 1 for a in self.axes), self.keepdims)
