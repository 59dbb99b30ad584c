"""Operators of the domain com.microsoft: what onnxruntime's optimiser writes in the place of several standard ones."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.graph import convert_products as products
from verifier.graph.convert import Call, Value
from verifier.graph.convert_affine import scale
from verifier.graph.convert_curves import activation
from verifier.graph.convert_norms import added
from verifier.graph.convert_windows import conv
from verifier.graph.ops.moves import Transpose


def fused_gemm(call: Call) -> int:
    """FusedGemm: a Gemm and an activation function."""
    return _activated(call, products.gemm(call), call.get("activation_alpha"), call.get("activation_beta"))


def fused_conv(call: Call) -> int:
    """FusedConv: a Conv, a sum with a fourth input and an activation function."""
    y = conv(replace(call, inputs=call.inputs[:3], op="Conv"))
    y = added(call, y, 3) if call.has(3) else y
    return _activated(call, y, *(*(call.get("activation_params") or ()), None, None)[:2])


def _activated(call: Call, y: int, a: float | None, b: float | None) -> int:
    name = call.get("activation", "")
    return activation(call, name, y, a, b) if name else y


def fused_matmul(call: Call) -> int:
    """FusedMatMul: matrices transposed first, the product scaled."""
    if call.get("transBatchA", 0) or call.get("transBatchB", 0):
        raise ValueError("FusedMatMul that transposes batches")
    sides = [_flipped(call, i) if call.get(name, 0) else call.inputs[i] for i, name in ((0, "transA"), (1, "transB"))]
    y = products.matmul(replace(call, inputs=tuple(sides)))
    alpha = call.real("alpha", 1.0)
    return y if alpha == 1.0 else scale(call, y, np.array(alpha), None)


def _flipped(call: Call, i: int) -> Value:
    if call.is_constant(i):
        return call.constant(i).swapaxes(-1, -2)
    x = call.activation(i)
    r = len(call.shape(x))
    return call.add(Transpose((*range(r - 2), r - 1, r - 2)), x)
