"""Disjunctions that a property keeps as they are, because multiplying them out would be too large.

Forty `(or …)` over outputs, one after the other, have 10^12 disjuncts.  Such a disjunction is a *clause*: a list of
alternatives, each a conjunction of literals and of earlier clauses, so that any and/or formula is a small number of
them.  A disjunct of a property holds where its box, its literals and its clauses do.  Whoever leaves the clauses out
asks about more inputs than the property does: sound for proofs, and a witness is tested with them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Nest:
    """C clauses over L literals, whatever these are.

    Attributes:
        L: how many literals.
        first: `[C + 1]`: clause c has the alternatives `first[c]:first[c + 1]`, at least one.
        start: `[A + 1]`, member: alternative a is the conjunction of `member[start[a]:start[a + 1]]`, at least one;
            below L a literal, else clause `member − L`, which is smaller than the alternative's own.
    """

    L: int
    first: Ints
    start: Ints
    member: Ints

    def __len__(self) -> int:
        """C."""
        return len(self.first) - 1

    @cached_property
    def levels(self) -> tuple[Ints, ...]:
        """The clauses, level by level: those of a level refer to clauses of earlier ones only."""
        level = np.zeros(len(self), np.int64)
        begin = self.start[self.first]  # members of a clause's alternatives lie side by side
        for c in range(len(self)):
            below = self.member[begin[c] : begin[c + 1]] - self.L
            below = below[below >= 0]
            level[c] = level[below].max() + 1 if len(below) else 0
        order = np.argsort(level, kind="stable")
        return tuple(np.split(order, np.flatnonzero(np.diff(level[order])) + 1)) if len(self) else ()

    def combined(self, literal: Array) -> Array:
        """Values `[P, C]` of the clauses from values `[P, L]` of the literals: the least of the largest.

        Of margins (holds where `<= 0`) it makes margins.  With lower bounds it gives lower bounds, with upper ones
        upper bounds, because least and largest grow with what they are of.
        """
        return self.traced(literal)[0]

    def traced(self, literal: Array) -> tuple[Array, Ints]:
        """The same, and `[P, C]` a literal whose value that is."""
        P, C = len(literal), len(self)
        value = np.concatenate([literal, np.zeros((P, C))], 1)
        source = np.concatenate([np.broadcast_to(np.arange(self.L), (P, self.L)), np.zeros((P, C), np.int64)], 1)
        for some in self.levels:
            a = ranges(self.first[some], self.first[some + 1])
            of = self.member[ranges(self.start[a], self.start[a + 1])]
            size, count = self.start[a + 1] - self.start[a], self.first[some + 1] - self.first[some]
            found, at = _extreme(np.maximum, value[:, of], size)
            inside = np.take_along_axis(source[:, of], at, 1)
            found, at = _extreme(np.minimum, found, count)
            value[:, self.L + some], source[:, self.L + some] = found, np.take_along_axis(inside, at, 1)
        return value[:, self.L :], source[:, self.L :]

    def hold(self, clauses: Ints, literal: Callable[[int], bool]) -> bool:
        """Whether all of some clauses hold, where `literal` says it of a literal; asked for no more than is needed."""
        L, known = self.L, dict[int, bool]()

        def true(i: int) -> bool:
            if i not in known:
                known[i] = (
                    literal(i) if i < L else any(map(alternative, range(self.first[i - L], self.first[i - L + 1])))
                )
            return known[i]

        def alternative(a: int) -> bool:
            return all(true(int(i)) for i in self.member[self.start[a] : self.start[a + 1]])

        # Earlier clauses first: those that others are made of are known by then, so that depth needs no stack.
        for c in self._below(clauses):
            true(L + c)
        return all(true(L + int(c)) for c in clauses)

    def _below(self, clauses: Ints) -> list[int]:
        """The clauses that others refer to, behind some ones, in order; none where nothing is nested."""
        if len(self.levels) == 1:
            return []
        seen, todo = set[int](), [int(c) for c in clauses]
        while todo:
            c = todo.pop()
            members = self.member[self.start[self.first[c]] : self.start[self.first[c + 1]]] - self.L
            new = set(members[members >= 0].tolist()) - seen
            seen |= new
            todo += new
        return sorted(seen)


@dataclass(frozen=True, eq=False)
class Clauses:
    """C clauses over L literals `Σ value·variable <= d` (or `<`) of their own, and which disjuncts need them.

    Attributes:
        term: `[L + 1]`, column, value: literal l has the terms `term[l]:term[l + 1]`; column i is input i, and behind
            the inputs come the outputs; nearest doubles.
        d, inner_d, strict, inexact: `[L]` as of `Property`.
        nest: how the clauses are made of the literals.
        needs: `[J + 1]`, clause: disjunct j of the property has the clauses `clause[needs[j]:needs[j + 1]]`.
    """

    term: Ints
    column: Ints
    value: Array
    d: Array
    inner_d: Array
    strict: NDArray[np.bool_]
    inexact: NDArray[np.bool_]
    nest: Nest
    needs: Ints
    clause: Ints

    def __len__(self) -> int:
        """C."""
        return len(self.nest)

    def of(self, j: int) -> Ints:
        """The clauses of disjunct `j`."""
        return self.clause[self.needs[j] : self.needs[j + 1]]

    def take(self, disjuncts: Ints) -> Clauses:
        """The same clauses for some of the disjuncts, in their order."""
        parts = [self.of(int(j)) for j in disjuncts]
        needs = np.cumsum([0, *map(len, parts)], dtype=np.int64)
        return replace(self, needs=needs, clause=np.concatenate([self.clause[:0], *parts]))

    def only_order(self, n: int) -> bool:
        """Whether every literal compares two outputs, and nothing else, behind `n` inputs."""
        two = bool((np.diff(self.term) == 2).all() and (self.column >= n).all())
        return two and not (self.d.any() or self.inner_d.any() or np.add.reduceat(self.value, self.term[:-1]).any())

    def margins(self, x: Array, y: Array, inner: bool = True) -> tuple[Array, Array]:
        """How far literals are from holding at points (holds where `<= 0`), and the magnitudes behind: `[P, L]` each.

        Args:
            x: `[P, n]`.  y: `[P, m]`.  inner: whether for right-hand sides rounded down, or up.
        """
        at, d = np.concatenate([x, y], 1), self.inner_d if inner else self.d
        product = at[:, self.column] * self.value
        begin = self.term[:-1]
        return (
            np.add.reduceat(product, begin, 1) - d,
            np.add.reduceat(abs(product), begin, 1) + abs(d),
        )

    def literal_holds(self, i: int, at: Callable[[int], Fraction]) -> bool:
        """Whether literal `i` holds exactly for exact values of the columns."""
        total, size = Fraction(0), Fraction(0)
        for k in range(int(self.term[i]), int(self.term[i + 1])):
            product = Fraction(float(self.value[k])) * at(int(self.column[k]))
            total, size = total + product, size + abs(product)
        return decided(total, size, self.inner_d[i], bool(self.strict[i]), bool(self.inexact[i]))


def decided(total: Fraction, size: Fraction, inner_d: float, strict: bool, inexact: bool) -> bool:
    """Whether a left-hand side, and the sum of its products' magnitudes, satisfy a literal exactly."""
    if inexact:  # coefficients are within 2**-53 of the stated ones: ask for what that may change
        total += size / 2**52
    bound = Fraction(float(inner_d))
    return total < bound if strict else total <= bound


def _extreme(which: np.ufunc, value: Array, size: Ints) -> tuple[Array, Ints]:
    """The extreme of each run of columns, of such sizes, and in which column it is found first."""
    first = begins(size)
    found = which.reduceat(value, first, 1)
    here = value == np.repeat(found, size, 1)
    return found, np.minimum.reduceat(np.where(here, np.arange(value.shape[1]), value.shape[1] - 1), first, 1)


def ranges(begin: Ints, end: Ints) -> Ints:
    """The numbers of all ranges, one behind the other."""
    size = end - begin
    return np.arange(int(size.sum())) + np.repeat(begin - begins(size), size)


def begins(size: Ints) -> Ints:
    """Where runs of such sizes begin."""
    return np.cumsum(size) - size
