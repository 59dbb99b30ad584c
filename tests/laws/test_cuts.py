"""Laws of cuts: what is learned holds at every point of interest, and so does what is concluded from it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from verifier.bounds.intermediate import region, start
from verifier.search.neurons.cuts import Cuts, learn
from verifier.search.neurons.problem import Plan
from verifier.search.neurons.splits import Splits
from verifier.search.neurons.tree import decisive, first_weights
from verifier.values.arrays import Place, to_numpy

from .cases import PLACES, place_id
from .neuron_cases import DOUBLE, FAMILIES, NAMES, B, act, opened
from .test_neuron_search import COUNTS, Few, asked, blind, cases_of, growing, of_interest, right


def splits(place: Place, lower: np.ndarray, upper: np.ndarray, sign: np.ndarray, goal: np.ndarray) -> Splits:
    """Parts of which nothing else is known; they are numbered by `pick`."""
    each, one = np.arange(len(sign)), np.ones(len(sign))
    pieces = (lower, upper, sign, sign * 0, sign * 0, one[:, None], goal, one, each, one)
    return Splits(*(place.array(a, place.dtype if a.dtype.kind == "f" else None) for a in pieces))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", PLACES, ids=place_id)
def test_implications(place: Place, name: str) -> None:
    """A part that takes all splits of a cut but one keeps the points that do not take the last; and so on."""
    served = lost = seen = 0
    s, x, rng = opened(name, 1, Place(place.kind, "float64"))
    z = s.truth(x)[0]
    F, state = s.F.to(place), np.where(z >= 0, 1.0, -1.0)
    for _ in range(12):
        own = state[rng.integers(len(z), size=3)] * (rng.random((3, len(F))).argsort(1) < [[2], [3], [4]])
        goal = rng.integers(2, size=3)
        taken = rng.integers(3, size=B)
        sign = own[taken]
        for i in range(B):  # all splits, or all but one, or all but two; one more that is no part of the cut
            for j in rng.permutation(np.flatnonzero(sign[i]))[: i % 3]:
                sign[i, j] = rng.choice([0, 0, -sign[i, j]])
        lower, upper = (np.repeat(to_numpy(a)[None], B, 0) for a in (F.lower, F.upper))
        lower, upper = np.where(sign > 0, 0.0, lower), np.where(sign < 0, 0.0, upper)
        of = np.where(rng.random(B) < 0.7, goal[taken], 1 - goal[taken])
        cuts = Cuts(F.place.array(own, place.dtype), F.place.array(goal))
        after, count = cuts.imply(splits(place, lower, upper, sign, of))
        left, low, up = (to_numpy(a) for a in (after.pick, after.lower, after.upper))
        served += count
        possible = (z[:, None] * own < 0).any(2)  # [P, 3]: of which points each cut is true
        for i in range(B):
            within = (z * sign[i] >= 0).all(1) & possible[:, goal == of[i]].all(1)
            seen += within.sum()
            if i not in left:
                lost += 1
                assert not within.any(), "a part with points of interest is refuted"
                continue
            k = int(np.flatnonzero(left == i)[0])
            assert ((low[k] <= z) & (z <= up[k]))[within].all(), "what a cut decides does not hold"
            assert (low[k] >= lower[i]).all() and (up[k] <= upper[i]).all()
    assert served > lost > 0 and seen > 400


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", DOUBLE, ids=place_id)
def test_facts(place: Place, name: str) -> None:
    """A cut's fact holds at points that do not take all of its splits; at the corner of its relaxation it is tight."""
    s, x, rng = opened(name, 1, place)
    F, z, U = s.F, s.truth(x)[0], len(s.F)
    state = np.where(z >= 0, 1.0, -1.0)
    sign = state[rng.integers(len(z), size=40)] * (rng.random((40, U)).argsort(1) < rng.integers(1, 5, (40, 1)))
    f = Cuts(F.place.array(sign), F.place.array(np.zeros(40, int))).facts(F)
    X, Z, H, c = (to_numpy(a) for a in vars(f).values())
    value = x[:, F.varying] @ X.T + z @ Z.T + act(F, z) @ H.T + c
    assert (value <= 1e-15)[state @ sign.T < abs(sign).sum(1)].all(), "a fact that does not hold"
    # Where every neuron is as far on its side as it can be, all of the cut is taken, and the fact says no by one split.
    far = np.where(sign > 0, to_numpy(F.upper), to_numpy(F.lower))
    value = (far * Z).sum(1) + (act(F, far) * H).sum(1) + c
    np.testing.assert_allclose(value, 1 / abs(sign).sum(1), rtol=1e-12)


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_learned_is_proved(family: str) -> None:
    """Even from parts that are not refuted at all, only what no counterexample contradicts is learned."""
    kept = met = 0
    for q, _ in cases_of(family, COUNTS[family], -1):
        search = growing(asked(q)[0], blind, Plan())
        assert search is not None
        tree, (good, value), rng = search.problem.tree, of_interest(q), np.random.default_rng(1)
        F, J, P = tree.exact, len(tree), 30
        if not len(F) or not len(good):
            continue
        z = np.stack([value[j][:, e] for j, e in zip(F.source, F.entry, strict=True)], 1)
        state, goal = np.where(z >= 0, 1.0, -1.0), rng.integers(J, size=P)
        sign = state[rng.integers(len(z), size=P)] * np.where(rng.random((P, len(F))) < 0.2, -1, 1)
        sign *= rng.random((P, len(F))).argsort(1) < rng.integers(2, 7, (P, 1))
        lower, upper = (np.repeat(to_numpy(a)[None], P, 0) for a in (tree.fast.lower, tree.fast.upper))
        m = replace(start(tree.fast, region(tree.fast), P), weight=first_weights(tree)[goal])
        cuts = learn(tree, splits(tree.fast.place, lower, upper, sign, goal), m, most=P)
        if cuts is None:
            continue
        kept += len(cuts)
        for one, j in zip(cuts.sign, cuts.goal, strict=True):
            mine = z[good[:, tree.slot[j]]]
            met += len(mine)
            assert not ((mine * one >= 0).all(1)).any(), "a point of interest takes all splits of a cut"
    assert kept > 5 and met > 100


@pytest.mark.parametrize("family", FAMILIES)
def test_facts_count_where_they_hold(family: str) -> None:
    """`decisive` leaves out the multipliers of facts that do not hold in a region."""
    rng, moved = np.random.default_rng(2), 0
    for q, _ in cases_of(family, 12, -1):
        search = growing(asked(q)[0], blind, Plan())
        assert search is not None
        tree = search.problem.tree
        F, J, P = tree.fast, len(tree), 8
        if not len(F):
            continue
        sign = F.place.array(rng.choice([-1.0, 1.0], (3, len(F))), F.place.dtype)
        facts, goal = Cuts(sign, np.zeros(3, int)).facts(tree.exact), rng.integers(J, size=P)
        m = replace(start(F, region(F), P), weight=first_weights(tree)[goal])
        mu, holds = rng.random((P, 3)), rng.integers(2, size=(P, 3)).astype(float)
        each = replace(region(F), holds=holds), replace(region(F), holds=holds * 0 + 1)
        some, _ = decisive(tree, each[0], goal, replace(m, mu=mu), facts)
        same, _ = decisive(tree, each[1], goal, replace(m, mu=mu * holds), facts)
        every, _ = decisive(tree, each[1], goal, replace(m, mu=mu), facts)
        np.testing.assert_allclose(some, same, rtol=1e-12)
        moved += (abs(every - some) > 1e-6).sum()
    assert moved > 0


@pytest.mark.parametrize("family", FAMILIES)
def test_cuts_of_another_disjunct_are_not_used(family: str) -> None:
    """Cuts that contradict each other refute their own disjunct only: here, none of those that are searched."""
    searched = 0
    for q, margin in cases_of(family, COUNTS[family], -1):
        search = growing(asked(q)[0], blind, Plan(cuts=True))
        assert search is not None
        if search.decide(Few(3)) is None and len(search.problem.tree.fast):
            F, J = search.problem.tree.fast, len(search.problem.tree)
            eye = F.place.array(np.concatenate([np.eye(len(F)), -np.eye(len(F))]), F.place.dtype)
            search.problem._learner.cuts = Cuts(eye, np.full(len(eye), J))
            outcome = search.decide(Few(8))
            assert outcome is None or right(q, margin, outcome) == "unknown"
            searched += 1
    assert searched > 5
