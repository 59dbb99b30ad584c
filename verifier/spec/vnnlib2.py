"""The reader of VNN-LIB 2.0: text to `Query2`, with the `vnnlib` package as parser."""

from __future__ import annotations

import json
import re
from typing import Any, NoReturn

from verifier.spec.compile2 import compiled2
from verifier.spec.formula import AND, OR, Exact, Fail
from verifier.spec.lexer import blank_comments
from verifier.spec.query2 import (
    HIDDEN,
    INPUT,
    OUTPUT,
    Comparison,
    Declared,
    Junction,
    Polynomial,
    Query2,
    Variable,
    sizes,
)
from verifier.spec.text2 import Prepared, prepared
from verifier.values.errors import PropertyError

_MOST_TERMS = 100_000
_MOST_ENTRIES = 10_000_000
_DEGREE = 16
_MAX_BITS = 1 << 15
_OPERATORS = {"LessEqual": "<=", "LessThan": "<", "GreaterEqual": ">=", "GreaterThan": ">",
              "Equal": "==", "NotEqual": "!="}  # fmt: skip


def parse2(text: bytes, source: str = "query") -> Query2:
    """The query that a VNN-LIB 2.0 text states.

    Args:
        text: the file's bytes, not compressed.
        source: the file's name, for messages.

    Raises:
        PropertyError: whatever is wrong with the text, as one line `file:line: what; what to do`.
    """
    return _Reader(text, source).read()


class _Reader:
    def __init__(self, text: bytes, source: str) -> None:
        self.text, self.source = text, source

    def fail(self, at: int, message: str) -> NoReturn:
        """Point at an offset."""
        line = self.text.count(b"\n", 0, at) + 1
        begin = self.text.rfind(b"\n", 0, at) + 1
        column = len(self.text[begin:at].decode("utf-8", "replace")) + 1
        raise PropertyError(f"{self.source}:{line}:{column}: {message}")

    def fail_line(self, line: int, message: str) -> NoReturn:
        """Point at a line."""
        raise PropertyError(f"{self.source}:{line}: {message}")

    def read(self) -> Query2:
        nul = self.text.find(b"\0")
        if nul >= 0:
            self.fail(nul, "a NUL byte: this is a binary file; give a text file")
        try:
            self.text.decode()
        except UnicodeDecodeError as error:
            self.fail(error.start, "not UTF-8 text; give a text file in VNN-LIB 2.0")
        ready = prepared(blank_comments(self.text), self.fail)
        tree = self._parsed(ready)
        lines = self._declaration_lines()
        networks = tuple(self._network(net, lines) for net in tree.networks)
        self._consistent(networks)
        if sum(sizes(networks)) > _MOST_ENTRIES:
            raise PropertyError(f"{self.source}: more than {_MOST_ENTRIES:,} entries of variables; split the query")
        walk = _Walk(networks, ready.numbers, self.fail_line)
        assertions = tuple(walk.boolean(a.expr) for a in tree.assertions)
        prop, expand = compiled2(networks, assertions, self.source, self.fail_line)
        return Query2(networks, assertions, prop, expand, self.source)

    def _parsed(self, ready: Prepared) -> Any:
        try:
            import vnnlib  # only here: questions in version 1.0 do without
        except ImportError:
            raise PropertyError(
                f"{self.source}: VNN-LIB 2.0 needs the package vnnlib; `pip install vnnlib==1.0.2`"
            ) from None
        try:
            return vnnlib.parse_query_string(ready.text)
        except Exception as error:  # its own, or whatever C++ throws
            self._explain(str(error))

    def _explain(self, report: str) -> NoReturn:
        """What the package reports, as one line of ours."""
        syntax = re.search(r"syntax error at line (\d+), column \d+: '(.*)'", report, re.DOTALL)
        if syntax:
            line, token = int(syntax[1]), syntax[2].strip()
            if not token:
                self.fail_line(line, "the query ends too early; it needs networks, then at least one assertion")
            self.fail_line(
                line, f"unexpected `{token[:40]}`; the query does not follow the grammar of VNN-LIB 2.0 there"
            )
        try:
            first = json.loads(report[report.index("{") :])["errors"][0]
            what, hint, symbol = first["message"], first["hint"], first["offendingSymbol"]
            line = int(first["line"])
        except (ValueError, KeyError, IndexError, TypeError):
            raise PropertyError(
                f"{self.source}: the vnnlib package refuses it: {' '.join(report.split())[:200]}"
            ) from None
        self.fail_line(line, f"{what.rstrip('.')} (`{symbol}`): {hint.rstrip('.')}; correct it")

    def _declaration_lines(self) -> dict[str, int]:
        """The line of every declared name."""
        pattern = re.compile(rb"\(\s*declare-(?:network|input|hidden|output)\s+([A-Za-z]\w*)")
        text = blank_comments(self.text)
        return {m[1].decode(): text.count(b"\n", 0, m.start()) + 1 for m in pattern.finditer(text)}

    def _network(self, net: Any, lines: dict[str, int]) -> Declared:
        parts = {
            kind: tuple(self._variable(v, kind, lines) for v in given)
            for kind, given in ((INPUT, net.inputs), (HIDDEN, net.hidden), (OUTPUT, net.outputs))
        }
        return Declared(net.name, net.equal_to, net.isometric_to, parts[INPUT], parts[HIDDEN], parts[OUTPUT],
                        lines.get(net.name, 1))  # fmt: skip

    def _variable(self, v: Any, kind: str, lines: dict[str, int]) -> Variable:
        dtype = {"F16": "float16", "F32": "float32", "F64": "float64"}.get(v.dtype.name, "real")
        return Variable(v.name, kind, dtype, tuple(v.shape), (v.onnx_name or "").strip('"'), lines.get(v.name, 1))

    def _consistent(self, networks: tuple[Declared, ...]) -> None:
        """Refuse what the standard forbids and the package lets through (it checks what relations refer to)."""
        for net in networks:
            if net.equal_to and net.isomorphic_to:
                self.fail_line(net.line, f"{net.name} is both equal-to and isomorphic-to others; leave one out")
        kinds = {v.dtype == "real": v for n in networks for v in (*n.inputs, *n.results)}
        if len(kinds) > 1:
            v = kinds[False]
            self.fail_line(v.line, f"{v.name} is {v.dtype} but other variables are real; use real for all, or for none")


class _Walk:
    """The package's expressions to polynomials."""

    def __init__(self, networks: tuple[Declared, ...], numbers: list[Exact], fail: Fail) -> None:
        self.numbers, self.fail = numbers, fail
        self.first: dict[str, tuple[int, tuple[int, ...]]] = {}
        at = 0
        ordered = [v for net in networks for v in net.inputs] + [v for net in networks for v in net.results]
        for v in ordered:
            self.first[v.name] = at, v.shape
            at += v.size
        assert at == sum(sizes(networks))
        self.line = 1

    def boolean(self, e: Any) -> Junction | Comparison:
        """A formula."""
        kind = type(e).__name__
        if kind in ("And", "Or"):
            return Junction(AND if kind == "And" else OR, tuple(self.boolean(part) for part in e.args))
        self.line = _line(e)
        difference = self._sum([(1, self.value(e.lhs)), (-1, self.value(e.rhs))])
        op = _OPERATORS[kind]
        if op[0] == ">":
            difference, op = {m: -c for m, c in difference.items()}, "<" + op[1:]
        return Comparison(difference, op, self.line)

    def value(self, e: Any) -> Polynomial:
        """An arithmetic expression."""
        kind = type(e).__name__
        if kind == "Var":
            return {(self._entry(e),): 1}
        if kind in ("Float", "Int", "Literal", "IntExpr"):
            c = self.numbers[int(e.lexeme.split(".")[0])]
            return {(): c} if c else {}
        if kind == "Negate":
            return {m: -c for m, c in self.value(e.expr).items()}
        if kind == "Minus":
            return self._sum([(1, self.value(e.head)), *((-1, self.value(a)) for a in e.rest)])
        if kind == "Plus":
            return self._sum([(1, self.value(a)) for a in e.args])
        if kind == "Multiply":
            result: Polynomial = {(): 1}
            for a in e.args:
                result = self._product(result, self.value(a))
            return result
        self.fail(self.line, f"`{kind}` is not supported in an expression; use +, - and *")

    def _entry(self, e: Any) -> int:
        at, shape = self.first[e.name]
        flat = 0
        for i, size in zip(e.indices, shape, strict=True):
            flat = flat * size + i
        return at + flat

    def _sum(self, parts: list[tuple[int, Polynomial]]) -> Polynomial:
        total: Polynomial = {}
        for sign, part in parts:
            for m, c in part.items():
                value = total.get(m, 0) + sign * c
                if value:
                    total[m] = value
                else:
                    total.pop(m, None)
        return total

    def _product(self, a: Polynomial, b: Polynomial) -> Polynomial:
        if len(a) * len(b) > _MOST_TERMS:
            self.fail(self.line, f"a product of {len(a) * len(b):,} terms; multiply out less, or split the assertion")
        result: Polynomial = {}
        for m, c in a.items():
            for k, d in b.items():
                product = tuple(sorted(m + k))
                if len(product) > _DEGREE:
                    self.fail(self.line, f"a product of {len(product)} variables; at most {_DEGREE} are supported")
                value = result.get(product, 0) + c * d
                if value.numerator.bit_length() + value.denominator.bit_length() > _MAX_BITS:
                    self.fail(self.line, "constants combine to more digits than can be kept exactly; round them first")
                if value:
                    result[product] = value
                else:
                    result.pop(product, None)
        return result


def _line(e: Any) -> int:
    """The line of the first leaf below."""
    while True:
        line = getattr(e, "line", None)
        if isinstance(line, int):
            return line
        below = e.children()
        if not below:
            return 1
        e = below[0]
