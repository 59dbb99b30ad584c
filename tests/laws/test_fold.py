"""Laws of folding: the small network is the network it was folded from, at every point of the box, rounding included.

Each folded function is evaluated with the true values of the activations, in extended precision or in rational
arithmetic; what is then left between it and the graph is what `error` claims to cover.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from verifier.bounds.ascend import Rates
from verifier.bounds.certain import certain
from verifier.bounds.dual import Multipliers, Objective, Region, back, slopes
from verifier.bounds.fold import Folded, Linear
from verifier.bounds.folding import undecided
from verifier.bounds.intermediate import region, start, tighten
from verifier.graph.graph import Graph
from verifier.graph.ops.affine import Dense, Scale
from verifier.graph.ops.relu import Relu
from verifier.search.branching.relaxed import halves
from verifier.search.clipping.planes import clipper
from verifier.values.arrays import Array, Place, to_numpy

from . import cases, neuron_cases
from .cases import BOXES, GRAPHS, HOST, fractions, ready, stack
from .neuron_cases import DOUBLE, FINE, MAKE, L, Setting, act, given, magnitudes, setting

FAST, B = [Place("numpy", "float32"), Place("torch", "float32"), HOST], 6
STACKS = ["chain", "leaky", "mirrored", "cancelling", "shifted", "deep", "vanishing", "faint"]
"""Graphs that `exact_values` can evaluate."""


def values(f: Linear, varying: np.ndarray, x: np.ndarray, h: np.ndarray) -> np.ndarray:
    """`[P, len(f)]` in the arithmetic of `h`."""
    convert = fractions if h.dtype == object else lambda a: a.astype(np.longdouble)
    X, H, c = (convert(to_numpy(a)) for a in (f.X, f.H, f.c))
    total = convert(x[:, varying]) @ X.T + c[None] + (h @ H.T if H.shape[1] else 0)
    return np.asarray(total)


def check(s: Setting, F: Folded, x: np.ndarray, exact: bool = False) -> None:
    """Every function is what it stands for, up to its error; a network without rows is a prefix."""
    z, rows, size = replace(s, F=F).truth(x, exact)
    h = act(F, z)
    fine = 0 if exact else 4 * FINE
    for f, value, magnitude in ((F.z, z, magnitudes(s, F)), (F.rows, rows[:, : len(F.rows)], size[: len(F.rows)])):
        error = to_numpy(f.error)
        allowed = fractions(error) if exact else error + fine * magnitude
        assert np.isfinite(error).all()
        assert (abs(values(f, F.varying, x, h) - value) <= allowed[None]).all(), "a function is not what it stands for"
    lower, upper = (to_numpy(a) for a in (F.lower, F.upper))
    slack = 0 if exact else fine * magnitudes(s, F)
    if exact:
        lower, upper = fractions(lower), fractions(upper)
    assert (lower - slack <= z).all() and (z <= upper + slack).all(), "bounds of z"
    shape(F)


def shape(F: Folded) -> None:
    """Blocks follow one another and cover the neurons; a layer depends on earlier ones only; all are undecided."""
    ends = [0, *(b.stop for b in F.blocks)]
    assert [b.start for b in F.blocks] == ends[:-1] and ends[-1] == len(F) == len(F.z) == len(F.entry)
    for b in F.blocks:
        assert b.start < b.stop and not to_numpy(F.z.H[b, b.start :]).any()
        assert len(set(zip(F.source[b], F.entry[b], strict=True))) == b.stop - b.start
        assert len(set(F.source[b])) == 1
    assert tuple(F.z.X.shape) == (len(F), len(F.varying)) and tuple(F.rows.H.shape) == (len(F.rows), len(F))
    assert bool((F.lower < 0).all()) and bool((F.upper > 0).all())


def inside(s: Setting, x: np.ndarray, share: float, rng: np.random.Generator) -> tuple[Setting, np.ndarray]:
    """The same on a part of the box, with bounds that hold there, and the points moved into it."""
    lower = np.minimum(s.lower + (s.upper - s.lower) * rng.random(len(s.lower)) * (1 - share), s.upper)
    upper = np.clip(lower + (s.upper - s.lower) * share, lower, s.upper)
    bounds = ready(s.graph, s.r.net.place, lower[None], upper[None]).walk({})
    part = replace(s, bounds=bounds, lower=lower, upper=upper)
    return part, np.clip(lower + (x - s.lower) * share, lower, upper)


def ends(s: Setting) -> tuple[Array, Array]:
    """Bounds of nodes as bounds of the folded network's neurons, no looser than its own."""
    xp, F, pair = s.F.place.xp, s.F, []
    for side in (0, 1):
        of = {j: to_numpy(s.bounds.interval[j][side]).reshape(-1) for j in set(F.source)}
        pair.append(F.place.array(np.array([of[j][e] for j, e in zip(F.source, F.entry, strict=True)], float)))
    return xp.maximum(F.lower, pair[0]), xp.minimum(F.upper, pair[1])


@pytest.mark.parametrize("kind", BOXES)
@pytest.mark.parametrize("name", GRAPHS)
@pytest.mark.parametrize("place", DOUBLE, ids=cases.place_id)
def test_folded_is_the_graph(place: Place, name: str, kind: str) -> None:
    """As folded, with what better bounds decide settled, and with its first layers only."""
    graph, lower, upper, x = given(name, kind, 0)
    s = setting(graph, place, lower, upper)
    check(s, s.F, x)
    assert len(s.F) == undecided(s.r.net, s.bounds.interval)[0]
    assert np.array_equal(s.F.varying, np.flatnonzero(lower < upper))
    better = tighten(s.F, Place(place.kind, "float32"), Rates(2), 300)[:2]
    check(s, s.F.settle(*better), x)
    for k in range(len(s.F.blocks) + 1):
        some = s.F.prefix(k)
        assert len(some) == sum(b.stop - b.start for b in s.F.blocks[:k]) and len(some.rows) == 0
        check(s, some, x)


@pytest.mark.parametrize("kind", ["plain", "sides", "huge"])
@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("place", DOUBLE, ids=cases.place_id)
def test_settled_on_a_part(place: Place, name: str, kind: str) -> None:
    """Everything undecided, then settled with bounds of a part of the box, twice: there, it is still the graph."""
    rng = np.random.default_rng(1)
    graph, lower, upper, x = given(name, kind, 1)
    s = setting(graph, place, lower, upper, opened="wide")
    assert len(s.F) == sum(n.size for n in graph.nodes if isinstance(n.op, Relu))
    check(s, s.F, x)
    for share in (0.3, 1e-3):
        s, x = inside(s, x, share, rng)
        before, F = len(s.F), s.F.settle(*ends(s))
        s = replace(s, F=F)
        assert len(F) < before or before == 0, "nothing was settled"
        check(s, F, x)
        check(s, F.prefix(len(F.blocks) // 2), x)


@pytest.mark.parametrize("name", GRAPHS)
def test_everything_decided(name: str) -> None:
    """On a point there is no input left, and no neuron but those that are zero there: the rows are constants."""
    graph, lower, _, _ = given(name, "point", 2)
    s = setting(graph, HOST, lower, lower)
    zeros = name in ("pooled", "sources")  # some neurons are zero on the point, up to rounding
    assert len(s.F.varying) == 0 and (zeros or (len(s.F) == 0 and s.F.blocks == ()))
    assert (s.F.upper - s.F.lower <= 1e-12 * magnitudes(s, s.F) + 1e-300).all()
    _, rows, size = s.truth(lower[None])
    assert (abs(s.F.rows.c - rows[0]) <= s.F.rows.error + (FINE + (len(s.F) > 0) * 1e-12) * size).all()
    assert (s.F.rows.error <= 1e-10 * size).all(), "an error that allows everything says nothing"


@pytest.mark.parametrize("kind", ["plain", "sides", "far"])
@pytest.mark.parametrize("name", STACKS)
def test_error_covers_exactly(name: str, kind: str) -> None:
    """The deviation in rational arithmetic is within `error`: folded, opened, settled."""
    for seed in range(3, 6):
        graph, lower, upper, x = given(name, kind, seed)
        x = x[[0, 1, -1]]
        for opened in ("", "wide", "later"):
            s = setting(graph, HOST, lower, upper, opened=opened)
            check(s, s.F, x, exact=True)
            part, y = inside(s, x, 0.1, np.random.default_rng(seed))
            check(s, s.F.settle(*ends(part)), y, exact=True)


def test_errors_are_not_idle() -> None:
    """Without them the law above fails, and they are not far larger than what rounding can do."""
    worst = 0.0
    for name in ("chain", "cancelling", "shifted"):
        graph, lower, upper, x = given(name, "plain", 3)
        s = setting(graph, HOST, lower, upper, opened="wide")
        for F in (s.F, s.F.settle(*ends(s))):
            z, rows, _ = replace(s, F=F).truth(x[:3], exact=True)
            away = abs(values(F.rows, F.varying, x[:3], act(F, z)) - rows).max(0)
            assert (away > 0).any()
            worst = max(worst, float((away / fractions(F.rows.error)).max()))
    assert 1e-4 < worst <= 1


# ---- what stands around the functions ----


def test_the_box_is_enclosed() -> None:
    """`center ± radius` contains the box in exact arithmetic, whatever its sides."""
    rng, n = np.random.default_rng(4), 400
    graph = stack([Dense(np.ones((1, n)), np.zeros(1)), Dense(np.ones((1, 1)), None)])
    for lower in (rng.normal(size=n), rng.normal(size=n) * 10.0 ** rng.integers(-12, 12, n)):
        for upper in (lower + rng.random(n), lower + abs(lower) * 2.0**-50 * rng.integers(0, 5, n)):
            F = setting(graph, HOST, lower, upper).F
            center, radius = fractions(F.center), fractions(F.radius)
            assert np.array_equal(F.varying, np.flatnonzero(lower < upper))
            assert (center - radius <= fractions(lower[F.varying])).all()
            assert (center + radius >= fractions(upper[F.varying])).all()
            assert (F.radius <= (upper - lower)[F.varying] * 0.5001 + abs(F.center) * 1e-15).all()


@pytest.mark.parametrize("place", DOUBLE, ids=cases.place_id)
def test_reach_is_reached(place: Place) -> None:
    """No input, neuron or activation of the box is larger than `reach` says, also where the activation flips signs."""
    for name in ("mirrored", "leaky", "sources", "steep"):
        graph, lower, upper, x = given(name, "plain", 5) if name != "steep" else steep()
        s = setting(graph, place, lower, upper)
        z, _, _ = s.truth(x)
        for size, value in zip(s.F.reach, (x[:, s.F.varying], z, act(s.F, z)), strict=True):
            assert (abs(value) <= to_numpy(size) * (1 + 1e-15)).all()


def steep() -> tuple[Graph, np.ndarray, np.ndarray, np.ndarray]:
    """A leak below −1: activations are larger than what goes in."""
    rng = np.random.default_rng(6)
    return cases.chain(rng, (2, 5, 4, 2), leak=-3.0), -np.ones(2), np.ones(2), rng.uniform(-1, 1, (30, 2))


@pytest.mark.parametrize("place", [Place("numpy", "float32"), Place("torch", "float32")], ids=cases.place_id)
def test_moving_rounds_outward(place: Place) -> None:
    """Bounds of neurons still hold after a move to single precision; what is small there stays undecided."""
    graph, lower, upper, _ = given("residual", "plain", 7)
    s = setting(graph, Place(place.kind, "float64"), lower, upper)
    Q = s.F.to(place)
    low, high = (to_numpy(a).astype(float) for a in (Q.lower, Q.upper))
    assert (low <= to_numpy(s.F.lower)).all() and (to_numpy(s.F.upper) <= high).all()
    for a, b in ((Q.z.X, s.F.z.X), (Q.rows.H, s.F.rows.H), (Q.lower, s.F.lower), (Q.upper, s.F.upper)):
        np.testing.assert_allclose(to_numpy(a), to_numpy(b), rtol=3e-7, atol=1e-30)
    assert str(Q.z.X.dtype).endswith("float32") and Q.place == place


# ---- planes of the neurons, cut by a half-space ----


@pytest.mark.parametrize("name", [*neuron_cases.NAMES, "cancelling", "shifted", "subnormal"])
@pytest.mark.parametrize("place", FAST, ids=cases.place_id)
def test_clipping_keeps_what_is_of_interest(place: Place, name: str) -> None:
    """Bounds of neurons where a half-space holds contain them there; they are not looser than without it."""
    gained = 0.0
    for seed in range(0, 12 if name == "subnormal" else 2):
        s, x, rng = neuron_cases.opened(name, seed, Place(place.kind, "float64"))
        z, F, k = s.truth(x)[0], s.F, len(s.F.varying)
        Q, hull = F.to(place), tighten(F, place, Rates(1), 1000)[2].to(F, place)
        A = rng.normal(size=(B, k)) * 10.0 ** rng.integers(-3, 4, (B, 1)) * (rng.random((B, k)) < 0.8)
        value = x[:, F.varying] @ A.T
        b = -np.quantile(value, rng.choice([0.02, 0.3, 0.9], B), 0).diagonal()
        at = np.stack([rng.permutation(len(F)) for _ in range(B)])
        clip, most = clipper(F, Q, hull), F.place.array(np.full(B, -1e300))
        moved = F.place.array(A), F.place.array(b), F.place.array(at)
        low, up = (to_numpy(a).astype(float) for a in clip(*moved))
        free = [to_numpy(a).astype(float) for a in clip(moved[0], most, moved[2])]  # a half-space that is everything
        held = x[:, F.varying].astype(np.longdouble) @ A.T + b <= 0
        slack = 4 * FINE * magnitudes(s, F)
        for i in range(B):
            inside, own = z[held[:, i]][:, at[i]], slack[at[i]]
            assert (low[i] - own <= inside).all() and (inside <= up[i] + own).all(), "a neuron beyond its bounds"
        wide = 1e-5 * (free[1] - free[0])
        assert (low >= free[0] - wide).all() and (up <= free[1] + wide).all()
        gained += ((low - free[0]) + (free[1] - up)).sum()
    assert gained > 0 or name == "subnormal"


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", neuron_cases.NAMES)
def test_halves_are_bounded(name: str, seed: int) -> None:
    """Bounds of halves through planes, for every neuron: what the changed line does to the part's own plane.

    They are below that plane, moved by the neuron's input times the change of its slope, at every point (so they hold
    in the half); where the neuron is a function of the input, they are those that a walk finds.
    """
    s, F, r, o, _, rng = neuron_cases.both(name, seed, HOST, 2)
    x = cases.points(rng, s.lower[None], s.upper[None], 400)[0]
    m = replace(neuron_cases.some_multipliers(rng, F, 2, 0, 0.1), mu=None)
    line, hull, (z, _, _) = slopes(F, r, m.alpha), tighten(F, FAST[0], Rates(1), 1000)[2], s.truth(x)
    w, at = back(F, r, line, o, m), np.repeat(np.arange(len(F))[None], B, 0)
    bound = halves(F, hull, r, line, w, at)
    plane = w.A @ x[:, F.varying].astype(np.longdouble).T + w.b[:, None]
    taken, offset = np.where(w.a > 0, line.lower, line.upper), np.minimum(w.a, 0) * line.offset
    for i, k, side in np.ndindex(bound.shape):
        if not line.open[i, k]:
            continue
        scale = 1e-9 * (1 + abs(bound[i, k, side]))
        slope = 1.0 if side == 0 else F.leak[k]
        moved = plane[i] - offset[i, k] + w.a[i, k] * (slope - taken[i, k]) * z[:, k]
        assert (bound[i, k, side] <= moved + scale).all()
        if k < F.blocks[0].stop:
            lower, upper = r.lower.copy(), r.upper.copy()
            (lower if side == 0 else upper)[i, k] = 0
            half = replace(r, lower=lower, upper=upper)
            assert abs(bound[i, k, side] - back(F, half, slopes(F, half, m.alpha), o, m).bound[i]) <= scale


# ---- bounds that account for rounding ----


def leaf(F: Folded, z: np.ndarray, B: int) -> Region:
    """B times the part of the box where every neuron has the sign that it has at z `[U]`."""
    sign = np.where(z >= 0, 1.0, -1.0)
    lower, upper = np.where(sign > 0, 0.0, to_numpy(F.lower)), np.where(sign < 0, 0.0, to_numpy(F.upper))
    return Region(*(np.repeat(a[None], B, 0) for a in (lower, upper, sign)), F.center[None], F.radius[None])


@pytest.mark.parametrize("name", STACKS)
def test_certain_at_a_point(name: str) -> None:
    """On a box of a few neighbouring numbers, with every neuron split, a bound is off by rounding alone.

    This is where a bound that forgets its rounding is above the value at some point, in rational arithmetic.
    """
    rng, tight = np.random.default_rng(8), []
    for seed in range(6):
        graph, lower, _, _ = given(name, "point", 10 + seed)
        upper = np.nextafter(lower, np.inf)
        s = setting(graph, HOST, lower, upper, seed, opened="barely" if seed % 2 else "wide")
        x = np.where(rng.random((4, len(lower))) < 0.5, lower, upper)
        z, rows, _ = s.truth(x, exact=True)
        if (np.sign(z) != np.sign(z[:1])).any():  # a kink between neighbours
            continue
        F, K = s.F, L // 2
        o = Objective(F.rows, np.array([[0, 1], [1, 2], [3, 3], [2, 0], [0, 3]]), len(F.blocks))
        B = len(o.ids)
        weight = rng.dirichlet(np.ones(K), B)
        weight[:2] = [1, 0]
        beta = rng.random((B, len(F))) * (rng.random((B, 1)) < 0.3) * 1e-18
        m = Multipliers(rng.random((B, len(F))), beta, weight)
        bound, walk = certain(F, leaf(F, z[0].astype(float), B), o, m)
        value = np.einsum("bk,pbk->pb", fractions(weight), rows[:, o.ids])
        assert (fractions(bound)[None] <= value).all(), "a bound above a value"
        plane = fractions(x[:, F.varying]) @ fractions(walk.A).T + fractions(walk.b)
        assert (plane <= value).all(), "a plane above a value"
        reach = F.reach[0], F.reach[2]
        scale = (F.rows.magnitude(*reach)[o.ids] * weight).sum(1) + (abs(walk.y) + 2 * beta) @ F.z.magnitude(*reach)
        tight.append(((value[0] - fractions(bound)).astype(float) / scale).max())
    assert tight and max(tight) < 1e-12, "a bound that allows too much says nothing"


@pytest.mark.parametrize("kind", ["plain", "tiny", "far"])
@pytest.mark.parametrize("name", STACKS)
def test_certain_below_exact_values(name: str, kind: str) -> None:
    """On whole boxes, too, with any slopes, against rational arithmetic."""
    rng = np.random.default_rng(9)
    graph, lower, upper, x = given(name, kind, 9)
    x = x[[0, 1, 4, 15, -1, -2]]
    for opened in ("", "wide", "barely"):
        s = setting(graph, HOST, lower, upper, opened=opened)
        F, o = s.F, Objective(s.F.rows, np.array([[0, 1], [1, 2], [3, 3], [2, 0]]), len(s.F.blocks))
        weight, leak = rng.dirichlet(np.ones(2), 4), F.leak[None]
        alpha = np.array([0.0, 1.0, 0.3])[:, None] * (1 - leak) + leak
        alpha = np.concatenate([alpha, start(F, region(F), 1).alpha])
        _, rows, _ = s.truth(x, exact=True)
        value = np.einsum("bk,pbk->pb", fractions(weight), rows[:, o.ids])
        bound, walk = certain(F, region(F), o, Multipliers(alpha, alpha * 0, weight))
        assert (fractions(bound)[None] <= value).all(), "a bound above a value"
        plane = fractions(x[:, F.varying]) @ fractions(walk.A).T + fractions(walk.b)
        assert (plane <= value).all(), "a plane above a value"


LEAKS = [0.01, 0.1, 0.3, 0.7, -0.3]


@pytest.mark.parametrize("leak", LEAKS)
@pytest.mark.parametrize("fast", [HOST, Place("numpy", "float32")], ids=cases.place_id)
def test_slopes_found_in_single_precision(fast: Place, leak: float) -> None:
    """A leak is rarely a number of single precision: a slope that was rounded there may leave its range.

    One neuron, least at the lower end, where the lower line touches: there is no slack that could hide it.
    """
    graph = stack([Dense(np.array([[1.0]]), np.zeros(1)), Dense(np.array([[1.0]]), np.zeros(1))], leak)
    lower, upper = np.array([-4.0]), np.array([1.0])
    if leak < 0:  # least where the lower line of a falling piece ends: at the kink, or with slope `leak` at the top
        upper = np.array([6.0])
    s = setting(graph, HOST, lower, upper)
    one = replace(s.F, rows=Linear(s.F.rows.X[:1] * 0, s.F.rows.H[:1] * 0 + 1, s.F.rows.c[:1] * 0, s.F.rows.error[:1]))
    Q, o = one.to(fast), Objective(one.rows, np.zeros((1, 1), int), 1)
    for slope in (start(Q, region(Q), 1).alpha, Q.leak[None] * 1, Q.leak[None] * 0 + 1):
        m = Multipliers(slope.astype(float), np.zeros((1, 1)), np.ones((1, 1)))
        _, walk = certain(one, region(one), o, m)
        for x in (-4.0, -1.0, 0.0, 0.5, 1.0):
            value = Fraction(x) if x >= 0 else Fraction(x) * Fraction(leak)
            assert Fraction(float(walk.A[0, 0])) * Fraction(x) + Fraction(float(walk.b[0])) <= value


def test_nothing_varies_but_neurons_are_open() -> None:
    """Rows that do not depend on the input, and networks whose neurons do not: folding has no empty corner cases."""
    b = cases.Builder()
    source = b.add(cases.Input((2,)))
    z = b.add(Dense(np.zeros((3, 2)), np.array([1.0, -1.0, 0.0])), [source])
    graph = b.graph([source], [b.add(Scale(np.array(2.0), None), [b.add(Relu(), [z])])])
    for opened in ("", "wide"):
        s = setting(graph, HOST, -np.ones(2), np.ones(2), opened=opened)
        check(s, s.F, np.array([[0.5, -1.0], [1.0, 1.0]]))
        bound, _ = certain(
            s.F, region(s.F), Objective(s.F.rows, np.arange(L)[:, None], len(s.F.blocks)), start(s.F, region(s.F), L)
        )
        _, rows, _ = s.truth(np.random.default_rng(0).uniform(-1, 1, (50, 2)))
        assert (bound <= rows.min(0) + 1e-18).all()
