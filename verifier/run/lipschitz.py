"""How fast a network's outputs can change on a set of inputs: bounds of its local Lipschitz constant."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from verifier.graph.graph import Graph
from verifier.run.asked import Asked, ask, combined, functionals, lengthened, norms
from verifier.run.model import boundable, name_of
from verifier.run.notebook import narrowing, shows
from verifier.run.sample import of_set
from verifier.run.tensors import about, chosen
from verifier.search.budget import Budget, OutOfTime
from verifier.sensitivity.baselines import chain, columns
from verifier.sensitivity.baselines.products import product_of_norms
from verifier.sensitivity.feasible import LOST
from verifier.sensitivity.pairs import joined, steepest
from verifier.sensitivity.problem import Unbounded
from verifier.sensitivity.search import DerivativeSearch
from verifier.sensitivity.steps import intervals
from verifier.values import given
from verifier.values.errors import ModelError, UnsoundBound
from verifier.values.log import heard, note
from verifier.values.shown import Shown

Watch = Callable[[str, Any], None]
MOST = 20_000
"""Entries of the Jacobian up to which functionals are bounded one by one beside a search that is not over them."""
TURN = 0.2
"""Seconds between looks at the clock, and calls of a watch."""
LEAST = 0.5
"""Seconds that the product of spectral norms gets where the timeout leaves less."""
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
        lowers, uppers: `[K]` of the constants of each functional, to absolute value.  Functionals that cannot be the
            largest are bounded as well as that takes, unless each was asked for.
        functionals: `[K, m]` rows over the outputs.
        point: `[n]` an input near which the function changes at the rate `lower`.
        settled: whether the bounds have met, up to the tolerance asked for.
        why: in words, what gave the upper bound.
        stats: seconds, parts bounded, rounds.
    """

    lower: float
    upper: float
    norm: tuple[float, float]
    lowers: np.ndarray
    uppers: np.ndarray
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


@shows(narrowing)
def lipschitz(  # noqa: PLR0913
    model: Any,
    inputs: Any = None,
    norm: float | tuple[float, float] | None = None,
    *,
    wrt: str | Sequence[str] | None = None,
    outputs: Any = None,
    margins: int | None = None,
    timeout: float | Budget | None = 60.0,
    tolerance: float = 1e-4,
    each: bool = False,
    watch: Watch | None = None,
) -> Lipschitz:
    """Bounds of the Lipschitz constant of a network on a set, or everywhere: of the largest norm of its derivative.

    Args:
        model: what `load` takes or returned.
        inputs: a box or a ball over the flattened input; or sets by the inputs' names, or in the model's order (see
            `input_set`); None for the whole space (see `run.everywhere`), where the upper bound holds everywhere, and
            the lower one is the best that a search by gradients met.
        norm: (p, q), the norms of input and output; p alone means (p, p).  The ball's own norm, or infinity, when None.
            Both may be any numbers from 1 to inf.  Given time the bounds meet for single functionals, for q = inf,
            p = 1, p = q = 2, for q = 1 where outputs are few and p = inf where inputs are (see `run.asked.Asked`).
        wrt: of several inputs, the name of the one (or a list) that moves, the others standing anywhere in their sets;
            by default all together in one norm, but for those that are fixed by their values.
        outputs: which outputs count: one number (from the end, if negative), several, the name of an output, or a
            matrix `[K, m]` of functionals of the outputs.
        margins: in place of outputs, the differences between this output and every other.
        timeout: seconds, or a `Budget`; what is known by then is returned.
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
    start, budget, each = time.monotonic(), limit(timeout, tolerance), given.flag("each", each)
    given.call("watch", watch)
    about_it = about(model, inputs, wrt)
    net, inputs, outputs = about_it.net, about_it.inputs, chosen(about_it.net, outputs)
    graph = boundable(net, of_set(inputs))
    if inputs is None:
        from verifier.run.everywhere import everywhere

        rows = functionals(graph, outputs, margins, name_of(net))
        return everywhere(graph, rows, norms(norm, None), budget, tolerance, start, watch, about_it.counted)
    question = ask(graph, inputs, norm, outputs, margins, name_of(net), tolerance, each)
    standing = Standing(replace(question, counted=about_it.counted), start)
    asked = standing.asked
    if watch:
        watch("bounding the derivative", standing)
    standing.product = product(asked, budget)
    try:
        standing.search = asked.search(budget.check)
        standing.search.root(budget)
        if not asked.by_rows and (each or len(asked.rows) * asked.n <= MOST):
            standing.beside = asked.of_each().search(budget.check)
            standing.beside.root(budget)
        if heard("lipschitz"):
            note("lipschitz", "on the whole set: %r", standing.result())
        _narrow(standing, standing.search, budget, watch)
        if each and standing.beside is not None:
            _narrow(standing, standing.beside, budget, watch)
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
        search: once there is one.  beside: of the functionals one by one, where that is another.
        stopped: what ended it before its time.
    """

    asked: Asked
    start: float
    product: float = inf
    semidefinite: float = inf
    search: DerivativeSearch | None = None
    beside: DerivativeSearch | None = None
    stopped: str = ""

    def result(self) -> Lipschitz:
        """What is known.

        Raises:
            UnsoundBound: a lower bound exceeds an upper one.
        """
        asked, search = self.asked, self.search
        stats = {"seconds": time.monotonic() - self.start, "parts": 0, "rounds": 0}
        behind = f": {self.stopped}" if self.stopped else ""
        zeros = np.zeros(len(asked.rows))
        if search is None:
            middle, why = 0.5 * asked.box.lower + 0.5 * asked.box.upper, "the product of norms" + behind
            uppers = zeros + self.product
            return Lipschitz(0.0, self.product, asked.norm, zeros, uppers, asked.rows, middle, False, why, stats)
        problem = search.problem
        uppers, lowers = problem.norm(search.upper, True), problem.norm(search.lower, False)
        best = int(np.argmax(lowers))
        lower, point = max(0.0, float(lowers[best])), search.point[best]
        known = {"": inf if asked.way == "together" else float(uppers.max())}
        known |= {"the product of norms": self.product, "semidefinite programming (LipSDP)": self.semidefinite}
        lows, highs = self._each(min(known.values()))
        if not asked.by_rows or asked.way == "together":
            known["the constants of single outputs"] = joined(highs, asked.norm[1])
        if asked.way == "together":
            lower = max(lower, steepest(problem, point, *asked.norm))
        lower, upper = max(lower, float(lows.max(initial=0.0))), min(known.values())
        if lower > upper or (lows > highs).any():
            raise UnsoundBound(f"a lower bound of {lower!r} above an upper one of {upper!r}; report it")
        why = min(known, key=lambda name: (known[name], name != "semidefinite programming (LipSDP)"))
        why = why or ("branch and bound" if search.rounds else "bounds on the whole set")
        nothing = 2 * LOST if problem.dual == 2 else 1e-300  # what rounding leaves of a constant that is zero
        settled = upper <= lower * (1 + asked.tolerance) + nothing
        if asked.each:
            settled = settled and bool(np.all(highs <= lows * (1 + asked.tolerance) + nothing))
        stats |= {"parts": search.bounded, "rounds": search.rounds}
        return Lipschitz(lower, upper, asked.norm, lows, highs, asked.rows, point, settled, why + behind, stats)

    def _each(self, upper: float) -> tuple[np.ndarray, np.ndarray]:
        """Bounds `[K]` of the functionals' constants, none of which exceeds that of all."""
        K, search = len(self.asked.rows), self.search if self.asked.by_rows else self.beside
        lows, highs = np.zeros(K), np.full(K, upper)
        if search is not None:
            of, found = search.problem.goals[:, 0], np.zeros(K)
            np.maximum.at(lows, of, search.problem.norm(search.lower, False))
            np.maximum.at(found, of, search.problem.norm(search.upper, True))
            highs = np.minimum(highs, found)
        return lows, highs


def _narrow(standing: Standing, search: DerivativeSearch, budget: Budget, watch: Watch | None) -> None:
    """Search until the bounds meet, or time or memory is used up."""
    asked, ended, tried = standing.asked, False, search is standing.beside
    while not ended and not budget.spent():
        ended = search.run(budget.within(TURN))
        if watch:
            watch("searching", standing)
        if not ended and not tried and asked.way == "spectral" and search.bounded > 1000:
            standing.semidefinite, tried = _semidefinite(asked, budget), True
            search.upper = np.minimum(search.upper, standing.semidefinite**2)
        ended = ended or bool(np.all(search.upper <= search.settled))


def _semidefinite(asked: Asked, budget: Budget) -> float:
    """The local semidefinite bound, where the network is a chain small enough; else infinity."""
    from verifier.sensitivity.baselines.semidefinite import lipsdp

    try:
        layers = columns(chain(asked.graph, SEMIDEFINITE), asked.counted)
    except ModelError:
        return inf
    interval = intervals(asked.graph, asked.box).interval
    entering = [asked.graph.nodes[f.node].inputs[0] for f in layers if f.activation is not None]
    regions = [(l.reshape(-1), u.reshape(-1)) for l, u in (interval[j] for j in entering)]
    return lipsdp(layers, asked.rows, regions, seconds=min(60.0, budget.left()))


def limit(timeout: float | Budget | None, tolerance: float) -> Budget:
    """The time there is from now on.

    Raises:
        UserError: it, or the tolerance, is negative or no number.
    """
    given.number("tolerance", tolerance, least=0, finite=False)
    return Budget.given(timeout)


def product(asked: Asked, budget: Budget) -> float:
    """The product of norms: from r to r, for the best r, between the norms asked for."""
    return product_between(combined(asked.graph, asked.rows), asked.norm, budget)


def product_between(graph: Graph, norm: tuple[float, float], budget: Budget) -> float:
    """The product of norms of a network, for other norms than those that have a formula too.

    The spectral one takes longest, and is bounded as well as time allows: the others are a pass over the weights.

    Sound because: `‖f(x) − f(y)‖_q <= a·‖f(x) − f(y)‖_r <= a·L·‖x − y‖_r <= a·L·b·‖x − y‖_p`, with a and b how much
    longer a vector may be in one norm than in the other; and see `between`.
    """
    (p, q), n, m = norm, graph.nodes[graph.inputs[0]].size, graph.nodes[graph.outputs[0]].size
    spectral = 2 in norm or p not in (1, inf)
    of = {r: product_of_norms(graph, r) for r in (1.0, inf)}
    if spectral:
        of[2.0] = product_of_norms(graph, 2.0, budget.at_least(LEAST))
    found = [L * lengthened(m, q, r) * lengthened(n, r, p) * (1 + 1e-15) for r, L in of.items()]
    return min([*found, *([between(of, p)] if q == inf and spectral else [])])


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
