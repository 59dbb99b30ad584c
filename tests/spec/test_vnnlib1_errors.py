"""What is wrong with a property file is said in one line, with its place; nothing else escapes."""

import gzip
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from verifier.spec import vnnlib
from verifier.spec.property import Property
from verifier.spec.vnnlib1 import parse
from verifier.values.errors import PropertyError

HEAD = "".join(f"(declare-const {v}_{i} Real)\n" for v in "XY" for i in range(2))
BOX = "".join(f"(assert (<= X_{i} 2))(assert (>= X_{i} -2))" for i in range(2))


def same(a: Property, b: Property) -> bool:
    fields = [f for f in a.__dataclass_fields__ if f != "source"]
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in fields)


GOOD = HEAD + BOX + "(assert (<= Y_0 Y_1))\n"
BAD = [
    ("", "f: the file is empty"),
    ("; nothing\n", "f: the file is empty"),
    (HEAD + "(assert (<= X_0 1))", "f: input X_0 has no lower bound"),
    (HEAD + BOX.replace("(assert (<= X_1 2))", ""), "f: input X_1 has no upper bound"),
    (GOOD + "(assert (<= X_7 1))", "f:6:9: X_7 is not declared"),
    (GOOD + "(assert (<= (* 2 Y_7) 1))", "f:6:9: Y_7 is not declared"),
    (GOOD + "\n (declare-const X_0 Real)", "f:7:2: X_0 is declared twice"),
    (GOOD + "(declare-const X_3 Real)", "f: X_2 is not declared but X_3 is"),
    ("(declare-const X_0 Real)", "f: no output variable"),
    ("(declare-const Y_0 Real)", "f: no input variable"),
    (GOOD + "(declare-const X_2 Int)", "f:6:1: sort `Int`"),
    (GOOD + "(declare-const Z_2 Real)", "f:6:1: variable `Z_2`"),
    (GOOD + "(declare-const X_02 Real)", "f:6:1: variable `X_02`"),
    (GOOD + "(declare-const X_2)", "f:6:1: malformed declaration"),
    (GOOD + "(assert (=> (<= Y_0 1) (<= Y_1 1)))", "f:6:10: `=>` where a comparison"),
    (GOOD + "(assert (<= (sin Y_0) 1))", "f:6:14: unknown operator `sin`"),
    (GOOD + "(assert (<= (* Y_0 Y_1) 1))", "f:6:13: product of variables"),
    (GOOD + "(assert (<= (* Y_0 X_0 0) 1))", "f:6:13: product of variables"),
    (GOOD + "(assert (<= Y_0 1)", "f:6:1: this `(` is never closed"),
    (GOOD + "(assert (<= Y_0 1)))", "f:6:20: `)` without"),
    (GOOD + "(assert (<= Y_0 1) (<= Y_1 1))", "f:6:1: assert takes one formula"),
    (GOOD + "(assert)", "f:6:1: assert takes one formula"),
    (GOOD + "(assert (and))", "f:6:9: `and` with 0"),
    (GOOD + "(assert (or (and ((<= Y_0 0) (>= Y_0 ))))))", "f:6:18: no operator after"),
    (GOOD + "(assert (>= Y_0 ))", "f:6:9: `>=` with 1 operands"),
    (GOOD + "(assert (<= Y_0 abc))", "f:6:17: `abc` is neither"),
    (GOOD + "(assert (<= Y_0 1e))", "f:6:17: `1e` is neither"),
    (GOOD + "(assert (<= Y_0 1e400))", "f:6:17: number beyond the range"),
    (GOOD + "(assert (<= Y_0 1e999999999))", "f:6:17: number with an exponent"),
    (GOOD + "(assert (<= Y_0 (* 1e300 1e300)))", "f:6:9: number beyond the range"),
    (GOOD + "(assert (<= (* 1e300 (* 1e300 Y_0)) 1))", "f:6:9: a coefficient beyond"),
    (GOOD + "(assert Y_0)", "f:6:9: `Y_0` where a comparison"),
    (GOOD + "(<= Y_0 1)", "f:6:1: a comparison outside"),
    (GOOD + "(assert (<= Y_0 (<= Y_0 1)))", "f:6:17: a comparison inside"),
    (GOOD + "(assert (and (<= Y_0 1) (assert (<= Y_0 1))))", "f:6:25: a command inside"),
    (GOOD + "(frobnicate)", "f:6:2: unknown command"),
    (GOOD + "junk", "f:6:1: `junk` outside"),
    (GOOD + "()", "f:6:1: no operator"),
    (GOOD + "(assert (<= Y_0 \x01))", "f:6:17: unexpected character"),
    ("; caf\u00e9\n; \u00e9\n" + GOOD + "\u00e9", "f:8:1: unexpected character"),
    (GOOD + "ab\0", "f:6:3: a NUL byte"),
]


@pytest.mark.parametrize(("text", "message"), BAD)
@pytest.mark.parametrize("shapes", [True, False])
def test_every_mistake_has_its_place_and_message(text: str, message: str, shapes: bool) -> None:
    with pytest.raises(PropertyError) as error:
        parse(text.encode(), "f", shapes=shapes)
    assert str(error.value).startswith(message)
    assert "\n" not in str(error.value)


def test_not_utf8() -> None:
    with pytest.raises(PropertyError, match="f:6:1: not UTF-8"):
        parse(GOOD.encode() + b"\xff\xfe", "f")


def test_variants_of_writing_are_the_same() -> None:
    expected = parse(GOOD.encode())
    assert same(expected, parse(GOOD.replace("\n", "\r\n").encode()))
    assert same(expected, parse(b"\xef\xbb\xbf" + GOOD.encode()))
    assert same(expected, parse(GOOD.replace("(", " ( ").replace(")", "\n) ;x (\n").encode()))
    assert same(expected, parse(re.sub(r"declare-const (\w+)", r"declare-fun \1 ()", GOOD).encode()))
    assert same(expected, parse(re.sub(r"\(assert \(<= (X_\d) 2\)\)", r"(assert (<= -2 \1 2))", GOOD).encode()))


def test_files(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.vnnlib", tmp_path / "b.vnnlib"
    plain.write_text(GOOD)
    packed.write_bytes(gzip.compress(GOOD.encode()))  # recognised by content, not by name
    assert same(vnnlib.read(plain), vnnlib.read(str(packed)))
    assert vnnlib.read(plain).source == str(plain)
    cases = {
        "folder": tmp_path,
        "no such file": tmp_path / "none",
        "two:3: unexpected": tmp_path / "two",
        "damaged gzip": tmp_path / "cut.gz",
        "cannot be read": "a\0b",
        "a NUL byte": tmp_path / "binary",
    }
    (tmp_path / "two").write_text("; c\n(vnnlib-version <2.0>)\n(declare-network f)")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(GOOD.encode() * 9)[:-20])
    (tmp_path / "binary").write_bytes(bytes(range(256)))
    for message, path in cases.items():
        with pytest.raises(PropertyError, match=message) as error:
            vnnlib.read(path)
        assert "\n" not in str(error.value)


RICH = (
    GOOD
    + """(assert (or (and (<= X_0 0.5) (>= Y_0 Y_1)) (not (= Y_0 1e-3))
  (< (+ (* 3 Y_0) X_1) (- 7 (/ Y_1 2)))))
; comment
(assert (or (<= X_0 .1) (>= X_0 0.2)))
"""
)
PIECES = ["(", ")", " ", "\n", ";", "and", "or", "not", "<=", "=", "X_0", "Y_1", "X_9", "-", "1e9", ".", "(assert"]
PIECES += ["/ 0", "9" * 30, "1e-999", "true", "\0", "\u00e9", "()", "declare-const", "Real", "e", "+", "1" * 1100]


@settings(max_examples=600, deadline=None)
@given(st.lists(st.tuples(st.integers(0, len(RICH)), st.integers(0, 12), st.sampled_from(["", *PIECES])), max_size=4))
def test_no_other_exception_for_damaged_text(edits) -> None:
    text = RICH
    for at, drop, piece in edits:
        text = text[:at] + piece + text[at + drop :]
    outcomes = []
    for shapes in (True, False):
        try:
            outcomes.append(parse(text.encode(), "f", shapes=shapes))
        except PropertyError as error:
            assert "\n" not in str(error)
            outcomes.append(None)
    a, b = outcomes
    assert (a is None) == (b is None)
    assert a is None or same(a, b)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200), st.booleans())
def test_no_other_exception_for_bytes(data: bytes, packed: bool) -> None:
    try:
        parse(data, "f")
        if packed:
            parse(gzip.compress(data)[:-1], "f")
    except PropertyError:
        pass
