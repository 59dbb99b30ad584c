"""What bounds on folded networks are made of: parts of a box, objectives, multipliers, and what walks find."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace

from verifier.bounds.fold import Linear
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
        sign: `[B, U]` +1 where a split says z >= 0, -1 where it says z <= 0, else 0.  Where units are not all
            rectifiers, splits are at other points than zero, too: then the bound of that side stands for it, and 2
            says both.
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
        return Region(*(some(getattr(self, f.name), at) for f in fields(self)))


@dataclass(frozen=True, eq=False)
class Multipliers:
    """A point of the dual.

    Attributes:
        alpha: `[B, U]` lower slopes of undecided neurons.
        beta: `[B, U]` multipliers `>= 0` of the splits (zero where there is none); of any sign where both sides are
            split, negative for the upper one.
        weight: `[B, K]` non-negative weights of the objectives' parts.
        mu: `[B, F]` multipliers `>= 0` of the facts, or None.
        second: `[B, U]` what else may be chosen about a unit's lines (see `bounds.layers`); None where all units are
            rectifiers.
    """

    alpha: Array
    beta: Array
    weight: Array
    mu: Array | None = None
    second: Array | None = None

    def take(self, at: Array) -> Multipliers:
        """Those of some domains."""
        return Multipliers(*(None if a is None else a[at] for a in vars(self).values()))

    def to(self, place: Place) -> Multipliers:
        """The same at another place."""
        moved = (None if a is None else place.array(a, place.dtype) for a in vars(self).values())
        return Multipliers(*moved)

    def copy(self) -> Multipliers:
        """A copy, to be written to."""
        return Multipliers(*(None if a is None else a * 1 for a in vars(self).values()))

    def put(self, at: Array, new: Multipliers) -> None:
        """Overwrite those of some domains."""
        for mine, others in zip(vars(self).values(), vars(new).values(), strict=True):
            if mine is not None:
                mine[at] = others


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


def some(a: Array | None, at: Array) -> Array | None:
    """`a[at]`, or `a` itself where all share one entry."""
    return a if a is None or a.shape[0] == 1 else a[at]
