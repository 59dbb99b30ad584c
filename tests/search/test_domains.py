"""Frontier: nothing is lost, nothing comes twice."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.search.domains import Domains
from verifier.search.subproblems import Stack, joined

Draw = Any
FIELDS = [f.name for f in fields(Domains)]


def numbered(first: int, gaps: list[float]) -> Domains:
    """Domains that can be told apart by every field."""
    D = len(gaps)
    i = np.arange(first, first + D)
    values = {
        "lower": np.stack([i, i + 0.25], 1), "upper": np.stack([i + 1.0, i + 2.0], 1), "group": i.copy(),
        "alive": i[:, None] % 2 == 0, "gap": np.array(gaps), "sign": (i[:, None] % 3 - 1).astype(np.int8),
    }  # fmt: skip
    return Domains(*(values[name] if name in values else i.copy() for name in FIELDS))


def same(d: Domains) -> None:
    """Fields stay with their domain."""
    assert np.array_equal(d.lower[:, 0], d.group) and np.array_equal(d.upper[:, 1], d.group + 2.0)
    assert np.array_equal(d.alive[:, 0], d.group % 2 == 0) and np.array_equal(d.sign[:, 0], d.group % 3 - 1)


GAPS = st.lists(st.sampled_from([0.0, 1.0, 2.5, float("inf"), float("nan")]), max_size=7)


@settings(max_examples=150)
@given(first=GAPS, moves=st.lists(GAPS | st.integers(1, 9), max_size=25))
def test_nothing_lost_nothing_twice(first: list[float], moves: list[Any]) -> None:
    frontier, pushed, popped = Stack(numbered(0, first)), len(first), []
    for move in moves:
        if isinstance(move, list):
            frontier.push(numbered(pushed, move))
            pushed += len(move)
        elif len(frontier):
            before = len(frontier)
            d = frontier.pop(move)
            assert len(d) == min(move, before)
            same(d)
            popped += d.group.tolist()
        assert len(frontier) == pushed - len(popped)
    while len(frontier):
        d = frontier.pop(4)
        same(d)
        popped += d.group.tolist()
    assert sorted(popped) == list(range(pushed))


def test_the_largest_gap_of_the_latest_block_comes_first() -> None:
    frontier = Stack(numbered(0, [9.0]))
    frontier.push(numbered(1, [1.0, 3.0, 2.0]))
    assert [int(frontier.pop(1).group[0]) for _ in range(4)] == [2, 3, 1, 0]


@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=4))
def test_join_and_take(sizes: list[int]) -> None:
    starts = np.cumsum([0, *sizes])
    d = joined([numbered(int(s), [1.0] * n) for s, n in zip(starts, sizes, strict=False)])
    same(d)
    assert d.group.tolist() == list(range(sum(sizes)))
    order = np.arange(len(d))[::-1]
    same(d.take(order))
    assert d.take(order).group.tolist() == order.tolist()
