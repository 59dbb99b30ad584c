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

from verifier.bounds.fold import Folded, Linear
from verifier.relax.relu import chord
from verifier.values.arrays import Array, Place, namespace


@dataclass(frozen=True, eq=False)
class Facts:
    """F linear functions `X·x + Z·z + H·h + c` that are `<= 0` at every point of interest (`[F, k]`, `[F, U]`, …).

    They should be scaled to vary by about one over the box: multipliers are climbed in steps of an objective's size.
    """

    X: Array
    Z: Array
    H: Array
    c: Array

    def __len__(self) -> int:
        """F."""
        return int(self.c.shape[0])

    def to(self, place: Place) -> Facts:
        """The same at another place (not accounting for what that rounds)."""
        return Facts(*(place.array(getattr(self, f.name), place.dtype) for f in fields(self)))


@dataclass(frozen=True, eq=False)
class Region:
    """B parts of a folded network's box.

    Attributes:
        lower, upper: `[B, U]` bounds of the neurons' inputs.
        sign: `[B, U]` +1 where a split says z >= 0, -1 where it says z <= 0, else 0.
        center, radius: `[B, k]` or `[1, k]` the boxes.
        holds: `[B, F]` which facts may be used (1 or 0), or None without facts.
    """

    lower: Array
    upper: Array
    sign: Array
    center: Array
    radius: Array
    holds: Array | None = None

    def take(self, at: Array) -> Region:
        """Some of the parts (boxes and bounds that all share stay shared)."""
        return Region(*(_some(getattr(self, f.name), at) for f in fields(self)))


@dataclass(frozen=True, eq=False)
class Multipliers:
    """A point of the dual.

    Attributes:
        alpha: `[B, U]` lower slopes of undecided neurons.
        beta: `[B, U]` multipliers `>= 0` of the splits (zero where there is none).
        weight: `[B, K]` non-negative weights of the objectives' parts.
        mu: `[B, F]` multipliers `>= 0` of the facts, or None.
    """

    alpha: Array
    beta: Array
    weight: Array
    mu: Array | None = None

    def take(self, at: Array) -> Multipliers:
        """Those of some domains."""
        return Multipliers(self.alpha[at], self.beta[at], self.weight[at], None if self.mu is None else self.mu[at])

    def to(self, place: Place) -> Multipliers:
        """The same at another place."""
        moved = (None if a is None else place.array(a, place.dtype) for a in vars(self).values())
        return Multipliers(*moved)

    def copy(self) -> Multipliers:
        """A copy, to be written to."""
        return Multipliers(self.alpha * 1, self.beta * 1, self.weight * 1, None if self.mu is None else self.mu * 1)

    def put(self, at: Array, new: Multipliers) -> None:
        """Overwrite those of some domains."""
        self.alpha[at], self.beta[at], self.weight[at] = new.alpha, new.beta, new.weight
        if self.mu is not None:
            self.mu[at] = new.mu


@dataclass(frozen=True, eq=False)
class Objective:
    """B objectives, each a weighted sum of K rows: X `[R, k]`, H `[R, U]`, c `[R]` of R rows, ids `[B, K]`.

    `stop` is how many of the blocks, from the first, they reach; `facts` may be added to them.
    """

    rows: Linear
    ids: Array
    stop: int
    facts: Facts | None = None

    def take(self, at: Array) -> Objective:
        """Some of the objectives."""
        return replace(self, ids=self.ids[at])

    def combine(self, weight: Array) -> tuple[Array, Array, Array]:
        """`Σ_k weight_k·row_k`: coefficients of x and h, and constants."""
        if self.ids.shape[1] == 1:
            at, w = self.ids[:, 0], weight
            return self.rows.X[at] * w, self.rows.H[at] * w, self.rows.c[at] * w[:, 0]
        xp, w = namespace(weight), weight[:, None]
        X, H = ((w @ a[self.ids])[:, 0] for a in (self.rows.X, self.rows.H))
        return X, H, xp.einsum("bk,bk->b", weight, self.rows.c[self.ids])


@dataclass(frozen=True, eq=False)
class Slopes:
    """Lines of every neuron: `lower·z <= h <= upper·z + offset` (all `[B, U]`); `open`: undecided."""

    lower: Array
    upper: Array
    offset: Array
    open: Array

    def take(self, at: Array) -> Slopes:
        """Those of some domains."""
        return Slopes(*(_some(getattr(self, f.name), at) for f in fields(self)))

    def with_alpha(self, alpha: Array) -> Slopes:
        """Other lower slopes where there is a choice."""
        return replace(self, lower=namespace(alpha).where(self.open, alpha, self.upper))


@dataclass(frozen=True, eq=False)
class Walk:
    """What a walk back found.

    Attributes:
        bound: `[B]` lower bounds of the objectives (as computed).
        A, b: `[B, k]`, `[B]`: the planes behind them.
        a: `[B, U]` coefficients of the activations.
        y: `[B, U]` coefficients of the neurons' inputs.
    """

    bound: Array
    A: Array
    b: Array
    a: Array
    y: Array

    def take(self, at: Array) -> Walk:
        """Some of the domains."""
        return Walk(self.bound[at], self.A[at], self.b[at], self.a[at], self.y[at])


def _some(a: Array | None, at: Array) -> Array | None:
    """`a[at]`, or `a` itself where all share one entry."""
    return a if a is None or a.shape[0] == 1 else a[at]


def slopes(F: Folded, r: Region, alpha: Array) -> Slopes:
    """Lines on every part; see `relax.relu`."""
    upper, offset = chord(F.leak, r.lower, r.upper)
    open_ = (r.lower < 0) & (r.upper > 0)
    return Slopes(upper, upper, offset, open_).with_alpha(alpha)


def back(F: Folded, r: Region, s: Slopes, o: Objective, m: Multipliers) -> Walk:
    """Walk objectives back to the input.

    Sound because: a positive coefficient takes the line below, a negative one the line above; what is added for splits
    and facts, `−beta·sign·z` and `mu·fact`, is `<= 0` wherever they hold, so a lower bound of the sum is one of the
    objective.  (Rounding is accounted for in `certain`, not here.)
    """
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


@dataclass(frozen=True, eq=False)
class Point:
    """The minimiser of a bound, pushed forward.

    Attributes:
        x: `[B, k]`.  z, h: `[B, U]` values through the relaxed network.  real: `[B, U]` activations of the network.
    """

    x: Array
    z: Array
    h: Array
    real: Array


def forward(F: Folded, r: Region, s: Slopes, w: Walk, stop: int) -> Point:
    """Where the bound is least, and what the relaxed and the real network do there."""
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
