"""Splits of neurons: halves are bounded by optimised multipliers, and clipped by the planes behind their bounds."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from verifier.bounds.ascend import Rates, ascend
from verifier.bounds.dual import Bends, Region, Walk, back, slopes
from verifier.bounds.intermediate import region, start
from verifier.bounds.within import narrowed, worthwhile
from verifier.search.branching.general import loss, renewed, widest
from verifier.search.branching.relaxed import Filtered
from verifier.search.budget import Budget
from verifier.search.clipping.planes import clipper
from verifier.search.history import History
from verifier.search.neurons.cuts import Learner
from verifier.search.neurons.exact import finish
from verifier.search.neurons.splits import Splits, children
from verifier.search.neurons.tree import CLEAR, HELD, Tree, at_once, climb, decisive, improve
from verifier.search.outcome import Found, Try
from verifier.search.problem import Step
from verifier.values.arrays import Array, counting, largest, namespace, to_numpy
from verifier.values.rounding import above, below

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


class NeuronSplits:
    """The problem (see `search.branch_and_bound`): every disjunct of a tree is to be refuted on its box.

    Args:
        tree: what to decide.
        whole: all the time there is, by which the root's bounds are planned.
        attempt: tries candidate counterexamples on the original model.
        plan: how.
        history: told what becomes of subproblems; a root's number is that of its disjunct (`Tree.slot`).
    """

    def __init__(
        self, tree: Tree, whole: Budget, attempt: Try, plan: Plan | None = None, history: History | None = None
    ) -> None:
        self.tree, self.whole, self.attempt, self.plan, self.history = tree, whole, attempt, plan or Plan(), history
        self.most, self.waiting = 0, len(tree)
        self._stage, self._start = 0, start(tree.fast, region(tree.fast), 0)
        self._learner = Learner(bool(self.plan.cuts))
        self._rest = 0.0  # no probing before

    def sow(self, budget: Budget) -> Step[Splits]:
        """Rows are optimised on the whole box, with bounds of neurons before and after they are; the rest is split."""
        if self._stage == 2:
            return self._sown()
        if self._stage == 1:
            seconds = min(budget.left(), ROOT * self.whole.left())
            self.tree = improve(self.tree, seconds, self._improving(), self.whole.check)
        stairs = any(layer.stairs for layer in self.tree.fast.layers)
        slot = self.tree.slot
        self.tree, self._start, hits = climb(self.tree, self.plan.stairs if stairs else self.plan.root)
        self.waiting = len(self.tree)
        if self.history is not None:
            self.history.verified(np.setdiff1d(slot, self.tree.slot), "root")
        self._try(hits)
        self._stage += 1
        if self._stage == 2 and self.waiting:
            self.most = self.plan.batch or batch_size(self.tree)
            self.clipper = clipper(self.tree.exact, self.tree.fast, self.tree.hull)
        return Step()

    def _improving(self) -> int:
        """Steps for the bounds of neurons; staircases hardly gain by them: what they lose are halves, anywhere."""
        F = self.tree.fast
        if F.plain:
            return self.plan.steps
        return 0 if all(layer.stairs for layer in F.layers) else self.plan.curved

    def _sown(self) -> Step[Splits]:
        """As many disjuncts on the whole box as fit a batch's children."""
        F, first = self.tree.fast, len(self.tree) - self.waiting
        goal = F.place.array(np.arange(first, min(first + 2 * self.most, len(self.tree))))
        n, xp = len(goal), F.place.xp
        lower, upper = (xp.broadcast_to(a[None], (n, len(F.z))) * 1 for a in (F.lower, F.upper))
        none, some = lower * 0, self._start.take(goal)
        one = some.weight.sum(1) * 0 + 1
        chosen = (some.alpha, some.beta, some.weight)
        point = None if F.plain else one * 0
        number = None if self.history is None else F.place.array(self.tree.slot)[goal]
        root = Splits(lower, upper, none, *chosen, goal, one * -xp.inf, goal * 0 - 1, one, some.second, point, number)
        step = self._settled(root, replace(self.plan.rates, steps=2))
        self.waiting -= n
        return step

    def expand(self, s: Splits, budget: Budget) -> Step[Splits]:
        """Split subproblems at the neurons that were picked for them, and bound the halves."""
        halves = children(s)
        if self.history is not None and s.number is not None:
            number = self.history.split(s.number, (s.pick, s.point))
            halves = replace(halves, number=self.tree.fast.place.array(number.reshape(-1)))
        return self._settled(renewed(self.tree.fast, halves), self.plan.rates)

    def _settled(self, s: Splits, rates: Rates) -> Step[Splits]:
        """Bound subproblems; those that are not verified come with what to split next."""
        F, D, xp = self.tree.fast, len(s), self.tree.fast.place.xp
        s = self._fewer(s, self._learner.imply(s), "cuts")
        B = len(s)
        s = self._narrow(s)
        if not len(s):
            return Step(bounded=B, verified=D)
        r, m, facts = self._region(s), s.multipliers(), None
        cuts = self._learner.cuts if self._learner.paying else None
        if cuts is not None:
            holds = (s.goal[:, None] == cuts.goal[None]) * (s.share[:, None] * 0 + 1)
            r, m, facts = replace(r, holds=holds), replace(m, mu=holds * 0), cuts.facts(F)
        o = self.tree.objective(s.goal, facts=facts)
        up = ascend(F, r, o, m, rates, CLEAR, seek=True)
        # These decide; what was climbed only proposes.
        bound, plane = decisive(self.tree, r, s.goal, up.best, None if cuts is None else cuts.facts(self.tree.exact))
        self._try(up.hits)
        if self.plan.cuts is not False and F.plain:
            closed = xp.flatnonzero(bound > 0)
            self._learner.watch(self.tree, s.take(closed), replace(up.best.take(closed), mu=None))
        at = xp.flatnonzero(~(bound > 0))
        if self.history is not None:
            self._fewer(s, s.take(at), "bounds", up.best)
        if not len(at):
            return Step(bounded=B, verified=D)
        best = up.best.take(at)
        s = replace(s.take(at), alpha=best.alpha, beta=best.beta, weight=best.weight, second=best.second)
        s = replace(s, bound=xp.maximum(s.bound, F.place.array(bound[at], F.place.dtype)))
        self._probe(plane.A[at], s.bound)
        s = self._clip(s, plane.take(at))
        if not len(s):
            return Step(bounded=B, verified=D)
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
        worst, ended, given_up = -float(s.bound.min()), s.take(xp.flatnonzero(pick < 0)), None
        if len(ended):
            given_up = self._finish(ended)
            s = s.take(xp.flatnonzero(pick >= 0))
        # The worst is popped first: if there is a counterexample, it is there.
        return Step(s, given_up, B, D - len(s) - (0 if given_up is None else len(given_up)), worst)

    def _finish(self, s: Splits) -> Splits:
        """Decide subproblems that have nothing left to split, one by one; those that stay undecided."""
        F, m = self.tree.fast, s.multipliers()
        if not F.plain:  # as narrow as numbers allow; intervals tell all that splits of staircases do, exactly
            bound, _ = decisive(self.tree, self._region(s), s.goal, replace(m, beta=m.beta * 0))
            left = F.place.xp.flatnonzero(~(bound > 0))
        else:
            left = F.place.array(np.array([i for i in range(len(s)) if not self._exact(s.take(slice(i, i + 1)))], int))
        s = self._fewer(s, s.take(left), "exact")
        if self.history is not None and s.number is not None:
            self.history.given_up(s.number)
        return s

    def _exact(self, one: Splits) -> bool:
        """Whether a linear program refutes a subproblem without a kink; its solution is tried."""
        refuted, x = finish(self.tree, one, self.whole)
        if not refuted:
            self._try([(np.zeros(1, int), x)])
        return refuted

    def _fewer(self, s: Splits, left: Splits, by: str, reason: object = None) -> Splits:
        """What is left of some subproblems; the others are verified, which is told."""
        if self.history is not None and s.number is not None:
            self.history.verified(np.setdiff1d(to_numpy(s.number), to_numpy(left.number)), by, reason)
        return left

    def _narrow(self, s: Splits) -> Splits:
        """Parts with bounds of all values made anew by intervals, where that tells something; what is empty is gone."""
        F = self.tree.fast
        if not (len(s) and worthwhile(F)):
            return s
        r = narrowed(F, self._region(s))
        left = F.place.xp.flatnonzero(~(r.lower > r.upper).any(1))
        return self._fewer(s, replace(s, lower=r.lower, upper=r.upper).take(left), "intervals")

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
        return self._fewer(s, replace(s, lower=lower, upper=upper).take(left), "clipped")

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
