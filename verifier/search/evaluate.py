"""Bounding a batch of domains: which disjuncts are refuted, by what planes, and what to split next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verifier.bounds.network import Network
from verifier.bounds.propagate import Bounds, boxes, propagate
from verifier.bounds.rows import rows_backward, rows_interval
from verifier.relax import table
from verifier.relax.lines import Lines
from verifier.relax.share import Planes
from verifier.search.branching.gap import Gap
from verifier.search.clipping.complete import minimise
from verifier.search.domains import Domains
from verifier.search.query import Query
from verifier.values import sparse
from verifier.values.arrays import Array, Place, place_of, to_numpy
from verifier.values.rounding import outward, unit

NOISE = 0.02
"""A gap below this share of what rounding could cost a whole walk in the type of bulk bounding is bounded again in
double precision.  Only neurons within their own allowance of zero pay for rounding, so the share is small."""


@dataclass(frozen=True, eq=False)
class Evaluation:
    """What bounding B domains found.

    Attributes:
        A, b: `[B, K, n]`, `[B, K]`: half-spaces `A·x + b <= 0` that hold where a literal can hold.
        row: `[B, K]` lower bounds of the rows.
        gap: `[B]` how far the nearest living disjunct is from being refuted; `<= 0` where the domain is closed.
        alive: `[B, J]` disjuncts not refuted.
        score: `[B, n]` which input to split.
        deciding: `[B]` the row that decides each domain.
        sign: `[B, N]` what is known of the neurons' signs now (see `Domains.sign`).
    """

    A: np.ndarray
    b: np.ndarray
    row: np.ndarray
    gap: np.ndarray
    alive: np.ndarray
    score: np.ndarray
    deciding: np.ndarray
    sign: np.ndarray

    def corner(self, d: Domains) -> np.ndarray:
        """`[B, n]` where each domain's deciding row is least on its plane: a candidate counterexample."""
        A = np.take_along_axis(self.A, self.deciding[:, None, None], 1)[:, 0]
        return np.where(A > 0, d.lower, d.upper)


@np.errstate(all="ignore")  # numbers that overflow close nothing: every test below is false for NaN
def evaluate(query: Query, d: Domains, chunk: int, precise: bool = False, thorough: bool = True) -> Evaluation:
    """Bound every row of every domain.

    Args:
        chunk: numbers that one block of backward rows may hold.
        precise: bulk bounding in double precision, too.
        thorough: whether undecided entries are bounded backward, too.
    """
    net = query.exact if precise else query.fast
    lower, upper = outward(d.lower, d.upper, net.place)
    box = boxes(lower, upper, query.symbols, net.place.dtype, query.prop.ball)
    known = query.sure if net is query.exact else query.known
    bounds = propagate(
        net, box, _split_sign(net, d.sign), set(net.feeds), query.wanted if thorough else None, chunk, known
    )
    exact = query.exact
    relaxed = _in_double(exact, bounds)
    ids = query.ids[d.group]
    seen: dict[int, Array] = {}
    weight = bounds.weights(exact, relaxed)
    planes = rows_backward(exact, query.rows, exact.place.array(ids), weight, relaxed, seen)
    B, K = ids.shape
    A = to_numpy(planes.A).reshape(B, K, -1)
    b = to_numpy(planes.b - planes.error).reshape(B, K)
    center = d.lower * 0.5 + d.upper * 0.5
    radius = np.maximum(d.upper - center, center - d.lower) * (1 + 4 * unit("float64"))
    row = np.einsum("bkn,bn->bk", A, center) - np.einsum("bkn,bn->bk", abs(A), radius) + b
    if bounds.broken is not None:
        row = np.where(to_numpy(bounds.broken)[:, None], -np.inf, row)
        b = np.where(to_numpy(bounds.broken)[:, None], -np.inf, b)
    if query.prop.ball is not None:
        row = np.fmax(row, query.prop.ball.concretise(A, b, center[:, None], radius[:, None]))
    plain = rows_interval(exact, query.whole, exact.place.array(ids), bounds.image, (box.lower, box.upper))
    row = np.fmax(row, to_numpy(plain))
    row = np.where(np.isfinite(row), row, -np.inf)  # what has overflowed refutes nothing
    if query.nested is not None:
        row, through = query.nested.improved(row, ids, len(query.rows))
    uses = query.uses[d.group]
    best = np.where(uses, row[:, None], -np.inf).max(2)  # [B, J] best row of each disjunct; NaN never wins a refutation
    alive = d.alive & ~(best > 0)
    matters = _matters(query, uses, ids)
    best = np.where(matters, row[:, None], -np.inf).max(2)
    own = query.own  # what clauses are made of is none of a disjunct's literals
    if _worth_combining(uses[:, :, :own]) and not (query.nested is not None and query.nested.alone):
        which = uses[:, :, :own], matters[:, :, :own]
        best = _combined(d, A[:, :own], b[:, :own], row[:, :own], which, alive, best)
        alive = alive & ~(best > 0)
    nearest = np.where(alive, -best, -np.inf)
    deciding_disjunct = nearest.argmax(1)
    gap = nearest.max(1)
    deciding = np.where(np.take_along_axis(matters, deciding_disjunct[:, None, None], 1)[:, 0], row, -np.inf).argmax(1)
    if query.nested is not None:  # of a clause, the literal that decides it
        deciding = through[np.arange(B), deciding]
    picked = {i: _pick(r, deciding, B, K, net.place) for i, r in seen.items()}
    A_decides = np.take_along_axis(A, deciding[:, None, None], 1)[:, 0]
    score = Gap().score(net, bounds, picked, net.place.array(A_decides), box.radius)
    noise = _noise(to_numpy(planes.error).reshape(B, K), net)
    result = Evaluation(A, b, row, gap, alive, to_numpy(score), deciding, _join_sign(net, bounds, B))
    blurred = alive.any(1) & (gap < NOISE * noise) if net is not exact else np.zeros(B, bool)
    if blurred.any():
        at = np.flatnonzero(blurred)
        result = _replace(result, at, evaluate(query, d.take(at), chunk, True, thorough))
    return result


def _split_sign(net: Network, sign: np.ndarray) -> dict[int, Array]:
    """Of known signs `[B, N]`, those of each source: `[B, *shape]`."""
    parts, at = {}, 0
    for j in net.sources:
        node = net.graph.nodes[j]
        parts[j] = net.place.array(sign[:, at : at + node.size].reshape(len(sign), *node.shape), "int8")
        at += node.size
    return parts


def _join_sign(net: Network, bounds: Bounds, B: int) -> np.ndarray:
    """What the bounds decide: `[B, N]`."""
    parts = [np.zeros((B, 0), np.int8)]
    for j in net.sources:
        l, u = (to_numpy(a).reshape(a.shape[0], -1) for a in bounds.interval[j])
        parts.append((l >= 0).astype(np.int8) - ((u <= 0) & (l < 0)).astype(np.int8))
    return np.concatenate(parts, axis=1)


def _worth_combining(uses: np.ndarray) -> bool:
    """Whether some disjunct has several literals, and not so many that combining them costs more than bounding."""
    return uses.shape[2] > 1 and uses.shape[1] * uses.shape[2] <= 64 and bool((uses.sum(2) > 1).any())


def _matters(query: Query, uses: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Of the rows that disjuncts use `[B, J, K]`, those over outputs, where there are some.

    Rows over inputs alone are known exactly, and clipping by them leaves nothing to be gained from splitting for them.
    """
    over_outputs = uses & query.over_outputs[ids][:, None]
    return np.where(over_outputs.any(2, keepdims=True), over_outputs, uses)


def _combined(
    d: Domains,
    A: np.ndarray,
    b: np.ndarray,
    row: np.ndarray,
    which: tuple[np.ndarray, np.ndarray],
    alive: np.ndarray,
    best: np.ndarray,
) -> np.ndarray:
    """`best` `[B, J]` improved: each disjunct's best row, minimised where its other rows are not positive.

    Args:
        which: `[B, J, K]` the rows that each disjunct has, and those among which the best one is.

    Sound because: a point satisfying the disjunct makes all its rows `<= 0`; where that forces one above 0 there is
    no such point.
    """
    uses, matters = which
    at = np.flatnonzero((alive & (uses.sum(2) > 1)).any(1))
    if not len(at):
        return best
    use, planes, constant = uses[at], A[at], b[at]
    objective = np.where(matters[at], row[at][:, None], -np.inf).argmax(2)  # [B, J]
    rows = np.take_along_axis(planes, objective[:, :, None], 1)
    offset = np.take_along_axis(constant, objective, 1)
    others = use & (np.arange(use.shape[2]) != objective[:, :, None])
    improved = minimise(rows, offset, d.lower[at], d.upper[at], planes, constant, others)
    best = best.copy()
    best[at] = np.maximum(best[at], np.where(use.any(2), improved, -np.inf))
    return best


def _noise(error: np.ndarray, net: Network) -> np.ndarray:
    """`[B]` the rounding allowance that the rows would have, were they computed in the type of bulk bounding."""
    return error.max(1) * (unit(net.place.dtype) / unit("float64"))


def _in_double(net: Network, bounds: Bounds) -> dict[int, Lines | Planes]:
    """Relaxations made again from the same intervals in double precision: tighter by what rounding cost."""
    relaxed = {}
    for i in bounds.relaxed:
        node = net.graph.nodes[i]
        l, u = (net.place.array(a, "float64") for a in bounds.interval[node.inputs[0]])
        relaxed[i] = table.lines(node.op, l, u)
    return relaxed


def _pick(rows: Array, deciding: np.ndarray, B: int, K: int, place: Place) -> Array:
    """Of rows `[B·K, …]`, the deciding one of each domain: `[B, size]`."""
    rows = sparse.dense(rows)
    at = place_of(rows).array(np.arange(B) * K + deciding)
    return place.array(rows.reshape(B * K, -1)[at])


def merge(parts: Sequence[Evaluation], order: np.ndarray) -> Evaluation:
    """Evaluations of the parts of a batch as one of the whole; domain i of it is the `order[i]`th of the parts'."""
    return Evaluation(*(np.concatenate([getattr(p, name) for p in parts])[order] for name in _FIELDS))


def _replace(a: Evaluation, at: np.ndarray, new: Evaluation) -> Evaluation:
    """`a` with the domains `at` evaluated anew."""
    fields = []
    for name in _FIELDS:
        value = getattr(a, name).copy()
        value[at] = getattr(new, name)
        fields.append(value)
    return Evaluation(*fields)


_FIELDS = ("A", "b", "row", "gap", "alive", "score", "deciding", "sign")
