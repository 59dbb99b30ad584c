"""Points of an input set at which an imported network is compared with the original."""

from __future__ import annotations

from typing import Any

import numpy as np

from verifier.spec.property import Property
from verifier.values.ball import Ball
from verifier.values.box import Box
from verifier.values.sets import Product

MOST_BOXES = 6
"""Boxes that points are taken from: the first, the last, and some between."""
_WIDEST = 1e300


def points(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Points `[P, n]` of the boxes `[K, n]`: inside and a corner of several, both ends and the centre of the first one.

    Always the same; the first one lies inside.  Where a side is infinite, it is cut to large numbers.
    """
    rng = np.random.default_rng(0)
    chosen = np.unique(np.linspace(0, len(lower) - 1, min(len(lower), MOST_BOXES)).astype(int))
    low, high = (np.clip(a[chosen], -_WIDEST, _WIDEST) for a in (lower, upper))
    t = rng.random(low.shape)
    corner = np.where(rng.random(low.shape) < 0.5, low, high)
    first = [low[0], high[0], low[0] * 0.5 + high[0] * 0.5]
    return np.concatenate([low * (1 - t) + high * t, corner, first])


def of_property(prop: Property) -> np.ndarray | None:
    """Points of the property's boxes; None where it has none."""
    return points(prop.lower, prop.upper) if len(prop.lower) else None


def of_set(inputs: Any) -> np.ndarray | None:
    """Points of a box or ball; None for anything else."""
    if not isinstance(inputs, (Box, Ball, Product)):
        return None
    box = inputs.box()
    return points(box.lower[None], box.upper[None])
