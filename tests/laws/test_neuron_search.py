"""Laws of splitting neurons: the verdict is that of exact mixed-integer optimisation, whoever looks for witnesses."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from verifier.attack.replay import Replay
from verifier.bounds.ascend import Rates
from verifier.bounds.dual import back, slopes
from verifier.bounds.intermediate import first_hull
from verifier.graph.ops.affine import Dense
from verifier.search.branch_and_bound import Search
from verifier.search.branching import relaxed
from verifier.search.budget import Budget, OutOfTime
from verifier.search.candidates import Candidates
from verifier.search.decide import by_neurons, decide
from verifier.search.domains import roots
from verifier.search.neurons import exact, problem
from verifier.search.neurons.problem import NeuronSplits, Plan
from verifier.search.neurons.splits import Splits, children
from verifier.search.neurons.tree import Tree, plant, root
from verifier.search.outcome import Outcome, Progress
from verifier.search.query import Query, make_query
from verifier.search.subproblems import Stack, joined
from verifier.spec.property import Property
from verifier.spec.witness import Witness
from verifier.values.arrays import Place, to_numpy
from verifier.values.verdict import Verdict

from .cases import Net, chain, holds, place_id, points, property_of, short, stack
from .neuron_cases import DOUBLE, FAMILIES, MARGINS, NAMES, B, Instance, both, optimum, settled

FAST = Place("numpy", "float32")
SEARCHED = [FAST, Place("torch", "float32"), Place("numpy", "float64")]


# ---- searches ----


Attempt = Callable[[np.ndarray, np.ndarray], Witness | None]


def asked(q: Instance, place: Place = FAST) -> tuple[Query, Attempt, Attempt]:
    """The query; what `verify` tries candidates with; and the judge alone, which never leaves the points given."""
    prop, net = property_of(q.lower, q.upper, q.disjuncts), Net(q.graph)
    shape = q.graph.nodes[0].shape
    query = make_query(q.graph, prop, place)
    replay = Replay(prop, net.run, lambda x: q.graph.evaluate(x.reshape(-1, *shape))[0].reshape(len(x), -1), "float32")
    return query, Candidates(query, replay), lambda x, group: replay(x, query.box[group])


PATIENCE = 60.0
"""Seconds, far more than a search needs: running out of them is a failure."""


def searched(query: Query, attempt: Attempt, budget: Budget | None = None) -> Outcome:
    return by_neurons(query, budget or Budget.seconds(PATIENCE), attempt)


def growing(
    query: Query, attempt: Attempt, plan: Plan, lower: np.ndarray | None = None, upper: np.ndarray | None = None
) -> Search[Splits] | None:
    """A search on the first group's box, or on a part of it; None where the root refutes everything."""
    d = roots(query).take(np.array([0]))
    d = replace(d, lower=d.lower if lower is None else lower[None], upper=d.upper if upper is None else upper[None])
    found = root(query, d)
    if not found.alive.any():
        return None
    tree = plant(query, d, found)
    return Search(NeuronSplits(tree, Budget(), attempt, plan), Stack[Splits](), range(len(tree)))


def ended(search: Search[Splits] | None, turns: Callable[[], Budget] = Budget) -> Outcome:
    """Go on until it has decided, pausing whenever a turn's budget is spent."""
    if search is None:
        return Outcome(Verdict.UNSAT)
    for _ in range(10**4):
        done = search.decide(turns())
        if done is not None:
            return done
    raise AssertionError("it does not end")


def blind(x: np.ndarray, group: np.ndarray) -> None:
    """Finds nothing: what is refuted does not depend on who looks for witnesses."""


def right(q: Instance, margin: float, outcome: Outcome) -> str:
    """The verdict, which is not wrong; a witness satisfies the property."""
    verdict = outcome.verdict.value
    assert verdict != ("sat" if margin > 0 else "unsat"), f"margin {margin}"
    if verdict == "sat":
        assert outcome.witness is not None
        x = outcome.witness.x
        assert np.array_equal(x.astype(np.float32), x) and (q.lower <= x).all() and (x <= q.upper).all()
        assert holds(property_of(q.lower, q.upper, q.disjuncts), x, Net(q.graph).run(x[None])[0])
    else:
        assert outcome.witness is None
    return verdict


COUNTS = {"dense": 90, "convolutional": 30, "residual": 60}


def cases_of(family: str, count: int, sign: float = 0.0) -> list[tuple[Instance, float]]:
    """The first instances of a family that the oracle decided: all, or those that are `unsat` (+1) or `sat` (−1)."""
    some = [settled(family, seed) for seed in range(COUNTS[family])]
    return [case for case in some if case is not None and (sign == 0 or sign * case[1] > 0)][:count]


@pytest.mark.parametrize("family", FAMILIES)
def test_verdicts_are_exact(family: str) -> None:
    said, rounds = Counter[str](), 0
    for q, margin in cases_of(family, COUNTS[family]):
        query, attempt, _ = asked(q)
        outcome = searched(query, attempt)
        said[right(q, margin, outcome)] += 1
        rounds += outcome.progress.rounds > 0
    assert said["sat"] + said["unsat"] == said.total() >= 0.9 * COUNTS[family], said
    assert min(said["sat"], said["unsat"]) >= 0.25 * said.total(), said
    assert rounds >= 0.15 * said.total(), "nothing was split"


@pytest.mark.parametrize("place", SEARCHED[1:], ids=place_id)
def test_verdicts_at_other_places(place: Place) -> None:
    for family in FAMILIES:
        for q, margin in cases_of(family, 8):
            query, attempt, _ = asked(q, place)
            assert right(q, margin, searched(query, attempt)) in ("sat", "unsat")


PLANS = {
    "cuts": Plan(batch=2, cuts=True),
    "no cuts": Plan(cuts=False, clip=0),
    "one at a time": Plan(batch=1),
    "no better bounds": Plan(steps=0),
    "no climbing": Plan(rates=Rates(0), root=Rates(0)),
    "first score": Plan(branching=relaxed.Filtered(few=1)),
    "babsr": Plan(branching=relaxed.Filtered(relaxed.BaBSR(), 3)),
    "violation": Plan(branching=relaxed.Filtered(relaxed.Violation(), 2)),
}


@pytest.mark.parametrize("plan", PLANS)
def test_verdicts_with_any_plan(plan: str) -> None:
    """With points judged as they are, so that it is the search that has to come to them; paused after every round."""
    for family in FAMILIES:
        for q, margin in cases_of(family, 4):
            query, _, judge = asked(q)
            outcome = ended(growing(query, judge, PLANS[plan]), lambda: Few(2))
            assert right(q, margin, outcome) in ("sat", "unsat")


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_of_the_box(family: str) -> None:
    """One of the halves that an input split leaves holds a counterexample if and only if the box does."""
    for q, margin in cases_of(family, 12):
        query, attempt, _ = asked(q)
        axis, said = int((q.upper - q.lower).argmax()), set()
        cut = q.lower[axis] * 0.75 + q.upper[axis] * 0.25
        at = np.arange(len(q.lower)) == axis
        for lower, upper in ((q.lower, np.where(at, cut, q.upper)), (np.where(at, cut, q.lower), q.upper)):
            outcome = ended(growing(query, attempt, Plan(), lower, upper))
            said.add(right(q, -1.0 if outcome.verdict is Verdict.SAT else 1.0, outcome))
        assert ("sat" in said) == (margin < 0) and said <= {"sat", "unsat"}


class Few(Budget):
    """Spent when it has been asked so often."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self.__dict__["times"] = times

    def spent(self) -> bool:
        self.__dict__["times"] -= 1
        return self.__dict__["times"] <= 0


@pytest.mark.parametrize("family", FAMILIES)
def test_what_is_refuted_is_empty(family: str) -> None:
    """Without anyone who finds witnesses, a property that can be satisfied is not refuted."""
    said = Counter[str]()
    for q, margin in cases_of(family, 20, -1):
        said[right(q, margin, searched(asked(q)[0], blind, Few(400)))] += 1  # the clock is looked at often
    assert said["unknown"] >= 5, "the searches were cut off"


@pytest.mark.parametrize("family", FAMILIES)
def test_a_witness_is_never_lost(family: str) -> None:
    """Whenever it is met first: candidates are judged from the n-th time on only."""
    for q, margin in cases_of(family, 10, -1):
        query, attempt, _ = asked(q)
        for call in range(2, 8):
            late = Late(attempt, call)
            assert right(q, margin, searched(query, late)) == "sat" or late.calls < call


class Late:
    """Finds nothing until it has been asked so often."""

    def __init__(self, attempt: Attempt, first: int) -> None:
        self.attempt, self.first, self.calls = attempt, first, 0

    def __call__(self, x: np.ndarray, group: np.ndarray) -> Witness | None:
        self.calls += 1
        return self.attempt(x, group) if self.calls >= self.first else None


def test_the_finish_looks_at_the_clock() -> None:
    with pytest.raises(OutOfTime):
        exact.finish(None, None, Budget(0.0))  # type: ignore[arg-type]
    assert 0 < exact._limit(Budget.seconds(5))["time_limit"] <= 5 and not exact._limit(Budget())


@pytest.mark.parametrize("family", FAMILIES)
def test_splitting_loses_no_point_of_interest(family: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What satisfies a disjunct lies in an open part for it, or in one left to the exact finish, within its bounds."""
    finished: list[Splits] = []

    def finish(tree: Tree, s: Splits, budget: Budget) -> tuple[bool, np.ndarray]:
        finished.append(s)
        return exact.finish(tree, s, budget)

    monkeypatch.setattr(problem, "finish", finish)
    met = [0]
    for q, margin in cases_of(family, 15, -1):
        # Next to each disjunct, the same out of reach: whatever is learned of it must not be used against the other.
        beyond = [[(a, c, d + margin - 0.01) for a, c, d in disjunct] for disjunct in q.disjuncts]
        q = replace(q, disjuncts=[*beyond, *q.disjuncts])
        finished.clear()
        query, (good, value) = asked(q)[0], of_interest(q)
        search = growing(query, blind, Plan(batch=3, cuts=True))
        assert search is not None, "the root refutes too much"

        def watch(p: Progress, search: Any = search, good: np.ndarray = good, value: Any = value) -> None:
            met[0] += contained(search.problem.tree, [*search.frontier.blocks, *finished], good, value)

        search.watch = watch
        search.advance(Few(20))
    assert met[0] > 1000


def of_interest(q: Instance) -> tuple[np.ndarray, list[np.ndarray]]:
    """Which of many points satisfy which disjunct, `[P, J]`, and the values of all nodes there."""
    x = points(np.random.default_rng(5), q.lower[None], q.upper[None], 3000)[0]
    value = [v.reshape(len(x), -1) for v in q.graph.values(x.reshape(-1, *q.graph.nodes[0].shape))]
    y = value[q.graph.outputs[0]]
    margins = [[y @ a + x @ c - d for a, c, d in disjunct] for disjunct in q.disjuncts]
    good = np.stack([np.max(m, 0) < -1e-7 for m in margins], 1)
    some = np.flatnonzero(good.any(1))[:300]
    return good[some], [v[some] for v in value]


def contained(tree: Tree, parts: list[Splits], good: np.ndarray, value: list[np.ndarray]) -> int:
    """Check that every point is in a part; how many there are."""
    F, slot = tree.exact, {int(s): j for j, s in enumerate(tree.slot)}
    z = [value[j][:, e] for j, e in zip(F.source, F.entry, strict=True)]
    for j in np.flatnonzero(good.any(0)):
        assert parts and int(j) in slot, "a satisfied disjunct was refuted"
        at, whole = np.stack(z, 1)[good[:, j]] if z else np.zeros((good[:, j].sum(), 0)), joined(parts)
        mine = whole.take(np.flatnonzero(whole.goal == slot[int(j)]))
        within = (at[None] * mine.sign[:, None] >= 0).all(2)
        inside = (mine.lower[:, None] - 1e-6 <= at) & (at <= mine.upper[:, None] + 1e-6)
        assert (within & inside.all(2)).any(0).all(), "a point of interest is lost"
    return int(good.sum())


def test_halves_are_copies_that_cover() -> None:
    """Both halves of every part, with the parent's multipliers; the parent is not written to."""
    rng, D, U = np.random.default_rng(0), 4, 5
    lower, upper = -rng.random((D, U)) - 0.1, rng.random((D, U)) + 0.1
    pick, D_ = np.array([0, 3, 4, 1]), np.arange(D)
    alpha, one = rng.random((D, U)), np.ones(D)
    s = Splits(lower, upper, lower * 0, alpha, lower * 0, one[:, None], np.arange(D), -one, pick, one * 0.25)
    before = [getattr(s, n).copy() for n in ("lower", "upper", "sign")]
    both = children(s)
    assert all(np.array_equal(getattr(s, n), a) for n, a in zip(("lower", "upper", "sign"), before, strict=True))
    above, below = both.take(slice(0, D)), both.take(slice(D, None))
    assert (above.lower[D_, pick] == 0).all() and (above.upper == upper).all() and (above.sign[D_, pick] == 1).all()
    assert (below.upper[D_, pick] == 0).all() and (below.lower == lower).all() and (below.sign[D_, pick] == -1).all()
    for half in (above, below):
        assert abs(half.sign).sum() == D and (half.share == 0.125).all()
        assert np.array_equal(half.goal, s.goal) and np.array_equal(half.alpha, s.alpha)


@pytest.mark.parametrize("attempt", ["candidates", "judge", "blind"])
def test_nothing_to_split(attempt: str) -> None:
    """Where every neuron is decided from the start, what is left is a linear program.

    Three half-planes that meet in a small triangle, or that do not although every two of them do.
    """
    graph = stack([Dense(np.eye(2), np.full(2, 5.0)), Dense(np.eye(2), np.full(2, -5.0))])
    for seed in range(6):
        rng, none = np.random.default_rng(seed), np.zeros(2)
        A, w, d = rng.normal(size=(3, 2)), rng.dirichlet(np.ones(3)), rng.normal(size=3) * 0.05
        A[2] = -(w[0] * A[0] + w[1] * A[1]) / w[2]
        for margin in (1e-3, -1e-3):
            q = Instance(graph, -np.ones(2), np.ones(2), [[(a, none, t) for a, t in zip(A, d, strict=True)]])
            d = d + optimum(q, q.disjuncts[0]) - margin
            q = replace(q, disjuncts=[[(a, none, t) for a, t in zip(A, d, strict=True)]])
            query, candidates, judge = asked(q)
            tries = {"candidates": candidates, "judge": judge, "blind": blind}
            verdict = right(q, margin, searched(query, tries[attempt]))
            assert verdict == ("unsat" if margin > 0 else "unknown" if attempt == "blind" else "sat")


def test_groups_and_many_inputs() -> None:
    """Each group is decided on its own box; networks of more than a hundred inputs are split at their neurons."""
    rng = np.random.default_rng(3)
    for signs in ((1, 1), (1, -1), (-1, 1), (1, 1)):
        graph = short(chain(rng, (104, 5, 4, 2), scale=2.0))
        lower = (rng.normal(size=104) * 0.3).astype(np.float32).astype(float)
        margins, props = rng.choice(MARGINS, 2) * signs, []
        for margin, (low, high) in zip(margins, ((lower, lower + 0.125), (lower + 0.25, lower + 0.5)), strict=True):
            a = (rng.normal(size=2), np.zeros(104), 0.0)
            best = optimum(Instance(graph, low, high, []), [a])
            props.append(property_of(low, high, [[(a[0], a[1], best - margin)]]))
        names = ("lower", "upper", "inner_lower", "inner_upper", "A_y", "d", "inner_d", "strict", "inexact")
        joined = {n: np.concatenate([getattr(p, n) for p in props]) for n in names}
        prop = Property(box=np.arange(2), start=np.arange(3), literal=np.arange(2), A_x=None, **joined)
        query = make_query(graph, prop, FAST)
        attempt = Candidates(query, Replay(prop, Net(graph).run, lambda x, g=graph: g.evaluate(x)[0], "float32"))
        for whole in (searched(query, attempt), decide(query, Budget.seconds(PATIENCE), attempt)):
            assert whole.verdict.value == ("unsat" if (margins > 0).all() else "sat")
            assert whole.witness is None or margins[whole.witness.disjunct] < 0
        assert searched(query, blind).verdict.value == ("unsat" if (margins > 0).all() else "unknown")


# ---- which neuron ----


SCORES = [relaxed.Intercept(), relaxed.BaBSR(), relaxed.Violation()]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", [FAST, *DOUBLE], ids=place_id)
def test_picked_neurons(place: Place, name: str) -> None:
    """Undecided ones, none where there is none; scores are finite and not negative; each part for itself."""
    s, F, r, o, m, rng = both(name, 1, place, 1)
    lower, upper = (F.place.array(a.copy()) for a in (to_numpy(r.lower), to_numpy(r.upper)))
    lower[2] = 0 * lower[2]  # a part where all is decided
    r, hull = replace(r, lower=lower, upper=upper), first_hull(s.F).to(s.F, place)
    line = slopes(F, r, m.alpha)
    w, open_ = back(F, r, line, o, m), to_numpy(line.open)
    order = F.place.array(np.array([4, 2, 0, 5, 1, 3]))
    for score in SCORES:
        value = to_numpy(score.score(F, r, line, w))
        assert np.isfinite(value).all() and (value >= 0).all()
        for few in (1, 3, 1000):
            rule = relaxed.Filtered(score, few)
            pick = to_numpy(rule.pick(F, hull, r, o, m, line, w))
            assert pick.shape == (B,) and pick[2] == -1
            some = np.flatnonzero(open_.any(1))
            assert open_[some, pick[some]].all() and (pick[~open_.any(1)] == -1).all()
            moved = rule.pick(F, hull, r.take(order), o.take(order), m.take(order), line.take(order), w.take(order))
            assert np.array_equal(to_numpy(moved), pick[to_numpy(order)])
