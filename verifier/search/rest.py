"""What a search that was not decided has left open, disjunct by disjunct."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from verifier.search.domains import Domains
from verifier.search.outcome import Open
from verifier.search.query import Query
from verifier.values.arrays import to_numpy

if TYPE_CHECKING:
    from verifier.search.neurons.splits import Splits
    from verifier.search.neurons.tree import Tree

MOST = 100
"""Disjuncts that are told of."""
WIDEST = 10**7
"""Pairs of a group and a disjunct in it with which nothing is told: the time is up, and counting would take more."""


def still_open(
    query: Query, blocks: list[Domains], stuck: set[int], grow: tuple[Tree, list[Splits]] | None
) -> tuple[Open, ...]:
    """The disjuncts that are open, the worst first.

    Args:
        query: what was asked.
        blocks: open domains of the search over inputs.
        stuck: groups of which it has given a domain up.
        grow: the tree that neurons are split on just now, if any, and its open subproblems.
    """
    G, J = query.open.shape
    if G * J > WIDEST:
        return ()
    count, gap = np.zeros(G * J, np.int64), np.full(G * J, -np.inf)
    for d in blocks:
        at, slot = np.nonzero(d.alive)
        key = d.group[at] * J + slot
        count += np.bincount(key, minlength=G * J)
        np.maximum.at(gap, key, d.gap[at])
    given_up = np.isin(np.arange(G), list(stuck))[:, None] & query.open & (count.reshape(G, J) == 0)
    gap[given_up.ravel()] = np.inf
    undecided: dict[int, int] = {}
    if grow is not None:
        tree, open_ = grow
        keys = tree.group * J + tree.slot
        undecided = dict.fromkeys(keys.tolist(), len(tree.fast.z))
        _by_neurons(keys, open_, count, gap)
    order = np.flatnonzero((count > 0) | given_up.ravel())
    order = order[np.argsort(-gap[order], kind="stable")][:MOST]
    return tuple(
        Open(_number(query, k // J, k % J), float(gap[k]), int(count[k]), undecided.get(k)) for k in order.tolist()
    )


def _by_neurons(keys: np.ndarray, open_: list[Splits], count: np.ndarray, gap: np.ndarray) -> None:
    """Either way of splitting would do, so that of the two gaps the smaller one counts, with its parts."""
    if not open_:
        return
    goal = np.concatenate([to_numpy(s.goal) for s in open_])
    worst = np.full(len(keys), -np.inf)
    np.maximum.at(worst, goal, -np.concatenate([to_numpy(s.bound) for s in open_]))
    parts = np.bincount(goal, minlength=len(keys))
    better = (parts > 0) & (worst < gap[keys])
    gap[keys[better]], count[keys[better]] = worst[better], parts[better]


def _number(query: Query, group: int, slot: int) -> int:
    """Which disjunct of the property that is."""
    return int(np.flatnonzero(query.prop.box == query.box[group])[slot])
