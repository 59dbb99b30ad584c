"""What the laws of folded networks and of their search are swept over: settings, parts of boxes, multipliers, verdicts.

The oracle of verdicts writes each neuron as a linear function of the inputs and of the activations before it, read off
the graph's own operators (so that it knows nothing of folding), and HiGHS finds `t* = min over the box of the largest
literal margin` of each disjunct.  Thresholds are then moved so that the least t* of the property is a chosen margin.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
from scipy.optimize import linprog

from verifier.bounds.dual import Facts, Multipliers, Objective, Region, slopes
from verifier.bounds.fold import Folded
from verifier.bounds.folding import fold
from verifier.bounds.intermediate import start
from verifier.bounds.propagate import Bounds
from verifier.bounds.rows import Rows, make_rows
from verifier.graph.graph import Affine, Builder, Graph, Input
from verifier.graph.ops.affine import Add, Dense
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.moves import Reshape
from verifier.graph.ops.relu import Relu
from verifier.values.arrays import Place, to_numpy

from . import cases
from .cases import BOXES, GRAPHS, HOST, Literal, Ready, Rng, chain, exact_values, fractions, points, ready, wide_values
from .test_exact import AMBIGUOUS, solve

# ---- folded networks ----

DOUBLE = [HOST, Place("torch", "float64")]
FINE = np.longdouble(2.0**-61)
L = 4
"""Rows over outputs and inputs."""


def subnormal(rng: Rng) -> Graph:
    """Neurons so small that single precision knows only a digit or two of them."""
    first = Dense(rng.normal(size=(6, 8)) * 2e-45, None)
    return cases.stack([first, Dense(rng.normal(size=(4, 6)), None), Dense(rng.normal(size=(2, 4)) * 1e30, None)])


MAKE = {
    **GRAPHS,
    "vanishing": cases.vanishing,
    "faint": lambda rng: cases.vanishing(rng, leak=0.01),
    "subnormal": subnormal,
}


@dataclass(frozen=True)
class Setting:
    """A folded network, and what it was folded from: `A_y·y + A_x·x − d` are the rows."""

    F: Folded
    r: Ready
    bounds: Bounds
    rows: Rows
    lower: np.ndarray
    upper: np.ndarray
    A_y: np.ndarray
    A_x: np.ndarray
    d: np.ndarray

    @property
    def graph(self) -> Graph:
        return self.r.graph

    def truth(self, x: np.ndarray, exact: bool = False) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Neurons' inputs `[P, U]`, rows `[P, L]` and their magnitudes at points `[P, n]`: extended, or rational."""
        if exact:
            each = [exact_values(self.graph, p) for p in x]
            value = [np.stack([v[i] for v in each]) for i in range(len(self.graph.nodes))]
            A_y, A_x, d, at = (fractions(a) for a in (self.A_y, self.A_x, self.d, x))
        else:
            value = [v[0] for v in wide_values(self.graph, x[None])]
            A_y, A_x, d, at = (a.astype(np.longdouble) for a in (self.A_y, self.A_x, self.d, x))
        z = [value[j][:, e] for j, e in zip(self.F.source, self.F.entry, strict=True)]
        out = self.graph.outputs[0]
        size = abs(self.A_y) @ self.r.size[out] + abs(self.A_x) @ abs(x).max(0) + abs(self.d)
        return np.stack(z, 1) if z else np.zeros((len(x), 0)), value[out] @ A_y.T + at @ A_x.T - d, size


def setting(
    graph: Graph, place: Place, lower: np.ndarray, upper: np.ndarray, seed: int = 0, opened: str = ""
) -> Setting:
    """A network folded on a box.

    Args:
        opened: `wide`: bounds so wide that every neuron is undecided; `barely`: just so wide, so that bounds are far
            smaller than what cancels behind them; `later`: wide behind the first layer, which is folded away.
    """
    rng = np.random.default_rng(seed)
    r = ready(graph, place, lower[None], upper[None])
    bounds = r.walk({})
    A_y, A_x = rng.normal(size=(L, graph.nodes[r.net.output].size)), rng.normal(size=(L, len(lower)))
    A_x[::2], d = 0, rng.normal(size=L)
    rows = make_rows(graph, r.net, r.size, A_y, A_x, d)
    interval = bounds.interval
    if opened:
        xp, share = place.xp, 1e-9 if opened == "barely" else 1.5
        size = {j: r.size[j].reshape(1, *graph.nodes[j].shape) for j in interval}
        most = {j: place.array(share * (s + 1e-3 * s.max()) + 1e-290) for j, s in size.items()}
        wider = {j: (xp.minimum(l, -most[j]), xp.maximum(u, most[j])) for j, (l, u) in interval.items()}
        interval = {j: wider[j] if opened != "later" or j != min(wider) else interval[j] for j in interval}
    F = fold(r.net, rows, interval, bounds.weights(r.net), lower, upper, block=300)
    return Setting(F, r, bounds, rows, lower, upper, A_y, A_x, d)


@cache
def given(name: str, kind: str, seed: int) -> tuple[Graph, np.ndarray, np.ndarray, np.ndarray]:
    """A graph, one box, and points of it `[P, n]`: corners, the ends, others, and attacked ones."""
    rng = np.random.default_rng([seed, *name.encode(), *kind.encode()])
    graph = MAKE[name](rng)
    lower, upper = BOXES[kind](rng, graph.nodes[0].size)
    box = lower[None], upper[None]
    x = [points(rng, *box, 20), cases.attacked(rng, graph, graph.outputs[0], *box)]
    return graph, lower, upper, np.concatenate(x, 1)[0]


def act(F: Folded, z: np.ndarray) -> np.ndarray:
    """Activations in the arithmetic of z."""
    leak = to_numpy(F.leak)
    leak = fractions(leak) if z.dtype == object else leak.astype(np.longdouble)
    return np.where(z >= 0, z, z * leak[None])


def magnitudes(s: Setting, F: Folded) -> np.ndarray:
    return np.array([s.r.size[j][e] for j, e in zip(F.source, F.entry, strict=True)])


# ---- parts of their boxes ----


NAMES = ["chain", "leaky", "mirrored", "conv", "residual", "moves", "sources", "pooled"]
B = 6


def opened(name: str, seed: int, place: Place = HOST, kind: str = "plain") -> tuple[Setting, np.ndarray, Rng]:
    """A folded network with undecided neurons (all of them, for odd seeds), points of its box, and randomness."""
    rng = np.random.default_rng([seed, 77])
    while True:
        graph, lower, upper, _ = given(name, kind, seed)
        s = setting(graph, place, lower, upper, seed, opened="wide" if seed % 2 else "")
        if len(s.F.blocks) > 1 or (seed > 9 and len(s.F)):
            break
        seed += 2
    return s, points(rng, lower[None], upper[None], 400)[0], rng


def parts(rng: Rng, F: Folded, z: np.ndarray, most: int = 3, all_: bool = False) -> tuple[Region, np.ndarray]:
    """B parts, each with up to `most` neurons (or all) split as at a point; which points `[B, P]` lie in which."""
    sign = np.zeros((B, len(F)))
    for i in range(B):
        at = rng.permutation(len(F))[: len(F) if all_ else i % (most + 1)]
        sign[i, at] = np.where(z[rng.integers(len(z)), at] >= 0, 1, -1)
    within = (z[None] * sign[:, None] >= 0).all(2)
    lower, upper = (np.repeat(to_numpy(a)[None], B, 0) for a in (F.lower, F.upper))
    lower, upper = np.where(sign > 0, 0.0, lower), np.where(sign < 0, 0.0, upper)
    moved = (F.place.array(a, F.place.dtype) for a in (lower, upper, sign))
    return Region(*moved, F.center[None], F.radius[None]), within


def some_facts(rng: Rng, F: Folded, x: np.ndarray, z: np.ndarray, count: int = 3) -> tuple[Facts, np.ndarray]:
    """Random linear functions, varying by about one, `<= 0` at many of the points; and their values `[P, count]`."""
    k, U = len(F.varying), len(F)
    X, Z, H = (rng.normal(size=(count, n)) * (rng.random((count, n)) < 0.7) for n in (k, U, U))

    def value() -> np.ndarray:
        return x[:, F.varying] @ X.T.astype(np.longdouble) + z @ Z.T + act(F, z) @ H.T

    scale = np.maximum(np.ptp(value().astype(float), 0), 1e-300)[:, None] / 2
    X, Z, H = X / scale, Z / scale, H / scale
    c = -np.quantile(value().astype(float), 0.7, 0)
    return Facts(*(F.place.array(a, F.place.dtype) for a in (X, Z, H, c))), value() + c


def some_multipliers(rng: Rng, F: Folded, K: int, facts: int, size: float = 1.0) -> Multipliers:
    """Slopes in their range, and weights and multipliers of any size."""
    leak = to_numpy(F.leak)[None]
    alpha = np.clip(rng.random((B, len(F))) * 1.4 - 0.2, 0, 1) * (1 - leak) + leak
    beta, mu = (abs(rng.normal(size=(B, n))) * size * (rng.random((B, n)) < 0.8) for n in (len(F), facts))
    each = (alpha, beta, rng.dirichlet(np.ones(K), B) * rng.uniform(0.3, 2, (B, 1)), mu)
    return Multipliers(*(F.place.array(a, F.place.dtype) for a in each))


def some_rows(rng: Rng, F: Folded, K: int, facts: Facts | None = None) -> Objective:
    ids = np.stack([rng.permutation(L)[:K] for _ in range(B)])
    return Objective(F.rows, F.place.array(ids), len(F.blocks), facts)


def both(name: str, seed: int, place: Place, K: int) -> tuple[Setting, Folded, Region, Objective, Multipliers, Rng]:
    """Parts with their splits, at a place for climbing, and where climbing begins."""
    s, x, rng = opened(name, seed, Place(place.kind, "float64"))
    F = s.F.to(place)
    r, _ = parts(rng, F, s.truth(x)[0])
    return s, F, r, some_rows(rng, F, K), start(F, r, B, K), rng


def program(F: Folded, r: Region, o: Objective, i: int) -> float:
    """The optimum of the triangle relaxation of part i: the least, over its points, of the largest row.

    Infinite where the splits and the facts contradict each other on the relaxation.
    """
    k, U, ids = len(F.varying), len(F), o.ids[i]
    n, eye = k + 2 * U + 1, np.eye(U)
    line = slopes(F, r, r.lower * 0)
    open_, s, t = (a[i] for a in (line.open, line.upper, line.offset))

    def rows(X: Any = 0.0, Z: Any = 0.0, H: Any = 0.0, T: Any = 0.0, count: int = U) -> np.ndarray:
        widths = ((X, k), (Z, U), (H, U), (T, 1))
        return np.concatenate([np.broadcast_to(np.asarray(a, float), (count, w)) for a, w in widths], 1)

    equal, right = rows(-F.z.X, eye, -F.z.H), F.z.c
    slope = np.where(r.lower[i] >= 0, 1.0, F.leak)
    equal = np.concatenate([equal, rows(0, -eye * slope[:, None], eye)[~open_]])
    right = np.concatenate([right, np.zeros((~open_).sum())])
    less = [rows(0, eye, -eye)[open_], rows(0, eye * F.leak[:, None], -eye)[open_]]
    less += [rows(0, -eye * s[:, None], eye)[open_], rows(0, -eye * r.sign[i][:, None])]
    most = [np.zeros(open_.sum()), np.zeros(open_.sum()), t[open_], np.zeros(U)]
    less.append(rows(o.rows.X[ids], 0, o.rows.H[ids], -1.0, len(ids)))
    most.append(-o.rows.c[ids])
    if o.facts is not None:
        less.append(rows(o.facts.X, o.facts.Z, o.facts.H, 0, len(o.facts)))
        most.append(-o.facts.c)
    low, high = F.center - F.radius, F.center + F.radius
    box = [*zip(low, high, strict=True), *[(None, None)] * (2 * U + 1)]
    tight = {"primal_feasibility_tolerance": 1e-9, "dual_feasibility_tolerance": 1e-9}
    done = linprog(np.eye(n)[-1], np.concatenate(less), np.concatenate(most), equal, right, box, "highs", options=tight)
    assert done.status in (0, 2)
    return float(done.fun) if done.status == 0 else np.inf


# ---- properties with a known verdict ----


@dataclass(frozen=True)
class Instance:
    """A network, a box, and disjuncts of literals `a·y + c·x <= d`."""

    graph: Graph
    lower: np.ndarray
    upper: np.ndarray
    disjuncts: list[list[Literal]]


def dense(rng: Rng) -> Graph:
    """2 to 4 inputs, 1 to 3 hidden layers, a fifth of them leaky."""
    widths = (
        int(rng.integers(2, 5)),
        *(int(w) for w in rng.integers(2, 7, rng.integers(1, 4))),
        int(rng.integers(1, 4)),
    )
    return chain(rng, widths, float(np.float32(rng.choice([0.0, 0.0, 0.0, 0.0, 0.1]))))


def convolutional(rng: Rng) -> Graph:
    """One image of 1×4×4 to 2×5×5, one or two convolutions, a dense end."""
    channels, n = int(rng.integers(1, 3)), int(rng.integers(4, 6))
    b, shape = Builder(), (channels, n, n)
    x = source = b.add(Input(shape))
    for out, kernel in ((2, 3), (3, 2))[: int(rng.integers(1, 3))]:
        w = rng.normal(size=(out, channels, kernel, kernel)) / kernel
        conv = Conv(w, rng.normal(size=out) * 0.3, (2, 2) if kernel == 3 else (1, 1), ((1, 0), (0, 1)), (1, 1))
        x, channels = b.add(Relu(), [b.add(conv, [x])]), out
    size = b.graph([source], [x]).nodes[-1].size
    return b.graph([source], [b.add(cases.layer(rng, int(rng.integers(1, 4)), size), [b.add(Reshape((size,)), [x])])])


def residual(rng: Rng) -> Graph:
    """Activations and inputs that skip layers, with signs."""
    n, w = int(rng.integers(2, 5)), int(rng.integers(3, 6))
    b = Builder()
    source = b.add(Input((n,)))
    x = b.add(Relu(), [b.add(cases.layer(rng, w, n, 1.5), [source])])
    y = b.add(cases.layer(rng, w, w, 1.5), [x])
    x = b.add(Relu(), [b.add(Add((1, -1)), [x, y])])
    return b.graph(
        [source], [b.add(Add(), [b.add(cases.layer(rng, 2, w), [x]), b.add(cases.layer(rng, 2, n), [source])])]
    )


FAMILIES: dict[str, tuple[Callable[[Rng], Graph], float]] = {
    "dense": (dense, 1.0), "convolutional": (convolutional, 0.4), "residual": (residual, 1.0)
}  # fmt: skip
"""Networks, and the size of their boxes."""


def instance(family: str, seed: int) -> Instance:
    """1 to 3 disjuncts of 1 to 3 literals, some inputs fixed."""
    rng = np.random.default_rng([seed, *family.encode()])
    make, width = FAMILIES[family]
    graph = cases.short(make(rng))
    n, m = graph.nodes[0].size, graph.nodes[graph.outputs[0]].size
    center, radius = rng.normal(size=n) * 0.5, rng.uniform(0.05, 1.0, n) * width * (rng.random(n) < 0.9)
    lower, upper = (a.astype(np.float32).astype(np.float64) for a in (center - radius, center + radius))
    disjuncts: list[list[Literal]] = []
    for _ in range(int(rng.choice([1, 1, 2, 3]))):
        count, mixed = int(rng.choice([1, 2, 3])), rng.random() < 0.3
        disjuncts.append([(rng.normal(size=m), rng.normal(size=n) * mixed, rng.normal() * 0.2) for _ in range(count)])
    return Instance(graph, lower, upper, disjuncts)


# ---- the oracle ----


def functions(graph: Graph) -> tuple[list[np.ndarray], dict[int, int]]:
    """Every node's value as a linear function of (inputs, activations, 1): `[n + H + 1, size]`.

    Also: nonlinear node -> position of its first activation among the variables.
    """
    n = graph.nodes[0].size
    V = n + sum(node.size for node in graph.nodes if isinstance(node.op, Relu))
    found, first, at = [], {}, n
    for i, node in enumerate(graph.nodes):
        M = np.zeros((V + 1, *node.shape))
        if isinstance(node.op, Affine):
            M += node.op.linear(*(found[j].reshape(V + 1, *graph.nodes[j].shape) for j in node.inputs))
            bias = node.op.bias()
            M[V] += 0 if bias is None else bias
        else:
            begin, at = (0, at) if isinstance(node.op, Input) else (at, at + node.size)
            first[i] = begin
            M.reshape(V + 1, -1)[np.arange(begin, begin + node.size), np.arange(node.size)] = 1
        found.append(M.reshape(V + 1, -1))
    return found, first


def optimum(q: Instance, literals: list[Literal]) -> float:
    """t* of one disjunct; NaN where the solver's point does not attain its bound."""
    found, first = functions(q.graph)
    n, V = len(q.lower), len(found[0]) - 1
    lb, ub = np.concatenate([q.lower, np.zeros(V - n)]), np.concatenate([q.upper, np.zeros(V - n)])
    rows: list[np.ndarray] = []
    low: list[float] = []
    high: list[float] = []
    T, phases = 2 * V - n, V - n  # variables: inputs, activations, their phases, t

    def row(entries: np.ndarray, least: float, most: float) -> None:
        rows.append(entries)
        low.append(least)
        high.append(most)

    for i, begin in first.items():
        op = q.graph.nodes[i].op
        if isinstance(op, Input):
            continue
        assert isinstance(op, Relu)
        for k, z in enumerate(found[q.graph.nodes[i].inputs[0]].T):
            a, w, b = begin + k, np.zeros(T + 1), z[V]
            w[:V] = z[:V]
            l = np.maximum(z[:V], 0) @ lb + np.minimum(z[:V], 0) @ ub + b - 1e-6
            u = np.maximum(z[:V], 0) @ ub + np.minimum(z[:V], 0) @ lb + b + 1e-6
            lb[a], ub[a] = (v if v > 0 else op.leak * v for v in (l, u))
            one, phase = np.eye(T + 1)[a], np.eye(T + 1)[a + phases]
            row(one - w, b if u > 0 else -np.inf, b if l >= 0 else np.inf)
            row(one - op.leak * w, op.leak * b if l < 0 else -np.inf, op.leak * b if u <= 0 else np.inf)
            if l < 0 < u:
                gap = 1 - op.leak
                row(one - w - gap * l * phase, -np.inf, b - gap * l)
                row(one - op.leak * w - gap * u * phase, -np.inf, op.leak * b)
    last = found[q.graph.outputs[0]]
    for y, x, d in literals:
        r = np.zeros(T + 1)
        r[:V], r[T] = (last @ y)[:V], -1
        r[:n] += x
        row(r, -np.inf, d - (last @ y)[V])
    sides = (np.concatenate([v, np.full(phases, f), [t]]) for v, f, t in ((lb, 0.0, -1e4), (ub, 1.0, 1e4)))
    point, bound = solve(*sides, np.array(rows), low, high, range(V, T))
    x = np.clip(point[:n], q.lower, q.upper)
    y = q.graph.evaluate(x.reshape(1, *q.graph.nodes[0].shape))[0].reshape(-1)
    reached = max(float(r @ y + c @ x - d) for r, c, d in literals)
    return reached if abs(reached - bound) <= AMBIGUOUS else float("nan")


MARGINS = (1e-3, 1e-2, 1e-1)


@cache
def settled(family: str, seed: int) -> tuple[Instance, float] | None:
    """An instance with its thresholds moved, and the margin by which it is `unsat` (`sat` if negative)."""
    q, rng = instance(family, seed), np.random.default_rng([seed, 1])
    values = np.array([optimum(q, literals) for literals in q.disjuncts])
    if not np.isfinite(values).all():
        return None
    margin = rng.choice(MARGINS, len(values))
    if rng.random() < 0.5:
        margin[rng.integers(len(margin))] *= -1
    shift = values - margin
    moved = [[(a, c, d + t) for a, c, d in literals] for literals, t in zip(q.disjuncts, shift, strict=True)]
    return replace(q, disjuncts=moved), float(margin.min())
