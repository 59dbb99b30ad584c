"""Convolutions of any number of spatial axes, on numpy (a matrix product a kernel tap) and on torch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import product
from math import prod

import numpy as np

from verifier.graph.graph import Affine, Convert, Shape
from verifier.values.arrays import Array, is_torch


@dataclass(frozen=True, eq=False)
class Conv(Affine):
    """Cross-correlation as ONNX defines it.

    Attributes:
        W: `[out channels, in channels / groups, *kernel]`.
        b: `[out channels]` or None.
        stride, dilation: one a spatial axis.  pads: (before, after) a spatial axis.
        groups: number of channel groups.
        magnitude: Conv of magnitudes where W was computed by rounding, else None.
    """

    W: Array
    b: Array | None
    stride: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]
    dilation: tuple[int, ...]
    groups: int = 1
    magnitude: Conv | None = None

    def shape(self, *inputs: Shape) -> Shape:
        """`[out channels, *spatial]`."""
        (s,) = inputs
        kernel = tuple(self.W.shape[2:])
        if len(s) != len(kernel) + 1 or s[0] != self.W.shape[1] * self.groups:
            raise ValueError(f"a kernel of shape {list(self.W.shape)} (groups {self.groups}) meets shape {list(s)}")
        out = tuple(
            (n + p[0] + p[1] - d * (k - 1) - 1) // t + 1
            for n, p, d, k, t in zip(s[1:], self.pads, self.dilation, kernel, self.stride, strict=True)
        )
        if min(out) < 1:
            raise ValueError(f"a kernel of shape {list(self.W.shape)} is larger than its input {list(s)}")
        return (self.W.shape[0], *out)

    def linear(self, *x: Array) -> Array:
        """The convolution without bias."""
        (a,) = x
        out = self.shape(tuple(a.shape[1:]))
        if is_torch(a):
            return self._torch(a)
        M, g = a.shape[0], self.groups
        a = np.pad(a, ((0, 0), (0, 0), *self.pads)) if any(map(any, self.pads)) else a
        W = self.W.reshape(g, -1, *self.W.shape[1:])
        y: Array = None
        for tap, window in self._taps(out):
            part = a[(slice(None), slice(None), *window)].reshape(M, g, -1, prod(out[1:]))
            y = W[(..., *tap)] @ part if y is None else y + W[(..., *tap)] @ part
        return y.reshape(M, *out)

    def adjoint(self, A: Array, *inputs: Shape) -> tuple[Array, ...]:
        """The transposed convolution."""
        (s,) = inputs
        if is_torch(A):
            return (self._torch_adjoint(A, s),)
        M, g = A.shape[0], self.groups
        padded = tuple(n + p[0] + p[1] for n, p in zip(s[1:], self.pads, strict=True))
        x = np.zeros((M, s[0], *padded), A.dtype)
        A, first = _window(A)
        out = tuple(A.shape[1:])
        A = A.reshape(M, g, -1, prod(out[1:]))
        W = np.moveaxis(self.W.reshape(g, -1, *self.W.shape[1:]), 2, 1)  # [g, in, out, *kernel]
        for tap, window in self._taps(out, first):
            x[(slice(None), slice(None), *window)] += (W[(..., *tap)] @ A).reshape(M, s[0], *out[1:])
        cut = tuple(slice(p[0], p[0] + n) for n, p in zip(s[1:], self.pads, strict=True))
        return (x[(slice(None), slice(None), *cut)],)

    def _taps(self, out: Shape, first: Shape = ()) -> Iterator[tuple[tuple[int, ...], tuple[slice, ...]]]:
        """Every kernel position and the strided window of the padded input that it multiplies.

        `out` may be the shape of a part of the result that starts at position `first`.
        """
        first = first or (0,) * len(self.stride)
        for tap in product(*(range(k) for k in self.W.shape[2:])):
            yield (
                tap,
                tuple(
                    slice(f * t + i * d, f * t + i * d + (n - 1) * t + 1, t)
                    for i, d, n, t, f in zip(tap, self.dilation, out[1:], self.stride, first, strict=True)
                ),
            )

    def evaluate(self, *x: Array) -> Array:
        """The convolution; torch adds the constant while at it."""
        return self._torch(x[0], self.b) if is_torch(x[0]) else super().evaluate(*x)

    def _torch(self, a: Array, b: Array | None = None) -> Array:
        from torch.nn import functional as F

        conv = (F.conv1d, F.conv2d, F.conv3d)[self.W.ndim - 3]
        pads: int | tuple[int, ...] = tuple(before for before, _ in self.pads)
        if any(before != after for before, after in self.pads):  # torch pads alike on both sides, without a copy
            a, pads = F.pad(a, [p for pair in reversed(self.pads) for p in pair]), 0
        return conv(a, self.W, b, self.stride, pads, self.dilation, self.groups)

    def _torch_adjoint(self, A: Array, s: Shape) -> Array:
        from torch.nn import functional as F

        padded = [n + p[0] + p[1] for n, p in zip(s[1:], self.pads, strict=True)]
        extra = [
            n - ((o - 1) * t + d * (k - 1) + 1)
            for n, o, t, d, k in zip(padded, A.shape[2:], self.stride, self.dilation, self.W.shape[2:], strict=True)
        ]
        conv = (F.conv_transpose1d, F.conv_transpose2d, F.conv_transpose3d)[self.W.ndim - 3]
        x = conv(A, self.W, None, self.stride, 0, 0, self.groups, self.dilation)
        x = F.pad(x, [p for e in reversed(extra) for p in (0, e)]) if any(extra) else x
        cut = tuple(slice(p[0], p[0] + n) for n, p in zip(s[1:], self.pads, strict=True))
        return x[(slice(None), slice(None), *cut)]

    def bias(self) -> Array | None:
        """b along the channel axis."""
        return None if self.b is None else self.b.reshape(-1, *([1] * (self.W.ndim - 2)))

    def absolute(self) -> Conv:
        """|W|, |b|, or the recorded magnitudes."""
        if self.magnitude is not None:
            return self.magnitude
        return replace(self, W=abs(self.W), b=None if self.b is None else abs(self.b))

    def terms(self, *inputs: Shape) -> int:
        """Products behind one entry, forward or transposed, and one constant."""
        kernel = prod(self.W.shape[2:])
        return kernel * max(self.W.shape[1], self.W.shape[0] // self.groups) + 1

    def work(self, *inputs: Shape) -> int:
        """Kernel size times result size."""
        return prod(self.W.shape[1:]) * prod(self.shape(*inputs))

    def cast(self, convert: Convert) -> Conv:
        """Convert W, b and magnitudes."""
        return replace(
            self,
            W=convert(self.W),
            b=None if self.b is None else convert(self.b),
            magnitude=None if self.magnitude is None else self.magnitude.cast(convert),
        )


def _window(A: np.ndarray) -> tuple[np.ndarray, Shape]:
    """The part of rows `[M, channels, *spatial]` outside which all are zero, and where it starts.

    Rows that start at neighbouring neurons see a small part of the image for the first few layers.
    """
    cut, first = [], []
    for axis in range(2, A.ndim):
        used = np.flatnonzero((A != 0).any(axis=tuple(i for i in range(A.ndim) if i != axis)))
        low, high = (int(used[0]), int(used[-1]) + 1) if len(used) else (0, 1)
        cut.append(slice(low, high))
        first.append(low)
    return A[(slice(None), slice(None), *cut)], tuple(first)
