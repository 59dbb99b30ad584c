"""Rows of which few entries are not zero, kept compressed (scipy, on the CPU only).

Networks whose weights are nearly all zero (comparators, banks of selections) make rows that touch a handful of
neurons in each layer; walking them compressed costs what is not zero instead of the layer's width.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from verifier.values.arrays import Array

DENSE_ABOVE = 0.2
"""Share of non-zeros above which compressed rows cost more than dense ones (index traffic is about ten times)."""


def is_sparse(a: Any) -> bool:
    """Whether `a` is a scipy sparse matrix."""
    return hasattr(a, "tocsr")


def settle(A: Any) -> Any:
    """Compressed rows that have filled up, as a dense array."""
    if is_sparse(A) and A.nnz > DENSE_ABOVE * A.shape[0] * A.shape[1]:
        return A.toarray()
    return A


def dense(A: Any) -> Array:
    """A dense array."""
    return A.toarray() if is_sparse(A) else A


def both_signs(A: Any) -> Any:
    """The rows of A, and below them the rows of −A."""
    data, indices = np.concatenate([A.data, -A.data]), np.concatenate([A.indices] * 2)
    indptr = np.concatenate([A.indptr, A.indptr[1:] + A.indptr[-1]])
    return type(A)((data, indices, indptr), shape=(2 * A.shape[0], A.shape[1]))


def through_lines(
    A: Any, s_l: np.ndarray, s_u: np.ndarray, t_u: np.ndarray, owner: np.ndarray
) -> tuple[Any, np.ndarray]:
    """Compressed rows over a nonlinear operator's input, and what the intercepts add: see `bounds.backward`.

    Args:
        A: `[P, n]` compressed by rows.
        s_l, s_u, t_u: `[B, n]` slopes and upper intercepts.
        owner: `[P]` the domain of each row.
    """
    P, n = A.shape
    row = np.repeat(np.arange(P), np.diff(A.indptr))
    at = owner[row] * n + A.indices
    negative = np.minimum(A.data, 0)
    shift = np.bincount(row, negative * t_u.reshape(-1)[at], minlength=P).astype(A.dtype)
    data = A.data * np.where(A.data < 0, s_u.reshape(-1)[at], s_l.reshape(-1)[at])
    kept = data != 0
    indptr = np.concatenate([[0], np.cumsum(np.bincount(row[kept], minlength=P))])
    return type(A)((data[kept], A.indices[kept], indptr), shape=(P, n)), shift
