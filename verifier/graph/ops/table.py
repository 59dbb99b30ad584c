"""Which ONNX operators can be read, and how: one row each."""

from __future__ import annotations

from verifier.graph import convert_affine as affine
from verifier.graph import convert_kinks as kinks
from verifier.graph import convert_moves as moves
from verifier.graph import convert_windows as windows
from verifier.graph.convert import Converter

CONVERTERS: dict[str, Converter] = {
    "Add": affine.add,
    "AveragePool": windows.average_pool,
    "BatchNormalization": affine.batch_normalization,
    "Cast": moves.cast,
    "Clip": kinks.clip,
    "Concat": moves.concat,
    "Conv": windows.conv,
    "DepthToSpace": moves.depth_to_space,
    "Div": affine.div,
    "Dropout": moves.dropout,
    "Expand": moves.expand,
    "Flatten": moves.flatten,
    "Gather": moves.gather,
    "Gemm": affine.gemm,
    "GlobalAveragePool": affine.global_average_pool,
    "GlobalMaxPool": windows.global_max_pool,
    "Identity": moves.identity,
    "LeakyRelu": kinks.leaky_relu,
    "MatMul": affine.matmul,
    "Max": kinks.maximum,
    "MaxPool": windows.max_pool,
    "Min": kinks.minimum,
    "Mul": affine.mul,
    "Neg": affine.neg,
    "PRelu": kinks.prelu,
    "Pad": moves.pad,
    "ReduceMean": affine.reduce_mean,
    "ReduceSum": affine.reduce_sum,
    "Relu": kinks.relu,
    "Reshape": moves.reshape,
    "Shape": moves.shape_of,
    "Size": moves.size_of,
    "Slice": moves.slice_,
    "Split": moves.split,
    "Squeeze": moves.squeeze,
    "Sub": affine.sub,
    "Sum": affine.sum_all,
    "Tile": moves.tile,
    "Transpose": moves.transpose,
    "Unsqueeze": moves.unsqueeze,
}

FOLDED = ("Constant", "ConstantOfShape")
"""Operators that are always constant."""


def supported() -> tuple[str, ...]:
    """Names of the ONNX operators that can be read where they meet activations; of constants, any can."""
    return tuple(sorted((*CONVERTERS, *FOLDED)))
