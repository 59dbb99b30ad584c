"""A counterexample, and the exact test that it is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.spec.assignment import Tensor
from verifier.spec.clauses import decided
from verifier.spec.property import Array, Property
from verifier.values.rounding import inward
from verifier.values.shown import Shown, picture, table

SHOWN = 12
"""Inputs that a notebook shows: those that moved most."""


@dataclass(frozen=True, eq=False, repr=False)
class Witness(Shown):
    """An input and the outputs that the original model gives for it.

    Attributes:
        x: the input, exactly representable in the model's type: as a user is told it in the shape of the model's input,
            flat `[n]` where there are several of these (see `inputs`) and while it is looked for.
        y: `[m]` the outputs as onnxruntime on the CPU (or the original module) computes them.
        disjunct: which disjunct of the property it satisfies.
        tensors: for a query of version 2.0 the values of its variables; x and y are then all inputs and all others.
        shapes: name and shape of each input, in the order of x; empty where they are not known.
        near: `[n]` the middle of the input set it was looked for in, or None.
        remark: how y was computed, where that is not by the original model.
    """

    x: Array
    y: Array
    disjunct: int
    tensors: tuple[Tensor, ...] = ()
    shapes: tuple[tuple[str, tuple[int, ...]], ...] = ()
    near: Array | None = None
    remark: str = ""

    @property
    def flat(self) -> Array:
        """The input as `[n]`, all inputs behind one another."""
        return self.x.reshape(-1)

    @property
    def inputs(self) -> dict[str, Array]:
        """Each input by its name, in its shape."""
        ends = np.cumsum([0, *(prod(s) for _, s in self.shapes)])
        return {
            name: self.flat[a:b].reshape(s) for (name, s), a, b in zip(self.shapes, ends[:-1], ends[1:], strict=True)
        }

    def _said(self) -> list[tuple[str, Any]]:
        """The numbers, as far as they fit a line."""
        remark = [("outputs", self.remark)] if self.remark else []
        return [("x", self.x), ("y", self.y), ("disjunct", self.disjunct), *remark]

    def _below(self) -> str:
        """Of an image a picture of it, beside the middle of the input set and what has changed; else what has moved."""
        x, shape = self.flat, self.shapes[0][1] if len(self.shapes) == 1 else ()
        if len(self.shapes) < 2 and (
            drawn := picture(shape, self.near, x, "middle of the input set, counterexample, difference")
        ):
            return drawn
        away = np.zeros(len(x)) if self.near is None else abs(x - self.near)
        some = np.sort(np.argsort(-np.nan_to_num(away), kind="stable")[:SHOWN])
        return table(((f"X_{i}", float(x[i]), float(away[i])) for i in some), ("input", "value", "from the middle"))

    def text(self) -> str:
        """The format of the property's version, with the shortest digits that read back.

        Of 1.0 the competition's, `((X_0 v)` … `(Y_0 v))`; of 2.0 the standard's, see `Tensor.text`.  A remark is a
        comment behind it.
        """
        comment = f"\n; outputs {self.remark}" if self.remark else ""
        if self.tensors:
            return "\n".join(t.text() for t in self.tensors) + comment
        pairs = [f"(X_{i} {float(v)!r})" for i, v in enumerate(self.flat)]
        pairs += [f"(Y_{i} {float(v)!r})" for i, v in enumerate(self.y)]
        return "(" + "\n".join(pairs) + ")" + comment


def satisfies(prop: Property, j: int, x: Array, y: Array) -> bool:
    """Whether literals and clauses of disjunct `j` hold exactly, in rational arithmetic, for input `x`, outputs `y`.

    Whether x lies in the disjunct's box is for `admissible` to say; a ball is tested here.  NaN or infinite numbers
    satisfy nothing.
    """
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return False
    if prop.ball is not None and not prop.ball.contains(x):
        return False
    x_exact, y_exact = _exact(prop, x, y)
    if not all(_literal_holds(prop, int(i), x_exact, y_exact) for i in prop.literals(j)):
        return False
    clauses = prop.clauses
    if clauses is None:
        return True
    at = [*x_exact, *y_exact]
    return clauses.nest.hold(clauses.of(j), lambda i: clauses.literal_holds(i, at.__getitem__))


def admissible(prop: Property, boxes: NDArray[np.int64], dtype: str) -> tuple[Array, Array]:
    """Bounds `[P, n]` of what counts as inside the boxes `boxes` `[P]` for a model that takes numbers of `dtype`.

    They are the exact bounds, rounded inward to the model's type.  An interval that holds no number of that type (an
    input fixed at 0.1, say) stands for the number nearest to it: whoever feeds the model must round it so, and the
    competition compares so.  Where a box holds no double either, lower exceeds upper.
    """
    low, high = prop.inner_lower[boxes], prop.inner_upper[boxes]
    lower, upper = inward(low, high, dtype)
    none = lower > upper
    if none.any():
        middle = (prop.lower[boxes] * 0.5 + prop.upper[boxes] * 0.5).astype(dtype)
        lower, upper = np.where(none, middle, lower), np.where(none, middle, upper)
    return lower.astype(np.float64), upper.astype(np.float64)


def _exact(prop: Property, x: Array, y: Array) -> tuple[list[Fraction], list[Fraction]]:
    """Inputs and outputs as rational numbers; monomials are computed anew, without rounding."""
    inputs = [Fraction(v) for v in x.tolist()]
    outputs = [Fraction(v) for v in y[: len(y) - len(prop.monomials)].tolist()]
    base = [*inputs, *outputs] if prop.monomials else []
    return inputs, outputs + [prod((base[i] for i in m), start=Fraction(1)) for m in prop.monomials]


def _literal_holds(prop: Property, i: int, x: list[Fraction], y: list[Fraction]) -> bool:
    total = Fraction(0)
    size = Fraction(0)
    for coefficients, values in ((prop.A_y[i], y), (None if prop.A_x is None else prop.A_x[i], x)):
        if coefficients is None:
            continue
        for c in np.flatnonzero(coefficients):
            product = Fraction(float(coefficients[c])) * values[c]
            total, size = total + product, size + abs(product)
    return decided(total, size, prop.inner_d[i], bool(prop.strict[i]), bool(prop.inexact[i]))


def satisfying(prop: Property, x: Array, y: Array, boxes: NDArray[np.int64]) -> Iterator[tuple[int, int]]:
    """Points `x` `[P, n]` in the boxes `boxes` `[P]`, with outputs `y` `[P, m]`, that satisfy a disjunct of their box.

    Yields position and disjunct.
    """
    for i, (a, b, k) in enumerate(zip(x, y, boxes, strict=True)):
        near = (int(j) for j in np.flatnonzero(prop.box == k) if _nearly(prop, int(j), a, b))
        exact = next((j for j in near if satisfies(prop, j, a, b)), None)
        if exact is not None:
            yield i, exact


def _nearly(prop: Property, j: int, x: Array, y: Array) -> bool:
    """A cheap test in floating point that every satisfied disjunct passes (and few others)."""
    ids = prop.literals(j)
    A_y, d = prop.A_y[ids], prop.inner_d[ids]
    value, size = A_y @ y, abs(A_y) @ abs(y) + abs(d)
    if prop.A_x is not None:
        value, size = value + prop.A_x[ids] @ x, size + abs(prop.A_x[ids]) @ abs(x)
    doubt = 1e-12 * (len(x) + len(y))
    if not (value - d <= doubt * size).all():
        return False
    if prop.clauses is None or not len(prop.clauses.of(j)):
        return True
    margin, size = prop.clauses.margins(x[None], y[None])
    return bool((prop.clauses.nest.combined(margin - doubt * size)[0, prop.clauses.of(j)] <= 0).all())
