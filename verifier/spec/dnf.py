"""And/or formulas to disjunctive normal form without needless growth.

A literal is here the id of a pair (slot, key), ids sorted by slot, then key.  Slot `2 i` holds the lower bounds of
input i, slot `2 i + 1` its upper bounds, with keys such that of two bounds in one slot the larger key is the tighter,
and a lower and an upper bound contradict each other exactly when their keys have a positive sum.  Every further slot
holds one literal.  A row is a conjunction, its ids sorted, at most one a slot; a disjunction is a `Rows`.

A conjunction of disjunctions is multiplied out while that stays small.  Beyond, its disjunctions are kept as *clauses*:
each gets an id and a slot of its own behind those of the literals, and stands in a row like a literal.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain
from math import prod

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Ids = NDArray[np.int32]

MAX_ROWS = 2_000_000
MOST_CHOICES = 64
"""Combinations of literals over outputs that a conjunction is multiplied out to.  (Measured: kept as clauses, questions
of 180 and of 360 combinations take a tenth of the time.)"""
MOST_MIXED = 20_000
"""The same where they are tied to bounds of inputs, so that most contradict each other."""
_BLOCK = 4_000_000


class TooLarge(Exception):
    """The normal form exceeds what is sensible; the message says by how much."""


@dataclass(frozen=True)
class Rows:
    """A disjunction: row j is the conjunction of `ids[start[j]:start[j + 1]]`."""

    start: Ints
    ids: Ids

    def __len__(self) -> int:
        return len(self.start) - 1

    def gather(self, which: Ints) -> tuple[Ints, Ids]:
        """The entries of the rows `which`, as (index into `which`, id)."""
        length = np.diff(self.start)[which]
        ends = np.cumsum(length)
        total = int(ends[-1]) if len(ends) else 0
        at = np.arange(total) + np.repeat(self.start[which] - (ends - length), length)
        return np.repeat(np.arange(len(which)), length), self.ids[at]


TRUE = Rows(np.zeros(2, np.int64), np.empty(0, np.int32))
FALSE = Rows(np.zeros(1, np.int64), np.empty(0, np.int32))


class Former:
    """Builds normal forms over one table of literals.

    Args:
        slot, key: `[D]` of every id; sorted, without repetition.
        n_bounds: how many slots are bounds (twice the number of inputs).
        false: the id that stands for "false", or -1.
        n_clauses: how many clauses there may be.
        choices: as `MOST_CHOICES`, for other limits.

    Attributes:
        n_literals: ids below are literals; above, `clauses[id − n_literals]`.
    """

    def __init__(
        self, slot: Ints, key: Ints, n_bounds: int, false: int, n_clauses: int = 0, choices: int = MOST_CHOICES
    ) -> None:
        self.n_literals = len(slot)
        after = (int(slot[-1]) if len(slot) else n_bounds) + 1
        self.slot = np.concatenate([slot, after + np.arange(n_clauses)])
        self.key = np.concatenate([key, np.zeros(n_clauses, np.int64)])
        self.n_bounds, self.false, self.choices = n_bounds, false, choices
        self.clauses: list[Rows] = []
        self._number: dict[tuple[bytes, bytes], int] = {}
        self._work, self._limit = 0, 100_000_000 + 20 * len(slot)

    def tidy(self, row: Ints, ids: Ids, n_rows: int) -> Rows:
        """Rows from entries in any order: tightest bounds kept, contradictory rows and repeated rows dropped."""
        self._spend(len(ids) + n_rows)
        bits = max(len(self.slot) - 1, 0).bit_length()
        mixed = (row << bits) + ids
        if (mixed[1:] < mixed[:-1]).any():
            mixed.sort()
        row, ids = mixed >> bits, mixed & ((1 << bits) - 1)
        slot = self.slot[ids]
        last = np.ones(len(ids), bool)
        last[:-1] = (row[1:] != row[:-1]) | (slot[1:] != slot[:-1])
        row, ids, slot = row[last], ids[last], slot[last]
        key = self.key[ids]
        clash = (row[1:] == row[:-1]) & (slot[1:] == slot[:-1] + 1) & (slot[1:] % 2 == 1)
        clash &= (slot[1:] < self.n_bounds) & (key[1:] + key[:-1] > 0)
        alive = np.ones(n_rows, bool)
        alive[row[1:][clash]] = False
        alive[row[ids == self.false]] = False
        length = np.bincount(row, minlength=n_rows)
        if not alive.all():
            ids, length = ids[alive[row]], length[alive]
        start = np.concatenate([[0], np.cumsum(length)])
        return _distinct(Rows(start, ids.astype(np.int32)))

    def any_of(self, parts: list[Rows]) -> Rows:
        """The disjunction of tidy parts; one that bounds a single input alone becomes as few intervals as possible."""
        start = [np.zeros(1, np.int64)]
        end = 0
        for part in parts:
            start.append(part.start[1:] + end)
            end += len(part.ids)
        self._spend(end + sum(map(len, parts)))
        joined = _distinct(Rows(np.concatenate(start), np.concatenate([p.ids for p in parts] or [FALSE.ids])))
        if (np.diff(joined.start) == 0).any():
            return TRUE
        return self._merged(joined)

    def _spend(self, entries: int) -> None:
        self._work += entries
        if self._work > self._limit:
            raise TooLarge(f"the and/or structure expands beyond {self._limit:,} entries")

    def _merged(self, rows: Rows) -> Rows:
        slot = self.slot[rows.ids]
        if len(rows) < 2 or slot.max() >= self.n_bounds or (slot >> 1 != slot[0] >> 1).any():
            return rows
        far = int(np.abs(self.key[rows.ids]).max()) + 1  # beyond every bound there is
        low = [(-far, far, -1, -1)] * len(rows)
        owner = np.repeat(np.arange(len(rows)), np.diff(rows.start)).tolist()
        for j, i, k, s in zip(owner, rows.ids.tolist(), self.key[rows.ids].tolist(), slot.tolist(), strict=True):
            begin, end, lower_id, upper_id = low[j]
            low[j] = (begin, -k, lower_id, i) if s % 2 else (k, end, i, upper_id)
        low.sort()
        merged = [low[0]]
        for begin, end, lower_id, upper_id in low[1:]:
            b, e, i, u = merged[-1]
            # Keys are twice the rank of the number, +-1 when strict: `x < v` (2r - 1) and `x >= v` (2r) touch.
            if begin <= e + 1:
                merged[-1] = (b, end, i, upper_id) if end > e else (b, e, i, u)
            else:
                merged.append((begin, end, lower_id, upper_id))
        lists = [[i for i in entry[2:] if i >= 0] for entry in merged]
        start = np.cumsum([0, *map(len, lists)])
        return TRUE if not all(lists) else Rows(start, np.array(list(chain.from_iterable(lists)), np.int32))

    def all_of(self, single: Ids, parts: list[Rows]) -> tuple[Rows, Rows]:
        """The conjunction of the literals `single` and of the parts, as (one row, rows without what it implies).

        The first is FALSE when there is a contradiction.
        """
        base = self.tidy(np.zeros(len(single), np.int64), single, 1)
        while len(base):
            tightest = self._tightest(base)
            parts = [self._given(tightest, part) for part in parts]
            if any(not len(part) for part in parts):
                return FALSE, FALSE
            fixed = [part.ids for part in parts if len(part) == 1]
            parts = [part for part in parts if len(part) > 1]
            if not any(len(ids) for ids in fixed):
                break
            entries = np.concatenate([base.ids, *fixed])
            base = self.tidy(np.zeros(len(entries), np.int64), entries, 1)
        if not len(base):
            return FALSE, FALSE
        parts.sort(key=len)
        product, kept = self._multiplied(parts)
        if kept:
            ids = np.concatenate([base.ids, np.array([self._clause(part) for part in kept], np.int32)])
            base = self.tidy(np.zeros(len(ids), np.int64), ids, 1)
        return (base, product) if len(product) else (FALSE, FALSE)

    def _multiplied(self, parts: list[Rows]) -> tuple[Rows, list[Rows]]:
        """The conjunction of some of the parts in normal form, and the parts that would make it too large."""
        over = [self.slot[part.ids] >= self.n_bounds for part in parts]
        outputs = [part for part, some in zip(parts, over, strict=True) if some.all()]
        free = [part for part, some in zip(parts, over, strict=True) if not some.all()]
        inputs = [part for part, some in zip(parts, over, strict=True) if not some.any()]
        before = self._work
        for some in (parts, free, inputs):
            limit = MAX_ROWS if len(some) <= len(inputs) + 1 else max(MOST_MIXED, self.choices)
            try:
                if some is parts and len(outputs) > 1:
                    self._product(outputs, self.choices)
                chosen = set(map(id, some))
                return self._product(some, limit), [part for part in parts if id(part) not in chosen]
            except TooLarge:
                self._work = before  # what was tried in vain does not count
        return TRUE, parts

    def _clause(self, rows: Rows) -> int:
        """The id of a disjunction that is kept."""
        found = self._number.setdefault((rows.start.tobytes(), rows.ids.tobytes()), len(self.clauses))
        if found == len(self.clauses):
            self.clauses.append(rows)
        return self.n_literals + found

    def spread(self, base: Rows, rows: Rows) -> Rows:
        """Every row with the literals of `base` added."""
        if not len(base.ids) or not len(rows):
            return rows
        row, ids = rows.gather(np.arange(len(rows)))
        row = np.concatenate([row, np.repeat(np.arange(len(rows)), len(base.ids))])
        return self.tidy(row, np.concatenate([ids, np.tile(base.ids, len(rows))]), len(rows))

    def _tightest(self, base: Rows) -> Ints:
        """For every slot the key that `base` has there; only bounds can clash, so the far end is beyond every slot."""
        tightest = np.full(int(self.slot[-1]) + 2 if len(self.slot) else 2, np.iinfo(np.int32).min, np.int64)
        tightest[self.slot[base.ids]] = self.key[base.ids]
        return tightest

    def _given(self, tightest: Ints, rows: Rows) -> Rows:
        """The rows where a row with these keys holds: without what it implies, and without those it contradicts."""
        row, ids = rows.gather(np.arange(len(rows)))
        slot, key = self.slot[ids], self.key[ids]
        implied = key <= tightest[slot]
        clash = (slot < self.n_bounds) & (key + tightest[slot ^ 1] > 0)
        if not implied.any() and not clash.any():
            return rows
        alive = np.ones(len(rows), bool)
        alive[row[clash]] = False
        keep = ~implied & alive[row]
        length = np.bincount(row[keep], minlength=len(rows))[alive]
        if (length == 0).any():
            return TRUE
        return self.any_of([Rows(np.concatenate([[0], np.cumsum(length)]), ids[keep])])

    def _product(self, parts: list[Rows], limit: int) -> Rows:
        """The conjunction of the parts in normal form.

        Raises:
            TooLarge: it has more than `limit` rows.
        """
        self._check_size(parts, limit)
        product = TRUE
        for part in parts:
            product = part if product is TRUE else self._pairs(product, part, limit)
            if not len(product):
                return FALSE
        return product

    def _check_size(self, parts: list[Rows], limit: int) -> None:
        """Refuse early what is certain to be too large: parts without a common slot multiply."""
        if prod(map(len, parts)) <= limit:
            return
        inputs = []
        for part in parts:
            slot = self.slot[part.ids]
            inputs.append(np.unique(np.where(slot < self.n_bounds, slot >> 1, slot)))
        merged = np.concatenate(inputs)
        if len(np.unique(merged)) == len(merged):
            raise TooLarge(f"the and/or structure expands to more than {limit:,} disjuncts")

    def _pairs(self, a: Rows, b: Rows, limit: int) -> Rows:
        width = int(np.diff(a.start).max() + np.diff(b.start).max()) + 1
        step = max(1, _BLOCK // (width * len(b)))
        found, total = [], 0
        for begin in range(0, len(a), step):
            n = min(step, len(a) - begin)
            left, left_ids = a.gather(begin + np.repeat(np.arange(n), len(b)))
            right, right_ids = b.gather(np.tile(np.arange(len(b)), n))
            block = self.tidy(np.concatenate([left, right]), np.concatenate([left_ids, right_ids]), n * len(b))
            found.append(block)
            total += len(block)
            if total > limit:
                raise TooLarge(f"the and/or structure expands to more than {limit:,} disjuncts")
        return self.any_of(found)


def _distinct(rows: Rows) -> Rows:
    """Each row once, first occurrences kept in order."""
    if len(rows) < 2:
        return rows
    _, first = classes(rows)
    if len(first) == len(rows):
        return rows
    return Rows(np.concatenate([[0], np.cumsum(np.diff(rows.start)[first])]), rows.gather(first)[1])


def classes(rows: Rows) -> tuple[Ints, Ints]:
    """(class of every row `[J]`, first row of every class `[K]`): equal rows share a class."""
    data = rows.ids.tobytes()
    ends = (rows.start * rows.ids.itemsize).tolist()
    seen: dict[bytes, int] = {}
    index = [seen.setdefault(data[ends[j] : ends[j + 1]], len(seen)) for j in range(len(rows))]
    group = np.array(index, np.int64)
    first = np.full(len(seen), -1, np.int64)
    first[group[::-1]] = np.arange(len(rows))[::-1]
    return group, first
