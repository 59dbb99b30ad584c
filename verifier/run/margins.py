"""Which literals of clauses are false, and which are true, wherever an input may lie."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifier.bounds.network import magnitudes, prepare
from verifier.bounds.propagate import boxes, propagate
from verifier.bounds.rows import make_rows, rows_backward, rows_interval
from verifier.graph.graph import Graph
from verifier.search.budget import Budget, OutOfTime
from verifier.search.query import MOST_SYMBOLS
from verifier.spec.clauses import Clauses
from verifier.spec.property import Property
from verifier.values.arrays import Place, to_numpy
from verifier.values.rounding import unit

EFFORT = 1e10
"""Multiply-adds that bounding literals, and neurons before them, may cost on a box."""
CHUNK = 500_000
"""Numbers in one block of rows."""


@dataclass(frozen=True, eq=False)
class Found:
    """What is known of the literals on a box.

    Attributes:
        low, high: `[L]` bounds of their margins: refuted where low > 0; true where high <= 0 (`<` 0 where strict).
        size: `[n + m]` magnitudes of inputs and outputs.
    """

    low: np.ndarray
    high: np.ndarray
    size: np.ndarray


@np.errstate(all="ignore")  # what is not defined or overflows proves nothing
def bounded(graph: Graph, prop: Property, lower: np.ndarray, upper: np.ndarray, budget: Budget) -> Found:
    """Bound the literals of the property's clauses on a box `[n]`; nothing is known where the time is up.

    Sound because: rows are bounded like those of a property, their rounding taken off; d is rounded up where a literal
    is to be refuted, and down where it is to be true.
    """
    c, net = prop.clauses, prepare(graph, Place("numpy", "float64"))
    assert c is not None
    L, n = len(c.d), prop.n_inputs
    cost = graph.work
    thorough = sum(graph.nodes[j].size for j in net.sources) * cost < EFFORT
    symbols = np.flatnonzero(lower < upper)
    box = boxes(lower[None], upper[None], symbols[:0] if len(symbols) > MOST_SYMBOLS else symbols, "float64", prop.ball)
    nothing = np.full(L, np.inf)
    try:
        bounds = propagate(net, box, None, set(), {} if thorough else None, CHUNK, None, budget.check)
        host = {j: (to_numpy(l), to_numpy(u)) for j, (l, u) in bounds.interval.items()}
        of = magnitudes(graph, lower, upper, host)
        size = np.concatenate([of[net.input], of[net.output]])
        low, high = -nothing, nothing.copy()
        step = max(1, CHUNK // max(node.size for node in graph.nodes))
        for at in range(0, L, step):
            budget.check()
            some = np.arange(at, min(at + step, L))
            A = dense(c, some, n + prop.n_outputs)
            both = np.concatenate([A, -A])
            rows = make_rows(graph, net, of, both[:, n:], both[:, :n], np.concatenate([c.d[some], -c.inner_d[some]]))
            ids = np.arange(len(both))[None]
            value = rows_interval(net, rows, ids, bounds.image, (box.lower, box.upper))[0]
            if L * cost < EFFORT and bounds.broken is None:
                planes = rows_backward(net, rows, ids, bounds.weights(net), bounds.relaxed)
                reach = (abs(planes.A) * (abs(box.center) + box.radius)).sum(1) * (1 + 1e-6)
                least = planes.b - planes.error + np.minimum(planes.A * box.lower, planes.A * box.upper).sum(1)
                value = np.fmax(value, least - reach * (n + 8) * 2 * unit("float64"))
            value = np.where(np.isfinite(value), value, -np.inf)
            low[some], high[some] = value[: len(some)], -value[len(some) :]
    except OutOfTime:
        return Found(-nothing, nothing, np.full(n + prop.n_outputs, np.inf))
    # A coefficient that is no double is off by a unit: what that may change is taken off both.
    begin = c.term[:-1]
    doubt = np.where(c.inexact, np.add.reduceat(abs(c.value) * size[c.column], begin) * 2.0**-51, 0.0)
    low, high = low - doubt, high + doubt
    return Found(np.where(np.isnan(low), -np.inf, low), np.where(np.isnan(high), np.inf, high), size)


def dense(c: Clauses, some: np.ndarray, columns: int) -> np.ndarray:
    """Literals `some` as rows `[K, columns]` over inputs and outputs."""
    A = np.zeros((len(some), columns))
    for k, i in enumerate(some.tolist()):
        at = slice(int(c.term[i]), int(c.term[i + 1]))
        A[k, c.column[at]] = c.value[at]
    return A
