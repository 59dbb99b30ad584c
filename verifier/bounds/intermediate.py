"""Better bounds of the neurons of a folded network, by optimised slopes of their own."""

from __future__ import annotations

from dataclasses import dataclass, replace

from verifier.bounds import general
from verifier.bounds.ascend import Rates, ascend
from verifier.bounds.certain import certain
from verifier.bounds.dual import Multipliers, Objective, Region, Walk
from verifier.bounds.fold import Folded, Linear
from verifier.bounds.network import Tick, nothing
from verifier.values.arrays import Array, Place, counting
from verifier.values.rounding import gamma, outward, tiny, unit


@dataclass(frozen=True, eq=False)
class Hull:
    """Linear bounds of every neuron's input over the inputs, `low·x + low_b <= z <= up·x + up_b` on the whole box.

    Attributes:
        low, up: `[U, k]`.  low_b, up_b: `[U]`; rounded outward.
    """

    low: Array
    low_b: Array
    up: Array
    up_b: Array

    def take(self, at: Array) -> Hull:
        """Of some neurons."""
        return Hull(self.low[at], self.low_b[at], self.up[at], self.up_b[at])

    def to(self, F: Folded, place: Place) -> Hull:
        """The same at another place, the constants covering what conversion changes.

        Sound because: converting moves a coefficient by at most a unit of it, and x is at most F's reach.
        """
        xp, g = F.place.xp, 2 * unit(place.dtype)
        x = F.reach[0]
        slack = [
            g * (xp.abs(A) @ x + xp.abs(b)) + tiny(place.dtype) * x.sum()
            for A, b in ((self.low, self.low_b), (self.up, self.up_b))
        ]
        low_b, up_b = outward(self.low_b - slack[0], self.up_b + slack[1], place)
        return Hull(place.array(self.low, place.dtype), low_b, place.array(self.up, place.dtype), up_b)


def first_hull(F: Folded) -> Hull:
    """What is known without a walk: the neurons of the first layer are functions of the inputs; others are constant."""
    xp, x = F.place.xp, F.reach[0]
    linear = (xp.abs(F.z.H).sum(1) if len(F) else F.z.c) == 0
    zero = F.z.X * 0
    A = xp.where(linear[:, None], F.z.X, zero)
    size = F.z.take(linear).magnitude(x, F.leak * 0)
    error = F.z.error * 1
    error[linear] += gamma(len(F.varying) + 4, F.place.dtype) * size
    return Hull(A, xp.where(linear, F.z.c - error, F.lower), A * 1, xp.where(linear, F.z.c + error, F.upper))


def tighten(
    F: Folded, fast: Place, rates: Rates, block: int, wanted: Array | None = None, tick: Tick = nothing
) -> tuple[Array, Array, Hull]:
    """Bounds `[U]` of the neurons' inputs, layer by layer, each layer from what the earlier ones gained; and planes.

    Args:
        F: in double precision.
        fast: where slopes are climbed; the bounds that they give are computed in double precision.
        rates: of the climb.
        block: how many numbers one block of objectives may hold.
        wanted: `[U]` which neurons to bound (all that are undecided, when None).
        tick: called between blocks; whoever has run out of time raises there.
    """
    xp, quick = F.place.xp, F.to(fast)
    lower, upper, hull = F.lower * 1, F.upper * 1, first_hull(F)
    for part, k in F.stages:
        if k == 0:
            continue
        open_ = F.open(lower, upper)[part]
        at = part.start + xp.flatnonzero(open_ if wanted is None else open_ & wanted[part])
        here = replace(F, lower=lower, upper=upper).prefix(k)
        there = quick.prefix(k)
        step = max(16, block // (2 * (len(here) + len(here.z) + len(F.varying))))
        for i in range(0, len(at), step):
            tick()
            some = at[i : i + step]
            bound, walk = _bound(here, replace(there, **_ends(here, fast)), F, some, rates)
            P = len(some)
            fine = xp.isfinite(bound)
            lower[some] = xp.where(fine[:P], xp.maximum(lower[some], bound[:P]), lower[some])
            upper[some] = xp.where(fine[P:], xp.minimum(upper[some], -bound[P:]), upper[some])
            if bool(fine.all()):
                hull.low[some], hull.low_b[some] = walk.A[:P], walk.b[:P]
                hull.up[some], hull.up_b[some] = -walk.A[P:], -walk.b[P:]
    return lower, upper, hull


def work(F: Folded, steps: int) -> float:
    """Multiply-adds of `tighten` for all neurons."""
    k, total = len(F.varying), 0.0
    for part, stop in F.stages:
        some = F.prefix(stop)
        U, N = len(some), len(some.z)
        total += 2.0 * (part.stop - part.start) * N * (k + U / (2 if F.plain else 1)) * (2 * steps + 3)
    return total


def _ends(F: Folded, place: Place) -> dict[str, Array]:
    moved = F.to(place)
    return {"lower": moved.lower, "upper": moved.upper}


def _bound(here: Folded, there: Folded, F: Folded, some: Array, rates: Rates) -> tuple[Array, Walk]:
    """Lower bounds `[2P]` of the neurons `some` of F and of their negatives, over the layers before."""
    xp, U = here.place.xp, len(here)
    z = F.z.take(some)
    rows = Linear(
        xp.concatenate([z.X, -z.X]),
        xp.concatenate([z.H[:, :U], -z.H[:, :U]]),
        xp.concatenate([z.c, -z.c]),
        xp.concatenate([z.error, z.error]),
    )
    place, double, n, stop = there.place, here.place, len(rows), len(here.blocks)
    ids = counting(n, rows.c)[:, None]
    exact, quick = Objective(rows, ids, stop), Objective(rows.to(place), place.array(ids, "int64"), stop)
    m = start(there, region(there), n)
    best = ascend(there, region(there), quick, m, rates).best
    return certain(here, region(here), exact, best.to(double))


def region(F: Folded) -> Region:
    """The whole box: one region that all objectives share."""
    return Region(F.lower[None], F.upper[None], F.lower[None] * 0, F.center[None], F.radius[None])


def start(F: Folded, r: Region, n: int, K: int = 1) -> Multipliers:
    """Where climbing begins for n objectives of K rows: CROWN's slopes, no multipliers, equal weights."""
    xp, second = F.place.xp, None
    if F.plain:
        alpha = xp.where(r.upper > -r.lower, r.lower * 0 + 1, F.leak[None])
    else:
        alpha, second = general.start(F, r)
        second = xp.broadcast_to(second, (n, len(F))) * 1
    alpha = xp.broadcast_to(alpha, (n, len(F))) * 1
    weight = xp.broadcast_to(r.center.sum() * 0 + 1, (n, K)) / K
    beta = xp.broadcast_to(r.lower * 0, (n, len(F.z))) * 1
    return Multipliers(alpha, beta, weight, None, second)
