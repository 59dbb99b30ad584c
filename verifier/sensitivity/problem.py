"""A network's derivative folded on a set, with everything that a search for its largest norm reads."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import inf

import numpy as np

from verifier.bounds.fold import Folded
from verifier.bounds.folding import fold
from verifier.bounds.forward import concretize
from verifier.bounds.layers import Layer
from verifier.bounds.network import Network, Tick, magnitudes, nothing, prepare
from verifier.bounds.plan import Plan, plan
from verifier.bounds.propagate import Boxes, boxes, propagate
from verifier.bounds.rows import make_rows, rows_backward
from verifier.graph.graph import Affine, Graph
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.norm import Norm
from verifier.relax import table
from verifier.search.query import MOST_SYMBOLS
from verifier.sensitivity.feasible import LOST
from verifier.sensitivity.objective import SEED_NAME, measured, pulled_back, pushed_forward
from verifier.sensitivity.ramp import ramped
from verifier.values.arrays import Place, to_numpy
from verifier.values.box import Box
from verifier.values.rounding import gamma, tiny
from verifier.values.sets import InputSet


class Unbounded(Exception):
    """A value or a derivative may be infinite on the set: nothing is said of it there."""


CHUNK = 500_000
"""Numbers in one block of rows."""
LOSES = 1e-9
"""Share of a derivative by which its certain bound at a point may lie below what is computed there."""


@dataclass(frozen=True, eq=False)
class Problem:
    """Functionals of a network and a set of inputs on which the largest norms of their derivatives are sought.

    Attributes:
        derivative: `(x, r)` -> a row r of the outputs times the Jacobian at x, or the Jacobian times a direction r.
        graph: `(x, r)` -> what is maximised, of that.
        net: the same, ready for bounding, in double precision.
        F: the graph folded on the set, and on the hull of all seeds.  plan: how its rows hang together.
        low, high: `[n]` the box.  inner: a box in it, where points that are tried lie.
        ball: what the box is cut to, if anything.
        seeds: `[K, m]`.
        goals: `[G, 2]` what is maximised: which seed, and which of the folded network's objectives.
        kinks: `[N]` which rows of the folded network a gate opens and shuts at zero.
        entries: bounds `[2, n]` of the derivatives over the set and all seeds together.
        soft: the graph with gates that give way gradually, for gradient search.
        dual: the norm of the derivative.
    """

    derivative: Graph
    graph: Graph
    net: Network
    F: Folded
    plan: Plan
    low: np.ndarray
    high: np.ndarray
    inner: Box
    ball: InputSet | None
    seeds: np.ndarray
    goals: np.ndarray
    kinks: np.ndarray
    entries: np.ndarray
    soft: Graph
    dual: float

    def outer(self, layer: Layer) -> bool:
        """Whether units are of the norm itself: no other unit depends on them.

        Norms that are sums of magnitudes, or the largest, have none where every sign is known: what is last then is
        a layer of the derivative.
        """
        return self.dual not in (1, inf) and layer.users.stop <= layer.users.start

    def within(self, x: np.ndarray) -> np.ndarray:
        """Points `[P, n]` moved into the set."""
        if self.ball is not None:
            x = self.ball.rounded(x, "float64")
        return np.clip(x, self.inner.lower, self.inner.upper)

    @np.errstate(all="ignore")
    def evaluate(self, x: np.ndarray, seeds: np.ndarray, entry: np.ndarray) -> np.ndarray:
        """What is maximised at points `[P, n]`, for seeds `[P, m]`, as computed: `[P]`."""
        (value,) = self.graph.evaluate(np.concatenate([x, seeds], 1))
        return picked(value.reshape(len(x), -1), entry)

    @np.errstate(all="ignore")
    def derivatives(self, x: np.ndarray) -> np.ndarray:
        """`[P, K, n]` the derivatives for all seeds at points `[P, n]`, as computed."""
        K = len(self.seeds)
        joint = np.concatenate([np.repeat(x, K, 0), np.tile(self.seeds, (len(x), 1))], 1)
        (value,) = self.derivative.evaluate(joint)
        return value.reshape(len(x), K, -1)

    @np.errstate(all="ignore")
    def certain(self, x: np.ndarray, seed: np.ndarray, entry: int, off: np.ndarray | None = None) -> float:
        """A lower bound of what is maximised on the set, from a point `[n]`: minus infinity where nothing is certain.

        By interval arithmetic on the point alone: where a neuron is so near its kink that rounding hides its sign, both
        signs count.  Where that loses something, by a walk back: a kink that is none (a tie of a number with itself,
        with its copy, with an equal sum) has a derivative of zero at whatever it opens and shuts, and what comes of
        both sides cancels in the row.  `off` `[m]` is what the seed may be off by, where it is a result of rounding:
        then the bound is for all seeds so near.

        Sound because: near a point whose signs are certain the network has the derivative bounded, and what holds for
        every derivative of a gate holds for those that it has near by.
        """
        if self.ball is not None and not self.ball.contains(x):
            return -inf
        low, high = (seed, seed) if off is None else (np.nextafter(seed - off, -inf), np.nextafter(seed + off, inf))
        lower, upper = (np.concatenate([x, end])[None] for end in (low, high))
        b = boxes(lower, upper, np.zeros(0, int), "float64")
        out = self.net.output
        form = propagate(self.net, b, None, {out}, None, CHUNK).forms[out]
        low, high = (to_numpy(a).reshape(-1) for a in concretize(form, "float64"))
        value = low[entry] if entry < len(low) else -high[entry - len(low)]
        near = self.evaluate(x[None], seed[None], np.array([entry]))[0]
        if not value >= near - LOSES * abs(near):
            value = np.fmax(value, self._walked(b, entry))
        return float(value) if np.isfinite(value) else -inf

    def _walked(self, b: Boxes, entry: int) -> float:
        """A lower bound of what is maximised on a box of points and seeds, by rows walked back."""
        graph, net, R = self.graph, self.net, self.graph.nodes[self.net.output].size
        bounds = propagate(net, b, None, set(), {}, CHUNK)
        if bounds.broken is not None and bool(bounds.broken.any()):
            return -inf
        host = {j: (to_numpy(l), to_numpy(u)) for j, (l, u) in bounds.interval.items()}
        row = np.where(np.arange(R) == entry % R, 1.0 if entry < R else -1.0, 0.0)[None]
        size = magnitudes(graph, b.lower[0], b.upper[0], host)
        rows = make_rows(graph, net, size, row, None, np.zeros(1))
        planes = rows_backward(net, rows, np.zeros((1, 1), int), bounds.weights(net), bounds.relaxed)
        A, least = to_numpy(planes.A)[0], to_numpy(planes.b - planes.error)[0]
        reach = abs(A) @ b.radius[0]
        error = gamma(len(A) + 8, "float64") * (abs(A) @ abs(b.center[0]) + abs(least) + reach)
        return float(least + A @ b.center[0] - reach - error)

    @np.errstate(all="ignore")
    def plain(self) -> float:
        """An upper bound of what is maximised, of every seed, from the bounds of the entries alone."""
        size = np.maximum(abs(self.entries[0]), abs(self.entries[1]))
        if self.dual == inf or not len(size):
            return inf
        if self.dual in (1, 2):
            value = float((size**self.dual).sum()) * (1 + gamma(len(size) + 4, "float64")) + len(size) * tiny("float64")
        else:
            value = float(table.image(Norm(self.dual), -size, size)[1])
        return value if value < inf else inf

    def norm(self, value: np.ndarray, up: bool) -> np.ndarray:
        """What is maximised as norms, rounded up or down.

        An exponent r that is off by two units changes a norm of n numbers by the factor `n^(2u/r)` at most: the
        logarithm of a norm falls with r, by at most `log(n)/r²`.
        """
        side = 1 if up else -1
        if self.dual in (1, inf):
            return value
        if self.dual != 2:
            return value * (1 + side * gamma(4 + 4 * len(self.low).bit_length(), "float64"))
        # Squares that are too small to be numbers were rounded to zero.
        return np.sqrt(np.maximum(value, 0.0)) * (1 + side * gamma(4, "float64")) + (LOST if up else 0.0)


def picked(value: np.ndarray, entry: np.ndarray) -> np.ndarray:
    """Of values `[P, R]` the entries `[P]`, those at or beyond R being minus the ones so many before."""
    R = value.shape[1]
    return np.where(entry < R, 1.0, -1.0) * value[np.arange(len(value)), entry % R]


@np.errstate(all="ignore")  # what is not defined or overflows proves nothing
def pose(  # noqa: PLR0913
    graph: Graph,
    box: Box,
    seeds: np.ndarray,
    dual: float,
    ball: InputSet | None = None,
    along: bool = False,
    tick: Tick = nothing,
    inner: Box | None = None,
    recurjac: bool = False,
    counted: np.ndarray | None = None,
) -> Problem:
    """Fold the derivative of a network on a set.

    Args:
        graph: one input of n entries, one output of m, in double precision on numpy.
        box: of the inputs.
        seeds: `[K, m]` rows of the outputs; with `along` `[K, n]` directions of the input.
        dual: from 1 to inf: the norm of a row times the Jacobian, or of the Jacobian times a direction.
        ball: what the box is cut to.
        tick: called between blocks; whoever has run out of time raises there.
        inner: where points that are tried lie, if not in the box (which may be rounded outward).
        recurjac: bound gates as RecurJac does.
        counted: which entries of the input the derivative is taken by; all when None (not with `along`).

    Raises:
        ModelError: some operator has no derivative.
        Unbounded: a pole, or the end of where a function is defined, may lie in the set, or numbers overflow.
    """
    low, high = box.lower, box.upper
    derivative = pushed_forward(graph) if along else pulled_back(graph, counted)
    whole = measured(derivative, dual)
    if recurjac:
        gates = (replace(n, op=replace(n.op, recurjac=True)) if isinstance(n.op, Gate) else n for n in whole.nodes)
        whole = replace(whole, nodes=tuple(gates))
    place = Place("numpy", "float64")
    net = prepare(whole, place, tick)
    lower, upper = np.concatenate([low, seeds.min(0)]), np.concatenate([high, seeds.max(0)])
    varying = np.flatnonzero(lower < upper)
    symbols = varying if len(varying) <= MOST_SYMBOLS else varying[:0]
    b = boxes(lower[None], upper[None], symbols, "float64")
    skip = {j: np.zeros((1, *whole.nodes[j].shape), bool) for j in net.sources if j in _seeded(whole)}
    bounds = propagate(net, b, None, set(), skip, CHUNK, None, tick)
    if bounds.broken is not None and bool(bounds.broken.any()):
        raise Unbounded
    host = {j: (to_numpy(l), to_numpy(u)) for j, (l, u) in bounds.interval.items()}
    C = -np.eye(whole.nodes[whole.outputs[0]].size)
    C = np.concatenate([C, -C]) if dual == inf else C
    objective = make_rows(whole, net, magnitudes(whole, lower, upper, host), C, None, np.zeros(len(C)))
    weights = bounds.weights(net)
    F = fold(net, objective, bounds.interval, weights, lower, upper, relaxed=bounds.relaxed, tick=tick, layered=True)
    kinks = np.zeros(len(F.z), bool)
    for layer in F.layers:
        if isinstance(layer.op, Gate):
            kinks[to_numpy(layer.take.index).reshape(layer.take.size)[..., 1]] = True
    goals = np.stack(np.meshgrid(np.arange(len(seeds)), np.arange(len(C)), indexing="ij"), -1).reshape(-1, 2)
    soft, folded = ramped(whole, _gates(whole, host)), plan(F, ball, len(low))
    measure = max((i for i, node in enumerate(whole.nodes) if not isinstance(node.op, Affine)), default=0)
    read = whole.nodes[measure].inputs[0] if dual != inf else -1  # the derivatives
    ends = np.concatenate([a.reshape(1, -1) for a in host[read]]) if dual != inf else np.zeros((2, 0))
    return Problem(
        derivative, whole, net, F, folded, low, high, inner or box, ball, seeds, goals, kinks, ends, soft, dual
    )


def _gates(
    graph: Graph, interval: dict[int, tuple[np.ndarray, np.ndarray]]
) -> dict[int, tuple[np.ndarray, np.ndarray]]:
    """Bounds `[*shape]` of what opens and shuts each gate."""
    gates = {i: node.inputs[0] for i, node in enumerate(graph.nodes) if isinstance(node.op, Gate)}
    return {i: (interval[j][0][0][..., 1], interval[j][1][0][..., 1]) for i, j in gates.items()}


def _seeded(graph: Graph) -> set[int]:
    """Nodes that depend on the seed: nothing is decided by what they are."""
    found = {i for i, node in enumerate(graph.nodes) if node.name == SEED_NAME}
    for i, node in enumerate(graph.nodes):
        if any(j in found for j in node.inputs):
            found.add(i)
    return found
