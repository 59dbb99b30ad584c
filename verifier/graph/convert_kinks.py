"""ONNX operators with kinks: rectifiers, and what can be written with them."""

from __future__ import annotations

import numpy as np

from verifier.graph.convert import Call
from verifier.graph.convert_affine import scale, total
from verifier.graph.masks import unmasked
from verifier.graph.ops.fit import limits
from verifier.graph.ops.relu import Relu
from verifier.graph.weights import shrinking


def relu(call: Call) -> int:
    """Relu."""
    x, keep = unmasked(call, call.activation(0))
    y = call.add(Relu(), x)
    return y if keep is None else scale(call, y, keep.astype(float), None)


def leaky_relu(call: Call) -> int:
    """LeakyRelu."""
    return _leaky(call, np.array(call.real("alpha", 0.01)))


def prelu(call: Call) -> int:
    """PRelu with constant slopes."""
    slopes, shape = call.constant(1).shape, call.shape(call.activation(0))
    if len(slopes) > len(shape) or any(a not in (1, b) for a, b in zip(slopes[::-1], shape[::-1], strict=False)):
        have = f"slopes of shape {list(slopes)} for an input of shape {list(shape)}"
        raise ValueError(f"PRelu with {have}, to which they do not broadcast; give them an axis of 1 for each behind")
    return _leaky(call, call.parameter(1))


def _leaky(call: Call, leak: np.ndarray) -> int:
    """One operator if all slopes are one number in [0, 1] (where it is convex), else `relu(x) − leak·relu(−x)`."""
    x = call.activation(0)
    if leak.size and (leak == leak.flat[0]).all() and 0 <= leak.flat[0] <= 1:
        return call.add(Relu(float(leak.flat[0])), x)
    below = call.add(Relu(), scale(call, x, np.array(-1.0), None))
    return total(call, [(1, call.add(Relu(), x)), (-1, scale(call, below, leak, None))])


def clip(call: Call) -> int:
    """Clip, as rectifiers: `max(x, a) = a + relu(x − a)`, `min(x, b) = b − relu(b − x)`."""
    if any(call.has(i) and not call.is_constant(i) for i in (1, 2)):
        return _between(call)
    x = call.activation(0)
    for i, key in ((1, "min"), (2, "max")):  # in this order: where min is above max, the result is max
        given = call.constant(i) if call.has(i) else call.get(key)
        if given is None or _idle(call, np.asarray(given), i):
            continue
        bound = call.finite(call.doubles(given, call.op), f"{key} of {call.op}").reshape(())
        x = (above if i == 1 else below)(call, x, bound)
    return x


def _idle(call: Call, bound: np.ndarray, i: int) -> bool:
    """Whether no number of the input's type is below a `min` (i 1), or above a `max` (i 2)."""
    low, high = limits(call.types[0] if call.types[:1] != ("",) and call.types else "float32")
    entries = [v.item() for v in bound.reshape(-1)]  # whole numbers compare exactly
    return all(v <= low for v in entries) if i == 1 else all(v >= high for v in entries)


def _between(call: Call) -> int:
    """Clip where bounds depend on the input."""
    y = call.inputs[0]
    for i, sign in ((1, 1), (2, -1)):
        bound = call.inputs[i] if call.has(i) else None
        if isinstance(y, int) and isinstance(bound, int):
            y = larger(call, y, bound, sign)
        elif bound is not None:
            if isinstance(bound, np.ndarray) and _idle(call, bound, i):
                continue
            x, c = (y, bound) if isinstance(y, int) else (bound, y)
            assert isinstance(x, int) and isinstance(c, np.ndarray)
            y = (above if sign > 0 else below)(call, x, call.finite(call.doubles(c, call.op), call.names[i]))
    assert isinstance(y, int)
    return y


def larger(call: Call, x: int, y: int, sign: int = 1) -> int:
    """`max(x, y) = y + relu(x − y)`, or (sign -1) `min(x, y) = y − relu(y − x)`."""
    step = call.add(Relu(), total(call, [(sign, x), (-sign, y)]))
    return total(call, [(1, y), (sign, step)])


FAR = 1e6
"""Beyond it a constant is nothing to shift by, as that would round: what is compared with it is the base instead."""


def above(call: Call, x: int, a: np.ndarray) -> int:
    """`max(x, a)`; `x + relu(a − x)` for constants that are far away."""
    if not a.any():
        return call.add(Relu(), call.expand(x, np.broadcast_shapes(call.shape(x), a.shape)))
    if (abs(a) > FAR).any():
        x = call.expand(x, np.broadcast_shapes(call.shape(x), a.shape))
        return total(call, [(1, x), (1, _beyond(call, x, -1.0, a))])
    return scale(call, call.add(Relu(), scale(call, x, None, -a)), None, a)


def below(call: Call, x: int, b: np.ndarray) -> int:
    """`min(x, b)`; `x − relu(x − b)` for constants that are far away."""
    if (abs(b) > FAR).any():
        x = call.expand(x, np.broadcast_shapes(call.shape(x), b.shape))
        return total(call, [(1, x), (-1, _beyond(call, x, 1.0, -b))])
    return scale(call, call.add(Relu(), scale(call, x, np.array(-1.0), b)), np.array(-1.0), b)


def _beyond(call: Call, x: int, sign: float, a: np.ndarray) -> int:
    """`relu(sign·x + a)`, without overflow in single precision."""
    by = shrinking(a)
    y = call.add(Relu(), scale(call, x, np.array(sign * by), a * by))
    return y if by == 1 else scale(call, y, np.array(1 / by), None)


def maximum(call: Call) -> int:
    """Max of any number of tensors."""
    return _extreme(call, 1)


def minimum(call: Call) -> int:
    """Min of any number of tensors."""
    return _extreme(call, -1)


def _extreme(call: Call, sign: int) -> int:
    active = [v for v in call.inputs if isinstance(v, int)]
    y = active[0]
    for x in active[1:]:
        y = larger(call, x, y, sign)
    for i in range(len(call.inputs)):
        if call.is_constant(i):
            y = (above if sign > 0 else below)(call, y, call.parameter(i))
    return y
