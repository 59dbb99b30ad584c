"""Maximum over windows."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from verifier.graph.graph import Convert, Operator, Shape
from verifier.values.arrays import Array, namespace


@dataclass(frozen=True, eq=False)
class MaxOf(Operator):
    """Entry k of the result is the largest of the entries `windows[k]` of the flattened input.

    MaxPool of any kernel, stride, padding and dilation is of this kind: a window that reaches into the padding (minus
    infinity in ONNX) repeats one of its own entries instead, which changes nothing.

    Attributes:
        windows: `[prod(size), w]` positions in the flattened input.
        size: shape of the result.
    """

    windows: Array
    size: Shape

    exact = True

    def shape(self, *inputs: Shape) -> Shape:
        """The given size."""
        if int(self.windows.shape[0]) != prod(self.size):
            raise ValueError(f"{int(self.windows.shape[0])} windows for shape {list(self.size)}")
        return self.size

    def evaluate(self, *x: Array) -> Array:
        """The maxima."""
        flat = x[0].reshape(x[0].shape[0], -1)
        y = flat[:, self.windows[:, 0]]
        for k in range(1, self.windows.shape[1]):
            y = namespace(y).maximum(y, flat[:, self.windows[:, k]])
        return y.reshape(x[0].shape[0], *self.size)

    def cast(self, convert: Convert) -> MaxOf:
        """Convert the windows (integers stay integers)."""
        return MaxOf(convert(self.windows), self.size)


def max_pool_windows(
    shape: Shape,
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    pads: tuple[tuple[int, int], ...],
    dilation: tuple[int, ...],
) -> tuple[np.ndarray, Shape]:
    """Windows of a max pool over `[C, *spatial]` and the result's shape; pads may differ before and after.

    Raises:
        ValueError: when a window lies in the padding altogether.
    """
    C, spatial = shape[0], shape[1:]
    axes, out = [], []
    for n, k, t, p, d in zip(spatial, kernel, stride, pads, dilation, strict=True):
        size = (n + p[0] + p[1] - d * (k - 1) - 1) // t + 1
        at = np.arange(size)[:, None] * t + np.arange(k)[None, :] * d - p[0]  # [size, k] positions, maybe outside
        inside = (at >= 0) & (at < n)
        if not inside.any(1).all():
            raise ValueError("a pooling window lies wholly in the padding")
        own = np.take_along_axis(at, inside.argmax(1)[:, None], 1)  # the first position inside
        axes.append(np.where(inside, at, own))
        out.append(size)
    index = np.zeros((1, 1), np.int64)
    for n, at in zip(spatial, axes, strict=True):  # combine axis by axis: [positions, window]
        index = (index[:, None, :, None] * n + at[None, :, None, :]).reshape(len(index) * len(at), -1)
    channels = np.arange(C)[:, None, None] * prod(spatial)
    return (channels + index[None]).reshape(C * len(index), -1), (C, *out)
