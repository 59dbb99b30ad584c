"""Comparing a graph with the model in onnxruntime, and how far rounding may put their values apart."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from verifier.graph.graph import Affine, Elementwise, Graph, Operator, Rowwise, Tick, nothing
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.fit import WHOLE, Fit, limits
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.near import Near
from verifier.graph.ops.product import Difference, Dot, Product, Share
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.values.arrays import Array, Place, namespace
from verifier.values.errors import ModelError, UnsoundBound

UNIT = {"float32": 2.0**-24, "float64": 2.0**-53, "float16": 2.0**-11}
TINY = {"float32": 1e-38, "float64": 1e-300, "float16": 6.2e-5}
_MOST = {"float32": 1e30, "float64": 1e290, "float16": 500.0}
"""Beyond that products with weights, and sums of them, may overflow."""
_SMALL = 1_000_000
"""Multiply-adds below which a network is compared on many points."""
_MARGIN = 1000.0
"""How many times what rounding does to our own graph it may do to the original."""
_FLOOR = 4.0
"""Units of rounding by which values may always differ behind curves whose kernels keep the absolute error small: where
these saturate, ours may be the smallest of numbers and rounded as such."""
_VARIED = 0.05, 0.01
"""Which share of a point's entries must differ from the middle one, and how far relative to the largest, for the point
to tell where weights stand."""
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
        nothing = x[..., 1] * 0  # whatever v is, which may have no value
        jump = xp.where(xp.abs(x[..., 1]) <= e[..., 1], xp.abs(x[..., 0]), nothing) * abs(1 - op.leak)
        passed = e[..., 0] if op.leak else xp.where(x[..., 1] < -e[..., 1], nothing, e[..., 0])
        return max(1.0, abs(op.leak)) * passed + jump + u * xp.abs(y)
    if isinstance(op, Difference):
        return (e + 2 * u * xp.abs(x))[..., :2].sum(-1)
    if isinstance(op, Share):
        top = xp.amax(x, -1)[..., None]
        reach = 2 * xp.amax(e, -1)[..., None] + u * (top - x + x.shape[-1] + 8)
        return y * xp.expm1(xp.minimum(reach, 50.0)) + u * 2.0**-20
    if isinstance(op, Rowwise):
        raise ValueError(f"no error is known of {type(op).__name__}")
    far = _far(op, x, e, y)
    if isinstance(op, Fit):
        return _held(op, x, e, y)
    if isinstance(op, Near):
        return e + op.coding(xp.abs(y))
    if isinstance(op, Step) and op.kind == "zero":
        return xp.where(xp.abs(x) <= e, x * 0 + 1, x * 0)
    rest = isinstance(op, Step) and op.kind == "rest"
    if (isinstance(op, Step) and not rest) or op.exact:
        return far
    if rest or isinstance(op, Relu):
        return far + u * xp.abs(y)
    scale = xp.abs(y) if isinstance(op, Curve) and op.kind in _RELATIVE else xp.abs(y) + xp.abs(x) + 1.0
    return far + 8 * u * scale


def after(
    graph: Graph, i: int, v: list[np.ndarray], e: list[np.ndarray], y: np.ndarray, u: float, tiny: float
) -> np.ndarray:
    """How far node i's value y may be off, where what it reads, v, is by up to e; u and tiny: of the arithmetic."""
    op = graph.nodes[i].op
    if not isinstance(op, Affine):
        return np.asarray(moved(op, v[0], e[0], y, u) + (0.0 if op.exact else tiny))
    size, b = op.absolute(), op.absolute().bias()
    step = 0.0 if op.exact else u * (op.terms(*graph.shapes_in(i)) + 4)
    error = size.linear(*(f + step * abs(a) for a, f in zip(v, e, strict=True)))
    return np.asarray(error if op.exact else error + (tiny if b is None else step * b + tiny))


def _held(op: Fit, x: Array, e: Array, y: Array) -> Array:
    """As `moved`: onnxruntime may leave out a rounding between two operators, and sums beyond a type as it likes."""
    low, high = (float(v) for v in limits(op.kind))
    far = e + 2 * (op.error[0] * namespace(x).abs(y) + op.error[1])
    if op.how == "overflows" and op.kind in UNIT:
        far = far + 2 * UNIT[op.kind] * namespace(x).abs(y) + TINY[op.kind]
    beyond = min(high - low, _ANY) if op.kind in WHOLE else _ANY
    return namespace(x).where((x - e >= low) & (x + e <= high), far, x * 0 + beyond)


def _far(op: Operator, x: Array, e: Array, y: Array) -> Array:
    """How far y is from the values at `x ± e`, as far as those exist, and by the derivative where they don't."""
    xp = namespace(x)
    with np.errstate(all="ignore"):
        sides = [xp.abs(op.evaluate(x + e) - y), xp.abs(op.evaluate(x - e) - y)]
        if isinstance(op, Elementwise) and not all(bool(xp.isfinite(s).all()) for s in sides):
            sides = [xp.where(xp.isfinite(s), s, xp.abs(op.slope(x)) * e) for s in sides]
    far = xp.maximum(*sides)
    return xp.where(xp.isfinite(far), far, x * 0 + _ANY) if isinstance(op, Elementwise) else far


@dataclass(frozen=True, eq=False)
class _Ours:
    """What our graph makes of points, and how far others may be off.

    Attributes:
        values: `[P, m]` outputs.
        error: `[P, m]` a bound on what rounding in the model's type does.
        usual: `[P]` how much it usually does; large: `[P]` whether some number on the way may be none of that type.
        asked: how many of the points, the last ones, are asked about.
    """

    values: np.ndarray
    error: np.ndarray
    usual: np.ndarray
    large: np.ndarray
    asked: int

    def counts(self, expected: np.ndarray) -> np.ndarray:
        """Which outputs are compared `[P, m]`; see `off`."""
        counted = np.isfinite(self.values - expected) & ~self.large[:, None]
        counted[: len(counted) - self.asked] = True
        return counted

    def off(self, expected: np.ndarray) -> np.ndarray:
        """The largest difference from `expected` at each point that rounding does not explain `[P]`; 0 for none.

        At the last `asked` points counts what is finite on both sides and cannot have overflowed in the model's type:
        where onnxruntime's number is none, its arithmetic has ended and real arithmetic may go on, and where ours is
        none, bounds say nothing.  At the others everything counts.
        """
        apart, allowed = np.abs(self.values - expected), np.minimum(4 * self.error, self.usual[:, None])
        wrong = ~(apart <= allowed) & self.counts(expected)  # also where either is NaN
        return np.where(wrong, np.where(np.isnan(apart), np.inf, apart), 0.0).max(1, initial=0.0)


@np.errstate(all="ignore")  # what is not defined is compared, not complained of
def check(
    model: Any,
    graph: Graph | None = None,
    sample: np.ndarray | None = None,
    drawn: bool = True,
    tick: Tick = nothing,
) -> None:
    """Compare a graph (the model's unless given) with onnxruntime on random inputs and on some that are asked about.

    What may differ is rounding: its first-order bound is carried through the graph next to the values.  Large networks
    are compared on one point that is asked about, and on a random one where there is none or its entries are alike.

    onnxruntime's optimised kernels may do something else than the model says (weights of eight bits multiplied by
    activations of eight bits); so where both differ, it is asked again without optimisation.  If that agrees, the model
    is taken, and keeps the other one as its `second`, by which counterexamples are judged, too.

    Args:
        model: a `Model`, or several joined into one: whatever has its graph, path, input_shapes, input_dtype and run.
        graph: see above.
        sample: `[P, n]` points of the input set, the most telling first, for a model with one input.
        drawn: whether to compare at random points; without, outputs that are no numbers are none of its business.
        tick: called before every node that is evaluated.

    Raises:
        UnsoundBound: if they differ by more.
        ModelError: outputs are no numbers, or ours are none at any random input.
    """
    graph, name = graph or model.graph, getattr(model, "path", "the module")
    model = getattr(model, "reference", None) or model
    work = graph.work
    x, expected, asked = _points(model, sample, work < _SMALL, drawn)
    if not len(expected):
        return None
    ours = _ours(model, graph, x, asked, tick=tick)
    if drawn and not np.isfinite(ours.values[: len(expected) - asked]).all():
        x, expected, ours = _telling(model, graph, x, expected, asked)
        if not np.isfinite(ours.values[: len(expected) - asked]).all(1).any():  # no bound would be finite either
            raise ModelError(
                f"{name}: its outputs are numbers, but in real arithmetic some on the way leave the range of doubles at"
                " every input tried; nothing can be proved of it: scale its weights"
            )
    if ours.values.shape != expected.shape:
        raise UnsoundBound(f"{name}: {ours.values.shape[1]} outputs, where the original has {expected.shape[1]}")
    off = ours.off(expected)
    if not ours.counts(expected).any():  # none of these points says anything
        return check(model, graph, tick=tick) if drawn and sample is not None else None
    if not off.any() or _explained(model, ours, x, expected):
        return None
    second = model.unoptimised() if hasattr(model, "unoptimised") else None
    if second is None or ours.off(second.run(*x)).any():
        if hasattr(model, "differs"):
            raise model.differs(float(off.max()))
        where = "random inputs" if off[: len(off) - asked].any() else "inputs that are asked about"
        original = "onnxruntime" if hasattr(model, "path") else "torch"
        raise UnsoundBound(f"{name}: differs from {original} by {off.max():.3g} on {where}; report it")
    model.take_second(second)
    return None


def _explained(model: Any, ours: _Ours, x: list[np.ndarray], expected: np.ndarray) -> bool:
    """Whether the model's graph as it was read explains a difference from the simplified one.

    What was merged rounds no more: `(x + 1) - 1` is x.  So the graph as it was read is compared with the original, in
    the model's type, and with the simplified graph, in double precision.

    If what differs is no more than rounding can do, though more than it usually does, each operator is looked at alone:
    of some onnxruntime's kernels, or the standard's own definition, compute in single precision where a model's type is
    double; and what is added and taken off again (Clip's ends) swallows small numbers in our arithmetic, not in theirs.
    """
    read = getattr(model, "graph", None)
    if read is None:
        return False
    plain = _ours(model, read.cast(Place("numpy", "float64").array), x, ours.asked)
    apart = np.abs(plain.values - ours.values)
    merged = apart <= 4 * (plain.error + ours.error) * (UNIT["float64"] / UNIT[model.input_dtype])
    if not (merged | ~ours.counts(expected)).all():
        return False
    if not plain.off(expected).any():
        return True
    rough = _ours(model, read, x, ours.asked, "float32") if model.input_dtype == "float64" else plain
    if replace(rough, usual=rough.usual + np.inf).off(expected).any():
        return False
    from verifier.graph.apiece import agrees  # only here: hardly any model comes so far

    return agrees(model, x)


def _points(
    model: Any, sample: np.ndarray | None, small: bool, drawn: bool
) -> tuple[list[np.ndarray], np.ndarray, int]:
    """Points to compare at, the model's outputs there, and how many of them, the last ones, are asked about."""
    if sample is None:
        return *_finite_points(model, 3 if small else 1, False), 0
    asked = (sample if small else sample[:1]).astype(model.input_dtype).astype(np.float64)
    asked = asked[np.isfinite(asked).all(1)]
    _decide(model, [asked])
    found = model.run(asked) if len(asked) else np.zeros((0, 0))
    telling = np.isfinite(found).all(1) & (np.abs(asked).max(1, initial=0.0) ** 2 < _MOST[model.input_dtype])
    if not drawn or (telling.any() and not small and _varied(asked[0])):  # no second evaluation where one takes long
        return [asked], found, len(asked)
    x, expected = _finite_points(model, 3 if small else 1, bool(telling.any()))
    if not len(asked):
        return x, expected, 0
    return [np.concatenate([x[0], asked])], np.concatenate([expected, found]), len(asked)


def _varied(x: np.ndarray) -> bool:
    """Whether a point's entries differ: at zero a product shows nothing of its weights, and among equals only a sum."""
    share, far = _VARIED
    middle = np.median(x) if len(x) > 1 else 0.0
    return bool(x.any() and (abs(x - middle) > far * abs(x).max()).mean() >= share)


def _decide(model: Any, x: list[np.ndarray]) -> None:
    """Put the entries that the model was read with into the points."""
    for a, fixed in zip(x, getattr(model, "decided", None) or (), strict=False):
        a[:, ~np.isnan(fixed)] = fixed[~np.isnan(fixed)]


def _usual(model: Any, graph: Graph, x: list[np.ndarray], values: np.ndarray, asked: int, tick: Tick) -> np.ndarray:
    """How much rounding usually does `[P]`, with a wide margin: what it does to our own graph in the model's type.

    The bound on rounding says nothing in deep networks, where it grows with every layer.  Where numbers jump there is
    no usual amount.  It is one number for the last `asked` points, and another for those before.
    """
    if model.input_dtype != "float32" or any(isinstance(n.op, (Step, Fit, Near)) for n in graph.nodes):
        return np.full(len(values), np.inf)
    with np.errstate(all="ignore"):
        shapes = [graph.nodes[i].shape for i in graph.inputs]
        given = (a.astype(np.float32).reshape(len(a), *s) for a, s in zip(x, shapes, strict=True))
        coarse = graph.cast(Place("numpy", "float32").array).evaluate(*given, tick=tick)
    joined = np.concatenate([np.asarray(a, np.float64).reshape(len(a), -1) for a in coarse], 1)
    ends = (slice(len(values) - asked), slice(len(values) - asked, None))
    kinds = [getattr(n.op, "kind", "share") for n in graph.nodes if isinstance(n.op, (Curve, Share))]
    saturating = any(kind not in _RELATIVE for kind in kinds)
    least = _FLOOR * UNIT["float32"] if saturating else 0.0
    return np.concatenate([np.full(len(values[at]), least + _typical(joined[at], values[at])) for at in ends])


def _typical(coarse: np.ndarray, values: np.ndarray) -> float:
    typical = np.abs(coarse - values).max(initial=0.0) + UNIT["float32"] * np.abs(values).max(initial=0.0)
    return float(_MARGIN * typical + TINY["float32"]) if np.isfinite(typical) else np.inf


def _finite_points(model: Any, count: int, optional: bool) -> tuple[list[np.ndarray], np.ndarray]:
    """Random points at which all outputs are finite, and the outputs; where that is optional, there may be none."""
    rng = np.random.default_rng(0)
    # Logarithms want more than 0, Acosh more than 1.
    for start, draw in ((0.0, rng.standard_normal), (0.0, rng.random), (1.0, rng.random), (4.0, rng.random)):
        x = [(start + draw((count, prod(s)))) * rng.choice([0.3, 1.0, 3.0], (count, 1)) for s in model.input_shapes]
        _decide(model, x)
        x = [a.astype(model.input_dtype).astype(np.float64) for a in x]
        expected = model.run(*x)
        good = np.isfinite(expected).all(1)
        if good.any() or optional:
            return [a[good] for a in x], expected[good]
    raise ModelError(f"{model.path}: its outputs on random inputs are not finite; its weights are too large")


def _telling(
    model: Any, graph: Graph, x: list[np.ndarray], expected: np.ndarray, asked: int
) -> tuple[list[np.ndarray], np.ndarray, _Ours]:
    """Random points at which our numbers are finite, too, in the place of those that were drawn.

    Real arithmetic that follows other ways than a kernel may end earlier: an exponential overflows that a kernel has
    shifted, a root that is not chosen is none.  Nearer to zero and above it that is less often so.
    """
    rng, drawn = np.random.default_rng(1), len(expected) - asked
    for size in (0.1, 1e-2, 1e-4, 1e-6):
        for draw in (rng.standard_normal, rng.random):
            y = [np.concatenate([size * draw((drawn, a.shape[1])), a[drawn:]]) for a in x]
            _decide(model, y)
            y = [a.astype(model.input_dtype).astype(np.float64) for a in y]
            found = model.run(*y)
            ours = _ours(model, graph, y, asked)
            if np.isfinite(ours.values[:drawn]).all() and np.isfinite(found[:drawn]).all():
                return y, found, ours
    return x, expected, _ours(model, graph, x, asked)


def _ours(
    model: Any, graph: Graph, x: list[np.ndarray], asked: int, precision: str = "", tick: Tick = nothing
) -> _Ours:
    """Our graph on points `[P, n]`, the last `asked` of them those that are asked about; rounding as of `precision`."""
    precision = precision or getattr(model, "precision", "") or model.input_dtype
    u, tiny, most = (table[precision] for table in (UNIT, TINY, _MOST))
    values: list[np.ndarray] = [np.zeros(0)] * len(graph.nodes)
    errors: list[np.ndarray] = [np.zeros(0)] * len(graph.nodes)
    for i, a in zip(graph.inputs, x, strict=True):
        values[i] = a.reshape(len(a), *graph.nodes[i].shape)
        errors[i] = np.zeros(values[i].shape)
    for i, node in enumerate(graph.nodes):
        if i in graph.inputs:
            continue
        tick()
        v, e = [values[j] for j in node.inputs], [errors[j] for j in node.inputs]
        values[i] = node.op.evaluate(*v)
        errors[i] = after(graph, i, v, e, values[i], u, tiny)
    reach = [np.abs(v).reshape(len(v), -1).max(1, initial=0.0) for v in values]
    out, error = (np.concatenate([a[i].reshape(len(a[i]), -1) for i in graph.outputs], 1) for a in (values, errors))
    return _Ours(out, error, _usual(model, graph, x, out, asked, tick), ~(np.max(reach, 0) < most), asked)
