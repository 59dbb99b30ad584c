"""Bounds of inputs that follow from linear constraints with other inputs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from fractions import Fraction

from verifier.spec.query2 import Polynomial

SWEEPS = 8
"""Passes over all constraints: chains of inequalities are followed so far."""


def derive(facts: Sequence[tuple[Polynomial, str, int]], n: int) -> Iterator[tuple[Polynomial, int]]:
    """Bounds `polynomial <= 0` of single inputs that lack one, and the lines that they follow from.

    Args:
        facts: linear polynomials over `n` inputs, the operator (`<`, `<=`, `==`) that compares them with 0, the line.

    Sound because each is implied: where `c·x + Σ a_i·x_i + b <= 0` and every other term is at least its value at the
    bound that makes it least, `c·x <= −b − Σ min a_i·x_i`.  Exact arithmetic throughout.
    """
    low: list[Fraction | None] = [None] * n
    high: list[Fraction | None] = [None] * n
    rows = []
    for p, op, line in facts:
        row = {m[0]: Fraction(c) for m, c in p.items() if m}
        constant = Fraction(p.get((), 0))
        rows.append((row, constant, line))
        if op == "==":
            rows.append(({i: -c for i, c in row.items()}, -constant, line))
    for row, constant, _ in rows:
        if len(row) == 1:
            _tighten(row, constant, low, high)
    stated = [(a is not None, b is not None) for a, b in zip(low, high, strict=True)]
    where: dict[tuple[int, bool], int] = {}
    several = [r for r in rows if len(r[0]) > 1]
    for _ in range(SWEEPS):
        changed = False
        for row, constant, line in several:
            for key in _tighten(row, constant, low, high, only_missing=True):
                where[key] = line
                changed = True
        if not changed:
            break
    for (i, upper), line in where.items():
        value = high[i] if upper else low[i]
        if value is None or stated[i][upper]:
            continue
        yield ({(i,): 1, (): -value} if upper else {(i,): -1, (): value}), line


def _tighten(
    row: dict[int, Fraction],
    constant: Fraction,
    low: list[Fraction | None],
    high: list[Fraction | None],
    only_missing: bool = False,
) -> list[tuple[int, bool]]:
    """Bound each input by `row·x + constant <= 0` and the bounds of the others; which (input, upper) changed."""
    least = {i: (low[i] if c > 0 else high[i]) for i, c in row.items()}
    unknown = [i for i, v in least.items() if v is None]
    changed = []
    for i, c in row.items():
        if unknown and unknown != [i]:
            continue
        rest = constant + sum((row[j] * v for j, v in least.items() if j != i and v is not None), Fraction(0))
        bound, upper = -rest / c, c > 0
        side = high if upper else low
        old = side[i]
        if old is None or (not only_missing and (bound < old if upper else bound > old)):
            side[i] = bound
            changed.append((i, upper))
    return changed
