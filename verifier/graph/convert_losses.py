"""Loss functions: what a class's entry says, weighed, and added up or averaged."""

from __future__ import annotations

from math import prod

import numpy as np

from verifier.graph.convert import Call, Value
from verifier.graph.convert_affine import scale, total
from verifier.graph.convert_norms import log_share
from verifier.graph.ops.affine import Sum
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Transpose


def negative_log_likelihood(call: Call) -> int:
    """NegativeLogLikelihoodLoss: minus the entries of the given classes."""
    x = call.activation(0)
    at, weights = _chosen(call, call.shape(x))
    return _reduced(call, scale(call, call.take(x, at), np.array(-1.0), None), weights)


def softmax_cross_entropy(call: Call) -> list[Value]:
    """SoftmaxCrossEntropyLoss, `log Σ_k exp(x_k − x_t)` for the classes t; and the logarithms of all shares."""
    x = call.activation(0)
    shape = call.shape(x)
    at, weights = _chosen(call, shape)
    order = (0, *range(2, len(shape)), 1)
    last = call.add(Transpose(order), x)
    rows = call.positions(x).transpose(order)
    others, own = call.take(x, rows), call.take(x, np.broadcast_to(at[..., None], rows.shape))
    gaps = call.add(Curve("exp"), total(call, [(1, others), (-1, own)]))
    loss = call.add(Curve("log"), call.add(Sum((len(shape) - 1,), False), gaps))
    results: list[Value] = [_reduced(call, loss, weights), np.zeros(0)]
    if len(call.used) > 1 and call.used[1]:
        results[1] = call.add(Transpose(tuple(int(i) for i in np.argsort(order))), log_share(call, last))
    return results


def _chosen(call: Call, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    """Where the entries of the classes stand, and their weights: both of the shape of the classes."""
    if len(shape) < 2:
        raise ValueError(f"{call.op} of shape {list(shape)}")
    classes = call.constant(1).astype(np.int64)
    ignored = classes == call.get("ignore_index", -1) if "ignore_index" in call.attributes else classes != classes
    classes = np.where(ignored, 0, classes)
    if classes.shape != (shape[0], *shape[2:]) or ((classes < 0) | (classes >= shape[1])).any():
        raise ValueError(f"{call.op} of shape {list(shape)} with classes that it does not have")
    at = np.arange(prod(shape)).reshape(shape)
    at = np.take_along_axis(at, classes[:, None], 1)[:, 0]
    weights = call.parameter(2)[classes] if call.has(2) else np.ones(classes.shape)
    return at, np.where(ignored, 0.0, weights)


def _reduced(call: Call, loss: int, weights: np.ndarray) -> int:
    """The losses weighed; as they are, added up, or averaged by weight."""
    how = call.get("reduction", "mean")
    if how not in ("none", "sum", "mean"):
        raise ValueError(f"{call.op} with reduction {how}")
    loss = loss if (weights == 1.0).all() else scale(call, loss, weights, None)
    if how == "none":
        return loss
    loss = call.add(Sum(tuple(range(weights.ndim)), False), loss)
    if how == "sum":
        return loss
    if weights.sum() == 0.0:
        raise ValueError(f"{call.op} averages over weights that add up to nothing")
    return scale(call, loss, np.array(1.0 / weights.sum()), None, rounded=True)
