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

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf, isfinite, sqrt
from typing import Any

import numpy as np

from verifier.graph.graph import Graph
from verifier.search.budget import Budget
from verifier.sensitivity.baselines import Bounds, Layer, chain, flat_bounds
from verifier.sensitivity.baselines.products import slope_range
from verifier.sensitivity.baselines.spectral import FOREVER, frobenius_above, norm_above, up
from verifier.values.extras import need
from verifier.values.rounding import gamma, tiny

SMALL = 40
"""Up to so many states Clarabel takes a second at most; it is 40 s for a hundred, where SCS takes two."""
OPTIONS: dict[str, dict[str, Any]] = {"SCS": {"eps": 1e-6, "max_iters": 5000}}
WIDER = (1e-11, 1e-9, 1e-7, 1e-5)
"""How much larger than the least ρ for given multipliers, as computed, those are that are tried."""
MIXED = (0.0, *(10.0**-k for k in range(11, -1, -1)))
"""Shares of the strictly feasible start that are tried, one after the other, to make a proposal feasible."""


IMPORT, ENTRY, MORE = 2.0, 2e-6, 1e6
"""Seconds that importing the solvers takes, and handing one an entry of the problem's matrices; beyond how many entries
that grows with their number (measured for 1e5 to 3e6: 2e-6 to 4e-6, twice that is counted)."""
SOLVING = 0.7
"""What share of the time the solver may take; the rest makes what it has found hold."""


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
    solver: str | None = None,
    seconds: float = 60.0,
) -> float:
    """A constant L with `|f(x) − f(x')|₂ <= L·|x − x'|₂`, rounded up; infinity where none was certified.

    For all inputs, or, with bounds of what enters the activations, for those in a convex set on which the bounds hold.

    Args:
        graph: a chain (see `chain`), or its layers.
        rows: `[K, m]`: of rows·f instead of f.
        bounds: one (lower, upper) a layer of activations.
        solver: one of cvxpy's; if None "CLARABEL" for a few dozen neurons, "SCS" for more (100: some seconds).
        seconds: in all; where the solver is stopped, what it has found is made to hold, and where setting it up alone
            would take too long, what was to be its start.

    Raises:
        ModelError: the network is no chain, or too large; bounds do not fit it.
        UserError: cvxpy is not installed.
    """
    need("lipsdp", "sdp")
    budget = Budget.seconds(seconds)
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
    solver = solver or ("CLARABEL" if small.F.shape[1] <= SMALL else "SCS")
    left = budget.left() - _seconds(small)
    _, rho = certified(q, _solved(small, start, solver, SOLVING * left), start, budget)
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
        t = 2 * _needed(q.matrix(T, 0.0), q.n + own)
        T[own] = max(t, 1e-9 * float(T.max()), 1e-300)
    return T, 2 * _needed(q.matrix(T, 0.0), np.arange(q.n))


def _needed(N: np.ndarray, own: np.ndarray) -> float:
    """The largest eigenvalue of the Schur complement, without sign, of the rows `own` in those and later ones; or 0."""
    later = np.arange(own[-1] + 1, len(N))
    N = np.where(np.isfinite(N), N, 0.0)
    C = N[np.ix_(own, later)]
    needed = C @ np.linalg.lstsq(N[np.ix_(later, later)], C.T, rcond=None)[0] - N[np.ix_(own, own)]
    return max(0.0, float(np.linalg.eigvalsh(0.5 * (needed + needed.T))[-1]))


def _cholesky(N: np.ndarray) -> np.ndarray | None:
    """The lower factor, or None where N is not positive definite."""
    try:
        L = np.linalg.cholesky(N)
    except np.linalg.LinAlgError:
        return None
    return L if np.isfinite(L).all() else None


def _seconds(q: Quadratic) -> float:
    """About how long setting up a solver takes, on the slow side: nothing in it looks at the clock."""
    entries = 0.5 * float((np.count_nonzero(q.Z, 1).astype(np.float64) ** 2).sum())
    return (0.0 if "cvxpy" in sys.modules else IMPORT) + ENTRY * entries * (1 + entries / MORE)


def _solved(q: Quadratic, start: tuple[np.ndarray, float], solver: str, seconds: float) -> tuple[np.ndarray, float]:
    """What one of cvxpy's solvers says: T and ρ; not a number where it says nothing.

    Variables are in units of the start and N is scaled to the diagonal 1 there: solvers of the first order need that.
    """
    unit, most = start
    nothing = np.full(len(unit), np.nan), inf
    d = 1 / np.sqrt(np.maximum(np.diag(q.matrix(*start)), 1e-300))
    Z, F = np.sqrt(unit)[:, None] * q.Z * d, q.F * d
    if not (np.isfinite(Z).all() and np.isfinite(F).all() and seconds > 0):  # SCS takes a limit of 0 for none
        return nothing
    import cvxpy as cp  # slow: only where something is solved

    t, r = cp.Variable(len(unit), nonneg=True), cp.Variable(nonneg=True)
    own = cp.hstack([r * (most * d[: q.n] ** 2), cp.multiply(unit * d[q.n :] ** 2, t)])
    N = cp.diag(own) - Z.T @ cp.diag(t) @ Z - F.T @ F
    limit = {"SCS": "time_limit_secs", "CLARABEL": "time_limit"}.get(solver)
    options = dict(OPTIONS.get(solver, {})) | ({limit: seconds} if limit and seconds < inf else {})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # "may be inaccurate": it is certified all the same
        try:
            cp.Problem(cp.Minimize(r), [N >> 0]).solve(solver=solver, **options)
        except (cp.SolverError, ArithmeticError):
            pass
    if t.value is None or r.value is None:
        return nothing
    return unit * np.asarray(t.value), most * float(r.value)


def certified(
    q: Quadratic, proposal: tuple[np.ndarray, float], start: tuple[np.ndarray, float], budget: Budget = FOREVER
) -> tuple[np.ndarray, float]:
    """Multipliers near the proposed ones, and a ρ, for which N is positive definite in exact arithmetic; or infinity.

    Feasible points are a convex set, so a little of a point well inside is mixed in.  The least ρ for these multipliers
    is tried, and the mixed one; of all shares the best counts, as far as there is time.
    """
    T, rho = proposal
    best = start[0], inf
    if np.isfinite(T).all() and isfinite(rho):
        for share in MIXED:
            if budget.spent():
                break
            mixed = (1 - share) * np.maximum(T, 0.0) + share * start[0]
            least = _needed(q.matrix(mixed, 0.0), np.arange(q.n))
            for value in (*(least * (1 + w) for w in WIDER), (1 - share) * max(rho, 0.0) + share * start[1]):
                if value < best[1] and definite(q, mixed, value):
                    best = mixed, value
    for more in () if best[1] < inf else (1.0, 1e1, 1e3, 1e6):
        if definite(q, start[0] * more, start[1] * more):
            return start[0] * more, start[1] * more
    return best


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
