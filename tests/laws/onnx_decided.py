"""Cases of ONNX operators that are linear once positions are decided, of losses, transforms, and products in a row."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from hypothesis import strategies as st

from .onnx_models import Case, Draw, ints, numbers

Make = Callable[[Draw], Case]


def _rng(draw: Draw) -> np.random.Generator:
    return np.random.default_rng(draw(ints(0, 9999)))


def grid_sample(draw: Draw) -> Case:
    N, C, H, W = (draw(ints(1, k)) for k in (2, 2, 3, 3))
    m = Case([N, C, H, W], draw(st.sampled_from([16, 20])))
    modes = ["bilinear", "nearest", "bicubic"] if m.opset < 20 else ["linear", "nearest", "cubic"]
    grid = _rng(draw).uniform(-1.4, 1.4, (N, draw(ints(1, 3)), 2, 2))
    m.node("GridSample", "x", m.tensor(grid), mode=draw(st.sampled_from([None, *modes])),
           padding_mode=draw(st.sampled_from([None, "zeros", "border", "reflection"])),
           align_corners=draw(st.sampled_from([None, 1])))  # fmt: skip
    return m


def affine_grid(draw: Draw) -> Case:
    N, H, W = (draw(ints(1, 3)) for _ in range(3))
    m = Case([N, 2, 3], 20)
    m.node("AffineGrid", "x", m.tensor(np.array([N, 1, H, W])), align_corners=draw(st.sampled_from([None, 1])))
    return m


def col2im(draw: Draw) -> Case:
    image, block = [draw(ints(3, 5)) for _ in range(2)], [draw(ints(1, 3)) for _ in range(2)]
    a = {"strides": [draw(ints(1, 2)) for _ in range(2)], "pads": [draw(ints(0, 1)) for _ in range(4)]}
    steps = [(n + a["pads"][i] + a["pads"][i + 2] - k) // s + 1
             for i, (n, k, s) in enumerate(zip(image, block, a["strides"], strict=True))]  # fmt: skip
    m = Case([draw(ints(1, 2)), draw(ints(1, 2)) * int(np.prod(block)), int(np.prod(steps))], 18)
    m.node("Col2Im", "x", m.tensor(np.array(image)), m.tensor(np.array(block)), **a)
    return m


def deform_conv(draw: Draw) -> Case:
    N, C, K = draw(ints(1, 2)), 2, 2
    m = Case([N, C, 3, 3], 19)
    W = m.tensor(numbers(draw, [2, C, K, K]))
    offset = m.tensor(_rng(draw).uniform(-1, 1, (N, 2 * K * K, 2, 2)))
    more = [m.tensor(numbers(draw, [2])) if draw(st.booleans()) else ""]
    more += [m.tensor(_rng(draw).uniform(0, 1, (N, K * K, 2, 2)))] if draw(st.booleans()) else []
    m.node("DeformConv", "x", W, offset, *(more if any(more) else []), kernel_shape=[K, K], pads=[0] * 4)
    return m


def roi_align(draw: Draw) -> Case:
    m = Case([1, 2, 4, 4], 16)
    rng = _rng(draw)
    corners = np.sort(rng.uniform(0, 3.5, (2, 2, 2)), 1).reshape(2, 4)
    how = draw(st.sampled_from([None, "output_half_pixel"]))
    m.node("RoiAlign", "x", m.tensor(corners), m.tensor(np.array([0, 0])), output_height=2, output_width=2,
           sampling_ratio=2, coordinate_transformation_mode=how)  # fmt: skip
    return m


def max_unpool(draw: Draw) -> Case:
    m = Case([1, draw(ints(1, 2)), 2, 2], 11)
    C = int(m.shape[1])
    at = np.stack([_rng(draw).permutation(16)[:4].reshape(2, 2) + 16 * c for c in range(C)])[None]
    m.node("MaxUnpool", "x", m.tensor(at), kernel_shape=[2, 2], strides=[2, 2])
    return m


def center_crop_pad(draw: Draw) -> Case:
    m = Case([draw(ints(1, 5)), draw(ints(1, 5))], 18)
    axes = draw(st.sampled_from([None, [0], [1, 0], [-1]]))
    m.node("CenterCropPad", "x", m.tensor(np.array([draw(ints(1, 6)) for _ in axes or (0, 1)])), axes=axes)
    return m


def tensor_scatter(draw: Draw) -> Case:
    B, L, n, D = draw(ints(1, 2)), 4, draw(ints(1, 3)), 2
    m = Case([B, 1, L, D], 24)
    at = [m.tensor(np.array([draw(ints(0, L - n)) for _ in range(B)]))] if draw(st.booleans()) else []
    m.node("TensorScatter", "x", m.tensor(numbers(draw, [B, 1, n, D])), *at)
    return m


def _classes(draw: Draw, m: Case, shape: list[int], a: dict[str, Any]) -> list[str]:
    """Classes and perhaps weights; one class may be left out."""
    classes = _rng(draw).integers(0, shape[1], (shape[0], *shape[2:]))
    ignored = draw(st.sampled_from([None, 0, -1, 7]))
    if ignored is not None:
        a["ignore_index"] = ignored
        if ignored not in range(shape[1]):
            classes.reshape(-1)[0] = ignored
        classes.reshape(-1)[-1] = shape[1] - 1  # so that something counts
    weights = [m.tensor(abs(numbers(draw, [shape[1]])) + 0.1)] if draw(st.booleans()) else []
    return [m.tensor(classes), *weights]


def loss(op: str) -> Make:
    def case(draw: Draw) -> Case:
        shape = [draw(ints(2, 3)), draw(ints(2, 4)), *([2] * draw(ints(0, 2)))]
        m = Case(shape, 13)
        a: dict[str, Any] = {"reduction": draw(st.sampled_from([None, "none", "sum", "mean"]))}
        given = _classes(draw, m, shape, a)
        most = 2 if op == "SoftmaxCrossEntropyLoss" else 1
        m.outputs = m.node(op, "x", *given, outputs=draw(ints(1, most)), **a)
        return m

    return case


def cum_prod(draw: Draw) -> Case:
    m = Case([draw(ints(1, 3)), draw(ints(1, 4))], 26)
    m.node("CumProd", "x", m.tensor(np.array(draw(st.sampled_from([0, 1, -1])))),
           exclusive=draw(st.sampled_from([None, 1])), reverse=draw(st.sampled_from([None, 1])))  # fmt: skip
    return m


def det(draw: Draw) -> Case:
    n = draw(ints(1, 4))
    m = Case([*([2] * draw(ints(0, 2))), n, n])
    m.node("Det", "x")
    return m


def lp_pool(draw: Draw) -> Case:
    m = Case([draw(ints(1, 2)), 2, draw(ints(3, 5)), 4], draw(st.sampled_from([11, 18])))
    a: dict[str, Any] = {"kernel_shape": [2, draw(ints(1, 3))], "strides": [draw(ints(1, 2)), 1]}
    if draw(st.booleans()):
        a["pads"] = [0, draw(ints(0, 1)) if a["kernel_shape"][1] > 1 else 0, 1, 0]
    if m.opset >= 18:
        a["ceil_mode"] = draw(ints(0, 1))
        a["dilations"] = draw(st.sampled_from([None, [2, 1]]))
    m.node("LpPool", "x", p=draw(st.sampled_from([None, 1, 2, 3])), **a)
    return m


def dft(draw: Draw) -> Case:
    m = Case([draw(ints(1, 2)), draw(ints(1, 5)), draw(ints(1, 4)), draw(ints(1, 2))], draw(st.sampled_from([17, 20])))
    inverse = draw(st.booleans()) and m.shape[-1] == 2
    half = None if not inverse and m.shape[-1] == 2 else draw(st.sampled_from([None, 1]))
    axis = draw(st.sampled_from([1, 2]))
    size = draw(ints(1, 6))
    if inverse and half:  # what onnxruntime makes of other lengths stands nowhere
        m.shape[axis] = int(m.shape[axis]) + 1
        size = 2 * (int(m.shape[axis]) - 1) + draw(ints(0, 1))
    length = m.tensor(np.array(size)) if draw(st.booleans()) else ""
    if m.opset < 20:
        m.node("DFT", "x", *([length] if length else []), axis=axis, inverse=int(inverse), onesided=half)
    else:
        m.node("DFT", "x", length, m.tensor(np.array(axis)), inverse=int(inverse), onesided=half)
    return m


def stft(draw: Draw) -> Case:
    length = draw(ints(2, 4))
    m = Case([draw(ints(1, 2)), draw(ints(length, 7)), 1], 17)
    window = m.tensor(numbers(draw, [length])) if draw(st.booleans()) else ""
    given = [m.tensor(np.array(draw(ints(1, 3)))), window]
    given += [m.tensor(np.array(length))] if not window or draw(st.booleans()) else []
    m.node("STFT", "x", *given, onesided=draw(st.sampled_from([None, 0, 1])))
    return m


CASES: dict[str, Make] = {
    "AffineGrid": affine_grid,
    "CenterCropPad": center_crop_pad,
    "Col2Im": col2im,
    "CumProd": cum_prod,
    "DFT": dft,
    "DeformConv": deform_conv,
    "Det": det,
    "GridSample": grid_sample,
    "LpPool": lp_pool,
    "MaxUnpool": max_unpool,
    "NegativeLogLikelihoodLoss": loss("NegativeLogLikelihoodLoss"),
    "RoiAlign": roi_align,
    "STFT": stft,
    "SoftmaxCrossEntropyLoss": loss("SoftmaxCrossEntropyLoss"),
    "TensorScatter": tensor_scatter,
}
