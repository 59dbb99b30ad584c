"""Relaxed clipping: a box shrunk by half-spaces that every point of interest satisfies.

Source: Clip-and-Verify (NeurIPS 2025), theorem 3.2.  The box hull of one half-space and a box is exact; half-spaces are
applied one after the other (Gauss-Seidel), so that each sees the box the others have left.
"""

from __future__ import annotations

import numpy as np

from verifier.values.rounding import gamma, tiny


@np.errstate(all="ignore")  # what is not finite clips nothing
def clip(
    lower: np.ndarray, upper: np.ndarray, A: np.ndarray, b: np.ndarray, use: np.ndarray | None = None, sweeps: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Shrink boxes by `A·x + b <= 0`.

    Args:
        lower, upper: `[B, n]` in double precision.
        A: `[B, S, n]`, b: `[B, S]` half-spaces, taken in order.
        use: `[B, S]` which half-spaces hold (all, when None).
        sweeps: how often the whole list is applied.

    Returns: lower, upper `[B, n]`; where some lower exceeds its upper, no point of the box satisfies the half-spaces.

    Sound because: in `A_i x_i <= −b − Σ_{j≠i} min A_j x_j` the right-hand side is raised by a bound on its rounding
    error before dividing, and the quotient by one on its own; numbers that are not finite clip nothing.
    """
    S, n = A.shape[1:]
    g, u = gamma(n + 6, "float64"), gamma(4, "float64")
    for _ in range(sweeps):
        for s in range(S):
            a = A[:, s]
            low, high = a * lower, a * upper
            least = np.minimum(low, high)
            total = least.sum(1) + b[:, s]
            slack = g * (np.maximum(abs(low), abs(high)).sum(1) + abs(b[:, s])) + n * tiny("float64")
            room = (slack - total)[:, None] + least  # A_i x_i <= room, before its own rounding
            room = room + u * (abs(slack - total)[:, None] + abs(least))
            x = room / a
            x = x + np.sign(a) * (u * abs(x) + tiny("float64"))
            fine = np.isfinite(x) & (abs(a) > tiny("float64"))
            if use is not None:
                fine &= use[:, s, None]
            upper = np.where(fine & (a > 0), np.minimum(upper, x), upper)
            lower = np.where(fine & (a < 0), np.maximum(lower, x), lower)
    return lower, upper


def clip_any(
    lower: np.ndarray, upper: np.ndarray, A: np.ndarray, b: np.ndarray, uses: np.ndarray, alive: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Shrink boxes when a point of interest satisfies all half-spaces of *some* living disjunct.

    Args:
        lower, upper: `[B, n]`.  A: `[B, K, n]`, b: `[B, K]`: half-spaces `A·x + b <= 0`.
        uses: `[B, J, K]` which of them each disjunct has.  alive: `[B, J]`.

    Returns: the hull of the disjuncts' clipped boxes, and `alive` without the disjuncts that became empty.
    """
    hull_l, hull_u = np.full_like(lower, np.inf), np.full_like(upper, -np.inf)
    alive = alive.copy()
    for j in range(alive.shape[1]):
        at = np.flatnonzero(alive[:, j])
        if not len(at):
            continue
        rows = np.flatnonzero(uses[at, j].any(0))  # half-spaces that some of these domains have for j
        l, u = clip(lower[at], upper[at], A[at][:, rows], b[at][:, rows], uses[at, j][:, rows])
        empty = (l > u).any(1)
        alive[at[empty], j] = False
        full = at[~empty]
        hull_l[full], hull_u[full] = np.minimum(hull_l[full], l[~empty]), np.maximum(hull_u[full], u[~empty])
    return np.maximum(lower, hull_l), np.minimum(upper, hull_u), alive
