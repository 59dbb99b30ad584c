"""Which bounds pay: what is measured, and when."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from verifier.search.budget import Clock
from verifier.search.domains import Domains
from verifier.search.ladder import SAMPLE, Ladder


class Told(Clock):
    """Time that passes when somebody says so."""

    def __init__(self) -> None:
        self.at = 0.0

    def now(self) -> float:
        return self.at


def domains(n: int) -> Domains:
    none = np.zeros((n, 1))
    return Domains(none, none + 1, np.zeros(n, int), none == 0, np.ones(n), np.zeros((n, 0), np.int8), np.ones(n))


class Bounding:
    """Bounds that cost a unit a domain, twice that backward; what the first call of each way takes comes on top."""

    def __init__(self, clock: Told, first: float, gains: float) -> None:
        self.clock, self.first, self.gains, self.calls = clock, first, gains, list[tuple[int, bool]]()

    def __call__(self, d: Domains, thorough: bool) -> Any:
        self.clock.at += len(d) * (2.0 if thorough else 1.0)
        if thorough not in [way for _, way in self.calls]:
            self.clock.at += self.first
        self.calls.append((len(d), thorough))
        return SimpleNamespace(gap=np.full(len(d), 0.9 / self.gains if thorough else 0.9))


def test_what_is_done_for_the_first_time_costs_nobody() -> None:
    """Whether or not there was a round before: with what the first calls cost counted, it would be the other way."""
    for before in (1, SAMPLE):
        clock = Told()
        bound, ladder = Bounding(clock, 1e6, 1.0), Ladder()
        if before < SAMPLE:
            ladder.watch(domains(before), bound, clock)
            bound(domains(before), ladder.thorough)
        ladder.watch(domains(SAMPLE), bound, clock)
        assert not ladder.thorough, "the same gaps for twice the time"
        assert {n for n, _ in bound.calls} == {1, SAMPLE}


def test_what_paid_for_few_domains_is_asked_again_when_there_are_many() -> None:
    """Batches that double: after a dozen rounds there are thousands of domains."""
    clock = Told()
    bound, ladder, told = Bounding(clock, 0.0, 1.0), Ladder(), []
    for n in (2**k for k in range(13)):
        bound.gains = 1.0 if n < 128 else 9.0  # small boxes gain by it
        ladder.watch(domains(n), bound, clock)
        told.append(ladder.thorough)
    assert told[4] and not told[6] and told[-3:] == [True] * 3
    assert sum(n for n, _ in bound.calls) < 0.1 * 2**13, "trials cost little"
