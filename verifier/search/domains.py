"""Subproblems as a struct of arrays."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from verifier.search.query import Query


@dataclass(frozen=True, eq=False)
class Domains:
    """D subproblems.

    Attributes:
        lower, upper: `[D, n]` boxes, in double precision.
        group: `[D]` group of the query.
        alive: `[D, J]` disjuncts not yet refuted.
        gap: `[D]` how far the parent was from being closed (0 is closed); infinite at the root.
        sign: `[D, N]` of every neuron, what is known of its input's sign on the domain (+1, -1, or 0 for undecided),
            one source of the network after the other: what an ancestor has decided is never bounded again.
        share: `[D]` of its root: halved by every split.
    """

    lower: np.ndarray
    upper: np.ndarray
    group: np.ndarray
    alive: np.ndarray
    gap: np.ndarray
    sign: np.ndarray
    share: np.ndarray

    def __len__(self) -> int:
        """D."""
        return len(self.group)

    def take(self, index: np.ndarray) -> Domains:
        """The domains at `index` (positions or a mask)."""
        return Domains(*(getattr(self, name)[index] for name in FIELDS))


FIELDS = ("lower", "upper", "group", "alive", "gap", "sign", "share")


def join(parts: Sequence[Domains]) -> Domains:
    """All of them, in order."""
    if len(parts) == 1:
        return parts[0]
    return Domains(*(np.concatenate([getattr(p, name) for p in parts]) for name in FIELDS))


def roots(query: Query) -> Domains:
    """One domain a group."""
    G = len(query.lower)
    neurons = sum(query.graph.nodes[j].size for j in query.fast.sources)
    sign = np.zeros((G, neurons), np.int8)
    return Domains(query.lower, query.upper, np.arange(G), query.open.copy(), np.full(G, np.inf), sign, np.ones(G))


class Frontier:
    """Domains still open: a stack of blocks, so that memory grows with depth, not with breadth."""

    def __init__(self, first: Domains) -> None:
        self._blocks = [first]

    def __len__(self) -> int:
        """Number of open domains."""
        return sum(len(b) for b in self._blocks)

    @property
    def share(self) -> float:
        """What the open domains' shares come to."""
        return float(sum(b.share.sum() for b in self._blocks))

    @property
    def blocks(self) -> list[Domains]:
        """All open domains, in blocks."""
        return self._blocks

    def groups(self) -> set[int]:
        """Which groups have open domains."""
        return {int(g) for b in self._blocks for g in np.unique(b.group)}

    def all(self) -> Domains:
        """All open domains, of which there is at least one."""
        return join(self._blocks)

    def drop(self, group: int) -> None:
        """Forget the domains of a group."""
        blocks = [b.take(np.flatnonzero(b.group != group)) for b in self._blocks]
        self._blocks = [b for b in blocks if len(b)]

    def push(self, domains: Domains) -> None:
        """Add a block; within it the largest gap will be popped first."""
        if len(domains):
            self._blocks.append(domains.take(np.argsort(domains.gap, kind="stable")))

    def pop(self, most: int) -> Domains:
        """At most `most` domains, the latest first."""
        taken: list[Domains] = []
        while self._blocks and most > 0:
            block = self._blocks.pop()
            cut = max(0, len(block) - most)
            if cut:
                self._blocks.append(block.take(np.arange(cut)))
            taken.append(block.take(np.arange(cut, len(block))))
            most -= len(block) - cut
        return join(taken)
