"""Lipschitz constants on the whole space: the least of what holds everywhere, and what a search by gradients meets."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from verifier.graph.graph import Graph
from verifier.run.asked import Asked, combined, lengthened
from verifier.run.lipschitz import SEMIDEFINITE, Lipschitz, product_between
from verifier.search.budget import Budget, OutOfTime
from verifier.sensitivity.baselines import Layer, chain, columns
from verifier.sensitivity.baselines.products import slope_range
from verifier.sensitivity.pairs import dual, joined, steepest
from verifier.sensitivity.problem import Unbounded
from verifier.sensitivity.spectral import around, middle
from verifier.values.box import Box
from verifier.values.errors import ModelError, UnsoundBound
from verifier.values.rounding import gamma, tiny

REACHES = (1.0, 10.0, 100.0)
"""How far from the origin points are looked for."""
SINGLE = 64
"""Outputs up to which each has its own product of norms."""
Matrix = tuple[np.ndarray, np.ndarray]
"""Lower and upper ends of entries."""


@dataclass(eq=False)
class Standing:
    """What is known so far of the constant for all inputs; `result` may be asked for at any time.

    Attributes:
        rows: `[K, m]` functionals.  norm: (p, q), q infinite for one functional.  tolerance: as of `lipschitz`.
        start: when it was asked, on the monotonic clock.
        known: upper bounds by what gave them.  highs: those of each functional.
        lower, lows, point: the largest norm of a derivative met, that of each functional, and where the first is.
        search: none.  stopped: what ended it before its time.
    """

    rows: np.ndarray
    norm: tuple[float, float]
    tolerance: float
    start: float
    known: dict[str, float]
    highs: np.ndarray
    lows: np.ndarray
    point: np.ndarray
    lower: float = 0.0
    search: None = None
    stopped: str = ""

    @np.errstate(all="ignore")
    def result(self) -> Lipschitz:
        """What is known.

        Raises:
            UnsoundBound: a lower bound exceeds an upper one.
        """
        known, lower, lows = dict(self.known), self.lower, self.lows
        highs = np.minimum(self.highs, min(known.values()))
        known["the constants of single outputs"] = joined(highs, self.norm[1])
        by = min(known, key=known.__getitem__)
        if lower > known[by] or (lows > highs).any():
            raise UnsoundBound(f"a lower bound of {lower!r} above an upper one of {known[by]!r}; report it")
        settled = known[by] <= lower * (1 + self.tolerance) + 1e-150
        stats = {"seconds": time.monotonic() - self.start, "parts": 0, "rounds": 0}
        why = f"{by}, valid for all inputs; the lower bound is the best point met by gradient search"
        why += f": {self.stopped}" if self.stopped else ""
        return Lipschitz(lower, known[by], self.norm, lows, highs, self.rows, self.point, settled, why, stats)


@np.errstate(all="ignore")  # what overflows bounds nothing
def everywhere(
    graph: Graph,
    rows: np.ndarray,
    norm: tuple[float, float],
    budget: Budget,
    tolerance: float,
    start: float,
    watch: Callable[[str, Any], None] | None = None,
    counted: np.ndarray | None = None,
) -> Lipschitz:
    """Bounds of the constant for all inputs.

    Args:
        rows: `[K, m]` functionals of the outputs.
        norm: (p, q).
        start: when it was asked, on the monotonic clock.
        watch: called with the phase and the `Standing`: a step may take longer than the time there is.
        counted: as of `run.asked.Asked`.

    The upper one is the least of the product of norms (any network), of interval arithmetic on the derivative with
    every slope anywhere in its range, and of semidefinite programming (LipSDP), these two of small chains.
    The lower one is the derivative at the best point that a search by gradients met in boxes about the origin: it is
    certain there, and says nothing of how much steeper the network is elsewhere.

    Raises:
        UserError: a network that jumps.
        UnsoundBound: a broken invariant.

    Sound because: each of the upper bounds holds for all inputs (see `baselines.products`, `baselines.semidefinite`,
    `slopes_anywhere`), and a derivative at one point is at most the constant.
    """
    n, K = graph.nodes[graph.inputs[0]].size, len(rows)
    p, q = norm[0], inf if K == 1 else norm[1]
    known = {"the product of norms": product_between(combined(graph, rows), (p, q), budget)}
    highs = np.full(K, inf)
    s = Standing(rows, (p, q), tolerance, start, known, highs, np.zeros(K), np.zeros(n))
    if watch:
        watch("looking for steep points", s)
    box = Box(-np.ones(n), np.ones(n))
    s.lower, s.lows, s.point = _met(Asked(graph, box, None, box, rows, (p, q), tolerance, False, counted), budget)
    for i in range(K if K <= SINGLE else 0):
        if not budget.spent():
            highs[i] = product_between(combined(graph, rows[i : i + 1]), (p, inf), budget)
    try:
        if budget.spent():
            raise ModelError("out of time")
        layers = columns(chain(combined(graph, rows)), counted)
        low, up = slopes_anywhere(layers)
        known["interval bounds of the derivative"], by_rows = _measured(low, up, p, q)
        np.minimum(highs, by_rows, out=highs)
        small = sum(len(layer.b) for layer in layers[:-1]) <= SEMIDEFINITE
        if small and not budget.spent() and s.lower < min(known.values()):
            if watch:
                watch("semidefinite programming", s)
            from verifier.sensitivity.baselines.semidefinite import lipsdp

            spectral = lipsdp(layers, None, None, seconds=min(60.0, budget.left()))
            found = spectral * lengthened(K, q, 2) * lengthened(n, 2, p) * (1 + gamma(4, "float64"))
            known["semidefinite programming (LipSDP)"] = found if found == found else inf
    except ModelError:  # no chain: the product stands alone
        pass
    return s.result()


def _met(question: Asked, budget: Budget) -> tuple[float, np.ndarray, np.ndarray]:
    """The largest norm of a derivative met in boxes about the origin, that of each functional `[K]`, and where."""
    n = len(question.box.lower)
    best, each, point = 0.0, np.zeros(len(question.rows)), np.zeros(n)
    for i, reach in enumerate(REACHES):
        if budget.spent():
            break
        own = budget.within(budget.left() / (2 * (len(REACHES) - i)))
        box = Box(np.full(n, -reach), np.full(n, reach))
        asked = replace(question, box=box, inner=box)
        try:
            search = asked.search(own.check)
        except (OutOfTime, Unbounded, MemoryError):
            continue
        with suppress(OutOfTime, MemoryError):  # what was met by then counts
            search.root(own)
        problem = search.problem
        met = np.maximum(problem.norm(search.lower, False), 0.0)
        k = int(met.argmax())
        value = float(met[k])
        if asked.way == "together":
            value = max(value, steepest(problem, search.point[k], *asked.norm))
        if asked.by_rows:
            np.maximum.at(each, problem.goals[:, 0], met)
        if value > best:
            best, point = value, search.point[k]
    return best, each, point


def slopes_anywhere(layers: Sequence[Layer]) -> Matrix:
    """Bounds `[m, n]` of the Jacobian's entries for all inputs; infinite where a slope is not, or numbers overflow.

    Sound because: the Jacobian is a product of the layers' matrices with diagonal ones of slopes between them, each
    slope in the range that its function has anywhere; interval arithmetic encloses every such product, its sums raised
    by their rounding and by what the matrices may be off by.
    """
    first = layers[0]
    low, up = first.W - first.error, first.W + first.error
    low, up = np.nextafter(low, -inf), np.nextafter(up, inf)
    for before, layer in zip(layers[:-1], layers[1:], strict=True):
        assert before.activation is not None
        every = np.full(len(before.b), inf)
        a, b = (s[:, None] for s in slope_range(before.activation, -every, every))
        if not (np.isfinite(a).all() and np.isfinite(b).all()):
            unknown = np.full((len(layers[-1].b), first.W.shape[1]), inf)
            return -unknown, unknown
        ends = np.stack([a * low, a * up, b * low, b * up])
        slack = 2 * gamma(1, "float64") * abs(ends).max(0) + tiny("float64")
        low, up = ends.min(0) - slack, ends.max(0) + slack
        positive, negative, size = np.maximum(layer.W, 0.0), np.minimum(layer.W, 0.0), np.maximum(abs(low), abs(up))
        k = layer.W.shape[1]
        off = (gamma(2 * k + 8, "float64") * abs(layer.W) + layer.error) @ size * (1 + gamma(k + 8, "float64"))
        off = off + 2 * k * tiny("float64")
        low, up = positive @ low + negative @ up - off, positive @ up + negative @ low + off
    return np.where(np.isnan(low), -inf, low), np.where(np.isnan(up), inf, up)


@np.errstate(all="ignore")
def _measured(low: np.ndarray, up: np.ndarray, p: float, q: float) -> tuple[float, np.ndarray]:
    """At least the norm from ℓp to ℓq of every matrix between two, and of each of its rows.

    Sound because: it is at most the norm of the matrix of magnitudes, which is at most the ℓq norm of its rows' dual
    norms, and the dual norm of its columns' ℓq norms; for p = q = 2 also the middle's norm plus that of what entries
    are away from it.
    """
    size = np.maximum(abs(low), abs(up))
    rows = np.array([joined(row, dual(p)) for row in size])
    columns = np.array([joined(column, q) for column in size.T])
    found = min(joined(rows, q), joined(columns, dual(p)))
    if p == q == 2 and np.isfinite(size).all():
        center = 0.5 * low + 0.5 * up
        radius = np.maximum(up - center, center - low) * (1 + gamma(2, "float64"))
        found = min(found, float((middle(center[None]) + around(radius[None]))[0]) * (1 + gamma(4, "float64")))
    return found, rows
