"""How fast a network's outputs can change on a set of inputs: bounds of its local Lipschitz constant."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from math import inf
from typing import Any

import numpy as np

from verifier.graph.graph import Builder, Graph
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.moves import Reshape
from verifier.run.model import boundable, load, name_of
from verifier.run.notebook import narrowing, shows
from verifier.run.sample import of_set
from verifier.search.budget import Budget, OutOfTime
from verifier.sensitivity.baselines import chain
from verifier.sensitivity.baselines.products import product_of_norms
from verifier.sensitivity.feasible import LOST
from verifier.sensitivity.problem import Unbounded, pose
from verifier.sensitivity.search import Aim, Search
from verifier.sensitivity.spectral import Spectral
from verifier.sensitivity.steps import intervals, still
from verifier.values.box import Ball, Box
from verifier.values.errors import ModelError, PropertyError, UnsoundBound, UserError
from verifier.values.log import heard, note
from verifier.values.shown import Shown

Watch = Callable[[str, Any], None]
TURN = 0.2
"""Seconds between looks at the clock, and calls of a watch."""
SEMIDEFINITE = 300
"""Neurons up to which the semidefinite bound is tried where the search has not ended soon."""


@dataclass(frozen=True, eq=False, repr=False)
class Lipschitz(Shown):
    """Bounds of a local Lipschitz constant.

    `|f(x) − f(y)|_q <= upper·|x − y|_p` for all x, y of the set, and, where all inputs vary, no constant below `lower`
    will do.  (Bounded is the largest norm of the derivative on the set: that by inputs which are fixed there counts.)

    Attributes:
        lower, upper: of the constant; upper is infinite where nothing is known.
        norm: (p, q).
        lowers, uppers: `[K]` of the constants of each functional, to absolute value; None where the constant is not the
            largest of these.  Functionals that cannot be the largest are bounded as well as that takes, unless each
            was asked for.
        functionals: `[K, m]` rows over the outputs.
        point: `[n]` an input near which the function changes at the rate `lower`.
        settled: whether the bounds have met, up to the tolerance asked for.
        why: in words, what gave the upper bound.
        stats: seconds, parts bounded, rounds.
    """

    lower: float
    upper: float
    norm: tuple[float, float]
    lowers: np.ndarray | None
    uppers: np.ndarray | None
    functionals: np.ndarray
    point: np.ndarray
    settled: bool
    why: str
    stats: dict[str, Any]

    def _said(self) -> list[tuple[str, Any]]:
        """The bounds, of what, and whether they have met."""
        norms = "from l{:g} to l{:g}".format(*self.norm)
        told = [("lower", self.lower), ("upper", self.upper), ("norms", norms), ("functionals", len(self.functionals))]
        return [*told, ("settled", self.settled), ("by", self.why), ("seconds", self.stats.get("seconds", 0.0))]


@dataclass(frozen=True, eq=False)
class Asked:
    """A question, put together.

    Attributes:
        graph: the network.  box, ball: the set.  inner: a box that does not reach beyond it but for the ball.
        rows: `[K, m]` functionals of the outputs.
        norm: (p, q), q infinite for one functional.
        aim: tolerance, and whether each functional counts.
    """

    graph: Graph
    box: Box
    ball: Ball | None
    inner: Box
    rows: np.ndarray
    norm: tuple[float, float]
    tolerance: float
    each: bool

    @property
    def by_columns(self) -> bool:
        """Whether columns of the Jacobian are measured, not rows."""
        return self.norm[0] == 1 and self.norm[1] == 1

    @property
    def dual(self) -> float:
        """The norm in which rows (or columns) are measured."""
        p, q = self.norm
        return q if self.by_columns else inf if p == 1 else 1 if p == inf else p / (p - 1)

    def search(self, tick: Callable[[], None]) -> Search:
        """The search that answers it; `tick` is called now and then until its root is bounded."""
        rows = self.rows
        if self.norm == (2.0, 2.0):
            problem = pose(self.graph, self.box, rows, 2, self.ball, tick=tick, inner=self.inner)
            return Spectral(problem, Aim(np.zeros(1, int), 2 * self.tolerance), tick=tick)
        if self.by_columns:
            graph, directions = combined(self.graph, rows), np.eye(len(self.box.lower))
            problem = pose(graph, self.box, directions, 1, self.ball, True, tick, self.inner)
            return Search(problem, Aim(np.zeros(len(problem.goals), int), self.tolerance), tick=tick)
        problem = pose(self.graph, self.box, rows, self.dual, self.ball, tick=tick, inner=self.inner)
        group = problem.goals[:, 0] if self.each else np.zeros(len(problem.goals), int)
        return Search(problem, Aim(group, self.tolerance * (2 if self.dual == 2 else 1)), tick=tick)


@shows(narrowing)
def lipschitz(  # noqa: PLR0913
    model: Any,
    inputs: Box | Ball,
    norm: float | tuple[float, float] | None = None,
    *,
    outputs: Any = None,
    margins: int | None = None,
    timeout: float | None = 60.0,
    tolerance: float = 1e-4,
    each: bool = False,
    watch: Watch | None = None,
) -> Lipschitz:
    """Bounds of the local Lipschitz constant of a network on a set: of the largest norm of its derivative there.

    Args:
        model: what `load` takes or returned.
        inputs: a box or a ball over the flattened input.
        norm: (p, q), the norms of input and output; p alone means (p, p).  The ball's own norm, or infinity, when None.
            Supported: (p, inf) and single functionals for every p from 1 to inf; (1, 1); (2, 2).
        outputs: which outputs count: one number, several, or a matrix `[K, m]` of functionals of the outputs.
        margins: in place of outputs, the differences between this output and every other.
        timeout: seconds; what is known by then is returned.
        tolerance: relative distance of lower and upper at which the search ends.
        each: narrow the bounds of every functional, not only those of the largest.
        watch: called with the phase and the `Standing`.

    Returns: bounds that hold whenever the search ends; more time never loosens them.

    Raises:
        UserError: sizes or norms do not fit, or the network jumps, and so has no Lipschitz constant.
        UnsoundBound: a broken invariant: a lower bound above an upper one; there is no result.

    Sound because: a network without jumps is locally Lipschitz, so on a convex set its constant is the essential
    supremum of the norm of its derivative (Rademacher), which is bounded as said in `sensitivity.search`.
    """
    start, budget = time.monotonic(), limit(timeout, tolerance)
    net = load(model)
    graph = boundable(net, of_set(inputs))
    standing = Standing(ask(graph, inputs, norm, outputs, margins, name_of(net), tolerance, each), start)
    if watch:
        watch("bounding the derivative", standing)
    standing.product = product(standing.asked)
    try:
        standing.search = standing.asked.search(budget.check)
        standing.search.root(budget)
        if heard("lipschitz"):
            note("lipschitz", "on the whole set: %r", standing.result())
        _narrow(standing, standing.search, budget, watch)
    except OutOfTime:
        standing.stopped = "out of time"
    except MemoryError:
        standing.stopped = "out of memory"
    except Unbounded:
        standing.stopped = "a value or a derivative may be infinite on the set, or without a value"
    return standing.result()


@dataclass(eq=False)
class Standing:
    """How far a question has come; `result` may be asked for at any time.

    Attributes:
        asked: the question.  start: when it was put, on the monotonic clock.
        product, semidefinite: upper bounds by these, infinite while they are not known.
        search: once there is one.
        stopped: what ended it before its time.
    """

    asked: Asked
    start: float
    product: float = inf
    semidefinite: float = inf
    search: Search | None = None
    stopped: str = ""

    def result(self) -> Lipschitz:
        """What is known.

        Raises:
            UnsoundBound: a lower bound exceeds an upper one.
        """
        asked, search, before = self.asked, self.search, self.product
        stats = {"seconds": time.monotonic() - self.start, "parts": 0, "rounds": 0}
        behind = f": {self.stopped}" if self.stopped else ""
        if search is None:
            middle, why = 0.5 * asked.box.lower + 0.5 * asked.box.upper, "the product of norms" + behind
            return Lipschitz(0.0, before, asked.norm, None, None, asked.rows, middle, False, why, stats)
        problem = search.problem
        uppers, lowers = problem.norm(search.upper, True), problem.norm(search.lower, False)
        uppers, lowers = np.minimum(uppers, before), np.maximum(lowers, 0.0)
        best = int(np.argmax(lowers))
        upper, lower = min(float(uppers.max()), self.semidefinite), float(lowers[best])
        if lower > upper:
            raise UnsoundBound(f"a lower bound of {lower!r} above an upper one of {upper!r}; report it")
        why = "branch and bound" if search.rounds else "bounds on the whole set"
        if self.semidefinite <= upper:
            why = "semidefinite programming (LipSDP)"
        elif before <= upper:
            why = "the product of norms"
        nothing = 2 * LOST if problem.dual == 2 else 1e-300  # what rounding leaves of a constant that is zero
        settled = upper <= lower * (1 + asked.tolerance) + nothing
        lows = highs = None
        if asked.norm != (2.0, 2.0) and not asked.by_columns:
            lows, highs = np.zeros(len(asked.rows)), np.zeros(len(asked.rows))
            np.maximum.at(lows, problem.goals[:, 0], lowers)
            np.maximum.at(highs, problem.goals[:, 0], uppers)
            if asked.each:
                settled = bool(np.all(highs <= lows * (1 + asked.tolerance) + nothing))
        stats |= {"parts": search.bounded, "rounds": search.rounds}
        point = search.point[best]
        return Lipschitz(lower, upper, asked.norm, lows, highs, asked.rows, point, settled, why + behind, stats)


def _narrow(standing: Standing, search: Search, budget: Budget, watch: Watch | None) -> None:
    """Search until the bounds meet, or time or memory is used up."""
    asked, ended, tried = standing.asked, False, False
    while not ended and not budget.spent():
        ended = search.run(Budget(min(budget.deadline, time.monotonic() + TURN)))
        if watch:
            watch("searching", standing)
        if not ended and not tried and asked.norm == (2.0, 2.0) and search.bounded > 1000:
            standing.semidefinite, tried = _semidefinite(asked, budget), True
            search.upper = np.minimum(search.upper, standing.semidefinite**2)
        ended = ended or bool(np.all(search.upper <= search.settled))


def _semidefinite(asked: Asked, budget: Budget) -> float:
    """The local semidefinite bound, where the network is a chain small enough; else infinity."""
    from verifier.sensitivity.baselines.semidefinite import lipsdp

    try:
        layers = chain(asked.graph, SEMIDEFINITE)
    except ModelError:
        return inf
    interval = intervals(asked.graph, asked.box).interval
    entering = [asked.graph.nodes[f.node].inputs[0] for f in layers if f.activation is not None]
    regions = [(l.reshape(-1), u.reshape(-1)) for l, u in (interval[j] for j in entering)]
    return lipsdp(layers, asked.rows, regions, seconds=min(60.0, budget.left()))


def limit(timeout: float | None, tolerance: float) -> Budget:
    """The time there is from now on.

    Raises:
        UserError: it, or the tolerance, is negative or no number.
    """
    for name, value in (("timeout", inf if timeout is None else timeout), ("tolerance", tolerance)):
        if not (isinstance(value, (int, float, np.integer, np.floating)) and value >= 0):
            raise UserError(f"{name} {value!r}: give a number that is not negative")
    return Budget.seconds(inf if timeout is None else float(timeout))


def product(asked: Asked) -> float:
    """The product of norms, from p to p: no looser from p to infinity."""
    p, graph = asked.norm[0], combined(asked.graph, asked.rows)
    if p in (1, 2, inf):
        return product_of_norms(graph, p)
    return between({q: product_of_norms(graph, q) for q in (1.0, 2.0, inf)}, p)


def between(known: dict[float, float], p: float) -> float:
    """An upper bound of the constant from lp to infinity, from bounds of those of the norms with a formula.

    Sound because: the dual norm of each row is log-convex in one over its exponent (Hölder), and that is linear in 1/p.
    """
    found = inf
    for a, b in ((inf, 2.0), (2.0, 1.0), (inf, 1.0)):
        share = (1 / p - 1 / a) / (1 / b - 1 / a)
        if 0 <= share <= 1:
            first, second = (max(known[q], 1e-300) for q in (a, b))
            value = first ** (1 - share) * second**share * (1 + 1e-12)
            found = min(found, value) if value < inf else found
    return found


def combined(graph: Graph, rows: np.ndarray) -> Graph:
    """The network with functionals `[K, m]` of its outputs as its outputs."""
    m = graph.nodes[graph.outputs[0]].size
    if rows.shape == (m, m) and (rows == np.eye(m)).all():
        return graph
    builder = Builder()
    builder.nodes = list(graph.nodes)
    flat = builder.add(Reshape((m,)), graph.outputs)
    return builder.graph(graph.inputs, (builder.add(Dense(rows), (flat,)),))


def ask(
    graph: Graph,
    inputs: Box | Ball,
    norm: float | tuple[float, float] | None,
    outputs: Any,
    margins: int | None,
    name: str,
    tolerance: float,
    each: bool,
) -> Asked:
    """Put a question together.

    Raises:
        UserError: sizes or norms do not fit.
    """
    box, ball, inner = input_set(graph, inputs, name)
    graph = still(graph, box)
    rows = functionals(graph, outputs, margins, name)
    p, q = _norms(norm, inputs)
    if len(rows) == 1:
        q = inf  # one functional: its absolute value is every norm of it
    if not (q == inf or (p, q) in ((1.0, 1.0), (2.0, 2.0))):
        raise UserError(
            f"norm ({p:g}, {q:g}) is not supported for several outputs: ask for (p, inf), (1, 1) or (2, 2), or for one"
        )
    return Asked(graph, box, ball, inner, rows, (p, q), tolerance, each)


def input_set(graph: Graph, inputs: Box | Ball, name: str) -> tuple[Box, Ball | None, Box]:
    """The box around a set, the ball that it is, where that is less, and a box that does not reach beyond it.

    Raises:
        UserError: it is no set, or does not fit.
    """
    if not isinstance(inputs, (Box, Ball)):
        raise UserError(f"{type(inputs).__name__} is not an input set: give a Box or a Ball")
    box = inputs.box() if isinstance(inputs, Ball) else inputs
    n = graph.nodes[graph.inputs[0]].size
    if len(box.lower) != n:
        raise PropertyError(f"the input set has {len(box.lower)} entries, {name} {n} inputs; give as many")
    if not isinstance(inputs, Ball) or not inputs.eps:
        return box, None, box
    low, high = (np.nextafter(inputs.center + s * inputs.eps, inputs.center) for s in (-1, 1))
    inner = Box(*(np.clip(a, box.lower, box.upper) for a in (low, high)))
    return box, None if inputs.norm == inf else inputs, inner


def functionals(graph: Graph, outputs: Any, margins: int | None, name: str) -> np.ndarray:
    """Rows `[K, m]` over the outputs.

    Raises:
        PropertyError: they do not fit.
    """
    m = graph.nodes[graph.outputs[0]].size
    if margins is not None:
        if outputs is not None:
            raise PropertyError("outputs and margins: give one of them")
        if isinstance(margins, bool) or not isinstance(margins, (int, np.integer)) or not 0 <= margins < m or m < 2:
            raise PropertyError(f"margins {margins}: {name} has the outputs 0 to {m - 1}")
        others = np.delete(np.arange(m), margins)
        return np.eye(m)[margins] - np.eye(m)[others]
    if outputs is None:
        return np.eye(m)
    try:
        a = np.asarray(outputs, np.float64)
    except (TypeError, ValueError) as e:
        raise PropertyError(f"outputs: not numbers ({e}); correct them") from None
    if a.ndim < 2:
        at = np.atleast_1d(a)
        if not len(at) or (at != np.rint(at)).any() or (at < 0).any() or (at >= m).any():
            raise PropertyError(f"outputs {outputs}: {name} has the outputs 0 to {m - 1}")
        return np.eye(m)[at.astype(int)]
    if a.ndim != 2 or a.shape[1] != m or not len(a) or not np.isfinite(a).all():
        raise PropertyError(f"outputs: a matrix of finite numbers needs {m} columns, as many as {name} has outputs")
    return a


def _norms(norm: float | tuple[float, float] | None, inputs: Box | Ball) -> tuple[float, float]:
    if norm is None:
        norm = inputs.norm if isinstance(inputs, Ball) else inf
    try:
        p, q = norm if isinstance(norm, (tuple, list)) else (norm, norm)
        p, q = float(p), float(q)
    except (TypeError, ValueError):
        raise UserError(f"norm {norm!r}: give a number from 1 to inf, or a pair (p, q) of them") from None
    if not (p >= 1 and q >= 1):
        raise UserError(f"norm ({p:g}, {q:g}): norms are numbers from 1 to inf")
    return p, q
