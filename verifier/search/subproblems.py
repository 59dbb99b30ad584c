"""Subproblems as structs of arrays, and the frontier of those that are not verified."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import fields
from typing import Any, Generic, Protocol, Self, TypeVar

import numpy as np

from verifier.search.memory import one_memory_error
from verifier.values.arrays import Array, namespace, rows_of, to_numpy


class Subproblems(Protocol):
    """D subproblems: a frozen dataclass of arrays `[D, …]`, or None where there is nothing to say.

    Attributes:
        root: `[D]` number of the root that each is part of.
        share: `[D]` of its root: halved by every split.
        gap: `[D]` how far each is from being verified, as far as is known: those of the largest gaps are popped first.
    """

    @property
    def root(self) -> Array:
        """See above."""

    @property
    def share(self) -> Array:
        """See above."""

    @property
    def gap(self) -> Array:
        """See above."""

    def __len__(self) -> int: ...
    def take(self, at: Array) -> Self:
        """The subproblems at positions `at` (an array of them, a mask, or a slice)."""


S = TypeVar("S", bound=Subproblems)


def taken(s: S, at: Array) -> S:
    """Those at positions `at` (an array of them, a mask on the host, or a slice)."""
    if isinstance(at, np.ndarray) and at.dtype == bool:
        at = np.flatnonzero(at)
    part = (lambda a: a[at]) if isinstance(at, slice) else (lambda a: rows_of(a, at))
    columns = (getattr(s, f.name) for f in fields(s))  # type: ignore[arg-type]  # a protocol is no dataclass, for mypy
    return type(s)(*(None if a is None else part(a) for a in columns))


def joined(parts: Sequence[S]) -> S:
    """All of them, in order."""
    if len(parts) == 1:
        return parts[0]
    first, whole = parts[0], list[Any]()
    for f in fields(first):  # type: ignore[arg-type]
        columns = [getattr(p, f.name) for p in parts]
        whole.append(None if columns[0] is None else namespace(columns[0]).concatenate(columns))
    return type(first)(*whole)


class Frontier(Protocol[S]):
    """Subproblems that wait to be split."""

    def __len__(self) -> int: ...
    @property
    def share(self) -> float:
        """What the shares of all of them come to."""

    def roots(self) -> set[int]:
        """Numbers of their roots."""

    def push(self, s: S) -> None:
        """Add some; never fails for want of memory, so that what cannot be bounded now still waits."""

    def pop(self, most: int) -> S:
        """Take at most so many; there is at least one (none may be left over of those that turn out to be verified).

        Raises:
            MemoryError: all that waited still waits.
        """

    def drop(self, root: int) -> None:
        """Forget those of a root."""


class Stack(Generic[S]):
    """The latest first, so that memory grows with depth, not with breadth.

    Attributes:
        blocks: all that wait, as they were pushed.
    """

    def __init__(self, *first: S) -> None:
        self.blocks = [s for s in first if len(s)]

    def __len__(self) -> int:
        return sum(map(len, self.blocks))

    @property
    def share(self) -> float:
        """What the shares of all of them come to."""
        return float(sum(float(s.share.sum()) for s in self.blocks))

    def roots(self) -> set[int]:
        """Numbers of their roots."""
        return {int(r) for s in self.blocks for r in np.unique(to_numpy(s.root))}

    def all(self) -> S:
        """All of them; there is at least one."""
        return joined(self.blocks)

    def drop(self, root: int) -> None:
        """Forget those of a root."""
        blocks = [s.take(namespace(s.root).flatnonzero(s.root != root)) for s in self.blocks]
        self.blocks = [s for s in blocks if len(s)]

    def push(self, s: S) -> None:
        """Add a block; within it the largest gap will be popped first, if there is memory to sort it."""
        if len(s):
            with suppress(MemoryError), one_memory_error():
                s = s.take(namespace(s.gap).argsort(s.gap, stable=True))
            self.blocks.append(s)

    def pop(self, most: int) -> S:
        """At most `most`, the latest first."""
        popped, rest = list[S](), list(self.blocks)
        while rest and most > 0:
            block = rest.pop()
            cut = max(0, len(block) - most)
            if cut:
                rest.append(block.take(slice(0, cut)))
                block = block.take(slice(cut, None))
            popped.append(block)
            most -= len(block)
        whole = joined(popped)
        self.blocks = rest  # only now: what could not be joined still waits
        return whole
