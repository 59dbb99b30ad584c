"""A `Property` as the text of VNN-LIB 1.0, such that reading the text gives the same property."""

from __future__ import annotations

import gzip
from collections.abc import Iterable
from decimal import Context, Decimal
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from verifier.spec.property import Property
from verifier.values import given
from verifier.values.errors import PropertyError, UserError

LONGEST = 100_000_000
"""Characters of one disjunction."""
_EXACT = Context(prec=2000)
"""Enough digits for every double, and for the middle of any two neighbours."""


def text(prop: Property) -> str:
    """The property in VNN-LIB 1.0.

    Numbers are written with the digits that they have as doubles; one that was between two doubles when it was read is
    written as a decimal number between them, so that it is rounded outward and inward as before.

    Raises:
        PropertyError: it is none of version 1.0 (a ball of the ℓ1 or ℓ2 norm, products of variables), or its bounds
            are not those of any decimal numbers.
    """
    if not isinstance(prop, Property):
        raise PropertyError(
            f"{type(prop).__name__}: not a Property; what `robustness` returns is one once it knows how many classes "
            "there are (`question.property(10)`), and a query of version 2.0 is kept as the text that it was read from"
        )
    if prop.ball is not None:
        norm = prop.ball.balls()[0][1].norm
        raise PropertyError(
            f"{prop.source}: a ball of the l{norm:g} norm cannot be written in VNN-LIB 1.0, which has linear "
            "comparisons only; write its box, or keep the call that makes it"
        )
    if prop.monomials:
        raise PropertyError(f"{prop.source}: products of variables cannot be written in VNN-LIB 1.0, which is linear")
    return "\n".join([*_declared(prop), *_Writer(prop).asserted()]) + "\n"


def write_vnnlib(prop: Property, path: str | Path) -> None:
    """Write a property to a `.vnnlib` file, or packed to one that ends in `.gz`.

    Raises:
        PropertyError: see `text`.
        UserError: the file cannot be written.
    """
    content = text(prop).encode()
    path = given.path("path", path)
    try:
        path.write_bytes(gzip.compress(content, mtime=0) if path.suffix == ".gz" else content)
    except (OSError, ValueError) as e:
        why = getattr(e, "strerror", None) or e
        raise UserError(f"{path}: cannot be written ({why}); choose another place") from None


def _declared(prop: Property) -> Iterable[str]:
    for letter, count in (("X", prop.n_inputs), ("Y", prop.n_outputs)):
        yield from (f"(declare-const {letter}_{i} Real)" for i in range(count))


class _Writer:
    """The assertions of one property: what all disjuncts share, then the disjunction of the rest."""

    def __init__(self, prop: Property) -> None:
        self.prop = prop
        self.literals: dict[int, str] = {}
        self.kept: Any = prop.clauses
        self.clauses = [] if self.kept is None else self._clauses()

    def asserted(self) -> list[str]:
        """One line an assertion."""
        prop = self.prop
        if not prop.n_disjuncts:
            return ["(assert false)"]
        used = sorted(set(prop.box.tolist()))
        boxes = {k: self._box(k) for k in used}
        sides = [set(side) for side in zip(*boxes.values(), strict=True)]
        lines = [f"(assert {one})" for side in sides if len(side) == 1 for one in side]
        own = {k: [b for b, side in zip(boxes[k], sides, strict=True) if len(side) > 1] for k in used}
        needs = [set[int]() if self.kept is None else set(self.kept.of(j).tolist()) for j in range(prop.n_disjuncts)]
        shared = set.intersection(*needs)
        lines += [f"(assert {self.clauses[c]})" for c in sorted(shared)]
        rows = [
            [
                *own[int(k)],
                *sorted(map(self._literal, prop.literals(j).tolist())),
                *(self.clauses[c] for c in sorted(needs[j] - shared)),
            ]
            for j, k in enumerate(prop.box)
        ]
        if len(rows) == 1:
            return lines + [f"(assert {row})" for row in rows[0]]
        return [*lines, "(assert (or\n" + "\n".join(f"  (and {' '.join(row) or 'true'})" for row in rows) + "))"]

    def _box(self, k: int) -> list[str]:
        """Lower and upper bound of every input, in turn."""
        p, found = self.prop, []
        for i in range(p.n_inputs):
            for op, outer, inner in (
                (">", p.lower[k, i], p.inner_lower[k, i]),
                ("<", p.upper[k, i], p.inner_upper[k, i]),
            ):
                name = f"{p.source}: input X_{i} has the bound {outer:g}"
                strict, number = _bound(float(outer), float(inner), op, name)
                found.append(f"({op if strict else op + '='} X_{i} {number})")
        return found

    def _literal(self, i: int) -> str:
        """`(<= term number)`, or `<`."""
        if i not in self.literals:
            p = self.prop
            terms = [(f"Y_{c}", float(p.A_y[i, c])) for c in np.flatnonzero(p.A_y[i])]
            if p.A_x is not None:
                terms += [(f"X_{c}", float(p.A_x[i, c])) for c in np.flatnonzero(p.A_x[i])]
            self.literals[i] = self._compared(p, i, terms)
        return self.literals[i]

    def _clauses(self) -> list[str]:
        """Disjunctions that are kept as they are; each is made of literals of its own and of earlier ones."""
        kept, nest, n = self.kept, self.kept.nest, self.prop.n_inputs
        names = [f"X_{c}" if c < n else f"Y_{c - n}" for c in kept.column.tolist()]
        ends, members = kept.term.tolist(), nest.member.tolist()
        parts = [
            self._compared(kept, i, list(zip(names[a:b], kept.value[a:b].tolist(), strict=True)))
            for i, (a, b) in enumerate(pairwise(ends))
        ]
        for first, last in pairwise(nest.first.tolist()):
            rows = [[parts[i] for i in members[nest.start[a] : nest.start[a + 1]]] for a in range(first, last)]
            said = [row[0] if len(row) == 1 else f"(and {' '.join(row)})" for row in rows]
            parts.append(said[0] if len(said) == 1 else f"(or {' '.join(said)})")
            if sum(map(len, said)) > LONGEST:
                raise PropertyError(f"{self.prop.source}: a formula of more than {LONGEST:,} characters; keep its file")
        return parts[nest.L :]

    def _compared(self, of: Any, i: int, terms: list[tuple[str, float]]) -> str:
        """Literal i of a property or of its clauses: a sum of coefficients times variables, compared with a number."""
        source = self.prop.source
        if not all(np.isfinite(c) for _, c in terms):
            raise PropertyError(f"{source}: literal {i} has a coefficient that is no finite number; correct it")
        factors = _inexact([c for _, c in terms]) if of.inexact[i] else [_exact(Fraction(c)) for _, c in terms]
        some = [
            name if f == "1.0" and not of.inexact[i] else f"(* {f} {name})"
            for (name, _), f in zip(terms, factors, strict=True)
        ]
        term = some[0] if len(some) == 1 else f"(+ {' '.join(some)})" if some else "0.0"
        name = f"{source}: literal {i} is compared with {of.d[i]:g}"
        number = _between(float(of.inner_d[i]), float(of.d[i]), name)
        return f"({'<' if of.strict[i] else '<='} {term} {number})"


def _bound(outer: float, inner: float, op: str, name: str) -> tuple[bool, str]:
    """Whether a bound is strict, and its number, such that it rounds to these outward and inward.

    A strict bound at a double and one between it and the next are the same to a property: the shorter text is taken.
    """
    toward = np.inf if op == ">" else -np.inf
    if outer == inner and np.isfinite(outer):
        return False, _exact(Fraction(outer))
    if inner != np.nextafter(outer, toward):
        raise _apart(name)
    inside, end = _between(min(outer, inner), max(outer, inner), name, op == "<"), _exact(Fraction(outer))
    return (True, end) if len(end) < len(inside) else (False, inside)


def _between(low: float, high: float, name: str, up: bool = True) -> str:
    """The number itself, or a decimal number between two neighbours, short where there is one.

    Of two that are as short, the one that asks for less (`up`: the larger): `= c` is two comparisons, which must not
    contradict each other afterwards.
    """
    if not (np.isfinite(low) and np.isfinite(high)):
        raise _apart(name)
    if low == high:
        return _exact(Fraction(low))
    if np.nextafter(low, np.inf) != high:
        raise _apart(name)
    inside = [r for r in (repr(low), repr(high)) if Fraction(low) < Fraction(r) < Fraction(high)]
    inside.sort(key=Fraction, reverse=up)
    return min(inside, key=len, default=_exact((Fraction(low) + Fraction(high)) / 2))


def _apart(name: str) -> PropertyError:
    return PropertyError(
        f"{name}, which is no decimal number rounded outward and inward to neighbouring doubles; make the two equal"
    )


def _exact(value: Fraction) -> str:
    """All digits of a fraction of two's powers; without an exponent where that is shorter."""
    number = _EXACT.divide(Decimal(value.numerator), Decimal(value.denominator))
    short = repr(float(value))
    if Fraction(short) == value:
        return short
    return min(f"{number:f}", f"{number:e}", key=len)


def _inexact(coefficients: list[float]) -> list[str]:
    """Decimal numbers that round to these, at least one of which is none of them."""
    factors = [repr(c) for c in coefficients]
    if all(Fraction(f) == Fraction(c) for f, c in zip(factors, coefficients, strict=True)):
        c = coefficients[0]
        factors[0] = _exact(Fraction(c) + Fraction(float(np.spacing(c))) / 8)
    return factors
