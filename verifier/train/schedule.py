"""What changes while a network is trained, as functions of how far it has come: nothing here has a state to lose."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.values.errors import UserError

SHAPES = ("smooth", "linear", "constant")


@dataclass(frozen=True)
class Ramp:
    """A number that grows from 0 to `to` between two epochs, batch by batch.

    Attributes:
        to: where it ends.
        start, end: epochs; zero before, `to` behind.
        shape: `smooth` (polynomial to begin with, linear after that), `linear`, or `constant` (at once).
    """

    to: float
    start: float = 0.0
    end: float = 0.0
    shape: str = "smooth"

    def __post_init__(self) -> None:
        """Refuse what makes no sense."""
        if self.shape not in SHAPES:
            raise UserError(f"shape {self.shape!r}: use one of {', '.join(SHAPES)}")
        if not 0 <= self.start <= self.end or self.to < 0:
            raise UserError(
                f"a ramp to {self.to} from epoch {self.start} to {self.end}: give 0 <= start <= end, to >= 0"
            )

    def at(self, epoch: float) -> float:
        """Its value; `epoch` counts batches as parts."""
        if self.shape == "constant" or epoch >= self.end:
            return self.to if epoch >= self.start else 0.0
        if epoch <= self.start:
            return 0.0
        t, T = epoch - self.start, self.end - self.start
        return self.to * (t / T if self.shape == "linear" else _smooth(t, T))


def _smooth(t: float, T: float, c: float = 0.25, e: float = 4.0) -> float:
    """Share reached at t of T: `a·t^e` up to `c·T`, then a line with the slope it has there.

    Source: Xu et al., *Automatic Perturbation Analysis*, 2020, appendix.
    """
    mid = c * T
    a = 1 / ((T - mid) * e * mid ** (e - 1) + mid**e)
    return a * t**e if t <= mid else a * (mid**e + e * mid ** (e - 1) * (t - mid))


@dataclass(frozen=True)
class Blend:
    """A number that moves evenly from `before` to `after` between two epochs, batch by batch."""

    before: float
    after: float
    start: float = 0.0
    end: float = 0.0

    def at(self, epoch: float) -> float:
        """Its value; `epoch` counts batches as parts."""
        if epoch >= self.end or self.before == self.after:
            return self.after
        if epoch <= self.start:
            return self.before
        return self.before + (self.after - self.before) * (epoch - self.start) / (self.end - self.start)


@dataclass(frozen=True)
class Steps:
    """A number that is multiplied by `factor` at given epochs."""

    base: float
    milestones: tuple[int, ...] = ()
    factor: float = 0.2

    def at(self, epoch: float) -> float:
        """Its value."""
        return self.base * self.factor ** sum(epoch >= m for m in self.milestones)
