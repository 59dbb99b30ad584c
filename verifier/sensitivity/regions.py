"""Parts of an input box and of the signs of neurons, as a struct of arrays, the worst of them at hand."""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np


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

    def __len__(self) -> int:
        """D."""
        return len(self.goal)

    def take(self, at: np.ndarray) -> Parts:
        """Some of them."""
        return Parts(*(getattr(self, n)[at] for n in _FIELDS))


_FIELDS = tuple(f.name for f in fields(Parts))


def join(parts: list[Parts]) -> Parts:
    """All of them, in order."""
    return parts[0] if len(parts) == 1 else Parts(*(np.concatenate([getattr(p, n) for p in parts]) for n in _FIELDS))


def children(s: Parts) -> Parts:
    """Both halves of every part: first all above the split, then all below it."""
    both, D, N = join([s, s]), len(s), s.lower.shape[1]
    both = both.take(np.arange(2 * D))  # new arrays
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


class Pool:
    """Open parts; hands out those with the largest bounds.

    Parts stay in the blocks they came in; what was taken out of a block is marked, and a block of which little is left
    is packed.
    """

    def __init__(self, goals: int) -> None:
        self.closed = np.full(goals, -np.inf)
        """`[goals]` the largest bound of any part that was left alone because its functional is settled."""
        self._blocks: list[Parts] = []
        self._bounds: list[np.ndarray] = []  # of what is left; minus infinity where it was taken

    def __len__(self) -> int:
        return sum(int((b > -np.inf).sum()) for b in self._bounds)

    def add(self, s: Parts) -> None:
        """Put parts in."""
        if len(s):
            self._blocks.append(s)
            self._bounds.append(s.bound.copy())

    def most(self) -> np.ndarray:
        """`[goals]` an upper bound of each functional over all parts that were ever put in and not taken out."""
        found = self.closed.copy()
        for s, bound in zip(self._blocks, self._bounds, strict=True):
            np.maximum.at(found, s.goal, bound)
        return found

    def pop(self, count: int, settled: np.ndarray) -> Parts | None:
        """At most `count` parts, those of the largest bounds, or None.

        Parts whose bound is at most `settled` `[goals]` of their functional are closed.
        """
        for i, (s, bound) in enumerate(zip(self._blocks, self._bounds, strict=True)):
            done = (bound <= settled[s.goal]) & (bound > -np.inf)
            if done.any():
                np.maximum.at(self.closed, s.goal[done], bound[done])
                self._bounds[i] = np.where(done, -np.inf, bound)
        self._pack()
        if not self._bounds:
            return None
        every = np.concatenate(self._bounds)
        left = int((every > -np.inf).sum())
        if not left:
            return None
        count = min(count, left)
        at = np.argpartition(-every, count - 1)[:count]
        starts = np.cumsum([0, *(len(b) for b in self._bounds)])
        taken = []
        for i, (a, b) in enumerate(zip(starts[:-1], starts[1:], strict=True)):
            here = at[(at >= a) & (at < b)] - a
            if len(here):
                taken.append(self._blocks[i].take(here))
                self._bounds[i][here] = -np.inf
        return join(taken)

    def _pack(self) -> None:
        blocks, bounds, small = [], [], []
        for s, bound in zip(self._blocks, self._bounds, strict=True):
            left = np.flatnonzero(bound > -np.inf)
            if 2 * len(left) < len(bound):
                s, bound = s.take(left), bound[left]
            if len(bound) >= 256:
                blocks.append(s)
                bounds.append(bound)
            elif len(bound):
                small.append((s, bound))
        if small:
            blocks.append(join([s for s, _ in small]))
            bounds.append(np.concatenate([b for _, b in small]))
        self._blocks, self._bounds = blocks, bounds
