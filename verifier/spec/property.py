"""A question about a network: an input set and an unsafe region of outputs, in disjunctive normal form.

The property is satisfiable when some input x and its output y = f(x) satisfy one disjunct j: x lies in the box of j,
and every literal of j holds, and every clause that it needs (`spec.clauses`).  A literal is `A_y·y + A_x·x <= d` (or
`<`).  Decimal numbers of a property are rarely doubles; every bound is therefore kept twice: rounded *outward* (for
proofs) and *inward* (for witnesses).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.spec.clauses import Clauses
from verifier.values.sets import InputSet
from verifier.values.shown import Shown, table

Array = NDArray[np.float64]
SHOWN = 12
"""Inputs that a notebook shows."""


@dataclass(frozen=True, repr=False)
class Property(Shown):
    """Union of `J` disjuncts over `n` inputs and `m` outputs, both flattened row-major.

    Boxes that are equal are stored once, and so are literals, so that tens of thousands of disjuncts stay small.
    A property without disjuncts (`J = 0`) contradicts itself: no input satisfies it.

    Attributes:
        lower, upper: `[K, n]` boxes rounded outward: no real point of the stated box is lost.
        inner_lower, inner_upper: `[K, n]` the same rounded inward, strict bounds moved by one double: every double
            between them satisfies the stated bounds exactly.
        box: `[J]` which box a disjunct uses.
        start: `[J + 1]`, literal: `[start[J]]`: disjunct j has the literals `literal[start[j]:start[j + 1]]`.
        A_y: `[L, m]` coefficients of the outputs; one row a literal, nearest doubles.
        A_x: `[L, n]` coefficients of the inputs, or None when no literal touches the inputs.
        d: `[L]` right-hand sides rounded up (for proofs); inner_d: `[L]` rounded down (for witnesses).
        strict: `[L]` whether the literal is `<`: a witness must satisfy it strictly.
        inexact: `[L]` whether some coefficient of the literal is not exactly a double (its relative error is then
            at most 2**-53).
        source: where the property came from, for messages.
        ball: every input lies, moreover, in this ball of the ℓ1 or ℓ2 norm, or product of such (ranges of inputs are
            in the boxes).
        monomials: products of variables, each of which is one of the last outputs: indices into the inputs followed by
            the outputs before these, sorted, an index as often as its power.
        clauses: disjunctions of which disjuncts need all of some, too many to be multiplied out; None where there are
            none.  What does not look at them asks about more inputs than the property does.
    """

    lower: Array
    upper: Array
    inner_lower: Array
    inner_upper: Array
    box: NDArray[np.int64]
    start: NDArray[np.int64]
    literal: NDArray[np.int64]
    A_y: Array
    A_x: Array | None
    d: Array
    inner_d: Array
    strict: NDArray[np.bool_]
    inexact: NDArray[np.bool_]
    source: str = "property"
    monomials: tuple[tuple[int, ...], ...] = ()
    ball: InputSet | None = None
    clauses: Clauses | None = None

    def _said(self) -> list[tuple[str, Any]]:
        """Where it is from, and how much there is of it."""
        counts = {"inputs": self.n_inputs, "outputs": self.n_outputs, "boxes": len(self.lower)}
        counts |= {"disjuncts": self.n_disjuncts, "literals": len(self.d)}
        ball = [] if self.ball is None else [("ball", f"l{b.norm:g}, eps {b.eps:g}") for _, b in self.ball.balls()]
        return [("source", self.source), *((name, f"{n:,}") for name, n in counts.items()), *ball]

    def _below(self) -> str:
        """The first inputs of the hull of its boxes."""
        if not self.n_disjuncts:
            return ""
        low, high = self.lower.min(0), self.upper.max(0)
        rows = [(f"X_{i}", float(low[i]), float(high[i])) for i in range(min(self.n_inputs, SHOWN))]
        more = [(f"{self.n_inputs - SHOWN:,} more", "", "")] if self.n_inputs > SHOWN else []
        return table([*rows, *more], ("input", "at least", "at most"))

    @property
    def n_inputs(self) -> int:
        """Number of input variables."""
        return int(self.lower.shape[1])

    @property
    def n_outputs(self) -> int:
        """Number of output variables, monomials included."""
        return int(self.A_y.shape[1])

    @property
    def n_disjuncts(self) -> int:
        """Number of disjuncts."""
        return len(self.box)

    def literals(self, j: int) -> NDArray[np.int64]:
        """Indices of the literals of disjunct `j`."""
        return self.literal[self.start[j] : self.start[j + 1]]

    def to_vnnlib(self) -> str:
        """The text of VNN-LIB 1.0 that states it; `verifier.write_vnnlib` writes it to a file.

        Raises:
            PropertyError: it is none of that version: a ball of the ℓ1 or ℓ2 norm, products of variables.
        """
        from verifier.spec.write import text  # only here: few write one

        return text(self)
