"""ONNX operators that normalise: softmax, and division by norms and deviations."""

from __future__ import annotations

from math import prod

import numpy as np

from verifier.graph.convert import Call, Value
from verifier.graph.convert_affine import average, scale, total
from verifier.graph.convert_products import one_power, product, root, to_power
from verifier.graph.convert_reduce import along, log_sum
from verifier.graph.graph import Shape
from verifier.graph.masks import groups, unmasked
from verifier.graph.ops.affine import Dense, Scale, Sum
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Concat, Transpose
from verifier.graph.ops.product import Share

_CENTRED = 256
"""Up to so many entries are centred by one matrix."""


def softmax(call: Call) -> int:
    """Softmax and LogSoftmax."""
    x = call.activation(0)
    shape = call.shape(x)
    rule = log_share if call.op == "LogSoftmax" else share
    if call.opset < 13:  # everything from the axis on together
        axis = call.axis(call.get("axis", 1), len(shape)) if shape else 0
        flat = call.reshape(x, (prod(shape[:axis]), prod(shape[axis:])))
        return call.reshape(rule(call, flat), shape)
    axis = call.axis(call.get("axis", -1), len(shape))
    if axis == len(shape) - 1:
        return rule(call, x)
    swap = list(range(len(shape)))
    swap[axis], swap[-1] = swap[-1], swap[axis]
    return call.add(Transpose(tuple(swap)), rule(call, call.add(Transpose(tuple(swap)), x)))


def share(call: Call, x: int) -> int:
    """Softmax over the last axis; of what is not minus infinity, where a constant makes some of it so."""
    y, keep = unmasked(call, x)
    if keep is None:
        return call.add(Share(), x)
    found = masked_share(call, y, keep, nothing=True)
    if not keep.any(-1).all():  # no value: to be dropped by whoever reads on
        call.builder.undefined[found] = np.broadcast_to(~keep.any(-1, keepdims=True), keep.shape)
    return found


def masked_share(call: Call, x: int, keep: np.ndarray, nothing: bool = False) -> int:
    """Softmax over what is kept of the last axis, zero elsewhere; `nothing`: a row may keep nothing, too."""
    parts, where = groups(keep, nothing)
    if not parts:
        return scale(call, x, np.array(0.0), None)
    shares = [call.add(Share(), call.take(x, part)) for part in parts]
    joined = [call.reshape(s, (prod(call.shape(s)),)) for s in shares]
    return call.take(call.add(Concat(0), *joined) if len(joined) > 1 else joined[0], where)


def log_share(call: Call, x: int) -> int:
    """Its logarithm, `x − log Σ_k exp(x_k)`: where two entries are compared, the sum cancels."""
    return total(call, [(1, x), (-1, log_sum(call, x))])


def centred(call: Call, x: int) -> int:
    """x less its mean over the last axis."""
    n = call.shape(x)[-1]
    if n <= _CENTRED:
        W = np.eye(n) - 1.0 / n
        return call.add(Dense(W, None, Dense(2 * (np.eye(n) + 1.0 / n))), x)
    return total(call, [(1, x), (-1, average(call, call.add(Sum((len(call.shape(x)) - 1,), True), x), n))])


def normalised(call: Call, x: int, epsilon: float, centre: bool = True) -> int:
    """`(x − mean) / √(variance + epsilon)` over the last axis, or (not centred) `x / √(mean of squares + epsilon)`."""
    return _normalised(call, x, epsilon, centre)[0]


def _normalised(call: Call, x: int, epsilon: float, centre: bool = True) -> tuple[int, int]:
    """The same, and what was multiplied by, `[..., 1]`."""
    c = centred(call, x) if centre else x
    squares = call.add(Sum((len(call.shape(x)) - 1,), True), call.add(Curve("square"), c))
    variance = scale(call, average(call, squares, call.shape(x)[-1]), None, np.array(epsilon))
    inverse = call.add(Curve("power", (-0.5,)), variance)
    return product(call, c, inverse), inverse


def gained(call: Call, y: int, gain: int, shift: int | None = None) -> int:
    """`y·gain + shift` for inputs at these places, each a constant or an activation; `shift` may be missing."""
    if call.has(gain):
        y = scale(call, y, call.parameter(gain), None) if call.is_constant(gain) else product(
            call, y, call.activation(gain))  # fmt: skip
    if shift is not None and call.has(shift):
        y = added(call, y, shift)
    return y


def added(call: Call, y: int, i: int) -> int:
    """`y` plus input `i`."""
    if call.is_constant(i):
        return scale(call, y, None, call.parameter(i))
    return total(call, [(1, y), (1, call.activation(i))])


def layer_normalization(call: Call) -> list[Value]:
    """LayerNormalization with its mean and inverse deviation; RMSNormalization and its like don't centre."""
    x, centre = call.activation(0), call.op == "LayerNormalization"
    shape = call.shape(x)
    axis = call.axis(call.get("axis", -1), len(shape))
    flat = call.reshape(x, (*shape[:axis], prod(shape[axis:])))
    y, inverse = _normalised(call, flat, call.real("epsilon", 1e-5), centre)
    y = gained(call, call.reshape(y, shape), 1, 2 if centre else None)
    small = (*shape[:axis], *(1 for _ in shape[axis:]))
    return [y, *_statistics(call, flat, inverse, small, centre)]


def _statistics(call: Call, x: int, inverse: int, shape: Shape, centre: bool = True) -> list[Value]:
    """The mean over the last axis (if it centres) and the inverse deviation, in a shape, where they are read."""
    results: list[Value] = [np.zeros(0), np.zeros(0)]
    if len(call.used) > 1 and call.used[1] and centre:
        mean = average(call, call.add(Sum((len(call.shape(x)) - 1,), True), x), call.shape(x)[-1])
        results[0] = call.reshape(mean, shape)
    results[int(centre)] = call.reshape(inverse, shape)
    return results


def skip_layer_normalization(call: Call) -> list[Value]:
    """SkipLayerNormalization and its simplified form: of a sum of two inputs and a bias, which is an output, too."""
    simple = call.op.startswith("SkipSimplified")
    active = [i for i in (0, 1) if not call.is_constant(i)]
    x = call.activation(active[0])
    for i in (0, 1, 3 if simple else 4):
        if i != active[0] and call.has(i):
            x = added(call, x, i)
    y, inverse = _normalised(call, x, call.real("epsilon", 1e-12), not simple)
    statistics = _statistics(call, x, inverse, (*call.shape(x)[:-1], 1), not simple)
    return [gained(call, y, 2, None if simple else 3), *statistics, x]


def instance_normalization(call: Call) -> int:
    """InstanceNormalization: over the spatial axes."""
    x = call.activation(0)
    N, C, *spatial = call.shape(x)
    y = normalised(call, call.reshape(x, (N, C, prod(spatial))), call.real("epsilon", 1e-5))
    s, t = (call.parameter(i).reshape(-1, *([1] * len(spatial))) for i in (1, 2))
    return scale(call, call.reshape(y, (N, C, *spatial)), s, t)


def group_normalization(call: Call) -> int:
    """GroupNormalization: over groups of channels and all space; gains a group (before version 21) or a channel."""
    x = call.activation(0)
    N, C, *spatial = call.shape(x)
    groups = call.get("num_groups")
    if not groups or C % groups:
        raise ValueError(f"GroupNormalization of {C} channels in {groups} groups")
    y = normalised(call, call.reshape(x, (N, groups, C // groups * prod(spatial))), call.real("epsilon", 1e-5))
    s, t = (call.parameter(i) for i in (1, 2))
    if s.size == groups and call.opset < 21:
        s, t = (np.repeat(a, C // groups) for a in (s, t))
    s, t = (a.reshape(C, *([1] * len(spatial))) for a in (s, t))
    return scale(call, call.reshape(y, (N, C, *spatial)), s, t)


def mean_variance_normalization(call: Call) -> int:
    """MeanVarianceNormalization: `(x − mean) / (deviation + 1e-9)`."""
    x = call.activation(0)
    shape = call.shape(x)
    axes = sorted(call.axis(a, len(shape)) for a in call.get("axes") or (0, 2, 3))
    order = (*(i for i in range(len(shape)) if i not in axes), *axes)
    moved = call.add(Transpose(order), x)
    n = prod(shape[a] for a in axes)
    c = centred(call, call.reshape(moved, (-1 if not shape else prod(shape) // n, n)))
    variance = average(call, call.add(Sum((1,), True), call.add(Curve("square"), c)), n)
    deviation = scale(call, one_power(call, variance, 0.5), None, np.array(float(np.float32(1e-9))))
    y = call.reshape(product(call, c, one_power(call, deviation, -1.0)), call.shape(moved))
    return call.add(Transpose(tuple(int(i) for i in np.argsort(order))), y)


def lp_normalization(call: Call) -> int:
    """LpNormalization: division by a norm along an axis."""
    x, p = call.activation(0), call.get("p", 2)
    axis = call.axis(call.get("axis", -1), len(call.shape(x)))
    if p not in (1, 2):
        raise ValueError(f"LpNormalization with p {p}")
    norm = call.add(Sum((axis,), True), to_power(call, x, p))
    # Zero by zero is zero to onnxruntime, so what is divided by is moved off zero, by less than the allowance for
    # rounding that is taken from its magnitude: bounds are as if it had not been moved.
    norm = call.add(Scale(None, np.array(1e-300), Scale(None, np.array(1e-280))), norm)
    return product(call, x, one_power(call, norm, -1.0 if p == 1 else -0.5))


def local_response(call: Call) -> int:
    """LRN: division by a power of what neighbouring channels square to."""
    x, size = call.activation(0), call.get("size")
    C = call.shape(x)[1]
    i, j = np.indices((C, C))
    near = (j - i >= -((size - 1) // 2)) & (j - i <= -(-(size - 1) // 2))
    sums = along(call, call.add(Curve("square"), x), 1, near * 1.0)
    a = call.real("alpha", 1e-4) / size
    base = scale(call, sums, np.array(a), np.array(call.real("bias", 1.0)), rounded=True)
    return product(call, x, one_power(call, base, -call.real("beta", 0.75)))


def global_lp_pool(call: Call) -> int:
    """GlobalLpPool: the norm over the spatial axes."""
    x, p = call.activation(0), call.get("p", 2)
    axes = tuple(range(2, len(call.shape(x))))
    return root(call, call.add(Sum(axes, True), to_power(call, x, p)), p)
