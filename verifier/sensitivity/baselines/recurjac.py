"""RecurJac (Zhang, Zhang and Hsieh, 2019), as Shi et al. 2022 compare with it."""

from __future__ import annotations

from math import inf

import numpy as np

from verifier.graph.graph import Graph
from verifier.sensitivity.problem import pose
from verifier.sensitivity.search import Aim, DerivativeSearch
from verifier.values.box import Box


def recurjac(graph: Graph, box: Box, rows: np.ndarray, p: float = inf) -> np.ndarray:
    """Upper bounds `[K]` of the local Lipschitz constants of functionals `[K, m]` of the outputs, from p = inf or 2.

    The derivative is bounded on the whole set by the same walks as ours, but for gates: where the sign of what comes to
    one is open, decided or not, an interval takes the place of its planes.  Sound as those are; never tighter.
    """
    search = _bounded(graph, box, rows, 1 if p == inf else 2)
    return np.asarray(search.problem.norm(search.upper, True))


def recurjac_entries(graph: Graph, box: Box, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Bounds `[K, n]` of the derivatives of functionals `[K, m]` by every input, lower and upper, in the same way."""
    above = _bounded(graph, box, rows, inf).upper.reshape(len(rows), 2, -1)  # of derivatives, and of minus these
    return -above[:, 1], above[:, 0]


def _bounded(graph: Graph, box: Box, rows: np.ndarray, dual: float) -> DerivativeSearch:
    problem = pose(graph, box, rows, dual, recurjac=True)
    search = DerivativeSearch(problem, Aim(problem.goals[:, 0]))
    search.root(climbing=False)
    return search
