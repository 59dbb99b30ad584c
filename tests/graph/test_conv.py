"""The adjoint of a convolution works on the part of its rows that is not zero: it must not lose or move any of it."""

from __future__ import annotations

import numpy as np
import pytest

from verifier.graph.ops.conv import Conv


@pytest.mark.parametrize("seed", range(60))
def test_rows_of_mostly_zeros(seed: int) -> None:
    """⟨A, W x⟩ = ⟨adjoint(A), x⟩ for rows that start at one position, at two, or nowhere."""
    rng = np.random.default_rng(seed)
    axes, groups = int(rng.integers(1, 3)), int(rng.integers(1, 3))
    kernel, stride, dilation = (tuple(int(v) for v in rng.integers(1, most, axes)) for most in (4, 3, 3))
    pads = tuple((int(rng.integers(0, 2)), int(rng.integers(0, 2))) for _ in range(axes))
    W = rng.normal(size=(2 * groups, 2, *kernel))
    op = Conv(W, None, stride, pads, dilation, groups)
    shape = (2 * groups, *(int(n) for n in rng.integers(7, 10, axes)))
    out = op.shape(shape)
    A = np.zeros((3, *out))
    for _ in range(seed % 3):
        where = tuple(int(rng.integers(n)) for n in out[1:])
        A[(slice(None), slice(None), *where)] = rng.normal(size=(3, out[0]))
    x = rng.normal(size=(1, *shape))
    (back,) = op.adjoint(A, shape)
    assert back.shape == (3, *shape)
    spatial = tuple(range(1, A.ndim))
    assert np.allclose((back * x).sum(spatial), (A * op.linear(x)).sum(spatial), atol=1e-12)
