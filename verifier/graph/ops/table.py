"""Which ONNX operators can be read, and how: one row each."""

from __future__ import annotations

from functools import partial
from importlib import import_module
from typing import Any

from verifier.graph import convert_affine as affine
from verifier.graph import convert_curves as curves
from verifier.graph import convert_kinks as kinks
from verifier.graph import convert_moves as moves
from verifier.graph import convert_products as products
from verifier.graph import convert_reduce as reduce
from verifier.graph import convert_steps as steps
from verifier.graph import convert_windows as windows
from verifier.graph.convert import Call, Converter
from verifier.graph.convert_dynamic import mul
from verifier.graph.convert_quantised import FUSED as QUANTISED
from verifier.graph.convert_quantised import STANDARD


def _read(module: str, name: str, call: Call) -> Any:
    return getattr(import_module(f"verifier.graph.{module}"), name)(call)


class _Later:
    """Converters of a module that is imported when one of them is called: few models hold what it reads."""

    def __init__(self, module: str) -> None:
        self._module = module

    def __getattr__(self, name: str) -> Converter:
        return partial(_read, self._module, name)


attention = _Later("convert_attention")
discrete = _Later("convert_discrete")
fourier = _Later("convert_fourier")
fused = _Later("convert_fused")
learned = _Later("convert_learned")
losses = _Later("convert_losses")
norms = _Later("convert_norms")
scatter = _Later("convert_scatter")
supports = _Later("convert_supports")
trees = _Later("convert_trees")
trial = _Later("convert_trial")
einsum = _Later("convert_einsum").einsum
recurrent = _Later("convert_recurrent").recurrent
resize = _Later("convert_resize").resize
conv_transpose = _Later("convert_transposed").conv_transpose

CONVERTERS: dict[str, Converter] = {
    "Abs": curves.absolute,
    "Acos": curves.acos,
    "Acosh": curves.curve("acosh"),
    "Add": affine.add,
    "AffineGrid": trial.linear,
    "And": steps.conjunction,
    "ArgMax": discrete.arg_max,
    "ArgMin": discrete.arg_max,
    "Asin": curves.curve("asin"),
    "Asinh": curves.curve("asinh"),
    "Atan": curves.curve("atan"),
    "Atanh": curves.curve("atanh"),
    "Attention": attention.attention,
    "AveragePool": windows.average_pool,
    "BatchNormalization": affine.batch_normalization,
    "Cast": steps.cast,
    "CastLike": steps.cast_like,
    "Ceil": steps.step("ceil"),
    "Celu": curves.celu,
    "CenterCropPad": scatter.moved,
    "Clip": kinks.clip,
    "Col2Im": trial.col2im,
    "Compress": scatter.moved,
    "Concat": moves.concat,
    "Conv": windows.conv,
    "ConvTranspose": conv_transpose,
    "Cos": curves.curve("cos"),
    "Cosh": curves.curve("cosh"),
    "CumProd": reduce.cum_prod,
    "CumSum": reduce.cum_sum,
    "DFT": fourier.dft,
    "DeformConv": trial.linear,
    "DepthToSpace": moves.depth_to_space,
    "Det": reduce.det,
    "Div": products.div,
    "Dropout": moves.dropout,
    "Einsum": einsum,
    "Elu": curves.elu,
    "Equal": steps.compare("zero"),
    "Erf": curves.curve("erf"),
    "Exp": curves.curve("exp"),
    "Expand": moves.expand,
    "EyeLike": discrete.of_shape,
    "Flatten": moves.flatten,
    "Floor": steps.step("floor"),
    "GRU": recurrent,
    "Gather": moves.gather,
    "GatherElements": scatter.moved,
    "GatherND": scatter.moved,
    "Gelu": curves.gelu,
    "Gemm": products.gemm,
    "GlobalAveragePool": affine.global_average_pool,
    "GlobalLpPool": norms.global_lp_pool,
    "GlobalMaxPool": windows.global_max_pool,
    "Greater": steps.compare("positive"),
    "GreaterOrEqual": steps.compare("not_negative"),
    "GridSample": trial.grid_sample,
    "GroupNormalization": norms.group_normalization,
    "HardSigmoid": curves.hard_sigmoid,
    "HardSwish": curves.curve("hard_swish"),
    "Hardmax": discrete.hardmax,
    "Identity": moves.identity,
    "InstanceNormalization": norms.instance_normalization,
    "IsInf": discrete.is_inf,
    "IsNaN": steps.is_nan,
    "LRN": norms.local_response,
    "LSTM": recurrent,
    "LayerNormalization": norms.layer_normalization,
    "LeakyRelu": kinks.leaky_relu,
    "Less": steps.compare("positive", turned=True),
    "LessOrEqual": steps.compare("not_negative", turned=True),
    "Log": curves.curve("log"),
    "LogSoftmax": norms.softmax,
    "LpNormalization": norms.lp_normalization,
    "LpPool": windows.lp_pool,
    "MatMul": products.matmul,
    "Max": kinks.maximum,
    "MaxPool": windows.max_pool,
    "MaxUnpool": scatter.moved,
    "Mean": affine.mean_all,
    "MeanVarianceNormalization": norms.mean_variance_normalization,
    "Min": kinks.minimum,
    "Mish": curves.curve("mish"),
    "Mod": discrete.mod,
    "Mul": mul,
    "Neg": affine.neg,
    "NegativeLogLikelihoodLoss": losses.negative_log_likelihood,
    "Not": steps.invert,
    "OneHot": discrete.one_hot,
    "Or": steps.disjunction,
    "PRelu": kinks.prelu,
    "Pad": moves.pad,
    "Pow": products.power,
    "RMSNormalization": norms.layer_normalization,
    "RNN": recurrent,
    "Reciprocal": products.reciprocal,
    "ReduceL1": reduce.reduce("l1"),
    "ReduceL2": reduce.reduce("l2"),
    "ReduceLogSum": reduce.reduce("log_sum"),
    "ReduceLogSumExp": reduce.reduce("log_sum_exp"),
    "ReduceMax": reduce.reduce("max"),
    "ReduceMean": reduce.reduce("mean"),
    "ReduceMin": reduce.reduce("min"),
    "ReduceProd": reduce.reduce("prod"),
    "ReduceSum": reduce.reduce("sum"),
    "ReduceSumSquare": reduce.reduce("sum_square"),
    "Relu": kinks.relu,
    "Reshape": moves.reshape,
    "Resize": resize,
    "ReverseSequence": scatter.moved,
    "RoiAlign": trial.roi_align,
    "RotaryEmbedding": attention.rotary_embedding,
    "Round": steps.step("round"),
    "STFT": fourier.stft,
    "Scatter": scatter.scatter,
    "ScatterElements": scatter.scatter,
    "ScatterND": scatter.scatter,
    "Selu": curves.selu,
    "Shape": moves.shape_of,
    "Shrink": curves.shrink,
    "Sigmoid": curves.curve("sigmoid"),
    "Sign": steps.step("sign"),
    "Sin": curves.curve("sin"),
    "Sinh": curves.curve("sinh"),
    "Size": moves.size_of,
    "Slice": moves.slice_,
    "Softmax": norms.softmax,
    "SoftmaxCrossEntropyLoss": losses.softmax_cross_entropy,
    "Softplus": curves.curve("softplus"),
    "Softsign": curves.curve("softsign"),
    "SpaceToDepth": scatter.moved,
    "Split": moves.split,
    "Sqrt": curves.curve("power", 0.5),
    "Squeeze": moves.squeeze,
    "Sub": affine.sub,
    "Sum": affine.sum_all,
    "Swish": curves.swish,
    "Tan": curves.curve("tan"),
    "Tanh": curves.curve("tanh"),
    "TensorScatter": trial.linear,
    "ThresholdedRelu": curves.thresholded_relu,
    "Tile": moves.tile,
    "TopK": discrete.top_k,
    "Transpose": moves.transpose,
    "Trilu": scatter.moved,
    "Unsqueeze": moves.unsqueeze,
    "Upsample": resize,
    "Where": steps.where,
    "Xor": steps.exclusive,
    **STANDARD,
}

FUSED: dict[str, Converter] = {
    "Attention": attention.fused_attention,
    "BiasGelu": curves.bias_gelu,
    "FastGelu": curves.bias_gelu,
    "FusedConv": fused.fused_conv,
    "FusedGemm": fused.fused_gemm,
    "FusedMatMul": fused.fused_matmul,
    "Gelu": curves.gelu,
    "MultiHeadAttention": attention.multi_head_attention,
    "QuickGelu": curves.swish,
    "RotaryEmbedding": attention.fused_rotary_embedding,
    "SkipLayerNormalization": norms.skip_layer_normalization,
    "SkipSimplifiedLayerNormalization": norms.skip_layer_normalization,
    **QUANTISED,
}
"""Those of the domain com.microsoft."""

LEARNED: dict[str, Converter] = {
    "ArrayFeatureExtractor": learned.array_feature_extractor,
    "Binarizer": learned.binarizer,
    "FeatureVectorizer": learned.feature_vectorizer,
    "Imputer": learned.imputer,
    "LinearClassifier": learned.linear_classifier,
    "LinearRegressor": learned.linear_regressor,
    "Normalizer": learned.normalizer,
    "SVMClassifier": supports.svm_classifier,
    "SVMRegressor": supports.svm_regressor,
    "Scaler": learned.scaler,
    "TreeEnsembleClassifier": trees.tree_classifier,
    "TreeEnsembleRegressor": trees.tree_regressor,
}
"""Those of the domain ai.onnx.ml."""

PLAIN = {"SimplifiedLayerNormalization": norms.layer_normalization}
"""What onnxruntime writes into the standard domain."""

FOLDED = ("Constant", "ConstantOfShape", "If")
"""Operators of constants; an If whose condition is constant is replaced by its branch."""


WRITTEN = (
    "ConcatFromSequence", "Loop", "Optional", "OptionalGetElement", "OptionalHasElement", "Scan",
    "SequenceAt", "SequenceConstruct", "SequenceEmpty", "SequenceErase", "SequenceInsert", "SequenceLength",
    "SplitToSequence",
)  # fmt: skip
"""Operators that stand for others, which are read in their place (see `unroll`); so do functions that ONNX defines."""

INSTEAD = {
    "com.microsoft.nchwc": "onnxruntime has laid these weights out for one kind of processor; give the model from "
    "before that, or save it optimised with ORT_ENABLE_EXTENDED at most"
}
"""Of domains with operators that are not read: what to do."""


def converter(domain: str, op: str) -> Converter | None:
    """How to read an operator, if it can be read."""
    if domain in ("", "ai.onnx"):
        return CONVERTERS.get(op) or PLAIN.get(op)
    return {"com.microsoft": FUSED, "ai.onnx.ml": LEARNED}.get(domain, {}).get(op)


def ready() -> None:
    """Import all that is imported late, for a process that is going to be copied."""
    for rows in (CONVERTERS, FUSED, LEARNED, PLAIN):
        for rule in rows.values():
            if isinstance(rule, partial):
                import_module(f"verifier.graph.{rule.args[0]}")


def supported() -> tuple[str, ...]:
    """Names of the ONNX operators that can be read where they meet activations; of constants, any can."""
    others = {*(f"com.microsoft.{name}" for name in FUSED), *(f"ai.onnx.ml.{name}" for name in LEARNED)}
    return tuple(sorted({*CONVERTERS, *FOLDED, *PLAIN, *WRITTEN, *others}))
