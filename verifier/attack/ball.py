"""Steps of a gradient search inside a set that is no box.

Source: Frank and Wolfe, *An algorithm for quadratic programming*, 1956: a step goes part of the way to the point of the
set where the gradient is least, so that the search never leaves the set and needs no projection.
"""

from __future__ import annotations

import numpy as np

from verifier.values.sets import InputSet


def towards(
    within: InputSet, x: np.ndarray, gradient: np.ndarray, lower: np.ndarray, upper: np.ndarray, step: int
) -> np.ndarray:
    """The points `[P, n]` after step number `step`; the first one goes all the way.

    Args:
        gradient: `[P, n]`.  lower, upper: `[P, n]` the boxes that the set is cut to.
    """
    goal = within.minimiser(gradient, lower, upper)
    return x + (goal - x) * (2.0 / (step + 2))
