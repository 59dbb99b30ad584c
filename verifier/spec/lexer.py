"""Text of VNN-LIB 1.0 to tokens, a block of text at a time, with array operations only.

Three shapes make up nearly all of real files and are recognised here, so that the parser meets them as one token:
`(op a b)` where a and b are variables or numbers (a *plain* literal), `(assert <plain literal>)`, and
`(declare-const V Real)`.  Neighbours of the same shape are merged into one token with a count.  Whatever does not match
exactly is left as ordinary tokens: the parser decides, and reports what is wrong with it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from verifier.spec.decimals import ZERO, NotANumber, Pool
from verifier.spec.formula import Fail

Ints = NDArray[np.int64]
Bytes = NDArray[np.uint8]
Bools = NDArray[np.bool_]

BLANK, OPEN, CLOSE, WORD, OPERATOR, VARIABLE, NUMBER, PLAIN, ASSERTED, DECLARED = range(10)
_BLOCK = 1 << 19
_PAD = 64
_LONGEST = 30


def _classes() -> Bytes:
    table = np.full(256, 255, np.uint8)
    table[33:127] = WORD
    for characters, kind in ((b" \t\r\n\f\v", BLANK), (b"(", OPEN), (b")", CLOSE), (b"<>=", OPERATOR),
                             (b"XY", VARIABLE), (b"0123456789+-.", NUMBER)):  # fmt: skip
        table[list(characters)] = kind
    return table


_CLASS = _classes()


@dataclass
class Literals:
    """Columns of literals `p - q <= sign * number` (`<` when strict, also `=` when equal); one entry a literal.

    p and q are variable codes (0: none; `2 i + 1` for X_i, `2 i + 2` for Y_i); a negative p is a general row.
    """

    p: NDArray[np.int32]
    q: NDArray[np.int32]
    number: Ints
    sign: NDArray[np.int8]
    strict: Bools
    equal: Bools
    at: Ints

    COLUMNS = ("p", "q", "number", "sign", "strict", "equal", "at")

    @staticmethod
    def joined(parts: list[Literals]) -> Literals:
        """The entries of all parts, in order."""
        parts = [part for part in parts if len(part.p)] or parts[:1]
        if len(parts) == 1:
            return parts[0]
        return Literals(*(np.concatenate([getattr(part, name) for part in parts]) for name in Literals.COLUMNS))

    @staticmethod
    def of(rows: list[tuple[int, int, int, int, bool, bool, int]]) -> Literals:
        """From a list of entries."""
        columns = list(zip(*rows, strict=True)) if rows else [()] * 7
        types = (np.int32, np.int32, np.int64, np.int8, bool, bool, np.int64)
        return Literals(*(np.array(c, t) for c, t in zip(columns, types, strict=True)))


@dataclass
class Tokens:
    """What the parser reads: for token t its kind, offset, and two numbers.

    Ordinary atoms: `x` is the offset behind it.  PLAIN and ASSERTED: `x` the first literal, `y` how many.
    `declared` and `declared_at` list the variables (codes) of the DECLARED tokens and the offsets.
    """

    kind: list[int] = field(default_factory=list)
    at: list[int] = field(default_factory=list)
    x: list[int] = field(default_factory=list)
    y: list[int] = field(default_factory=list)
    literals: Literals = field(default_factory=lambda: Literals.of([]))
    declared: Ints = field(default_factory=lambda: np.empty(0, np.int64))
    declared_at: Ints = field(default_factory=lambda: np.empty(0, np.int64))


def blank_comments(text: bytes) -> bytes:
    """The text with comments and a byte-order mark overwritten by blanks: offsets stay."""
    if text.startswith(b"\xef\xbb\xbf"):
        text = b"   " + text[3:]
    return re.sub(rb";[^\r\n]*", lambda m: b" " * len(m.group()), text) if b";" in text else text


def tokens(text: bytes, pool: Pool, fail: Fail, shapes: bool = True) -> Tokens:
    """All tokens of `text` (without comments); `shapes=False` leaves every shape to the parser."""
    data = np.frombuffer(text + b" " * _PAD, np.uint8)
    out = Tokens()
    literals = [out.literals]
    declared = [out.declared]
    declared_at = [out.declared_at]
    count = begin = 0
    while begin < len(text):
        # A block ends behind a `)`: none of the shapes holds one before its end, so a cut never splits a literal.
        end = text.rfind(b")", begin, begin + _BLOCK) + 1 if begin + _BLOCK < len(text) else len(text)
        if not end:
            end = text.find(b")", begin) + 1 or len(text)
        block = _Block(data[begin : end + _PAD], end - begin, begin, fail)
        if shapes:
            found = block.plain_literals(pool, count)
            literals.append(found)
            count += len(found.p)
            code, at = block.declarations()
            declared.append(code)
            declared_at.append(at)
        block.export(out)
        begin = end
    out.literals = Literals.joined(literals)
    out.declared, out.declared_at = np.concatenate(declared), np.concatenate(declared_at)
    return out


class _Block:
    """The tokens of one block of text; `offset` is where the block begins."""

    def __init__(self, data: Bytes, length: int, offset: int, fail: Fail) -> None:
        kinds = _CLASS[data[:length]]
        if kinds.max(initial=0) == 255:
            at = int(np.flatnonzero(kinds == 255)[0])
            fail(offset + at, "unexpected character; VNN-LIB 1.0 is ASCII text outside comments")
        inside = np.zeros(length + 2, bool)
        np.greater_equal(kinds, WORD, out=inside[1:-1])
        edge = inside[1:] != inside[:-1]  # atoms begin and end in turn
        starts = edge[:-1] & inside[1:-1]
        starts |= (kinds == OPEN) | (kinds == CLOSE)
        self.data, self.offset = data, offset
        self.at = np.flatnonzero(starts)
        self.kind = kinds[self.at]
        self.end = self.at + 1
        self.end[self.kind >= WORD] = np.flatnonzero(edge[1:] & inside[1:-1]) + 1
        self.x = self.end
        self.length = length

    def plain_literals(self, pool: Pool, count: int) -> Literals:
        """Replace `(op a b)` by PLAIN tokens, numbered from `count`, and return the literals."""
        k = self.kind
        if len(k) < 5:
            return Literals.of([])
        shape = (k[:-4] == OPEN) & (k[1:-3] == OPERATOR) & (k[4:] == CLOSE)
        a, b = k[2:-2], k[3:-1]
        shape &= ((a == VARIABLE) & ((b == VARIABLE) | (b == NUMBER))) | ((a == NUMBER) & (b == VARIABLE))
        i = np.flatnonzero(shape)
        size = self.end[i + 1] - self.at[i + 1]
        first, second = self.data[self.at[i + 1]], self.data[self.at[i + 1] + 1]
        good = (size == 1) | ((size == 2) & (second == 61) & (first != 61))
        code = np.zeros((2, len(i)), np.int32)
        number, sign = np.full(len(i), ZERO, np.int64), np.ones(len(i), np.int8)
        for side in (0, 1):
            t = i + 2 + side
            variable = self.kind[t] == VARIABLE
            code[side, variable], fine = self._variables(t[variable])
            good[variable] &= fine
            numeric = np.flatnonzero(~variable)
            number[numeric], s, fine = self._numbers(t[numeric], pool)
            sign[numeric] = s if side else -s  # a number on the left moves to the right
            good[numeric] &= fine
        i, first, size, code = i[good], first[good], size[good], code[:, good]
        number, sign = number[good], sign[good]
        flip = first == 62
        p, q = np.where(flip, code[1], code[0]), np.where(flip, code[0], code[1])
        equal = first == 61
        found = Literals(p, q, number, np.where(flip, -sign, sign), (size == 1) & ~equal, equal,
                         self.at[i] + self.offset)  # fmt: skip
        self._replace(i, 5, PLAIN, count + np.arange(len(i)))
        self._assertions()
        return found

    def _assertions(self) -> None:
        k = self.kind
        if len(k) >= 4:
            i = np.flatnonzero((k[:-3] == OPEN) & (k[1:-2] == WORD) & (k[2:-1] == PLAIN) & (k[3:] == CLOSE))
            i = i[self._spelled(i + 1, b"assert")]
            self._replace(i, 4, ASSERTED, self.x[i + 2])

    def declarations(self) -> tuple[Ints, Ints]:
        """Replace `(declare-const V Real)` by DECLARED tokens; the variables and the offsets."""
        k = self.kind
        if len(k) < 5:
            return np.empty(0, np.int64), np.empty(0, np.int64)
        i = np.flatnonzero((k[:-4] == OPEN) & (k[1:-3] == WORD) & (k[2:-2] == VARIABLE) & (k[3:-1] == WORD)
                           & (k[4:] == CLOSE))  # fmt: skip
        i = i[self._spelled(i + 1, b"declare-const") & self._spelled(i + 3, b"Real")]
        code, fine = self._variables(i + 2)
        i = i[fine]
        at = self.at[i] + self.offset
        self._replace(i, 5, DECLARED, np.zeros(len(i), np.int64))
        return code[fine], at

    def export(self, out: Tokens) -> None:
        """Append the tokens, neighbours of one shape merged."""
        k = self.kind
        first = np.ones(len(k), bool)
        first[1:] = (k[1:] != k[:-1]) | (k[1:] < PLAIN)
        i = np.flatnonzero(first)
        out.kind += k[i].tolist()
        out.at += (self.at[i] + self.offset).tolist()
        out.x += np.where(k[i] < PLAIN, self.x[i] + self.offset, self.x[i]).tolist()
        out.y += np.diff(np.append(i, len(k))).tolist()

    def _replace(self, i: Ints, width: int, kind: int, x: Ints) -> None:
        """The tokens i .. i + width - 1 become one token of `kind`."""
        if not len(i):
            return
        keep = np.ones(len(self.kind), bool)
        for step in range(1, width):
            keep[i + step] = False
        self.x = self.x.copy()
        self.kind[i], self.x[i] = kind, x
        self.kind, self.at, self.end, self.x = self.kind[keep], self.at[keep], self.end[keep], self.x[keep]

    def _spelled(self, t: Ints, word: bytes) -> Bools:
        same = np.asarray(self.end[t] - self.at[t] == len(word))
        for step, character in enumerate(word):
            same &= self.data[self.at[t] + step] == character
        return same

    def _variables(self, t: Ints) -> tuple[Ints, Bools]:
        """Codes of the atoms `t`, and which of them are variables `X_<i>` or `Y_<i>`, without leading zeros."""
        at = self.at[t]
        size = self.end[t] - at
        good = (self.data[at + 1] == 95) & (size >= 3) & (size <= 10)
        good &= (size == 3) | (self.data[at + 2] != 48)
        index = np.zeros(len(t), np.int64)
        for step in range(2, int(size[good].max(initial=0))):
            digit = self.data[at + step] - np.uint8(48)
            more = size > step
            good &= (digit < 10) | ~more
            index = np.where(more, index * 10 + digit, index)
        return index * 2 + 1 + (self.data[at] == 89), good

    def _numbers(self, t: Ints, pool: Pool) -> tuple[Ints, NDArray[np.int8], Bools]:
        """Keys and signs of the atoms `t`, and which of them are numbers."""
        size = np.minimum(self.end[t] - self.at[t], _LONGEST + 1).astype(np.uint8)
        order = np.argsort(255 - size, kind="stable")  # longest first: every step works on a prefix
        at, size = self.at[t[order]], size[order]
        alive = len(t) - np.cumsum(np.bincount(size, minlength=_LONGEST + 2))
        sign = np.where(self.data[at] == 45, -1, 1).astype(np.int8)
        mantissa, power = np.zeros(len(t), np.int64), np.zeros(len(t), np.int64)
        digits, places, power_digits = (np.zeros(len(t), np.int8) for _ in range(3))
        seen, dot, exponent, negative = (np.zeros(len(t), bool) for _ in range(4))
        good = size <= _LONGEST
        any_exponent, previous = False, self.data[at]
        for step in range(min(int(size.max(initial=0)), _LONGEST)):
            n = int(alive[step])
            c = self.data[at[:n] + step]
            digit = c - np.uint8(48)
            is_digit = digit < 10
            in_mantissa = is_digit & ~exponent[:n] if any_exponent else is_digit
            m = mantissa[:n]
            m[:] = np.where(in_mantissa & (digits[:n] < 18), m * 10 + digit, m)
            seen[:n] |= in_mantissa
            digits[:n] += in_mantissa & (m > 0)  # zeros in front do not use up the 18 digits that an int64 holds
            places[:n] += in_mantissa & dot[:n]
            other = ~is_digit
            if step == 0:
                other &= (c != 45) & (c != 43)
            if any_exponent:
                in_power = is_digit & exponent[:n]
                power[:n] = np.where(in_power & (power_digits[:n] < 4), power[:n] * 10 + digit, power[:n])
                power_digits[:n] += in_power
                after = other & ((previous[:n] | 32) == 101) & ((c == 43) | (c == 45))
                negative[:n] |= after & (c == 45)
                other &= ~after
            if other.any():
                is_dot = other & (c == 46) & ~dot[:n] & ~exponent[:n]
                is_e = other & ((c | 32) == 101) & ~exponent[:n]
                dot[:n] |= is_dot
                exponent[:n] |= is_e
                any_exponent = any_exponent or bool(is_e.any())
                good[:n] &= ~(other & ~is_dot & ~is_e)
            previous = c
        power[negative] *= -1
        power -= places
        short = good & seen & (digits <= 18) & (power_digits <= 4) & (mantissa < 2**53) & (np.abs(power) <= 22)
        last = self.data[at + size - 1]
        short &= (last - np.uint8(48) < 10) | ((last == 46) & ~exponent)
        key = np.where(mantissa == 0, ZERO, mantissa * 64 + power + 32)
        # What is not plainly a short number is read by the pool, one distinct token at a time.
        good = short
        for i in np.flatnonzero(~short).tolist():
            try:
                key[i], sign[i] = pool.token(self.data[at[i] : self.end[t[order[i]]]].tobytes())
                good[i] = True
            except NotANumber:  # the parser will meet the token and report it
                good[i] = False
        back = np.empty(len(t), np.int64)
        back[order] = np.arange(len(t))
        return key[back], sign[back], good[back]
