"""LipSDP: a Lipschitz constant ℓ2→ℓ2 of a chain by semidefinite programming (Fazlyab et al., NeurIPS 2019).

Differences of two runs of the network are linear functions of the state s: the difference of the inputs, and one
residual a neuron.  If a neuron's slope lies in `[mid − width, mid + width]`, then its activation moves by `mid·z +
width·r` where its input moves by z, with `|r| <= |z|`.  So if there are multipliers T >= 0 with

    N = ρ·|input part of s|² + Σ_i T_i (r_i² − z_i²) − |F s|² >= 0   for all s,                        (LipSDP-Neuron)

where F s is how the output moves, then `|F s|² <= ρ·|difference of inputs|²`, since the sum is not positive on states
that occur.  (With r in the place of the activation the constraint of the paper, `(h − a·z)(b·z − h) >= 0`, is diagonal,
and neurons whose slope is known leave the problem: mid is their slope and width zero.)

Whatever a solver says of T and ρ is a proposal.  N is formed with bounds of its rounding and of that in Z and F, and is
positive definite if a Cholesky decomposition, less than that and than the decomposition's own rounding, goes through
(Rump, *Verification of positive definiteness*, BIT 46, 2006).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, sqrt

import numpy as np

from verifier.graph.graph import Graph
from verifier.sensitivity.baselines import Bounds, Layer, chain, flat_bounds
from verifier.sensitivity.baselines.products import slope_range
from verifier.sensitivity.baselines.spectral import frobenius_above, norm_above, up
from verifier.values.rounding import gamma, tiny

GAP = 1e-9
"""How far from the optimum the interior-point method stops, as a share of ρ."""
PACE = 20.0
"""How much more the objective weighs after each step along the central path."""
MIXED = (0.0, *(10.0**-k for k in range(11, -1, -1)))
"""Shares of the strictly feasible start that are tried, one after the other, to make a proposal feasible."""


@dataclass(frozen=True, eq=False)
class Quadratic:
    """The quadratic forms of the problem, in a state of S = n + U numbers.

    Attributes:
        n: inputs.
        F: `[m, S]` how outputs move.
        Z: `[U, S]` how the neurons' inputs move, divided by `scale`: a residual is divided by it, too.
        F_error, Z_error: at least what F and Z may be off by, entry by entry.
        layer: `[U]` the neurons' layers, ascending.
        scale: `[U]` powers of two, about |row of Z|.
    """

    n: int
    F: np.ndarray
    Z: np.ndarray
    F_error: np.ndarray
    Z_error: np.ndarray
    layer: np.ndarray
    scale: np.ndarray

    def matrix(self, T: np.ndarray, rho: float) -> np.ndarray:
        """N `[S, S]`."""
        N = -((self.Z.T * T) @ self.Z) - self.F.T @ self.F
        N[np.diag_indices(len(N))] += np.r_[np.full(self.n, rho), T]
        return N


def lipsdp(
    graph: Graph | Sequence[Layer],
    rows: np.ndarray | None = None,
    bounds: Bounds | None = None,
    solver: str = "interior",
) -> float:
    """A constant L with `|f(x) − f(x')|₂ <= L·|x − x'|₂`, rounded up; infinity where none was certified.

    For all inputs, or, with bounds of what enters the activations, for those in a convex set on which the bounds hold.

    Args:
        graph: a chain (see `chain`), or its layers.
        rows: `[K, m]`: of rows·f instead of f.
        bounds: one (lower, upper) a layer of activations.
        solver: "interior" (our own, seconds for hundreds of neurons), or one of cvxpy's, such as "CLARABEL" or "SCS".

    Raises:
        ModelError: the network is no chain, or too large; bounds do not fit it.
    """
    layers = chain(graph) if isinstance(graph, Graph) else list(graph)
    q = _quadratic(layers, rows, bounds)
    if q is None:
        return inf
    size = float((abs(q.F) + q.F_error).max(initial=0.0))
    if not len(q.Z) or size == 0.0:
        return up(norm_above(q.F) + frobenius_above(q.F_error)) if q.F_error.any() else norm_above(q.F)
    one = 2.0 ** np.frexp(size)[1]
    q = replace(q, F=q.F / one, F_error=q.F_error / one)
    small = _reduced(q, layers[0].W)
    start = _start(small)
    T, rho = _interior(small, start) if solver == "interior" else _solved(small, solver)
    _, rho = certified(q, (T, rho), start)
    return up(up(sqrt(rho)) * one) if rho < inf else inf


def _quadratic(layers: Sequence[Layer], rows: np.ndarray | None, bounds: Bounds | None) -> Quadratic | None:
    """The problem of a chain, or None where a slope is not bounded.

    Sound because what `V` (an activation's move, `[k, S]`) and Z are off by is carried along: a product of matrices
    errs by gamma times the product of magnitudes, and lets through what its factors are off by.
    """
    slopes = _slopes(layers, bounds)
    if not all(np.isfinite(s).all() for s in slopes):
        return None
    n = layers[0].W.shape[1]
    S = n + sum(int((width > 0).sum()) for _, width in slopes)
    V, off, at = np.eye(n, S), np.zeros((n, S)), n
    Zs, errors, where, scales = [], [], [], []
    for k, (layer, (mid, width)) in enumerate(zip(layers, slopes, strict=False)):
        Z, Z_off = _times(layer.W, layer.error, V, off)
        V = mid[:, None] * Z
        off = abs(mid)[:, None] * Z_off + gamma(3, "float64") * abs(V) + tiny("float64") * (abs(V) > 0)
        free = np.flatnonzero((width > 0) & ((Z != 0) | (Z_off != 0)).any(1))
        size = 2.0 ** np.clip(np.frexp((abs(Z) + Z_off)[free].max(1, initial=0.0))[1], -500, 500)
        V[free, at + np.arange(len(free))] = width[free] * size  # rounded: `width` is a little larger than need be
        at += len(free)
        Zs.append(Z[free] / size[:, None])
        errors.append(Z_off[free] / size[:, None])
        where.append(np.full(len(free), k))
        scales.append(size)
    W, W_off = layers[-1].W, layers[-1].error
    if rows is not None:
        W, W_off = _times(np.asarray(rows, np.float64), np.zeros(np.shape(rows)), W, W_off)
    F, F_off = _times(W, W_off, V, off)
    Z, Z_off = (np.concatenate(parts)[:, :at] if parts else np.zeros((0, at)) for parts in (Zs, errors))
    layer_of, scale = (np.concatenate(parts) if parts else np.zeros(0) for parts in (where, scales))
    return Quadratic(n, F[:, :at], Z, F_off[:, :at], Z_off, layer_of, scale)


def _slopes(layers: Sequence[Layer], bounds: Bounds | None) -> list[tuple[np.ndarray, np.ndarray]]:
    """For each layer of activations mid and width, `[k]` each, with every slope in `[mid − width, mid + width]`.

    Raises:
        ModelError: bounds do not fit.
    """
    flat = None if bounds is None else flat_bounds(layers, bounds)
    found = []
    for k, layer in enumerate(layers[:-1]):
        assert layer.activation is not None
        every = np.full(len(layer.b), inf)
        lower, upper = (-every, every) if flat is None else flat[k]
        a, b = slope_range(layer.activation, lower, upper)
        with np.errstate(invalid="ignore"):
            mid = np.where(a == b, a, 0.5 * a + 0.5 * b)
            width = np.where(a == b, 0.0, np.maximum(b - mid, mid - a) * (1 + 4 * 2.0**-53))
        found.append((mid, width))
    return found


def _times(A: np.ndarray, A_off: np.ndarray, B: np.ndarray, B_off: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A·B for matrices that are off by as much, and at least what it is off by."""
    g = gamma(A.shape[1] + 2, "float64")
    wide = abs(B) + B_off
    off = (g * abs(A) + A_off) @ wide + abs(A) @ B_off
    used = abs(A) @ wide > 0  # only there anything can be lost to underflow
    return A @ B, off * (1 + 2 * g) + A.shape[1] * tiny("float64") * used


def _reduced(q: Quadratic, W: np.ndarray) -> Quadratic:
    """The same problem for the part of the inputs that the first layer reads, without records of rounding.

    The value is the same: inputs that no row reads stand in N with ρ alone.
    """
    k = min(W.shape)
    Q = np.linalg.qr(W.T)[0] if k < q.n else np.eye(q.n)
    F, Z = (np.concatenate([A[:, : q.n] @ Q, A[:, q.n :]], 1) for A in (q.F if q.F.any() else q.F_error, q.Z))
    return Quadratic(Q.shape[1], F, Z, np.zeros_like(F), np.zeros_like(Z), q.layer, q.scale)


def _start(q: Quadratic) -> tuple[np.ndarray, float]:
    """A strictly feasible point: from the last layer to the first, multipliers twice as large as they have to be.

    N of the later layers alone is positive definite already; with one multiplier t for this layer's residuals the Schur
    complement `t·1 − (what else N has there) ` is, if t exceeds its largest eigenvalue.  Last comes ρ, for the inputs.
    """
    T = np.zeros(len(q.Z))
    for k in sorted(set(q.layer.tolist()), reverse=True):
        own = np.flatnonzero(q.layer == k)
        t = _enough(q.matrix(T, 0.0), q.n + own)
        T[own] = max(t, 1e-9 * float(T.max()), 1e-300)
    return T, _enough(q.matrix(T, 0.0), np.arange(q.n))


def _enough(N: np.ndarray, own: np.ndarray) -> float:
    """Twice the largest eigenvalue of the Schur complement, without sign, of the rows `own` in those and later ones."""
    later = np.arange(own[-1] + 1, len(N))
    N = np.where(np.isfinite(N), N, 0.0)
    C = N[np.ix_(own, later)]
    needed = C @ np.linalg.lstsq(N[np.ix_(later, later)], C.T, rcond=None)[0] - N[np.ix_(own, own)]
    return 2.0 * max(0.0, float(np.linalg.eigvalsh(0.5 * (needed + needed.T))[-1]))


def _interior(q: Quadratic, start: tuple[np.ndarray, float]) -> tuple[np.ndarray, float]:
    """The least ρ and its T, by the barrier method: Newton's steps for `weight·ρ − log det N`.

    With `P = N⁻¹`, `dN/dT_i = e_i·e_iᵀ − z_i·z_iᵀ`, so gradients and Hessian are entries of P, Z P and Z P Zᵀ, squared.
    (`N > 0` makes T positive.)  On the central path ρ exceeds the optimum by `S / weight`.
    """
    v = np.r_[start[0], start[1]]
    S = q.Z.shape[1]
    L = _cholesky(q.matrix(v[:-1], v[-1]))
    weight = S / max(v[-1], 1e-300)
    for _ in range(400):
        if L is None or S / weight < GAP * v[-1]:
            break
        step, decrement = _newton(q, v, L, weight)
        v, L, moved = _searched(q, v, L, step, weight)
        if decrement < 0.5 or not moved:
            if not moved and decrement > 1.0:
                break  # rounding leaves nothing to be gained
            weight *= PACE
    return v[:-1], float(v[-1])


def _newton(q: Quadratic, v: np.ndarray, L: np.ndarray, weight: float) -> tuple[np.ndarray, float]:
    """Newton's step and its decrement, in units of the variables: Hessians of these are well scaled."""
    half = np.linalg.inv(L)
    P = half.T @ half
    ZP, Px = q.Z @ P, P[:, : q.n]
    ze, zz, ee = ZP[:, q.n :], ZP @ q.Z.T, P[q.n :, q.n :]
    g = np.r_[np.diag(zz) - np.diag(ee), weight - np.trace(Px[: q.n])] * v
    H = np.empty((len(v), len(v)))
    H[:-1, :-1] = ee**2 - ze**2 - ze.T**2 + zz**2
    H[-1, :-1] = H[:-1, -1] = (Px[q.n :] ** 2).sum(1) - (ZP[:, : q.n] ** 2).sum(1)
    H[-1, -1] = (Px[: q.n] ** 2).sum()
    H *= v[:, None] * v
    unit = 1 / np.sqrt(np.maximum(np.diag(H), 1e-300))
    scaled = H * unit[:, None] * unit
    scaled[np.diag_indices(len(v))] += 1e-14
    step = -unit * np.linalg.solve(scaled, unit * g)
    return step * v, float(sqrt(max(0.0, -(step @ g))))


def _searched(
    q: Quadratic, v: np.ndarray, L: np.ndarray, step: np.ndarray, weight: float
) -> tuple[np.ndarray, np.ndarray, bool]:
    """The first of shorter and shorter steps that lowers the barrier function, its decomposition, if there is one."""

    def value(v: np.ndarray, L: np.ndarray) -> float:
        return weight * float(v[-1]) - 2 * float(np.log(np.diag(L)).sum())

    now, length = value(v, L), 1.0
    for _ in range(40):
        new = v + length * step
        M = _cholesky(q.matrix(new[:-1], new[-1])) if (new > 0).all() else None
        if M is not None and value(new, M) < now:
            return new, M, True
        length *= 0.5
    return v, L, False


def _cholesky(N: np.ndarray) -> np.ndarray | None:
    """The lower factor, or None where N is not positive definite."""
    try:
        L = np.linalg.cholesky(N)
    except np.linalg.LinAlgError:
        return None
    return L if np.isfinite(L).all() else None


def _solved(q: Quadratic, solver: str) -> tuple[np.ndarray, float]:
    """What one of cvxpy's solvers says: T and ρ; not a number where it says nothing."""
    import cvxpy as cp

    T, rho = cp.Variable(len(q.Z), nonneg=True), cp.Variable(nonneg=True)
    N = cp.diag(cp.hstack([rho * np.ones(q.n), T])) - q.Z.T @ cp.diag(T) @ q.Z - q.F.T @ q.F
    S = len(q.F.T)
    X = cp.Variable((S, S), PSD=True)
    try:
        cp.Problem(cp.Minimize(rho), [X == N]).solve(solver=solver)
    except cp.SolverError:
        pass
    if T.value is None or rho.value is None:
        return np.full(len(q.Z), np.nan), inf
    return np.asarray(T.value), float(rho.value)


def certified(
    q: Quadratic, proposal: tuple[np.ndarray, float], start: tuple[np.ndarray, float]
) -> tuple[np.ndarray, float]:
    """Multipliers and a ρ for which N is positive definite in exact arithmetic, near the proposal; or infinity.

    Feasible points are a convex set, so a little of a point well inside is mixed in, as little as will do.
    """
    T, rho = proposal
    if np.isfinite(T).all() and isfinite(rho):
        for share in MIXED:
            mixed = (1 - share) * np.maximum(T, 0.0) + share * start[0]
            value = (1 - share) * max(rho, 0.0) + share * start[1]
            if definite(q, mixed, value):
                return mixed, value
    for more in (1e1, 1e3, 1e6):
        if definite(q, start[0] * more, start[1] * more):
            return start[0] * more, start[1] * more
    return start[0], inf


def definite(q: Quadratic, T: np.ndarray, rho: float) -> bool:
    """Whether N is certainly positive semidefinite, for T >= 0 and every Z and F within their errors.

    Sound because the N of exact arithmetic differs from the computed one by at most

        E = gamma·(|Z|ᵀT|Z| + |F|ᵀ|F| + diagonal) + (Z_errorᵀT|Z| + F_errorᵀ|F|) + its transpose,

    with |Z| and |F| including errors, hence has no eigenvalue below that of the computed one less ‖E‖₂ <= ‖E‖∞.  If the
    computed N less c times the identity has a Cholesky decomposition in floating point, then no eigenvalue of it lies
    below `c − gamma(S + 1)/(1 − gamma(S + 1))·trace` (Rump).  All of it after scaling by powers of two, D N D, which
    makes the diagonal about 1 and rounds nothing.
    """
    N = q.matrix(T, rho)
    diagonal = np.diag(N)
    if not (np.isfinite(N).all() and (diagonal > 0).all() and (T >= 0).all()):
        return False
    S, U, m = len(N), len(q.Z), len(q.F)
    Z, F = abs(q.Z) + q.Z_error, abs(q.F) + q.F_error
    E = (Z.T * T) @ Z + F.T @ F
    E[np.diag_indices(S)] += np.r_[np.full(q.n, rho), T]
    E *= gamma(U + m + 12, "float64")
    off = (q.Z_error.T * T) @ Z + q.F_error.T @ F
    E += off + off.T
    D = 2.0 ** -np.round(0.5 * np.log2(diagonal))
    N, E = N * D[:, None] * D, E * D[:, None] * D
    g = gamma(S + 8, "float64")  # some libraries divide by multiplying with a reciprocal
    c = up(float(E.sum(1).max()), U + m + S + 20) + up(g / (1 - g) * float(np.trace(N)), S + 4)
    c = up(c + 1e3 * S * S * tiny("float64")) + 4 * 2.0**-53 * float(np.diag(N).max())
    N[np.diag_indices(S)] -= c
    return _cholesky(N) is not None
