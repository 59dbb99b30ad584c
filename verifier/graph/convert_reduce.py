"""ONNX operators that reduce axes, or run along one."""

from __future__ import annotations

from math import prod

import numpy as np

from verifier.graph.convert import Call, Converter
from verifier.graph.convert_affine import average, scale, total
from verifier.graph.convert_curves import magnitude
from verifier.graph.convert_products import paired, product
from verifier.graph.graph import Shape
from verifier.graph.masks import unmasked
from verifier.graph.ops.affine import Dense, Sum
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Concat, Transpose
from verifier.graph.ops.pool import MaxOf


def axes_of(call: Call, x: int) -> tuple[int, ...]:
    """The axes to be reduced, in order; none where the operator then does nothing."""
    rank = len(call.shape(x))
    axes = call.integers(1, "axes")
    if not axes:
        return () if call.get("noop_with_empty_axes", 0) else tuple(range(rank))
    return tuple(sorted({call.axis(a, rank) for a in axes}))


def _sum(call: Call, x: int, axes: tuple[int, ...]) -> int:
    return call.add(Sum(axes, bool(call.get("keepdims", 1))), x)


def reduce(kind: str) -> Converter:
    """The converter of a reduction."""

    def convert(call: Call) -> int:
        x = call.activation(0)
        axes = axes_of(call, x)
        if not axes and kind in ("sum", "mean", "max", "min", "prod"):
            return x
        if kind in ("max", "min", "prod"):
            return _gathered(call, x, axes, kind)
        if kind == "log_sum_exp":
            return _gathered(call, x, axes, kind) if axes else x
        count = prod(call.shape(x)[a] for a in axes)
        if kind in ("l1", "sum_square", "l2"):
            x = magnitude(call, x) if kind == "l1" else call.add(Curve("square"), x)
        y = _sum(call, x, axes) if axes else x
        if kind == "mean":
            return average(call, y, count)
        if kind == "l2":
            return call.add(Curve("power", (0.5,)), y)
        return call.add(Curve("log"), y) if "log" in kind else y

    return convert


def _gathered(call: Call, x: int, axes: tuple[int, ...], kind: str) -> int:
    """The largest, smallest, product, or logarithm of the sum of exponentials, of what stands along the axes."""
    shape = call.shape(x)
    kept = [i for i in range(len(shape)) if i not in axes]
    windows = call.positions(x).transpose(*kept, *axes).reshape(-1, prod(shape[a] for a in axes))
    if call.get("keepdims", 1):
        size = tuple(1 if i in axes else d for i, d in enumerate(shape))
    else:
        size = tuple(shape[i] for i in kept)
    if not windows.shape[1]:
        raise ValueError(f"{call.op} of nothing")
    if kind == "prod":
        return call.reshape(_product(call, call.take(x, windows)), size)
    if kind == "log_sum_exp":
        return call.reshape(log_sum(call, call.take(x, windows)), size)
    x = scale(call, x, np.array(-1.0), None) if kind == "min" else x
    y = largest(call, windows, size, x)
    return scale(call, y, np.array(-1.0), None) if kind == "min" else y


def largest(call: Call, windows: np.ndarray, size: Shape, x: int) -> int:
    """The largest entries of windows of x; those that a constant makes minus infinity are left out."""
    y, keep = unmasked(call, x)
    if keep is None:
        return call.add(MaxOf(windows, size), x)
    counts = keep.reshape(-1)[windows]
    if not counts.any(1).all():
        raise ValueError(f"{call.op} of nothing but minus infinity")
    one = windows[np.arange(len(windows)), counts.argmax(1)]
    return call.add(MaxOf(np.where(counts, windows, one[:, None]), size), y)


def _product(call: Call, x: int) -> int:
    """The product along the last of two axes, halving it again and again."""
    while (n := call.shape(x)[1]) > 1:
        at = call.positions(x)[..., None]
        h = n // 2
        y = paired(call, call.take(x, at[:, :h]), call.take(x, at[:, h : 2 * h]))
        if n % 2:  # the odd one out joins the first product
            first = call.take(y, call.positions(y)[:, :1, None])
            odd = paired(call, first, call.take(x, at[:, 2 * h :]))
            if h == 1:
                return odd
            y = call.add(Concat(1), odd, call.take(y, call.positions(y)[:, 1:]))
        x = y
    return x


def log_sum(call: Call, x: int) -> int:
    """`log Σ exp(x)` over the last axis, kept with one entry, by halves: of two it is `a + softplus(b − a)`.

    So nothing on the way is larger than what comes out, up to differences of entries, and nothing overflows.  Bounds
    know the interval of such a sum (`Network.maxima`).
    """
    while (n := call.shape(x)[-1]) > 1:
        at, h = call.positions(x), n // 2
        a, b = call.take(x, at[..., :h]), call.take(x, at[..., h : 2 * h])
        y = total(call, [(1, a), (1, call.add(Curve("softplus"), total(call, [(1, b), (-1, a)])))])
        x = call.add(Concat(at.ndim - 1), y, call.take(x, at[..., 2 * h :])) if n % 2 else y
    return x


def along(call: Call, x: int, axis: int, W: np.ndarray, size: float = 1.0) -> int:
    """A matrix applied along one axis; `size` times its magnitudes stand behind its entries."""
    rank = len(call.shape(x))
    swap = list(range(rank))
    swap[axis], swap[-1] = swap[-1], swap[axis]
    last = axis == rank - 1
    y = call.add(
        Dense(W, None, None if size == 1.0 else Dense(size * abs(W))),
        x if last else call.add(Transpose(tuple(swap)), x),
    )
    return y if last else call.add(Transpose(tuple(swap)), y)


def cum_prod(call: Call) -> int:
    """CumProd: one product after the other."""
    x = call.activation(0)
    axis = call.axis(int(np.asarray(call.constant(1)).reshape(())), len(call.shape(x)))
    at = call.positions(x)
    n = at.shape[axis]
    if n > _STEPS:
        raise ValueError(f"CumProd of {n} entries; at most {_STEPS} are supported")
    steps = [at.take([k], axis) for k in (reversed(range(n)) if call.get("reverse", 0) else range(n))]
    entries = [call.take(x, a) for a in steps]
    found: list[int] = []
    if call.get("exclusive", 0):  # the first is a product of nothing
        found, entries = [scale(call, entries[0], np.array(0.0), np.array(1.0))], entries[:-1]
    y: int | None = None
    for e in entries:
        y = e if y is None else product(call, y, e)
        found.append(y)
    found = found[::-1] if call.get("reverse", 0) else found
    return call.add(Concat(axis), *found) if len(found) > 1 else found[0]


def det(call: Call) -> int:
    """Det of small matrices, by the first row."""
    x = call.activation(0)
    *lead, n, m = call.shape(x)
    if n != m or not 0 < n <= _ORDER:
        raise ValueError(f"Det of matrices of {n} rows; at most {_ORDER} are supported")
    at = call.positions(x).reshape(-1, n, n)

    def minor(rows: tuple[int, ...], columns: tuple[int, ...]) -> int:
        if len(rows) == 1:
            return call.take(x, at[:, rows[0], columns[0]])
        terms = []
        for k, column in enumerate(columns):
            rest = minor(rows[1:], (*columns[:k], *columns[k + 1 :]))
            terms.append((-1 if k % 2 else 1, product(call, call.take(x, at[:, rows[0], column]), rest)))
        return total(call, terms)

    return call.reshape(minor(tuple(range(n)), tuple(range(n))), lead)


_STEPS, _ORDER = 256, 4


def cum_sum(call: Call) -> int:
    """CumSum."""
    x = call.activation(0)
    axis = call.axis(int(np.asarray(call.constant(1)).reshape(())), len(call.shape(x)))
    n = call.shape(x)[axis]
    W = np.tri(n, k=-1 if call.get("exclusive", 0) else 0)
    return along(call, x, axis, W.T if call.get("reverse", 0) else W)
