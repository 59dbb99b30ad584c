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
    second = call.get("activation_beta", call.get("activation_gamma"))
    return _activated(call, products.gemm(call), call.get("activation_alpha"), second)


def fused_conv(call: Call) -> int:
    """FusedConv: a Conv, a sum with a fourth input and an activation function."""
    y = conv(replace(call, inputs=call.inputs[:3], op="Conv"))
    y = added(call, y, 3) if call.has(3) else y
    return _activated(call, y, *(*(call.get("activation_params") or ()), None, None)[:2])


def _activated(call: Call, y: int, a: float | None, b: float | None) -> int:
    name = call.get("activation", "")
    return activation(call, name, y, a, b) if name else y


def fused_matmul(call: Call) -> int:
    """FusedMatMul: first axes moved behind the other batch axes, matrices transposed, the product scaled."""
    how = [(call.get(f"transBatch{side}", 0), call.get(f"trans{side}", 0)) for side in "AB"]
    y = products.matmul(replace(call, inputs=tuple(_moved(call, i, *each) for i, each in enumerate(how))))
    alpha = call.real("alpha", 1.0)
    return y if alpha == 1.0 else scale(call, y, np.array(alpha), None)


def _moved(call: Call, i: int, batch: int, last: int) -> Value:
    """Input `i`, its first axis moved behind the other batch axes (batch) and its last two axes swapped (last)."""
    v = call.constant(i) if call.is_constant(i) else call.activation(i)
    rank = len(call.shape(v))
    order = (*range(1, rank - 1), 0, rank - 1) if batch else tuple(range(rank))
    order = (*order[:-2], order[-1], order[-2]) if last else order
    if order == tuple(range(rank)):
        return v
    return call.add(Transpose(order), v) if isinstance(v, int) else v.transpose(order)
