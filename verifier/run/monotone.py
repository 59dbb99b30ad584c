"""Whether an output rises or falls with an input, and bounds of every entry of the Jacobian."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from verifier.run.asked import functionals, input_set
from verifier.run.lipschitz import TURN, Watch, limit
from verifier.run.model import boundable, name_of
from verifier.run.notebook import narrowing, shows
from verifier.run.sample import of_set
from verifier.run.tensors import about, chosen, place
from verifier.search.budget import Budget, OutOfTime
from verifier.sensitivity.problem import Unbounded, pose
from verifier.sensitivity.search import Aim, DerivativeSearch
from verifier.sensitivity.steps import still
from verifier.values import given
from verifier.values.errors import PropertyError
from verifier.values.shown import Shown


@dataclass(frozen=True, eq=False, repr=False)
class Monotone(Shown):
    """How an output moves with an input.

    Attributes:
        direction: `increasing` (the derivative is never below −tolerance), `decreasing` (never above tolerance),
            `constant` (both), `neither` (it is negative somewhere and positive somewhere), or `unknown`.
        lower, upper: bounds of the derivative on the set, as far as the question took them.
        rising, falling: `[n]` inputs at which the derivative is positive, and negative, for certain; None where none
            was met.
        stats: seconds, parts bounded, rounds; `stopped`, where want of memory ended it.
    """

    direction: str
    lower: float
    upper: float
    rising: np.ndarray | None
    falling: np.ndarray | None
    stats: dict[str, Any]

    def _said(self) -> list[tuple[str, Any]]:
        """The direction, and what it rests on."""
        points = [(name, x) for name, x in (("rising at", self.rising), ("falling at", self.falling)) if x is not None]
        told = [("direction", self.direction), ("lower", self.lower), ("upper", self.upper)]
        return [*told, *points, ("seconds", self.stats.get("seconds", 0.0))]


@shows(narrowing)
def monotone(
    model: Any,
    inputs: Any,
    input: Any,
    output: Any = 0,
    *,
    timeout: float | Budget | None = 60.0,
    tolerance: float = 1e-9,
    watch: Watch | None = None,
) -> Monotone:
    """Does an output never fall, or never rise, as one input grows and the others stay, anywhere on a set?

    Args:
        model: what `load` takes or returned.
        inputs: a box or a ball over the flattened input; or sets by the inputs' names, or in the model's order (see
            `input_set`).
        input: which entry grows, from 0 over all inputs; or (name, entry), or the name of an input of one entry.
        output: which output, likewise, or a row `[m]` of weights of the outputs.
        timeout: seconds, or a `Budget`.
        tolerance: derivatives this near zero count as zero: bounds with rounding do not tell 0 from −1e-16.
        watch: called with the phase and, while searching, the search.

    Raises:
        UserError: entries or sizes do not fit, or the network jumps.

    Sound because: along a line the network is the integral of its derivative, which is bounded at almost every point of
    the set (see `sensitivity.search`), and a convex set holds the line.  A witness's derivative is bounded at the
    point, with rounding.
    """
    start, budget = time.monotonic(), limit(timeout, tolerance)
    given.call("watch", watch)
    asked = about(model, inputs)
    net, input, output = asked.net, place(asked.net, input, "input"), place(asked.net, output, "output")
    graph, name = boundable(net, of_set(asked.inputs)), name_of(net)
    box, ball, inner = input_set(graph, asked.inputs, name)
    graph = still(graph, box)
    n = len(box.lower)
    input = given.whole(f"input (of {name}, which has the inputs 0 to {n - 1})", input, least=0, most=n - 1)
    row = given.array("output", output)
    row = functionals(graph, row if row.ndim == 0 else np.atleast_2d(row), None, name)
    if len(row) != 1:
        raise PropertyError(f"output: {len(row)} of them; ask for one, or for one row of weights")
    search, stopped = None, {}
    try:
        if watch:
            watch("bounding the derivative", None)
        problem = pose(graph, box, row, inf, ball, tick=budget.check, inner=inner)
        problem = replace(problem, goals=np.array([[0, input], [0, n + input]]))
        search = DerivativeSearch(problem, Aim(np.arange(2), 1e-3, tolerance, tolerance, tolerance), tick=budget.check)
        search.root(budget)
        while not search.run(budget.within(TURN)) and not budget.spent():
            if watch:
                watch("searching", search)
    except (OutOfTime, Unbounded):
        search = None
    except MemoryError:  # what was known before holds
        stopped = {"stopped": "out of memory"}
    if search is None:
        stats = {"seconds": time.monotonic() - start, "parts": 0, "rounds": 0, **stopped}
        return Monotone("unknown", -inf, inf, None, None, stats)
    up, down = search.upper
    rises, falls = search.lower > tolerance
    direction = "unknown"
    if up <= tolerance or down <= tolerance:
        direction = "decreasing" if down > tolerance else "increasing" if up > tolerance else "constant"
    elif rises and falls:
        direction = "neither"
    stats = {"seconds": time.monotonic() - start, "parts": search.bounded, "rounds": search.rounds, **stopped}
    rising, falling = search.point[0] if rises else None, search.point[1] if falls else None
    return Monotone(direction, float(-down), float(up), rising, falling, stats)


@shows(narrowing)
def jacobian(
    model: Any,
    inputs: Any,
    *,
    outputs: Any = None,
    margins: int | None = None,
    timeout: float | None = 0.0,
    tolerance: float = 1e-3,
    within: float | None = None,
    watch: Watch | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds `[K, n]` of the entries of the Jacobian on a set; infinite where nothing is known.

    That is also so for want of time or memory.

    Several inputs are one, behind one another in the model's order, and so are several outputs.

    Args:
        model, inputs, outputs, margins: as of `lipschitz`.
        timeout: seconds that splitting the set may take, after the bounds on the whole set (none: 0).
        tolerance: how near its extremes an entry's bounds must come, as a share of the largest entry.
        within: seconds for everything; what is not bounded by then is infinite (None: as long as it takes).

    Raises:
        UserError: sizes do not fit, or the network jumps.
    """
    budget, whole = limit(timeout, tolerance), Budget.given(within, "within")
    given.call("watch", watch)
    asked = about(model, inputs)
    graph, name = boundable(asked.net, of_set(asked.inputs)), name_of(asked.net)
    box, ball, inner = input_set(graph, asked.inputs, name)
    graph = still(graph, box)
    rows = functionals(graph, chosen(asked.net, outputs), margins, name)
    if watch:
        watch("bounding the derivative", None)
    nothing = np.full((len(rows), len(box.lower)), inf)
    try:
        problem = pose(graph, box, rows, inf, ball, tick=whole.check, inner=inner)
        budget = whole.within(budget.left())
        search = DerivativeSearch(problem, Aim(np.arange(len(problem.goals))), tick=whole.check)
    except (OutOfTime, Unbounded, MemoryError):
        return -nothing, nothing
    try:
        search.root(budget, climbing=not budget.spent())
        most = float(np.where(np.isfinite(search.upper), abs(search.upper), 0.0).max(initial=0.0))
        search.aim = replace(search.aim, tolerance=0.0, slack=tolerance * most)
        while not budget.spent() and not search.run(budget.within(TURN)):
            if watch:
                watch("searching", search)
    except (OutOfTime, MemoryError):  # what was known before holds
        pass
    up, down = search.upper.reshape(len(rows), 2, -1).transpose(1, 0, 2)
    return -down, up
