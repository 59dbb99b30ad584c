"""Linear functions on balls of the ℓ1 and the ℓ2 norm."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.values.arrays import Array, namespace, place_of
from verifier.values.box import Ball
from verifier.values.rounding import gamma, tiny


@dataclass(frozen=True, eq=False)
class Balls:
    """A ball for each of several domains or rows, all of one norm: `center` `[B, n]`, `eps` `[B]`."""

    center: Array
    eps: Array
    norm: float

    def of(self, owner: Array) -> Balls:
        """A ball a row, where row p is about domain `owner[p]`."""
        return Balls(self.center[owner], self.eps[owner], self.norm)


def least(A: Array, b: Array, ball: Ball | Balls) -> Array:
    """Lower bounds `[P]` of `A·x + b` for x in the ball (or each row's own), A `[P, n]`, b `[P]`, rounded down.

    Sound because: `A·x >= A·center − eps·‖A‖_q` with q the dual norm (Hölder); what computing that may be off is at
    most gamma times the magnitudes summed.  Rows are scaled before they are squared, so that nothing underflows.
    """
    xp, place, n = namespace(A), place_of(A), int(A.shape[1])
    if not n:
        return b
    center, eps = place.array(ball.center, place.dtype), ball.eps if isinstance(ball, Ball) else place.array(ball.eps)
    size = xp.abs(A)
    norm = xp.amax(size, 1)
    if ball.norm == 2:
        unit_rows = A / xp.where(norm > 0, norm, norm * 0 + 1)[:, None]
        norm = norm * xp.sqrt((unit_rows * unit_rows).sum(1))
    reach = norm * eps
    error = gamma(2 * n + 16, place.dtype) * (_times(size, xp.abs(center)) + reach + xp.abs(b))
    return _times(A, center) + b - reach - error - (n + 4) * tiny(place.dtype) * (1 + size.sum(1))


def _times(A: Array, x: Array) -> Array:
    """Rows `[P, n]` times one vector `[n]`, or each its own `[P, n]`: `[P]`."""
    return A @ x if x.ndim == 1 else (A * x).sum(1)
