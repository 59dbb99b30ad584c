"""Folded networks whose units are not all rectifiers, on random networks of all operators."""

from __future__ import annotations

import numpy as np
import pytest

from tests.laws import folded_cases as laws
from tests.laws.folded_cases import Case
from tests.laws.general_nets import network
from verifier.search.budget import Budget
from verifier.search.decide import by_neurons
from verifier.search.query import make_query
from verifier.spec.builders import output_property
from verifier.values.arrays import Place

SEEDS = range(14)
PLACES = [Place("numpy", "float64"), Place("torch", "float64")]
seeded = pytest.mark.parametrize("seed", SEEDS)
placed = pytest.mark.parametrize("place", PLACES, ids=lambda p: p.kind)


def case(seed: int, place: Place) -> Case:
    rng = np.random.default_rng(seed)
    return laws.case(rng, *network(rng), place)


@placed
@seeded
def test_it_is_the_network(seed: int, place: Place) -> None:
    laws.is_the_network(case(seed, place))


@placed
@seeded
def test_bounds_hold_whatever_is_chosen(seed: int, place: Place) -> None:
    laws.holds_whatever_is_chosen(case(seed, place), np.random.default_rng(seed + 100))


@seeded
def test_gradients(seed: int) -> None:
    laws.gradients(case(seed, PLACES[0]), np.random.default_rng(seed + 200))


@seeded
def test_climbing_climbs_and_tighter_bounds_hold(seed: int) -> None:
    laws.climbs(case(seed, PLACES[0]))


@seeded
def test_splits_cover_and_choose_what_is_open(seed: int) -> None:
    laws.splits_cover(case(seed, PLACES[0]))


@pytest.mark.parametrize("seed", range(20, 40))
def test_never_wrong_about_the_least_output(seed: int) -> None:
    """A threshold just above the least sampled output has a counterexample; one far below may be refuted."""
    rng = np.random.default_rng(seed)
    graph, lower, upper = network(rng)
    x = rng.uniform(lower, upper, (20_000, len(lower)))
    y = graph.evaluate(x)[0][:, 0]
    least, span = float(y.min()), float(np.ptp(y)) + 1e-6
    verdicts = []
    for threshold in (least + 1e-9 * (1 + abs(least)), least - 2 * span):
        prop = output_property(lower, upper, [[(np.array([1.0, 0.0]), threshold)]], "law")
        query = make_query(graph, prop, Place("numpy", "float32"))
        verdicts.append(by_neurons(query, Budget.seconds(0.4), lambda x, group: None).verdict.value)
    assert verdicts[0] != "unsat"
    assert verdicts[1] != "sat"
