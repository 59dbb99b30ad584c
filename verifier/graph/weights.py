"""Merging two layers into one, with a record of what rounding did; and matrices that may be sparse.

Merged weights are computed in double precision, so they differ from the exact ones.  Whoever bounds the merged layer
allows for `gamma(terms)` times what its `absolute()` computes.  The magnitudes recorded here are large enough for that
allowance to cover, next to the layer's own evaluation, the rounding that went into its weights: a sum of k products
errs by at most `gamma(k)·|second||first|`, which is `gamma(terms)` times a `k/terms`-fold of it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from verifier.graph.ops.affine import Dense, Scale

DENSE_ENTRIES = 100_000
"""Matrices up to this size stay dense."""
DENSITY = 0.1
"""Larger ones become sparse when fewer than this part of their entries is not zero."""
SPARSE = 3
"""How much longer a multiply-add takes in a sparse product than in a dense one."""
LAYER = 500
"""What having one more layer costs, in multiply-adds."""


def is_sparse(W: Any) -> bool:
    """Whether W is a scipy matrix."""
    return hasattr(W, "tocsr")


def count(W: Any) -> int:
    """Number of entries that are not zero."""
    return int(W.nnz) if is_sparse(W) else int(np.count_nonzero(W))


def price(W: Any) -> int:
    """What multiplying by W costs, in multiply-adds of a dense product, given how `compact` would store it."""
    size, nonzero = W.shape[0] * W.shape[1], count(W)
    return LAYER + (size if size <= DENSE_ENTRIES or nonzero >= DENSITY * size else SPARSE * nonzero)


def entries(W: Any) -> np.ndarray:
    """All entries that may not be zero, in some order."""
    return W.data if is_sparse(W) else W


def compact(W: Any, entries: int = DENSE_ENTRIES, density: float = DENSITY) -> Any:
    """W as a scipy csr matrix if it has more than `entries` of which less than `density` are not zero, else dense."""
    size = W.shape[0] * W.shape[1]
    if size <= entries or count(W) >= density * size:
        return W.toarray() if is_sparse(W) else W
    if is_sparse(W):
        return W.tocsr()
    from scipy.sparse import csr_array

    at = np.flatnonzero(W.reshape(-1) != 0)
    return csr_array((W.reshape(-1)[at], np.divmod(at, W.shape[1])), shape=W.shape)


def transposed(W: Any) -> Any:
    """Wᵀ, sparse where W is."""
    return W.T.tocsr() if is_sparse(W) else W.T


def scaled(W: Any, s: np.ndarray, axis: int) -> Any:
    """Rows (axis 0) or columns (axis 1) of a matrix multiplied by s."""
    s = np.expand_dims(s, 1 - axis)
    return W.multiply(s).tocsr() if is_sparse(W) else W * s


def products(A: Any, B: Any) -> int:
    """How many products of non-zeros `A @ B` sums."""
    left = np.diff(A.tocsc().indptr) if is_sparse(A) else np.count_nonzero(A, 0)
    right = np.diff(B.indptr) if is_sparse(B) else np.count_nonzero(B, 1)
    return int(left.astype(np.int64) @ right.astype(np.int64))


def most(W: Any, axis: int) -> int:
    """Largest number of non-zeros in a column (axis 0) or row (axis 1)."""
    counts = np.diff((W.tocsc() if axis == 0 else W.tocsr()).indptr) if is_sparse(W) else np.count_nonzero(W, axis)
    return int(counts.max(initial=0))


def effort(A: Any, B: Any) -> int:
    """Multiply-adds that computing `A @ B` takes, with the kinds of matrices at hand."""
    if is_sparse(A):
        return products(A, B) if is_sparse(B) else count(A) * B.shape[1]
    return count(B) * A.shape[0] if is_sparse(B) else A.shape[0] * B.shape[0] * B.shape[1]


def short(*arrays: Any) -> bool:
    """Whether every entry has at most 24 significant bits, so that a product of two such is exact."""
    with np.errstate(over="ignore"):
        return all(a is None or bool((entries(a).astype(np.float32) == entries(a)).all()) for a in arrays)


def zero(a: np.ndarray | None) -> bool:
    """Whether a is absent or zero throughout."""
    return a is None or not a.any()


Formula = Callable[[Any, Any], Any]
"""Parameters of a merged layer, sums of products of those of two layers; run on magnitudes it gives magnitudes."""


def merge(formula: Formula, second: Any, first: Any, inner: int, exact: bool) -> Any:
    """The layer `second(first(x))`.

    Parameters:
        inner: most products that are summed for one parameter.
        exact: whether computing the parameters does not round.
    """
    merged = formula(second, first)
    if exact and second.magnitude is None and first.magnitude is None:
        return merged
    carried = sum(layer.terms() for layer in (second, first) if layer.magnitude is not None)
    k = 1.0 + (inner + 2 + carried) / merged.terms() + 1e-9
    return replace(merged, magnitude=_times(formula(second.absolute(), first.absolute()), k))


def _times(op: Any, k: float) -> Any:
    if isinstance(op, Scale):
        return Scale(np.array(k) if op.s is None else op.s * k, None if op.t is None else op.t * k)
    return replace(op, W=op.W * k, b=None if op.b is None else op.b * k)


def finite(op: Any) -> bool:
    """Whether no parameter of a merged layer has overflowed."""
    ops = [op, *([op.magnitude] if op.magnitude is not None else [])]
    return all(
        np.isfinite(entries(a)).all()
        for o in ops
        for a in ((o.s, o.t) if isinstance(o, Scale) else (o.W, o.b))
        if a is not None
    )


def plus(a: Any, b: Any) -> Any:
    """`a + b` where None is zero."""
    return a if b is None else b if a is None else a + b


def times(a: Any, b: Any) -> Any:
    """`a∘b` where None is one."""
    return a if b is None else b if a is None else a * b


def compose(second: Dense, first: Dense) -> Dense:
    """The layer `second(first(x))`."""
    single = most(second.W, 1) <= 1 or most(first.W, 0) <= 1  # no entry of the product is a sum
    exact = single and short(second.W, first.W) and zero(first.b)
    return merge(_product, second, first, second.W.shape[1], exact)


def _product(second: Dense, first: Dense) -> Dense:
    moved = None if first.b is None else second.W @ first.b
    return Dense(compact(second.W @ first.W), plus(moved, second.b))


def shrinking(a: np.ndarray) -> float:
    """A power of two that brings numbers near 2^64 or below: 1 for nearly all.

    Sums with the largest numbers of single precision would overflow there.
    """
    top = float(abs(a).max(initial=0.0))
    return 2.0 ** -int(np.clip(np.frexp(top)[1] - 64, 0, 120)) if top < np.inf else 1.0
