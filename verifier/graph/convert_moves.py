"""ONNX operators that move entries, and those that only tell shapes."""

from __future__ import annotations

from math import prod

import numpy as np

from verifier.graph.convert import Call, Value
from verifier.graph.convert_affine import scale
from verifier.graph.ops.moves import Concat, Transpose

_OPEN = (2**31 - 1, 2**63 - 1)  # ends of slices that stand for "up to the last"


def identity(call: Call) -> int:
    """Identity."""
    return call.activation(0)


def dropout(call: Call) -> list[Value]:
    """Dropout in inference mode, which keeps everything."""
    if call.has(2) and bool(np.any(call.constant(2))):
        raise ValueError("Dropout in training mode")
    x = call.activation(0)
    return [x, np.ones(call.shape(x), bool)]


def shape_of(call: Call) -> np.ndarray:
    """Shape."""
    shape = call.shape(call.activation(0))
    return np.array(shape[slice(call.get("start", 0), call.get("end"))], np.int64)


def size_of(call: Call) -> np.ndarray:
    """Size."""
    return np.array(prod(call.shape(call.activation(0))), np.int64)


def flatten(call: Call) -> int:
    """Flatten."""
    x = call.activation(0)
    shape = call.shape(x)
    axis = call.get("axis", 1)
    if not -len(shape) <= axis <= len(shape):
        raise ValueError(f"axis {axis} of a tensor with {len(shape)} axes")
    axis = axis + len(shape) if axis < 0 else axis
    return call.reshape(x, (prod(shape[:axis]), prod(shape[axis:])))


def target_shape(shape: tuple[int, ...], target: tuple[int, ...], allowzero: bool) -> tuple[int, ...]:
    """The shape that Reshape makes of `shape`."""
    if any(d < -1 for d in target) or target.count(-1) > 1:
        raise ValueError(f"Reshape to {list(target)}")
    if not allowzero:
        if any(d == 0 and i >= len(shape) for i, d in enumerate(target)):
            raise ValueError(f"Reshape of {list(shape)} to {list(target)}")
        target = tuple(shape[i] if d == 0 else d for i, d in enumerate(target))
    known = prod(d for d in target if d != -1)
    if -1 in target:
        if known == 0 or prod(shape) % known:
            raise ValueError(f"Reshape of {list(shape)} to {list(target)}")
        target = tuple(prod(shape) // known if d == -1 else d for d in target)
    if prod(target) != prod(shape):
        raise ValueError(f"Reshape of {list(shape)} to {list(target)} (with batch size 1)")
    return target


def reshape(call: Call) -> int:
    """Reshape."""
    x = call.activation(0)
    target = call.integers(1, "shape")
    if target is None:
        raise ValueError("Reshape without a shape")
    return call.reshape(x, target_shape(call.shape(x), target, bool(call.get("allowzero", 0))))


def squeeze(call: Call) -> int:
    """Squeeze."""
    x = call.activation(0)
    shape = call.shape(x)
    axes = call.integers(1, "axes")
    drop = {i for i, d in enumerate(shape) if d == 1} if axes is None else {call.axis(a, len(shape)) for a in axes}
    if any(shape[i] != 1 for i in drop):
        raise ValueError(f"Squeeze of axes {sorted(drop)} of shape {list(shape)}")
    return call.reshape(x, [d for i, d in enumerate(shape) if i not in drop])


def unsqueeze(call: Call) -> int:
    """Unsqueeze."""
    x = call.activation(0)
    shape, axes = list(call.shape(x)), call.integers(1, "axes") or ()
    rank = len(shape) + len(axes)
    for a in sorted(call.axis(a, rank) for a in axes):
        shape.insert(a, 1)
    return call.reshape(x, shape)


def transpose(call: Call) -> int:
    """Transpose."""
    x = call.activation(0)
    axes = call.get("perm") or tuple(reversed(range(len(call.shape(x)))))
    return call.add(Transpose(axes), x)


def concat(call: Call) -> int:
    """Concat of activations and constants."""
    values = [v for v in call.inputs if v is not None]
    axis = call.axis(call.get("axis", 1), len(call.shape(values[0])))
    active = [v for v in values if isinstance(v, int)]
    Concat(axis).shape(*(call.shape(v) for v in values))
    y = call.add(Concat(axis), *active) if len(active) > 1 else active[0]
    if len(active) == len(values):
        return y
    where, at = [], 0  # leave room for the constants, then add them
    positions = call.positions(y)
    for v in values:
        n = call.shape(v)[axis]
        if isinstance(v, int):
            where.append(np.take(positions, np.arange(at, at + n), axis))
            at += n
        else:
            where.append(np.full(v.shape, -1, np.int64))
    fill = [np.zeros(call.shape(v)) if isinstance(v, int) else np.asarray(v, np.float64) for v in values]
    t = call.finite(np.concatenate(fill, axis), call.name)
    return scale(call, call.take(y, np.concatenate(where, axis)), None, t)


def slice_index(a: np.ndarray, call: Call) -> np.ndarray:
    """Slice of an array, its bounds taken from the call."""
    starts, ends = call.integers(1, "starts"), call.integers(2, "ends")
    if starts is None or ends is None:
        raise ValueError("Slice without starts and ends")
    axes = call.integers(3, "axes") or tuple(range(len(starts)))
    steps = call.integers(4) or (1,) * len(starts)
    cut = [slice(None)] * a.ndim
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        axis = call.axis(axis, a.ndim)
        n = a.shape[axis]
        if step == 0:
            raise ValueError("Slice with step 0")
        low, high = (0, n) if step > 0 else (-1, n - 1)  # ONNX clamps, then numpy must not wrap a -1 around
        start = min(max(start + n if start < 0 else start, 0), high)
        if step < 0 and end in _OPEN:  # what onnxruntime makes of it
            end = low
        else:
            end = min(max(end + n if end < 0 else end, low), high)
        cut[axis] = slice(start, None if end < 0 else end, step)
    return a[tuple(cut)]


def slice_(call: Call) -> int:
    """Slice."""
    x = call.activation(0)
    return call.take(x, slice_index(call.positions(x), call))


def gather(call: Call) -> int:
    """Gather with constant indices."""
    x = call.activation(0)
    axis = call.axis(call.get("axis", 0), len(call.shape(x)))
    index = call.constant(1).astype(np.int64)
    if index.size and not (-call.shape(x)[axis] <= index.min() and index.max() < call.shape(x)[axis]):
        raise ValueError(f"Gather outside an axis of {call.shape(x)[axis]} entries")
    return call.take(x, np.take(call.positions(x), index, axis))


def split(call: Call) -> list[Value]:
    """Split."""
    x = call.activation(0)
    positions = call.positions(x)
    axis = call.axis(call.get("axis", 0), positions.ndim)
    sizes = call.integers(1, "split")
    n, parts = positions.shape[axis], len(call.used)
    if sizes is None:  # the last part may be smaller
        step = -(-n // parts)
        sizes = tuple(max(0, min(step, n - i * step)) for i in range(parts))
    if len(sizes) != parts or sum(sizes) != n:
        raise ValueError(f"Split of {n} entries into {list(sizes)}")
    cuts = np.split(positions, np.cumsum(sizes)[:-1], axis)
    return [call.take(x, cut) if used else np.zeros(0) for cut, used in zip(cuts, call.used, strict=True)]


def pad(call: Call) -> int:
    """Pad with a constant, or by reflection or edge."""
    x = call.activation(0)
    mode, index = call.get("mode", "constant"), call.positions(x)
    pads = call.integers(1, "pads")
    if pads is None:
        raise ValueError("Pad without pads")
    axes = call.integers(3) or tuple(range(index.ndim))
    before, after = [0] * index.ndim, [0] * index.ndim
    for i, a in enumerate(axes):
        a = call.axis(a, index.ndim)
        before[a], after[a] = pads[i], pads[i + len(axes)]
    index = index[tuple(slice(max(0, -b), d - max(0, -a)) for b, a, d in zip(before, after, index.shape, strict=True))]
    width = [(max(0, b), max(0, a)) for b, a in zip(before, after, strict=True)]
    if mode in ("reflect", "edge", "wrap"):
        return call.take(x, np.pad(index, width, mode))
    if mode != "constant":
        raise ValueError(f"Pad with mode {mode}")
    index = np.pad(index, width, constant_values=-1)
    value = float(call.get("value", 0.0))
    if call.has(2):  # minus infinity may be left out by what reads it (`masks.unmasked`)
        value = float(np.asarray(call.constant(2), float).reshape(-1)[0])
        value = value if value == -np.inf else float(call.parameter(2).reshape(-1)[0])
    y = call.take(x, index)
    return y if value == 0.0 else scale(call, y, None, np.where(index < 0, value, 0.0))


def expand(call: Call) -> int:
    """Expand."""
    x = call.activation(0)
    return call.expand(x, np.broadcast_shapes(call.shape(x), call.integers(1) or ()))


def tile(call: Call) -> int:
    """Tile."""
    x = call.activation(0)
    return call.take(x, np.tile(call.positions(x), call.integers(1) or ()))


def depth_to_space(call: Call) -> int:
    """DepthToSpace."""
    x, b = call.activation(0), call.get("blocksize")
    N, C, H, W = call.shape(x)
    a = call.positions(x)
    if call.get("mode", "DCR") == "DCR":
        a = a.reshape(N, b, b, C // (b * b), H, W).transpose(0, 3, 4, 1, 5, 2)
    else:
        a = a.reshape(N, C // (b * b), b, b, H, W).transpose(0, 1, 4, 2, 5, 3)
    return call.take(x, a.reshape(N, C // (b * b), H * b, W * b))
