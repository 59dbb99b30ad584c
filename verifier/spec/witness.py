"""A counterexample, and the exact test that it is one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from verifier.spec.property import Array, Property


@dataclass(frozen=True, eq=False)
class Witness:
    """An input and the outputs that the original model gives for it.

    Attributes:
        x: `[n]` the input, exactly representable in the model's type.
        y: `[m]` the outputs as onnxruntime on the CPU (or the original module) computes them.
        disjunct: which disjunct of the property it satisfies.
    """

    x: Array
    y: Array
    disjunct: int

    def text(self) -> str:
        """The competition's format for version 1.0: `((X_0 v)` … `(Y_0 v))`, shortest digits that read back."""
        pairs = [f"(X_{i} {float(v)!r})" for i, v in enumerate(self.x)]
        pairs += [f"(Y_{i} {float(v)!r})" for i, v in enumerate(self.y)]
        return "(" + "\n".join(pairs) + ")"


def satisfies(prop: Property, j: int, x: Array, y: Array) -> bool:
    """Whether input `x` with outputs `y` satisfies disjunct `j` exactly, in rational arithmetic.

    NaN or infinite numbers satisfy nothing.
    """
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return False
    k = prop.box[j]
    if not ((x >= prop.inner_lower[k]) & (x <= prop.inner_upper[k])).all():
        return False
    return all(_literal_holds(prop, int(i), x, y) for i in prop.literals(j))


def _literal_holds(prop: Property, i: int, x: Array, y: Array) -> bool:
    total = Fraction(0)
    size = Fraction(0)
    for coefficients, values in ((prop.A_y[i], y), (None if prop.A_x is None else prop.A_x[i], x)):
        if coefficients is None:
            continue
        for c in np.flatnonzero(coefficients):
            product = Fraction(float(coefficients[c])) * Fraction(float(values[c]))
            total, size = total + product, size + abs(product)
    if prop.inexact[i]:  # coefficients are within 2**-53 of the stated ones: ask for what that may change
        total += size / 2**52
    bound = Fraction(float(prop.inner_d[i]))
    return total < bound if prop.strict[i] else total <= bound


def satisfying(prop: Property, x: Array, y: Array) -> Iterator[tuple[int, int]]:
    """Positions of the points `x` `[P, n]` with outputs `y` `[P, m]` that satisfy some disjunct, with that disjunct."""
    for i, (a, b) in enumerate(zip(x, y, strict=True)):
        inside = ((a >= prop.inner_lower) & (a <= prop.inner_upper)).all(1)
        near = [j for j in np.flatnonzero(inside[prop.box]) if _nearly(prop, int(j), a, b)]
        exact = next((int(j) for j in near if satisfies(prop, int(j), a, b)), None)
        if exact is not None:
            yield i, exact


def _nearly(prop: Property, j: int, x: Array, y: Array) -> bool:
    """A cheap test in floating point that every satisfied disjunct passes (and few others)."""
    ids = prop.literals(j)
    A_y, d = prop.A_y[ids], prop.inner_d[ids]
    value, size = A_y @ y, abs(A_y) @ abs(y) + abs(d)
    if prop.A_x is not None:
        value, size = value + prop.A_x[ids] @ x, size + abs(prop.A_x[ids]) @ abs(x)
    return bool((value - d <= 1e-12 * (len(x) + len(y)) * size).all())
