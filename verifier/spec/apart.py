"""Literals that weigh an output against another one, in terms of how far apart the two are."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from verifier.spec.property import Property


def over_differences(prop: Property, pairs: NDArray[np.int64]) -> Property | None:
    """The property over outputs followed by differences; None where no literal has to do with these.

    Args:
        pairs: `[D, 2]` outputs: difference k is the second less the first of its pair.

    Of `a·y + b·y'` with a and b of opposite signs, as much as both have in common is `k·(y' − y)`, k the smaller one
    with the sign of b.  What is left of a and b is computed without rounding, or the literal stays as it is.
    """
    A = np.concatenate([prop.A_y, np.zeros((len(prop.d), len(pairs)))], 1)
    for column, (i, j) in enumerate(pairs, prop.n_outputs):
        a, b = A[:, i], A[:, j]
        k = np.where(a * b < 0, np.sign(b) * np.minimum(abs(a), abs(b)), 0.0)
        first = abs(a) > abs(b)  # k is then b, else −a
        rest = np.where(first, a + k, b - k)
        k = np.where(np.where(first, rest - a, b - rest) == k, k, 0.0)
        A[:, i], A[:, j], A[:, column] = a + k, b - k, k
    return replace(prop, A_y=A) if A[:, prop.n_outputs :].any() else None
