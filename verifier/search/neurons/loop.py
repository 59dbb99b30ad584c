"""Branch and bound over the signs of neurons."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace

import numpy as np

from verifier.bounds.ascend import Rates, ascend
from verifier.bounds.dual import Bends, Multipliers, Region, Walk, back, slopes
from verifier.bounds.within import narrowed, worthwhile
from verifier.search.branching.general import loss, renewed, widest
from verifier.search.branching.relaxed import Filtered
from verifier.search.budget import Budget, OutOfTime
from verifier.search.clipping.planes import clipper
from verifier.search.memory import one_memory_error
from verifier.search.neurons.cuts import Learner
from verifier.search.neurons.exact import finish
from verifier.search.neurons.splits import Splits, children, join
from verifier.search.neurons.tree import CLEAR, HELD, Tree, at_once, climb, decisive, improve
from verifier.search.outcome import Outcome, Progress, Try
from verifier.spec.witness import Witness
from verifier.values.arrays import Array, counting, largest, namespace, to_numpy
from verifier.values.rounding import above, below
from verifier.values.verdict import Verdict

LONG = 1.0
"""Seconds a round may take before batches get smaller: the clock and the watcher are served between rounds."""


PROBE, PROBES = 0.1, 8
"""Share of the time for walks downhill from parts' minimisers, and how many of them at once."""
ROOT = 0.15
"""Share of all the time that better bounds at the root may take."""


@dataclass(frozen=True)
class Plan:
    """How a tree is searched.

    Attributes:
        rates: of the climb in every part; root: of the first one, stairs: where there are staircases.
        branching: what picks the neuron to split.
        steps: climbing steps for the bounds of neurons at the root; curved: where they are not all rectifiers.
        clip: how many neurons of a part are clipped.
        cuts: whether to learn from refuted parts: always, never, or (None) as it pays.
        batch: parents split at once; 0 picks a number by the network's size.
    """

    rates: Rates = Rates(2, alpha=0.1, beta=0.5)
    root: Rates = Rates(20, alpha=0.5)
    stairs: Rates = Rates(100, alpha=0.5, decay=0.97)
    branching: Filtered = field(default_factory=Filtered)
    steps: int = 4
    curved: int = 12
    clip: int = 50
    cuts: bool | None = None
    batch: int = 0


class Found(Exception):
    """A counterexample ends the search, wherever it is found."""

    def __init__(self, witness: Witness) -> None:
        super().__init__("found a counterexample")
        self.witness = witness


class Grow:
    """Splits until every disjunct of a tree is refuted, or a counterexample is found; can be paused.

    Args:
        tree: what to decide.
        whole: all the time there is, by which the root's bounds are planned.
        attempt: tries candidate counterexamples on the original model.
        progress: where to count.
        watch: called after every round.
        plan: how.
    """

    def __init__(
        self,
        tree: Tree,
        whole: Budget,
        attempt: Try,
        progress: Progress,
        watch: Callable[[Progress], None] | None = None,
        plan: Plan | None = None,
    ) -> None:
        self.tree, self.whole, self.attempt, self.progress = tree, whole, attempt, progress
        self.watch, self.plan = watch, plan or Plan()
        self.stack: list[Splits] = []
        self._stuck, self._lost = 0, 0.0
        self._root = 0
        self._learner = Learner(bool(self.plan.cuts))
        self._goals = len(tree)
        self._most = self._batch = 0
        self._rest = 0.0  # no probing before

    @property
    def closed(self) -> float:
        """The share of the tree that has been refuted."""
        if not self._batch:
            return 1.0 - len(self.tree) / self._goals
        return 1.0 - (float(sum(s.share.sum() for s in self.stack)) + self._lost) / self._goals

    def advance(self, budget: Budget) -> Outcome | None:
        """Go on until the tree is decided, or (None) the budget is spent."""
        try:
            while not self._batch and not budget.spent():
                if self._prepare(budget):
                    return Outcome(Verdict.UNSAT, None, self.progress)
            return self._rounds(budget) if self._batch else None
        except Found as found:
            return Outcome(Verdict.SAT, found.witness, self.progress)

    def _prepare(self, budget: Budget) -> bool:
        """The next step at the root; whether it refutes everything."""
        if self._root == 1:
            seconds = min(budget.left(), ROOT * self.whole.left())
            self.tree = improve(self.tree, seconds, self._improving(), self.whole.check)
        stairs = any(layer.stairs for layer in self.tree.fast.layers)
        self.tree, m, hits = climb(self.tree, self.plan.stairs if stairs else self.plan.root)
        self._try(hits)
        self._root += 1
        if self._root >= 2 and len(self.tree):
            self._most = self.plan.batch or batch_size(self.tree)
            self._sow(m)
            self._batch = self._most  # only now: parts that were not sown must not count as refuted
        return not len(self.tree)

    def _improving(self) -> int:
        """Steps for the bounds of neurons; staircases hardly gain by them: what they lose are halves, anywhere."""
        F = self.tree.fast
        if F.plain:
            return self.plan.steps
        return 0 if all(layer.stairs for layer in F.layers) else self.plan.curved

    def _sow(self, m: Multipliers) -> None:
        """The root as the first part."""
        F, J = self.tree.fast, len(self.tree)
        self.clipper, self.stack = clipper(self.tree.exact, F, self.tree.hull), []
        xp, step = F.place.xp, 2 * self._most
        for first in range(0, J, step):
            goal = F.place.array(np.arange(first, min(first + step, J)))
            n = len(goal)
            lower, upper = (xp.broadcast_to(a[None], (n, len(F.z))) * 1 for a in (F.lower, F.upper))
            none, some = lower * 0, m.take(goal)
            one = some.weight.sum(1) * 0 + 1
            chosen = (some.alpha, some.beta, some.weight)
            point = None if F.plain else one * 0
            root = Splits(lower, upper, none, *chosen, goal, one * -xp.inf, goal * 0 - 1, one, some.second, point)
            self._settle(root, replace(self.plan.rates, steps=2))

    def _rounds(self, budget: Budget) -> Outcome | None:
        while self.stack:
            if budget.spent():
                return None
            parents, start = self._pop(self._batch), budget.clock.now()
            before = sum(map(len, self.stack)) + 2 * len(parents), self.progress.stuck
            try:
                with one_memory_error():
                    self._settle(renewed(self.tree.fast, children(parents)), self.plan.rates)
            except MemoryError:
                if len(parents) == 1:
                    raise
                self._batch = self._most = max(1, len(parents) // 2)
                self.stack.append(parents)
                continue
            except OutOfTime:
                self.stack.append(parents)
                return None
            seconds = budget.clock.now() - start
            if seconds > LONG:
                self._batch = max(1, len(parents) // 2)
            elif seconds < LONG / 4 and len(parents) == self._batch:
                self._batch = min(2 * self._batch, self._most)
            self.progress.rounds += 1
            self.progress.open = sum(map(len, self.stack))
            self.progress.closed += before[0] - self.progress.open - (self.progress.stuck - before[1])
            if self.watch is not None:
                self.watch(self.progress)
        return Outcome(Verdict.UNKNOWN if self._stuck else Verdict.UNSAT, None, self.progress)

    def _settle(self, s: Splits, rates: Rates) -> None:
        """Bound parts; keep those that stay open, with what to split next."""
        F = self.tree.fast
        xp = F.place.xp
        s = self._learner.imply(s)
        s = self._narrow(s)
        if not len(s):
            return
        r, m, facts = self._region(s), s.multipliers(), None
        cuts = self._learner.cuts if self._learner.paying else None
        if cuts is not None:
            holds = (s.goal[:, None] == cuts.goal[None]) * (s.share[:, None] * 0 + 1)
            r, m, facts = replace(r, holds=holds), replace(m, mu=holds * 0), cuts.facts(F)
        o = self.tree.objective(s.goal, facts=facts)
        up = ascend(F, r, o, m, rates, CLEAR, seek=True)
        self.progress.bounded += len(s)
        # These decide; what was climbed only proposes.
        bound, plane = decisive(self.tree, r, s.goal, up.best, None if cuts is None else cuts.facts(self.tree.exact))
        self._try(up.hits)
        if self.plan.cuts is not False and F.plain:
            closed = xp.flatnonzero(bound > 0)
            self._learner.watch(self.tree, s.take(closed), replace(up.best.take(closed), mu=None))
        at = xp.flatnonzero(~(bound > 0))
        if not len(at):
            return
        best = up.best.take(at)
        s = replace(s.take(at), alpha=best.alpha, beta=best.beta, weight=best.weight, second=best.second)
        s = replace(s, bound=xp.maximum(s.bound, F.place.array(bound[at], F.place.dtype)))
        self._probe(plane.A[at], s.bound)
        s = self._clip(s, plane.take(at))
        if not len(s):
            return
        r, o = self._region(s), self.tree.objective(s.goal)
        m = s.multipliers()
        line = slopes(F, r, m.alpha, m.second)
        walk = back(F, r, line, o, m)
        if isinstance(line, Bends):
            pick, point = widest(F, r, line, walk)
            s = replace(s, pick=pick, point=point)
        else:
            pick = self.plan.branching.pick(F, self.tree.hull, r, o, m, line, walk)
            s = replace(s, pick=pick)
        self.progress.worst = -float(s.bound.min())
        able = xp.flatnonzero(pick >= 0)
        if len(able) < len(s):
            self._finish(s.take(xp.flatnonzero(pick < 0)))
            s = s.take(able)
        if len(s):
            # The worst is popped first: if there is a counterexample, it is there.
            self.stack.append(s.take(xp.argsort(-s.bound)))

    def _finish(self, s: Splits) -> None:
        """Decide parts that have nothing left to split, one by one."""
        F, m = self.tree.fast, s.multipliers()
        if not F.plain:  # as narrow as numbers allow; intervals tell all that splits of staircases do, exactly
            bound, _ = decisive(self.tree, self._region(s), s.goal, replace(m, beta=m.beta * 0))
            s = s.take(F.place.xp.flatnonzero(~(bound > 0)))
            self._stuck, self._lost = self._stuck + len(s), self._lost + float(s.share.sum())
            self.progress.stuck += len(s)
            return
        for i in range(len(s)):
            refuted, x = finish(self.tree, s.take(slice(i, i + 1)), self.whole)
            if not refuted:
                self._try([(np.zeros(1, int), x)])
                self._stuck += 1
                self._lost += float(s.share[i])
                self.progress.stuck += 1

    def _narrow(self, s: Splits) -> Splits:
        """Parts with bounds of all values made anew by intervals, where that tells something; what is empty is gone."""
        F = self.tree.fast
        if not (len(s) and worthwhile(F)):
            return s
        r = narrowed(F, self._region(s))
        left = F.place.xp.flatnonzero(~(r.lower > r.upper).any(1))
        self.progress.bounded += len(s) - len(left)
        return replace(s, lower=r.lower, upper=r.upper).take(left)

    def _region(self, s: Splits) -> Region:
        """Where the parts are."""
        F = self.tree.fast
        return Region(s.lower, s.upper, s.sign, F.center[None], F.radius[None])

    def _clip(self, s: Splits, plane: Walk) -> Splits:
        """Bounds of the neurons that matter most, improved by the planes behind the parts' bounds.

        Sound because: a counterexample makes the plane `<= 0`, and only counterexamples are of interest.
        """
        F, few = self.tree.fast, min(self.plan.clip, len(self.tree.fast.z))
        xp = F.place.xp
        if not few:
            return s
        r = self._region(s)
        line, a = slopes(F, r, s.alpha, s.second), F.place.array(plane.a, F.place.dtype)
        worth = loss(F, r, line, a) if isinstance(line, Bends) else -xp.minimum(a, 0.0) * line.offset
        at = largest(worth, few)
        each = counting(len(s), at)[:, None]
        low, up = self.clipper(plane.A, plane.b, at)
        if F.layers:  # an end at a jump must be a split there, see `relax.steps`
            low, up = below(low), above(up)
        lower, upper = s.lower * 1, s.upper * 1
        lower[each, at] = xp.maximum(lower[each, at], low)
        upper[each, at] = xp.minimum(upper[each, at], up)
        possible = ~(lower > upper).any(1)
        left = xp.flatnonzero(possible)
        return replace(s, lower=lower, upper=upper).take(left)

    def _try(self, hits: list[tuple[np.ndarray, np.ndarray]]) -> None:
        """Replay candidates on the original; raises `Found` for a counterexample."""
        if hits:
            self._attempt(np.concatenate([h[1] for h in hits])[:32].astype(np.float64))

    def _probe(self, A: Array, bound: Array) -> None:
        """From time to time, walk downhill from where the worst parts' planes are least."""
        clock = self.whole.clock
        now = clock.now()
        if now >= self._rest:
            E, worst = self.tree.exact, namespace(bound).argsort(bound)[:PROBES]
            self._attempt(to_numpy(E.center - namespace(A).sign(A[worst]) * E.radius))
            self._rest = clock.now() + (clock.now() - now) / PROBE

    def _attempt(self, x: np.ndarray) -> None:
        """Points `[P, k]`; an exception, so that no way back can lose a counterexample."""
        witness = self.attempt(full(self.tree, x), np.full(len(x), self.tree.group))
        if witness is not None:
            raise Found(witness)

    def _pop(self, most: int) -> Splits:
        """At most `most` parts, the latest first."""
        taken: list[Splits] = []
        while self.stack and most > 0:
            block = self.stack.pop()
            cut = max(0, len(block) - most)
            if cut:
                self.stack.append(block.take(slice(0, cut)))
                block = block.take(slice(cut, None))
            taken.append(block)
            most -= len(block)
        return join(taken)


def full(tree: Tree, x: np.ndarray) -> np.ndarray:
    """Points `[P, k]` of the inputs that vary as points `[P, n]` of the box."""
    whole = np.repeat(((tree.lower + tree.upper) * 0.5)[None], len(x), 0)
    whole[:, tree.exact.varying] = x
    return np.clip(whole, tree.lower, tree.upper)


def batch_size(tree: Tree) -> int:
    """Parents whose children's arrays stay in a processor's cache, many more on a device."""
    numpy = tree.fast.place.kind == "numpy"
    least = min(16, at_once(tree, HELD))
    return int(np.clip(at_once(tree, 4e5 if numpy else 4e8), least, 256 if numpy else 16384))
