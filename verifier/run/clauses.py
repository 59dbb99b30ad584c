"""Clauses of a property as a part of the network: what a search splits anyway, it splits for literals, too.

A clause holds where the least of its alternatives' largest margins is not positive.  Largest and least are rectifiers
(`graph.passes.extremes`), so a clause becomes an output t of the network and the literal `t <= 0`; which alternative is
looked at is then decided like the sign of any neuron, where it matters and not before.  First the literals are bounded
on the boxes: what is false there, or true, leaves the formula.  What remains is multiplied out where it is
small: each combination is then a disjunct of its own.

Sound because: on its box a disjunct implies what is left of it.  A literal is left out of an alternative only where it
is true or by weakening the formula; an alternative is left out only where bounds refute one of its literals; rows of
the network have right-hand sides rounded up, with room for coefficients that are not exact.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.graph.graph import Graph
from verifier.run.margins import Found, bounded, dense
from verifier.run.outputs import Alternatives, starts, with_clauses
from verifier.run.reduced import Reduced
from verifier.search.budget import Budget
from verifier.search.query import Nested
from verifier.spec.clauses import Nest
from verifier.spec.property import Property

MOST_BOXES = 8
"""Boxes on each of which literals are bounded; of more, on the smallest box around them all."""
SMALL = 16
"""Disjuncts that one may become when all its clauses are multiplied out."""
SOME = 1
"""The same when clauses are left.  (Measured: more make a search no shorter, and the attack longer.)"""
MOST_ROWS = 16
"""Clauses that are rows of a disjunct; of more, the others are one."""
MOST_WATCHED = 512
"""Literals of clauses that are bounded on every part of a box, next to the clauses themselves."""


def made(graph: Graph, prop: Property, budget: Budget) -> Reduced:
    """The question with its clauses put into the network; see `run.reduced`, which has asked whether there are any."""
    used, box = np.unique(prop.box, return_inverse=True)
    ends = [a[used] for a in (prop.lower, prop.upper)]
    if len(used) > MOST_BOXES:
        ends, box = [ends[0].min(0)[None], ends[1].max(0)[None]], np.zeros_like(box)
    found = [bounded(graph, prop, lower, upper, budget) for lower, upper in zip(*ends, strict=True)]
    m = _Made(graph, prop, np.max([f.size for f in found], 0))
    for j in range(prop.n_disjuncts):
        m.add(j, found[box[j]])
    return m.done()


TRUE, FALSE = -1, -2


class _Made:
    """Disjuncts without clauses, and the simpler clauses that they need outputs for."""

    def __init__(self, graph: Graph, prop: Property, size: np.ndarray) -> None:
        assert prop.clauses is not None
        self.graph, self.prop, self.c, self.size = graph, prop, prop.clauses, size
        self.L = len(self.c.d)
        self.kept: list[Alternatives] = []
        self.number: dict[Alternatives, int] = {}
        self.disjuncts: list[tuple[int, list[int]]] = []  # which one it was made of; literals and clauses that it needs
        self._simple: dict[int, list[int]] = {}

    def add(self, j: int, found: Found) -> None:
        """The disjunct `j` of the property, as one or several; none where bounds refute one of its clauses."""
        simple = self._simple.get(id(found))
        if simple is None:
            simple = self._simple[id(found)] = self._simplified(found)
        needed: dict[int, None] = {}
        for i in self.c.of(j):
            k = simple[int(i)]
            if k == FALSE:
                return
            if k != TRUE:
                self._need(k, needed)
        clauses = [k for k in needed if k >= self.L]
        literals = [k for k in needed if k < self.L]
        low = self._low(found)
        clauses.sort(key=lambda k: (-low[k], len(self.kept[k - self.L])))
        choices: list[list[int]] = [literals]
        whole = int(np.prod([float(len(self.kept[k - self.L])) for k in clauses]).clip(0, SMALL + 1))
        most, left = SMALL if whole <= SMALL else SOME, []
        for k in clauses:
            alternatives = self.kept[k - self.L]
            if len(choices) * len(alternatives) > most:
                left.append(k)
                continue
            choices = [[*chosen, *more] for chosen in choices for more in alternatives]
        if len(left) > MOST_ROWS:
            left = [*left[: MOST_ROWS - 1], self._keep((tuple(sorted(left[MOST_ROWS - 1 :])),))]
        self.disjuncts += [(j, list(dict.fromkeys([*chosen, *left]))) for chosen in choices]

    def _need(self, k: int, needed: dict[int, None]) -> None:
        """Note that something must hold: of a clause with one alternative, all in it."""
        todo = [k]
        while todo:
            k = todo.pop()
            only = self.kept[k - self.L] if k >= self.L else ()
            if len(only) == 1:
                todo += only[0]
            else:
                needed[k] = None

    def _low(self, found: Found) -> dict[int, float]:
        """A lower bound of the margin of every clause kept so far, relative to what its literals can be."""
        scale = np.maximum(abs(found.low), abs(found.high))
        low: dict[int, float] = dict(enumerate((found.low / np.where(scale > 0, scale, 1.0)).tolist()))
        for k, alternatives in enumerate(self.kept, self.L):
            low[k] = min(max(low[i] for i in a) for a in alternatives)
        return low

    def _simplified(self, found: Found) -> list[int]:
        """What becomes of each clause on a box: TRUE, FALSE, a literal, or L plus the number of one that is kept."""
        c = self.c
        true = np.where(c.strict, found.high < 0, found.high <= 0)
        status = np.where(found.low > 0, FALSE, np.where(true, TRUE, np.arange(self.L)))
        of: list[int] = status.tolist()
        start, first, member = c.nest.start.tolist(), c.nest.first.tolist(), c.nest.member.tolist()
        for k in range(len(c)):
            alternatives: dict[tuple[int, ...], None] = {}
            for a in range(first[k], first[k + 1]):
                inside = {of[i] for i in member[start[a] : start[a + 1]]} - {TRUE}
                if FALSE not in inside:
                    alternatives[tuple(sorted(inside))] = None
            if () in alternatives or not alternatives:
                of.append(TRUE if alternatives else FALSE)
            elif len(alternatives) == 1 and len(next(iter(alternatives))) == 1:
                of.append(next(iter(alternatives))[0])
            else:
                of.append(self._keep(tuple(alternatives)))
        return of[self.L :]

    def _keep(self, alternatives: Alternatives) -> int:
        found = self.number.setdefault(alternatives, len(self.kept))
        if found == len(self.kept):
            self.kept.append(alternatives)
        return self.L + found

    def done(self) -> Reduced:
        """The network and the property."""
        prop, m, n = self.prop, self.prop.n_outputs, self.prop.n_inputs
        needed = {k for _, needs in self.disjuncts for k in needs}
        clauses = sorted(k for k in needed if k >= self.L)
        watched, inner = self._watched(clauses)
        literals = np.array(sorted({k for k in needed if k < self.L} | watched), np.int64)
        graph = with_clauses(self.graph, self.c, [k - self.L for k in clauses], self.kept, self.size)
        C, old = len(clauses), len(prop.d)
        A = dense(self.c, literals, n + m)
        A_y = np.zeros((old + len(literals) + C, m + C))
        A_y[:old, :m], A_y[old : old + len(literals), :m] = prop.A_y, A[:, n:]
        A_y[old + len(literals) + np.arange(C), m + np.arange(C)] = 1.0
        A_x = None
        if prop.A_x is not None or A[:, :n].any():
            A_x = np.zeros((len(A_y), n))
            A_x[:old] = 0.0 if prop.A_x is None else prop.A_x
            A_x[old : old + len(literals)] = A[:, :n]
        zero, no = np.zeros(C), np.zeros(C, bool)
        place = {k: old + i for i, k in enumerate([*literals.tolist(), *clauses])}
        parts = [[*prop.literals(j).tolist(), *(place[k] for k in needs)] for j, needs in self.disjuncts]
        origin = np.array([j for j, _ in self.disjuncts], np.int64)
        return Reduced(graph, replace(
            prop, box=prop.box[origin], start=np.cumsum([0, *map(len, parts)], dtype=np.int64),
            literal=np.array([i for part in parts for i in part], np.int64), A_y=A_y, A_x=A_x,
            d=np.concatenate([prop.d, self.c.d[literals], zero]),
            inner_d=np.concatenate([prop.inner_d, self.c.inner_d[literals], zero]),
            strict=np.concatenate([prop.strict, self.c.strict[literals], no]),
            inexact=np.concatenate([prop.inexact, self.c.inexact[literals], no]), clauses=None,
        ), origin, self._nested(place, watched, inner, clauses), self.graph if clauses else None)  # fmt: skip

    def _watched(self, clauses: list[int]) -> tuple[set[int], list[int]]:
        """The literals of clauses as far as they are few, and the clauses that are made of these alone, in order."""
        literals, inner = set[int](), set[int]()
        for k in clauses:
            more, inside = self._behind(k)
            if len(literals | more) <= MOST_WATCHED:
                literals |= more
                inner |= inside
        return literals, sorted(inner)

    def _behind(self, k: int) -> tuple[set[int], set[int]]:
        """The literals, and the clauses, that a clause is made of, itself among them."""
        literals, inner, todo = set[int](), set[int](), [k]
        while todo:
            k = todo.pop()
            if k < self.L:
                literals.add(k)
            elif k not in inner:
                inner.add(k)
                todo += [i for a in self.kept[k - self.L] for i in a]
        return literals, inner

    def _nested(self, place: dict[int, int], watched: set[int], inner: list[int], clauses: list[int]) -> Nested | None:
        if not inner:
            return None
        rows = np.array(sorted(place[k] for k in watched), np.int64)
        at = {k: int(np.searchsorted(rows, place[k])) for k in watched}
        at |= {k: len(rows) + i for i, k in enumerate(inner)}
        kept = [self.kept[k - self.L] for k in inner]
        inside = [a for alternatives in kept for a in alternatives]
        nest = Nest(len(rows), starts(kept), starts(inside), np.array([at[i] for a in inside for i in a], np.int64))
        told = [(at[k] - len(rows), place[k]) for k in clauses if k in at]
        return Nested(nest, rows, *np.array(told, np.int64).T)
