"""Disjuncts whose literals contradict each other whatever the network computes.

By Farkas' lemma a system of linear inequalities has no solution exactly if some combination of them with non-negative
factors reads `0 < 0`, or `0 <=` a negative number.  Searching splits of the input set never ends on such a disjunct in
strict form: its gap is zero.  So they are looked for beforehand, cheapest first:

1. a literal can be part of such a combination only if other literals cancel each output that it has;
2. a point that satisfies all that is left, found by projections, shows that there is no contradiction;
3. opposite literals are compared; what remains is a linear program, whose solution is made rational (`spec.farkas`).

Floating point only proposes: a disjunct is dropped for a combination that was checked in rational arithmetic, on the
numbers as the file states them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

from verifier.spec.property import Array, Property

Ints = NDArray[np.int64]
Row = dict[int, Fraction]

MOST_ENTRIES = 4_000_000
"""Coefficients of all disjuncts together up to which they are looked at."""
MOST_PROGRAMS = 100
"""Linear programs solved for one property; a few milliseconds each."""
SWEEPS = 40
"""Projections of a point before a linear program is asked."""
MARGIN = 1e-6
"""How far inside a literal a projection leads, as a share of the terms' size."""


@dataclass(frozen=True)
class Stated:
    """A property's numbers as they were written, without rounding.

    Attributes:
        row: literal -> coefficients by code (`2 i + 1` for input i, `2 i + 2` for output i).
        right: literal -> right-hand side.
        bound: (box, input, whether the upper one) -> the bound, and whether it is strict.
    """

    row: Callable[[int], Row]
    right: Callable[[int], Fraction]
    bound: Callable[[int, int, bool], tuple[Fraction, bool]]


@dataclass(frozen=True)
class Terms:
    """The coefficients of all literals, `[T]` each: literal (ascending), code of the variable, nearest double."""

    literal: Ints
    code: Ints
    value: Array


def without_contradictions(prop: Property, terms: Terms, stated: Stated) -> Property:
    """The property without the disjuncts that are found to contradict themselves.

    Sound because: a dropped disjunct's inequalities, its box's among them, have a combination with non-negative factors
    in which all variables cancel exactly, and which is false; an input and outputs that satisfy them would satisfy it.
    """
    suspects = _suspects(prop, terms)
    if not suspects:
        return prop
    from verifier.spec.farkas import Inequality, combination, opposite, sides  # only here: most properties have none

    gone, left = [], MOST_PROGRAMS
    known: dict[int, Inequality] = {}
    for j, ids in suspects:
        for i in ids.tolist():
            if i not in known:
                known[i] = Inequality(stated.row(i), stated.right(i), bool(prop.strict[i]))
        rows = [known[i] for i in ids.tolist()]
        if opposite(rows):
            gone.append(j)
        elif left and (len(rows) > 2 or any(v % 2 for r in rows for v in r.row)):  # two cancel only if opposite
            left -= 1
            rows += sides(rows, int(prop.box[j]), stated.bound)
            if combination(rows):
                gone.append(j)
    if not gone:
        return prop
    keep = np.ones(prop.n_disjuncts, bool)
    keep[gone] = False
    count = np.diff(prop.start)
    start = np.concatenate([[0], np.cumsum(count[keep])])
    clauses = None if prop.clauses is None else prop.clauses.take(np.flatnonzero(keep))
    literal = prop.literal[np.repeat(keep, count)]
    return replace(prop, box=prop.box[keep], start=start, literal=literal, clauses=clauses)


def _suspects(prop: Property, terms: Terms) -> list[tuple[int, Ints]]:
    """Disjuncts that may contradict themselves, and which of their literals may have a part in it."""
    L, count = len(prop.d), np.diff(prop.start)
    begin = np.searchsorted(terms.literal, np.arange(L + 1))
    over_outputs = np.zeros(L, bool)
    over_outputs[terms.literal[terms.code % 2 == 0]] = True
    owner = np.repeat(np.arange(prop.n_disjuncts), count)
    ref = np.flatnonzero((count[owner] > 1) | ~over_outputs[prop.literal])
    owner, literal = owner[ref], prop.literal[ref]
    length = np.diff(begin)[literal]
    total = int(length.sum())
    if not total or total > MOST_ENTRIES:
        return []
    at = np.arange(total) + np.repeat(begin[literal] - (np.cumsum(length) - length), length)
    entry = np.repeat(np.arange(len(ref)), length)  # which reference a coefficient belongs to
    code, value = terms.code[at], terms.value[at]
    key = owner[entry] * (int(code.max()) + 1) + code
    alive = np.ones(len(ref), bool)
    while True:  # 1: what other literals cannot cancel
        live = alive[entry] & (code % 2 == 0)
        up, down = (np.unique(key[live & side]) for side in (value > 0, value < 0))
        alone = live & ~np.where(value > 0, np.isin(key, down), np.isin(key, up))
        if not alone.any():
            break
        alive[entry[alone]] = False
    kept = np.flatnonzero(alive)
    if not len(kept):
        return []
    number = np.cumsum(alive) - 1
    live = alive[entry]
    system = _System(prop, owner[kept], literal[kept], number[entry[live]], code[live], value[live], key[live])
    bad = system.unsatisfied()
    begin, end = (np.searchsorted(owner[kept], bad, side).tolist() for side in ("left", "right"))  # owners ascend
    return [(int(j), literal[kept[a:b]]) for j, a, b in zip(bad, begin, end, strict=True)]


class _System:
    """Literals of many disjuncts, each disjunct with variables of its own.

    Args:
        owner, literal: `[R]` disjunct and literal of every inequality.
        entry, code, value, key: `[T]` the inequality of every coefficient, its variable, its value, and what names the
            variable among those of all disjuncts.
    """

    def __init__(
        self, prop: Property, owner: Ints, literal: Ints, entry: Ints, code: Ints, value: Array, key: Ints
    ) -> None:
        self.owner, self.entry, self.value = owner, entry, value
        self.right, self.strict = prop.inner_d[literal], prop.strict[literal]
        _, first, self.variable = np.unique(key, return_index=True, return_inverse=True)
        box, of, is_input = prop.box[owner[entry[first]]], (code[first] - 1) // 2, code[first] % 2 == 1
        self.lower, self.upper = np.full(len(first), -np.inf), np.full(len(first), np.inf)
        self.lower[is_input] = prop.inner_lower[box[is_input], of[is_input]]
        self.upper[is_input] = prop.inner_upper[box[is_input], of[is_input]]
        self.square = np.bincount(entry, value * value, len(owner))

    @np.errstate(all="ignore")  # what overflows satisfies nothing
    def unsatisfied(self) -> Ints:
        """Disjuncts for which a few projections find no point that satisfies their inequalities."""
        R = len(self.owner)
        x = np.where(np.isfinite(self.lower), self.lower * 0.5 + self.upper * 0.5, 0.0)
        for _ in range(SWEEPS):
            part = self.value * x[self.variable]
            size = np.maximum(np.bincount(self.entry, abs(part), R) + abs(self.right), 1.0)
            over = np.bincount(self.entry, part, R) - self.right
            fails = ~(over <= np.where(self.strict, -0.5 * MARGIN, 0.0) * size)
            over = over + MARGIN * size
            if not fails.any():
                return np.empty(0, np.int64)
            at = np.flatnonzero(fails)
            worst = at[np.lexsort((-(over / np.sqrt(self.square))[at], self.owner[at]))]
            worst = worst[np.append(True, self.owner[worst][1:] != self.owner[worst][:-1])]  # one a disjunct
            step = np.zeros(R)
            step[worst] = over[worst] / self.square[worst]
            moved = x - np.bincount(self.variable, step[self.entry] * self.value, len(x))
            x = np.clip(np.where(np.isfinite(moved), moved, x), self.lower, self.upper)
        return np.unique(self.owner[at])
