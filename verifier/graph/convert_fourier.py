"""Fourier transforms of decided length: a matrix along an axis."""

from __future__ import annotations

from math import prod

import numpy as np

from verifier.graph.convert import Call
from verifier.graph.convert_affine import scale
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.moves import Transpose

_LENGTH = 4096
"""Longest transform."""


def dft(call: Call) -> int:
    """DFT along an axis; the last axis holds real and imaginary parts, or real parts alone."""
    x = call.activation(0)
    shape = call.shape(x)
    rank = len(shape)
    axis = call.get("axis", 1) if call.opset < 20 else int(call.integers(2)[0]) if call.has(2) else -2  # type: ignore[index]
    axis = call.axis(axis, rank)
    if axis == rank - 1 or shape[-1] not in (1, 2):
        raise ValueError(f"DFT along axis {axis} of shape {list(shape)}")
    length = int(call.constant(1).reshape(())) if call.has(1) and call.constant(1).size else shape[axis]
    inverse, half = bool(call.get("inverse", 0)), bool(call.get("onesided", 0))
    if inverse and half:
        raise ValueError("an inverse DFT that is onesided")
    order = (*(i for i in range(rank - 1) if i != axis), axis, rank - 1)
    moved = call.add(Transpose(order), x)
    y = transformed(call, moved, length, inverse, half)
    return call.add(Transpose(tuple(int(i) for i in np.argsort(order))), y)


def transformed(call: Call, x: int, length: int, inverse: bool = False, half: bool = False) -> int:
    """The transform of `[..., n, parts]`, cut or filled up with zeros to a length, as `[..., k, 2]`."""
    *lead, n, parts = call.shape(x)
    if not 0 < length <= _LENGTH:
        raise ValueError(f"{call.op} of length {length}")
    kept = min(n, length)
    turns = np.outer(np.arange(length // 2 + 1 if half else length), np.arange(kept)) % length
    angle = turns * (2 * np.pi / length)
    c, s = np.cos(angle), (1 if inverse else -1) * np.sin(angle)
    W = np.zeros((len(turns), 2, n, parts))
    W[:, 0, :kept, 0], W[:, 1, :kept, 0] = c, s
    if parts == 2:
        W[:, 0, :kept, 1], W[:, 1, :kept, 1] = -s, c
    W = W.reshape(2 * len(turns), n * parts) / (length if inverse else 1)
    size = np.full(W.shape, 8.0 / (length if inverse else 1))  # a cosine is off by what rounding does to one
    y = call.add(Dense(W, None, Dense(size)), call.reshape(x, (*lead, n * parts)))
    return call.reshape(y, (*lead, len(turns), 2))


def stft(call: Call) -> int:
    """STFT: the transforms of windows that follow each other."""
    x = call.activation(0)
    shape = call.shape(x)
    signal = shape if len(shape) == 3 else (*shape, 1)
    if len(signal) != 3 or signal[2] not in (1, 2):
        raise ValueError(f"STFT of shape {list(shape)}")
    window = call.parameter(2) if call.has(2) else None
    if call.has(3):
        length = int(call.constant(3).reshape(()))
    elif window is not None:
        length = window.size
    else:
        raise ValueError("STFT without a length of frames")
    step = int(call.constant(1).reshape(()))
    if step < 1 or not 0 < length <= signal[1] or (window is not None and window.shape != (length,)):
        raise ValueError(f"STFT of {signal[1]} entries in frames of {length}, {step} apart")
    starts = np.arange((signal[1] - length) // step + 1) * step
    at = np.arange(prod(signal)).reshape(signal)
    y = call.take(x, at[:, starts[:, None] + np.arange(length)])  # (batch, frames, length, parts)
    y = y if window is None else scale(call, y, window[:, None], None)
    return transformed(call, y, length, half=bool(call.get("onesided", 1)))
