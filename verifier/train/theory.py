"""What theory says about propagation tightness, as functions.

Source: Mao et al., *Understanding Certified Training with Interval Bound Propagation*, ICLR 2024.  For linear networks
`f = W_L ⋯ W_1` with independent Gaussian weights, tightness is the width of the exact output box over that of the
interval bounds, `|W_L ⋯ W_1| ε / (|W_L| ⋯ |W_1| ε)`.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import exp, lgamma, pi, sqrt
from typing import Any

import numpy as np

from verifier.values.errors import UserError

LOCAL = sqrt(2.0)
"""How much tighter a two-layer ReLU network is at initialisation than a linear one: half of its neurons are off, and
tightness goes with one over the root of the width."""


def two_layers(width: int) -> float:
    """Expected tightness of two Gaussian layers with so many neurons between them, whatever input and output.

    A product's entry is a sum of `width` products of independent normals; given one factor it is normal, so that
    `E|Σ a_k b_k| / E Σ|a_k b_k| = √π·Γ((d+1)/2) / (d·Γ(d/2))`: about `√(π/(2d))` for many neurons.
    """
    _positive(width, "width")
    return sqrt(pi) * exp(lgamma((width + 1) / 2) - lgamma(width / 2)) / width


def depth(layers: int, width: int) -> float:
    """About the tightness of so many square Gaussian layers, `(π/(2d))^((L−1)/2)`: it falls exponentially."""
    _positive(layers, "layers")
    _positive(width, "width")
    return float((pi / (2 * width)) ** ((layers - 1) / 2))


def depth_bound(layers: int, width: int) -> float:
    """An upper bound of expected tightness: pairs of layers, each as tight as two are, `τ₂(d)^⌊L/2⌋`."""
    _positive(layers, "layers")
    return float(two_layers(width) ** (layers // 2))


def embedding_growth(dimension: int, rank: int) -> tuple[float, float]:
    """How interval bounds and the exact box grow through `W Wᵀ`, W an orthonormal basis of a random subspace.

    Args:
        dimension: d of the space.  rank: k of the subspace, at most d.

    Returns: growth of the intervals' radius, `2k/π` for large d, and of the exact one, `k/d + (d−1)·√(2k(d−k)/(π d³))`.
    """
    _positive(rank, "rank")
    if rank > dimension:
        raise UserError(f"rank {rank} of a space of dimension {dimension}; give at most the dimension")
    k, d = rank, dimension
    return 2 * k / pi, k / d + (d - 1) * sqrt(2 * k * (d - k) / (pi * d**3))


def is_exact(weights: Sequence[Any]) -> bool:
    """Whether interval bounds of a linear network are exact on every box: whether all paths agree in sign.

    Args:
        weights: matrices `[n_{l+1}, n_l]` from the first layer to the last.

    For every input and output, all products of weights along paths between them must have one sign or be zero (for
    two layers: all terms of each entry of `W₂ W₁`).  Signs are followed, not numbers, so that nothing rounds.
    """
    return conflicts(weights) == 0


def conflicts(weights: Sequence[Any]) -> int:
    """How many pairs of input and output have paths of both signs between them."""
    if not weights:
        raise UserError("weights: give at least one matrix")
    plus: Any = None
    minus: Any = None
    for W in (np.asarray(w) for w in weights):
        if W.ndim != 2 or (plus is not None and W.shape[1] != plus.shape[0]):
            raise UserError(f"weights of shape {list(W.shape)} do not follow the layer before; give matrices in order")
        up, down = (W > 0).astype(np.float64), (W < 0).astype(np.float64)
        if plus is None:
            plus, minus = up, down
        else:  # counts of paths, cut to 0 and 1 so that they stay exact
            plus, minus = up @ plus + down @ minus, up @ minus + down @ plus
        plus, minus = np.minimum(plus, 1.0), np.minimum(minus, 1.0)
    return int(((plus > 0) & (minus > 0)).sum())


def _positive(n: int, what: str) -> None:
    if n < 1:
        raise UserError(f"{what} {n}: give at least 1")
