"""The story of one question, on one page."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from verifier.attack.gradient import search as gradient_search
from verifier.attack.gradient import targets
from verifier.attack.replay import Replay
from verifier.graph.graph import Graph
from verifier.run import strategy
from verifier.run.model import Network, boundable, load, name_of, one_input_one_output
from verifier.search.budget import Budget
from verifier.search.candidates import Candidates
from verifier.search.decide import decide
from verifier.search.outcome import Progress
from verifier.search.query import make_query
from verifier.spec.property import Property
from verifier.spec.vnnlib import read
from verifier.spec.witness import Witness
from verifier.values.arrays import Place
from verifier.values.errors import PropertyError, UserError
from verifier.values.verdict import Verdict

MOST_TARGETS = 4096
"""Disjuncts that one gradient search goes for at once."""


class Question(Protocol):
    """Something that becomes a property once the number of outputs is known."""

    def property(self, n_outputs: int) -> Property:
        """The property for a network of so many outputs."""
        ...


@dataclass(frozen=True)
class Result:
    """An answer.

    Attributes:
        verdict: `sat`, `unsat`, `unknown` or `timeout`.
        witness: for `sat`, the counterexample.
        reason: one line: what decided it, or why it is not decided.
        stats: numbers about the run (domains, seconds by phase, …).
        certificate: None: certificates are not written yet.
    """

    verdict: Verdict
    witness: Witness | None = None
    reason: str = ""
    stats: dict[str, Any] = field(default_factory=dict)
    certificate: None = None


def verify(
    model: Any,
    prop: str | Path | Property | Question,
    timeout: float | None = None,
    *,
    device: str = "auto",
    seed: int = 0,
    watch: Callable[[str, Progress | None], None] | None = None,
) -> Result:
    """Whether some input satisfies the property.

    Args:
        model: a file, or what `load` returned.
        prop: a VNN-LIB file, a `Property`, or a question such as `robustness(ball, label)`.
        timeout: seconds from now; None for as long as it takes.
        device: `auto`, `cpu` or `cuda`.
        seed: of the search for counterexamples; proofs do not depend on it.
        watch: called with the phase and, while searching, the progress.

    Raises:
        UserError: input that cannot be used; the message says what, where, and what to do.
        UnsoundBound: a broken invariant; there is no verdict.
    """
    timeout = float("inf") if timeout is None else timeout
    if not timeout >= 0:
        raise UserError(f"timeout {timeout}: give a number of seconds that is not negative")
    strategy.check_device(device)
    clock, budget = _Clock(), Budget.seconds(timeout)
    net = load(model)
    question = _property(prop, net)
    fits(net, question)
    clock.mark("load")
    if question.n_disjuncts == 0:
        return Result(Verdict.UNSAT, None, "the property contradicts itself: no input satisfies it", clock.stats())
    if budget.spent():
        return Result(Verdict.TIMEOUT, None, "out of time before the search began", clock.stats())
    graph = boundable(net)
    clock.mark("import")
    plan = strategy.choose(graph, question.n_disjuncts, device)
    replay = Replay(question, net.run, _evaluator(graph), net.input_dtype)
    if watch:
        watch("looking for a counterexample", None)
    witness = attack(graph, question, replay, plan.starts, plan.steps, np.random.default_rng(seed), budget)
    clock.mark("attack")
    if witness is not None:
        return Result(Verdict.SAT, witness, "found by gradient search", clock.stats(strategy=plan.reason))
    query = make_query(graph, question, plan.place)
    clock.mark("prepare")
    outcome = decide(
        query,
        budget,
        Candidates(query, replay),
        (lambda p: watch("searching", p)) if watch else None,
        threads=plan.threads,
    )
    clock.mark("search")
    p = outcome.progress
    why = {
        Verdict.SAT: "found while searching",
        Verdict.UNSAT: "every part of the input set was refuted",
        Verdict.TIMEOUT: f"out of time: {p.open} parts of the input set are open, the largest gap is {p.worst:.3g}",
        Verdict.UNKNOWN: f"{p.stuck} parts can be neither refuted nor split: they are as small as numbers allow",
    }
    stats = clock.stats(domains=p.bounded, open=p.open, rounds=p.rounds, strategy=plan.reason)
    return Result(outcome.verdict, outcome.witness, why[outcome.verdict], stats)


def attack(
    graph: Graph, prop: Property, replay: Replay, starts: int, steps: int, rng: np.random.Generator, budget: Budget
) -> Witness | None:
    """Gradient search over all disjuncts, each promising point replayed on the original."""
    fast = graph.cast(Place("numpy", "float32").array)
    for at in range(0, prop.n_disjuncts, MOST_TARGETS):
        t = targets(prop, np.arange(at, min(at + MOST_TARGETS, prop.n_disjuncts)), starts, rng)
        for x, box in gradient_search(fast, prop, t, steps):
            witness = replay(x[:8], box[:8])
            if witness is not None or budget.spent():
                return witness
    return None


def _evaluator(graph: Graph) -> Callable[[np.ndarray], np.ndarray]:
    shape = graph.nodes[graph.inputs[0]].shape
    return lambda x: graph.evaluate(x.reshape(len(x), *shape))[0].reshape(len(x), -1)


def _property(prop: Any, net: Network) -> Property:
    if isinstance(prop, (str, Path)):
        return read(prop)
    if isinstance(prop, Property):
        return prop
    if hasattr(prop, "property"):
        return prop.property(sum(int(np.prod(s)) for s in net.output_shapes))
    raise PropertyError(f"{type(prop).__name__} is not a property: give a VNN-LIB file or what `robustness` returns")


def fits(net: Network, prop: Property) -> None:
    """Refuse a network without exactly one input and one output, and a property over other numbers of variables."""
    one_input_one_output(net)
    for what, shape, have in (
        ("input", net.input_shapes[0], prop.n_inputs),
        ("output", net.output_shapes[0], prop.n_outputs),
    ):
        need = int(np.prod(shape))
        if need != have:
            raise PropertyError(
                f"{prop.source}: it has {have} {what} variables, but {name_of(net)} has {need} {what}s "
                f"(shape {list(shape)}); use the property and the network that belong together"
            )


class _Clock:
    """Seconds by phase."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._phases: dict[str, float] = {}

    def mark(self, phase: str) -> None:
        """The phase that has just ended."""
        now = time.monotonic()
        self._phases[phase] = now - self._last
        self._last = now

    def stats(self, **more: Any) -> dict[str, Any]:
        """The phases so far, and more."""
        return {"seconds": time.monotonic() - self._start, "phases": dict(self._phases), **more}
