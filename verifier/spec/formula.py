"""And/or trees over literals, as the readers of both language versions build them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NoReturn

from verifier.spec.decimals import NotANumber, Pool

AND, OR = "and", "or"

Exact = int | Fraction
Term = tuple[Exact, dict[int, Exact]]
"""A constant, and the coefficients of variables by code (`2 i + 1` for input i, `2 i + 2` for output i)."""
Child = list[int] | int
"""A conjunction of literals as flat ranges [first, count, first, count, ...], or the number of a node."""
Fail = Callable[[int, str], NoReturn]
"""Raises a PropertyError that points at a place in the text."""

_MAX_BITS = 1 << 15


@dataclass
class Formula:
    """What a file states.

    Attributes:
        nodes: and/or nodes, children before parents.
        root: the children of the conjunction of all assertions.
        literals: those made one by one, numbered behind the plain ones of the tokens.
        rows: left-hand sides of general literals, as sorted (variable code, coefficient) pairs.
        rows_at: places, one a row.
        declared: (variable code, place) of every declaration that the lexer left to the parser.
    """

    nodes: list[tuple[str, list[Child]]] = field(default_factory=list)
    root: list[Child] = field(default_factory=list)
    literals: list[tuple[int, int, int, int, bool, bool, int]] = field(default_factory=list)
    rows: list[tuple[tuple[int, Exact], ...]] = field(default_factory=list)
    rows_at: list[int] = field(default_factory=list)
    declared: list[tuple[int, int]] = field(default_factory=list)


class Composer:
    """Adds literals and nodes to a formula.

    Args:
        pool: the numbers; fail: how to refuse; n_plain: how many literals there are besides those made here.
    """

    def __init__(self, pool: Pool, fail: Fail, n_plain: int = 0) -> None:
        self.pool, self.fail, self.n_plain = pool, fail, n_plain
        self.out = Formula()
        self._row_of: dict[tuple[tuple[int, Exact], ...], int] = {}

    def literal(self, term: Term, op: str, at: int) -> int:
        """The literal `term op 0` (`<=` or `<`), with small shapes brought to `p - q <= number`."""
        right, row = -term[0], term[1]
        p = q = 0
        items = sorted(row.items())
        if len(items) == 1:
            code, c = items[0]
            if code % 2:  # one input: a bound, divide by the coefficient
                right = right if c in (1, -1) else Fraction(right) / (c if c > 0 else -c)
                c = 1 if c > 0 else -1
            p, q = (code, 0) if c == 1 else (0, code) if c == -1 else (self._row(items, at), 0)
        elif len(items) == 2 and {items[0][1], items[1][1]} == {1, -1}:
            p, q = (items[0][0], items[1][0]) if items[0][1] == 1 else (items[1][0], items[0][0])
        elif items:
            p = self._row(items, at)
        try:
            number, sign = self.pool.fraction(right)
        except NotANumber as error:
            self.fail(at, f"{error} after folding constants; rescale the comparison")
        return self.new((p, q, number, sign, op == "<", False, at))

    def new(self, entry: tuple[int, int, int, int, bool, bool, int]) -> int:
        """A literal from its columns (see `Literals`)."""
        self.out.literals.append(entry)
        return self.n_plain + len(self.out.literals) - 1

    def join(self, op: str, children: list[Child]) -> Child:
        """The and/or of some children (at least one)."""
        if len(children) == 1:
            return children[0]
        if op == AND and all(isinstance(child, list) for child in children):
            return [number for child in children if isinstance(child, list) for number in child]
        self.out.nodes.append((op, children))
        return len(self.out.nodes) - 1

    def checked(self, value: Exact, at: int) -> Exact:
        """The number, unless it has grown beyond what is sensible."""
        if value.numerator.bit_length() + value.denominator.bit_length() > _MAX_BITS:
            self.fail(at, "constants combine to more digits than can be kept exactly; round them first")
        return value

    def _row(self, items: list[tuple[int, Exact]], at: int) -> int:
        found = self._row_of.setdefault(tuple(items), len(self.out.rows))
        if found == len(self.out.rows):
            self.out.rows.append(tuple(items))
            self.out.rows_at.append(at)
        return -1 - found
