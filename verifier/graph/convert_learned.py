"""Operators of the domain ai.onnx.ml that scikit-learn's exporter writes: scalers, linear models, choices of features.

What is left out of a network before these are read (labels, maps of probabilities) is in `answers`.
"""

from __future__ import annotations

from math import prod

import numpy as np

from verifier.graph.convert import Call, Value
from verifier.graph.convert_affine import scale, total
from verifier.graph.convert_curves import magnitude
from verifier.graph.convert_norms import share
from verifier.graph.convert_products import one_power, product
from verifier.graph.ended import may_end
from verifier.graph.ops.affine import Dense, Sum
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Concat
from verifier.graph.ops.steps import Step

_CLASSES = 64
"""Most entries among which a position that depends on the input chooses."""


def floats(call: Call, attribute: str) -> np.ndarray:
    """A list of floating-point numbers; empty where it is left out."""
    return call.finite(np.asarray(call.get(attribute) or (), np.float64), attribute)


def features(call: Call) -> tuple[int, int, int]:
    """The first input as rows of features, how many rows and how many features; one vector is one row."""
    x = call.activation(0)
    shape = call.shape(x)
    if len(shape) > 2 or not shape:
        raise ValueError(f"{call.op} of a tensor of shape {list(shape)}: rows of features are needed")
    rows, n = (1, shape[0]) if len(shape) == 1 else shape
    return call.reshape(x, (rows, n)), rows, n


def defined(call: Call) -> int:
    """The first input, of which it must be certain that it is a number: NaN takes a way of its own here.

    Raises:
        ValueError: it is not.
    """
    x = call.activation(0)
    if may_end(call.builder, x):
        raise ValueError(f"{call.op} of what may be no number (behind a root, logarithm or quotient)")
    return x


def scaler(call: Call) -> int:
    """Scaler: `(x − offset)·scale`."""
    offset, gain = floats(call, "offset"), floats(call, "scale")
    y = scale(call, call.activation(0), None, -offset) if offset.size else call.activation(0)
    return scale(call, y, gain, None) if gain.size else y


def normalizer(call: Call) -> int:
    """Normalizer: division by the first or second norm of each row.

    At zero onnxruntime gives zero.  Sound because: there the reciprocal of the norm is bounded on an interval that ends
    in zero, and so not from above; zero is the product of zero with any number that is left.
    """
    norm = call.get("norm", "MAX")
    if norm not in ("L1", "L2"):
        raise ValueError(f"Normalizer with norm {norm}, which jumps where the largest entry is zero; use L1 or L2")
    x = call.activation(0)
    sizes = magnitude(call, x) if norm == "L1" else call.add(Curve("square"), x)
    length = call.add(Sum((len(call.shape(x)) - 1,), True), sizes)
    return product(call, x, one_power(call, length, -1.0 if norm == "L1" else -0.5))


def linear_regressor(call: Call) -> int:
    """LinearRegressor: one affine function a target."""
    targets = int(call.get("targets", 1))
    return transformed(call, _affine(call, targets))


def _affine(call: Call, rows: int) -> int:
    x, _, n = features(call)
    W, b = floats(call, "coefficients"), floats(call, "intercepts")
    if W.size != rows * n or b.size not in (0, rows):
        raise ValueError(f"{call.op} with {W.size} coefficients and {b.size} intercepts for {n} features, {rows} rows")
    return call.add(Dense(W.reshape(rows, n), b if b.size else None), x)


def linear_classifier(call: Call) -> list[Value]:
    """LinearClassifier: scores; the label is none of them."""
    no_label(call)
    labels = classes(call)
    count = max(1, len(floats(call, "intercepts"))) if call.get("intercepts") else len(labels)
    y = _affine(call, count)
    if count > 1:
        return [y, transformed(call, y)]
    if len(labels) != 2:
        return [y, transformed(call, y)]
    kind = call.get("post_transform", "NONE")
    if kind not in ("NONE", "LOGISTIC"):
        raise ValueError(f"{call.op} of one score and two classes with post_transform {kind}")
    y = call.add(Curve("sigmoid"), y) if kind == "LOGISTIC" else y
    return [y, opposite(call, y, 1.0)]


def no_label(call: Call) -> None:
    """Refuse a classifier whose label is asked for."""
    if call.used and call.used[0]:
        raise ValueError(f"the label of {call.op} depends on the input; ask about its scores, the second output")


def classes(call: Call) -> tuple[object, ...]:
    """A classifier's labels."""
    names = ("classlabels_ints", "classlabels_int64s", "classlabels_strings")
    return next((tuple(v) for name in names if (v := call.get(name))), ())


def opposite(call: Call, y: int, of: float) -> int:
    """Two classes from the score of the second: `of` less that, and that."""
    return call.add(Concat(1), scale(call, y, np.array(-1.0), np.array(of) if of else None), y)


def transformed(call: Call, y: int) -> int:
    """Scores after the operator's post_transform."""
    kind = call.get("post_transform", "NONE")
    if kind == "SOFTMAX":
        return share(call, y)
    if kind == "LOGISTIC":
        return call.add(Curve("sigmoid"), y)
    if kind != "NONE":
        raise ValueError(f"{call.op} with post_transform {kind}; NONE, SOFTMAX and LOGISTIC are supported")
    return y


def array_feature_extractor(call: Call) -> int:
    """ArrayFeatureExtractor: columns at known places, or known numbers at a place that depends on the input."""
    if not call.is_constant(1):
        return _looked_up(call)
    x, index = call.activation(0), np.asarray(call.constant(1)).reshape(-1)
    at = call.positions(x)
    at = at[None] if at.ndim == 1 else at
    if ((index < 0) | (index >= at.shape[-1])).any():
        raise ValueError(f"{call.op} at a place beyond {at.shape[-1]} features")
    return call.take(x, at[..., index])


def _looked_up(call: Call) -> int:
    """Entries of a constant list, at places that are whole numbers: each where the place is its own."""
    values = call.constant(0)
    if values.dtype.kind not in "fiu" or values.size != values.shape[-1] or values.size > _CLASSES:
        raise ValueError(f"{call.op} of {values.dtype} {list(values.shape)} at a place that depends on the input")
    numbers = call.parameter(0).reshape(-1)
    place = call.activation(1)
    place = call.reshape(place, (1, prod(call.shape(place)), 1))
    each = scale(call, place, None, -np.arange(float(numbers.size)))
    return call.reshape(call.add(Dense(numbers[None]), call.add(Step("zero"), each)), (1, call.shape(place)[1]))


def imputer(call: Call) -> int:
    """Imputer: another number in the place of one; what is a number is never NaN."""
    given = "replaced_value_float" if "imputed_value_floats" in call.attributes else "replaced_value_int64"
    gone = float(call.get(given, 0))
    new = np.asarray(call.get("imputed_value_floats") or call.get("imputed_value_int64s") or (), np.float64)
    if not np.isfinite(gone):
        return defined(call)
    x = call.activation(0)
    missing = call.add(Step("zero"), scale(call, x, None, np.array(-gone)))
    return total(call, [(1, x), (1, scale(call, missing, call.finite(new, "imputed values") - gone, None))])


def binarizer(call: Call) -> int:
    """Binarizer: 1 above the threshold."""
    x = defined(call)
    return call.add(Step("positive"), scale(call, x, None, np.array(-call.real("threshold", 0.0))))


def feature_vectorizer(call: Call) -> int:
    """FeatureVectorizer: rows of several inputs, side by side."""
    sizes = call.get("inputdimensions") or ()
    parts = list(call.inputs)
    for v, d in zip(parts, sizes, strict=True):
        if v is None or len(call.shape(v)) != 2 or call.shape(v)[1] != d:
            raise ValueError(f"FeatureVectorizer of {d} features in a tensor of shape {list(call.shape(v or 0))}")
    if not all(isinstance(v, int) for v in parts):
        raise ValueError("FeatureVectorizer of constants beside activations")
    return call.add(Concat(1), *(v for v in parts if isinstance(v, int)))
