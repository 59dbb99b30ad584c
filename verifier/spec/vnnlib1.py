"""The reader of VNN-LIB 1.0: text to `Property`."""

from __future__ import annotations

from itertools import chain
from typing import NoReturn

import numpy as np

from verifier.spec.compile import Layout, compiled
from verifier.spec.decimals import Pool
from verifier.spec.formula import Formula
from verifier.spec.lexer import Literals, Tokens, blank_comments, tokens
from verifier.spec.parser1 import Parser, all_literals
from verifier.spec.property import Property
from verifier.values.errors import PropertyError


def parse(text: bytes, source: str = "property", *, shapes: bool = True) -> Property:
    """The property that a VNN-LIB 1.0 text states.

    Args:
        text: the file's bytes, not compressed.
        source: the file's name, for messages.
        shapes: False reads every literal with the general parser (slower; the result is the same).

    Raises:
        PropertyError: whatever is wrong with the text, as one line `file:line:column: what; what to do`.
    """
    return _Reader(text, source).read(shapes)


class _Reader:
    def __init__(self, text: bytes, source: str) -> None:
        self.text, self.source = text, source

    def fail(self, at: int, message: str) -> NoReturn:
        line = self.text.count(b"\n", 0, at) + 1
        begin = self.text.rfind(b"\n", 0, at) + 1
        column = len(self.text[begin:at].decode("utf-8", "replace")) + 1
        raise PropertyError(f"{self.source}:{line}:{column}: {message}")

    def refuse(self, message: str) -> NoReturn:
        raise PropertyError(f"{self.source}: {message}")

    def read(self, shapes: bool) -> Property:
        nul = self.text.find(b"\0")
        if nul >= 0:
            self.fail(nul, "a NUL byte: this is a binary file; give a text file in VNN-LIB 1.0")
        try:
            if not self.text.isascii():
                self.text.decode()
        except UnicodeDecodeError as error:
            self.fail(error.start, "not UTF-8 text; give a text file in VNN-LIB 1.0")
        text = blank_comments(self.text)
        pool = Pool()
        read = tokens(text, pool, self.fail, shapes)
        if not read.kind:
            self.refuse("the file is empty; give a property in VNN-LIB 1.0")
        formula = Parser(text, read, pool, self.fail).run()
        self.n_inputs, self.n_outputs = self._declared(read, formula)
        literals = all_literals(read, formula)
        del read.kind, read.at, read.x, read.y
        self._check_known(literals, formula)
        layout = Layout(self.n_inputs, self.n_outputs, "X_{}".format, self.source, self.fail)
        return compiled(literals, formula, pool, layout)

    def _declared(self, read: Tokens, formula: Formula) -> tuple[int, int]:
        """Numbers of inputs and of outputs, when both are numbered 0, 1, 2, ... without gap or repetition."""
        code = np.concatenate([read.declared, np.array([c for c, _ in formula.declared], np.int64)])
        at = np.concatenate([read.declared_at, np.array([a for _, a in formula.declared], np.int64)])
        order = np.lexsort((at, code))
        code, at = code[order], at[order]
        again = np.flatnonzero(code[1:] == code[:-1])
        if len(again):
            self.fail(int(at[again + 1].min()), f"{_name(code[again[0]])} is declared twice; remove one declaration")
        sizes = []
        for letter, odd in (("X", 1), ("Y", 0)):
            index = (code[code % 2 == odd] - 1) // 2
            if not len(index):
                what = "input" if odd else "output"
                self.refuse(f"no {what} variable is declared; add (declare-const {letter}_0 Real)")
            gap = np.flatnonzero(index != np.arange(len(index)))
            if len(gap):
                self.refuse(f"{letter}_{gap[0]} is not declared but {letter}_{index[gap[0]]} is; number without gaps")
            sizes.append(len(index))
        return sizes[0], sizes[1]

    def _check_known(self, literals: Literals, formula: Formula) -> None:
        general = list(chain.from_iterable((code for code, _ in row) for row in formula.rows))
        general_at = np.repeat(np.array(formula.rows_at, np.int64), [len(row) for row in formula.rows])
        code = np.concatenate([literals.p, literals.q, np.array(general, np.int32)])
        limit = np.array([2 * self.n_outputs, 2 * self.n_inputs], code.dtype)  # even codes are outputs
        unknown = np.flatnonzero(code > limit[code & 1])
        if len(unknown):
            at = np.concatenate([literals.at, literals.at, general_at])[unknown]
            first = int(np.argmin(at))
            self.fail(int(at[first]), f"{_name(code[unknown[first]])} is not declared; declare it or correct the name")


def _name(code: int) -> str:
    return f"{'XY'[int(code + 1) % 2]}_{(int(code) - 1) // 2}"
