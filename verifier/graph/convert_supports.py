"""Support vector machines of the domain ai.onnx.ml: sums of kernels, each a composition of what there is."""

from __future__ import annotations

import numpy as np

from verifier.graph.convert import Call, Value
from verifier.graph.convert_affine import scale
from verifier.graph.convert_learned import classes, features, floats, no_label, opposite, transformed
from verifier.graph.convert_products import one_power
from verifier.graph.ops.affine import Dense, Sum
from verifier.graph.ops.curves import Curve

_ENTRIES = 1 << 20
"""Most differences from support vectors."""


def svm_regressor(call: Call) -> int:
    """SVMRegressor."""
    count = int(call.get("n_supports", 0))
    coefficients, rho = floats(call, "coefficients"), floats(call, "rho")
    if rho.size != 1:
        raise ValueError(f"SVMRegressor with {rho.size} numbers rho")
    if call.get("one_class", 0):
        raise ValueError("SVMRegressor of one class, which gives a sign; ask about a regressor")
    x, _, n = features(call)
    y = _kernels(call, x, floats(call, "support_vectors").reshape(count, n)) if count else x
    width = call.shape(y)[1]
    if coefficients.size != width:
        raise ValueError(f"SVMRegressor with {coefficients.size} coefficients for {width} terms")
    return transformed(call, call.add(Dense(coefficients[None], rho), y))


def svm_classifier(call: Call) -> list[Value]:
    """SVMClassifier without probabilities: a score for each pair of classes, or two for one pair."""
    no_label(call)
    if call.get("prob_a"):
        raise ValueError("SVMClassifier with probabilities, which it iterates for; export with probability=False")
    sizes, rho = call.get("vectors_per_class") or (), floats(call, "rho")
    count, k = sum(sizes), len(classes(call))
    if not count or len(sizes) != k or rho.size != k * (k - 1) // 2:
        raise ValueError(f"SVMClassifier of {k} classes with {len(sizes)} groups of vectors and {rho.size} numbers rho")
    x, _, n = features(call)
    kernels = _kernels(call, x, floats(call, "support_vectors").reshape(count, n))
    W = _pairs(floats(call, "coefficients").reshape(k - 1, count), np.cumsum([0, *sizes]))
    y = call.add(Dense(W, rho), kernels)
    if k > 2:
        return [y, transformed(call, y)]
    if call.get("post_transform", "NONE") not in ("NONE", "LOGISTIC"):
        raise ValueError(f"SVMClassifier of two classes with post_transform {call.get('post_transform')}")
    return [y, transformed(call, opposite(call, y, 0.0))]


def _pairs(weights: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """`[P, n]` of `[k − 1, n]`: of classes i < j the weights against the other one, in the order of pairs."""
    k = len(ends) - 1
    rows = []
    for i in range(k):
        for j in range(i + 1, k):
            row = np.zeros(weights.shape[1])
            row[ends[i] : ends[i + 1]] = weights[j - 1, ends[i] : ends[i + 1]]
            row[ends[j] : ends[j + 1]] = weights[i, ends[j] : ends[j + 1]]
            rows.append(row)
    return np.array(rows)


def _kernels(call: Call, x: int, vectors: np.ndarray) -> int:
    """The kernel of each row with each support vector `[rows, supports]`."""
    kind, (gamma, shift, degree) = call.get("kernel_type", "LINEAR"), _parameters(call)
    rows, n = call.shape(x)
    if kind == "RBF":
        count = len(vectors)
        if rows * count * n > _ENTRIES:
            raise ValueError(f"{call.op} with {count} support vectors of {n} features")
        away = scale(call, call.reshape(x, (rows, 1, n)), None, -vectors[None])
        squares = call.add(Sum((2,), False), call.add(Curve("square"), away))
        return call.add(Curve("exp"), scale(call, squares, np.array(-gamma), None))
    inner = call.add(Dense(vectors), x)
    if kind == "LINEAR":
        return inner
    inner = scale(call, inner, np.array(gamma), np.array(shift))
    if kind == "SIGMOID":
        return call.add(Curve("tanh"), inner)
    if kind != "POLY":
        raise ValueError(f"{call.op} with the kernel {kind}")
    return one_power(call, inner, degree)


def _parameters(call: Call) -> tuple[float, float, float]:
    """Gamma, coef0 and degree."""
    given = floats(call, "kernel_params")
    if given.size not in (0, 3):
        raise ValueError(f"{call.op} with {given.size} kernel_params")
    return (float(given[0]), float(given[1]), float(given[2])) if given.size else (0.0, 0.0, 0.0)
