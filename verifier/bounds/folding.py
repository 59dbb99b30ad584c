"""Folding a network on a box: see `bounds.fold` for what comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod

import numpy as np

from verifier.bounds.fold import Folded, Linear
from verifier.bounds.layers import Layer
from verifier.bounds.network import UNDERFLOW, Network, Tick, absolute_product, nothing
from verifier.bounds.rows import Rows
from verifier.graph.graph import Affine, Graph
from verifier.graph.ops.fit import Fit
from verifier.graph.ops.moves import Move, Take
from verifier.graph.ops.near import Near
from verifier.graph.ops.product import Share
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.relax import table
from verifier.relax.lines import Lines
from verifier.relax.share import Planes
from verifier.values import sparse
from verifier.values.arrays import Array, namespace, to_numpy
from verifier.values.errors import UnsoundBound
from verifier.values.rounding import gamma, tiny

AFFINE, NOTHING = 1e-12, 1e9 * tiny("float64")
"""A unit whose two lines have one slope and are this close, of their size or at all, is affine up to what it is off."""
ROUNDING = 2.0**-20
"""The same for what a type rounds: no split tells more about it."""


def fold(  # noqa: PLR0913
    net: Network,
    rows: Rows,
    interval: dict[int, tuple[Array, Array]],
    weight: dict[int, Array],
    lower: np.ndarray,
    upper: np.ndarray,
    block: int = 2_000_000,
    tick: Tick = nothing,
    relaxed: dict[int, Lines | Planes] | None = None,
    reached: dict[int, Array] | None = None,
    layered: bool = False,
) -> Folded:
    """Fold a network and rows on one box.

    Args:
        net: in double precision.
        rows: at the network's place.
        interval: node -> bounds `[1, *shape]` of its value on the box, for sources and feeds.
        weight: rounding weights of the nodes on the box (see `Network.weight`).
        lower, upper: `[n]` the box, in double precision on the host.
        block: how many numbers one block of rows may hold in the widest layer.
        tick: called between blocks; whoever has run out of time raises there.
        relaxed: nonlinear node -> its linear bounds on the box; needed where there are others than rectifiers.
        reached: what the rows depend on (see `bounds.cone`): no other unit is kept; all, when None.
        layered: whether the network has layers even where all its units are rectifiers.

    Sound because: decided neurons are affine on the box (up to an error that is accounted for), and every other step is
    affine; each function's error is accounted for as in `backward`, as the coefficients of h multiply values that the
    weights cover.
    """
    place, plan = net.place, _Plan(net, interval, relaxed or {}, reached, layered)
    walk = _Walk(net, plan, weight)
    step = max(16, block // max(n.size for n in net.graph.nodes))
    parts = []
    for j, entries in plan.rows:
        for at in range(0, len(entries), step):
            some = entries[at : at + step]
            tick(net.graph.effort(len(some), max(j, 0)))
            if j < 0:  # what padding puts in: zeros
                parts.append(walk.zero(len(some)))
                continue
            one_hot = np.zeros((len(some), net.graph.nodes[j].size))
            one_hot[np.arange(len(some)), some] = 1
            parts.append(walk({j: place.array(one_hot)}, place.array(np.zeros(len(some)))))
    last = walk(rows.start, rows.constant)
    parts.append(replace(last, error=last.error + rows.error))
    z = Linear(*(place.xp.concatenate([getattr(p, n) for p in parts]) for n in ("X", "H", "c", "error")))
    varying = np.flatnonzero(lower < upper)
    center = lower * 0.5 + upper * 0.5
    radius = np.maximum(upper - center, center - lower) * (1 + gamma(2, "float64"))
    everything = Linear(
        z.X[:, place.array(varying)], z.H, z.c + z.X @ place.array(np.where(lower < upper, 0.0, center)), z.error
    )
    N = sum(len(e) for _, e in plan.rows)
    ends = [plan.ends(side) for side in (0, 1)]
    folded = Folded(
        place,
        everything.take(slice(0, N)),
        everything.take(slice(N, None)),
        tuple(part.units for part in plan.parts),
        np.repeat([j for j, _ in plan.rows], [len(e) for _, e in plan.rows]).astype(int),
        np.concatenate([np.zeros(0, int), *(e for _, e in plan.rows)]),
        place.array(np.concatenate([np.zeros(0), *(np.full(len(p.open), p.leak) for p in plan.parts)])),
        place.array(ends[0]),
        place.array(ends[1]),
        varying,
        place.array(center[varying]),
        place.array(radius[varying]),
        tick=tick,
    )
    return folded if plan.plain else _general(net, plan, folded)


def undecided(
    net: Network,
    interval: dict[int, tuple[Array, Array]],
    relaxed: dict[int, Lines | Planes] | None = None,
    reached: dict[int, Array] | None = None,
) -> tuple[int, int]:
    """How many neurons `fold` would keep, and how many values they read."""
    plan = _Plan(net, interval, relaxed or {}, reached)
    return sum(len(p.open) for p in plan.parts), sum(len(e) for _, e in plan.rows)


def unstable(
    net: Network, interval: dict[int, tuple[Array, Array]], relaxed: dict[int, Lines | Planes]
) -> dict[int, int]:
    """How many units of each nonlinear node bounds leave undecided; of nodes that are left out, none.

    Args:
        interval, relaxed: of one domain, as of `propagate.Bounds`.
    """
    return {p.node: len(p.open) for p in _Plan(net, interval, relaxed, None).parts}


@dataclass(frozen=True, eq=False)
class _Part:
    """The open units of one nonlinear node.

    Attributes:
        node: the node.  open: `[u]` entries of its result.  units: their columns.
        reads: `[u]`, `[u, w]` or `[groups, n]`: positions in the rows of what they read.
        leak: of rectifiers.
    """

    node: int
    open: np.ndarray
    units: slice
    reads: np.ndarray
    leak: float


@dataclass(frozen=True, eq=False)
class _Decided:
    """Units of one node that are affine: their slopes `[*input shape]`, which they are, constants, errors `[size]`.

    Other units' slopes are zero.  Rectifiers have no constants.
    """

    slope: np.ndarray
    decided: np.ndarray | None = None
    middle: np.ndarray | None = None
    off: np.ndarray | None = None


class _Plan:
    """What is open, what it reads, and in what order.

    Attributes:
        parts: nodes with open units, in an order in which each depends on earlier ones only.
        rows: nodes of the graph (-1: zeros) with the entries that open units read, in topological order.
        plain: whether all units are rectifiers.
        affine: nonlinear node -> what is known of its decided units.
        left_out: nonlinear node -> open units that no row depends on.
    """

    def __init__(
        self,
        net: Network,
        interval: dict[int, tuple[Array, Array]],
        relaxed: dict[int, Lines | Planes],
        reached: dict[int, Array] | None,
        layered: bool = False,
    ) -> None:
        self._net, graph = net, net.graph
        self._bounds = {j: tuple(to_numpy(a).astype(np.float64).reshape(-1) for a in interval[j]) for j in interval}
        self.affine: dict[int, _Decided] = {}
        self.left_out: dict[int, np.ndarray] = {}
        found = []
        first = np.cumsum([0, *(n.size for n in graph.nodes)])  # a number for every entry of every node
        for i, node in enumerate(graph.nodes):
            if i == net.input or isinstance(node.op, Affine):
                continue
            open_ = self._needed(i, self._decide(i, relaxed.get(i)), reached)
            if len(open_):
                ids = _provenance(graph, node.inputs[0], first)
                wide = isinstance(node.op, Share) or table.width(node.op) > 1
                read = ids.reshape(-1, graph.nodes[node.inputs[0]].shape[-1]) if wide else ids.reshape(-1)
                found.append(
                    (i, open_, read[np.unique(open_ // node.shape[-1])] if isinstance(node.op, Share) else read[open_])
                )
        self.plain = not layered and all(isinstance(graph.nodes[i].op, Relu) for i, _, _ in found)
        if self.plain:  # every unit gets a row of its own
            self.rows = [(graph.nodes[i].inputs[0], open_) for i, open_, _ in found]
            self._arrange([(i, open_, open_) for i, open_, _ in found], None)
            return
        found.sort(key=lambda f: (int(f[2].max()), f[0]))
        used = np.unique(np.concatenate([np.zeros(0, int), *(ids.reshape(-1) for _, _, ids in found)]))
        owner = np.searchsorted(first, used - 1, side="right") - 1
        owner = np.where(used == 0, -1, owner)
        self.rows = [
            (int(j), used[owner == j] - 1 - first[j] if j >= 0 else used[owner == j] * 0) for j in np.unique(owner)
        ]
        self._arrange(found, used)

    def _arrange(self, found: list[tuple[int, np.ndarray, np.ndarray]], used: np.ndarray | None) -> None:
        """Columns for the open units: node, entries, and what they read, as numbers in `used` or (None) in order."""
        self.parts, at = [], 0
        for i, open_, ids in found:
            leak = float(getattr(self._net.graph.nodes[i].op, "leak", 0.0))
            units = slice(at, at + len(open_))
            reads = np.arange(at, at + len(open_)) if used is None else np.searchsorted(used, ids)
            self.parts.append(_Part(i, open_, units, reads, leak))
            at += len(open_)
        self.units = at

    def _needed(self, i: int, open_: np.ndarray, reached: dict[int, Array] | None) -> np.ndarray:
        """Of open units of a node those that rows depend on; the others must never be met (see `_Walk`)."""
        if reached is None:
            return open_
        mask = to_numpy(reached[i]).reshape(-1) if i in reached else np.zeros(self._net.graph.nodes[i].size, bool)
        node = self._net.graph.nodes[i]
        if isinstance(node.op, Share):  # units of a group stay together
            groups = mask.reshape(-1, node.shape[-1]).any(1)
            mask = np.repeat(groups, node.shape[-1])
        self.left_out[i] = open_[~mask[open_]]
        return open_[mask[open_]]

    def _decide(self, i: int, lines: Lines | Planes | None) -> np.ndarray:
        """Open units of a node; what is known of the others goes to `affine`."""
        node = self._net.graph.nodes[i]
        l, u = self._bounds[node.inputs[0]]
        if isinstance(node.op, Relu):
            slope = np.where(l >= 0, 1.0, np.where(u <= 0, node.op.leak, 0.0))
            self.affine[i] = _Decided(slope)
            return np.flatnonzero((l < 0) & (u > 0))
        if lines is None:
            raise ValueError(f"no linear bounds of node {node.name}")
        shape = self._net.graph.nodes[node.inputs[0]].shape
        if isinstance(lines, Planes):
            return np.arange(node.size)
        assert lines.t_l is not None
        s_l, s_u = (to_numpy(a[0]).astype(np.float64) for a in (lines.s_l, lines.s_u))
        t_l, t_u = (to_numpy(a[0]).astype(np.float64).reshape(-1) for a in (lines.t_l, lines.t_u))
        reach = np.maximum(abs(l), abs(u)).reshape(shape) * np.maximum(abs(s_l), abs(s_u))
        same, size = s_l == s_u, reach
        if table.width(node.op) > 1:
            same, size = same.all(-1), size.sum(-1)
        size = size.reshape(-1) + np.maximum(abs(t_l), abs(t_u))
        near = np.inf if isinstance(node.op, Near) else ROUNDING if isinstance(node.op, Fit) else AFFINE
        decided = same.reshape(-1) & (t_u - t_l <= near * size + NOTHING) & np.isfinite(size)
        mask = decided.reshape(node.shape)[..., None] if s_l.ndim > len(node.shape) else decided.reshape(node.shape)
        middle = np.where(decided, 0.5 * t_l + 0.5 * t_u, 0.0)
        off = np.where(decided, np.maximum(t_u - middle, middle - t_l), 0.0)
        self.affine[i] = _Decided(np.where(mask, s_l, 0.0), decided, middle, off)
        return np.flatnonzero(~decided)

    def ends(self, side: int) -> np.ndarray:
        """Lower (0) or upper (1) bounds `[N]` of what is read."""
        return np.concatenate([np.zeros(0), *(self._bounds[j][side][e] if j >= 0 else e * 0.0 for j, e in self.rows)])


def _provenance(graph: Graph, j: int, first: np.ndarray) -> np.ndarray:
    """For each entry of node `j`, where it comes from by moves alone: one plus its number; zero for padding."""
    node = graph.nodes[j]
    if not isinstance(node.op, Move):
        return first[j] + 1 + np.arange(node.size).reshape(node.shape)
    move = node.op.cast(to_numpy)
    assert isinstance(move, Move)
    ids = move.linear(*(_provenance(graph, k, first)[None].astype(np.float64) for k in node.inputs))
    return np.rint(ids[0]).astype(np.int64)


def _shared(graph: Graph, plan: _Plan, N: int) -> np.ndarray:
    """`[N]` which rows staircases of several kinds read; two that may take either neighbour of a half count as such."""
    kinds: dict[str, np.ndarray] = {}
    for p in plan.parts:
        op = graph.nodes[p.node].op
        if isinstance(op, Step) and op.stairs:
            kind = op.kind if op.kind != "nearest" else f"nearest {p.node}"
            kinds.setdefault(kind, np.zeros(N, int))[p.reads] = 1
    return np.asarray(sum(kinds.values(), np.zeros(N, int)) > 1)


def _general(net: Network, plan: _Plan, F: Folded) -> Folded:
    """With layers."""
    H, N, place = to_numpy(F.z.H), len(F.z), net.place
    layers, shared = [], _shared(net.graph, plan, N)
    for p in plan.parts:
        used = np.flatnonzero((H[:, p.units] != 0).any(1))
        users = slice(int(used[0]), int(used[-1]) + 1) if len(used) else slice(N, N)
        take = Take(place.array(p.reads.reshape(-1)), p.reads.shape)
        also = place.array(shared[p.reads]) if shared[p.reads].any() else None
        layers.append(Layer(net.graph.nodes[p.node].op, p.units, take, users, int(p.reads.max()) + 1, also))
    parts, at = [], 0
    for _, entries in plan.rows:
        stop = sum(int(p.reads.max()) < at for p in plan.parts)
        parts.append((slice(at, at + len(entries)), stop))
        at += len(entries)
    signs = np.array([j in net.by_sign for j in F.source], bool)
    return replace(F, layers=tuple(layers), parts=tuple(parts), by_sign=place.array(signs))


class _Walk:
    """Pulls rows back to the inputs and the open units."""

    def __init__(self, net: Network, plan: _Plan, weight: dict[int, Array]) -> None:
        self._net, self._weight, self._units = net, weight, plan.units
        array = net.place.array
        self._slope = {i: array(some.slope) for i, some in plan.affine.items()}
        self._constant = {}
        for i, some in plan.affine.items():
            if some.off is not None and some.decided is not None:  # what a row multiplies there it also rounds
                off = np.where(some.decided, some.off + to_numpy(weight[i]), 0.0)
                self._constant[i] = (array(some.middle), array(off))
        self._open = {p.node: array(p.open) for p in plan.parts}
        self._column = {p.node: p.units for p in plan.parts}
        self._left_out = {i: array(units) for i, units in plan.left_out.items() if len(units)}

    def zero(self, P: int) -> Linear:
        """Rows that are zero."""
        array, n = self._net.place.array, self._net.graph.nodes[self._net.input].size
        none = array(np.zeros(P))
        return Linear(array(np.zeros((P, n))), array(np.zeros((P, self._units))), none, none)

    def __call__(self, start: dict[int, Array], constant: Array) -> Linear:
        """Rows `Σ start[i]·value(i) + constant`, start `[P, size]`."""
        net, P = self._net, constant.shape[0]
        nodes, xp = net.graph.nodes, net.place.xp
        rows = {i: A.reshape(P, *nodes[i].shape) for i, A in start.items()}
        c, error = constant, constant * 0 + self._weight[UNDERFLOW]
        H = net.place.array(np.zeros((P, self._units)))
        for i in range(max(rows), -1, -1):
            if i not in rows or i == net.input:
                continue
            net.tick()
            A, node = sparse.dense(rows.pop(i)).reshape(P, *nodes[i].shape), nodes[i]
            if i in self._slope or i in self._open or i in self._left_out:
                if i in self._left_out and bool((A.reshape(P, -1)[:, self._left_out[i]] != 0).any()):
                    raise UnsoundBound(f"a row depends on units of node {node.name} that were left out; report it")
                if i in self._open:
                    H[:, self._column[i]] = A.reshape(P, -1)[:, self._open[i]]
                if i not in self._slope:
                    continue
                part, shift, off = self._decided(i, A)
                c, error = c + shift, error + off
                parts: Sequence[Array] = (part,)
            else:
                assert isinstance(node.op, Affine)
                if i in self._weight:
                    error = error + absolute_product(A, self._weight[i])
                bias = node.op.bias()
                if bias is not None:
                    c = c + A.reshape(P, -1) @ xp.broadcast_to(bias, node.shape).reshape(-1)
                parts = node.op.adjoint(A, *net.graph.shapes_in(i))
            for j, part in zip(node.inputs, parts, strict=True):
                if j in net.quiet and not bool((part != 0).any()):
                    continue
                part = sparse.dense(part).reshape(P, *nodes[j].shape)
                rows[j] = rows[j] + part if j in rows else part
        n = nodes[net.input].size
        X = rows[net.input].reshape(P, n) if net.input in rows else net.place.array(np.zeros((P, n)))
        return Linear(X, H, c, error + absolute_product(X, self._weight[net.input]))

    def _decided(self, i: int, A: Array) -> tuple[Array, Array, Array]:
        """Rows over the input of a nonlinear node by its decided units, what constants add, and errors."""
        slope, P = self._slope[i], A.shape[0]
        if i not in self._constant:
            return A.reshape(P, -1) * slope.reshape(-1), 0.0, 0.0
        middle, off = self._constant[i]
        xp, flat = namespace(A), A.reshape(P, -1)
        wide = prod(slope.shape) != prod(A.shape[1:])
        part = A[..., None] * slope if wide else A * slope
        return part, flat @ middle, xp.abs(flat) @ off
