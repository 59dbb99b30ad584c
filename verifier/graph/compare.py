"""Comparing a graph with the model in onnxruntime, and how far rounding may put their values apart."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from verifier.graph.graph import Affine, Elementwise, Graph, Operator, Rowwise
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.product import Difference, Dot, Product, Share
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.values.arrays import Array, Place, namespace
from verifier.values.errors import ModelError, UnsoundBound

_UNIT = {"float32": 2.0**-24, "float64": 2.0**-53, "float16": 2.0**-11}
_TINY = {"float32": 1e-38, "float64": 1e-300, "float16": 6.2e-5}
_MARGIN = 1000.0
"""How many times what rounding does to our own graph it may do to the original."""
_ANY = 1e30
"""Where nothing is known of an error."""
_RELATIVE = ("exp", "power", "square")
"""Curves whose kernels keep the relative error small; others keep the absolute one."""


def moved(op: Operator, x: Array, e: Array, y: Array, u: float) -> Array:
    """How far `y = op(x)` may be off where x is by up to e, and where computing y itself rounds in units of u."""
    xp = namespace(x)
    if isinstance(op, Product):
        a, b, ea, eb = x[..., 0], x[..., 1], e[..., 0], e[..., 1]
        return xp.abs(a) * eb + xp.abs(b) * ea + ea * eb + 2 * u * xp.abs(y)
    if isinstance(op, Dot):
        k = x.shape[-1] // 2
        a, b, ea, eb = x[..., :k], x[..., k:], e[..., :k], e[..., k:]
        return (xp.abs(a) * eb + xp.abs(b) * ea + ea * eb + (k + 2) * u * xp.abs(a * b)).sum(-1)
    if isinstance(op, Gate):
        jump = xp.where(xp.abs(x[..., 1]) <= e[..., 1], xp.abs(x[..., 0]), x[..., 0] * 0) * abs(1 - op.leak)
        return max(1.0, abs(op.leak)) * e[..., 0] + jump + u * xp.abs(y)
    if isinstance(op, Difference):
        return (e + 2 * u * xp.abs(x))[..., :2].sum(-1)
    if isinstance(op, Share):
        top = xp.amax(x, -1)[..., None]
        reach = 2 * xp.amax(e, -1)[..., None] + u * (top - x + x.shape[-1] + 8)
        return y * xp.expm1(xp.minimum(reach, 50.0)) + u * 2.0**-20
    if isinstance(op, Rowwise):
        raise ValueError(f"no error is known of {type(op).__name__}")
    far = _far(op, x, e, y)
    if isinstance(op, Step) and op.kind == "zero":
        return xp.where(xp.abs(x) <= e, x * 0 + 1, x * 0)
    if isinstance(op, Step) or op.exact:
        return far
    if isinstance(op, Relu):
        return far + u * xp.abs(y)
    scale = xp.abs(y) if isinstance(op, Curve) and op.kind in _RELATIVE else xp.abs(y) + xp.abs(x) + 1.0
    return far + 8 * u * scale


def _far(op: Operator, x: Array, e: Array, y: Array) -> Array:
    """How far y is from the values at `x ± e`, as far as those exist, and by the derivative where they don't."""
    xp = namespace(x)
    with np.errstate(all="ignore"):
        sides = [xp.abs(op.evaluate(x + e) - y), xp.abs(op.evaluate(x - e) - y)]
        if isinstance(op, Elementwise) and not all(bool(xp.isfinite(s).all()) for s in sides):
            sides = [xp.where(xp.isfinite(s), s, xp.abs(op.slope(x)) * e) for s in sides]
    far = xp.maximum(*sides)
    return xp.where(xp.isfinite(far), far, x * 0 + _ANY) if isinstance(op, Elementwise) else far


@np.errstate(all="ignore")  # what is not defined is compared, not complained of
def check(model: Any, graph: Graph | None = None) -> None:
    """Compare a graph (the model's own unless given) with onnxruntime on a few random inputs.

    What may differ is rounding: its first-order bound is carried through the graph next to the values.  Large networks
    are compared on one point, so that this takes little time.

    Args:
        model: a `Model`, or several joined into one: whatever has its graph, path, input_shapes, input_dtype and run.
        graph: see above.

    Raises:
        UnsoundBound: if they differ by more.
    """
    graph = graph or model.graph
    work = sum(n.op.work(*graph.shapes_in(i)) for i, n in enumerate(graph.nodes) if isinstance(n.op, Affine))
    points = 3 if work < 1_000_000 else 1
    x, expected = _finite_points(model, points)
    values, error = _with_error(model, graph, x)
    if values.shape != expected.shape:
        raise UnsoundBound(f"{model.path}: {values.shape[1]} outputs, where onnxruntime has {expected.shape[1]}")
    off, allowed = np.abs(values - expected), np.minimum(4 * error, _usual(model, graph, x, values))
    if not (off <= allowed).all():  # also where either is NaN
        raise UnsoundBound(f"{model.path}: differs from onnxruntime by {off.max():.3g} on random inputs; report it")


def _usual(model: Any, graph: Graph, x: list[np.ndarray], values: np.ndarray) -> float:
    """How much rounding usually does, with a wide margin: what it does to our own graph in the model's type.

    The bound on rounding says nothing in deep networks, where it grows with every layer.  Where numbers jump there is
    no usual amount.
    """
    if model.input_dtype != "float32" or any(isinstance(n.op, Step) for n in graph.nodes):
        return np.inf
    with np.errstate(all="ignore"):
        shapes = [graph.nodes[i].shape for i in graph.inputs]
        given = (a.astype(np.float32).reshape(len(a), *s) for a, s in zip(x, shapes, strict=True))
        coarse = graph.cast(Place("numpy", "float32").array).evaluate(*given)
    joined = np.concatenate([np.asarray(a, np.float64).reshape(len(a), -1) for a in coarse], 1)
    typical = np.abs(joined - values).max(initial=0.0) + _UNIT["float32"] * np.abs(values).max(initial=0.0)
    return float(_MARGIN * typical + _TINY["float32"]) if np.isfinite(typical) else np.inf


def _finite_points(model: Any, count: int) -> tuple[list[np.ndarray], np.ndarray]:
    """Random points at which all outputs are finite, and the outputs."""
    rng = np.random.default_rng(0)
    for draw in (rng.standard_normal, rng.random, lambda size: 1.0 + rng.random(size)):  # logarithms want more than 0
        x = [draw((count, prod(s))) * rng.choice([0.3, 1.0, 3.0], (count, 1)) for s in model.input_shapes]
        for a, fixed in zip(x, getattr(model, "decided", None) or (), strict=False):
            a[:, ~np.isnan(fixed)] = fixed[~np.isnan(fixed)]
        x = [a.astype(model.input_dtype).astype(np.float64) for a in x]
        expected = model.run(*x)
        good = np.isfinite(expected).all(1)
        if good.any():
            return [a[good] for a in x], expected[good]
    raise ModelError(f"{model.path}: its outputs on random inputs are not finite; its weights are too large")


def _with_error(model: Any, graph: Graph, x: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Outputs `[B, m]`, and how far rounding in the model's type may put others off them."""
    u, tiny = _UNIT[model.input_dtype], _TINY[model.input_dtype]
    values: list[np.ndarray] = [np.zeros(0)] * len(graph.nodes)
    errors: list[np.ndarray] = [np.zeros(0)] * len(graph.nodes)
    for i, a in zip(graph.inputs, x, strict=True):
        values[i] = a.reshape(len(a), *graph.nodes[i].shape)
        errors[i] = np.zeros(values[i].shape)
    for i, node in enumerate(graph.nodes):
        if i in graph.inputs:
            continue
        op, v, e = node.op, [values[j] for j in node.inputs], [errors[j] for j in node.inputs]
        values[i] = y = op.evaluate(*v)
        if isinstance(op, Affine):
            size, b = op.absolute(), op.absolute().bias()
            step = 0.0 if op.exact else u * (op.terms(*graph.shapes_in(i)) + 4)
            error = size.linear(*(f + step * abs(a) for a, f in zip(v, e, strict=True)))
            errors[i] = error if op.exact else error + (tiny if b is None else step * b + tiny)
        else:
            errors[i] = moved(op, v[0], e[0], y, u) + (0.0 if op.exact else tiny)
    out = [np.concatenate([a[i].reshape(len(a[i]), -1) for i in graph.outputs], 1) for a in (values, errors)]
    return out[0], out[1]
