"""ONNX operators that look for the largest, sort, and count: all of them comparisons of pairs."""

from __future__ import annotations

from collections.abc import Callable
from math import prod

import numpy as np

from verifier.graph.convert import Call, Value
from verifier.graph.convert_affine import scale, total
from verifier.graph.convert_products import product
from verifier.graph.convert_steps import both, truncated
from verifier.graph.ended import may_end
from verifier.graph.fitting import reach
from verifier.graph.fold import tried
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.moves import Concat, Reshape, Transpose
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.graph.sorting import exchanges

_ENTRIES = 64
"""Most entries among which is looked."""
_CLASSES = 4096
"""Most entries that OneHot makes of one."""


def _last(call: Call, x: int, axis: int, n: int) -> int:
    """x with an axis moved to the end; n is how many entries it has."""
    if n > _ENTRIES:
        raise ValueError(f"{call.op} among {n} entries that depend on the input; at most {_ENTRIES} are supported")
    rank = len(call.shape(x))
    order = (*(i for i in range(rank) if i != axis), axis)
    return call.add(Transpose(order), x) if order != tuple(range(rank)) else x


def _back(call: Call, y: int, axis: int) -> int:
    """y with its last axis where it belongs."""
    rank = len(call.shape(y))
    order = list(range(rank - 1))
    order.insert(axis, rank - 1)
    return call.add(Transpose(tuple(order)), y) if order != list(range(rank)) else y


def winners(call: Call, x: int, last: bool) -> int:
    """1 at the largest entry of the last axis, 0 elsewhere; of equal ones at the first, or the last.

    It is the entry above all before it and not below any behind it.
    """
    n = call.shape(x)[-1]
    if n == 1:
        return scale(call, x, np.array(0.0), np.array(1.0))
    before = _beats(call, x, range(1, n), lambda k: range(k), "not_negative" if last else "positive")
    behind = _beats(call, x, range(n - 1), lambda k: range(k + 1, n), "positive" if last else "not_negative")
    ends = (
        call.take(behind, call.positions(behind)[..., :1]),  # the first entry has nobody before it
        call.take(before, call.positions(before)[..., -1:]),
    )
    if n == 2:
        return call.add(Concat(len(call.shape(x)) - 1), *ends)
    inner = both(
        call,
        call.take(before, call.positions(before)[..., :-1]),
        call.take(behind, call.positions(behind)[..., 1:]),
    )
    return call.add(Concat(len(call.shape(x)) - 1), ends[0], inner, ends[1])


def _beats(call: Call, x: int, which: range, others: Callable[[int], range], kind: str) -> int:
    """For each entry k of the last axis in `which`: whether it is above (not below) all the `others(k)`."""
    at = call.positions(x)
    width = max(len(others(k)) for k in which)
    windows = [[*others(k), *[others(k)[0]] * (width - len(others(k)))] for k in which]  # repeats change nothing
    size = (*at.shape[:-1], len(which))
    best = call.add(MaxOf(at[..., np.array(windows)].reshape(-1, width), size), x)
    mine = call.take(x, at[..., which.start : which.stop])
    return call.add(Step(kind), total(call, [(1, mine), (-1, best)]))


def arg_max(call: Call) -> int:
    """ArgMax and ArgMin: the winner's position."""
    x = call.activation(0)
    shape = call.shape(x)
    axis = call.axis(call.get("axis", 0), len(shape))
    x = _last(call, x, axis, shape[axis])
    x = scale(call, x, np.array(-1.0), None) if call.op == "ArgMin" else x
    lead = call.shape(x)[:-1]
    wins = winners(call, x, bool(call.get("select_last_index", 0)))
    y = call.add(Dense(np.arange(float(shape[axis]))[None]), wins)
    call.builder.one_of[y] = wins
    return call.reshape(y, (*lead[:axis], 1, *lead[axis:]) if call.get("keepdims", 1) else lead)


def hardmax(call: Call) -> int:
    """Hardmax: 1 for the largest entry, the first among equal ones."""
    x = call.activation(0)
    shape = call.shape(x)
    axis = call.axis(call.get("axis", 1 if call.opset < 13 else -1), len(shape))
    if call.opset < 13:  # of all axes from there on together
        x = call.reshape(x, (prod(shape[:axis]), prod(shape[axis:])))
        return call.reshape(winners(call, _last(call, x, 1, prod(shape[axis:])), False), shape)
    return _back(call, winners(call, _last(call, x, axis, shape[axis]), False), axis)


def top_k(call: Call) -> list[Value]:
    """TopK: the largest (smallest) entries by a sorting network, their positions by counting who is larger."""
    x, wanted = call.activation(0), call.integers(1, "k")
    shape = call.shape(x)
    axis = call.axis(call.get("axis", -1), len(shape))
    n, k = shape[axis], (wanted or (1,))[0]
    if not 0 < k <= n:
        raise ValueError(f"TopK of {k} among {n} entries")
    if not call.get("sorted", 1) and k > 1:
        raise ValueError("TopK whose results are not sorted: their order is not defined")
    sign = np.array(1.0 if call.get("largest", 1) else -1.0)
    x = scale(call, _last(call, x, axis, n), sign, None)
    found: list[Value] = []
    for output, make in ((0, _sorted), (1, _ranked)):
        if output < len(call.used) and call.used[output]:
            y = make(call, x, k)
            found.append(_back(call, scale(call, y, sign, None) if output == 0 else y, axis))
        else:
            found.append(np.zeros(0))
    return found


def _sorted(call: Call, x: int, k: int) -> int:
    """The k largest entries of the last axis, in order: of each pair that a layer compares the larger goes in front."""
    axis = len(call.shape(x)) - 1
    for layer in exchanges(call.shape(x)[-1]):
        at = call.positions(x)
        pairs, size = np.array(layer), (*at.shape[:-1], len(layer))
        windows = at[..., pairs].reshape(-1, 2)
        larger = call.add(MaxOf(windows, size), x)
        smaller = scale(
            call, call.add(MaxOf(windows, size), scale(call, x, np.array(-1.0), None)), np.array(-1.0), None
        )
        rest = [i for i in range(at.shape[-1]) if i not in pairs]
        parts = [larger, smaller, *([call.take(x, at[..., rest])] if rest else [])]
        joined = call.add(Concat(axis), *parts)
        order = np.argsort([*pairs[:, 0], *pairs[:, 1], *rest])
        x = call.take(joined, call.positions(joined)[..., order])
    return call.take(x, call.positions(x)[..., :k])


def _ranked(call: Call, x: int, k: int) -> int:
    """The positions of the k largest entries, in order; of equal ones the first comes first."""
    n, at = call.shape(x)[-1], call.positions(x)
    if n == 1:
        return scale(call, x, np.array(0.0), None)
    pairs = np.array([(i, j) for i in range(n) for j in range(i + 1, n)])
    first, second = (call.take(x, at[..., pairs[:, side]]) for side in (0, 1))
    later = call.add(Step("positive"), total(call, [(1, second), (-1, first)]))  # whether the second is larger
    W, b = np.zeros((n, len(pairs))), np.zeros(n)  # how many come before an entry
    for c, (i, j) in enumerate(pairs):
        W[i, c] += 1.0
        W[j, c] -= 1.0
        b[j] += 1.0
    rank = call.add(Dense(W, b), later)
    shape = call.shape(rank)
    steps = [call.add(Step("positive"), scale(call, rank, None, np.array(0.5 - r))) for r in range(k + 1)]
    places = []
    for r in range(k):  # the one whose rank is at least r and not r + 1
        here = total(call, [(1, steps[r]), (-1, steps[r + 1])])
        places.append(call.add(Dense(np.arange(float(n))[None]), call.reshape(here, shape)))
    return call.add(Concat(len(shape) - 1), *places) if len(places) > 1 else places[0]


def one_hot(call: Call) -> Value:
    """OneHot: where an index is k, as comparisons; of a winner's position it is whether the entry wins."""
    depth = int(call.constant(1).reshape(-1)[0])
    values = call.inputs[2]
    if values is None or call.inputs[0] is None:
        raise ValueError("OneHot without indices or values")
    if not 0 < depth <= _CLASSES:
        raise ValueError(f"OneHot of depth {depth}; up to {_CLASSES} are supported")
    if not isinstance(call.inputs[0], int):
        at = np.trunc(call.parameter(0))[..., None]
        at = np.where(at < 0, at + depth, at) == np.arange(depth)
        return call.take(call.activation(2), np.moveaxis(at.astype(np.int64), -1, call.get("axis", -1)))
    x = call.inputs[0]
    rank = len(call.shape(x))
    axis = call.axis(call.get("axis", -1), rank + 1)
    here = _is_each(call, x, depth)
    here = _back(call, here, axis)
    if not isinstance(values, int):
        off, on = call.parameter(2).reshape(-1)
        return scale(call, here, np.array(on - off), np.array(off))
    parts = [call.take(values, np.array(i)) for i in (0, 1)]
    gap = total(call, [(1, parts[1]), (-1, parts[0])])
    return total(call, [(1, product(call, here, gap)), (1, parts[0])])


def _is_each(call: Call, x: int, depth: int) -> int:
    """Whether a whole number is k, or k − depth, for each k below depth on a new last axis."""
    shape = call.shape(x)
    wins = _winners_of(call, x)
    if wins is not None:
        n = call.shape(wins)[-1]
        at = call.positions(wins).reshape(*shape, n)
        index = np.full((*shape, depth), -1, np.int64)
        index[..., : min(n, depth)] = at[..., : min(n, depth)]
        return call.take(wins, index)
    if call.types and call.types[0].startswith("float"):
        x = truncated(call, x)
    spread = call.expand(call.reshape(x, (*shape, 1)), (*shape, depth + 1))
    found = [_between(call, spread, 0)]
    if reach(call.builder, x)[0] < 0:  # counted from the end
        found.append(_between(call, spread, -depth))
    return found[0] if len(found) == 1 else total(call, [(1, y) for y in found])


def _between(call: Call, spread: int, start: int) -> int:
    """Of a whole number, repeated on the last axis: whether it is start, start + 1, ..."""
    n = call.shape(spread)[-1]
    above = call.add(Step("positive"), scale(call, spread, None, 0.5 - start - np.arange(float(n))))
    at = call.positions(above)
    return total(call, [(1, call.take(above, at[..., :-1])), (-1, call.take(above, at[..., 1:]))])


def _winners_of(call: Call, x: int) -> int | None:
    """What a node is the winner's position of, if it is one, whatever its shape."""
    while x not in call.builder.one_of:
        node = call.builder.nodes[x]
        if not isinstance(node.op, Reshape):
            return None
        (x,) = node.inputs
    return call.builder.one_of[x]


def mod(call: Call) -> int:
    """Mod by constants: what is left of whole multiples, towards minus infinity, or (fmod) towards zero."""
    x, divisor = call.activation(0), call.parameter(1)
    if not divisor.all():
        raise ValueError("Mod by zero")
    whole = call.types[:1] != () and not call.types[0].startswith("float")
    size, half = np.abs(divisor), 0.5 if whole else 0.0  # a half more keeps whole numbers away from the jumps
    inverse = 1.0 / size

    def multiples(y: int) -> int:
        parts = scale(call, y, inverse, half * inverse, rounded=True)
        return call.add(Step("floor"), parts)

    if call.get("fmod", 0):
        up, down = (call.add(Relu(), multiples(v)) for v in (x, scale(call, x, np.array(-1.0), None)))
        left = total(call, [(1, up), (-1, down)])
        return total(call, [(1, x), (-1, scale(call, left, size, None))])
    turned = scale(call, x, np.sign(divisor), None)
    return total(call, [(1, x), (-1, scale(call, multiples(turned), divisor, None))])


def is_inf(call: Call) -> Value:
    """IsInf: of real numbers none is, where every function before has a value."""
    x = call.activation(0)
    if may_end(call.builder, x):
        raise ValueError("IsInf of what may have no value")
    return np.zeros(call.shape(x), bool)


def of_shape(call: Call) -> Value:
    """An operator that looks at its input's shape alone: EyeLike."""
    kind = call.types[0] if call.types and call.types[0] in ("float32", "float64") else "float32"
    return tried(call, {0: np.zeros(call.shape(call.activation(0)), kind)})[0]
