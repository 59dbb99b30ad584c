"""Bounds made anew on regions hold at every point of them, and are no looser than what came in."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from math import inf
from typing import Any

import numpy as np
import pytest

from tests.laws.cases import GRAPHS, chain, wide_values
from tests.laws.general_nets import network
from verifier.bounds.lagrange import Region
from verifier.bounds.plan import Plan
from verifier.bounds.renew import Known, _State, renew, renew_common
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.product import Share
from verifier.graph.ops.relu import Relu
from verifier.relax.lines import Lines
from verifier.relax.share import Planes
from verifier.sensitivity.problem import Problem, pose
from verifier.values.ball import Ball
from verifier.values.box import Box
from verifier.values.rounding import gamma

Rng = np.random.Generator


def of(rng: Rng, *ops: Any) -> Graph:
    """A network of two inputs, layers of four between what is given, two outputs."""
    b = Builder()
    source = at = b.add(Input((2,)))
    for op in ops:
        at = b.add(Dense(rng.normal(size=(4, b.nodes[at].size)), 0.3 * rng.normal(size=4)), [at])
        at = b.add(op, [at])
    return b.graph([source], [b.add(Dense(rng.normal(size=(2, 4)), None), [at])])


NETS: dict[str, Any] = {
    "relu": lambda rng: chain(rng, (3, 6, 5, 2)),
    "leaky": lambda rng: chain(rng, (2, 5, 4, 2), leak=0.1),
    "mirrored": lambda rng: chain(rng, (2, 5, 4, 2), leak=-0.5),
    "residual": GRAPHS["residual"],
    "conv": GRAPHS["conv"],
    "tanh": lambda rng: of(rng, Curve("tanh"), Curve("sigmoid")),
    "gelu": lambda rng: of(rng, Curve("gelu"), Relu(0.0)),
    "softmax": lambda rng: of(rng, Curve("tanh"), Share()),
    "any 0": lambda rng: network(rng, jumps=False)[0],
    "any 1": lambda rng: network(np.random.default_rng(11), jumps=False)[0],
    "any 2": lambda rng: network(np.random.default_rng(12), jumps=False)[0],
}
SETS = ("box", "point", "flat", "ball 1", "ball 2")


def the_set(rng: Rng, n: int, kind: str) -> tuple[Box, Ball | None]:
    center = 0.4 * rng.normal(size=n)
    if kind.startswith("ball"):
        ball = Ball(center, 0.6, int(kind[-1]))
        return ball.box(), ball
    radius = {"box": 0.5, "point": 0.0, "flat": 0.5}[kind] * rng.uniform(0.5, 1.0, n)
    if kind == "flat":
        radius[0] = 0.0
    return Box(center - radius, center + radius), None


def sampled(rng: Rng, P: Problem, count: int) -> np.ndarray:
    """Points of the set, its corners among them."""
    n = len(P.low)
    if P.ball is None:
        u = rng.random((count, n))
        u[::4] = np.rint(u[::4])
        return P.low + (P.high - P.low) * u
    d = rng.normal(size=(count, n)) * (rng.random((count, n)) < 0.6)
    size = np.linalg.norm(d, P.ball.norm, axis=1, keepdims=True)
    return P.ball.center + P.ball.eps * (1 - 1e-9) * d / np.maximum(size, 1e-9) * rng.random((count, 1)) ** 0.2


class Setting:
    """A derivative folded on a set, and what its rows and objectives are at sampled points and seeds."""

    def __init__(self, name: str, kind: str, dual: float) -> None:
        self.rng = rng = np.random.default_rng([len(name), SETS.index(kind), int(dual == 1)])
        graph = NETS[name](rng)
        n, m = (graph.nodes[i[0]].size for i in (graph.inputs, graph.outputs))
        box, ball = the_set(rng, n, kind)
        self.P = P = pose(graph, box, rng.normal(size=(2, m)), dual, ball)
        F = P.F
        x = sampled(rng, P, 300)
        seed = P.seeds[0] + rng.integers(0, 3, (300, 1)) / 2 * (P.seeds[1] - P.seeds[0])
        ends = ((P.low, P.seeds.min(0)), (P.high, P.seeds.max(0)))
        low, high = (np.concatenate(pair) for pair in ends)
        joint = np.clip(np.concatenate([x, seed], 1), low, high)
        with np.errstate(all="ignore"):
            values = P.graph.values(joint)
        each = [values[j].reshape(len(x), -1)[:, e] for j, e in zip(F.source, F.entry, strict=True)]
        self.z = np.array(each).reshape(len(F.z), len(x)).T
        y = values[P.graph.outputs[0]].reshape(len(x), -1)
        self.rows = np.concatenate([-y, y], 1) if dual == inf else -y
        self.x = joint[:, F.varying]
        self.low, self.high = low[F.varying], high[F.varying]

    def parts(self, count: int) -> tuple[Region, np.ndarray]:
        """Sub-boxes about samples, cut at zero of some rows where these samples are; who of the samples is in them."""
        rng, P, F = self.rng, self.P, self.P.F
        about = self.x[:count]
        width = (self.high - self.low) * rng.choice([0.0, 0.1, 0.4, 1.0], (count, 1))
        low, high = np.maximum(about - width, self.low), np.minimum(about + width, self.high)
        low[0], high[0] = self.low, self.high
        open_ = P.kinks & (F.lower < 0) & (F.upper > 0) & (abs(self.z[:count]) > 1e-9)
        sign = np.where(open_ & (rng.random(open_.shape) < 0.3), np.sign(self.z[:count]), 0).astype(np.int8)
        lower = np.where(sign > 0, np.maximum(F.lower, 0.0), F.lower)
        upper = np.where(sign < 0, np.minimum(F.upper, 0.0), F.upper)
        within = ((self.x[None] >= low[:, None]) & (self.x[None] <= high[:, None])).all(2)
        signs = ((sign[:, None] == 0) | (sign[:, None] * self.z[None] >= 0)).all(2)
        center = 0.5 * low + 0.5 * high
        radius = np.maximum(high - center, center - low) * (1 + 1e-15)
        return Region(lower, upper, sign, center, radius), within & signs

    def planes(self, plan: Plan, known: Known, p: int) -> np.ndarray:
        """`[B, P, 2M]`: what a part's planes are at the samples."""
        A, b = known.planes[p]
        x = self.x if plan.columns[p] is None else self.x[:, plan.columns[p]]
        return np.einsum("brk,pk->bpr", A, x) + b[:, None]


@cache
def setting(name: str, kind: str, dual: float) -> Setting:
    return Setting(name, kind, dual)


def every(plan: Plan, count: int) -> np.ndarray:
    return np.tile(np.arange(len(plan.F.rows)), (count, 1))


cases = pytest.mark.parametrize(
    ("name", "kind", "dual"),
    [(name, kind, (1.0, 2.0, inf, 1.5)[(i + j) % 4]) for i, name in enumerate(NETS) for j, kind in enumerate(SETS)],
)


@cases
@np.errstate(all="ignore")
def test_holds_at_samples(name: str, kind: str, dual: float) -> None:
    """Rows, planes below them and below their negatives, and objectives; wherever products are bounded."""
    s = setting(name, kind, dual)
    r, member = s.parts(12)
    plan, F = s.P.plan, s.P.F
    tol = 1e-11 * (1 + abs(s.z).max(initial=0.0))
    for between in ((0.5, 0.5), (0.0, 1.0), (1.0, 0.0)):
        known = renew(plan, r, every(plan, 12), between=between)
        assert (known.lower >= r.lower).all() and (known.upper <= r.upper).all(), "looser than what came in"
        assert (np.isfinite(known.value)).all()
        for b in range(12):
            z, rows = s.z[member[b]], s.rows[member[b]]
            assert len(z), "no sample is in the region"
            assert (z >= known.lower[b] - tol).all() and (z <= known.upper[b] + tol).all()
            assert (rows >= known.value[b] - 1e-11 * (1 + abs(rows).max())).all()
        for p, (part, _) in enumerate(F.parts):
            below, z = s.planes(plan, known, p), s.z[:, part]
            truth = np.concatenate([z, -z], 1)
            fine = below <= truth[None] + tol * 10
            assert fine[member].all()


@cases
@np.errstate(all="ignore")
def test_what_is_common_is_bounded_once(name: str, kind: str, dual: float) -> None:
    """For several seeds on one set, bounds are those that each would get alone, up to rounding."""
    P = setting(name, kind, dual).P
    K, m = 5, P.seeds.shape[1]
    seeds = P.seeds.min(0) + (P.seeds.max(0) - P.seeds.min(0)) * np.random.default_rng(0).random((K, m))
    ends = [np.concatenate([np.tile(a, (K, 1)), seeds], 1)[:, P.F.varying] for a in (P.low, P.high)]
    center = 0.5 * ends[0] + 0.5 * ends[1]
    r = Region(*(np.tile(a, (K, 1)) for a in (P.F.lower, P.F.upper, P.F.lower * 0)), center, ends[1] - center)
    parts, layers = P.plan.common
    assert all(not P.kinks[P.F.parts[p][0]].any() for p in range(len(P.F.parts)) if p not in parts) or not layers
    whole = renew(P.plan, r, every(P.plan, K))
    once = renew_common(P.plan, r.take(np.array([2])))
    known = renew(P.plan, r, every(P.plan, K), common=once)
    tol = 1e-9 * (1 + abs(whole.value))
    assert (abs(known.value - whole.value) <= tol).all()
    assert known.lower == pytest.approx(whole.lower, rel=1e-9, abs=1e-9)
    assert known.upper == pytest.approx(whole.upper, rel=1e-9, abs=1e-9)
    assert set(known.planes).isdisjoint(parts) or not layers
    if P.ball is None:  # what folding knew is what walking finds
        as_it_is = renew(P.plan, r, every(P.plan, K), common=renew_common(P.plan, r.take(np.array([0])), walk=False))
        assert (as_it_is.value >= whole.value - tol).all()


@cases
@np.errstate(all="ignore")
def test_decided_regions_are_exact(name: str, kind: str, dual: float) -> None:
    """About one point with every sign known, what is bounded is what is there."""
    s = setting(name, kind, dual)
    r, _ = s.parts(5)
    z, F = s.z[:5], s.P.F
    sign = np.where(s.P.kinks & (abs(z) > 1e-9), np.sign(z), 0).astype(np.int8)
    lower = np.where(sign > 0, np.maximum(F.lower, 0.0), F.lower)
    upper = np.where(sign < 0, np.minimum(F.upper, 0.0), F.upper)
    known = renew(s.P.plan, Region(lower, upper, sign, s.x[:5], s.x[:5] * 0), every(s.P.plan, 5))
    if (sign[:, s.P.kinks] != 0).all():
        assert known.lower == pytest.approx(z, abs=1e-6) and known.upper == pytest.approx(z, abs=1e-6)
        assert known.value == pytest.approx(s.rows[:5], rel=1e-9, abs=1e-5)


@cases
@np.errstate(all="ignore")
def test_some_parts_or_objectives(name: str, kind: str, dual: float) -> None:
    """What is asked for does not change what is found; what is not asked for stays as it was."""
    s = setting(name, kind, dual)
    r, _ = s.parts(6)
    plan, F = s.P.plan, s.P.F
    whole = renew(plan, r, every(plan, 6))
    one = renew(plan, r, np.full((6, 1), len(F.rows) - 1))
    assert one.value[:, 0] == pytest.approx(whole.value[:, -1], rel=1e-9, abs=1e-12)
    alone = renew(plan, r.take(np.array([3])), every(plan, 1))
    assert alone.value[0] == pytest.approx(whole.value[3], rel=1e-6, abs=1e-9)  # rounding is bounded once a batch
    early = tuple(range(len(F.parts)))[: (len(F.parts) + 1) // 2]
    some = renew(plan, r, None, early)
    rest = np.ones(len(F.z), bool)
    for p in early:
        rest[F.parts[p][0]] = False
        part = F.parts[p][0]
        assert some.lower[:, part] == pytest.approx(whole.lower[:, part], rel=1e-9, abs=1e-12)
        assert some.upper[:, part] == pytest.approx(whole.upper[:, part], rel=1e-9, abs=1e-12)
    assert set(some.planes) == set(early) and some.value is None
    assert (some.lower[:, rest] == r.lower[:, rest]).all() and (some.upper[:, rest] == r.upper[:, rest]).all()


@pytest.mark.parametrize("kind", SETS)
@pytest.mark.parametrize("name", ["relu", "leaky", "tanh", "softmax"])
@np.errstate(all="ignore")
def test_again(name: str, kind: str) -> None:
    """From bounds that are known already nothing gets looser, and it is still sound."""
    s = setting(name, kind, 1.0)
    r, member = s.parts(8)
    plan, known = s.P.plan, None
    for _ in range(3):
        known = renew(plan, r, every(plan, 8))
        assert (known.lower >= r.lower).all() and (known.upper <= r.upper).all()
        r = replace(r, lower=known.lower, upper=known.upper)
    assert known is not None
    for b in range(8):
        rows = s.rows[member[b]]
        assert (rows >= known.value[b] - 1e-11 * (1 + abs(rows).max())).all()


@pytest.mark.parametrize("norm", [1, 2])
def test_a_ball_is_less_than_its_box(norm: int) -> None:
    """The same network is bounded more closely on a ball than on the box around it, by what geometry says."""
    b = Builder()
    source = b.add(Input((3,)))
    graph = b.graph([source], [b.add(Curve("square"), [b.add(Dense(np.array([[1.0, 2.0, -2.0]]), None), [source])])])
    ball = Ball([0.1, 0.2, 0.3], 0.5, norm)
    P = pose(graph, ball.box(), np.ones((1, 1)), inf, ball)
    F = P.F
    region = Region(F.lower[None], F.upper[None], np.zeros((1, len(F.z)), np.int8), F.center[None], F.radius[None])
    value = renew(P.plan, region, every(P.plan, 1)).value[0]
    middle, reach = 0.1 + 0.4 - 0.6, 0.5 * (2.0 if norm == 1 else 3.0)
    slopes = 2 * np.array([1.0, 2.0, -2.0])
    ends = np.array([middle - reach, middle + reach])[:, None] * slopes
    exact = np.concatenate([-ends.max(0), ends.min(0)])
    assert (value <= exact + 1e-12).all()
    assert value == pytest.approx(exact, abs=1e-9)


def test_rounding_grows_with_magnitudes() -> None:
    """What large numbers that cancel leave in doubt is taken off."""
    rng = np.random.default_rng(0)
    graph = GRAPHS["cancelling"](rng)
    n = graph.nodes[graph.inputs[0]].size
    P = pose(graph, Box([-0.5] * n, [0.5] * n), np.eye(2)[1:], 1.0)
    F = P.F
    region = Region(F.lower[None], F.upper[None], np.zeros((1, len(F.z)), np.int8), F.center[None], F.radius[None])
    known = renew(P.plan, region, every(P.plan, 1))
    x = rng.uniform(-0.5, 0.5, (200, n))
    exact = P.derivatives(x)[:, 0]
    assert (known.value <= -abs(exact).sum(1).max() + 1e-9).all()


@pytest.mark.parametrize("name", ["relu", "leaky", "residual", "conv", "cancelling", "shifted"])
@np.errstate(all="ignore")
def test_nothing_is_lost_to_rounding(name: str) -> None:
    """At points where every sign is known bounds are as close as rounding lets them be, and hold without allowance."""
    rng = np.random.default_rng(5)
    graph = (NETS | GRAPHS)[name](rng)
    n, m = (graph.nodes[i[0]].size for i in (graph.inputs, graph.outputs))
    P = pose(graph, Box(-0.6 * np.ones(n), 0.5 * np.ones(n)), rng.normal(size=(2, m)), 1.0)
    F, count = P.F, 60
    x = rng.uniform(-0.6, 0.5, (count, n))
    joint = np.concatenate([x, P.seeds[rng.integers(0, 2, count)]], 1)
    values = wide_values(P.graph, joint[None])
    z = np.array([values[j][0][:, e] for j, e in zip(F.source, F.entry, strict=True)]).T
    rows = -values[P.graph.outputs[0]][0]
    sign = np.where(P.kinks & (abs(z) > 1e-9), np.sign(z), 0).astype(np.int8)
    lower = np.where(sign > 0, np.maximum(F.lower, 0.0), F.lower)
    upper = np.where(sign < 0, np.minimum(F.upper, 0.0), F.upper)
    at = joint[:, F.varying]
    for i in range(count):  # one at a time: rounding is bounded once a batch
        r = Region(lower[i : i + 1], upper[i : i + 1], sign[i : i + 1], at[i : i + 1], at[i : i + 1] * 0)
        known = renew(P.plan, r, every(P.plan, 1))
        assert (known.lower[0] <= z[i]).all() and (z[i] <= known.upper[0]).all()
        assert (known.value[0] <= rows[i]).all()
        for p, (part, _) in enumerate(F.parts):
            A, b = known.planes[p]
            here = at[i] if P.plan.columns[p] is None else at[i][P.plan.columns[p]]
            below = A[0].astype(np.longdouble) @ here.astype(np.longdouble) + b[0]
            assert (below <= np.concatenate([z[i, part], -z[i, part]])).all()


@pytest.mark.parametrize("name", ["relu", "mirrored", "residual", "tanh", "softmax", "any 1", "any 2"])
@np.errstate(all="ignore")
def test_what_rounding_is_told_is_what_walking_magnitudes_finds(name: str) -> None:
    """Forwards, layer by layer, the same sums over paths as backwards: of magnitudes, and of what folding rounded."""
    s = setting(name, "box", 1.0)
    rng, F = np.random.default_rng(2), s.P.F
    F = replace(F, **{k: replace(getattr(F, k), error=1e-12 * rng.random(len(getattr(F, k)))) for k in ("z", "rows")})
    plan = replace(s.P.plan, F=F)
    r = s.parts(3)[0].take(np.array([1]))
    state = _State(plan, r, (0.5, 0.5))
    for k in range(len(F.layers)):
        state.relax(k)
    walked = _State(replace(plan, blocks={k: abs(v) for k, v in plan.blocks.items()}), r, (0.5, 0.5))
    for p in (-1, *range(len(F.parts))):
        rows = F.rows if p < 0 else F.z.take(F.parts[p][0])
        reach = F.reach[0] if plan.columns[p] is None else F.reach[0][plan.columns[p]]
        found = []
        for X, c in ((1, "c"), (0, "error")):
            walked.plan = replace(
                walked.plan,
                X={k: X * abs(v) for k, v in plan.X.items()},
                F=replace(F, z=replace(F.z, c=abs(getattr(F.z, c)))),
            )
            walked.lines = [f if X else without_shift(f) for f in map(steepest, state.lines)]
            every_row, own = np.arange(len(rows))[None], X * abs(plan.X[p, p])[None]
            A, b, _ = walked.walk(p, own, abs(getattr(rows, c))[None], every_row)
            found.append((A @ reach + b)[0])
        size, carried = found
        assert (size > 0).any() and (carried > 0).all()
        g, tiny = gamma(plan.steps, "float64"), float(np.finfo(np.float64).tiny)
        expected = 1.01 * (carried + 2 * g * size) + plan.steps * tiny
        assert state.rounding.of(p) == pytest.approx(expected, rel=1e-9, abs=0)


def steepest(f: Lines | Planes) -> Lines | Planes:
    """The larger magnitudes of slopes and intercepts, on both sides."""
    if isinstance(f, Planes):
        S, t = np.maximum(abs(f.S_l), abs(f.S_u)), np.maximum(abs(f.t_l), abs(f.t_u))
        return Planes(S, t, S, t)
    t_l = np.zeros_like(f.t_u) if f.t_l is None else f.t_l
    s, t = np.maximum(abs(f.s_l), abs(f.s_u)), np.maximum(abs(t_l), abs(f.t_u))
    return Lines(s, t, s, t)


def without_shift(f: Lines | Planes) -> Lines | Planes:
    """Through the origin."""
    return replace(f, t_l=f.t_u * 0, t_u=f.t_u * 0)
