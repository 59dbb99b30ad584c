"""Text of VNN-LIB 2.0 brought to what the `vnnlib` package takes, line by line the same.

The package compares types by their spelling, has no numbers with exponents, rounds what it reads, and takes `1` for a
value of another type than `1.0`.  So every number is replaced by a stand-in, `7.0` for the seventh: what it stands for
is kept exactly here.  Constructs that cannot be answered are refused here, where file, line and column are known.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from fractions import Fraction
from typing import NoReturn

from verifier.spec.decimals import NotANumber, Pool, parse
from verifier.spec.formula import Exact, Fail

FLOATS = ("float16", "float32", "float64")
"""Element types besides `real` that a model of ours may have."""
MOST_NESTED = 250
_DIGITS = 9
_OTHER_TYPES = re.compile(r"(u?int\d+|bool|string|complex\d+|b?float\w*|i\d+|u\d+|f\d+|bf16|c\d+)", re.IGNORECASE)
_TOKEN = re.compile(
    rb"(?P<space>\s+)|(?P<mark>[()\[\],])|(?P<text>\"[^\"\r\n]*\")"
    rb"|(?P<number>[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)(?![\w.])"
    rb"|(?P<operator><=|>=|==|!=|=>|[-+*/<>=])|(?P<name>[A-Za-z][A-Za-z0-9_-]*)"
)
_VERSION = re.compile(rb"\s*\(\s*vnnlib-version\s*<?\s*([^\s<>()]*)\s*>?\s*\)")
_DECLARATIONS = ("declare-input", "declare-hidden", "declare-output")
_HEADS = {
    *_DECLARATIONS, "declare-network", "equal-to", "isomorphic-to", "assert",
    "and", "or", "<", "<=", ">", ">=", "==", "!=", "=", "+", "-", "*",
}  # fmt: skip
_ADVICE = {
    "not": "turn the comparison round instead (`>` for not `<=`)",
    "=>": "write (or ...) with the premise turned round",
    "ite": "write it with and, or",
    "/": "multiply by a number instead",
    "declare-const": "version 2.0 declares tensors: (declare-network f (declare-input X real [5]) ...)",
    "declare-fun": "version 2.0 declares tensors: (declare-network f (declare-input X real [5]) ...)",
    "vnnlib-version": "it is stated once, before everything else",
}
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")


@dataclass
class Prepared:
    """A text for the package.

    Attributes:
        text: what to give it.
        numbers: what the stand-ins 0.0, 1.0, 2.0, ... stand for.
    """

    text: str = ""
    numbers: list[Exact] = field(default_factory=list)


def prepared(text: bytes, fail: Fail) -> Prepared:
    """The text with numbers, types and version in the package's spelling.

    Args:
        text: without comments (blanks in their place).
        fail: takes an offset.
    """
    return _Preparing(text, fail).run()


class _Preparing:
    def __init__(self, text: bytes, fail: Fail) -> None:
        self.text, self.fail = text, fail
        self.out = Prepared()
        self.pool, self.of = Pool(), dict[bytes, int]()
        self.opened: list[int] = []
        self.words: list[str] = []  # of the innermost declaration, with the dimensions left out
        self.bracket = -1

    def run(self) -> Prepared:
        begin, pieces = self._version()
        at, before = begin, b""
        while at < len(self.text):
            match = _TOKEN.match(self.text, at)
            if match is None:
                self._stray(at)
            kind, piece = match.lastgroup, match.group()
            if kind != "space":
                pieces.append(self._piece(kind or "", piece, at, before))
                before = piece
            else:
                pieces.append(piece)
            at = match.end()
        if self.opened or self.bracket >= 0:
            at = self.bracket if self.bracket >= 0 else self.opened[-1]
            self.fail(at, "this is never closed; add what is missing or fetch the file again, it may be cut off")
        self.out.text = b"".join(pieces).decode()
        return self.out

    def _version(self) -> tuple[int, list[bytes]]:
        match = _VERSION.match(self.text)
        if match is None:
            self.fail(0, "no readable version; begin with (vnnlib-version <2.0>)")
        if match[1].split(b".")[0] != b"2":
            what = match[1].decode("utf-8", "replace")[:20]
            self.fail(match.start(1), f"VNN-LIB version `{what}` is not supported; give the query in 1.0 or 2.0")
        lines = b"\n" * self.text.count(b"\n", 0, match.end())
        return match.end(), [b"(vnnlib-version <2.0>)", lines]

    def _stray(self, at: int) -> NoReturn:
        found = re.match(rb"[^\s()\[\],]+", self.text[at:])
        word = found.group().decode("utf-8", "replace")[:40] if found else "?"
        self.fail(at, f"`{word}` is no number, name or operator of VNN-LIB 2.0; correct it")

    def _piece(self, kind: str, piece: bytes, at: int, before: bytes) -> bytes:
        """A token in the package's spelling, after a look at what it is."""
        word = piece.decode()
        if kind == "mark":
            self._mark(word, at, before)
        elif before == b"(":
            if word not in _HEADS:
                advice = _ADVICE.get(word, "it has and, or, comparisons, +, - and *")
                self.fail(at, f"`{word[:40]}` is not part of VNN-LIB 2.0 here: {advice}")
            self.words = [word]
            return b"==" if word == "=" else piece
        elif self.bracket >= 0:
            if kind != "number" or not word.isdigit() or len(word) > _DIGITS:
                self.fail(at, f"`{word[:40]}` where a whole number belongs; write dimensions and indices as [0,2]")
        elif kind == "number":
            return self._number(piece, at)
        elif kind == "operator":
            self.fail(at, f"`{word}` without a `(` before it; operators come first: (<= a b)")
        elif kind == "name":
            return self._name(word, at)
        return piece

    def _mark(self, word: str, at: int, before: bytes) -> None:
        if word == "(":
            if before == b"(":
                self.fail(at, "no operator after `(`; write and, or, <=, >= or another operator first")
            self.opened.append(at)
            if len(self.opened) > MOST_NESTED:
                self.fail(
                    at, f"parentheses nested deeper than {MOST_NESTED}; write sums and conjunctions flat: (+ a b c)"
                )
        elif word == ")":
            if not self.opened:
                self.fail(at, "`)` without a `(` before it; remove it")
            self.opened.pop()
        elif word == "[":
            self.bracket = at
        elif word == "]":
            self.bracket = -1
        if word in "()" and self.bracket >= 0:
            self.fail(self.bracket, "this `[` is never closed; add the missing `]`")

    def _name(self, word: str, at: int) -> bytes:
        self.words.append(word)
        declaration = self.words[0] in _DECLARATIONS
        if declaration and len(self.words) == 3:
            return self._type(word, at)
        if declaration and len(self.words) == 4 and word == "initialized":
            self.fail(at, f"`initialized` on {self.words[1]}: whether a model's default value may be replaced is not "
                          "settled by the standard; remove the word and bound the input by assertions")  # fmt: skip
        if not _NAME.fullmatch(word):
            self.fail(at, f"`{word[:40]}` is no name: letters, digits and underscores, a letter first; rename it")
        return word.encode()

    def _type(self, word: str, at: int) -> bytes:
        low = word.lower()
        if low == "real" or low in FLOATS:
            return low.encode()
        if _OTHER_TYPES.fullmatch(word):
            self.fail(at, f"element type `{word}` of {self.words[1]} is not supported; use real, {', '.join(FLOATS)}")
        self.fail(at, f"`{word[:40]}` of {self.words[1]} is no element type; write real or the model's own, as float32")

    def _number(self, piece: bytes, at: int) -> bytes:
        index = self.of.get(piece)
        if index is None:
            try:
                sign, top, bottom = parse(piece)
                self.pool.token(piece)  # the same range as everywhere
            except NotANumber as error:
                self.fail(at, f"{error}: `{piece.decode()[:40]}`; use one that a double can hold")
            index = self.of[piece] = len(self.out.numbers)
            self.out.numbers.append(sign * top if bottom == 1 else Fraction(sign * top, bottom))
        return b"%d.0" % index
