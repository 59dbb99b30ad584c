"""The bound of a sum's rounding error, against rational arithmetic."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from verifier.values.rounding import gamma, unit

MOST = {"float32": 2**23 - 1, "float64": 2**52 - 1}


@pytest.mark.parametrize("dtype", MOST)
def test_gamma_is_rounded_up_and_not_far(dtype: str) -> None:
    """At least `n·u / (1 − n·u)`, whatever rounding does to that, and no larger than it has to be."""
    rng = np.random.default_rng(0)
    assert unit(dtype) == float(np.finfo(dtype).eps) / 2
    for n in {1, 2, 3, 1000, MOST[dtype], *(int(v) for v in np.exp(rng.uniform(0, np.log(MOST[dtype]), 400)))}:
        nu = n * Fraction(unit(dtype))
        exact = nu / (1 - nu)
        assert exact <= Fraction(gamma(n, dtype)) <= exact * (1 + Fraction(2, 10**9)), n


@pytest.mark.parametrize("dtype", MOST)
def test_too_many_products_have_no_bound(dtype: str) -> None:
    """From half on, n·u is refused."""
    for n in (MOST[dtype] + 1, 4 * MOST[dtype]):
        with pytest.raises(OverflowError, match="no error bound"):
            gamma(n, dtype)
