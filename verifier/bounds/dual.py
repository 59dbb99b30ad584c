"""Lagrangian bounds on a folded network: CROWN with slopes (alpha) and multipliers (beta of splits, mu of facts).

For any lower slopes `alpha` in their range and any multipliers >= 0, walking an objective back to the input gives a
sound lower bound; it is concave and piecewise linear in them along every coordinate, and its gradient comes from one
walk forward: the input that minimises the bound is pushed through the relaxed network (each neuron replaced by the line
that the walk back chose), and what that value is at a neuron says how the bound moves with its slope or multiplier.

Sources: Xu et al., *Fast and Complete* (alpha-CROWN), 2021; Wang et al., *Beta-CROWN*, 2021; Zhang et al., *GCP-CROWN*,
2022 (general facts); Kotha et al., *INVPROP*, 2023 (output constraints).  The gradient in closed form is ours.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from verifier.bounds import general
from verifier.bounds.fold import Folded
from verifier.bounds.general import Bends
from verifier.bounds.lagrange import Facts, Multipliers, Objective, Point, Region, Walk, some
from verifier.relax.relu import chord
from verifier.values.arrays import Array, namespace

__all__ = [
    "Bends",
    "Facts",
    "Multipliers",
    "Objective",
    "Point",
    "Region",
    "Slopes",
    "Walk",
    "back",
    "forward",
    "slopes",
]


@dataclass(frozen=True, eq=False)
class Slopes:
    """Lines of every neuron: `lower·z <= h <= upper·z + offset` (all `[B, U]`); `open`: undecided."""

    lower: Array
    upper: Array
    offset: Array
    open: Array

    def take(self, at: Array) -> Slopes:
        """Those of some domains."""
        return Slopes(*(some(getattr(self, f.name), at) for f in fields(self)))

    def with_alpha(self, alpha: Array) -> Slopes:
        """Other lower slopes where there is a choice."""
        return replace(self, lower=namespace(alpha).where(self.open, alpha, self.upper))


def slopes(F: Folded, r: Region, alpha: Array, second: Array | None = None) -> Slopes | Bends:
    """Lines on every part; see `relax` (and `Multipliers` for what is chosen)."""
    if not F.plain:
        assert second is not None
        return general.bends(F, r, alpha, second)
    upper, offset = chord(F.leak, r.lower, r.upper)
    open_ = (r.lower < 0) & (r.upper > 0)
    return Slopes(upper, upper, offset, open_).with_alpha(alpha)


def back(F: Folded, r: Region, s: Slopes | Bends, o: Objective, m: Multipliers) -> Walk:
    """Walk objectives back to the input.

    Sound because: a positive coefficient takes the line below, a negative one the line above; what is added for splits
    and facts, `−beta·sign·z` and `mu·fact`, is `<= 0` wherever they hold, so a lower bound of the sum is one of the
    objective.  (Rounding is accounted for in `certain`, not here.)
    """
    if isinstance(s, Bends):
        return general.back(F, r, s, o, m)
    xp = namespace(r.lower)
    X, H, c = o.combine(m.weight)
    Z = -m.beta * r.sign
    if o.facts is not None and m.mu is not None:
        f, mu = o.facts, m.mu
        X, Z, H, c = X + mu @ f.X, Z + mu @ f.Z, H + mu @ f.H, c + mu @ f.c
    end = F.blocks[o.stop - 1].stop if o.stop else 0
    a, y = H * 1, H * 0
    for block in reversed(F.blocks[: o.stop]):
        part = a[:, block]
        if block.stop < end:
            part += y[:, block.stop : end] @ F.z.H[block.stop : end, block]
        y[:, block] = xp.where(part > 0, s.lower[:, block], s.upper[:, block]) * part + Z[:, block]
    negative = xp.minimum(a[:, :end], 0.0)
    b = c + xp.einsum("bu,bu->b", negative, s.offset[:, :end]) + y[:, :end] @ F.z.c[:end]
    A = X + y[:, :end] @ F.z.X[:end]
    least = ((A * r.center).sum(1) - (xp.abs(A) * r.radius).sum(1)) if A.shape[1] else b * 0
    return Walk(b + least, A, b, a, y)


def forward(F: Folded, r: Region, s: Slopes | Bends, w: Walk, stop: int) -> Point:
    """Where the bound is least, and what the relaxed and the real network do there."""
    if isinstance(s, Bends):
        return general.forward(F, r, s, w, stop)
    xp = namespace(w.A)
    x = xp.where(w.A > 0, r.center - r.radius, r.center + r.radius)
    end = F.blocks[stop - 1].stop if stop else 0
    z = w.a * 0
    z[:, :end] = x @ F.z.X[:end].T + F.z.c[:end]
    true, h, real = z * 1, z * 0, z * 0
    for block in F.blocks[:stop]:
        if block.start:
            H = F.z.H[block, : block.start].T
            z[:, block] += h[:, : block.start] @ H
            true[:, block] += real[:, : block.start] @ H
        v, t = z[:, block], true[:, block]
        positive = w.a[:, block] > 0
        h[:, block] = xp.where(positive, s.lower[:, block] * v, s.upper[:, block] * v + s.offset[:, block])
        real[:, block] = xp.maximum(t, 0.0) + F.leak[block] * xp.minimum(t, 0.0)
    return Point(x, z, h, real)
