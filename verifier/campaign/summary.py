"""Counts and seconds by benchmark, beside another tool's."""

from __future__ import annotations

import math
from dataclasses import dataclass

from verifier.campaign.rows import Row, contradict

Pairs = list[tuple[Row, Row | None]]
"""Each result with another tool's on the same instance."""
COUNTED = ("sat", "unsat", "unknown", "timeout")
"""Verdicts with a count of their own; all others are `error`."""


@dataclass(frozen=True)
class Beside:
    """Another tool on the same instances.

    Attributes:
        n: how many it has a result for; solved: how many of them it answers; seconds: that its results took.
        ratio: geometric mean of our seconds over its, where both answer; None where both answer nothing.
        disagree: instances where the two answers cannot both be right.
    """

    n: int
    solved: int
    seconds: float
    ratio: float | None
    disagree: int


@dataclass(frozen=True)
class Totals:
    """A benchmark in numbers.

    Attributes:
        name: the benchmark's, or `all`.
        counts: results by verdict (`sat`, `unsat`, `unknown`, `timeout`, `error`); n: of all.
        wrong: answers that contradict the expected one.
        seconds: of all.
        beside: another tool, where there is one.
    """

    name: str
    n: int
    counts: dict[str, int]
    wrong: int
    seconds: float
    beside: Beside | None

    @property
    def solved(self) -> int:
        """How many are answered."""
        return self.counts["sat"] + self.counts["unsat"]


def strange(other: str) -> str:
    """What is said of results beside ours that have no instance in common with them."""
    return f"nothing of {other} is about these instances; they are matched by the names of network and property files"


def families(pairs: Pairs, beside: bool) -> list[Totals]:
    """One a benchmark, in order of their first results; where there are several, `all` at the end."""
    by_name: dict[str, Pairs] = {}
    for mine, other in pairs:
        by_name.setdefault(mine.category, []).append((mine, other))
    told = [_family(name, some, beside) for name, some in by_name.items()]
    return [*told, _family("all", pairs, beside)] if len(told) > 1 else told


def _family(name: str, pairs: Pairs, beside: bool) -> Totals:
    mine = [r for r, _ in pairs]
    counts = {v: sum(r.verdict == v for r in mine) for v in COUNTED}
    counts["error"] = len(mine) - sum(counts.values())
    wrong, seconds = sum(r.wrong for r in mine), math.fsum(r.seconds for r in mine)
    return Totals(name, len(mine), counts, wrong, seconds, _beside(pairs) if beside else None)


def _beside(pairs: Pairs) -> Beside:
    both = [(r, o) for r, o in pairs if o is not None]
    ratios = [r.seconds / o.seconds for r, o in both if r.solved and o.solved and r.seconds > 0 and o.seconds > 0]
    ratio = math.exp(sum(map(math.log, ratios)) / len(ratios)) if ratios else None
    disagree = sum(contradict(r.verdict, o.verdict) for r, o in both)
    return Beside(len(both), sum(o.solved for _, o in both), math.fsum(o.seconds for _, o in both), ratio, disagree)
