"""Resize and Upsample: linear along each axis, so onnxruntime's answer to unit vectors says which matrix it is."""

from __future__ import annotations

import numpy as np

from verifier.graph.convert import Call
from verifier.graph.convert_reduce import along
from verifier.graph.convert_trial import linear
from verifier.graph.fold import tried

_LARGE = 4096
"""Longest axis to be resized."""


def resize(call: Call) -> int:
    """Resize and Upsample, nearest (a choice of entries) or by linear and cubic interpolation (a matrix an axis)."""
    x = call.activation(0)
    shape = call.shape(x)
    cropped = call.get("coordinate_transformation_mode") == "tf_crop_and_resize"
    outside = cropped and call.get("extrapolation_value", 0.0) != 0.0
    if outside or call.get("keep_aspect_ratio_policy", "stretch") != "stretch":  # axes hang together
        return linear(call)
    for axis, n in enumerate(shape):
        W = _matrix(call, axis, len(shape), n)
        if W.shape == (n, n) and np.array_equal(W, np.eye(n)):
            continue
        if call.get("mode", "nearest") == "nearest" and ((W == 0) | (W == 1)).all() and (W.sum(1) <= 1).all():
            at = np.moveaxis(call.positions(x), axis, 0)
            index = np.where((W.any(1)).reshape(-1, *([1] * (at.ndim - 1))), at[W.argmax(1)], -1)
            x = call.take(x, np.moveaxis(index, 0, axis))
        else:
            x = along(call, x, axis, W, 4.0)  # weights are sums of up to four taps, of either sign
    return x


def _matrix(call: Call, axis: int, rank: int, n: int) -> np.ndarray:
    """What happens along one axis: `[m, n]`."""
    scales, sizes, roi = _given(call, rank)
    if (scales is not None and scales[axis] == 1.0 or sizes is not None and sizes[axis] == n) and roi is None:
        return np.eye(n)
    if n > _LARGE:
        raise ValueError(f"{call.op} of an axis of {n} entries")
    inputs: dict[int, np.ndarray] = {0: np.eye(n, dtype=np.float32).reshape(1, n, 1, n)}
    old = call.op == "Upsample" or call.opset < 11
    if roi is not None:
        inputs[1] = np.array([0, 0, 0, roi[axis], 1, 1, 1, roi[rank + axis]], np.float32)
    elif not old:
        inputs[1] = np.zeros(0, np.float32)
    if sizes is not None:
        if call.opset < 13:
            inputs[2] = np.zeros(0, np.float32)
        inputs[3] = np.array([1, n, 1, sizes[axis]], np.int64)
    else:
        assert scales is not None
        inputs[1 if old else 2] = np.array([1, 1, 1, scales[axis]], np.float32)
    attributes = {k: v for k, v in call.attributes.items() if k not in ("axes", "scales")}
    if "scales" in call.attributes:
        attributes["scales"] = [1.0, 1.0, 1.0, float(inputs.pop(1)[3])]
    (y,) = tried(Call(call.op, call.name, attributes, (), (), (True,), call.opset, call.builder), inputs)
    return y.reshape(n, -1).T.astype(np.float64)


def _given(call: Call, rank: int) -> tuple[np.ndarray | None, np.ndarray | None, np.ndarray | None]:
    """Scales, sizes and the region of interest, one for each axis."""
    at = 1 if call.op == "Upsample" or call.opset < 11 else 2
    scales = sizes = roi = None
    if "scales" in call.attributes:
        scales = np.array(call.get("scales"), np.float32)
    elif call.has(at) and call.constant(at).size:
        scales = call.constant(at)
    if scales is None:
        sizes = call.constant(3)
    if call.get("coordinate_transformation_mode") == "tf_crop_and_resize":
        roi = call.constant(1)
    axes = call.get("axes")
    if axes is not None:
        where = [call.axis(a, rank) for a in axes]
        if scales is not None:
            scales = _placed(np.ones(rank, np.float32), where, scales)
        elif sizes is not None:
            sizes = _placed(np.array(call.shape(call.activation(0))), where, sizes)
        if roi is not None:
            half = len(where)
            roi = np.concatenate(
                [_placed(np.zeros(rank), where, roi[:half]), _placed(np.ones(rank), where, roi[half:])]
            )
    return scales, sizes, roi


def _placed(a: np.ndarray, where: list[int], values: np.ndarray) -> np.ndarray:
    a[where] = values
    return a
