"""The story of one question, on one page."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from verifier.attack.gradient import search as gradient_search
from verifier.attack.gradient import targets
from verifier.attack.replay import Replay
from verifier.bounds.inside import settled
from verifier.graph.graph import Graph
from verifier.graph.opened import in_memory
from verifier.run import sample, strategy
from verifier.run.beyond import beyond
from verifier.run.facts import Facts, facts, parts, tell
from verifier.run.model import boundable, computed, name_of, remarks, second_run
from verifier.run.notebook import searching, shows
from verifier.run.peel import peeled
from verifier.run.pose import Posed, Question, pose
from verifier.run.reduced import reduced
from verifier.search.budget import Budget, OutOfTime
from verifier.search.candidates import Candidates
from verifier.search.decide import decide
from verifier.search.outcome import Progress
from verifier.search.query import Query, make_query
from verifier.spec.property import Property
from verifier.spec.vnnlib import read
from verifier.spec.witness import Witness
from verifier.values import given
from verifier.values.arrays import Place
from verifier.values.errors import ModelError
from verifier.values.log import note
from verifier.values.precision import full_precision
from verifier.values.shown import Shown, brief
from verifier.values.verdict import Verdict

if TYPE_CHECKING:
    from verifier.run.relations import Asked
    from verifier.spec.query2 import Query2

MOST_TARGETS = 4096
"""Disjuncts that one gradient search goes for at once."""
READING = 0.5
"""Seconds for comparing a model with the original where the timeout leaves less: bad input is refused all the same."""
LATE = "out of time before the search began"
ANYWHERE = 256
"""Points tried where a property has no literals: all it asks for is outputs that are finite."""


@dataclass(frozen=True, repr=False)
class Result(Shown):
    """An answer.

    Attributes:
        verdict: `sat`, `unsat`, `unknown` or `timeout`.
        witness: for `sat`, the counterexample.
        reason: one line: what decided it, or why it is not decided.
        stats: about the run: `seconds`, `phases` (seconds of each), `domains` bounded, `open` and `closed`, `rounds`,
            `gap` (the worst, of what is open), `parts` (what is open, see `bench.store.Row`), `strategy` and the
            `facts` it was chosen from (see `run.facts`), `remarks` on how the model was read; each as far as it came to
            that.
        certificate: None: certificates are not written yet.
    """

    verdict: Verdict
    witness: Witness | None = None
    reason: str = ""
    stats: dict[str, Any] = field(default_factory=dict)
    certificate: None = None

    def _said(self) -> list[tuple[str, Any]]:
        """Verdict, reason, time, and what was done."""
        names = ("seconds", "domains", "open", "closed", "gap", "cells")
        numbers = [(name, self.stats[name]) for name in names if self.stats.get(name) is not None]
        found = [("counterexample", brief(self.witness.flat))] if self.witness is not None else []
        return [("verdict", self.verdict), ("reason", self.reason), *found, *numbers]

    def _below(self) -> str:
        """The counterexample."""
        return "" if self.witness is None else self.witness._repr_html_()


@shows(searching)
def verify(
    model: Any,
    prop: str | Path | Property | Query2 | Question | Asked | None = None,
    timeout: float | Budget | None = None,
    *,
    device: str = "auto",
    seed: int = 0,
    accept_real: bool = False,
    watch: Callable[[str, Progress | None], None] | None = None,
    explain: Callable[[str, Facts], None] | None = None,
) -> Result:
    """Whether some input satisfies the property.

    Args:
        model: what `load` takes or returned; for a query over several networks a mapping from their names to such.
            Or a question that brings its networks along, such as `monotonicity(net, input=0, box=box)`, alone.
        prop: a VNN-LIB file, a `Property`, or a question such as `robustness(ball, label)`.
        timeout: seconds from now, None for as long as it takes; or a `Budget`, of any clock.
        device: `auto` (the processor), `cpu` or `cuda`.
        seed: of the search for counterexamples; proofs do not depend on it.
        accept_real: consent to an answer in real arithmetic where a query declares floating-point types.
        watch: called with the phase and, while searching, the progress.
        explain: called with the strategy, once it is chosen, and the facts that it was chosen from.

    Raises:
        UserError: input that cannot be used; the message says what, where, and what to do.
        UnsoundBound: a broken invariant; there is no verdict.
    """
    budget, seed = Budget.given(timeout), given.whole("seed", seed, least=0)
    accept_real = given.flag("accept_real", accept_real)
    given.call("watch", watch), given.call("explain", explain)
    strategy.check_device(device)
    clock = _Clock()
    try:
        posed = pose(model, prop, accept_real)
    except ModelError as refused:
        return _divided(model, prop, refused, clock, budget, device=device, seed=seed, watch=watch, explain=explain)
    net, question = posed.net, posed.prop
    clock.mark("load")
    if question.n_disjuncts == 0:
        return Result(Verdict.UNSAT, None, "the property contradicts itself: no input satisfies it", clock.stats())
    if budget.spent():
        return Result(Verdict.TIMEOUT, None, LATE, clock.stats())
    try:
        graph = boundable(net, sample.of_property(question), budget.at_least(READING).check)
    except OutOfTime:
        return Result(Verdict.TIMEOUT, None, LATE, clock.stats())
    graph = settled(graph, question.lower.min(0), question.upper.max(0))
    clock.mark("import")
    plan = strategy.choose(graph, question.n_disjuncts, device)
    known = facts(net, graph, question)
    chosen: dict[str, Any] = {"strategy": plan.reason, "facts": known}
    how = f", {words}" if (words := computed(net)) else ""
    chosen |= {"remarks": said} if (said := list(remarks(net))) else {}
    tell(plan.reason, known, explain)
    replay = Replay(question, net.run, _evaluator(graph), net.input_dtype, second_run(net))
    whole, graph = graph, peeled(graph, question)
    if watch:
        watch("looking for a counterexample", None)
    try:
        posted = reduced(graph, question, budget)
        graph, sought = posted.graph, posted.prop
        if not sought.n_disjuncts:
            return Result(Verdict.UNSAT, None, "bounds of its literals refute every disjunct", clock.stats(**chosen))
        witness = attack(graph, sought, replay, plan.starts, plan.steps, np.random.default_rng(seed), budget)
        clock.mark("attack")
        if witness is not None:
            return Result(Verdict.SAT, posed.told(witness), f"found by gradient search{how}", clock.stats(**chosen))
        if not len(sought.d):  # nothing can be refuted, and splitting leads nowhere
            why_not = "the property asks nothing of the outputs, but no input was found at which all of them are finite"
            return Result(Verdict.UNKNOWN, None, why_not, clock.stats(**chosen))
        with full_precision(plan.place):
            query = make_query(graph, sought, plan.place, budget.check, posted.nested)
            plain = posted.plain(plan.place, budget.check)
    except OutOfTime:
        return Result(Verdict.TIMEOUT, None, LATE, clock.stats(**chosen))
    clock.mark("prepare")
    left = beyond(query)
    with full_precision(plan.place):
        outcome = decide(
            query,
            budget if left is None else left.patience(budget),
            Candidates(query, replay),
            (lambda p: watch("searching", p)) if watch else None,
            threads=plan.threads,
            plain=plain,
            other=_apart(net, whole, question, plan.place, budget),
        )
    clock.mark("search")
    p = outcome.progress
    why = {
        Verdict.SAT: f"found while searching{how}",
        Verdict.UNSAT: "every part of the input set was refuted",
        Verdict.TIMEOUT: p.late,
        Verdict.UNKNOWN: f"{p.stuck} parts can be neither refuted nor split: they are as small as numbers allow",
    }
    counts: dict[str, Any] = {"domains": p.bounded, "open": p.open, "closed": p.closed, "rounds": p.rounds}
    if outcome.verdict in (Verdict.TIMEOUT, Verdict.UNKNOWN):
        rest = posted.told(outcome.rest)
        gap = max((o.gap for o in rest), default=p.worst)
        if left is not None:
            why[outcome.verdict] += left.remark(name_of(net))
        counts |= {"gap": gap if gap < float("inf") else None, "parts": parts(rest)}
    stats = clock.stats(**counts, **chosen)
    return Result(outcome.verdict, posed.told(outcome.witness), why[outcome.verdict], stats)


def _apart(net: Any, graph: Graph, prop: Property, place: Place, budget: Budget) -> Callable[[], Query | None] | None:
    """What makes the question in terms of differences, where that may serve (see `run.apart`)."""
    if not hasattr(net, "parts") or prop.clauses is not None:  # one network alone
        return None
    from verifier.run.apart import apart

    return partial(apart, net, graph, prop, place, budget.check)


def _divided(model: Any, prop: Any, refused: ModelError, clock: _Clock, budget: Budget, **how: Any) -> Result:
    """An answer on a model that can be read only where some inputs are decided (see `run.cells`).

    Raises:
        ModelError: it cannot be read there either: why it could not be read at first.
    """
    from verifier.run import cells  # only here: most models can be read

    question = read(prop) if isinstance(prop, (str, Path)) else prop
    source = isinstance(model, (str, Path)) or in_memory(model)
    if not (source and isinstance(question, Property)) or not question.n_disjuncts:
        raise refused
    try:
        found = cells.divide(model, question)
    except ModelError:
        raise refused from None
    if not isinstance(found, cells.Divided):
        return verify(found, question, budget, **how)
    clock.mark("load")

    def sub(net: Any, part: Property) -> tuple[Verdict, Witness | None]:
        result = verify(net, part, budget, **how)
        return result.verdict, result.witness

    verdict, witness, done = cells.decide(found, question, budget, sub)
    clock.mark("search")
    why = {
        Verdict.SAT: "found in a cell",
        Verdict.UNSAT: f"each of the {done} cells that whole numbers of the inputs make was refuted",
        Verdict.TIMEOUT: f"out of time after {done} cells",
        Verdict.UNKNOWN: "some cells are too close to call",
    }
    return Result(verdict, Posed(found.model, question).told(witness), why[verdict], clock.stats(cells=done))


def attack(
    graph: Graph, prop: Property, replay: Replay, starts: int, steps: int, rng: np.random.Generator, budget: Budget
) -> Witness | None:
    """Gradient search over all disjuncts, each promising point replayed on the original.

    Where there are no literals, every point looks promising, and none more than others: many are tried.

    Raises:
        OutOfTime: before it came to an end.
    """
    starts, few = (starts, 8) if len(prop.d) else (max(starts, ANYWHERE), ANYWHERE)
    fast = graph.cast(Place("numpy", "float32").array)
    for at in range(0, prop.n_disjuncts, MOST_TARGETS):
        t = targets(prop, np.arange(at, min(at + MOST_TARGETS, prop.n_disjuncts)), starts, rng)
        for x, box in gradient_search(fast, prop, t, steps, tick=budget.check):
            witness = replay(x[:few], box[:few])
            if witness is not None or budget.spent():
                return witness
    return None


def _evaluator(graph: Graph) -> Callable[[np.ndarray], np.ndarray]:
    shape = graph.nodes[graph.inputs[0]].shape
    return lambda x: graph.evaluate(x.reshape(len(x), *shape))[0].reshape(len(x), -1)


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._phases: dict[str, float] = {}

    def mark(self, phase: str) -> None:
        """The phase that has just ended."""
        now = time.monotonic()
        self._phases[phase] = now - self._last
        note("verify", "%s took %.3f s", phase, self._phases[phase])
        self._last = now

    def stats(self, **more: Any) -> dict[str, Any]:
        """The phases so far, and more."""
        return {"seconds": time.monotonic() - self._start, "phases": dict(self._phases), **more}
