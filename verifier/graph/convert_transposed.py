"""ConvTranspose, as a convolution of the input with zeros between its entries."""

from __future__ import annotations

import numpy as np

from verifier.graph.convert import Call
from verifier.graph.ops.conv import Conv


def conv_transpose(call: Call) -> int:
    """ConvTranspose."""
    x, W = call.activation(0), call.parameter(1)
    N, C, *spatial = call.shape(x)
    groups, r = call.get("group", 1), len(spatial)
    kernel = W.shape[2:]
    if W.shape[0] != C or C % groups or W.ndim != r + 2:
        raise ValueError(f"weights of shape {list(W.shape)} (groups {groups}) for input {list(call.shape(x))}")
    stride, dilation = call.get("strides") or (1,) * r, call.get("dilations") or (1,) * r
    extra = call.get("output_padding") or (0,) * r
    cuts = _pads(call, tuple(spatial), tuple(kernel), stride, dilation, extra)
    index = call.positions(x)
    for i, (n, k, t, d) in enumerate(zip(spatial, kernel, stride, dilation, strict=True)):
        axis, reach = i + 2, d * (k - 1)
        stuffed = np.full((*index.shape[:axis], (n - 1) * t + 1, *index.shape[axis + 1 :]), -1, np.int64)
        stuffed[(slice(None),) * axis + (slice(None, None, t),)] = index
        before, after = reach - cuts[i][0], reach - cuts[i][1] + extra[i]
        size = stuffed.shape[axis]
        cut = slice(max(0, -before), size - max(0, -after))
        width = [(0, 0)] * index.ndim
        width[axis] = (max(0, before), max(0, after))
        index = np.pad(stuffed[(slice(None),) * axis + (cut,)], width, constant_values=-1)
    if min(index.shape[2:]) < 1:
        raise ValueError("ConvTranspose with an empty result")
    # [groups, in, out, *kernel] -> [out channels, in, *kernel], turned round.
    W = W.reshape(groups, C // groups, *W.shape[1:]).swapaxes(1, 2).reshape(-1, C // groups, *kernel)
    W = np.flip(W, tuple(range(2, W.ndim)))
    b = call.parameter(2) if call.has(2) else None
    if N > 1:  # samples side by side are groups of channels
        W, b = np.tile(W, (N, *([1] * (W.ndim - 1)))), None if b is None else np.tile(b, N)
    ones = (1,) * r
    conv = Conv(np.ascontiguousarray(W), b, ones, ((0, 0),) * r, tuple(dilation), groups * N)
    y = call.add(conv, call.reshape(call.take(x, index), (N * C, *index.shape[2:])))
    return call.reshape(y, (N, call.shape(y)[0] // N, *call.shape(y)[1:]))


def _pads(
    call: Call,
    spatial: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    dilation: tuple[int, ...],
    extra: tuple[int, ...],
) -> list[tuple[int, int]]:
    """How much of the full result is cut off before and after, an axis."""
    r = len(spatial)
    flat, auto, shape = call.get("pads") or (0,) * (2 * r), call.get("auto_pad", "NOTSET"), call.get("output_shape")
    if shape is None and auto in ("NOTSET", ""):
        return [(flat[i], flat[i + r]) for i in range(r)]
    if shape is None and auto == "VALID":
        return [(0, 0)] * r
    cuts = []
    for i, (n, k, t, d, e) in enumerate(zip(spatial, kernel, stride, dilation, extra, strict=True)):
        out = n * t if shape is None else shape[len(shape) - r + i]
        total = t * (n - 1) + e + d * (k - 1) + 1 - out
        if total < 0:  # asked for more than there is: zeros behind it; `SAME` is content with what there is
            cuts.append((0, 0 if shape is None else total))
            continue
        small = total // 2
        cuts.append((small, total - small) if auto == "SAME_UPPER" else (total - small, small))
    return cuts
