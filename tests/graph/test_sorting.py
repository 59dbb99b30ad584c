"""Sorting networks sort."""

from __future__ import annotations

import numpy as np
import pytest

from verifier.graph.sorting import exchanges


def put_in_order(x: np.ndarray) -> np.ndarray:
    for pairs in exchanges(x.shape[1]):
        assert pairs and len({i for pair in pairs for i in pair}) == 2 * len(pairs)
        for i, j in pairs:
            x[:, i], x[:, j] = np.minimum(x[:, i], x[:, j]), np.maximum(x[:, i], x[:, j])
    return x


@pytest.mark.parametrize("n", range(1, 14))
def test_all_zeros_and_ones(n: int) -> None:
    """A network that sorts these sorts everything (Knuth)."""
    x = put_in_order(np.array([[k >> i & 1 for i in range(n)] for k in range(1 << n)]))
    assert (np.diff(x, axis=1) >= 0).all()


@pytest.mark.parametrize("n", [16, 23, 64])
def test_numbers(n: int) -> None:
    x = np.random.default_rng(n).normal(size=(50, n))
    assert np.array_equal(put_in_order(x.copy()), np.sort(x))
