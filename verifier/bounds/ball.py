"""Linear functions on balls of the ℓ1 and the ℓ2 norm."""

from __future__ import annotations

from verifier.values.arrays import Array, namespace, place_of
from verifier.values.box import Ball
from verifier.values.rounding import gamma, tiny


def least(A: Array, b: Array, ball: Ball) -> Array:
    """Lower bounds `[P]` of `A·x + b` for x in the ball, A `[P, n]`, b `[P]`, rounded down.

    Sound because: `A·x >= A·center − eps·‖A‖_q` with q the dual norm (Hölder); what computing that may be off is at
    most gamma times the magnitudes summed.  Rows are scaled before they are squared, so that nothing underflows.
    """
    xp, place, n = namespace(A), place_of(A), int(A.shape[1])
    if not n:
        return b
    center = place.array(ball.center, place.dtype)
    size = xp.abs(A)
    norm = xp.amax(size, 1)
    if ball.norm == 2:
        unit_rows = A / xp.where(norm > 0, norm, norm * 0 + 1)[:, None]
        norm = norm * xp.sqrt((unit_rows * unit_rows).sum(1))
    reach = norm * ball.eps
    error = gamma(2 * n + 16, place.dtype) * (size @ xp.abs(center) + reach + xp.abs(b))
    return A @ center + b - reach - error - (n + 4) * tiny(place.dtype) * (1 + size.sum(1))
