"""Random chains of layers, and numbers without rounding."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np

from verifier.graph.graph import Graph
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.relu import Relu

from .test_products import chained

ACTIVATIONS = [Relu(), Relu(0.2), Relu(-0.5), *(Curve(k) for k in ("sigmoid", "tanh", "gelu", "sin", "softplus"))]


def random_chain(rng: np.random.Generator, most: int = 6, depth: int = 3, kinds: Any = tuple(ACTIVATIONS)) -> Graph:
    """A chain of up to `depth` hidden layers of up to `most` neurons."""
    n = [int(k) for k in rng.integers(1, most + 1, rng.integers(0, depth + 1) + 2)]
    ops: list[Any] = []
    for a, b in zip(n[:-1], n[1:], strict=True):
        ops += [Dense(rng.standard_normal((b, a)) * 10.0 ** rng.uniform(-1, 1), rng.standard_normal(b))]
        ops += [kinds[rng.integers(len(kinds))]]
    return chained((n[0],), *ops[:-1])


def exactly(a: np.ndarray) -> np.ndarray:
    return np.array([Fraction(float(v)) for v in a.reshape(-1)], object).reshape(a.shape)
