"""Complete clipping: linear functions minimised over a box *and* half-spaces, by their Lagrangian dual.

Source: Clip-and-Verify (NeurIPS 2025), theorem 3.1.  With one half-space the dual is concave and piecewise linear in
one multiplier, and its best value is found exactly among the breakpoints; with several, one multiplier after the other
is set to its best (coordinate ascent).  Any multipliers >= 0 give a sound bound, so nothing here needs to converge.
"""

from __future__ import annotations

import numpy as np

from verifier.values.rounding import gamma

MOST = 1e12
"""Multipliers stay below this times the objective's scale: a finite one proves emptiness as well as an infinite one."""


def minimise(
    A: np.ndarray,
    b: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    G: np.ndarray,
    h: np.ndarray,
    use: np.ndarray | None = None,
    sweeps: int = 2,
) -> np.ndarray:
    """Lower bounds `[B, R]` of `A·x + b` over boxes, where `G·x + h <= 0`.

    Args:
        A: `[B, R, n]`, b: `[B, R]` the functions, in double precision.
        lower, upper: `[B, n]`.
        G: `[B, S, n]`, h: `[B, S]` half-spaces.
        use: `[B, R, S]` which of them may be used for which function (all, when None).
        sweeps: how often each multiplier is set.

    Sound because: for beta >= 0, `min_x A·x + b + Σ beta_s (G_s·x + h_s)` over the box is at most the constrained
    minimum; it is evaluated at the multipliers found, once, with its own rounding error taken off.
    """
    B, R, n = A.shape
    S = G.shape[1]
    center, radius = lower * 0.5 + upper * 0.5, (upper - lower) * 0.5
    offset = np.einsum("bsn,bn->bs", G, center) + h  # half-spaces at the centre
    beta = np.zeros((B, R, S))
    combined = A.copy()
    scale = abs(A).max(2, initial=0.0) + 1e-300
    for _ in range(sweeps if S else 0):
        for s in range(S):
            g = G[:, s]
            base = combined - beta[:, :, s, None] * g[:, None]  # without this multiplier
            best = _best(base, g, offset[:, s], radius)
            steep = abs(g).max(1)[:, None] + 1e-300
            best = np.clip(np.nan_to_num(best, nan=0.0, posinf=np.inf, neginf=0.0), 0.0, MOST * scale / steep)
            if use is not None:
                best = np.where(use[:, :, s], best, 0.0)
            beta[:, :, s] = best
            combined = base + best[:, :, None] * g[:, None]
    return _dual(A, b, lower, upper, G, h, beta)


def _best(o: np.ndarray, g: np.ndarray, d: np.ndarray, radius: np.ndarray) -> np.ndarray:
    """The multiplier `[B, R]` that maximises `beta·d − Σ_j |o_j + beta g_j| radius_j` over beta >= 0.

    o: `[B, R, n]`; g: `[B, n]`; d: `[B]` half-space at the box's centre.  The slope starts at `d + T` left of every
    breakpoint `−o_j/g_j`, T = Σ|g|·radius, and falls by `2|g_j| radius_j` at each.
    """
    weight = abs(g) * radius  # [B, n]
    with np.errstate(all="ignore"):
        points = np.where(weight[:, None] > 0, -o / g[:, None], -np.inf)
    points = np.where(np.isnan(points), -np.inf, points)
    order = points.argsort(2)
    falls = np.take_along_axis(np.broadcast_to(weight[:, None], o.shape), order, 2).cumsum(2)
    slope = d + weight.sum(1)  # before every breakpoint
    slope_after = slope[:, None, None] - 2 * falls
    first = (slope_after <= 0).argmax(2)
    never = ~(slope_after <= 0).any(2)  # still rising: no point of the box satisfies the half-space
    best = np.take_along_axis(np.take_along_axis(points, order, 2), first[:, :, None], 2)[:, :, 0]
    best = np.where(slope[:, None] <= 0, -np.inf, best)  # falling throughout: every point satisfies the half-space
    return np.where(never, np.inf, best)


def _dual(
    A: np.ndarray,
    b: np.ndarray,
    lower: np.ndarray,
    upper: np.ndarray,
    G: np.ndarray,
    h: np.ndarray,
    beta: np.ndarray,
) -> np.ndarray:
    """The dual at given multipliers `[B, R, S]`, rounded down."""
    n, S = A.shape[2], G.shape[1]
    combined = A + np.einsum("brs,bsn->brn", beta, G)
    magnitude = abs(A) + np.einsum("brs,bsn->brn", beta, abs(G))
    reach = np.maximum(abs(lower), abs(upper))
    least = np.minimum(combined * lower[:, None], combined * upper[:, None]).sum(2)
    constant = b + np.einsum("brs,bs->br", beta, h)
    size = np.einsum("brn,bn->br", magnitude, reach) + abs(b) + np.einsum("brs,bs->br", beta, abs(h))
    value = least + constant - gamma(n + 2 * S + 8, "float64") * 2 * size
    return np.where(np.isfinite(value), value, -np.inf)  # not a number, or overflow: nothing is known
