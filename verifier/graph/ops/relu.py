"""Piecewise-linear activations with a kink at zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from verifier.graph.graph import Elementwise
from verifier.values.arrays import Array, is_torch, namespace

if TYPE_CHECKING:
    from verifier.graph.chain import Chain, Rows


@dataclass(frozen=True)
class Relu(Elementwise):
    """`max(x, 0) + slope·min(x, 0)`: ReLU for slope 0, LeakyReLU otherwise.

    Facts: convex for slope <= 1, concave for slope >= 1, increasing for slope >= 0; one kink, at zero.
    """

    leak: float = 0.0

    def evaluate(self, *x: Array) -> Array:
        """The activation."""
        xp, (a,) = namespace(x[0]), x
        if self.leak == 0.0:  # torch has its own, whose derivative is cheaper
            return a.relu() if is_torch(a) else xp.maximum(a, 0.0)
        return xp.where(a >= 0, a, a * self.leak)

    def slope(self, x: Array) -> Array:
        """1 above zero, `leak` below."""
        return namespace(x).where(x > 0, _like(x, 1.0), _like(x, self.leak))

    def chain(self, t: Chain, g: Rows, i: int) -> Rows:
        """A gate."""
        return t.gate(g, t.inputs(i)[0], self.leak)


def _like(x: Array, value: float) -> Array:
    """A number in the type of `x`, so that numpy does not widen."""
    import numpy as np

    return x.dtype.type(value) if isinstance(x, (np.ndarray, np.generic)) else x.new_tensor(value)
