"""Functions of one number that jump: sign, floor, ceil, round, comparisons with zero."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import TYPE_CHECKING

from verifier.graph.graph import Elementwise
from verifier.values.arrays import Array, namespace
from verifier.values.errors import ModelError

if TYPE_CHECKING:
    from verifier.graph.chain import Chain, Rows

KINDS = ("sign", "floor", "ceil", "round", "nearest", "rest", "positive", "not_negative", "zero", "threshold")
STAIRS = {"floor": 0.0, "round": 0.5, "nearest": 0.5, "ceil": 1.0}
"""Functions that take whole numbers, with how far below a number they rise to it."""
MANY = 2.0**20
"""Up to here all multiples of a half are numbers of any type, and so are sums of them with a half."""


@dataclass(frozen=True)
class Step(Elementwise):
    """A named function of every entry.

    `positive` is 1 where z > 0, `not_negative` where z >= 0, `zero` where z = 0, else 0; `round` rounds halves to
    even; `nearest` does so, too, but bounds hold for either neighbour of a half; `rest` is what `nearest` adds to z;
    `threshold` is z where z > parameter and 0 elsewhere.

    Attributes:
        low, high: of `floor`, `ceil`, `round`, `nearest` and `rest`: whole numbers at which the staircase ends (of
            `rest` both or none, and none from `MANY` on).
    """

    kind: str
    parameter: float = 0.0
    low: float = -inf
    high: float = inf

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise KeyError(self.kind)
        ends = self.low, self.high
        whole = all(abs(e) == inf or e == int(e) for e in ends)
        may_end = self.stairs or (self.kind == "rest" and max(map(abs, ends)) < MANY)
        if ends != (-inf, inf) and not (may_end and self.low <= self.high and whole):
            raise ValueError(f"{self.kind} from {self.low} to {self.high}")

    @property
    def stairs(self) -> bool:
        """Whether it takes whole numbers, one after the other."""
        return self.kind in STAIRS

    @property
    def whole(self) -> bool:
        """Whether its values are whole numbers."""
        return self.kind not in ("rest", "threshold")

    def evaluate(self, *x: Array) -> Array:
        """The function."""
        (z,) = x
        xp = namespace(z)
        if self.stairs or self.kind == "sign":
            y = getattr(xp, "round" if self.kind == "nearest" else self.kind)(z)
            y = y if self.low == -inf else xp.maximum(y, self.low)
            return y if self.high == inf else xp.minimum(y, self.high)
        if self.kind == "threshold":
            return xp.where(z > self.parameter, z, z * 0)
        if self.kind == "rest":
            return Step("nearest", 0.0, self.low, self.high).evaluate(z) - z
        holds = {"positive": z > 0, "not_negative": z >= 0, "zero": z == 0}[self.kind]
        return xp.where(holds, z * 0 + 1, z * 0)

    def slope(self, x: Array) -> Array:
        """What gradient search follows: the slope of a ramp of width two in the place of a jump (straight through)."""
        xp = namespace(x)
        if self.stairs:
            return xp.where((x >= self.low - 1) & (x <= self.high + 1), x * 0 + 1, x * 0)
        if self.kind == "threshold":
            return xp.where(x > self.parameter, x * 0 + 1, x * 0)
        return xp.where(xp.abs(x) <= 1, x * 0 + 1, x * 0) * (0.0 if self.kind in ("zero", "rest") else 1.0)

    def chain(self, t: Chain, g: Rows, i: int) -> Rows:
        """Refused."""
        raise ModelError(t.refusal(i, "the function jumps there"))
