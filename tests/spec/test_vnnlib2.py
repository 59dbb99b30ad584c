"""VNN-LIB 2.0 to a property: what is read means what the text says; what is not supported is refused with its place."""

from __future__ import annotations

import re
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from tests.query2 import STANDARD, holds2, needs_standard
from verifier.spec.query2 import Query2
from verifier.spec.vnnlib2 import parse2
from verifier.spec.witness import satisfies
from verifier.values.errors import PropertyError

DECLARE = """(vnnlib-version <2.0>)
(declare-network f
  (declare-input X real [2])
  (declare-output Y real [2])
)
"""
BOX = "".join(f"(assert (>= X[{i}] -2.0))\n(assert (<= X[{i}] 2.0))\n" for i in range(2))


def parse(text: str) -> Query2:
    return parse2(text.encode(), "q.vnnlib")


def holds(q: Query2, x: np.ndarray, y: np.ndarray) -> bool:
    """Whether the property, as compiled, holds for reduced inputs and outputs (products are added)."""
    p = q.property
    base = [*x, *y]
    y = np.array([*y, *(float(np.prod([base[i] for i in m])) for m in p.monomials)])
    inside = (p.inner_lower[p.box] <= x).all(1) & (x <= p.inner_upper[p.box]).all(1)
    return any(satisfies(p, int(j), x, y) for j in np.flatnonzero(inside))


def random_formula(rng: np.random.Generator, depth: int, degree: int, odd: str) -> str:
    """A formula over X[0..1], Y[0..1], with numbers from a small grid so that equalities do happen."""
    if depth and rng.random() < 0.6:
        parts = [random_formula(rng, depth - 1, degree, odd) for _ in range(rng.integers(1, 4))]
        return f"({rng.choice(['and', 'or'])} {' '.join(parts)})"
    op = rng.choice(["<=", "<", ">=", ">", "==", "!="])
    return f"({op} {random_term(rng, 2, degree, odd)} {random_term(rng, 1, degree, odd)})"


def random_term(rng: np.random.Generator, depth: int, degree: int, odd: str) -> str:
    if not depth or rng.random() < 0.3:
        name = rng.choice(["X[0]", "X[1]", "Y[0]", "Y[1]"])
        return str(name if rng.random() < 0.7 else rng.choice(["1.0", "-0.5", "2", "0.25", "125e-3", odd]))
    head = str(rng.choice(["+", "-", "*"]))
    parts = [random_term(rng, depth - 1, degree, odd) for _ in range(rng.integers(1 if head == "-" else 2, 4))]
    if head == "*" and degree < 2:
        parts = ["0.5", parts[0]]
    return f"({head} {' '.join(parts)})"


@pytest.mark.parametrize("odd", ["0.75", "0.1"])
@pytest.mark.parametrize("seed", range(40))
def test_the_property_means_what_the_text_says(seed: int, odd: str) -> None:
    """Law: at every point with coordinates in a grid, the compiled property agrees with an evaluation of the text.

    With coefficients that are no doubles (0.1) a witness must hold with a margin: then only one direction.
    """
    rng = np.random.default_rng(seed)
    text = DECLARE + BOX + "".join(f"(assert {random_formula(rng, 2, 1 + seed % 2, odd)})\n" for _ in range(2))
    q = parse(text)
    hits = 0
    for _ in range(150):
        reduced, y = rng.integers(-9, 10, q.property.n_inputs) / 4, rng.integers(-4, 5, 2) / 2
        expected = holds2(text, {"X": reduced[q.expand], "Y": y})
        found = holds(q, reduced, y)
        assert found == expected or (odd == "0.1" and expected)
        hits += expected
    # Points that break an equality between inputs are no solutions of the text either.
    if q.property.n_inputs == 1:
        assert not holds2(text, {"X": np.array([0.25, 0.5]), "Y": np.zeros(2)})


def test_numbers_are_exact() -> None:
    q = parse(DECLARE + BOX + "(assert (<= Y[0] 0.1))\n(assert (<= (* 0.1 Y[0]) 1e-1))")
    p = q.property
    assert (p.d == np.nextafter(0.1, 1)).any() or (p.d == 0.1).any()
    for i in range(len(p.d)):
        assert Fraction(float(p.inner_d[i])) <= Fraction(1, 10) <= Fraction(float(p.d[i]))
    assert p.inexact.sum() == 1  # 0.1 as a coefficient


@pytest.mark.parametrize("number", ["1", "1.0", "1e0", "10E-1", "0.1e+1", "+1.0", "1.", "001"])
def test_spellings_of_numbers(number: str) -> None:
    p = parse(DECLARE + BOX + f"(assert (<= Y[0] {number}))").property
    assert p.d.tolist() == [1.0]


@pytest.mark.parametrize("real", ["real", "Real", "REAL"])
def test_spellings_of_real(real: str) -> None:
    text = (DECLARE + BOX).replace("real", real) + "(assert (<= (* -1.0 Y[0]) (+ X[0] 0.5)))"
    assert next(parse(text).variables()).dtype == "real"


@pytest.mark.parametrize("version", ["<2.0>", "<2.1>", "2.0", "<2>", "< 2.0 >"])
def test_versions(version: str, capfd: pytest.CaptureFixture[str]) -> None:
    parse((DECLARE + BOX).replace("<2.0>", version) + "(assert (<= Y[0] 1.0))")
    assert capfd.readouterr() == ("", "")  # the package's remarks would come before the verdict


def two(asserts: str, relation: str = "(equal-to f)") -> str:
    return (
        "(vnnlib-version <2.0>)\n(declare-network f (declare-input X real [2]) (declare-output Y real [1]))\n"
        f"(declare-network g {relation} (declare-input Z real [2]) (declare-output W real [1]))\n{BOX}{asserts}"
    )


def test_equal_inputs_are_one() -> None:
    q = parse(two("(assert (== Z[0] X[1]))\n(assert (and (<= Z[1] X[0]) (>= Z[1] X[0])))\n(assert (<= Z[0] 1.0))"))
    assert q.expand.tolist() == [0, 1, 1, 0]
    assert q.property.n_inputs == 2
    assert q.property.lower.tolist() == [[-2, -2]] and q.property.upper.tolist() == [[2, 1]]


@pytest.mark.parametrize("other", ["(- X[1])", "(* 2.0 X[1])", "(+ X[1] 0.5)", "(* X[1] X[1])"])
def test_other_relations_than_equality_merge_nothing(other: str) -> None:
    assert parse(DECLARE + BOX + f"(assert (== X[0] {other}))").property.n_inputs == 2


def test_equalities_inside_a_disjunction_stay_literals() -> None:
    q = parse(two("(assert (== Z[0] X[0]))(assert (or (== Z[1] X[1]) (and (<= 0.0 Z[1]) (<= Z[1] 1.0))))"
                  "(assert (and (<= -3.0 Z[1]) (<= Z[1] 3.0)))"))  # fmt: skip
    assert q.property.n_inputs == 3 and q.property.n_disjuncts == 2


def test_an_input_equal_to_a_constant() -> None:
    p = parse(DECLARE + "(assert (== X[0] 0.5))(assert (== 1.0 X[1]))(assert (<= Y[0] 1.0))").property
    assert p.lower.tolist() == p.upper.tolist() == [[0.5, 1.0]]


def test_bounds_follow_from_other_inputs() -> None:
    q = parse(two("(assert (<= X[0] Z[0]))(assert (<= Z[0] 3.0))(assert (<= (- (* 2.0 Z[1]) X[1]) 1.0))"
                  "(assert (>= Z[1] (- X[1] 0.1)))"))  # fmt: skip
    assert q.property.lower[0, 2:].tolist() == [-2.0, np.nextafter(-2.1, -3)] or q.property.lower[0, 3] <= -2.1
    assert q.property.upper[0, 2:].tolist() == [3.0, 1.5]


@pytest.mark.parametrize("seed", range(20))
def test_derived_bounds_lose_no_point(seed: int) -> None:
    """Law: what satisfies the text lies in the box, whatever bounds were derived."""
    rng = np.random.default_rng(seed)
    lines = []
    for i in range(2):
        a, b, c = (float(v) for v in rng.choice([-2.0, -1.0, 0.5, 1.0, 3.0], 3))
        lines.append(f"(assert (<= (+ (* {abs(a)} Z[{i}]) (* {b} X[{i}])) {abs(c)}))")
        lines.append(f"(assert (>= (- Z[{i}] (* {c} X[{1 - i}])) -1.5))")
    text = two("\n".join(lines))
    q = parse(text)
    for x in rng.integers(-8, 9, (400, 4)) / 4:
        if holds2(text, {"X": x[:2], "Z": x[2:], "Y": np.zeros(1), "W": np.zeros(1)}):
            assert (q.property.lower[0] <= x).all() and (x <= q.property.upper[0]).all()


def test_products_are_exact() -> None:
    """0.1 * 0.1 in doubles is more than the product of the two doubles: only exact arithmetic tells."""
    x, y = np.array([0.1, 0.0]), np.array([0.1, 0.0, 0.1 * 0.1])
    for least, verdict in ((0.01, True), (0.1 * 0.1, False)):  # the next double above 0.01
        q = parse(DECLARE + BOX + f"(assert (>= (* X[0] Y[0]) {Decimal(least)}))")
        assert q.property.monomials == ((0, 2),)
        assert satisfies(q.property, 0, x, y) == verdict


BAD = [
    ("(assert (not (<= Y[0] 1.0)))", "not"),
    ("(assert (=> (<= Y[0] 1.0) (<= Y[1] 1.0)))", "=>"),
    ("(assert (<= (/ Y[0] 2.0) 1.0))", "/"),
    ("(assert (forall (<= Y[0] 1.0)))", "forall"),
    ("(declare-const X_0 Real)", "declare-const"),
    ("(assert (<= Y[0] 1.0e999))", "1.0e999"),
    ("(assert (<= Y[0] 1.0.0))", "1.0.0"),
    ("(assert (<= Y[0] 1x))", "1x"),
    ("(assert (<= Y[2] 1.0))", "Y[2]"),
    ("(assert (<= Y 1.0))", "Y[]"),
    ("(assert (<= Y[0,0] 1.0))", "Y[0,0]"),
    ("(assert (<= Q[0] 1.0))", "Q"),
    ("(assert (<= Y[0] 1.0 2.0))", "unexpected"),
    ("(assert (and))", "unexpected"),
    ("(assert ((<= Y[0] 1.0)))", "no operator"),
    ("(assert (<= Y[-1] 1.0))", "-1"),
    ("(assert (<= Y[0.5] 1.0))", "0.5"),
    ("(assert (<= Y[99999999999999999999999] 1.0))", "99999999999999999999999"),
    ("(assert (<= Y[0] 1.0)", "never closed"),
    ("(assert (<= Y[0] 1.0)))", "without a `("),
    ("(assert (<= Y[0] @))", "@"),
    ("(assert (<= (+ " + "(- " * 300 + "Y[0]" + ")" * 300 + ") 1.0))", "nested"),
    ("(assert (<= (* " + "Y[0] " * 20 + ") 1.0))", "product of 17"),
    ("(assert (<= f-copy 1.0))", "f-copy"),
    ("(vnnlib-version <2.0>)", "vnnlib-version"),
]


@pytest.mark.parametrize(("line", "construct"), BAD)
def test_what_is_not_supported_is_refused_with_its_place(line: str, construct: str) -> None:
    with pytest.raises(PropertyError) as e:
        parse(
            DECLARE + BOX + "; a comment\n" + line + "\n" + "(assert (<= Y[0] 5.0))\n" * (construct != "never closed")
        )
    message = str(e.value)
    assert "\n" not in message and construct in message
    place = re.match(r"q\.vnnlib:(\d+)(:\d+)?: ", message)
    assert place and int(place[1]) in (11, 12 if construct in ("unexpected", "without a `(") else 11)


@pytest.mark.parametrize(
    ("before", "after", "line", "construct"),
    [
        ("<2.0>", "<3.0>", 1, "3.0"),
        ("X real", "X int32", 3, "int32"),
        ("X real", "X bool", 3, "bool"),
        ("X real", "X bfloat16", 3, "bfloat16"),
        ("X real", "X reel", 3, "reel"),
        ("[2])\n  (declare-output", "[2] initialized)\n  (declare-output", 3, "initialized"),
        ("Y real", "Y float32", 4, "Y is float32"),
        ("Y real [2]", "X real [2]", 4, "X"),
        ("X real [2]", "X real [0]", 3, "X"),
        ("  (declare-output Y real [2])\n", "", 4, "unexpected"),
        ("network f\n", "network f (equal-to g)\n", 2, "g"),
    ],
)
def test_bad_declarations(before: str, after: str, line: int, construct: str) -> None:
    text = DECLARE + BOX
    assert before in text
    with pytest.raises(PropertyError) as e:
        parse(text.replace(before, after))
    assert re.match(rf"q\.vnnlib:{line}[:\d]*: ", str(e.value)) and construct in str(e.value)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize(
    ("relation", "declaration", "what"),
    [
        ("(equal-to h)", "Z real [2]", "'h' not found"),
        ("(isomorphic-to g)", "Z real [2]", "'g'"),
        ("(equal-to f)", "Z real [3]", "Shape mismatch"),
        ("(isomorphic-to f)", "Z real [2,1]", "Shape mismatch"),
        ("(equal-to f)", "Z float32 [2]", "Type mismatch"),
        ("(equal-to f)", "Z real [2]) (declare-input V real [2]", "Number of variables"),
        ("(equal-to f) (isomorphic-to f)", "Z real [2]", "both"),
    ],
)
def test_bad_relations(relation: str, declaration: str, what: str) -> None:
    with pytest.raises(PropertyError, match=rf"q\.vnnlib:3: .*{what}"):
        parse(two("", relation).replace("Z real [2]", declaration))


def test_nothing_stands_before_the_version() -> None:
    with pytest.raises(PropertyError, match=r"q\.vnnlib:1:1: no readable version"):
        parse("(assert (<= Y[0] 1.0))" + DECLARE + BOX)


def test_what_is_no_text() -> None:
    for data, what in ((b"\0", "NUL"), (b"\xff", "UTF-8")):
        with pytest.raises(PropertyError, match=rf"q\.vnnlib:10:15: .*{what}"):
            parse2((DECLARE + BOX).encode() + b"(assert (<= Y[" + data + b"] 1.0))", "q.vnnlib")


def test_too_large() -> None:
    with pytest.raises(PropertyError, match="q.vnnlib: more than 10,000,000 entries"):
        parse(DECLARE.replace("Y real [2]", "Y real [99999,99999]") + BOX + "(assert (<= Y[0,0] 1.0))")


def test_relations_do_not_chain() -> None:
    text = two("(assert (<= Y[0] 1.0))").replace(
        BOX[:8],
        f"(declare-network h (equal-to g) (declare-input V real [2]) (declare-output U real [1]))\n{BOX[:8]}",
        1,
    )
    with pytest.raises(PropertyError, match=r"q\.vnnlib:4: Chained .*'g'"):
        parse(text)


def test_an_unbounded_input_is_named() -> None:
    with pytest.raises(PropertyError, match=r"q\.vnnlib: input X\[1\] has no upper bound; every input"):
        parse(DECLARE + BOX.replace("(assert (<= X[1] 2.0))", "") + "(assert (<= Y[0] 1.0))")


def test_a_contradiction_needs_no_bounds() -> None:
    assert parse(DECLARE + "(assert (and (<= X[0] 0.0) (< 0.0 X[0])))").property.n_disjuncts == 0


@needs_standard
@pytest.mark.parametrize(
    ("name", "refused"),
    [
        ("acc", None),
        ("cartpole", None),
        ("drones", None),
        ("dubinsrejoin", None),
        ("initialized", r":4:\d+: `initialized` on A"),
        ("intermediate_nodes", None),
        ("lunarlander", None),
        ("mnist", r"input X\[0,1\] has no lower bound"),
        ("multiple_networks", r"input A\[1\] has no lower bound"),
        ("single_network", None),
        ("test_linearise", None),
    ],
)
def test_the_standards_examples(name: str, refused: str | None) -> None:
    data = (STANDARD / f"{name}.vnnlib").read_bytes()
    if refused is None:
        q = parse2(data, name)
        assert q.property.n_disjuncts > 0 or name == "test_linearise"
        return
    with pytest.raises(PropertyError, match=refused):
        parse2(data, name)
