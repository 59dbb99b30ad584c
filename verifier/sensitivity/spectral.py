"""The largest spectral norm of a Jacobian: the local Lipschitz constant from ℓ2 to ℓ2.

A part is bounded by the least of: the root of the sum of its rows' squared norms, each bounded on its own; and the norm
of the matrix in the middle of the entries' bounds plus that of what they are away from it.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.bounds.network import Tick, nothing
from verifier.bounds.renew import Known, renew
from verifier.graph.ops.curves import Curve
from verifier.search.budget import Budget
from verifier.sensitivity.attack import climb
from verifier.sensitivity.choice import choose, scores
from verifier.sensitivity.feasible import LOST
from verifier.sensitivity.problem import Problem
from verifier.sensitivity.regions import Parts
from verifier.sensitivity.search import STARTS, STEPS, Aim, DerivativeSearch, region
from verifier.values.rounding import gamma


class Spectral(DerivativeSearch):
    """As `DerivativeSearch`, with one goal: the squared spectral norm of the matrix of all rows.

    Args:
        problem: with dual 2; its seeds are the matrix's rows.
    """

    def __init__(self, problem: Problem, aim: Aim, batch: int = 256, tick: Tick = nothing) -> None:
        super().__init__(replace(problem, goals=np.zeros((1, 2), int)), aim, batch, tick)
        self._per_part = len(problem.seeds)
        self._most = max(2, self._most // self._per_part)
        F = problem.F
        squares = [f for f in F.layers if isinstance(f.op, Curve) and (np.asarray(F.rows.H)[:, f.units] != 0).any()]
        taken = [np.asarray(f.take.index).reshape(-1) for f in squares]  # one layer, or none
        self._rows = np.concatenate([np.zeros(0, int), *taken])
        self._seeds = np.flatnonzero(F.varying >= len(problem.low))
        self._shared = np.zeros(len(F.z), bool)
        for p in self._kinks:
            self._shared[F.parts[p][0]] = True

    @np.errstate(all="ignore")
    def root(self, budget: Budget | None = None, climbing: bool = True) -> None:
        """Bound the norm on the whole set, and look for points where it is large."""
        P, F = self.problem, self.problem.F
        self.upper = np.minimum(self.upper, P.plain() * self._per_part * (1 + gamma(2, "float64")))
        s = self._whole(np.zeros(1, int))
        seeds = P.seeds[:, F.varying[self._seeds] - len(P.low)]
        s.low[:, self._seeds], s.high[:, self._seeds] = seeds.min(0, initial=0.0), seeds.max(0, initial=0.0)
        s = self._value(s)
        self.upper = np.minimum(self.upper, s.bound)
        if climbing:
            self._climb(np.zeros(STARTS, int), self._starts(1), budget)
        self._planted([s])

    def _value(self, s: Parts, common: Known | None = None) -> Parts:
        """Parts with the bounds of the norm, and with what to split next."""
        P, K, D = self.problem, self._per_part, len(s)
        each = s.take(np.repeat(np.arange(D), K))
        seeds = np.tile(P.seeds[:, P.F.varying[self._seeds] - len(P.low)], (D, 1))
        each.low[:, self._seeds] = each.high[:, self._seeds] = seeds

        known = renew(P.plan, region(each), np.zeros((D * K, 1), int), tick=self._tick)
        narrow = replace(each, lower=known.lower, upper=known.upper)
        lower = np.where(self._shared, known.lower.reshape(D, K, -1).max(1), s.lower)
        upper = np.where(self._shared, known.upper.reshape(D, K, -1).min(1), s.upper)
        rows = np.maximum(-known.value.reshape(D, K), 0.0)
        bound = np.minimum(rows.sum(1) * (1 + gamma(K + 2, "float64")), self._matrix(known.lower, known.upper, D) ** 2)
        score = scores(P, narrow, known.a, known.lines).reshape(D, K, -1)
        score = np.where((score < 0).any(1), -1.0, score.sum(1))
        return replace(s, lower=lower, upper=upper, bound=np.minimum(s.bound, bound), pick=choose(score))

    def _matrix(self, lower: np.ndarray, upper: np.ndarray, D: int) -> np.ndarray:
        """Bounds `[D]` of the spectral norms of all matrices between the entries' bounds."""
        P, F = self.problem, self.problem.F
        ends = np.tile(P.entries[:, None], (1, len(lower), 1))
        ends[:, :, F.entry[self._rows]] = lower[:, self._rows], upper[:, self._rows]
        low, up = ends.reshape(2, D, self._per_part, -1)
        center = 0.5 * low + 0.5 * up
        radius = np.maximum(up - center, center - low) * (1 + gamma(2, "float64"))
        return np.asarray((middle(center) + around(radius)) * (1 + gamma(4, "float64")))

    def _climb(self, goal: np.ndarray, x: np.ndarray, budget: Budget | None = None) -> None:
        """Gradient search from points `[P, n]`, each along the row that is largest where it starts."""
        for at in range(0, len(x), self._most):
            if budget is not None and budget.spent():
                return
            some = x[at : at + self._most]
            u = self._largest(some)[1] @ self.problem.seeds
            self._try(goal[:1], climb(self.problem, some, u, np.zeros(len(some), int), STEPS, self._late))

    def _try(self, goal: np.ndarray, x: np.ndarray) -> None:
        """Points `[P, n]` that may raise the lower bound."""
        value, u = self._largest(x)
        i = int(np.argmax(value))
        if value[i] ** 2 > self.lower[0]:
            seeds = self.problem.seeds
            off = gamma(len(seeds) + 4, "float64") * (abs(u[i]) @ abs(seeds))
            sure = self.problem.certain(x[i], u[i] @ seeds, 0, off)
            sure = sure / (float(u[i] @ u[i]) * (1 + 4 * gamma(len(u[i]) + 2, "float64")))
            if sure > self.lower[0]:
                self.lower[0], self.point[0] = sure, x[i]

    def _largest(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The spectral norms `[P]` at points `[P, n]`, and the combinations `[P, K]` of the seeds that attain them."""
        J = self.problem.derivatives(x)
        J = np.where(np.isfinite(J), J, 0.0)
        u, s, _ = np.linalg.svd(J, full_matrices=False)
        return s[:, 0], u[:, :, 0]


def middle(C: np.ndarray) -> np.ndarray:
    """Upper bounds `[D]` of the spectral norms of matrices `[D, K, n]`.

    Sound because: for any V, with B = Vᵀ(C·Cᵀ)V, the largest eigenvalue of C·Cᵀ is at most that of B (by Gershgorin, at
    most its largest row sum of magnitudes) over the least eigenvalue of VᵀV, which is at least one less than how far
    VᵀV is from the identity; all sums are raised by their rounding.  Eigenvectors make a good V.
    """
    if C.shape[1] > C.shape[2]:
        C = C.transpose(0, 2, 1)
    K, n = C.shape[1:]
    G = C @ C.transpose(0, 2, 1)
    safe = np.where(np.isfinite(G).all((1, 2), keepdims=True), G, 0.0)
    V = np.linalg.eigh(safe)[1]
    off = abs(V.transpose(0, 2, 1) @ V - np.eye(K)).sum(2).max(1) + gamma(2 * K + 2, "float64") * K
    size = abs(V).transpose(0, 2, 1) @ (abs(C) @ abs(C).transpose(0, 2, 1)) @ abs(V)
    B = abs(V.transpose(0, 2, 1) @ G @ V) + gamma(n + 2 * K + 6, "float64") * size
    most = B.sum(2).max(1) * (1 + gamma(K + 6, "float64"))
    value = np.sqrt(most / (1 - off)) * (1 + gamma(4, "float64")) + LOST * max(K, n)
    return np.where(np.isfinite(value) & (off < 0.5), value, np.inf)


def around(R: np.ndarray, steps: int = 6) -> np.ndarray:
    """Upper bounds `[D]` of the spectral norms of non-negative matrices `[D, K, n]`.

    Sound because: for a positive v, the largest eigenvalue of RᵀR is at most the largest of `(RᵀRv)_j / v_j` (Collatz
    and Wielandt); powers make v a good one.
    """
    K, n = R.shape[1:]
    v = np.ones((len(R), n, 1))
    for _ in range(steps):
        w = R.transpose(0, 2, 1) @ (R @ v)
        v = w / np.maximum(w.max(1, keepdims=True), 1e-300) + 1e-6
    w = R.transpose(0, 2, 1) @ (R @ v) * (1 + gamma(n + K + 6, "float64"))
    value = np.sqrt((w / v).max((1, 2))) * (1 + gamma(4, "float64")) + LOST * max(K, n)
    return np.where(np.isfinite(value), value, np.inf)
