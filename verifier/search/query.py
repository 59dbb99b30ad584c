"""A graph joined with a property: boxes, rows to be proved positive on them, and networks ready for bounding."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from verifier.bounds.cone import cone, wanted
from verifier.bounds.network import Network, Tick, magnitudes, nothing, prepare
from verifier.bounds.propagate import boxes, propagate
from verifier.bounds.rows import Rows, make_rows
from verifier.graph.graph import Graph
from verifier.spec.clauses import Nest
from verifier.spec.property import Property
from verifier.values.arrays import Array, Place, to_numpy
from verifier.values.rounding import outward

MOST_SYMBOLS = 100
"""With more varying inputs than this, forward bounds keep intervals instead of linear functions of the inputs."""

ROOT_EFFORT = 2e8
"""Multiply-adds that the backward walk on the hull of all boxes may cost; otherwise the forward walk must do."""


@dataclass(frozen=True, eq=False)
class Nested:
    """Rows of a property that are the least of the largest of others.

    Attributes:
        nest: clauses over literals.
        literals: `[L]` which rows of the property these literals are.
        clauses: `[T]`, rows: `[T]` which row of the property stands for a clause: either its margin, as the network
            gives it (up to a positive factor: only signs are used), or, where `alone`, one that is zero throughout.
        alone: whether nothing but their literals speaks for clauses.
    """

    nest: Nest
    literals: np.ndarray
    clauses: np.ndarray
    rows: np.ndarray
    alone: bool = False

    def improved(self, row: np.ndarray, ids: np.ndarray, L: int) -> tuple[np.ndarray, np.ndarray]:
        """Lower bounds `[B, K]` of the rows `ids` `[B, K]`, of L in all: those of clauses by those of their literals.

        Returns: the bounds, and for each row the position in `ids` of the row that it is the bound of.

        Sound because: a clause holds nowhere where of each alternative a literal holds nowhere; lines of rectifiers
        may know less than that.
        """
        B, K = ids.shape
        full, place = np.full((B, L), -np.inf), np.zeros((B, L), np.int64)
        own = np.broadcast_to(np.arange(K), (B, K))
        np.put_along_axis(full, ids, row, 1)
        np.put_along_axis(place, ids, own, 1)
        value, source = self.nest.traced(full[:, self.literals])
        better = (value[:, self.clauses] > full[:, self.rows]) | self.alone
        full[:, self.rows] = np.where(better, value[:, self.clauses], full[:, self.rows])
        source = np.take_along_axis(place[:, self.literals], source[:, self.clauses], 1)
        place[:, self.rows] = np.where(better, source, place[:, self.rows])
        return np.take_along_axis(full, ids, 1), np.take_along_axis(place, ids, 1)


@dataclass(frozen=True, eq=False)
class Query:
    """Everything a search reads and never changes.

    Disjuncts with one box form a group; a domain belongs to a group and is closed when all its disjuncts are refuted.
    A disjunct is refuted on a domain when one of its rows is positive throughout.

    Attributes:
        prop: the property.
        graph: the network in double precision on numpy.
        fast: the network in the type that bulk bounding uses; exact: the same in double precision (what decides).
        rows: one row a literal of the property, at the place of `exact`.
        whole: the same, pulled back to maxima and not through them: for intervals.
        lower, upper: `[G, n]` boxes of the groups, rounded outward.
        box: `[G]` which box of the property a group is.
        ids: `[G, K]` the literals of a group (padded by repeating); the last ones, which no disjunct uses, are those
            that clauses are made of.
        uses: `[G, J, K]` which of them each disjunct of the group has.
        open: `[G, J]` which of the J disjuncts exist.
        symbols: `[k]` the inputs that forward bounds keep symbols for: those that vary in some group, or none.
        known: source -> bounds `[1, *shape]` that hold on all boxes, at the place of `fast`; sure: at that of `exact`.
        reached: node -> `[1, *shape]` boolean: what the rows depend on (see `bounds.cone`).
        wanted: source -> `[1, *shape]` boolean: the entries that some row depends on, for sources of which not all are.
        cost: multiply-adds of one evaluation of the network.
        nested: which rows are made of others.
    """

    prop: Property
    graph: Graph
    fast: Network
    exact: Network
    rows: Rows
    whole: Rows
    lower: np.ndarray
    upper: np.ndarray
    box: np.ndarray
    ids: np.ndarray
    uses: np.ndarray
    open: np.ndarray
    symbols: Array
    known: dict[int, tuple[Array, Array]]
    sure: dict[int, tuple[Array, Array]]
    reached: dict[int, Array]
    wanted: dict[int, Array]
    cost: int
    nested: Nested | None = None

    @property
    def own(self) -> int:
        """How many of `ids` are literals of disjuncts; those behind are what clauses are made of."""
        return self.ids.shape[1] - (0 if self.nested is None else len(self.nested.literals))

    @cached_property
    def over_outputs(self) -> np.ndarray:
        """`[L]` which literals have to do with outputs."""
        over = np.asarray(self.prop.A_y.any(1))
        if self.nested is not None:
            over[self.nested.rows] = True
        return over


@np.errstate(all="ignore")  # what is not defined or overflows proves nothing
def make_query(graph: Graph, prop: Property, place: Place, tick: Tick = nothing, nested: Nested | None = None) -> Query:
    """Join them.

    Args:
        graph: one input, one output, in double precision on numpy, all operators boundable.
        prop: at least one disjunct; sizes must fit.
        place: for bulk bounding.
        tick: called between nodes, now and whenever something of the query is bounded; whoever has run out of time
            raises `OutOfTime` there.
        nested: which of the property's rows are made of others.
    """
    used, inverse = np.unique(prop.box, return_inverse=True)
    lower, upper = prop.lower[used], prop.upper[used]
    ids, uses, exists = _groups(prop, inverse, len(used))
    if nested is not None:
        ids = np.concatenate([ids, np.broadcast_to(nested.literals, (len(ids), len(nested.literals)))], 1)
        uses = np.concatenate([uses, np.zeros((*uses.shape[:2], len(nested.literals)), bool)], 2)
    hull_l, hull_u = lower.min(0), upper.max(0)
    active = np.flatnonzero((lower < upper).any(0))  # what only differs from box to box is known on each
    symbols = active if len(active) <= MOST_SYMBOLS else active[:0]
    double = Place(place.kind, "float64", place.device)
    cost = graph.work

    exact = prepare(graph, double, tick)
    fast = exact if place.dtype == "float64" else prepare(graph, place, tick)
    effort = sum(graph.nodes[j].size for j in exact.sources) * cost
    hull = boxes(double.array(hull_l[None]), double.array(hull_u[None]), double.array(symbols), "float64", prop.ball)
    thorough = effort < ROOT_EFFORT and len(symbols) == int((hull_l < hull_u).sum())
    sure = propagate(exact, hull, None, set(), {} if thorough else None, 10**6).interval
    host = {j: (to_numpy(l), to_numpy(u)) for j, (l, u) in sure.items()}
    size = magnitudes(graph, hull_l, hull_u, host)
    rows = whole = make_rows(graph, exact, size, prop.A_y, prop.A_x, prop.d)
    if exact.maxima:
        whole = make_rows(graph, exact, size, prop.A_y, prop.A_x, prop.d, exact.maxima)
    known = {j: outward(*interval, place) for j, interval in sure.items()}
    symbols, reached = place.array(symbols), cone(exact, rows.start)
    bounds = (known, sure, reached, wanted(exact, reached), cost)
    boxed = (lower, upper, used, ids, uses, exists, symbols)
    return Query(prop, graph, fast, exact, rows, whole, *boxed, *bounds, nested)


def _groups(prop: Property, group: np.ndarray, G: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`ids`, `uses` and `open` of `Query`, for disjuncts that belong to `group` `[J]`."""
    order = np.argsort(group, kind="stable")
    per_group = np.bincount(group, minlength=G)
    slot = np.empty(len(group), np.int64)  # position of each disjunct within its group
    slot[order] = np.arange(len(group)) - np.repeat(np.cumsum(per_group) - per_group, per_group)
    count = np.diff(prop.start)
    owner = np.repeat(np.arange(len(group)), count)  # disjunct of each literal reference
    L = max(1, len(prop.d))
    key = np.unique(group[owner] * L + prop.literal)  # distinct (group, literal), in order
    key_group = key // L
    width = np.bincount(key_group, minlength=G)
    first = np.cumsum(width) - width
    K = max(1, int(width.max(initial=0)))
    ids = np.zeros((G, K), np.int64)
    ids[key_group, np.arange(len(key)) - first[key_group]] = key % L
    for k in range(1, K):  # padding repeats the first literal of the group
        short = width <= k
        ids[short, k] = ids[short, 0]
    uses = np.zeros((G, int(per_group.max()), K), bool)
    at = np.searchsorted(key, group[owner] * L + prop.literal)
    uses[group[owner], slot[owner], at - first[group[owner]]] = True
    return ids, uses, np.arange(uses.shape[1])[None] < per_group[:, None]
