"""Literals and an and/or tree over them to a `Property`: the normal form, its boxes, its matrices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from itertools import chain
from typing import Any, NoReturn

import numpy as np

from verifier.spec import dnf
from verifier.spec.clauses import Clauses, Nest
from verifier.spec.contradictions import Stated, Terms, without_contradictions
from verifier.spec.decimals import Ints, Pool
from verifier.spec.dnf import FALSE, Former, Rows, TooLarge, classes
from verifier.spec.formula import AND, Child, Exact, Fail, Formula
from verifier.spec.lexer import Bools, Literals
from verifier.spec.property import Array, Property
from verifier.values.errors import PropertyError

_MAX_ENTRIES = 100_000_000
_TINY = float(np.finfo(np.float64).tiny)


@dataclass(frozen=True)
class Layout:
    """What the variables are, and how to refuse.

    Attributes:
        n_inputs, n_outputs: how many.
        name: what input i is called, for messages.
        source: the file's name.
        fail: raises a PropertyError that points at a place in the text.
    """

    n_inputs: int
    n_outputs: int
    name: Callable[[int], str]
    source: str
    fail: Fail


def compiled(literals: Literals, formula: Formula, pool: Pool, layout: Layout) -> Property:
    """The property.

    Args:
        literals: all that the formula's numbers refer to; its rows are those of `formula.rows`.
        pool: the numbers of the literals.

    Raises:
        PropertyError: it is too large, an input is not bounded on both sides, or a coefficient does not fit a double.
    """
    return _Compiler(formula, layout).run(_Table(literals, formula, pool, layout.n_inputs))


class _Compiler:
    def __init__(self, formula: Formula, layout: Layout) -> None:
        self.formula, self.layout = formula, layout
        self.n_inputs, self.n_outputs, self.fail = layout.n_inputs, layout.n_outputs, layout.fail

    def refuse(self, message: str) -> NoReturn:
        raise PropertyError(f"{self.layout.source}: {message}")

    def run(self, table: _Table) -> Property:
        try:
            try:
                base, rows = table.expand(self.formula)
            except TooLarge:  # not even in part: nothing is multiplied out
                base, rows = table.expand(self.formula, 1)
        except TooLarge as error:
            self.refuse(f"{error}; split the property into several files")
        return self._property(table, self.formula, base, rows)

    def _property(self, table: _Table, formula: Formula, base: Rows, rows: Rows) -> Property:
        n, is_bound = self.n_inputs, table.former.slot < 2 * self.n_inputs  # ids of clauses are at the end
        entry, ids = rows.gather(np.arange(len(rows)))
        bound = is_bound[ids]
        per_row = np.bincount(entry[bound], minlength=len(rows))
        bounds = Rows(np.concatenate([[0], np.cumsum(per_row)]), ids[bound])
        box, first = classes(bounds)
        if len(first) * n > _MAX_ENTRIES:
            self.refuse(f"{len(first):,} boxes over {n:,} inputs are too large to hold; split it into several files")
        chosen = np.full((len(first), 2 * n), -1, np.int64)
        common = is_bound[base.ids]
        chosen[:, table.former.slot[base.ids[common]]] = base.ids[common]
        k, tight = bounds.gather(first)
        chosen[k, table.former.slot[tight]] = tight
        if len(chosen) and (chosen < 0).any():
            j, slot = np.argwhere(chosen < 0)[0]
            side = "upper" if slot % 2 else "lower"
            where = "" if len(chosen) == 1 else f" in disjunct {int(first[j])} of {len(rows)}"
            name = self.layout.name(int(slot) // 2)
            self.refuse(f"input {name} has no {side} bound{where}; every input must be bounded on both sides")
        outer, inner = table.bounds()
        low, high = chosen[:, 0::2], chosen[:, 1::2]

        # Literals of the whole property come first in every disjunct.
        shared = base.ids[~common].astype(np.int64)
        per_row = np.diff(rows.start) - per_row
        start = np.concatenate([[0], np.cumsum(per_row + len(shared))])
        literal = np.empty(int(start[-1]), np.int64)
        is_shared = np.zeros(len(literal), bool)
        at = (start[:-1, None] + np.arange(len(shared))).reshape(-1)
        is_shared[at] = True
        literal[at] = np.tile(shared, len(rows))
        literal[~is_shared] = ids[~bound]
        clauses = None
        if len(table.former.clauses):
            start, literal, clauses = self._with_clauses(table, start, literal)
        used, literal = np.unique(literal, return_inverse=True)
        terms = self._terms(table, used)
        try:
            A_y, A_x = self._matrices(terms, len(used))
        except (MemoryError, ValueError):
            self.refuse(f"{len(used):,} literals over {self.n_outputs:,} outputs do not fit in memory; split the file")
        d, inner_d, strict = table.sides(used)
        prop = Property(outer[low], outer[high], inner[low], inner[high], box, start, literal, A_y, A_x, d, inner_d,
                        strict, terms.inexact, self.layout.source, clauses=clauses)  # fmt: skip
        which = table.former.slot[used] - 2 * n
        whole = Terms(terms.row, terms.code, terms.value)
        return without_contradictions(prop, whole, table.stated(self.formula, which, chosen))

    def _with_clauses(self, table: _Table, start: Ints, literal: Ints) -> tuple[Ints, Ints, Clauses | None]:
        """The literals of the disjuncts without ids of clauses, and the clauses that these stand for."""
        L, made = table.former.n_literals, table.former.clauses
        owner, kept = np.repeat(np.arange(len(start) - 1), np.diff(start)), literal < L
        needed = np.zeros(len(made), bool)
        needed[literal[~kept] - L] = True
        for c in range(len(made) - 1, -1, -1):  # a clause is made of earlier ones
            if needed[c]:
                ids = made[c].ids
                needed[ids[ids >= L] - L] = True
        chosen, number = np.flatnonzero(needed), np.cumsum(needed) - 1
        if not len(chosen):
            return start, literal, None
        members = np.concatenate([made[c].ids for c in chosen]).astype(np.int64)
        used = np.unique(members[members < L])
        clause = members >= L
        member = np.where(clause, len(used) + number[np.where(clause, members - L, 0)], 0)
        member[~clause] = np.searchsorted(used, members[~clause])
        sizes = np.concatenate([np.diff(made[c].start) for c in chosen])
        terms = self._terms(table, used)
        outer = terms.code % 2 == 0
        column = (terms.code - 1) // 2 + np.where(outer, self.n_inputs, 0)
        order = np.lexsort((column, terms.row))
        term = np.searchsorted(terms.row[order], np.arange(len(used) + 1))
        d, inner_d, strict = table.sides(used)
        needs = np.concatenate([[0], np.cumsum(np.bincount(owner[~kept], minlength=len(start) - 1))])
        clauses = Clauses(term, column[order], terms.value[order], d, inner_d, strict, terms.inexact,
                          Nest(len(used), _ends([len(made[c]) for c in chosen]), _ends(sizes), member), needs,
                          number[literal[~kept] - L])  # fmt: skip
        return (
            np.concatenate([[0], np.cumsum(np.bincount(owner[kept], minlength=len(start) - 1))]),
            literal[kept],
            clauses,
        )

    def _terms(self, table: _Table, used: Ints) -> _Terms:
        row: list[int] = []
        code: list[int] = []
        value: list[float] = []
        inexact = np.zeros(len(used), bool)
        for i, (p, q) in enumerate(zip(*(side.tolist() for side in table.pairs(used)), strict=True)):
            if p < 0:
                for v, c in self.formula.rows[-1 - p]:
                    near, exact = self._coefficient(c, self.formula.rows_at[-1 - p])
                    row.append(i)
                    code.append(v)
                    value.append(near)
                    inexact[i] |= not exact
                continue
            for v, sign in ((p, 1.0), (q, -1.0)):
                if v:
                    row.append(i)
                    code.append(v)
                    value.append(sign)
        return _Terms(np.array(row, np.int64), np.array(code, np.int64), np.array(value), inexact)

    def _matrices(self, terms: _Terms, L: int) -> tuple[Array, Array | None]:
        rows, codes, values = terms.row, terms.code, terms.value
        # Zeroed pages cost no memory until written, so a wide sparse matrix stays cheap.
        A_y = np.zeros((L, self.n_outputs))
        out = codes % 2 == 0
        A_y[rows[out], (codes[out] - 1) // 2] = values[out]
        A_x = None
        if not out.all():
            A_x = np.zeros((L, self.n_inputs))
            A_x[rows[~out], (codes[~out] - 1) // 2] = values[~out]
        return A_y, A_x

    def _coefficient(self, exact: Exact, at: int) -> tuple[float, bool]:
        try:
            near = exact.numerator / exact.denominator
        except OverflowError:
            self.fail(at, "a coefficient beyond the range of doubles; rescale the comparison")
        same = Fraction(near) == exact
        if not same and abs(near) < _TINY:
            self.fail(at, "a coefficient too close to zero for a double; rescale the comparison")
        return near, same


@dataclass(frozen=True)
class _Terms:
    """Left-hand sides: `value` times the variable `code` in `row`; inexact: `[L]`."""

    row: Ints
    code: Ints
    value: Array
    inexact: Bools


def _ends(sizes: Any) -> Ints:
    return np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)


class _Table:
    """All literals as (slot, key) pairs, ready for the normal form."""

    def __init__(self, literals: Literals, formula: Formula, pool: Pool, n_inputs: int) -> None:
        rank, self.ranked = pool.rank(literals.number)
        rank *= literals.sign
        self.n_inputs = n_inputs
        # `=` is two literals: itself and its mirror image, behind one another.
        self.first = np.concatenate([[0], np.cumsum(1 + literals.equal.astype(np.int64))])
        own = np.repeat(np.arange(len(literals.p)), 1 + literals.equal) if literals.equal.any() else slice(None)
        p, q, rank, strict = literals.p[own], literals.q[own], rank[own], literals.strict[own]
        mirror = self.first[1:][literals.equal] - 1
        p[mirror], q[mirror], rank[mirror] = q[mirror], p[mirror], -rank[mirror]
        key = strict - 2 * rank
        x = (p & 1 == 1) & (p > 0) & (q == 0), (q & 1 == 1) & (p == 0)
        slot = np.where(x[0], p, q - 1).astype(np.int64)  # X_i has the code 2 i + 1: upper slot 2 i + 1, lower slot 2 i
        constant = p == q
        rest = np.flatnonzero(~(x[0] | x[1] | constant))
        order = rest[np.lexsort((strict[rest], rank[rest], q[rest], p[rest]))]
        new = np.ones(len(order), bool)
        same = np.ones(max(len(order) - 1, 0), bool)
        for column in (p, q, rank, strict):
            same &= column[order[1:]] == column[order[:-1]]
        new[1:] = ~same
        slot[order], key[order] = 2 * n_inputs + np.cumsum(new) - 1, 0
        chosen = order[new]
        self.row_p, self.row_q, self.row_rank, self.row_strict = p[chosen], q[chosen], rank[chosen], strict[chosen]
        false = 2 * n_inputs + len(chosen)
        holds = constant & (key <= 0)
        slot[constant], key[constant] = false, 0
        span = 2 * int(np.abs(key).max(initial=0)) + 1
        code = slot * span + (key + span // 2)
        distinct = np.unique(code)
        self.ids = np.searchsorted(distinct, code).astype(np.int32)
        self.ids[holds] = -1
        slots, keys = np.divmod(distinct, span)
        false_id = len(distinct) - 1 if len(distinct) and slots[-1] == false else -2
        self._ids = slots, keys - span // 2, 2 * n_inputs, false_id
        self.former = Former(*self._ids)

    def expand(self, formula: Formula, choices: int | None = None) -> tuple[Rows, Rows]:
        """(one row that all disjuncts share, the disjuncts without it); raises TooLarge."""
        choices = dnf.MOST_CHOICES if choices is None else choices
        self.former = Former(*self._ids, len(formula.nodes), choices)
        made: list[Rows] = []
        for op, children in formula.nodes:
            if op == AND:
                made.append(self.former.spread(*self._and(children, made)))
            else:
                made.append(self._or(children, made))
        base, rows = self._and(formula.root, made)
        return (base, rows) if len(rows) else (FALSE, FALSE)

    def _and(self, children: list[Child], made: list[Rows]) -> tuple[Rows, Rows]:
        single = self._entries([child for child in children if isinstance(child, list)])[1]
        return self.former.all_of(single, [made[child] for child in children if isinstance(child, int)])

    def _or(self, children: list[Child], made: list[Rows]) -> Rows:
        parts: list[Rows] = []
        leaves: list[list[int]] = []
        for child in [*children, -1]:
            if isinstance(child, list):
                leaves.append(child)
                continue
            if leaves:  # a run of conjunctions at once
                row, ids = self._entries(leaves)
                parts.append(self.former.tidy(row, ids, len(leaves)))
                leaves = []
            if child >= 0:
                parts.append(made[child])
        return self.former.any_of(parts)

    def _entries(self, leaves: list[list[int]]) -> tuple[Ints, np.ndarray]:
        """(leaf, id) of every literal of the leaves that is not plainly true."""
        flat = np.fromiter(chain.from_iterable(leaves), np.int64)
        owner = np.repeat(np.arange(len(leaves)), [len(leaf) // 2 for leaf in leaves])
        begin, end = self.first[flat[0::2]], self.first[flat[0::2] + flat[1::2]]
        length = end - begin
        at = np.arange(int(length.sum())) + np.repeat(begin - (np.cumsum(length) - length), length)
        row, ids = np.repeat(owner, length), self.ids[at]
        true = ids < 0
        return (row[~true], ids[~true]) if true.any() else (row, ids)

    def stated(self, formula: Formula, which: Ints, chosen: Ints) -> Stated:
        """The numbers as written: of literals `which` `[L]`, and of boxes with the bounds `chosen` `[K, 2 n]`."""

        def row(i: int) -> dict[int, Fraction]:
            p, q = int(self.row_p[which[i]]), int(self.row_q[which[i]])
            if p < 0:
                return {v: Fraction(c) for v, c in formula.rows[-1 - p]}
            return {v: Fraction(c) for v, c in ((p, 1), (q, -1)) if v}

        def bound(k: int, i: int, upper: bool) -> tuple[Fraction, bool]:
            key = int(self.former.key[chosen[k, 2 * i + upper]])
            rank = (key - key % 2) // 2
            return self.ranked.exact(-rank if upper else rank), key % 2 == 1

        return Stated(row, lambda i: self.ranked.exact(int(self.row_rank[which[i]])), bound)

    def pairs(self, used: Ints) -> tuple[Ints, Ints]:
        """(p, q) of literals, bounds of inputs among them: `p − q <= …`."""
        slot = self.former.slot[used]
        n = 2 * self.n_inputs
        at = np.maximum(slot - n, 0)
        rows = len(self.row_p) > 0
        own_p, own_q = (side[at] if rows else 0 * at for side in (self.row_p, self.row_q))
        upper = slot % 2 == 1  # the slots of X_i, whose code is 2 i + 1, are 2 i and 2 i + 1
        p = np.where(slot >= n, own_p, np.where(upper, slot, 0))
        return p, np.where(slot >= n, own_q, np.where(upper, 0, slot + 1))

    def sides(self, used: Ints) -> tuple[Array, Array, Bools]:
        """Right-hand sides of literals rounded up, and down, and whether they are strict."""
        slot, key = self.former.slot[used], self.former.key[used]
        bound = slot < 2 * self.n_inputs
        at = np.where(bound, 0, slot - 2 * self.n_inputs)
        strict = np.where(bound, key % 2 == 1, self.row_strict[at] if len(self.row_strict) else False)
        rank = np.where(bound, (key % 2 - key) // 2, self.row_rank[at] if len(self.row_rank) else 0)
        return self.ranked.up(rank), self.ranked.down(rank), strict

    def bounds(self) -> tuple[np.ndarray, np.ndarray]:
        """`[D]` doubles of the bounds among the ids: outward, and inward."""
        key = self.former.key
        n = int(np.searchsorted(self.former.slot, 2 * self.n_inputs))
        key, lower = key[:n], self.former.slot[:n] % 2 == 0
        strict = key % 2
        rank = np.where(lower, key - strict, strict - key) // 2
        outer = np.where(lower, self.ranked.down(rank), self.ranked.up(rank))
        inner_low = np.where(strict, self.ranked.above(rank), self.ranked.up(rank))
        inner_high = np.where(strict, self.ranked.below(rank), self.ranked.down(rank))
        return outer, np.where(lower, inner_low, inner_high)
