"""A query of VNN-LIB 2.0 to a `Property` over the inputs that are left when equal ones are made one.

A random point satisfies no equality, and rounding breaks those that hold.  So inputs that the assertions make equal
become one reduced input; every box, bound and witness is over reduced inputs, and satisfies the equalities exactly.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from verifier.spec.compile import Layout, compiled
from verifier.spec.decimals import Pool
from verifier.spec.formula import AND, OR, Child, Composer, Exact, Fail, Term
from verifier.spec.lexer import Literals
from verifier.spec.property import Property
from verifier.spec.query2 import Comparison, Declared, Junction, Monomial, Polynomial, entry_name, sizes
from verifier.spec.ranges import derive

_MOST_MONOMIALS = 100_000


def compiled2(
    networks: tuple[Declared, ...], assertions: Sequence[Junction | Comparison], source: str, fail: Fail
) -> tuple[Property, NDArray[np.int64]]:
    """The property over reduced inputs, and `expand` `[n]`: which of them every declared input entry is.

    The property's outputs are all hidden and output entries, then one a monomial of degree two or more.

    Args:
        fail: takes a line.

    Raises:
        PropertyError: see `spec.compile.compiled`.
    """
    n, m = sizes(networks)
    facts = [c for a in assertions for c in _facts(a)]
    expand = _merged(facts, n)
    first = np.unique(expand, return_index=True)[1]  # reduced inputs are numbered by their first member
    reduced = len(first)
    number = np.concatenate([expand, reduced + _results(networks, expand)])

    def renamed(p: Polynomial) -> Polynomial:
        """The polynomial over reduced inputs and the outputs behind them."""
        result: Polynomial = {}
        for monomial, c in p.items():
            key = tuple(sorted(int(number[i]) for i in monomial))
            result[key] = result.get(key, 0) + c
        return {key: c for key, c in result.items() if c}

    pool = Pool()
    build = _Building(reduced, m, Composer(pool, fail), fail)
    out = build.made.out
    for a in assertions:
        build.add(_mapped(a, renamed), AND, out.root)
    linear = [(renamed(c.polynomial), c.op, c.line) for c in facts if c.op != "!="]
    for p, line in derive([(p, op, at) for p, op, at in linear if _over_inputs(p, reduced)], reduced):
        out.root.append([build.literal(p, "<=", line), 1])

    def name(i: int) -> str:
        return entry_name(networks, int(first[i]))

    layout = Layout(reduced, m + len(build.monomials), name, source, fail)
    prop = compiled(Literals.of(out.literals), out, pool, layout)
    return Property(**{**vars(prop), "monomials": tuple(build.monomials)}), expand


def _facts(a: Junction | Comparison) -> Iterator[Comparison]:
    """The comparisons that every solution satisfies, as far as that shows."""
    if isinstance(a, Comparison):
        yield a
    elif a.op == AND or len(a.parts) == 1:
        for part in a.parts:
            yield from _facts(part)


def _mapped(a: Junction | Comparison, change: object) -> Junction | Comparison:
    """The formula with every polynomial changed."""
    assert callable(change)
    if isinstance(a, Comparison):
        return Comparison(change(a.polynomial), a.op, a.line)
    return Junction(a.op, tuple(_mapped(part, change) for part in a.parts))


def _over_inputs(p: Polynomial, n: int) -> bool:
    return all(len(m) <= 1 and (not m or m[0] < n) for m in p)


def _merged(facts: Sequence[Comparison], n: int) -> NDArray[np.int64]:
    """Reduced input of each of `n` inputs: those that facts make equal share one (union-find)."""
    parent = list(range(n))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    at_most: set[tuple[int, int]] = set()
    for c in facts:
        if c.op not in ("==", "<="):
            continue
        pair = _difference(c.polynomial, n)
        if pair is None:
            continue
        at_most.add(pair)
        if c.op == "==" or pair[::-1] in at_most:
            a, b = sorted(map(root, pair))
            parent[b] = a
    roots = np.array([root(i) for i in range(n)], np.int64)
    return np.unique(roots, return_inverse=True)[1].reshape(-1).astype(np.int64)


def _results(networks: tuple[Declared, ...], expand: NDArray[np.int64]) -> NDArray[np.int64]:
    """For every hidden and output entry the entry that it is: one network on the same inputs gives the same twice."""
    same = np.arange(sum(v.size for net in networks for v in net.results), dtype=np.int64)
    seen: dict[tuple[object, ...], int] = {}
    x = y = 0
    for net in networks:
        size = sum(v.size for v in net.inputs)
        key = (net.equal_to or net.name, expand[x : x + size].tobytes())
        x += size
        for k, v in enumerate(net.results):
            which = v.tensor or k - len(net.hidden)
            first = seen.setdefault((*key, which), y)
            same[y : y + v.size] = first + np.arange(v.size)
            y += v.size
    return same


def _difference(p: Polynomial, n: int) -> tuple[int, int] | None:
    """(i, j) when the polynomial is a positive multiple of input i less input j."""
    if len(p) != 2 or any(len(m) != 1 or m[0] >= n for m in p):
        return None
    (a, c), (b, d) = ((m[0], c) for m, c in p.items())
    if c + d:
        return None
    return (a, b) if c > 0 else (b, a)


class _Building:
    """Comparisons over reduced inputs to literals."""

    def __init__(self, n: int, m: int, made: Composer, fail: Fail) -> None:
        self.n, self.m, self.made, self.fail = n, m, made, fail
        self.monomials: dict[Monomial, int] = {}

    def add(self, a: Junction | Comparison, op: str, children: list[Child]) -> None:
        """Add a formula to the operands of an and/or."""
        if isinstance(a, Comparison):
            kind, found = self._literals(a)
            entries: list[Child] = [[i, 1] for i in found]
            if kind == op or len(entries) == 1:
                children += entries
            else:
                children.append(self.made.join(kind, entries))
            return
        mine = children if a.op == op else []
        for part in a.parts:
            self.add(part, a.op, mine)
        if mine is not children:
            children.append(self.made.join(a.op, mine))

    def _literals(self, c: Comparison) -> tuple[str, list[int]]:
        """The literals of a comparison, and whether all or one of them must hold."""
        mirrored = {m: -v for m, v in c.polynomial.items()}
        if c.op == "==":
            return AND, [self.literal(c.polynomial, "<=", c.line), self.literal(mirrored, "<=", c.line)]
        if c.op == "!=":
            return OR, [self.literal(c.polynomial, "<", c.line), self.literal(mirrored, "<", c.line)]
        return AND, [self.literal(c.polynomial, c.op, c.line)]

    def literal(self, p: Polynomial, op: str, line: int) -> int:
        """The literal `p op 0`."""
        constant: Exact = 0
        row: dict[int, Exact] = {}
        for m, c in p.items():
            self.made.checked(c, line)
            if m:
                row[self._code(m, line)] = c
            else:
                constant = c
        term: Term = (constant, row)
        return self.made.literal(term, op, line)

    def _code(self, m: Monomial, line: int) -> int:
        """The variable that stands for a monomial: odd codes are inputs, even ones outputs."""
        if len(m) == 1:
            return 2 * m[0] + 1 if m[0] < self.n else 2 * (m[0] - self.n) + 2
        k = self.monomials.setdefault(m, len(self.monomials))
        if k >= _MOST_MONOMIALS:
            self.fail(line, f"more than {_MOST_MONOMIALS:,} different products of variables; split the query")
        return 2 * (self.m + k) + 2
