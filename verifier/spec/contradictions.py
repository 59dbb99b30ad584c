"""Disjuncts whose literals contradict each other whatever the network computes.

By Farkas' lemma a system of linear inequalities has no solution exactly if some combination of them with non-negative
factors reads `0 < 0`, or `0 <=` a negative number.  Searching splits of the input set never ends on such a disjunct in
strict form: its gap is zero.  So they are looked for beforehand, cheapest first:

1. a literal can be part of such a combination only if other literals cancel each output that it has;
2. a point that satisfies all that is left, found by projections, shows that there is no contradiction;
3. opposite literals are compared; what remains is a linear program, whose solution is made rational.

Floating point only proposes: a disjunct is dropped for a combination that was checked in rational arithmetic, on the
numbers as the file states them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from verifier.spec.property import Array, Property

Ints = NDArray[np.int64]
Row = dict[int, Fraction]
Key = tuple[tuple[int, Fraction], ...]

MOST_ENTRIES = 4_000_000
"""Coefficients of all disjuncts together up to which they are looked at."""
MOST_PROGRAMS = 100
"""Linear programs solved for one property; a few milliseconds each."""
MOST_SUPPORT = 100
"""Inequalities in a combination that is made rational."""
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


@dataclass(frozen=True)
class _Inequality:
    """`row · variables <= right`, or `<`."""

    row: Row
    right: Fraction
    strict: bool

    @cached_property
    def normal(self) -> tuple[Key, Key, tuple[Fraction, int]]:
        """Its left-hand side with a first coefficient of size 1, that with all signs turned, and its right-hand side.

        Of two with one number the strict one is the tighter, and the smaller here.
        """
        items = sorted(self.row.items())
        scale = abs(items[0][1])
        key, opposite = (tuple((v, sign * c / scale) for v, c in items) for sign in (1, -1))
        return key, opposite, (self.right / scale, -int(self.strict))


def without_contradictions(prop: Property, terms: Terms, stated: Stated) -> Property:
    """The property without the disjuncts that are found to contradict themselves.

    Sound because: a dropped disjunct's inequalities, its box's among them, have a combination with non-negative factors
    in which all variables cancel exactly, and which is false; an input and outputs that satisfy them would satisfy it.
    """
    gone, left = [], MOST_PROGRAMS
    known: dict[int, _Inequality] = {}
    for j, ids in _suspects(prop, terms):
        for i in ids.tolist():
            if i not in known:
                known[i] = _Inequality(stated.row(i), stated.right(i), bool(prop.strict[i]))
        rows = [known[i] for i in ids.tolist()]
        if _opposite(rows):
            gone.append(j)
        elif left and (len(rows) > 2 or any(v % 2 for r in rows for v in r.row)):  # two cancel only if opposite
            left -= 1
            rows += _sides(rows, int(prop.box[j]), stated)
            if _combination(rows):
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


def _opposite(rows: list[_Inequality]) -> bool:
    """Whether two inequalities with opposite left-hand sides (up to a positive factor) leave nothing between them."""
    least: dict[Key, tuple[Fraction, int]] = {}
    for r in rows:
        key, opposite, right = r.normal
        least[key] = min(least.get(key, right), right)
        if opposite in least:
            total = least[opposite][0] + right[0]
            if total < 0 or (total == 0 and (r.strict or least[opposite][1] < 0)):
                return True
    return False


def _sides(rows: list[_Inequality], box: int, stated: Stated) -> list[_Inequality]:
    """The bounds of the inputs that some row has."""
    found = []
    for code in sorted({v for r in rows for v in r.row if v % 2}):
        for upper in (False, True):
            value, strict = stated.bound(box, code // 2, upper)
            sign = 1 if upper else -1
            found.append(_Inequality({code: Fraction(sign)}, sign * value, strict))
    return found


def _combination(rows: list[_Inequality]) -> bool:
    """Whether a combination of the rows is false, by a linear program and a check in rational numbers.

    The program has factors that add up to one, and maximises how much less than zero the right-hand side is, plus the
    factors of strict rows.
    """
    from scipy.optimize import linprog  # only here: hardly any property comes so far
    from scipy.sparse import coo_array, vstack

    scale = np.array([_size(r) for r in rows])
    number = {v: k for k, v in enumerate(sorted({v for r in rows for v in r.row}))}
    flat = [(number[v], i, float(c) / scale[i]) for i, r in enumerate(rows) for v, c in r.row.items()]
    at, column, value = (np.array(a) for a in zip(*flat, strict=True))
    n = len(rows)
    cancel = coo_array((value, (at, column)), shape=(len(number), n + 1)).tocsr()
    right = np.array([float(r.right) for r in rows]) / scale
    unit = max(1.0, float(abs(right).max()))
    gain = np.append([float(r.strict) for r in rows], 1.0)
    equal = vstack([cancel, np.append(np.ones(n), 0.0)[None]])
    level = np.append(right / unit, 1.0)[None]
    goal = np.append(np.zeros(len(number)), 1.0)
    found = linprog(-gain, level, [0.0], equal, goal, method="highs", options={"time_limit": 1.0})
    if found.x is None:
        return False
    some = np.flatnonzero(found.x[:n] > 1e-9)
    if not 0 < len(some) <= MOST_SUPPORT:
        return False
    chosen = [rows[i] for i in some]
    near = [Fraction(float(f)).limit_denominator(10**6) for f in found.x[some] / scale[some]]
    return any(_false(chosen, _rational(chosen, near, level)) for level in (False, True))


def _size(r: _Inequality) -> float:
    return max(float(abs(c)) for c in r.row.values())


def _rational(rows: list[_Inequality], near: list[Fraction], level: bool) -> list[Fraction]:
    """Factors near `near` for which all variables cancel exactly (and, with `level`, the right-hand side, too).

    Gauss and Jordan: what the equations leave free stays as it is, the others follow.
    """
    n = len(rows)
    equations = [[r.row.get(v, Fraction(0)) for r in rows] for v in sorted({v for r in rows for v in r.row})]
    if level:
        equations.append([r.right for r in rows])
    pivots: list[int] = []
    done: list[list[Fraction]] = []
    for equation in equations:
        for p, row in zip(pivots, done, strict=True):
            if equation[p]:
                f = equation[p]
                equation = [a - f * b for a, b in zip(equation, row, strict=True)]
        lead = next((k for k in range(n) if equation[k]), None)
        if lead is None:
            continue
        new = [a / equation[lead] for a in equation]
        done = [[a - row[lead] * b for a, b in zip(row, new, strict=True)] for row in done]
        pivots.append(lead)
        done.append(new)
    factors = list(near)
    free = [k for k in range(n) if k not in pivots]
    for p, row in zip(pivots, done, strict=True):
        factors[p] = -sum((row[k] * factors[k] for k in free), Fraction(0))
    return factors


def _false(rows: list[_Inequality], factors: list[Fraction]) -> bool:
    """Whether the sum of the rows times their factors is a false statement without variables: exact, and decisive."""
    if min(factors) < 0:
        return False
    total: Row = {}
    for r, f in zip(rows, factors, strict=True):
        for v, c in r.row.items():
            total[v] = total.get(v, Fraction(0)) + f * c
    if any(total.values()):
        return False
    right = sum((f * r.right for r, f in zip(rows, factors, strict=True)), Fraction(0))
    strict = any(f > 0 and r.strict for r, f in zip(rows, factors, strict=True))
    return right < 0 or (right == 0 and strict)
