"""Subproblems of the search that splits inputs: boxes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifier.search.query import Query
from verifier.search.subproblems import taken


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
        number: `[D]` by which an observer knows them; None where nobody observes.
    """

    lower: np.ndarray
    upper: np.ndarray
    group: np.ndarray
    alive: np.ndarray
    gap: np.ndarray
    sign: np.ndarray
    share: np.ndarray

    number: np.ndarray | None = None

    def __len__(self) -> int:
        """D."""
        return len(self.group)

    @property
    def root(self) -> np.ndarray:
        """`[D]`: a group's box is a root."""
        return self.group

    def take(self, at: np.ndarray) -> Domains:
        """The domains at `at` (positions, a mask or a slice)."""
        return taken(self, at)


def roots(query: Query) -> Domains:
    """One domain a group."""
    G = len(query.lower)
    neurons = sum(query.graph.nodes[j].size for j in query.fast.sources)
    sign = np.zeros((G, neurons), np.int8)
    return Domains(query.lower, query.upper, np.arange(G), query.open.copy(), np.full(G, np.inf), sign, np.ones(G))
