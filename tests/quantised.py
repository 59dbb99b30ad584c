"""Networks, and what onnxruntime's own tools make of them in whole numbers."""

from __future__ import annotations

import logging
import tempfile
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

Weights = Sequence[tuple[np.ndarray, np.ndarray]]
"""Weights and bias of one layer after the other: matrices `[m, n]`, or kernels `[m, n, 3, 3]` of stride 1, then 2."""

HOWS = ("qdq", "qoperator", "dynamic")


def network(weights: Weights, shape: tuple[int, ...], opset: int = 17) -> Any:
    """Layers with rectifiers between them; convolutions come first."""
    nodes, constants, x, flat = [], [], "x", len(shape) == 1
    for k, (W, b) in enumerate(weights):
        constants += [numpy_helper.from_array(a.astype(np.float32), f"{n}{k}") for n, a in (("W", W), ("b", b))]
        last = k == len(weights) - 1
        y = "y" if last else f"z{k}"
        if W.ndim == 4:
            step = min(k + 1, 2)
            nodes.append(helper.make_node("Conv", [x, f"W{k}", f"b{k}"], [y], pads=[1] * 4, strides=[step] * 2))
        else:
            if not flat:
                nodes.append(helper.make_node("Flatten", [x], ["flat"]))
                x, flat = "flat", True
            nodes.append(helper.make_node("Gemm", [x, f"W{k}", f"b{k}"], [y], transB=1))
        if not last:
            nodes.append(helper.make_node("Relu", [y], [f"h{k}"]))
            x = f"h{k}"
    ends = [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in (("x", [1, *shape]), ("y", [1, len(b)]))]
    graph = helper.make_graph(nodes, "network", ends[:1], ends[1:], constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)


def quantised(model: Any, how: str, data: np.ndarray, per_channel: bool = False, signed: bool = False) -> Any:
    """The model in whole numbers: `qdq` or `qoperator` (calibrated on points `data` `[P, *shape]`), or `dynamic`.

    Args:
        signed: whether activations are signed (else they are from 0 to 255).
    """
    from onnxruntime import quantization as q

    class Points(q.CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._rest = iter(data.astype(np.float32))

        def get_next(self) -> dict[str, np.ndarray] | None:
            x = next(self._rest, None)
            return None if x is None else {"x": x[None]}

    logging.disable(logging.WARNING)
    try:
        with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            source, target = Path(folder) / "float.onnx", Path(folder) / "int.onnx"
            onnx.save(model, source)
            if how == "dynamic":
                q.quantize_dynamic(source, target, per_channel=per_channel, weight_type=q.QuantType.QInt8)
            else:
                q.quantize_static(
                    source, target, Points(), per_channel=per_channel,
                    quant_format=q.QuantFormat.QDQ if how == "qdq" else q.QuantFormat.QOperator,
                    activation_type=q.QuantType.QInt8 if signed else q.QuantType.QUInt8,
                    weight_type=q.QuantType.QInt8,
                )  # fmt: skip
            return onnx.load(target)
    finally:
        logging.disable(logging.NOTSET)


def random_weights(rng: np.random.Generator, sizes: Sequence[int]) -> Weights:
    """Of a network of such sizes."""
    pairs = zip(sizes, sizes[1:], strict=False)
    return [(rng.normal(size=(m, n)) * (2 / n) ** 0.5, rng.normal(size=m) * 0.1) for n, m in pairs]
