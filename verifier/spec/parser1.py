"""Tokens of VNN-LIB 1.0 to an and/or tree over literals.  An explicit stack: nesting depth costs nothing."""

from __future__ import annotations

import re
from fractions import Fraction
from itertools import pairwise

from verifier.spec.decimals import NotANumber, Pool, parse
from verifier.spec.formula import AND, OR, Child, Composer, Exact, Fail, Formula, Term
from verifier.spec.lexer import ASSERTED, CLOSE, DECLARED, OPEN, PLAIN, Literals, Tokens

_COMPARISONS = ("<=", "<", ">=", ">", "=")
_TERMS = ("+", "-", "*", "/")
_COMMANDS = ("assert", "declare-const", "declare-fun", "set-logic", "check-sat", "get-model", "exit")
_VARIABLE = re.compile(rb"([XY])_(0|[1-9]\d{0,7})")


class _Frame:
    """An open parenthesis: its head word, and where its operands go."""

    __slots__ = ("at", "children", "count", "head", "kind", "negated", "op", "terms", "words")

    def __init__(self, head: str, at: int, kind: str, op: str, children: list[Child], negated: bool) -> None:
        self.head, self.at, self.kind = head, at, kind  # kind: command, formula, compare or term
        self.op, self.children, self.negated = op, children, negated
        self.count = 0
        self.terms: list[Term] = []
        self.words: list[str] = []


class Parser:
    """Reads one file; `run` gives the formula.  Every mistake goes to `fail` with its offset."""

    def __init__(self, text: bytes, tokens: Tokens, pool: Pool, fail: Fail) -> None:
        self.text, self.tokens, self.pool, self.fail = text, tokens, pool, fail
        self.plain = tokens.literals
        self.made = Composer(pool, fail, len(tokens.literals.p))
        self.out = self.made.out
        self.stack: list[_Frame] = []
        self._number_of: dict[bytes, Exact] = {}

    def run(self) -> Formula:
        """The formula of the whole file."""
        t, opened = self.tokens, -1
        for kind, at, x, y in zip(t.kind, t.at, t.x, t.y, strict=True):
            if opened >= 0:
                if kind < PLAIN and kind not in (OPEN, CLOSE):
                    self._open(self.text[at:x].decode(), opened, at)
                    opened = -1
                    continue
                if kind == CLOSE and self.stack and self.stack[-1].head == "declare-fun":
                    self.stack[-1].words.append("()")
                    opened = -1
                    continue
                self.fail(opened, "no operator after `(`; write and, or, <=, >= or another operator first")
            if kind == OPEN:
                opened = at
            elif kind == CLOSE:
                self._close(at)
            elif kind == PLAIN:
                self._plain(at, x, y)
            elif kind in (ASSERTED, DECLARED):
                if self.stack:
                    self.fail(at, f"a command inside `({self.stack[-1].head}`; a `)` is missing before it")
                if kind == ASSERTED:
                    self.out.root.append([x, y])
            else:
                self._atom(self.text[at:x], at)
        if opened >= 0 or self.stack:
            at = opened if opened >= 0 else self.stack[-1].at
            self.fail(at, "this `(` is never closed; add the missing `)` or fetch the file again, it may be cut off")
        return self.out

    def _open(self, word: str, at: int, word_at: int) -> None:
        if not self.stack:
            if word in _COMPARISONS:
                self.fail(at, "a comparison outside an assertion; write (assert (...))")
            if word not in _COMMANDS:
                self.fail(word_at, f"unknown command `{_short(word)}`; VNN-LIB 1.0 has declare-const and assert")
            self.stack.append(_Frame(word, at, "command", AND, self.out.root, False))
            return
        top = self.stack[-1]
        if word in _COMMANDS:
            self.fail(at, f"a command inside `({top.head}`; a `)` is missing before it")
        if top.kind == "formula" or top.head == "assert":
            top.count += 1
            if word in (AND, OR, "not"):
                negated = top.negated ^ (word == "not")
                op = top.op if word == "not" else (AND if (word == AND) ^ negated else OR)
                # The same operator inside itself adds to the same list: nesting neither copies nor recurses.
                self.stack.append(_Frame(word, at, "formula", op, top.children if op == top.op else [], negated))
                return
            if word in _COMPARISONS:
                self.stack.append(_Frame(word, at, "compare", top.op, top.children, top.negated))
                return
            self.fail(word_at, f"`{_short(word)}` where a comparison, and, or, or not belongs; rewrite the formula")
        if top.kind in ("compare", "term"):
            if word in _COMPARISONS:
                self.fail(at, f"a comparison inside `({top.head}`; it belongs in assert, and, or")
            if word not in _TERMS:
                self.fail(word_at, f"unknown operator `{_short(word)}` in a linear term; use + - * and numbers")
            self.stack.append(_Frame(word, at, "term", "", [], False))
            return
        self.fail(at, f"unexpected `(` in `({top.head}`; a `)` may be missing before it")

    def _atom(self, word: bytes, at: int) -> None:
        if not self.stack:
            self.fail(at, f"`{_short(word.decode())}` outside parentheses; remove it")
        top = self.stack[-1]
        if top.kind in ("compare", "term"):
            top.terms.append(self._value(word, at))
        elif top.kind == "command" and top.head != "assert":
            top.words.append(word.decode())
        elif word in (b"true", b"false"):
            top.count += 1
            value = (word == b"true") ^ top.negated
            self._put(top, AND, [self.made.literal((0, {}), "<=" if value else "<", at)])
        else:
            self.fail(at, f"`{_short(word.decode())}` where a comparison belongs; write it as (<= a b)")

    def _value(self, word: bytes, at: int) -> Term:
        match = _VARIABLE.fullmatch(word)
        if match:
            return 0, {2 * int(match[2]) + 1 + (match[1] == b"Y"): 1}
        value = self._number_of.get(word)
        if value is None:
            try:
                sign, top, bottom = parse(word)
                self.pool.token(word)  # the same range as everywhere
            except NotANumber as error:
                text = _short(word.decode())
                if word[:1] in b"0123456789+-." and str(error) != "not a number":
                    self.fail(at, f"{error}: `{text}`; use one that a double can hold")
                self.fail(at, f"`{text}` is neither a number nor a variable X_<i> or Y_<i>; correct it")
            value = sign * top if bottom == 1 else Fraction(sign * top, bottom)
            self._number_of[word] = value
        return value, {}

    def _plain(self, at: int, first: int, count: int) -> None:
        top = self.stack[-1] if self.stack else None
        if top is None:
            self.fail(at, "a comparison outside an assertion; write (assert (...))")
        if top.kind != "formula" and top.head != "assert":
            self.fail(at, f"a comparison inside `({top.head}`; it belongs in assert, and, or")
        top.count += count
        if not top.negated:
            if top.op == AND:
                top.children.append([first, count])
            else:
                top.children += [[i, 1] for i in range(first, first + count)]
            return
        c = self.plain
        for i in range(first, first + count):
            p, q, number, sign, where = int(c.p[i]), int(c.q[i]), int(c.number[i]), int(c.sign[i]), int(c.at[i])
            turned = [(q, p, number, -sign, not c.strict[i], False, where)]
            if c.equal[i]:
                turned.append((p, q, number, sign, True, False, where))
            self._put(top, OR, [self.made.new(entry) for entry in turned])

    def _close(self, at: int) -> None:
        if not self.stack:
            self.fail(at, "`)` without a `(` before it; remove it")
        frame = self.stack.pop()
        if frame.kind == "command":
            self._command(frame)
        elif frame.kind == "formula":
            self._formula(frame)
        elif frame.kind == "compare":
            self._compare(frame)
        else:
            self.stack[-1].terms.append(self._term(frame))

    def _command(self, frame: _Frame) -> None:
        if frame.head == "assert":
            if frame.count != 1:
                self.fail(frame.at, f"assert takes one formula, here are {frame.count}; join several with and")
        elif frame.head in ("declare-const", "declare-fun"):
            words = frame.words
            if len(words) != 3 - (frame.head == "declare-const") or (len(words) == 3 and words.pop(1) != "()"):
                self.fail(frame.at, "malformed declaration; write (declare-const X_0 Real)")
            match = _VARIABLE.fullmatch(words[0].encode())
            if not match:
                self.fail(frame.at, f"variable `{_short(words[0])}` is not named X_<i> or Y_<i>; rename it")
            if words[1] != "Real":
                self.fail(frame.at, f"sort `{_short(words[1])}` of {words[0]}; VNN-LIB 1.0 has only Real")
            self.out.declared.append((2 * int(match[2]) + 1 + (match[1] == b"Y"), frame.at))

    def _formula(self, frame: _Frame) -> None:
        if frame.count == 0 or (frame.head == "not" and frame.count != 1):
            self.fail(frame.at, f"`{frame.head}` with {frame.count} formulas; give it {_wanted(frame.head)}")
        parent = self.stack[-1]
        if frame.children is parent.children:
            return
        parent.children.append(self.made.join(frame.op, frame.children))

    def _put(self, frame: _Frame, op: str, literals: list[int]) -> None:
        """Add the and/or of literals to the operands of a frame."""
        entries: list[Child] = [[i, 1] for i in literals]
        if op == frame.op:
            frame.children += entries
        else:
            frame.children.append(self.made.join(op, entries))

    def _compare(self, frame: _Frame) -> None:
        terms, head = frame.terms, frame.head
        if len(terms) < 2:
            self.fail(frame.at, f"`{head}` with {len(terms)} operands; give it two")
        found = []
        for (a, left), (b, right) in pairwise(terms):
            if head[0] == ">":
                a, left, b, right = b, right, a, left
            forward = a - b, _sum(dict(left), right, -1)
            backward = b - a, _sum(dict(right), left, -1)
            if frame.negated:
                found.append(self.made.literal(backward, "<" if head in ("<=", ">=", "=") else "<=", frame.at))
                if head == "=":
                    found.append(self.made.literal(forward, "<", frame.at))
            else:
                found.append(self.made.literal(forward, "<=" if "=" in head else "<", frame.at))
                if head == "=":
                    found.append(self.made.literal(backward, "<=", frame.at))
        self._put(frame, OR if frame.negated else AND, found)

    def _term(self, frame: _Frame) -> Term:
        terms, head = frame.terms, frame.head
        if len(terms) < (1 if head in "+-" else 2):
            self.fail(frame.at, f"`{head}` with {len(terms)} operands; add the missing ones")
        if head in "+-":
            result = _total(terms, head)
        elif head == "*":
            varying = [term for term in terms if term[1]]
            if len(varying) > 1:
                self.fail(frame.at, "product of variables; VNN-LIB 1.0 here is linear, multiply only by numbers")
            factor: Exact = 1
            for c, row in terms:
                factor = factor if row else self.made.checked(factor * c, frame.at)
            one: Term = (1, {})
            constant, row = varying[0] if varying else one
            result = constant * factor, {v: c * factor for v, c in row.items()} if factor else {}
        else:
            constant, row = terms[0]
            for c, other in terms[1:]:
                if other or not c:
                    self.fail(frame.at, "division by a variable or by zero; divide only by other numbers")
                inverse = 1 / Fraction(c)
                constant, row = constant * inverse, {v: k * inverse for v, k in row.items()}
                self.made.checked(constant, frame.at)
            result = constant, row
        self.made.checked(result[0], frame.at)
        if head in "*/":
            for value in result[1].values():
                self.made.checked(value, frame.at)
        return result


def all_literals(tokens: Tokens, formula: Formula) -> Literals:
    """The plain literals of the tokens, then those of the parser."""
    return Literals.joined([tokens.literals, Literals.of(formula.literals)])


def _total(terms: list[Term], head: str) -> Term:
    """The sum of all terms, or the first less the others; a single one less is its negative."""
    if head == "-" and len(terms) == 1:
        terms = [(0, {}), *terms]
    constant, row = terms[0]
    for c, other in terms[1:]:
        constant = constant + c if head == "+" else constant - c
        if head == "+" and len(other) > len(row):
            row, other = other, row
        row = _sum(row, other, 1 if head == "+" else -1)
    return constant, row


def _sum(row: dict[int, Exact], other: dict[int, Exact], factor: int) -> dict[int, Exact]:
    """`row + factor * other`, in place in `row`; entries that cancel are dropped."""
    for code, c in other.items():
        value = row.get(code, 0) + factor * c
        if value:
            row[code] = value
        else:
            row.pop(code, None)
    return row


def _short(word: str) -> str:
    return word if len(word) <= 40 else word[:37] + "..."


def _wanted(head: str) -> str:
    return "exactly one" if head == "not" else "at least one"
