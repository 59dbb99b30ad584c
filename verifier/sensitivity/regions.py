"""Subproblems of a search for the largest derivative, and its frontier: the largest bounds first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from verifier.search.history import History
from verifier.search.subproblems import joined, taken


@dataclass(frozen=True, eq=False)
class Parts:
    """D parts: of a box, cut at zero of some rows of a folded network.

    Attributes:
        goal: `[D]` which functional is bounded.
        bound: `[D]` the best upper bound of it so far.
        lower, upper: `[D, N]` bounds of the rows, splits included.
        sign: `[D, N]` the splits taken: +1 for z >= 0, -1 for z <= 0, else 0.
        low, high: `[D, k]` the box of the inputs that vary, clipped.
        pick: `[D]` the row to split next, or N + j for input j; -1 where nothing is left to split.
        depth: `[D]` how many splits were taken.
        number: `[D]` by which an observer knows them; None where nobody observes.
    """

    goal: np.ndarray
    bound: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    sign: np.ndarray
    low: np.ndarray
    high: np.ndarray
    pick: np.ndarray
    depth: np.ndarray
    number: np.ndarray | None = None

    def __len__(self) -> int:
        """D."""
        return len(self.goal)

    @property
    def root(self) -> np.ndarray:
        """`[D]`: a functional on the whole set is a root."""
        return self.goal

    @property
    def share(self) -> np.ndarray:
        """`[D]` of the whole set: halved by every split."""
        return np.asarray(0.5**self.depth)

    @property
    def gap(self) -> np.ndarray:
        """`[D]`: the largest bounds come first."""
        return self.bound

    def take(self, at: np.ndarray) -> Parts:
        """Some of them."""
        return taken(self, at)


def children(s: Parts) -> Parts:
    """Both halves of every part: first all above the split, then all below it."""
    both, D, N = joined([s, s]), len(s), s.lower.shape[1]
    first, second = np.arange(D), np.arange(D, 2 * D)
    rows = s.pick < N
    at, pick = np.flatnonzero(rows), s.pick[rows]
    both.lower[first[at], pick] = np.maximum(both.lower[first[at], pick], 0.0)
    both.upper[second[at], pick] = np.minimum(both.upper[second[at], pick], 0.0)
    both.sign[first[at], pick] = 1
    both.sign[second[at], pick] = -1
    at, pick = np.flatnonzero(~rows), s.pick[~rows] - N
    middle = 0.5 * s.low[at, pick] + 0.5 * s.high[at, pick]
    both.low[first[at], pick] = middle
    both.high[second[at], pick] = middle
    both.depth[:] += 1
    return both


class BestFirst:
    """A frontier that hands out subproblems with the largest bounds; those that are of no interest are verified.

    Subproblems stay in the blocks they came in; what was taken out of a block is marked, and a block of which little is
    left is packed.  A bound that is no number is an infinite one.

    Args:
        goals: how many functionals there are.
        settled: says up to which values `[goals]` bounds are of no interest now.
        history: told which subproblems that verifies.
    """

    def __init__(self, goals: int, settled: Callable[[], np.ndarray], history: History | None = None) -> None:
        self.closed = np.full(goals, -np.inf)
        """`[goals]` the largest bound of any subproblem that was left alone because its functional is settled."""
        self._settled, self._history = settled, history
        self._blocks: list[Parts] = []
        self._bounds: list[np.ndarray] = []  # of what is left; minus infinity where it was taken

    def __len__(self) -> int:
        return sum(int((b != -np.inf).sum()) for b in self._bounds)

    def _left(self) -> list[Parts]:
        return [s.take(b != -np.inf) for s, b in zip(self._blocks, self._bounds, strict=True)]

    @property
    def share(self) -> float:
        """What the shares of all of them come to."""
        return float(sum(s.share.sum() for s in self._left()))

    def roots(self) -> set[int]:
        """Numbers of their functionals."""
        return {int(g) for s in self._left() for g in np.unique(s.goal)}

    def drop(self, root: int) -> None:
        """Forget those of a functional."""
        self._bounds = [np.where(s.goal == root, -np.inf, b) for s, b in zip(self._blocks, self._bounds, strict=True)]

    def push(self, s: Parts) -> None:
        """Put some in."""
        if len(s):
            self._blocks.append(s)
            self._bounds.append(s.bound)  # marks are set in copies

    def most(self) -> np.ndarray:
        """`[goals]` an upper bound of each functional over all parts that were ever put in and not taken out."""
        found = self.closed.copy()
        for s, bound in zip(self._blocks, self._bounds, strict=True):
            np.maximum.at(found, s.goal, _known(bound))
        return found

    def pop(self, most: int) -> Parts:
        """At most so many, those of the largest bounds; none where all that are left are settled, and so verified."""
        settled = self._settled()
        for i, (s, bound) in enumerate(zip(self._blocks, self._bounds, strict=True)):
            done = (bound <= settled[s.goal]) & (bound > -np.inf)
            if done.any():
                np.maximum.at(self.closed, s.goal[done], bound[done])
                self._bounds[i] = np.where(done, -np.inf, bound)
                if self._history is not None and s.number is not None:
                    self._history.verified(s.number[done], "bounds")
        none = self._blocks[0].take(np.zeros(0, int))
        self._pack()
        every = _known(np.concatenate(self._bounds)) if self._bounds else np.zeros(0)
        count = min(most, int((every > -np.inf).sum()))
        if not count:
            return none
        at = np.argpartition(-every, count - 1)[:count]
        starts = np.cumsum([0, *(len(b) for b in self._bounds)])
        popped, bounds = [], list(self._bounds)
        for i, (a, b) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
            here = at[(at >= a) & (at < b)] - a
            if len(here):
                popped.append(self._blocks[i].take(here))
                bounds[i] = bounds[i].copy()
                bounds[i][here] = -np.inf
        whole = joined(popped)
        self._bounds = bounds  # only now: what could not be joined still waits
        return whole

    def _pack(self) -> None:
        blocks, bounds, small = [], [], []
        for s, bound in zip(self._blocks, self._bounds, strict=True):
            left = np.flatnonzero(bound != -np.inf)
            if 2 * len(left) < len(bound):
                s, bound = s.take(left), bound[left]
            if len(bound) >= 256:
                blocks.append(s)
                bounds.append(bound)
            elif len(bound):
                small.append((s, bound))
        if small:
            blocks.append(joined([s for s, _ in small]))
            bounds.append(np.concatenate([b for _, b in small]))
        self._blocks, self._bounds = blocks, bounds


def _known(bound: np.ndarray) -> np.ndarray:
    """Bounds, infinite where they are no numbers."""
    return np.where(np.isnan(bound), np.inf, bound)
