"""Linear functions on boxes and on balls of the ℓ1 and the ℓ2 norm (Hölder's inequality)."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.values.arrays import Array, namespace, place_of
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

    def concretise(self, A: Array, b: Array, center: Array, radius: Array) -> Array:
        """See `InputSet.concretise`: A `[P, n]`, a ball a row."""
        return least(A, b, self.center, self.eps, self.norm)


def least(A: Array, b: Array, center: Array, eps: Array, norm: float) -> Array:
    """Lower bounds `[...]` of `A·x + b` within eps of a centre (or of each row's own), A `[..., n]`, b `[...]`.

    Args:
        center: `[n]` or like A.  eps: one number or like b.  norm: 1 or 2.

    Sound because: `A·x >= A·center − eps·‖A‖_q` with q the dual norm (Hölder); what computing that may be off is at
    most gamma times the magnitudes summed.  Rows are scaled before they are squared, so that nothing underflows.
    """
    xp, place, n = namespace(A), place_of(A), int(A.shape[-1])
    if not n:
        return b
    center = place.array(center, place.dtype)
    size = xp.abs(A)
    reach = xp.amax(size, -1)
    if norm == 2:
        unit_rows = A / xp.where(reach > 0, reach, reach * 0 + 1)[..., None]
        reach = reach * xp.sqrt((unit_rows * unit_rows).sum(-1))
    reach = reach * eps
    error = gamma(2 * n + 16, place.dtype) * (_times(size, xp.abs(center)) + reach + xp.abs(b))
    return _times(A, center) + b - reach - error - (n + 4) * tiny(place.dtype) * (1 + size.sum(-1))


def on_box(A: Array, center: Array, radius: Array) -> Array:
    """Lower bounds `[...]` of `A·x` on boxes `center ± radius`, `[n]` or like A.

    Sound because: each entry goes to the end where its term is least; the rest as of `least`.
    """
    xp, place, n = namespace(A), place_of(A), int(A.shape[-1])
    size = xp.abs(A)
    reach = _times(size, radius)
    error = gamma(2 * n + 16, place.dtype) * (_times(size, xp.abs(center)) + reach)
    return _times(A, center) - reach - error - (n + 4) * tiny(place.dtype) * (1 + size.sum(-1))


def _times(A: Array, x: Array) -> Array:
    """Rows `[..., n]` times one vector `[n]`, or each its own `[..., n]`: `[...]`."""
    return A @ x if x.ndim == 1 else (A * x).sum(-1)
