"""Rows of clauses by the rows of their literals."""

from __future__ import annotations

import numpy as np
import pytest

from verifier.search.query import Nested
from verifier.spec.clauses import Nest

NEST = Nest(4, np.array([0, 2, 4]), np.array([0, 2, 3, 5, 6]), np.array([0, 1, 2, 4, 3, 1]))
"""Of four literals: c0 = (l0 and l1) or l2, c1 = (c0 and l3) or l1."""
LITERALS, ROWS, L = np.array([5, 3, 1, 6]), np.array([2, 0]), 7


def wanted(row: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """By hand, from all rows `[L]`: lower bounds of both clauses, and the rows that these are of."""

    def largest(*some: tuple[float, int]) -> tuple[float, int]:
        return max(some, key=lambda s: s[0])

    l0, l1, l2, l3 = ((row[i], int(i)) for i in LITERALS)
    c0 = min(largest(l0, l1), l2, key=lambda s: s[0])
    c1 = min(largest(c0, l3), l1, key=lambda s: s[0])
    return np.array([c0[0], c1[0]]), np.array([c0[1], c1[1]])


@pytest.mark.parametrize("alone", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_what_speaks_for_a_clause(seed: int, alone: bool) -> None:
    """The better of its own row and its literals'; where nothing but these speaks for it, theirs, be it lower."""
    rng = np.random.default_rng(seed)
    nested = Nested(NEST, LITERALS, np.array([0, 1]), ROWS, alone)
    ids = np.stack([rng.permutation(L) for _ in range(40)])
    row = rng.normal(size=ids.shape)
    value, place = nested.improved(row.copy(), ids, L)
    seen = set()
    for k in range(len(ids)):
        full = np.empty(L)
        full[ids[k]] = row[k]
        got, through = np.empty(L), np.empty(L, int)
        got[ids[k]], through[ids[k]] = value[k], ids[k][place[k]]
        others = np.setdiff1d(np.arange(L), ROWS)
        assert (got[others] == full[others]).all() and (through[others] == others).all()
        better, source = wanted(full)
        for r, b, s in zip(ROWS, better, source, strict=True):
            theirs = alone or b > full[r]
            seen.add((bool(b > full[r]), bool(b > 0)))
            assert (got[r], through[r]) == ((b, s) if theirs else (full[r], r))
    assert len(seen) == 4
