"""The root of a neuron-splitting search: a folded network on one box, as well bounded as it pays."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from verifier.bounds.ascend import Rates, ascend
from verifier.bounds.certain import certain
from verifier.bounds.cone import cone
from verifier.bounds.dual import Facts, Multipliers, Objective, Region, Walk
from verifier.bounds.fold import Folded
from verifier.bounds.folding import fold, undecided
from verifier.bounds.intermediate import Hull, first_hull, region, start, tighten, work
from verifier.bounds.network import Tick, nothing
from verifier.bounds.propagate import Bounds, boxes, propagate
from verifier.bounds.rows import Rows, rows_backward, rows_interval
from verifier.graph.graph import Affine
from verifier.search.domains import Domains
from verifier.search.query import Query
from verifier.values.arrays import Array, namespace, to_numpy
from verifier.values.rounding import unit
from verifier.values.sets import InputSet

CLEAR = 1e-4
"""A bound above this needs no more climbing: it clears what single precision blurs in networks of usual scale."""

RATE = 2e10
"""Multiply-adds a second that plans reckon with."""


@dataclass(frozen=True, eq=False)
class Tree:
    """One box and what is still to be refuted on it.

    Attributes:
        exact: the folded network in double precision; fast: in the type of bulk bounding.
        ids: `[J, K]` rows of each disjunct (padded by repeating).
        uses: `[J, K]` which of them count (1 or 0), as starting weights.
        slot: `[J]` which disjunct of the group that is.
        lower, upper: `[n]` the box.
        group: of the query.
        hull: linear bounds of the neurons, at the place of `fast`.
        ball: what the box is cut to, if anything.
    """

    exact: Folded
    fast: Folded
    ids: np.ndarray
    uses: np.ndarray
    slot: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    group: int
    hull: Hull
    ball: InputSet | None = None

    def __len__(self) -> int:
        """J."""
        return len(self.slot)

    def objective(self, goal: Array, exact: bool = False, facts: Facts | None = None) -> Objective:
        """The rows of disjuncts `goal` `[B]`."""
        F = self.exact if exact else self.fast
        return Objective(F.rows, F.place.array(self.ids)[goal], len(F.blocks), facts)

    def keep(self, at: np.ndarray) -> Tree:
        """With some of the disjuncts only."""
        return replace(self, ids=self.ids[at], uses=self.uses[at], slot=self.slot[at])

    def tightened(self, lower: Array, upper: Array, hull: Hull) -> Tree:
        """With better bounds of the neurons, and smaller by what they decide."""
        place, small = self.fast.place, self.exact.settle(lower, upper)
        if self.exact.plain:
            hull = hull.take(small.place.xp.flatnonzero((lower < 0) & (upper > 0)))
        return replace(self, exact=small, fast=small.to(place), hull=hull.to(small, place))


@dataclass(frozen=True, eq=False)
class Root:
    """What bounding one box found.

    Attributes:
        bounds: of every node.
        alive: `[J]` disjuncts of the group not refuted.
        corner: `[P, n]` where the rows of the living ones are least on their planes.
    """

    bounds: Bounds
    alive: np.ndarray
    corner: np.ndarray


def root(query: Query, d: Domains, tick: Tick = nothing) -> Root:
    """CROWN on one domain's box, in double precision: networks of many inputs lose too much to single rounding."""
    net, place, group = query.exact, query.exact.place, int(d.group[0])
    box = boxes(place.array(d.lower), place.array(d.upper), query.symbols, "float64", query.prop.ball)
    bounds = propagate(net, box, None, set(), query.wanted, CHUNK, query.sure, tick)
    ids = np.unique(query.ids[group])
    planes = rows_backward(net, query.rows, place.array(ids[None]), bounds.weights(net), bounds.relaxed)
    A, b = to_numpy(planes.A), to_numpy(planes.b - planes.error)
    center = d.lower[0] * 0.5 + d.upper[0] * 0.5
    radius = np.maximum(d.upper[0] - center, center - d.lower[0]) * (1 + 4 * unit("float64"))
    row = A @ center - abs(A) @ radius + b
    if query.prop.ball is not None:
        row = np.fmax(row, query.prop.ball.concretise(A, b, center, radius))
    if bounds.broken is not None:
        row = np.full(row.shape, -np.inf)
    plain = rows_interval(net, query.whole, place.array(ids[None]), bounds.image, (box.lower, box.upper))
    row = np.fmax(row, to_numpy(plain[0]))
    row = np.where(np.isfinite(row), row, -np.inf)
    if query.nested is not None:
        row = query.nested.improved(row[None], ids[None], len(query.rows))[0][0]
    at = np.searchsorted(ids, query.ids[group])
    best = np.where(query.uses[group], row[at][None], -np.inf).max(1)
    alive = d.alive[0] & ~(best > 0)
    worst = np.where(query.uses[group][alive], row[at][None], -np.inf).argmax(1)
    corner = np.where(A[at[worst]] > 0, d.lower, d.upper)
    return Root(bounds, alive, corner)


CHUNK = 500_000
"""Numbers in one block of rows."""


def plant(query: Query, d: Domains, found: Root, tick: Tick = nothing) -> Tree:
    """Fold the network on a domain's box, with the rows of its living disjuncts."""
    group = int(d.group[0])
    slot = np.flatnonzero(found.alive)
    uses = query.uses[group][slot]  # [J, K of the group]
    K = int(uses.sum(1).max())
    order = np.argsort(~uses, axis=1, kind="stable")[:, :K]
    used = np.take_along_axis(uses, order, 1)
    literal = query.ids[group][order]
    literal = np.where(used, literal, literal[:, :1])
    ids, inverse = np.unique(literal, return_inverse=True)
    place, rows = query.exact.place, query.rows
    at = place.array(ids)
    some = Rows({i: A[at] for i, A in rows.start.items()}, rows.constant[at], rows.error[at])
    lower, upper = d.lower[0], d.upper[0]
    weight = found.bounds.weights(query.exact)
    bounds = found.bounds
    need = cone(query.exact, some.start)
    at_root = (bounds.interval, weight, lower, upper)
    exact = fold(query.exact, some, *at_root, tick=tick, relaxed=bounds.relaxed, reached=need)
    fast = exact.to(query.fast.place)
    hull = first_hull(exact).to(exact, fast.place)
    return Tree(exact, fast, inverse.reshape(literal.shape), used.astype(float), slot, lower, upper, group, hull,
                query.prop.ball)  # fmt: skip


def climb(tree: Tree, rates: Rates) -> tuple[Tree, Multipliers, list[tuple[np.ndarray, np.ndarray]]]:
    """Optimise the rows of every disjunct on the whole box, and drop the disjuncts that this refutes.

    Returns: the tree, multipliers of what is left, and candidate counterexamples.
    """
    F, J = tree.fast, len(tree)
    step, left, best = at_once(tree, HELD), [], []
    hits: list[tuple[np.ndarray, np.ndarray]] = []
    weight = first_weights(tree)
    for first in range(0, J, step):
        some = np.arange(first, min(first + step, J))
        goal = F.place.array(some)
        m = replace(start(F, region(F), len(some)), weight=weight[goal])
        up = ascend(F, region(F), tree.objective(goal), m, rates, CLEAR, seek=True)
        bound = to_numpy(decisive(tree, region(tree.exact), goal, up.best)[0])
        open_ = np.flatnonzero(~(bound > 0))
        left.append(some[open_])
        best.append(up.best.take(F.place.array(open_)))
        hits += up.hits
    return tree.keep(np.concatenate(left)), join_multipliers(best), hits


HELD = 2e7
"""Numbers that the objectives climbed at once may hold."""


def at_once(tree: Tree, numbers: float) -> int:
    """How many objectives hold so many numbers."""
    F = tree.fast
    each = (len(F) + (0 if F.plain else len(F.z)) + len(F.varying) + 1) * tree.ids.shape[1]
    return max(1, int(numbers / each))


def join_multipliers(parts: list[Multipliers]) -> Multipliers:
    """All of them, in order (without those of facts)."""
    xp = namespace(parts[0].alpha)
    names = ["alpha", "beta", "weight"] + ["second"] * (parts[0].second is not None)
    return Multipliers(**{n: xp.concatenate([getattr(p, n) for p in parts]) for n in names})


def first_weights(tree: Tree) -> Array:
    """Equal weights for the rows that count."""
    return tree.fast.place.array(tree.uses / tree.uses.sum(1)[:, None], tree.fast.place.dtype)


def decisive(tree: Tree, r: Region, goal: Array, m: Multipliers, facts: Facts | None = None) -> tuple[Array, Walk]:
    """Bounds `[B]` that decide, and planes that hold, from regions and multipliers found in bulk.

    `facts` are in double precision; only those count that hold in a region (`r.holds`).
    """
    E = tree.exact
    array = E.place.array
    lower, upper, sign = (array(a, E.place.dtype) for a in (r.lower, r.upper, r.sign))
    box, m = Region(lower, upper, sign, E.center[None], E.radius[None]), m.to(E.place)
    if m.mu is not None:
        m = replace(m, mu=m.mu * array(r.holds, E.place.dtype))
    bound, walk = certain(E, box, tree.objective(goal, exact=True, facts=facts), m)
    if tree.ball is None:
        return bound, walk
    if not len(E.varying):
        return bound, walk
    varying = tree.ball.only(E.varying)  # other entries take nothing from it
    return E.place.xp.maximum(bound, varying.concretise(walk.A, walk.b, E.center, E.radius)), walk


def improve(tree: Tree, seconds: float, steps: int = 4, tick: Tick = nothing) -> Tree:
    """Better bounds of all neurons, with as many steps as fit the time given."""
    F = tree.exact
    while steps and work(F, steps) / RATE > seconds:
        steps -= 1
    if not steps:
        return tree
    return tree.tightened(*tighten(F, tree.fast.place, Rates(steps, alpha=0.5), CHUNK, None, tick))


def effort(query: Query) -> float:
    """Seconds that `root` may take, roughly: it pulls back what plain bounds leave undecided, for both signs."""
    nodes, work, total = query.graph.nodes, 0.0, 0.0
    for i, node in enumerate(nodes):
        if isinstance(node.op, Affine):
            work += node.op.work(*query.graph.shapes_in(i))
        if i in query.exact.sources and i in query.sure:
            l, u = query.sure[i]
            open_ = query.exact.open(i, l, u)
            total += 2 * int((open_ & query.wanted[i] if i in query.wanted else open_).sum()) * work
    return total / (RATE / 4)


def planting(query: Query, found: Root) -> float:
    """Seconds that `plant` may take, roughly."""
    total = sum(n.size for n in query.graph.nodes)
    return size(query, found) * (2e-8 * total + query.cost / (RATE / 3))


def size(query: Query, found: Root) -> int:
    """How many neurons `plant` would keep, or how many values they read, if these are more."""
    return max(undecided(query.exact, found.bounds.interval, found.bounds.relaxed, query.reached))
