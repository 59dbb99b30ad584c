"""ONNX operators that slide a window: convolutions and pools."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from verifier.graph.convert import Call
from verifier.graph.convert_affine import is_exact_inverse, scale
from verifier.graph.convert_products import root, to_power
from verifier.graph.convert_reduce import largest
from verifier.graph.graph import Shape
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.pool import max_pool_windows


@dataclass(frozen=True)
class _Windows:
    """Where windows lie: one entry a spatial axis.  `pads` reach as far as the last window does."""

    kernel: Shape
    stride: Shape
    dilation: Shape
    pads: tuple[tuple[int, int], ...]
    declared: tuple[tuple[int, int], ...]
    out: Shape


def _windows(call: Call, spatial: Shape, kernel: Shape) -> _Windows:
    """Read strides, dilations, pads, auto_pad and ceil_mode."""
    r = len(spatial)
    stride, dilation = call.get("strides") or (1,) * r, call.get("dilations") or (1,) * r
    flat, auto = call.get("pads") or (0,) * (2 * r), call.get("auto_pad", "NOTSET")
    if len(kernel) != r or len(stride) != r or len(dilation) != r or len(flat) != 2 * r:
        raise ValueError(f"{call.op} attributes for {len(kernel)} axes on {r} spatial axes")
    if min((*kernel, *stride, *dilation)) < 1 or min(flat, default=0) < 0:
        raise ValueError(f"{call.op} with negative pads or sizes below 1")
    pads, out, declared = [], [], []
    for i, (n, k, t, d) in enumerate(zip(spatial, kernel, stride, dilation, strict=True)):
        reach = d * (k - 1) + 1
        before, after = flat[i], flat[i + r]
        if auto == "VALID":
            before = after = 0
        elif auto in ("SAME_UPPER", "SAME_LOWER"):
            need = (-(-n // t) - 1) * t + reach - n
            if need < 0 and call.op != "Conv":  # onnxruntime then cuts the input, or fails, depending on the rest
                raise ValueError(f"auto_pad {auto} with windows that leave gaps")
            need = max(need, 0)
            before = need // 2 if auto == "SAME_UPPER" else need - need // 2
            after = need - before
        elif auto not in ("NOTSET", ""):
            raise ValueError(f"auto_pad {auto}")
        size = (n + before + after - reach) // t + 1
        declared.append((before, after))
        if call.get("ceil_mode", 0):
            size = -(-(n + before + after - reach) // t) + 1
            size -= (size - 1) * t >= n + before  # no window may start in the padding behind
            after = max(after, (size - 1) * t + reach - n - before)
        if size < 1:
            raise ValueError(f"{call.op} with a window larger than its input {list(spatial)}")
        pads.append((before, after))
        out.append(size)
    return _Windows(kernel, stride, dilation, tuple(pads), tuple(declared), tuple(out))


def conv(call: Call) -> int:
    """Conv."""
    x, W = call.activation(0), call.parameter(1)
    N, C, *spatial = call.shape(x)
    groups = call.get("group", 1)
    at = _windows(call, tuple(spatial), tuple(W.shape[2:]))
    if call.get("kernel_shape") not in (None, tuple(W.shape[2:])):
        raise ValueError(f"kernel_shape {list(call.get('kernel_shape'))} for weights of shape {list(W.shape)}")
    if C != groups * W.shape[1] or W.shape[0] % groups:
        raise ValueError(f"weights of shape {list(W.shape)} (groups {groups}) for input {list(call.shape(x))}")
    b = call.parameter(2) if call.has(2) else None
    if N > 1:  # samples side by side are groups of channels
        W, b = np.tile(W, (N, *([1] * (W.ndim - 1)))), None if b is None else np.tile(b, N)
    y = call.add(Conv(W, b, at.stride, at.pads, at.dilation, groups * N), call.reshape(x, (N * C, *spatial)))
    return call.reshape(y, (N, call.shape(y)[0] // N, *call.shape(y)[1:]))


def average_pool(call: Call) -> int:
    """AveragePool: sums by a convolution with ones, divided by how many entries each window counts."""
    x = call.activation(0)
    N, C, *spatial = call.shape(x)
    at = _windows(call, tuple(spatial), call.get("kernel_shape"))
    y = call.reshape(x, (N * C, *spatial))
    y = call.add(Conv(np.ones((N * C, 1, *at.kernel)), None, at.stride, at.pads, at.dilation, N * C), y)
    count = np.ones((1,) * len(spatial))
    for i, n in enumerate(spatial):
        where = np.arange(at.out[i])[:, None] * at.stride[i] + np.arange(at.kernel[i]) * at.dilation[i]
        before, after = at.declared[i]
        low, high = (0, n + before + after) if call.get("count_include_pad", 0) else (before, n + before)
        c = ((where >= low) & (where < high)).sum(1).astype(np.float64)
        count = count * (c[:1] if (c == c[0]).all() else c).reshape([-1 if j == i else 1 for j in range(len(spatial))])
    if (count == 0).any():
        raise ValueError("a pooling window lies wholly in the padding")
    y = scale(call, y, 1.0 / count, None, rounded=not is_exact_inverse(count))
    return call.reshape(y, (N, C, *at.out))


def lp_pool(call: Call) -> int:
    """LpPool: norms of what stands in the windows."""
    x, p = call.activation(0), call.get("p", 2)
    N, C, *spatial = call.shape(x)
    at = _windows(call, tuple(spatial), call.get("kernel_shape"))
    y = call.reshape(to_power(call, x, p), (N * C, *spatial))
    y = call.add(Conv(np.ones((N * C, 1, *at.kernel)), None, at.stride, at.pads, at.dilation, N * C), y)
    return call.reshape(root(call, y, p), (N, C, *at.out))


def max_pool(call: Call) -> int:
    """MaxPool."""
    call.only_first_output()
    x = call.activation(0)
    N, C, *spatial = call.shape(x)
    at = _windows(call, tuple(spatial), call.get("kernel_shape"))
    windows, size = max_pool_windows((N * C, *spatial), at.kernel, at.stride, at.pads, at.dilation)
    y = largest(call, windows, size, call.reshape(x, (N * C, *spatial)))
    return call.reshape(y, (N, C, *at.out))


def global_max_pool(call: Call) -> int:
    """GlobalMaxPool."""
    x = call.activation(0)
    N, C, *spatial = call.shape(x)
    windows = np.arange(prod(call.shape(x))).reshape(N * C, -1)
    return largest(call, windows, (N, C, *([1] * len(spatial))), x)
