"""Laws of Lagrangian bounds: sound for any multipliers, their gradients true, and climbing leads to the optimum.

What a bound may be compared with: points that satisfy its splits and facts (in extended precision), torch's autograd on
the same bound written without shortcuts, CROWN on the graph, and the linear program that it is a dual of.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from verifier.bounds.ascend import Rates, ascend
from verifier.bounds.certain import certain
from verifier.bounds.dual import Multipliers, Objective, Region, Walk, back, forward, slopes
from verifier.bounds.fold import Folded, Linear
from verifier.bounds.intermediate import region, start, tighten
from verifier.bounds.rows import rows_backward
from verifier.values.arrays import Place, to_numpy

from . import neuron_cases
from .cases import HOST, PLACES, place_id
from .neuron_cases import DOUBLE, FINE, NAMES, B, L, both, magnitudes, opened, parts, some_multipliers, some_rows

# ---- soundness ----


@pytest.mark.parametrize("kind", ["plain", "huge", "tiny", "sides"])
@pytest.mark.parametrize("name", [*NAMES, "cancelling", "shifted"])
@pytest.mark.parametrize("place", DOUBLE, ids=place_id)
def test_sound_for_any_multipliers(place: Place, name: str, kind: str) -> None:
    """No bound, and no plane, is above the objective where the splits and the facts hold."""
    s, x, rng = opened(name, 1, place, kind)
    z, rows, size = s.truth(x)
    used = 0
    for K, strength in ((1, 0.1), (2, 1.0), (3, 30.0)):
        r, within = parts(rng, s.F, z)
        facts, value = neuron_cases.some_facts(rng, s.F, x, z)
        m = some_multipliers(rng, s.F, K, len(facts), strength)
        held = (value[None] <= 0) | (to_numpy(m.mu)[:, None] == 0)
        within &= held.all(2)
        o = some_rows(rng, s.F, K, facts)
        bound, walk = certain(s.F, r, o, m)
        ids, weight = to_numpy(o.ids), to_numpy(m.weight).astype(np.longdouble)
        truth = np.einsum("bk,pbk->bp", weight, rows[:, ids])
        slack = 8 * FINE * (size[ids] * weight).sum(1)[:, None]
        plane = to_numpy(walk.A) @ x[:, s.F.varying].astype(np.longdouble).T + to_numpy(walk.b)[:, None]
        assert (to_numpy(bound)[:, None] <= truth + slack)[within].all(), "a bound above a value"
        assert (plane <= truth + slack)[within].all(), "a plane above a value"
        used += within.sum()
    assert used > 200, "too few points satisfied the splits"


@pytest.mark.parametrize("name", NAMES)
def test_neurons_under_splits(name: str) -> None:
    """Bounds of every neuron, from the layers before it only, contain it wherever the splits hold."""
    s, x, rng = opened(name, 0)
    z, _, _ = s.truth(x)
    r, within = parts(rng, s.F, z)
    for k, block in enumerate(s.F.blocks):
        for u in range(block.start, block.stop):
            one = s.F.z.take(slice(u, u + 1))
            both = Linear(
                *(np.concatenate([a, b]) for a, b in ((one.X, -one.X), (one.H, -one.H), (one.c, -one.c))),
                np.repeat(one.error, 2),
            )
            m = replace(some_multipliers(rng, s.F, 1, 0, 0.3), weight=np.ones((B, 1)), mu=None)
            low, high = (certain(s.F, r, Objective(both, np.full((B, 1), i), k), m)[0][:, None] for i in (0, 1))
            slack = 4 * FINE * magnitudes(s, s.F)[u]
            assert ((low <= z[None, :, u] + slack) & (z[None, :, u] <= slack - high))[within].all()


@pytest.mark.parametrize("name", ["chain", "residual", "sources"])
def test_parts_of_the_box(name: str) -> None:
    """Parts may have boxes of their own, inside the box that was folded."""
    s, x, rng = opened(name, 1)
    z, rows, _ = s.truth(x)
    r, within = parts(rng, s.F, z)
    v, side = s.F.varying, rng.random((B, 2, len(s.F.varying)))
    low, high = (s.lower[v] + (s.upper - s.lower)[v] * a for a in (side.min(1), side.max(1)))
    r = replace(r, center=low * 0.5 + high * 0.5, radius=(high - low) * 0.5 * (1 + 1e-15))
    within &= ((x[:, v] >= low[:, None]) & (x[:, v] <= high[:, None])).all(2)
    for K in (1, 2):
        m, o = replace(some_multipliers(rng, s.F, K, 0, 0.1), mu=None), some_rows(rng, s.F, K)
        bound, _ = certain(s.F, r, o, m)
        truth = np.einsum("bk,pbk->bp", m.weight, rows[:, o.ids])
        assert (bound[:, None] <= truth)[within].all()
    assert within.any()


@pytest.mark.parametrize("name", ["chain", "conv"])
def test_not_finite_is_no_bound(name: str) -> None:
    """Multipliers of any origin: what overflowed refutes nothing."""
    s, _, rng = opened(name, 1)
    m, o, r = some_multipliers(rng, s.F, 1, 0), some_rows(rng, s.F, 1), region(s.F)
    r = replace(r, sign=np.ones((1, len(s.F))))
    for bad in (np.nan, np.inf, 1e308):
        with np.errstate(all="ignore"):
            bound, _ = certain(s.F, r, o, replace(m, beta=m.beta * 0 + bad, mu=None))
        assert (bound <= s.truth(neuron_cases.given(name, "plain", 1)[3])[1].max()).all() and not np.isnan(bound).any()


# ---- gradients ----


def plainly(F: Folded, r: Region, o: Objective, m: Multipliers) -> torch.Tensor:
    """The bound `[B]` as its definition says, one neuron at a time and without writing to anything, for autograd."""
    t = {n: torch.as_tensor(to_numpy(getattr(r, n))) for n in ("lower", "upper", "sign", "center", "radius")}
    X, H, c = (torch.as_tensor(to_numpy(a)) for a in (F.z.X, F.z.H, F.z.c))
    R = [torch.as_tensor(to_numpy(a))[torch.as_tensor(to_numpy(o.ids))] for a in (o.rows.X, o.rows.H, o.rows.c)]
    A, a, b = (torch.einsum("bk,bk...->b...", m.weight, part) for part in R)
    f = (
        None
        if o.facts is None
        else [torch.as_tensor(to_numpy(p)) for p in (o.facts.X, o.facts.Z, o.facts.H, o.facts.c)]
    )
    Z = -m.beta * t["sign"]
    if f is not None:
        A, Z, a, b = (p + m.mu @ q for p, q in zip((A, Z, a, b), f, strict=True))
    for u in reversed(range(len(F))):
        l, h, leak, coefficient = t["lower"][:, u], t["upper"][:, u], float(F.leak[u]), a[:, u]
        chord = (h - leak * l) / (h - l)
        open_ = (l < 0) & (h > 0)
        decided = torch.where(l >= 0, l * 0 + 1, leak)
        below, above = torch.where(open_, m.alpha[:, u], decided), torch.where(open_, chord, decided)
        y = coefficient * torch.where(coefficient > 0, below, above) + Z[:, u]
        b = b + torch.where(open_, torch.clamp(coefficient, max=0) * (1 - chord) * h, 0.0) + y * c[u]
        A, a = A + y[:, None] * X[u], a + y[:, None] * H[u]
    return b + (A * t["center"]).sum(1) - (A.abs() * t["radius"]).sum(1)


def found(F: Folded, r: Region, o: Objective, m: Multipliers) -> tuple[Walk, Any, dict[str, np.ndarray]]:
    """The walk, its minimiser, and the gradient in closed form."""
    line = slopes(F, r, m.alpha)
    w = back(F, r, line, o, m)
    p = forward(F, r, line, w, o.stop)
    row = torch.einsum if F.place.kind == "torch" else np.einsum
    value = row("bkn,bn->bk", o.rows.X[o.ids], p.x) + row("bku,bu->bk", o.rows.H[o.ids], p.h) + o.rows.c[o.ids]
    alpha = (w.a * (w.a > 0)) * p.z * line.open
    gradient = {"alpha": alpha, "beta": -r.sign * p.z, "weight": value}
    if o.facts is not None:
        f = o.facts
        gradient["mu"] = p.x @ f.X.T + p.z @ f.Z.T + p.h @ f.H.T + f.c
    return w, p, {n: to_numpy(g) for n, g in gradient.items()}


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", DOUBLE, ids=place_id)
def test_gradients(place: Place, name: str, seed: int) -> None:
    """In closed form, by autograd, and by differences; and the bound is the Lagrangian at its minimiser."""
    s, x, rng = opened(name, seed, place)
    z, _, _ = s.truth(x)
    r, _ = parts(rng, s.F, z)
    facts, _ = neuron_cases.some_facts(rng, s.F, x, z)
    o, m = some_rows(rng, s.F, 2, facts), some_multipliers(rng, s.F, 2, len(facts))
    w, p, gradient = found(s.F, r, o, m)
    free = {n: torch.as_tensor(to_numpy(getattr(m, n))).clone().requires_grad_() for n in gradient}
    bound = plainly(s.F, r, o, Multipliers(**free))
    np.testing.assert_allclose(to_numpy(w.bound), to_numpy(bound), rtol=1e-11, atol=1e-11)
    bound.sum().backward()
    for n, g in gradient.items():
        scale = 1e-10 * (1 + abs(g).max())
        np.testing.assert_allclose(to_numpy(free[n].grad), g, rtol=1e-9, atol=scale, err_msg=n)
    lagrangian = sum((to_numpy(getattr(m, n)) * gradient[n]).sum(1) for n in ("weight", "beta", "mu"))
    np.testing.assert_allclose(to_numpy(w.bound), lagrangian, rtol=1e-10, atol=1e-10)
    assert abs(gradient["alpha"]).max() > 0 and abs(gradient["beta"]).max() > 0
    if place == HOST:
        differences(s.F, r, o, m, gradient)


def differences(F: Folded, r: Region, o: Objective, m: Multipliers, gradient: dict[str, np.ndarray]) -> None:
    """Two-sided differences in every variable, wherever both sides agree (elsewhere there is a kink)."""
    step, kinks, all_ = 1e-6, 0, 0
    for n, g in gradient.items():
        for i in range(g.shape[1]):
            bounds = []
            for h in (-step, 0.0, step):
                v = getattr(m, n).copy()
                v[:, i] += h
                moved = replace(m, **{n: v})
                bounds.append(back(F, r, slopes(F, r, moved.alpha), o, moved).bound)
            left, right = (bounds[1] - bounds[0]) / step, (bounds[2] - bounds[1]) / step
            scale = 1e-5 * (1 + abs(g).max() + abs(bounds[1]))
            smooth = abs(left - right) <= scale
            assert (abs((left + right) / 2 - g[:, i]) <= scale)[smooth].all(), n
            kinks, all_ = kinks + (~smooth).sum(), all_ + len(smooth)
    assert kinks <= 0.02 * all_


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", PLACES, ids=place_id)
def test_the_minimiser_is_pushed_through_the_real_network(place: Place, name: str) -> None:
    """`real` are the activations of the graph at the point, which lies in the box."""
    s, x, rng = opened(name, 0, Place(place.kind, "float64"))
    F = s.F.to(place)
    r, _ = parts(rng, F, s.truth(x)[0])
    m, o = replace(some_multipliers(rng, F, 2, 0), mu=None), some_rows(rng, F, 2)
    _, p, _ = found(F, r, o, m)
    full = np.repeat((s.lower * 0.5 + s.upper * 0.5)[None], B, 0)
    full[:, F.varying] = to_numpy(p.x)
    near = 1e-5 if place.dtype == "float32" else 1e-12
    assert (full >= s.lower - near).all() and (full <= s.upper + near).all()
    z, _, _ = s.truth(full)
    np.testing.assert_allclose(
        to_numpy(p.real).astype(float), neuron_cases.act(s.F, z).astype(float), rtol=near, atol=near * 20
    )


# ---- climbing ----


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", DOUBLE, ids=place_id)
def test_no_steps_are_crown(place: Place, name: str) -> None:
    """Where climbing begins, bounds are those that the backward walk finds on the whole graph."""
    s, _, _ = opened(name, 0, place)
    o = Objective(s.F.rows, place.array(np.arange(L)[:, None]), len(s.F.blocks))
    up = ascend(s.F, region(s.F), o, start(s.F, region(s.F), L), Rates(0))
    planes = rows_backward(
        s.r.net, s.rows, place.array(np.arange(L)[None]), s.bounds.weights(s.r.net), s.bounds.relaxed
    )
    A, b = to_numpy(planes.A), to_numpy(planes.b)
    crown = A @ (s.lower * 0.5 + s.upper * 0.5) - abs(A) @ (s.upper - s.lower) * 0.5 + b
    np.testing.assert_allclose(to_numpy(up.bound), crown, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", PLACES, ids=place_id)
def test_more_steps_are_never_looser(place: Place, name: str) -> None:
    """What is returned is the best that was met, with the multipliers that give it, all in their range."""
    gained = 0.0
    for K in (1, 3):
        _, F, r, o, m, _ = both(name, 1, place, K)
        before = {n: to_numpy(getattr(m, n)).copy() for n in ("alpha", "beta", "weight")}
        first = to_numpy(ascend(F, r, o, m, Rates(0)).bound)
        for steps in (1, 8):
            up = ascend(F, r, o, m, Rates(steps))
            bound, best = to_numpy(up.bound), up.best
            assert (bound >= first - 1e-6 * (1 + abs(first)) * (place.dtype == "float32")).all()
            gained += float((bound - first).max())
            again = to_numpy(back(F, r, slopes(F, r, best.alpha), o, best).bound)
            np.testing.assert_allclose(again, bound, rtol=1e-4 if place.dtype == "float32" else 1e-11, atol=1e-4)
            alpha, weight, leak = to_numpy(best.alpha), to_numpy(best.weight), to_numpy(F.leak)
            assert (alpha >= leak).all() and (alpha <= 1).all() and (to_numpy(best.beta) >= 0).all()
            assert (weight >= 0).all() and np.allclose(weight.sum(1), 1, atol=1e-5)
            assert not to_numpy(best.beta)[to_numpy(r.sign) == 0].any()
        assert all(np.array_equal(to_numpy(getattr(m, n)), a) for n, a in before.items()), "the start was written to"
    assert gained > 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", DOUBLE, ids=place_id)
def test_domains_that_reach_the_goal_drop_out(place: Place, name: str) -> None:
    """What has not reached it climbs on as if it were alone; each keeps the multipliers that give its bound."""
    _, F, r, o, m, _ = both(name, 1, place, 2)
    far = to_numpy(ascend(F, r, o, m, Rates(10)).bound)
    for goal in np.quantile(far, [0.1, 0.5, 0.9]):
        up = ascend(F, r, o, m, Rates(10), float(goal))
        bound, low = to_numpy(up.bound), far <= goal
        np.testing.assert_allclose(bound[low], far[low], rtol=1e-7, atol=1e-7)
        assert (bound[~low] > goal).all()
        again = to_numpy(back(F, r, slopes(F, r, up.best.alpha), o, up.best).bound)
        np.testing.assert_allclose(again, bound, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", PLACES, ids=place_id)
def test_batches(place: Place, name: str) -> None:
    """A domain's bound depends on its place in the batch, and on what else is there, by rounding only."""
    _, F, r, o, m, rng = both(name, 1, place, 2)
    whole = to_numpy(ascend(F, r, o, m, Rates(3)).bound)
    orders = [rng.permutation(B), np.arange(B // 2), np.arange(B // 2, B), np.array([2])]
    for order in orders:
        at = place.array(order)
        few = Region(r.lower[at], r.upper[at], r.sign[at], r.center, r.radius)
        some = Multipliers(m.alpha[at], m.beta[at], m.weight[at])
        got = to_numpy(ascend(F, few, replace(o, ids=o.ids[at]), some, Rates(3)).bound)
        near = 2e-3 if place.dtype == "float32" else 1e-8
        np.testing.assert_allclose(got, whole[order], rtol=near, atol=near)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", PLACES, ids=place_id)
def test_hits_lie_in_the_box_and_satisfy_all_rows(place: Place, name: str) -> None:
    s, F, r, o, m, _ = both(name, 0, place, 2)
    easy = replace(o, rows=replace(o.rows, c=o.rows.c - 3.0))
    up = ascend(F, r, easy, m, Rates(4), seek=True)
    near, seen = 1e-4 if place.dtype == "float32" else 1e-9, 0
    for owner, p in up.hits:
        full = np.repeat((s.lower * 0.5 + s.upper * 0.5)[None], len(p), 0)
        full[:, F.varying] = p
        assert (full >= s.lower - near).all() and (full <= s.upper + near).all()
        rows = s.truth(full)[1] - 3.0
        assert (np.take_along_axis(rows, to_numpy(o.ids)[owner], 1) <= near * 20).all()
        seen += len(p)
    assert seen


@pytest.mark.parametrize("name", NAMES)
def test_children_can_do_what_their_parent_did(name: str) -> None:
    """A child has multipliers at least as good as its parent's, known in closed form; climbing starts close to them.

    Where the neuron's activation has a positive coefficient a, the parent takes the line alpha·z; the child's line and
    `beta = a·(1 − alpha)` (`a·(alpha − leak)` below zero) make the same.  Where a is negative, the parent pays for the
    line above, and the child does better wherever its minimiser keeps the neuron's bounds.
    """
    kept = 0
    s, F, r, o, _, rng = both(name, 1, HOST, 2)
    m = replace(some_multipliers(rng, F, 2, 0, 0.1), mu=None)
    line = slopes(F, r, m.alpha)
    parent, one = back(F, r, line, o, m), np.arange(B)
    for _ in range(6):
        pick = np.array([rng.choice(np.flatnonzero(line.open[i])) for i in range(B)])
        for sign in (1.0, -1.0):
            half = replace(r, lower=r.lower.copy(), upper=r.upper.copy(), sign=r.sign.copy())
            (half.lower if sign > 0 else half.upper)[one, pick] = 0
            half.sign[one, pick] = sign
            a, alpha, beta = parent.a[one, pick], m.alpha[one, pick], m.beta.copy()
            beta[one, pick] = np.maximum(a, 0) * ((1 - alpha) if sign > 0 else (alpha - F.leak[pick]))
            best = replace(m, beta=beta)
            halves = slopes(F, half, m.alpha)
            child = back(F, half, halves, o, best)
            scale = 1e-11 * (1 + abs(parent.bound))
            z = forward(F, half, halves, child, o.stop).z[one, pick]
            assert (abs(child.bound - parent.bound) <= scale)[a > 0].all(), "the parent's bound is lost"
            inside = (z >= r.lower[one, pick]) & (z <= r.upper[one, pick])
            assert (child.bound >= parent.bound - scale)[inside | (a >= 0)].all()
            kept += (a > 0).sum()
            up = ascend(F, half, o, best, Rates(3))
            assert (up.bound >= parent.bound - scale)[inside | (a >= 0)].all()
    assert kept > 10


@pytest.mark.parametrize("leaf", [False, True], ids=["some split", "all split"])
@pytest.mark.parametrize("facts", [False, True], ids=["", "facts"])
@pytest.mark.parametrize("name", NAMES)
def test_climbing_approaches_the_linear_program(name: str, facts: bool, leaf: bool) -> None:
    """Never above its optimum; with many steps, most of the way there from where climbing begins.

    Where every neuron is split there is no slope left to choose: the multipliers have to do it alone.
    """
    gained, gap = 0.0, 0.0
    for seed in range(4):
        s, x, rng = opened(name, seed)
        z, _, _ = s.truth(x)
        r, _ = parts(rng, s.F, z, all_=leaf)
        f, _ = neuron_cases.some_facts(rng, s.F, x, z, 2) if facts else (None, None)
        o = some_rows(rng, s.F, 1 + seed % 2, f)
        m = start(s.F, r, B, 1 + seed % 2)
        m = replace(m, mu=np.zeros((B, 2))) if facts else m
        first, far = (ascend(s.F, r, o, m, rates).bound for rates in (Rates(0), Rates(200, 0.3, 0.3, 0.98)))
        for i in range(B):
            best = neuron_cases.program(s.F, r, o, i)
            assert far[i] <= best + 1e-6 * (1 + abs(best)), "above the optimum"
            if np.isfinite(best):
                gained, gap = gained + (far[i] - first[i]) / (1 + abs(best)), gap + (best - first[i]) / (1 + abs(best))
    assert gained >= 0.7 * gap, "climbing stopped short"
    assert gap > 0.1, "nothing to gain"


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("name", [*NAMES, "cancelling", "shifted", "vanishing", "subnormal"])
@pytest.mark.parametrize("place", PLACES, ids=place_id)
def test_tighten(place: Place, name: str, seed: int) -> None:
    """Bounds and planes of neurons hold, and are not looser than those given; what is not wanted stays as it was."""
    s, x, rng = opened(name, seed, Place(place.kind, "float64"))
    F, (z, _, _) = s.F, s.truth(x)
    slack = 4 * FINE * magnitudes(s, F)
    wanted = rng.random(len(F)) < 0.5
    for some in (None, F.place.array(wanted)):
        *found, planes = tighten(F, place, Rates(3, alpha=0.5), 200, some)
        lower, upper = (to_numpy(a) for a in found)
        assert (lower >= to_numpy(F.lower)).all() and (upper <= to_numpy(F.upper)).all()
        assert (lower - slack <= z).all() and (z <= upper + slack).all()
        for hull in (planes, planes.to(F, Place(place.kind, "float32"))):
            low, low_b, up, up_b = (to_numpy(a).astype(np.longdouble) for a in vars(hull).values())
            assert (x[:, F.varying] @ low.T + low_b <= z + slack).all(), "a plane below"
            assert (x[:, F.varying] @ up.T + up_b >= z - slack).all(), "a plane above"
        better = (lower > to_numpy(F.lower)) | (upper < to_numpy(F.upper))
        if some is not None:
            assert not better[~wanted].any()
        assert better.any() or seed == 0 or len(F.blocks) < 2 or some is not None
