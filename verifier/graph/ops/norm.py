"""Norms of vectors, for measuring derivatives."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf

from verifier.graph.graph import Rowwise
from verifier.values.arrays import Array, namespace


@dataclass(frozen=True)
class Norm(Rowwise):
    """`(Σ_i |x_i|^r)^(1/r)` over the last axis.

    Attributes:
        r: above 1, and finite.

    Raises:
        ValueError: another exponent.
    """

    r: float

    def __post_init__(self) -> None:
        if not 1 < self.r < inf:
            raise ValueError(f"a norm of exponent {self.r}")

    def evaluate(self, *x: Array) -> Array:
        """Powers are of numbers up to one, so nothing overflows, and what underflows does not count."""
        top, y = shares(x[0])
        return top * namespace(y).power(namespace(y).power(y, self.r).sum(-1), 1 / self.r)

    def gradient(self, g: Array, x: Array) -> Array:
        """`g·sign(x)·(|x|/‖x‖)^(r − 1)`; zero at zero."""
        xp, (_, y) = namespace(x), shares(x)
        total = xp.power(xp.power(y, self.r).sum(-1), 1 / self.r)[..., None]
        size = xp.power(y / xp.where(total > 0, total, total * 0 + 1), self.r - 1)
        return g[..., None] * xp.sign(x) * size


def shares(x: Array) -> tuple[Array, Array]:
    """The largest magnitude on the last axis, and magnitudes in terms of it (zeros where it is zero)."""
    xp = namespace(x)
    size = xp.abs(x)
    top = xp.amax(size, -1)
    return top, size / xp.where(top > 0, top, top * 0 + 1)[..., None]
