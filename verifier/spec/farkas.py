"""Combinations of linear inequalities that read `0 < 0`, checked in rational arithmetic."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property

import numpy as np

Row = dict[int, Fraction]
Key = tuple[tuple[int, Fraction], ...]

MOST_SUPPORT = 100
"""Inequalities in a combination that is made rational."""


@dataclass(frozen=True)
class Inequality:
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


def opposite(rows: list[Inequality]) -> bool:
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


def sides(
    rows: list[Inequality], box: int, bound: Callable[[int, int, bool], tuple[Fraction, bool]]
) -> list[Inequality]:
    """The bounds of the inputs that some row has; `bound` as in `contradictions.Stated`."""
    found = []
    for code in sorted({v for r in rows for v in r.row if v % 2}):
        for upper in (False, True):
            value, strict = bound(box, code // 2, upper)
            sign = 1 if upper else -1
            found.append(Inequality({code: Fraction(sign)}, sign * value, strict))
    return found


def combination(rows: list[Inequality]) -> bool:
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


def _size(r: Inequality) -> float:
    return max(float(abs(c)) for c in r.row.values())


def _rational(rows: list[Inequality], near: list[Fraction], level: bool) -> list[Fraction]:
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


def _false(rows: list[Inequality], factors: list[Fraction]) -> bool:
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
