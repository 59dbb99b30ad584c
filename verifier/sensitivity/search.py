"""The largest norm of a derivative, best first, over subproblems of all functionals at once.

Each part knows which signs of neurons were split and a box of inputs that these leave.  In every part all bounds are
made anew (`bounds.renew`); what its splits say of the input clips the box, and parts whose splits contradict each other
are dropped.  So the search ends at the largest norm over the sign patterns that *can* occur, where one that inherits
bounds and checks nothing ends at the largest over all.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from verifier.bounds.lagrange import Region
from verifier.bounds.network import Tick, nothing
from verifier.bounds.renew import Known, renew, renew_common
from verifier.graph.ops.product import Dot, Product
from verifier.search.branch_and_bound import Search
from verifier.search.budget import Budget, Clock, OutOfTime
from verifier.search.history import History
from verifier.search.problem import Step
from verifier.sensitivity import feasible
from verifier.sensitivity.attack import climb
from verifier.sensitivity.choice import choose, scores
from verifier.sensitivity.problem import Problem
from verifier.sensitivity.regions import BestFirst, Parts, children
from verifier.values.rounding import gamma

STARTS, STEPS = 8, 20
"""Of gradient search: points for each functional, and steps from each."""
CLIMBED = 128
"""Goals, those of the largest bounds, that gradient search starts for."""
MIDDLE = ((0.5, 0.5),)
BETWEEN = ((0.0, 1.0), (1.0, 0.0), *MIDDLE)
"""Where between their planes products are bounded: in the middle, and on the whole set at the ends, too."""
SHARE = 0.1
"""Share of the time for gradient search from the middles of the worst parts."""
LAST = 300
"""Steps for the multipliers of a part with every sign decided in a ball."""
HELD = 2e7
"""Numbers that the rows of one part's walks may hold, all parts of a batch together."""


@dataclass(frozen=True, eq=False)
class Aim:
    """When a search may stop.

    Attributes:
        group: `[G]` goals of one group are settled together: where none can exceed the best of them by much.
        tolerance: relative distance of the bounds at which a group is settled; slack: an absolute one.
        floor: values at and below this are of no interest; ceiling: nor is a goal that exceeds this somewhere.
    """

    group: np.ndarray
    tolerance: float = 1e-3
    slack: float = 0.0
    floor: float = -np.inf
    ceiling: float = np.inf


class DerivativeSearch:
    """Narrows the bounds of goals until they meet or time is up; can be paused.

    It is the problem, too, that branch and bound is run on (see `search.branch_and_bound`).

    Attributes:
        lower, upper: `[G]` bounds of what is maximised, of each goal.
        point: `[G, n]` where the lower bounds are attained.
        waiting: how many goals have no subproblem yet; most: how many are split at once.
    """

    def __init__(
        self, problem: Problem, aim: Aim, batch: int = 256, tick: Tick = nothing, history: History | None = None
    ) -> None:
        self.problem, self.aim, self._tick, self.history = problem, aim, tick, history
        G = len(problem.goals)
        middle = problem.within(0.5 * problem.low[None] + 0.5 * problem.high)
        self.lower, self.upper, self.point = np.full(G, -np.inf), np.full(G, np.inf), np.repeat(middle, G, 0)
        self.frontier = BestFirst(G, lambda: self.settled, history)
        self.search, self.waiting = Search(self, self.frontier, range(G)), G
        self._most = max(2, min(batch, int(HELD / _numbers(problem))))
        self._x = np.flatnonzero(problem.F.varying < len(problem.low))
        kinks = (p for p, (part, _) in enumerate(problem.F.parts) if problem.kinks[part].any())
        self._kinks = tuple(kinks)
        self._rooted, self._rest, self._later = False, 0.0, np.zeros(0, int)
        self._common: Known | None = None  # of the whole set, whatever the seed
        self._products = any(isinstance(f.op, (Product, Dot)) for f in problem.F.layers)
        about, ball = problem.F.varying[self._x], problem.ball
        balls = () if ball is None or not len(about) else ball.only(about).balls()
        self._balls = tuple(feasible.Round(self._x[at], b.center, b.eps, b.norm) for at, b in balls)

    @np.errstate(all="ignore")
    def root(self, budget: Budget | None = None, climbing: bool = True) -> None:
        """Bound every goal on the whole set, and (`climbing`, while there is time) look for where they are large.

        Whoever has run out of time may raise in `tick`; what is known by then holds.
        """
        P, parts, tick = self.problem, [], self._tick
        self.upper = np.fmin(self.upper, P.plain())  # what is no number says nothing
        if len(P.seeds) > 1 and P.plan.common[1]:
            once = region(self._whole(np.zeros(1, int)))
            self._common = renew_common(P.plan, once, P.ball is not None, tick)  # of the box, folding has bounded them
        for first in range(0, len(P.seeds), self._most):
            goal = np.flatnonzero((P.goals[:, 0] >= first) & (P.goals[:, 0] < first + self._most))
            seed, at = np.unique(P.goals[goal, 0], return_index=True)
            if not len(seed):
                continue
            R = len(goal) // len(seed)  # as many of each seed
            if R == 1:
                s = self._value(self._whole(goal), self._common)
                self.upper[goal] = s.bound
                parts.append(s)
            else:
                s = self._whole(goal[at])
                for between in BETWEEN if self._products else MIDDLE:
                    known = renew(P.plan, region(s), P.goals[goal, 1].reshape(-1, R), None, between, self._common, tick)
                    s = replace(s, lower=known.lower, upper=known.upper)
                    self.upper[goal] = np.fmin(self.upper[goal], -known.value.reshape(-1))
            self.search.progress.bounded += len(goal)
        if climbing:
            goal = np.argsort(-self.upper, kind="stable")[:CLIMBED]
            self._climb(np.repeat(goal, STARTS), self._starts(len(goal)), budget)
        self._planted(parts)

    def _planted(self, parts: list[Parts]) -> None:
        """The first subproblems; where there are none, all goals wait."""
        self._later = np.zeros(0, int) if parts else np.argsort(-self.upper, kind="stable")
        self.waiting = len(self._later)
        for s in parts:
            kept = self._kept(s)
            self.frontier.push(kept)
        if self.history is not None:
            self.history.keep()
        self._rooted = True  # only now: what is not in the frontier does not wait for ever
        self._count()

    def _whole(self, goal: np.ndarray) -> Parts:
        """The whole set, once for each goal."""
        P, F = self.problem, self.problem.F
        D, seeds = len(goal), P.seeds[P.goals[goal, 0]]
        ends = (np.concatenate([np.tile(a, (D, 1)), seeds], 1) for a in (P.low, P.high))
        low, high = (a[:, F.varying] for a in ends)
        lower, upper = (np.tile(a, (D, 1)) for a in (F.lower, F.upper))
        sign, none = np.zeros((D, len(F.z)), np.int8), np.zeros(D, int)
        number = None if self.history is None else goal
        return Parts(goal, self.upper[goal], lower, upper, sign, low, high, none, none, number)

    @np.errstate(all="ignore")
    def sow(self, budget: Budget) -> Step[Parts]:
        """The root, where that is not done; then goals that wait, those first whose bounds are largest."""
        if not self._rooted:
            self.root(budget)
            return Step()
        goal = self._later[: self._most]
        open_ = goal[self.upper[goal] > self.settled[goal]]
        closed = np.setdiff1d(goal, open_)
        np.maximum.at(self.frontier.closed, closed, self.upper[closed])
        if self.history is not None:
            self.history.verified(closed, "root")
        s = self._kept(self._value(self._whole(open_), self._common)) if len(open_) else None
        self._later = self._later[len(goal) :]
        self.waiting = len(self._later)
        return Step(s)

    @property
    def most(self) -> int:
        """How many are split at once."""
        return max(1, self._most // 2)

    @most.setter
    def most(self, count: int) -> None:
        self._most = max(2, 2 * count)

    @property
    def bounded(self) -> int:
        """How many subproblems were bounded."""
        return self.search.progress.bounded

    @property
    def rounds(self) -> int:
        """In how many rounds."""
        return self.search.progress.rounds

    def run(self, budget: Budget) -> bool:
        """Go on until everything is settled (True) or the budget is spent.

        Raises:
            MemoryError: not even one subproblem fits; nothing is lost.
        """
        try:
            return self.search.advance(budget)
        finally:
            if self._rooted:
                self._count()

    @property
    def settled(self) -> np.ndarray:
        """`[G]` values up to which parts are of no interest."""
        aim = self.aim
        best = np.full(int(aim.group.max(initial=0)) + 1, -np.inf)
        np.maximum.at(best, aim.group, self.lower)
        known = np.isfinite(best)
        best[known] += aim.tolerance * abs(best[known]) + aim.slack
        return np.where(self.lower > aim.ceiling, np.inf, np.maximum(best, aim.floor)[aim.group])

    def _count(self) -> None:
        most = self.frontier.most()
        most[self._later] = self.upper[self._later]
        self.upper = np.minimum(self.upper, np.maximum(most, self.lower))

    @np.errstate(all="ignore")
    def expand(self, s: Parts, budget: Budget) -> Step[Parts]:
        """Split subproblems, and bound the halves; those that stay open come with what to split next."""
        P, parents = self.problem, s
        s = children(parents)
        if self.history is not None and parents.number is not None:
            s = replace(s, number=self.history.split(parents.number, parents.pick).reshape(-1))
        D = len(s)
        if self._kinks and (s.sign != 0).any():
            known = renew(P.plan, region(s), None, self._kinks, tick=self._tick)
            s = replace(s, lower=known.lower, upper=known.upper)
            low, high, empty = feasible.shrink(s.low, s.high, *self._halfspaces(s, known), self._balls)
            left = np.flatnonzero(~empty & ~(s.lower > s.upper).any(1))
            s = self._fewer(s, replace(s, low=low, high=high).take(left), "empty")
            if not len(s):
                return Step(bounded=D, verified=D)
        s = self._value(s)
        self._sample(s, budget.clock)
        s = self._kept(s)
        return Step(s, None, D, D - len(s))

    def _fewer(self, s: Parts, left: Parts, by: str) -> Parts:
        """What is left of some subproblems; the others are verified, which is told."""
        if self.history is not None and s.number is not None and left.number is not None:
            self.history.verified(s.number[~np.isin(s.number, left.number)], by)
        return left

    def _value(self, s: Parts, common: Known | None = None) -> Parts:
        """Parts with the bounds of their goals, and with what to split next; `common` of what they all agree in."""
        P = self.problem
        tick = self._tick
        for between in MIDDLE if self._rooted or not self._products else BETWEEN:
            known = renew(P.plan, region(s), P.goals[s.goal, 1][:, None], None, between, common, tick)
            s = replace(s, lower=known.lower, upper=known.upper, bound=np.fmin(s.bound, -known.value[:, 0]))
        return replace(s, pick=choose(scores(P, s, known.a, known.lines)))

    def _kept(self, s: Parts) -> Parts:
        """Subproblems that stay open: not those that are impossible, nor those with nothing left to split."""
        P = self.problem
        possible = np.asarray(~(s.lower > s.upper).any(1))  # what is no number stays
        ended = np.flatnonzero(possible & (s.pick < 0))
        for i in ended[np.asarray(s.bound[ended] > self.settled[s.goal[ended]])]:
            possible[i] = self._finish(s.take(np.array([i])))
        if P.ball is not None:  # no linear program has the last word in a ball: what it has not settled is halved
            left = ended[possible[ended] & (s.bound[ended] > self.settled[s.goal[ended]])]
            width = (s.high - s.low)[np.ix_(left, self._x)]
            able = width.max(1) > 1e-9 * abs(P.high - P.low).max()
            s.pick[left[able]] = len(P.F.z) + self._x[width.argmax(1)[able]]
        ended = np.flatnonzero(possible & (s.pick < 0))
        np.maximum.at(self.frontier.closed, s.goal[ended], s.bound[ended])
        return self._fewer(s, s.take(np.flatnonzero(possible & (s.pick >= 0))), "exact")

    def _halfspaces(self, s: Parts, known: Known) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What the splits say of the input, as `A·x + b <= 0`: `[B, S, k]`, `[B, S]`, and which of them hold."""
        F, found = self.problem.F, []
        for p in self._kinks:
            part, _ = F.parts[p]
            sign = s.sign[:, part]
            at = np.flatnonzero((sign != 0).any(0))
            A, b = known.planes[p]
            n = part.stop - part.start
            each, which = np.arange(len(s))[:, None], np.where(sign[:, at] > 0, at + n, at)
            found.append((self._everywhere(p, A[each, which]), b[each, which], sign[:, at] != 0))
        A, b, use = (np.concatenate([f[i] for f in found], axis=1) for i in range(3))
        return A, b, use

    def _everywhere(self, p: int, A: np.ndarray) -> np.ndarray:
        """Coefficients over all inputs that vary."""
        columns = self.problem.plan.columns[p]
        if columns is None:
            return A
        whole = np.zeros((*A.shape[:2], len(self.problem.F.varying)))
        whole[..., columns] = A
        return whole

    def _finish(self, one: Parts) -> bool:
        """Whether a part with every sign decided is possible; tries the middle of it."""
        if not (one.sign != 0).any():
            return True
        A, b, _ = self._halfspaces(one, renew(self.problem.plan, region(one), None, self._kinks))
        x, _, price = feasible.inside(one.low[0], one.high[0], A[0], b[0])
        if feasible.positive(one.low, one.high, A, b, price[None])[0]:
            return False
        if self._balls:
            all_ = np.ones(b.shape, bool)
            weight, mean = feasible.multipliers(one.low, one.high, A, b, all_, self._balls, LAST)
            if feasible.positive(one.low, one.high, A, b, weight, self._balls)[0]:
                return False
            self._try(one.goal, self._full(mean))
        if x is not None:
            self._try(one.goal, self._full(x[None]))
        return True

    def _full(self, x: np.ndarray) -> np.ndarray:
        """Points `[P, k]` of what varies as points `[P, n]` of the set."""
        P = self.problem
        whole = np.tile(P.low, (len(x), 1))
        whole[:, P.F.varying[self._x]] = x[:, self._x]
        return P.within(whole)

    def _starts(self, G: int) -> np.ndarray:
        """`[G·STARTS, n]` points of the set: its middle, corners, others."""
        P, rng = self.problem, np.random.default_rng(0)
        u = rng.random((G, STARTS, len(P.low)))
        u[:, 1::2] = np.rint(u[:, 1::2])
        u[:, 0] = 0.5
        return P.within(P.low + (P.high - P.low) * u.reshape(G * STARTS, -1))

    def _climb(self, goal: np.ndarray, x: np.ndarray, budget: Budget | None = None) -> None:
        """Gradient search from points `[P, n]`, as far as the budget goes."""
        for at in range(0, len(x), self._most):
            if budget is not None and budget.spent():
                return
            g = goal[at : at + self._most]
            seed, entry = self.problem.goals[g].T
            self._try(
                g, climb(self.problem, x[at : at + self._most], self.problem.seeds[seed], entry, STEPS, self._late)
            )

    def _late(self, work: float = 0.0) -> bool:
        """Whether all the time there is is up: then nobody looks for points any more (parts are never lost)."""
        try:
            self._tick(work)
        except OutOfTime:
            return True
        return False

    def _sample(self, s: Parts, clock: Clock) -> None:
        """Try the middles of parts, and from time to time what is uphill from the worst of them."""
        x = self._full(0.5 * s.low + 0.5 * s.high)
        self._try(s.goal, x)
        now = clock.now()
        if now >= self._rest:
            worst = np.argsort(-s.bound)[:STARTS]
            self._climb(s.goal[worst], x[worst])
            self._rest = clock.now() + (clock.now() - now) / SHARE

    def _try(self, goal: np.ndarray, x: np.ndarray) -> None:
        """Points `[P, n]` that may raise the lower bounds of `goal` `[P]`: certain ones do."""
        P = self.problem
        value = P.evaluate(x, P.seeds[P.goals[goal, 0]], P.goals[goal, 1])
        order = np.argsort(-value)
        for i in order[np.unique(goal[order], return_index=True)[1]]:
            g = goal[i]
            if value[i] > self.lower[g] and not self._late():
                seed, entry = P.goals[g]
                sure = P.certain(x[i], P.seeds[seed], int(entry))
                if sure > self.lower[g]:
                    self.lower[g], self.point[g] = sure, x[i]


def region(s: Parts) -> Region:
    """Where parts are."""
    center = 0.5 * s.low + 0.5 * s.high
    radius = np.maximum(s.high - center, center - s.low) * (1 + gamma(2, "float64"))
    return Region(s.lower, s.upper, s.sign, center, radius)


def _numbers(problem: Problem) -> float:
    """How many numbers the widest step of a part's walks holds."""
    plan, widest = problem.plan, 1
    for p, (part, _) in enumerate(problem.F.parts):
        columns = [plan.X[p, p].shape[1], *(b.shape[1] for (q, _), b in plan.blocks.items() if q == p)]
        widest = max(widest, 2 * (part.stop - part.start) * max(columns))
    return float(widest)
