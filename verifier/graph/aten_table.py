"""Which ATen operators can be read, and how: one row a family."""

from __future__ import annotations

from math import log

import torch

from verifier.graph import aten, aten_curves, aten_layers, aten_order, aten_products, aten_windows
from verifier.graph.aten_call import Rule


def _rows(names: str, rule: Rule) -> dict[str, Rule]:
    return dict.fromkeys(names.split(), rule)


_curve, _compare = aten_curves.curve, aten_curves.compare

TABLE: dict[str, Rule] = {
    **_rows("clone detach alias contiguous lift_fresh_copy", aten.identity),
    **_rows("_to_copy to", aten_curves.converted),
    **_rows("view _unsafe_view reshape flatten unflatten unsqueeze squeeze slice select narrow", aten.move),
    **_rows("index index_select gather take tril triu rot90 unsafe_split unsafe_chunk", aten.move),
    **_rows("slice_scatter select_scatter diagonal_scatter scatter index_put index_fill", aten_order.placed),
    **_rows("copy fill", aten_order.copied),
    **_rows("split split_with_sizes chunk unbind expand repeat flip roll movedim", aten.move),
    **_rows(
        "pixel_shuffle pixel_unshuffle channel_shuffle pad constant_pad_nd diagonal repeat_interleave unfold im2col",
        aten.move,
    ),
    **_rows("upsample_nearest1d upsample_nearest2d upsample_nearest3d", aten_windows.nearest),
    **_rows("permute transpose t numpy_T mT", aten.permute),
    **_rows("cat", aten.cat),
    **_rows("stack", aten.stack),
    **_rows("add", aten.add),
    **_rows("sub", aten.sub),
    **_rows("rsub", aten.rsub),
    **_rows("neg", aten.neg),
    **_rows("mul", aten_products.mul),
    **_rows("div floor_divide", aten_curves.quotient_rounded),
    **_rows("remainder", aten_curves.remainder("floor")),
    **_rows("fmod", aten_curves.remainder("trunc")),
    **_rows("addcmul addcdiv lerp", aten_curves.blended),
    **_rows("logaddexp", aten_curves.log_add_exp),
    **_rows("sum mean", aten.reduce),
    **_rows("linear", aten_products.linear),
    **_rows("addmm", aten_products.addmm),
    **_rows("baddbmm", aten_layers.batched_sum),
    **_rows("mm matmul bmm", aten_products.matmul),
    **_rows("einsum", aten_layers.einsum),
    **_rows("conv1d conv2d conv3d", aten_windows.conv),
    **_rows("conv_transpose1d conv_transpose2d conv_transpose3d", aten_windows.conv_transpose),
    **_rows("upsample_linear1d upsample_bilinear2d upsample_bicubic2d upsample_trilinear3d", aten_windows.resized),
    **_rows("_native_batch_norm_legit_no_training", aten_windows.batch_norm),
    **_rows("max_pool1d max_pool2d max_pool3d max_pool2d_with_indices", aten_windows.max_pool),
    **_rows("avg_pool1d avg_pool2d avg_pool3d", aten_windows.avg_pool),
    **_rows("adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d", aten_windows.adaptive_avg_pool),
    **_rows("adaptive_max_pool1d adaptive_max_pool2d adaptive_max_pool3d", aten_windows.adaptive_max_pool),
    **_rows("relu leaky_relu", aten_curves.relu),
    **_rows("hardtanh clamp clamp_min clamp_max", aten_curves.clamp),
    **_rows("relu6", lambda c: aten_curves.between(c, 0.0, 6.0)),
    **_rows("prelu", aten_curves.prelu),
    **_rows("abs", aten_curves.absolute),
    **_rows("maximum", aten_curves.extreme_of(1)),
    **_rows("minimum", aten_curves.extreme_of(-1)),
    **{k: _curve(k) for k in ("sigmoid", "tanh", "atan", "erf", "exp", "log", "sin", "cos", "tan", "mish", "silu")},
    **_rows("hardswish", _curve("hard_swish")),
    **_rows("square", _curve("square")),
    **_rows("sqrt", _curve("power", 0.5)),
    **_rows("rsqrt", _curve("power", -0.5)),
    **_rows("reciprocal", _curve("power", -1.0)),
    **_rows("expm1", _curve("exp", shift=-1.0)),
    **_rows("exp2", _curve("exp", inner=log(2.0))),
    **_rows("log2", _curve("log", factor=1.0 / log(2.0))),
    **_rows("log10", _curve("log", factor=1.0 / log(10.0))),
    **{k: _curve(k) for k in ("asin", "asinh", "acosh", "atanh", "sinh", "cosh")},
    **_rows("acos", aten_curves.acos),
    **_rows("elu selu celu", aten_curves.elu),
    **_rows("gelu", aten_curves.gelu),
    **_rows("softplus", aten_curves.softplus),
    **_rows("log_sigmoid", aten_curves.log_sigmoid),
    **_rows("hardsigmoid", aten_curves.hard_sigmoid),
    **_rows("threshold", aten_curves.threshold),
    **_rows("pow", aten_curves.power),
    **{k: aten_curves.step(k) for k in ("sign", "floor", "ceil", "round")},
    **_rows("trunc", aten_curves.truncate),
    **_rows("gt", _compare("positive")),
    **_rows("ge", _compare("not_negative")),
    **_rows("lt", _compare("positive", turned=True)),
    **_rows("le", _compare("not_negative", turned=True)),
    **_rows("eq", _compare("zero")),
    **_rows("ne", _compare("zero", opposite=True)),
    **{f"{p}_{k}": aten_curves.logical(k) for p in ("logical", "bitwise") for k in ("and", "or", "xor", "not")},
    **{f"__{k}__": aten_curves.logical(k) for k in ("and", "or", "xor")},
    **_rows("heaviside", aten_curves.heaviside),
    **_rows("isnan isinf", aten_curves.defined(0.0)),
    **_rows("isfinite", aten_curves.defined(1.0)),
    **_rows("nan_to_num", aten_curves.numbers),
    **_rows("sort", aten_order.sort),
    **_rows("topk", aten_order.top),
    **_rows("kthvalue", aten_order.kth),
    **_rows("median", aten_order.median),
    **_rows("argmax", aten_order.arg_extreme(1)),
    **_rows("argmin", aten_order.arg_extreme(-1)),
    **_rows("one_hot", aten_order.one_hot),
    **_rows("prod", aten_order.product_over),
    **_rows("where", aten_curves.where),
    **_rows("masked_fill", aten_curves.masked_fill),
    **_rows("softmax _softmax log_softmax _log_softmax", aten_layers.softmax),
    **_rows("cumsum", aten_layers.cumulative_sum),
    **_rows("glu", aten_layers.glu),
    **_rows("amax max any", aten_layers.extreme_over(1)),
    **_rows("amin min all", aten_layers.extreme_over(-1)),
    **_rows("linalg_vector_norm", aten_layers.norm_over),
    **_rows("logsumexp", aten_layers.log_sum_exp),
    **_rows("var std", aten_layers.variance),
    **_rows("layer_norm rms_norm", aten_layers.layer_norm),
    **_rows("group_norm instance_norm", aten_layers.group_norm),
    **_rows("scaled_dot_product_attention", aten_layers.attention),
    **_rows("lstm gru rnn_tanh rnn_relu", aten_layers.recurrent),
    **_rows("lstm_cell gru_cell rnn_tanh_cell rnn_relu_cell", aten_layers.cell),
    **_rows("dropout native_dropout bernoulli rand_like randn_like rrelu_with_noise", aten_curves.random),
    **_rows("_native_batch_norm_legit _native_batch_norm_legit_functional", aten_curves.of_the_batch),
}
"""The rule of each operator, by its name without overload."""

_LOGIC = frozenset(f"{p}_{k}" for p in ("logical", "bitwise") for k in ("and", "or", "xor", "not")) | frozenset(
    ("__and__", "__or__", "__xor__", "any", "all")
)
_TRUTH = _LOGIC | frozenset(
    "clone detach alias contiguous lift_fresh_copy _to_copy to view _unsafe_view reshape flatten unflatten unsqueeze "
    "squeeze slice select narrow index index_select tril triu split split_with_sizes chunk unbind expand repeat flip "
    "roll movedim diagonal repeat_interleave permute transpose t numpy_T mT cat stack mul maximum minimum gt ge lt le "
    "eq ne where amax max amin min isnan isinf isfinite gather".split()
)
"""Operators whose rules, on the numbers 0 and 1, give what torch gives on truth values."""


SHAPED = frozenset(
    "zeros_like ones_like full_like new_zeros new_ones new_full zero fill empty_like new_empty sym_size".split()
)
"""Operators whose results depend on the shape of what they are given alone."""
_MOVES = frozenset(
    "clone detach alias contiguous lift_fresh_copy view _unsafe_view reshape flatten unflatten unsqueeze squeeze slice "
    "select narrow index index_select gather take tril triu split split_with_sizes chunk unbind expand repeat flip "
    "roll movedim pixel_shuffle pixel_unshuffle channel_shuffle diagonal repeat_interleave unfold im2col permute "
    "transpose t numpy_T mT upsample_nearest1d upsample_nearest2d upsample_nearest3d rot90 unsafe_split "
    "unsafe_chunk".split()
)
_KEEPS = _MOVES | frozenset(
    "relu neg abs maximum minimum max_pool1d max_pool2d max_pool3d max_pool2d_with_indices adaptive_max_pool1d "
    "adaptive_max_pool2d adaptive_max_pool3d amax amin max min sort topk kthvalue median sign floor ceil round trunc "
    "cat stack slice_scatter select_scatter diagonal_scatter nan_to_num".split()
)
"""Operators whose results are numbers that they are given, or such that any type has."""
_ONCE = frozenset(
    "_to_copy to add sub rsub mul div sum mean linear addmm mm matmul bmm conv1d conv2d conv3d conv_transpose1d "
    "conv_transpose2d conv_transpose3d _native_batch_norm_legit_no_training avg_pool1d avg_pool2d avg_pool3d "
    "adaptive_avg_pool1d adaptive_avg_pool2d adaptive_avg_pool3d leaky_relu hardtanh clamp clamp_min clamp_max relu6 "
    "sigmoid tanh erf exp log sin cos silu mish hardswish hardsigmoid sqrt rsqrt reciprocal elu selu celu gelu "
    "softplus square pow where masked_fill softmax _softmax layer_norm pad constant_pad_nd upsample_bilinear2d "
    "upsample_linear1d copy heaviside".split()
)
"""Operators that compute in float32 whatever they are given, and round their result to its type."""


def rounding(name: str) -> bool:
    """Whether an operator whose result has a type of 16 bits rounds to that, once; not at all if it is False.

    Raises:
        ValueError: it rounds on its way, too, or nothing is known of that.
    """
    if name not in _KEEPS | _ONCE:
        raise ValueError("how it rounds to 16 bits on its way is not known; convert the module with .float()")
    return name in _ONCE


def whole(name: str, result: torch.dtype, given: list[torch.dtype]) -> bool:
    """Whether a result of whole numbers is one of places, which the rules compute as real numbers, or moves some."""
    places = name in ("argmax", "argmin", "one_hot")
    return result == torch.int64 and (places or (name in _MOVES | {"cat", "stack"} and set(given) == {torch.int64}))


def unlike(name: str, result: torch.dtype, given: list[torch.dtype]) -> str:
    """Why an operator's rule does not do what torch does with truth values, or with numbers in their place; or ""."""
    if name in _LOGIC and any(kind != torch.bool for kind in given):
        return "it takes numbers for truth values; compare them with zero first"
    if result == torch.bool and name not in _TRUTH:
        return "its result has type bool, whose sums are truth values, too; convert to numbers first, or write a | b"
    return ""


SUPPORTED = (
    "linear, matmul, einsum, conv and conv_transpose, interpolation, batch, layer, group, instance and RMS norm "
    "(eval), the usual activation functions, softmax, attention, LSTM, GRU and RNN, clamp, pooling, add, sub, mul, "
    "div, pow, exp, log, sqrt, sin, cos, abs, comparisons, where, mean, sum, prod, max, min, argmax, sort, "
    "topk, norms, cat, stack, reshape, permute, slicing, indexing and splitting by constants, pad, "
    "expand, flip, dropout (eval)"
)
"""The table in words, for messages."""
