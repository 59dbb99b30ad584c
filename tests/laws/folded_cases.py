"""Laws of folded networks whose units are not all rectifiers: what `test_fold` and `test_dual` say of rectifiers."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from verifier.bounds import general
from verifier.bounds.ascend import Rates, ascend
from verifier.bounds.certain import certain
from verifier.bounds.dual import Multipliers, Objective, Region, back, forward, slopes
from verifier.bounds.fold import Folded
from verifier.bounds.intermediate import region, start, tighten
from verifier.graph.graph import Graph
from verifier.search.branching.general import renewed, widest
from verifier.search.domains import roots
from verifier.search.neurons import tree
from verifier.search.neurons.splits import Splits, children
from verifier.search.query import make_query
from verifier.spec.builders import output_property
from verifier.values.arrays import Place, to_numpy

Rng = np.random.Generator


@dataclass(frozen=True)
class Case:
    graph: Graph
    F: Folded
    x: np.ndarray
    z: np.ndarray
    h: np.ndarray
    rows: np.ndarray


def case(rng: Rng, graph: Graph, lower: np.ndarray, upper: np.ndarray, place: Place, points: int = 400) -> Case:
    """A folded network, and what its values, units and rows truly are at sampled points of the box."""
    A = rng.normal(size=(3, graph.nodes[graph.outputs[0]].size))
    prop = output_property(lower, upper, [[(a, -10.0)] for a in A], "law")
    query = make_query(graph, prop, place)
    d = roots(query).take(np.array([0]))
    found = tree.root(query, d)
    F = tree.plant(query, d, replace(found, alive=np.ones(3, bool))).exact
    x = rng.uniform(lower, upper, (points, len(lower)))
    x[:20] = np.where(rng.random((20, len(lower))) < 0.5, lower, upper)
    values = graph.values(x.reshape(len(x), *graph.nodes[graph.inputs[0]].shape))
    entries = zip(F.source, F.entry, strict=True)
    z = np.array([values[j].reshape(len(x), -1)[:, e] for j, e in entries]).reshape(len(F.source), len(x)).T
    h = np.zeros((len(x), len(F)))
    for layer in F.layers:
        h[:, layer.units] = to_numpy(layer.real(layer.gather(place.array(z))))
    return Case(graph, F, x[:, F.varying], z, h, values[graph.outputs[0]].reshape(len(x), -1) @ prop.A_y.T - prop.d)


def plain(F: Folded) -> bool:
    return F.plain or not len(F)


def is_the_network(c: Case) -> None:
    for f, truth in ((c.F.z, c.z), (c.F.rows, c.rows)):
        X, H, const, error = (to_numpy(a) for a in (f.X, f.H, f.c, f.error))
        got = c.x @ X.T + c.h @ H.T + const
        assert (abs(got - truth) <= error + 1e-11 * (1 + abs(truth))).all()
        assert (error <= 1e-6 * (1 + abs(truth).max(0))).all(), "an allowance that allows anything"
    assert (c.z >= to_numpy(c.F.lower) - 1e-12).all() and (c.z <= to_numpy(c.F.upper) + 1e-12).all()
    for layer, (_, stop) in zip(c.F.layers, c.F.parts, strict=False):
        assert stop <= len(c.F.layers)
        assert not to_numpy(c.F.z.H)[: layer.last, layer.units].any(), "a unit reads what depends on it"


def choices(F: Folded, r: Region, B: int, rng: np.random.Generator) -> Multipliers:
    """Anything that is admissible: slopes far from good ones, multipliers of both signs where both sides are split."""
    m, array = start(F, r, B), F.place.array
    low, up = (to_numpy(a) for a in general.spans(F, r))
    wild = rng.normal(size=(B, len(F))) * (up - low) + low
    alpha, second = (to_numpy(a) * 1 for a in (m.alpha, m.second))
    for layer in F.layers:
        a, b = layer.admissible
        for old in (alpha, second):
            old[:, layer.units] = np.clip(np.where(rng.random() < 0.5, wild, old)[:, layer.units], a, b)
    sign = to_numpy(r.sign)
    beta = np.abs(rng.normal(size=sign.shape)) * np.where(sign == 2, rng.choice([-1, 1], sign.shape), sign != 0)
    return Multipliers(array(alpha), array(beta * rng.choice([0, 0.1, 3])), m.weight, None, array(second))


def holds_whatever_is_chosen(c: Case, rng: Rng, B: int = 6) -> None:
    """On parts cut at random points of random values, both as computed and rounded down."""
    F = c.F
    if plain(F):
        return
    lower, upper = (np.repeat(to_numpy(a)[None], B, 0) for a in (F.lower, F.upper))
    sign = np.zeros(lower.shape)
    for b in range(1, B):
        for j in rng.integers(0, len(F.z), b):
            p = rng.uniform(lower[b, j], upper[b, j])
            p = 0.0 if lower[b, j] < 0 < upper[b, j] and rng.random() < 0.5 else p  # where gates are decided
            up = rng.random() < 0.5
            (lower if up else upper)[b, j] = p
            sign[b, j] = 2 if sign[b, j] in ((-1, 2) if up else (1, 2)) else (1 if up else -1)
    place = F.place
    r = Region(*(place.array(a) for a in (lower, upper, sign)), F.center[None], F.radius[None])
    o = Objective(F.rows, place.array(np.arange(B)[:, None] % 3), len(F.blocks))
    m = choices(F, r, B, rng)
    bound, walk = certain(F, r, o, m)
    bound, A, b = (to_numpy(a) for a in (bound, walk.A, walk.b))
    for i in range(B):
        inside = ((c.z >= lower[i]) & (c.z <= upper[i])).all(1)
        truth = c.rows[inside, i % 3]
        assert (truth >= bound[i]).all() and (truth >= c.x[inside] @ A[i] + b[i]).all()
    assert np.isfinite(bound).any()


def gradients(c: Case, rng: Rng) -> None:
    """The closed form against differences of the bound; it is concave, so a step up never falls short by more."""
    F, B = c.F, 3
    if plain(F):
        return
    r, o = region(F), Objective(c.F.rows, np.arange(B)[:, None], len(c.F.blocks))
    m = start(F, r, B)
    line = slopes(F, r, m.alpha, m.second)
    walk = back(F, r, line, o, m)
    point = forward(F, r, line, walk, len(F.blocks))
    grads = general.gradients(F, r, line, walk.a, point.z, len(F.blocks))
    low, up = general.spans(F, r)
    checked = 0
    for name, g in zip(("alpha", "second"), grads, strict=True):
        for u in rng.permutation(len(F))[:12]:
            old = getattr(m, name)
            step = 1e-5 * (float(up[0, u] - low[0, u]) + 1e-9)
            values = []
            for side in (1, -1):
                new = old * 1
                new[:, u] += side * step
                moved = replace(m, **{name: new})
                values.append(back(F, r, slopes(F, r, moved.alpha, moved.second), o, moved).bound)
            right, left = (values[0] - walk.bound) / step, (walk.bound - values[1]) / step
            slack = 1e-3 * (abs(g[:, u]) + abs(right) + abs(left)) + 1e-9 * abs(walk.bound) / step
            kink = right < left - slack
            assert (kink | (abs(g[:, u] - 0.5 * (left + right)) <= slack + abs(left - right))).all()
            checked += int((~kink).sum())
    assert checked > min(10, 3 * len(F))


def climbs(c: Case) -> None:
    """Climbing climbs, and tighter bounds hold."""
    F = c.F
    if plain(F):
        return
    r, o = region(F), Objective(F.rows, np.arange(3)[:, None], len(F.blocks))
    first = ascend(F, r, o, start(F, r, 3), Rates(0))
    up = ascend(F, r, o, start(F, r, 3), Rates(15, alpha=0.5))
    assert (up.bound >= first.bound).all()
    again = back(F, r, slopes(F, r, up.best.alpha, up.best.second), o, up.best).bound
    assert np.allclose(again, up.bound, rtol=1e-9, atol=1e-9)
    lower, upper, hull = tighten(F, Place("numpy", "float32"), Rates(4, alpha=0.5), 1000)
    assert (lower >= F.lower).all() and (upper <= F.upper).all()
    assert (c.z >= lower - 1e-12).all() and (c.z <= upper + 1e-12).all()
    assert (c.x @ hull.low.T + hull.low_b <= c.z + 1e-9).all() and (c.x @ hull.up.T + hull.up_b >= c.z - 1e-9).all()


def splits_cover(c: Case) -> None:
    """Splits cover their part, and choose what is open."""
    F = c.F
    if plain(F):
        return
    m, D = start(F, region(F), 2), 2
    wide = [np.repeat(a[None], D, 0) for a in (F.lower, F.upper)]
    one = np.ones(D)
    chosen = (m.alpha, m.beta, m.weight)
    s = Splits(*wide, wide[0] * 0, *chosen, np.arange(D), -one, np.zeros(D, int), one, m.second, one * 0)
    for _ in range(4):
        r = Region(s.lower, s.upper, s.sign, F.center[None], F.radius[None])
        o = Objective(F.rows, s.goal[:, None], len(F.blocks))
        line = slopes(F, r, s.alpha, s.second)
        pick, point = widest(F, r, line, back(F, r, line, o, s.multipliers()))
        each = np.arange(len(s))
        if (pick < 0).any():
            return
        assert ((s.lower[each, pick] < point) & (point < s.upper[each, pick])).all()
        halves = renewed(F, children(replace(s, pick=pick, point=point)))
        top, bottom = halves.take(each), halves.take(each + len(s))
        inside = ((c.z[:, None] >= s.lower) & (c.z[:, None] <= s.upper)).all(2)
        in_halves = [((c.z[:, None] >= h.lower) & (c.z[:, None] <= h.upper)).all(2) for h in (top, bottom)]
        assert (inside == (in_halves[0] | in_halves[1])).all(), "a point was lost"
        assert np.allclose(halves.share, 0.5 * np.r_[s.share, s.share])
        s = halves
    assert set(np.unique(s.sign)) <= {-1, 0, 1, 2}
