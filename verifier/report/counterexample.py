"""A counterexample for a reader: the picture it is, or the inputs that moved, against their bounds."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.campaign.rows import Counterexample
from verifier.values.images import Layout, layout, png

Array = NDArray[np.float64]

WHOLE = 24
"""So many inputs are all shown; of more, those that moved most."""
MOVED = 12
"""How many of those."""
OUTPUTS = 24
"""So many outputs are shown."""


def picture(found: Counterexample) -> bytes | None:
    """A PNG: centre of the input box, counterexample, and difference, see `images.png`; None where `image` is."""
    shape = image(found)
    return None if shape is None else png(shape, _centre(found), np.array(found.x, dtype=float))


def image(found: Counterexample) -> Layout | None:
    """How the input is an image of one or three channels; None where it is none, or no finite box is known."""
    n = len(found.x)
    if len(found.lower) != n or n == 0 or not np.isfinite([found.lower, found.upper]).all():
        return None
    return layout(found.shape, n)


def table(found: Counterexample) -> dict[str, Any]:
    """Inputs and outputs, fit for JSON.

    `inputs`: for each shown its name, lower bound, value, upper bound (None where unknown or infinite); `of`: how many
    inputs there are; `moved`: whether those are shown that moved most from the centre of the box; `change`: the
    largest distance from the centre, or None; `outputs`, and `outputs_of` how many there are; `constraints`: what of
    the property it satisfies.
    """
    x, n = np.array(found.x, dtype=float), len(found.x)
    known = len(found.lower) == n and n > 0
    lower, upper = (np.array(v, dtype=float) if known else np.full(n, np.nan) for v in (found.lower, found.upper))
    distance = np.abs(x - _centre(found)) if known else np.zeros(n)
    distance = np.where(np.isfinite(distance), distance, 0.0)
    some = np.arange(n) if n <= WHOLE else np.sort(np.argsort(-distance, kind="stable")[:MOVED])
    inputs = [[f"X_{k}", number(lower[k]), number(x[k]), number(upper[k])] for k in some.tolist()]
    return {
        "inputs": inputs,
        "of": n,
        "moved": bool(n > WHOLE and known),
        "change": number(distance.max(initial=0.0)) if known else None,
        "outputs": [number(v) for v in found.y[:OUTPUTS]],
        "outputs_of": len(found.y),
        "constraints": found.constraints,
    }


def number(value: float) -> float | None:
    """Seven digits, enough to tell float32 numbers apart by eye; None for what is not finite."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def _centre(found: Counterexample) -> Array:
    lower, upper = np.array(found.lower, dtype=float), np.array(found.upper, dtype=float)
    with np.errstate(invalid="ignore"):  # infinite bounds have no centre
        return np.asarray(lower / 2 + upper / 2)
