"""Branch and bound: the one loop behind every search of this engine.

A `Problem` says what a subproblem is, how a batch of them is bounded and split, and which of them are verified; a
`Frontier` holds those that are not, and says in which order they come.  The loop minds the budget, the size of batches
and the memory, counts, and loses nothing: whatever interrupts the bounding of a batch, the batch goes back to the
frontier, and only when a step is complete does any of it count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic

from verifier.search.budget import Budget, OutOfTime
from verifier.search.memory import one_memory_error
from verifier.search.outcome import Found, Outcome, Progress
from verifier.search.problem import Problem, S, Step
from verifier.search.subproblems import Frontier
from verifier.values.arrays import to_numpy
from verifier.values.verdict import Verdict

LONG = 1.0
"""Seconds a round may take before batches get smaller: the clock and the watcher are served between rounds."""


class Search(Generic[S]):
    """Splits until every root is verified, a counterexample is found, or nothing is left to split; can be paused.

    Args:
        problem: what is searched.
        frontier: where unverified subproblems wait; may hold some.
        roots: numbers of the roots, as subproblems have them.
        progress: where to count.
        watch: called after every round.

    Attributes:
        given_up: what share of each root could be neither verified nor split.
        batch: how many subproblems are bounded at once.
    """

    def __init__(
        self,
        problem: Problem[S],
        frontier: Frontier[S],
        roots: Iterable[int],
        progress: Progress | None = None,
        watch: Callable[[Progress], None] | None = None,
    ) -> None:
        self.problem, self.frontier, self.roots = problem, frontier, frozenset(roots)
        self.progress, self.watch = progress or Progress(), watch
        self.given_up: dict[int, float] = {}
        self.batch = 0

    @property
    def verified(self) -> float:
        """How many roots are verified, subproblems of one counted as shares."""
        return len(self.roots) - self.problem.waiting - self.frontier.share - sum(self.given_up.values())

    def open_roots(self) -> set[int]:
        """Roots of which something is in the frontier or was given up."""
        return self.frontier.roots() | self.given_up.keys()

    def drop(self, root: int) -> None:
        """Somebody else has verified a root."""
        self.frontier.drop(root)
        self.given_up.pop(root, None)

    def advance(self, budget: Budget) -> bool:
        """Go on until nothing is left to split (True), or the budget is spent.

        Raises:
            Found: a counterexample.
            MemoryError: not even one subproblem fits; nothing is lost.
        """
        try:
            while self.problem.waiting:
                if budget.spent():
                    return False
                self._told(False)
                self._count(self.problem.sow(budget))
            self.batch = self.batch or self.problem.most
            while len(self.frontier):
                if budget.spent():
                    return False
                self._told(False)  # of a batch that was interrupted
                s = self.frontier.pop(self.batch)
                self._told()  # of what the frontier itself has verified
                if len(s):
                    self._round(s, budget)
        except OutOfTime:
            return False
        return True

    def _round(self, s: S, budget: Budget) -> None:
        """Bound and split a batch; whatever interrupts that, the batch is put back."""
        start = budget.clock.now()
        try:
            with one_memory_error():
                step = self.problem.expand(s, budget)
        except BaseException as stopped:
            self.frontier.push(s)
            if isinstance(stopped, Found):
                self.progress.bounded += len(s)
                self.progress.rounds += 1
            if not isinstance(stopped, MemoryError) or len(s) == 1:
                raise
            self.batch = self.problem.most = max(1, len(s) // 2)  # a smaller batch, not a worse answer
            return
        self._pace(len(s), budget.clock.now() - start)
        self._count(step)
        self.progress.rounds += 1
        if self.watch is not None:
            self.watch(self.progress)

    def decide(self, budget: Budget) -> Outcome | None:
        """Go on, as far as the budget goes (None); `unknown` where something was given up."""
        try:
            if not self.advance(budget):
                return None
        except Found as found:
            return Outcome(Verdict.SAT, found.witness, self.progress)
        return Outcome(Verdict.UNKNOWN if self.given_up else Verdict.UNSAT, None, self.progress)

    def _pace(self, size: int, seconds: float) -> None:
        """A batch for about the time that one may take."""
        if seconds > LONG:
            self.batch = max(1, size // 2)
        elif seconds < LONG / 4 and size == self.batch:
            self.batch = min(2 * self.batch, self.problem.most)

    def _count(self, step: Step[S]) -> None:
        """A step is complete: what it says holds now."""
        progress, lost = self.progress, step.given_up
        if lost is not None:  # first: if this fails, nothing has been taken for done
            for root, share in zip(to_numpy(lost.root).tolist(), to_numpy(lost.share).tolist(), strict=True):
                self.given_up[root] = self.given_up.get(root, 0.0) + share
            progress.stuck += len(lost)
        if step.unverified is not None:
            self.frontier.push(step.unverified)
        progress.bounded += step.bounded
        progress.closed += step.verified
        progress.open = len(self.frontier)
        if step.worst is not None:
            progress.worst = step.worst
        self._told()

    def _told(self, done: bool = True) -> None:
        """What was said of subproblems holds, or (not `done`) is taken back."""
        if self.problem.history is not None:
            (self.problem.history.keep if done else self.problem.history.forget)()
