"""Networks that can be read only where some inputs are decided: because these are fixed, or cut to whole numbers.

A patch pasted at a place that the input names, an index, a class: such a network is no composition of bounded
functions, but for each place it is one.  Inputs that the property fixes are put into the network as constants.  Inputs
that the network cuts to whole numbers before it uses them leave finitely many cells, on each of which it is the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from itertools import islice, product
from math import prod
from typing import Any

import numpy as np

from verifier.graph import from_onnx
from verifier.run.front import Split, split
from verifier.search.budget import Budget
from verifier.spec.property import Property
from verifier.spec.witness import Witness, admissible, satisfying
from verifier.values.errors import ModelError
from verifier.values.verdict import Verdict

MOST = 200_000
"""Cells that are gone through; more are refused."""
AT_ONCE = 256
"""Points that are run between two looks at the clock."""


@dataclass(frozen=True, eq=False)
class Divided:
    """A model that is a network on every cell.

    Attributes:
        source: the file, or the model in memory.
        model: read with every input that varies decided, to be run.
        fixed: `[n]` inputs that the property fixes, as numbers of the model's type; NaN elsewhere.
        cut: `[c]` the inputs whose whole parts name a cell; other: whether others vary, too.
    """

    source: Any
    model: from_onnx.Model
    fixed: np.ndarray
    cut: np.ndarray
    other: bool


def divide(source: Any, prop: Property) -> from_onnx.Model | Divided:
    """A model with the inputs that the property fixes, or cells.

    Raises:
        ModelError: neither helps.
    """
    model = from_onnx.load(source, decided=[prop.lower[0] * 0.5 + prop.upper[0] * 0.5])
    lower, upper = admissible(prop, np.arange(len(prop.lower)), model.input_dtype)
    one = prop.upper <= np.nextafter(np.nextafter(prop.lower, np.inf), np.inf)  # a number, or a decimal rounded outward
    fixed = np.where((one & (lower == upper) & (lower == lower[:1])).all(0), lower[0], np.nan)
    try:
        return from_onnx.load(source, decided=[fixed])
    except ModelError as e:
        refused = e
    varies = np.isnan(fixed)
    cut = varies & np.asarray(model.whole[0] if model.whole else np.zeros(len(varies), bool)).reshape(-1)
    touched = prop.A_x is not None and bool(prop.A_x[:, cut].any())
    if prop.clauses is not None:
        touched |= bool(np.isin(prop.clauses.column, np.flatnonzero(cut)).any())
    if not cut.any() or touched or prop.ball is not None or prop.monomials or _count(prop, np.flatnonzero(cut)) > MOST:
        raise refused
    return Divided(source, model, fixed, np.flatnonzero(cut), bool((varies & ~cut).any()))


def _whole(prop: Property, k: int, cut: np.ndarray) -> list[range]:
    """The whole parts that each cut input can have in box k."""
    ends = [np.trunc(a[k, cut]).astype(int).tolist() for a in (prop.lower, prop.upper)]
    return [range(a, b + 1) for a, b in zip(ends[0], ends[1], strict=True)]


def _count(prop: Property, cut: np.ndarray) -> int:
    return sum(prod(len(r) for r in _whole(prop, k, cut)) for k in range(len(prop.lower)))


def decide(
    divided: Divided, prop: Property, budget: Budget, sub: Callable[[Any, Property], tuple[Verdict, Witness | None]]
) -> tuple[Verdict, Witness | None, int]:
    """Go through all cells; also how many were decided.

    Args:
        sub: decides a network on a property; used where other inputs vary, too.

    Sound because: cells cover the boxes, and on each the network is what it is at the cell's point, where it is bounded
    as on any other box.  What the model computes there in its own arithmetic refutes nothing.
    """
    done, sure, first, parts = 0, True, True, None
    simple = prop.A_x is None or not prop.A_x.any()
    for k in range(len(prop.lower)):
        points = _points(divided, prop, k)
        while batch := list(islice(points, 1 if divided.other else AT_ONCE)):
            if budget.spent():
                return Verdict.TIMEOUT, None, done
            x, inside = np.array([x for x, _ in batch]), np.array([yes for _, yes in batch])
            if first and not divided.other and simple:
                parts, first = split(divided.source, x[0]), False
            asked = _Box(divided, prop, k, parts, sub)
            verdict, witness = asked.alone(x, inside) if divided.other else asked.run(x, inside)
            if verdict in (Verdict.SAT, Verdict.TIMEOUT):
                return verdict, witness, done
            sure, done = sure and verdict is Verdict.UNSAT, done + len(batch)
    return (Verdict.UNSAT if sure else Verdict.UNKNOWN), None, done


def _points(divided: Divided, prop: Property, k: int) -> Iterator[tuple[np.ndarray, bool]]:
    """A point of every cell of box k, NaN for inputs that vary within it, and whether it is one of the box.

    A cell may reach into the box without a number of the model's type inside it.
    """
    low, high = (a[0] for a in admissible(prop, np.array([k]), divided.model.input_dtype))
    base = np.where(np.isnan(divided.fixed), np.nan, low)
    for cell in product(*_whole(prop, k, divided.cut)):
        x = base.copy()
        x[divided.cut] = np.clip(cell, low[divided.cut], high[divided.cut])
        inside = bool((np.trunc(x[divided.cut]) == np.array(cell)).all())
        if not inside:
            x[divided.cut] = cell
        yield x, inside


def _witness(divided: Divided, prop: Property, k: int, x: np.ndarray, y: np.ndarray) -> Witness | None:
    """A point that is a counterexample when it runs alone, too, as a checker runs it."""
    for i, _ in satisfying(prop, x, y, np.full(len(x), k)):
        alone = divided.model.run(x[i : i + 1])
        for _, j in satisfying(prop, x[i : i + 1], alone, np.array([k])):
            return Witness(x[i], alone[0], j)
    return None


@dataclass(frozen=True, eq=False)
class _Box:
    """What is asked of the cells of one box.

    Attributes:
        divided: the model.  prop: the property.  k: the box.
        split: the model in two parts, where that goes.
        sub: see `decide`.
    """

    divided: Divided
    prop: Property
    k: int
    split: Split | None
    sub: Callable[[Any, Property], tuple[Verdict, Witness | None]]

    def run(self, x: np.ndarray, inside: np.ndarray) -> tuple[Verdict, Witness | None]:
        """Decide points of cells on which nothing else varies.

        The model's own arithmetic finds counterexamples; only bounds refute.
        """
        y = self.divided.model.run(x)
        witness = _witness(self.divided, self.prop, self.k, x[inside], y[inside])
        if witness is not None:
            return Verdict.SAT, witness
        closed = np.zeros(len(x), bool) if self.split is None else self.split.refuted(self.prop, self.k, x, y)
        return self.alone(x[~closed], inside[~closed])

    def alone(self, x: np.ndarray, inside: np.ndarray) -> tuple[Verdict, Witness | None]:
        """Decide cells one by one, as networks of their own.  Without a point of the box in it a cell stays open."""
        sure = bool(inside.all())
        for point in x[inside]:
            verdict, witness = _search(self.divided, self.prop, self.k, point, self.sub)
            if verdict in (Verdict.SAT, Verdict.TIMEOUT):
                return verdict, witness
            sure = sure and verdict is Verdict.UNSAT
        return Verdict.UNSAT if sure else Verdict.UNKNOWN, None


def _search(
    divided: Divided,
    prop: Property,
    k: int,
    x: np.ndarray,
    sub: Callable[[Any, Property], tuple[Verdict, Witness | None]],
) -> tuple[Verdict, Witness | None]:
    """Decide one cell of box k on which other inputs vary."""
    at = ~np.isnan(x)
    network = from_onnx.load(divided.source, decided=[x])
    ends = [a[[k]].copy() for a in (prop.lower, prop.upper, prop.inner_lower, prop.inner_upper)]
    for a in ends:
        a[:, at] = x[at]
    mine = np.flatnonzero(prop.box == k)
    literal = np.concatenate([np.zeros(0, np.int64), *(prop.literals(int(j)) for j in mine)])
    start = np.concatenate([[0], np.cumsum([len(prop.literals(int(j))) for j in mine])])
    lower, upper, inner_lower, inner_upper = ends
    part = replace(
        prop,
        lower=lower,
        upper=upper,
        inner_lower=inner_lower,
        inner_upper=inner_upper,
        box=np.zeros(len(mine), np.int64),
        start=start,
        literal=literal,
        clauses=None if prop.clauses is None else prop.clauses.take(mine),
    )
    verdict, witness = sub(network, part)
    if witness is not None:
        witness = replace(witness, disjunct=int(mine[witness.disjunct]))
    return verdict, witness
