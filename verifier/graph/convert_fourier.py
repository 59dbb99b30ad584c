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
    inverse, half = bool(call.get("inverse", 0)), bool(call.get("onesided", 0))
    back = inverse and half
    length = 2 * (shape[axis] - 1) if back else shape[axis]
    if call.has(1) and call.constant(1).size:
        length = int(call.constant(1).reshape(()))
    order = (*(i for i in range(rank - 1) if i != axis), axis, rank - 1)
    moved = call.add(Transpose(order), x)
    y = returned(call, moved, length) if back else transformed(call, moved, length, inverse, half)
    return call.add(Transpose(tuple(int(i) for i in np.argsort(order))), y)


def transformed(call: Call, x: int, length: int, inverse: bool = False, half: bool = False) -> int:
    """The transform of `[..., n, parts]`, cut or filled up with zeros to a length, as `[..., k, 2]`."""
    *lead, n, parts = call.shape(x)
    kept = min(n, length)
    turns, c, s = _waves(call, length, length // 2 + 1 if half else length, kept)
    s = s if inverse else -s
    W = np.zeros((turns, 2, n, parts))
    W[:, 0, :kept, 0], W[:, 1, :kept, 0] = c, s
    if parts == 2:
        W[:, 0, :kept, 1], W[:, 1, :kept, 1] = -s, c
    W = W.reshape(2 * turns, n * parts) / (length if inverse else 1)
    return call.reshape(_applied(call, W, x), (*lead, turns, 2))


def returned(call: Call, x: int, length: int) -> int:
    """The real numbers `[..., length, 1]` whose transform begins with `[..., n, 2]`."""
    *lead, n, parts = call.shape(x)
    if parts != 2:
        raise ValueError(f"an inverse {call.op} of real numbers that is onesided")
    if n != length // 2 + 1:
        raise ValueError(f"an inverse {call.op} to {length} real numbers of {n} that stand for {length // 2 + 1}")
    _, c, s = _waves(call, length, length, n)
    both = np.where((np.arange(n) == 0) | (2 * np.arange(n) == length), 1.0, 2.0) / length
    W = np.stack([c * both, -s * both], -1)
    return call.reshape(_applied(call, W.reshape(length, 2 * n), x), (*lead, length, 1))


def _waves(call: Call, length: int, m: int, n: int) -> tuple[int, np.ndarray, np.ndarray]:
    """m, and cosine and sine of `2π·j·k/length` for j below m and k below n."""
    if not 0 < length <= _LENGTH:
        raise ValueError(f"{call.op} of length {length}")
    angle = (np.outer(np.arange(m), np.arange(n)) % length) * (2 * np.pi / length)
    return m, np.cos(angle), np.sin(angle)


def _applied(call: Call, W: np.ndarray, x: int) -> int:
    """A matrix of waves on the last two axes; a cosine is off by what rounding does to one."""
    *lead, n, parts = call.shape(x)
    size = np.full(W.shape, 8.0 * float(abs(W).max(initial=0.0)))
    return call.add(Dense(W, None, Dense(size)), call.reshape(x, (*lead, n * parts)))


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
