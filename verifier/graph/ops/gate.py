"""The derivative of a (leaky) rectifier at one number, times another: what derivatives of rectifiers are made of."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.graph.graph import Rowwise
from verifier.values.arrays import Array, namespace


@dataclass(frozen=True)
class Gate(Rowwise):
    """Of the entries v and z of the last axis: v where z > 0, `leak·v` where z < 0.

    At z = 0 the Clarke derivative of the rectifier is everything between `leak` and 1; evaluating takes `leak` there.
    What bounds of this operator hold for is said in `relax.gate`.

    Attributes:
        leak: the slope below zero.
        recurjac: bound it as RecurJac does, for comparison: see `relax.gate.gate_lines`.
    """

    leak: float = 0.0
    recurjac: bool = False

    width = 2

    def evaluate(self, *x: Array) -> Array:
        """v, or `leak·v`."""
        xp, v, z = namespace(x[0]), x[0][..., 0], x[0][..., 1]
        return xp.where(z > 0, v, v * self.leak if self.leak else 0.0)  # whatever v is: it may have no value

    def gradient(self, g: Array, x: Array) -> Array:
        """By v; the jump along z counts for nothing."""
        xp, z = namespace(x), x[..., 1]
        return xp.stack([xp.where(z > 0, g, g * self.leak), g * 0], -1)
