"""One image as far as it takes: CROWN, optimised slopes, gradient search, branch and bound."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verifier.bounds.ascend import Rates, ascend
from verifier.bounds.certain import certain
from verifier.bounds.dual import Objective
from verifier.bounds.fold import Folded
from verifier.bounds.folding import fold, undecided
from verifier.bounds.intermediate import region, start, tighten
from verifier.bounds.rows import Rows
from verifier.executor.tasks import Answer, Send
from verifier.run.certification.points import ImageBatch, Status, batch
from verifier.run.certification.rungs import BLOCK, Margins, crown, in_balls
from verifier.run.certification.setting import Setting, setting
from verifier.run.clock import keep_memory
from verifier.run.verify import attack
from verifier.search.budget import Budget, OutOfTime
from verifier.search.candidates import Candidates
from verifier.search.decide import MOST, decide
from verifier.search.memory import one_memory_error
from verifier.search.neurons.tree import CLEAR
from verifier.search.query import make_query
from verifier.values.arrays import to_numpy
from verifier.values.precision import full_precision
from verifier.values.verdict import Verdict

RATES, NEURONS = Rates(20, alpha=0.5), Rates(4, alpha=0.5)
"""Of the climb for rows, and for the bounds of neurons."""


def request(b: ImageBatch, k: int, timeout: float) -> dict[str, Any]:
    """The k-th image as a task, with so many seconds at most."""
    seconds = min(timeout, float(b.left[k]), 1e9)
    numbers = {"index": int(b.index[k]), "label": int(b.label[k]), "eps": float(b.eps[k])}
    return {**numbers, "x": b.x[k].tolist(), "timeout": seconds}


def answering(s: Setting) -> Answer:
    """What answers such requests: with `status`, `reason` and `witness`."""

    def answer(asked: dict[str, Any], send: Send) -> None:
        b = batch(np.array([0]), np.array([asked["x"]]), np.array([asked["label"]]), asked["eps"])
        found = single(s, replace(b, index=np.array([asked["index"]])), asked["timeout"])
        witness = None if found.witness is None else found.witness.tolist()
        send({"result": {"status": found.status, "reason": found.reason, "witness": witness}})

    return answer


def ready(how: dict[str, Any]) -> Answer:
    """What a process does, see `executor.local.Work`; `how` are keyword arguments of `setting`."""
    keep_memory()
    return answering(setting(example=np.zeros(0), **how))


@dataclass(frozen=True, eq=False)
class Fate:
    """What became of one image; see `points.Point`."""

    status: Status
    reason: str = ""
    witness: np.ndarray | None = None


def single(s: Setting, b: ImageBatch, timeout: float, seed: int = 0) -> Fate:
    """Decide a batch of one image, or give up after so many seconds.

    An exception is no result: it becomes `error`, with its one line.
    """
    try:
        with one_memory_error(), full_precision(s.plan.place):
            return _climb(s, b, Budget.seconds(timeout), seed)
    except OutOfTime:
        return Fate(Status.UNKNOWN, "out of time before the search began")
    except Exception as e:  # whatever it is, it is of this image alone
        return Fate(Status.ERROR, f"{type(e).__name__}: {' '.join(str(e).split())[:200]}")


def _climb(s: Setting, b: ImageBatch, budget: Budget, seed: int) -> Fate:
    budget.check()
    found = crown(s, b, budget.check)
    if found.proved.all():
        return Fate(Status.CROWN)
    if alpha(s, b, found, budget):
        return Fate(Status.ALPHA)
    prop = s.property(b, 0)
    replay, rng = s.replay(prop), np.random.default_rng(seed)
    witness = attack(s.graph, prop, replay, s.plan.starts, s.plan.steps, rng, budget)
    if witness is not None:
        return Fate(Status.ATTACKED, witness=witness.x)
    budget.check()
    query = make_query(s.graph, prop, s.plan.place, budget.check)
    outcome = decide(query, budget, Candidates(query, replay), threads=s.plan.threads)
    p = outcome.progress
    if outcome.verdict is Verdict.UNSAT:
        return Fate(Status.SEARCH)
    if outcome.verdict is Verdict.SAT and outcome.witness is not None:
        return Fate(Status.ATTACKED, witness=outcome.witness.x)
    if outcome.verdict is Verdict.TIMEOUT:
        return Fate(Status.UNKNOWN, p.late)
    return Fate(Status.UNKNOWN, f"{p.stuck} parts are too close to call")


@np.errstate(all="ignore")  # what overflows proves nothing
def alpha(s: Setting, b: ImageBatch, found: Margins, budget: Budget) -> bool:
    """Whether optimised slopes (alpha-CROWN: Xu et al. 2021) prove what CROWN has left open for one image.

    First those of the rows, then those of every neuron's bounds, and the rows' again.
    """
    net, bounds = s.exact, found.bounds
    U = max(undecided(net, bounds.interval, bounds.relaxed))
    if bounds.broken is not None or U * (U + s.inputs) > MOST:
        return False
    at = net.place.array(np.asarray(to_numpy(found.ids)[0])[~(found.least[0] > 0)])
    rows = Rows({i: A[at] for i, A in found.rows.start.items()}, found.rows.constant[at], found.rows.error[at])
    lower, upper = (a[0] for a in s.box(b))
    weight = bounds.weights(net)
    F = fold(net, rows, bounds.interval, weight, lower, upper, tick=budget.check, relaxed=bounds.relaxed)
    left = np.arange(len(rows))
    for again in (False, True):
        if again:
            F = F.settle(*tighten(F, s.plan.place, NEURONS, BLOCK, None, budget.check)[:2])
        budget.check()
        left = left[~(_optimised(s, b, F, left) > 0)]
        if not len(left):
            return True
    return False


def _optimised(s: Setting, b: ImageBatch, F: Folded, left: np.ndarray) -> np.ndarray:
    """Lower bounds of the rows `left`, by slopes climbed in single precision and bounded in double."""
    quick, ids = F.to(s.plan.place), left[:, None]
    o = Objective(quick.rows, quick.place.array(ids), len(F.blocks))
    first = start(quick, region(quick), len(left))
    best = ascend(quick, region(quick), o, first, RATES, CLEAR).best
    exact = Objective(F.rows, F.place.array(ids), len(F.blocks))
    value, walk = certain(F, region(F), exact, best.to(F.place))
    if s.norm == np.inf:
        return to_numpy(value)
    # Slopes are climbed for the box: the first ones may suit the ball better.
    walks = walk, certain(F, region(F), exact, first.to(F.place))[1]
    center = b.x[:, F.varying]
    fixed = [in_balls(to_numpy(w.A)[None], to_numpy(w.b)[None], center, b.eps, s.norm)[0] for w in walks]
    return np.asarray(np.fmax(to_numpy(value), np.fmax(*fixed)))
