"""Functions of one number that jump: sign, floor, ceil, round, comparisons with zero."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from verifier.graph.graph import Elementwise
from verifier.values.arrays import Array, namespace
from verifier.values.errors import ModelError

if TYPE_CHECKING:
    from verifier.graph.chain import Chain, Rows

KINDS = ("sign", "floor", "ceil", "round", "positive", "not_negative", "zero", "threshold")


@dataclass(frozen=True)
class Step(Elementwise):
    """A named function of every entry.

    `positive` is 1 where z > 0, `not_negative` where z >= 0, `zero` where z = 0, else 0; `round` rounds halves to
    even; `threshold` is z where z > parameter and 0 elsewhere.
    """

    kind: str
    parameter: float = 0.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise KeyError(self.kind)

    def evaluate(self, *x: Array) -> Array:
        """The function."""
        (z,) = x
        xp = namespace(z)
        if self.kind in ("sign", "floor", "ceil", "round"):
            return getattr(xp, self.kind)(z)
        if self.kind == "threshold":
            return xp.where(z > self.parameter, z, z * 0)
        holds = {"positive": z > 0, "not_negative": z >= 0, "zero": z == 0}[self.kind]
        return xp.where(holds, z * 0 + 1, z * 0)

    def slope(self, x: Array) -> Array:
        """What gradient search follows: the slope of a ramp of width two in the place of a jump (straight through)."""
        xp = namespace(x)
        if self.kind in ("floor", "ceil", "round"):
            return x * 0 + 1
        if self.kind == "threshold":
            return xp.where(x > self.parameter, x * 0 + 1, x * 0)
        return xp.where(xp.abs(x) <= 1, x * 0 + 1, x * 0) * (0.0 if self.kind == "zero" else 1.0)

    def chain(self, t: Chain, g: Rows, i: int) -> Rows:
        """Refused."""
        raise ModelError(t.refusal(i, "the function jumps there"))
