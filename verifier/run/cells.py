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
from verifier.search.budget import Budget
from verifier.spec.property import Property
from verifier.spec.witness import Witness, admissible, satisfying
from verifier.values.errors import ModelError
from verifier.values.verdict import Verdict

MOST = 200_000
"""Cells that are gone through; more are refused."""
AT_ONCE = 64
"""Points that are run between two looks at the clock."""
DOUBT = 1e-3
"""How far an output computed in the model's own arithmetic must be from a literal, relative to the magnitudes behind
it, before the literal counts as violated in exact arithmetic, too."""


@dataclass(frozen=True, eq=False)
class Divided:
    """A model that is a network on every cell.

    Attributes:
        source: the file, or the model in memory.
        model: read with every input that varies decided, to be run.
        fixed: `[n]` inputs for which the property leaves one number of the model's type, NaN elsewhere.
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
    fixed = np.where((lower == upper).all(0) & (lower == lower[:1]).all(0), lower[0], np.nan)
    try:
        return from_onnx.load(source, decided=[fixed])
    except ModelError as e:
        refused = e
    varies = np.isnan(fixed)
    cut = varies & np.asarray(model.whole[0] if model.whole else np.zeros(len(varies), bool)).reshape(-1)
    touched = prop.A_x is not None and bool(prop.A_x[:, cut].any())
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

    Sound because: cells cover the boxes, and on each the network is what it is at the cell's point.  Where nothing else
    varies, its outputs there are what the model computes; they refute a literal if they are off by more than rounding.
    """
    done, sure = 0, True
    for k in range(len(prop.lower)):
        points = _points(divided, prop, k)
        while batch := list(islice(points, 1 if divided.other else AT_ONCE)):
            if budget.spent():
                return Verdict.TIMEOUT, None, done
            x = np.array(batch)
            if divided.other:
                verdict, witness = _search(divided, prop, k, x[0], sub)
            else:
                verdict, witness = _run(divided.model, prop, k, x)
            if verdict in (Verdict.SAT, Verdict.TIMEOUT):
                return verdict, witness, done
            sure, done = sure and verdict is Verdict.UNSAT, done + len(batch)
    return (Verdict.UNSAT if sure else Verdict.UNKNOWN), None, done


def _points(divided: Divided, prop: Property, k: int) -> Iterator[np.ndarray]:
    """A point of every cell of box k, NaN for inputs that vary within it."""
    low, high = (a[0] for a in admissible(prop, np.array([k]), divided.model.input_dtype))
    base = np.where(np.isnan(divided.fixed), np.nan, low)
    for cell in product(*_whole(prop, k, divided.cut)):
        x = base.copy()
        x[divided.cut] = np.clip(cell, low[divided.cut], high[divided.cut])
        if bool(
            (np.trunc(x[divided.cut]) == np.array(cell)).all()
        ):  # a cell without a number of the model's type has no point
            yield x


def _run(model: from_onnx.Model, prop: Property, k: int, x: np.ndarray) -> tuple[Verdict, Witness | None]:
    """Run points of cells on which nothing else varies."""
    y = model.run(x)
    for i, j in satisfying(prop, x, y, np.full(len(x), k)):
        return Verdict.SAT, Witness(x[i], y[i], j)
    refuted = np.isfinite(y).all(1)
    for each in np.flatnonzero(prop.box == k):
        ids = prop.literals(int(each))
        value = y @ prop.A_y[ids].T - prop.d[ids]
        size = abs(y) @ abs(prop.A_y[ids]).T + abs(prop.d[ids])
        if prop.A_x is not None:
            some = np.where(np.isnan(x), 0.0, x)
            value, size = value + some @ prop.A_x[ids].T, size + abs(some) @ abs(prop.A_x[ids]).T
        refuted &= (value > DOUBT * size).any(1)
    return (Verdict.UNSAT if refuted.all() else Verdict.UNKNOWN), None


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
    )
    verdict, witness = sub(network, part)
    if witness is not None:
        witness = replace(witness, disjunct=int(mine[witness.disjunct]))
    return verdict, witness
