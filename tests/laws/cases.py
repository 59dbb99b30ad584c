"""What the soundness laws are swept over: random graphs, boxes, points in them, properties, and a network to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from verifier.bounds.network import Network, magnitudes, prepare
from verifier.bounds.propagate import Bounds, Boxes, boxes, propagate
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Add, Dense, Scale, Sum
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.moves import Concat, Reshape, Take, Transpose
from verifier.graph.ops.pool import MaxOf, max_pool_windows
from verifier.graph.ops.relu import Relu
from verifier.graph.passes.maxima import maxima_to_relu
from verifier.spec.property import Property
from verifier.values.arrays import Place
from verifier.values.rounding import outward

Rng = np.random.Generator
PLACES = [Place(kind, dtype) for kind in ("numpy", "torch") for dtype in ("float32", "float64")]
HOST = Place("numpy", "float64")


def place_id(place: Place) -> str:
    return f"{place.kind}-{place.dtype}"


# ---- graphs: in double precision on numpy, one input, one output ----


def layer(rng: Rng, m: int, n: int, scale: float = 1.0) -> Dense:
    return Dense(rng.normal(size=(m, n)) * scale / np.sqrt(n), rng.normal(size=m) * 0.3 * scale)


def stack(layers: list[Dense], leak: float = 0.0) -> Graph:
    """Dense layers with an activation between them."""
    b = Builder()
    x = source = b.add(Input((layers[0].W.shape[1],)))
    for k, dense in enumerate(layers):
        x = b.add(dense, [x if k == 0 else b.add(Relu(leak), [x])])
    return b.graph([source], [x])


def chain(rng: Rng, widths: tuple[int, ...] = (3, 6, 6, 5, 2), leak: float = 0.0, scale: float = 1.5) -> Graph:
    return stack([layer(rng, m, n, scale) for n, m in zip(widths, widths[1:], strict=False)], leak)


def leaky(rng: Rng) -> Graph:
    return chain(rng, (3, 6, 5, 2), leak=0.1)


def mirrored(rng: Rng) -> Graph:
    """A negative leak: the activation is not monotone."""
    return chain(rng, (3, 6, 5, 2), leak=-0.5)


def cancelling(rng: Rng) -> Graph:
    """Weights of 1e4 and alternating signs, so that results are far smaller than what they are made of."""
    pair = rng.normal(size=(1, 4)) * 1e4
    first = Dense(np.concatenate([pair, pair + rng.normal(size=(5, 4))]), np.full(6, 3e4))
    signs = np.where(np.arange(6) % 2, 1e4, -1e4)
    second = Dense(signs + rng.normal(size=(4, 6)), rng.normal(size=4) * 1e3)
    return stack([first, second, Dense(np.array([[1.0, -1.0, 1.0, -1.0], [1e4, 1e4, -1e4, -1e4]]), np.zeros(2))])


def shifted(rng: Rng) -> Graph:
    """A last bias far larger than all the rest."""
    g = chain(rng, (3, 6, 5, 5, 5, 2))
    W = g.nodes[-1].op.W  # type: ignore[attr-defined]
    return stack([*(n.op for n in g.nodes[1:-1:2]), Dense(W, np.array([1e6 / 3, -1e6 / 7]))])  # type: ignore[misc]


def vanishing(rng: Rng, leak: float = 0.0) -> Graph:
    """Weights so small that float32 underflows on the way, and large ones that bring the values back."""
    scales = (1e-16, 1e-16, 1e-12, 1e22)
    widths = (3, 5, 5, 4, 2)
    layers = [layer(rng, m, n, s) for n, m, s in zip(widths, widths[1:], scales, strict=False)]
    return stack([Dense(a.W, None) for a in layers], leak)


def deep(rng: Rng) -> Graph:
    g = chain(rng, (2, *[4] * 9, 2))
    return g.cast(lambda a: abs(a) if a.ndim == 1 else a)  # without negative biases it stays alive


def conv(rng: Rng) -> Graph:
    b = Builder()
    x = source = b.add(Input((2, 4, 4)))
    w = [rng.normal(size=s) * 0.5 for s in ((3, 2, 3, 3), (4, 1, 2, 2), (3, 16))]
    x = b.add(Relu(), [b.add(Conv(w[0], rng.normal(size=3), (1, 1), ((1, 1), (1, 1)), (1, 1)), [x])])
    x = b.add(Take(rng.permutation(48)[:32], (2, 4, 4)), [x])
    x = b.add(Relu(0.1), [b.add(Conv(w[1], rng.normal(size=4), (2, 2), ((0, 0), (0, 0)), (1, 1), 2), [x])])
    return b.graph([source], [b.add(Dense(w[2], rng.normal(size=3)), [b.add(Reshape((16,)), [x])])])


def residual(rng: Rng) -> Graph:
    b = Builder()
    source = b.add(Input((4,)))
    x = b.add(Relu(), [b.add(layer(rng, 5, 4), [source])])
    y = b.add(layer(rng, 5, 5), [x])
    x = b.add(Relu(), [b.add(Add((1, -1)), [x, y])])
    z = b.add(layer(rng, 5, 5), [x])
    x = b.add(Relu(), [b.add(Add((1, 1, -1)), [z, x, y])])
    return b.graph([source], [b.add(Add(), [b.add(layer(rng, 2, 5), [x]), b.add(layer(rng, 2, 4), [source])])])


def moves(rng: Rng) -> Graph:
    """Everything that moves, sums and scales, between activations."""
    b = Builder()
    source = b.add(Input((2, 3)))
    t = b.add(Transpose((1, 0)), [source])  # [3, 2]
    x = b.add(Relu(), [b.add(layer(rng, 4, 2), [t])])  # [3, 4], the matrix carried along
    s = b.add(Scale(rng.normal(size=(3, 1)), rng.normal(size=4)), [x])
    k = b.add(Take(np.array([0, 3, -1, 5, 5, 1, 2, 11]), (2, 4)), [s])
    c = b.add(Concat(0), [k, s])  # [5, 4]
    r = b.add(Relu(0.25), [b.add(Scale(None, rng.normal(size=(5, 1))), [c])])
    u = b.add(Sum((1,), keepdims=False), [r])  # [5]
    v = b.add(Relu(), [b.add(Reshape((4, 5)), [r])])
    w = b.add(Sum((0,), keepdims=False), [b.add(layer(rng, 5, 5), [v])])  # [5]
    y = b.add(Add((1, -1)), [u, w])
    return b.graph([source], [b.add(layer(rng, 2, 5), [b.add(Relu(), [y])])])


def sources(rng: Rng) -> Graph:
    """Activations of the input, of activations, and two of one value."""
    b = Builder()
    source = b.add(Input((3,)))
    p = b.add(Relu(), [source])
    z = b.add(layer(rng, 4, 3), [p])
    a, c = b.add(Relu(), [z]), b.add(Relu(0.5), [z])
    d = b.add(Relu(), [b.add(Scale(np.array(-1.0), np.array(0.4)), [a])])
    e = b.add(Relu(), [b.add(Concat(0), [c, d, source])])
    return b.graph([source], [b.add(layer(rng, 2, 11), [b.add(Relu(), [e])])])


def pooled(rng: Rng) -> Graph:
    b = Builder()
    source = b.add(Input((1, 4, 4)))
    x = b.add(Conv(rng.normal(size=(2, 1, 2, 2)), None, (1, 1), ((0, 1), (0, 1)), (1, 1)), [source])
    pool, size = max_pool_windows((2, 4, 4), (3, 2), (1, 2), ((1, 1), (0, 0)), (1, 1))
    x = b.add(Reshape((16,)), [b.add(MaxOf(pool, size), [b.add(Relu(), [x])])])
    return maxima_to_relu(b.graph([source], [b.add(layer(rng, 2, 16), [x])]))


def sparse_layers(graph: Graph) -> Graph:
    """The same graph with every matrix kept as scipy keeps it."""
    from scipy.sparse import csr_array

    return graph.cast(lambda a: csr_array(a) if a.ndim == 2 and a.dtype.kind == "f" else a)


def thinned(rng: Rng) -> Graph:
    """Matrices that are mostly zero (still dense arrays; see `sparse_layers`)."""
    g = chain(rng, (6, 30, 30, 20, 3), leak=0.05, scale=3.0)
    return g.cast(lambda a: np.where(rng.random(a.shape) < 0.93, 0.0, a) if a.ndim == 2 else a)


GRAPHS: dict[str, Callable[[Rng], Graph]] = {
    f.__name__: f
    for f in (chain, leaky, mirrored, cancelling, shifted, deep, conv, residual, moves, sources, pooled, thinned)
}


# ---- boxes and points ----


def _box(rng: Rng, n: int, center: float, width: float) -> tuple[np.ndarray, np.ndarray]:
    c = rng.normal(size=n) * center
    return c - width * rng.random(n), c + width * rng.random(n)


def _sides(rng: Rng, n: int) -> tuple[np.ndarray, np.ndarray]:
    lower, upper = _box(rng, n, 1.0, 1.0)
    return lower, np.where(rng.random(n) < 0.5, lower, upper)


def _point(rng: Rng, n: int) -> tuple[np.ndarray, np.ndarray]:
    lower, _ = _box(rng, n, 1.0, 1.0)
    return lower, lower


BOXES: dict[str, Callable[[Rng, int], tuple[np.ndarray, np.ndarray]]] = {
    "plain": lambda rng, n: _box(rng, n, 1.0, 0.7),
    "sides": _sides,
    "huge": lambda rng, n: _box(rng, n, 1e5, 1e6),
    "tiny": lambda rng, n: _box(rng, n, 1.0, 1e-6),
    "far": lambda rng, n: _box(rng, n, 1e4, 1e-2),
    "point": _point,
}


def domains(rng: Rng, kind: str, n: int, B: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """`[B, n]` twice."""
    pairs = [BOXES[kind](rng, n) for _ in range(B)]
    return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])


def points(rng: Rng, lower: np.ndarray, upper: np.ndarray, P: int = 24) -> np.ndarray:
    """`[B, P, n]` inside the boxes: corners, the two ends, and uniform ones."""
    B, n = lower.shape
    u = rng.random((B, P, n))
    u[:, : P // 2] = np.rint(u[:, : P // 2])
    u[:, 0], u[:, 1] = 0, 1
    x = lower[:, None] + (upper - lower)[:, None] * u
    x = np.where(u == 1, upper[:, None], x)
    return np.clip(x, lower[:, None], upper[:, None])


def attacked(rng: Rng, graph: Graph, node: int, lower: np.ndarray, upper: np.ndarray, R: int = 4) -> np.ndarray:
    """`[B, R, n]`: points of the boxes where R random rows over a node are made small by sign gradients."""
    import torch

    B, n = lower.shape
    size = graph.nodes[node].size
    g = Graph(graph.nodes, graph.inputs, (node,)).cast(lambda a: torch.from_numpy(np.ascontiguousarray(a)))
    signs, units = np.sign(rng.normal(size=(R, size))), np.eye(size)[rng.integers(size, size=R)]
    rows = np.where(np.arange(R)[:, None] % 2, signs, units)
    lo, hi, row = (torch.from_numpy(a.copy()) for a in (lower[:, None], upper[:, None], rows[None]))
    x = lo + (hi - lo) * torch.from_numpy(rng.random((B, R, n)))
    rate = 0.5
    for _ in range(8):
        x = x.detach().requires_grad_()
        y = g.evaluate(x.reshape(B * R, *graph.nodes[graph.inputs[0]].shape))[0].reshape(B, R, size)
        (slope,) = torch.autograd.grad((y * row).sum(), x)
        x = torch.minimum(torch.maximum(x - rate * (hi - lo) * slope.sign(), lo), hi)
        rate *= 0.7
    return x.detach().numpy()


# ---- evaluation beyond double precision ----


def wide(graph: Graph) -> Graph:
    """The graph in extended precision: about 2000 times as precise as double."""
    assert np.finfo(np.longdouble).nmant > 60
    return graph.cast(lambda a: a.astype(np.longdouble) if a.dtype.kind == "f" else a)


def wide_values(graph: Graph, x: np.ndarray) -> list[np.ndarray]:
    """Values of every node, `[B, P, size]`, for points `[B, P, n]`."""
    B, P = x.shape[:2]
    shape = graph.nodes[graph.inputs[0]].shape
    values = wide(graph).values(x.reshape(B * P, *shape).astype(np.longdouble))
    return [np.asarray(v).reshape(B, P, -1) for v in values]


def fractions(a: Any) -> np.ndarray:
    """Numbers as exact rationals."""
    a = np.asarray(a)
    out = np.empty(a.shape, object)
    out.reshape(-1)[:] = [Fraction(float(v)) for v in a.reshape(-1)]
    return out


def exact_values(graph: Graph, x: np.ndarray) -> list[np.ndarray]:
    """Values `[size]` of every node of a stack of dense layers at one point `[n]`, in rational arithmetic."""
    values: list[np.ndarray] = []
    for node in graph.nodes:
        op = node.op
        if isinstance(op, Input):
            values.append(fractions(x))
        elif isinstance(op, Dense):
            values.append(fractions(op.W) @ values[node.inputs[0]] + (0 if op.b is None else fractions(op.b)))
        else:
            assert isinstance(op, Relu)
            leak = Fraction(op.leak)
            values.append(np.array([v if v >= 0 else v * leak for v in values[node.inputs[0]]], object))
    return values


# ---- ready for bounding ----


@dataclass(frozen=True)
class Ready:
    """A graph prepared at a place for some boxes, as a search prepares it.

    `known`: bounds of the sources on the hull of the boxes, at the place.
    """

    graph: Graph
    net: Network
    size: dict[int, np.ndarray]
    box: Boxes
    known: dict[int, Any]

    def walk(self, critical: Any = None, chunk: int = 500, known: bool = True) -> Bounds:
        keep = set(range(len(self.graph.nodes)))
        return propagate(self.net, self.box, None, keep, critical, chunk, self.known if known else None)


def ready(graph: Graph, place: Place, lower: np.ndarray, upper: np.ndarray, interval: bool = False) -> Ready:
    """`interval`: no input gets a symbol."""
    low, high = lower.min(0), upper.max(0)
    symbols = np.flatnonzero((lower < upper).any(0))[: 0 if interval else None]
    hull = boxes(low[None], high[None], symbols, "float64")
    sure = propagate(prepare(graph, HOST), hull, None, set(), {}, 10**6).interval
    known = {j: outward(*pair, place) for j, pair in sure.items()}
    box = boxes(*outward(lower, upper, place), place.array(symbols), place.dtype)
    return Ready(graph, prepare(graph, place), magnitudes(graph, low, high, sure), box, known)


# ---- properties, and a network to run ----


@dataclass(frozen=True, eq=False)
class Net:
    """What `verify` accepts: a graph, run in float32 by numpy."""

    graph: Graph
    input_dtype: str = "float32"

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(self.graph.nodes[i].shape for i in self.graph.inputs)

    @property
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        return tuple(self.graph.nodes[i].shape for i in self.graph.outputs)

    def run(self, x: np.ndarray) -> np.ndarray:
        with np.errstate(all="ignore"):
            single = self.graph.cast(Place("numpy", self.input_dtype).array)
            x = x.astype(self.input_dtype).reshape(len(x), *self.input_shapes[0])
            return single.evaluate(x)[0].reshape(len(x), -1).astype(np.float64)


def short(graph: Graph) -> Graph:
    """The graph with every parameter rounded to float32, so that double precision means the same network."""
    return graph.cast(lambda a: a.astype(np.float32).astype(np.float64) if a.dtype.kind == "f" else a)


Literal = tuple[np.ndarray, np.ndarray, float]
"""`a·y + c·x <= d`."""


def property_of(lower: Any, upper: Any, disjuncts: list[list[Literal]], strict: bool = False) -> Property:
    """One box, disjuncts of literals over outputs and inputs; every number means itself exactly."""
    low, high = (np.asarray(a, np.float64)[None] for a in (lower, upper))
    flat = [literal for disjunct in disjuncts for literal in disjunct]
    A_y, A_x, d = np.array([f[0] for f in flat]), np.array([f[1] for f in flat]), np.array([f[2] for f in flat])
    start = np.cumsum([0, *(len(s) for s in disjuncts)]).astype(np.int64)
    J, L = len(disjuncts), len(flat)
    return Property(
        low, high, low, high, np.zeros(J, np.int64), start, np.arange(L), A_y, A_x if A_x.any() else None, d, d.copy(),
        np.full(L, strict), np.zeros(L, bool),
    )  # fmt: skip


def holds(prop: Property, x: np.ndarray, y: np.ndarray) -> bool:
    """Whether a point with its outputs satisfies the property: a naive evaluation in rational arithmetic."""
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return False
    for j in range(prop.n_disjuncts):
        k = prop.box[j]
        good = all(low <= v <= high for low, v, high in zip(prop.inner_lower[k], x, prop.inner_upper[k], strict=True))
        for i in prop.literals(j):
            total = Fraction(0)
            total += sum(Fraction(float(a)) * Fraction(float(v)) for a, v in zip(prop.A_y[i], y, strict=True))
            if prop.A_x is not None:
                total += sum(Fraction(float(a)) * Fraction(float(v)) for a, v in zip(prop.A_x[i], x, strict=True))
            good = good and (total < prop.inner_d[i] if prop.strict[i] else total <= prop.inner_d[i])
        if good:
            return True
    return False
