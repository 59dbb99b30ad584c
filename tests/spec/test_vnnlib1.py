"""VNN-LIB 1.0 to Property: against a naive evaluator in exact arithmetic, and against damaged text."""

import gzip
import random
import re
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from verifier.spec import dnf, lexer, vnnlib
from verifier.spec.property import Property
from verifier.spec.vnnlib1 import parse
from verifier.values.errors import PropertyError

from .formulas import (
    BOX,
    HEAD,
    M,
    N,
    environment,
    exact_numbers,
    formulas,
    holds,
    in_box,
    points,
    rough_numbers,
    satisfied,
    text_of,
)

SHARED = Path(__file__).parents[3] / "shared"


@pytest.mark.parametrize("choices", [dnf.MOST_CHOICES, 1])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(formulas(exact_numbers), min_size=1, max_size=3), st.lists(points(), min_size=8, max_size=8))
def test_property_means_what_the_formula_means(monkeypatch, choices, asserted, at) -> None:
    monkeypatch.setattr(dnf, "MOST_CHOICES", choices)  # 1: nothing is multiplied out
    p = parse(text_of(asserted))
    assert (p.lower <= p.upper).all()
    for x, y in at:
        # Ticks are multiples of 1/4 and so are the constants: many points lie exactly on a boundary.
        expected = in_box(x) and all(holds(f, environment(x, y)) for f in asserted)
        assert satisfied(p, x, y, outward=False) == expected
        assert satisfied(p, x, y, outward=True) or not expected


@pytest.mark.parametrize("choices", [dnf.MOST_CHOICES, 1])
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(formulas(rough_numbers | exact_numbers), min_size=1, max_size=3), st.data())
def test_rounding_is_outward_for_proofs_and_inward_for_witnesses(monkeypatch, choices, asserted, data) -> None:
    monkeypatch.setattr(dnf, "MOST_CHOICES", choices)
    p = parse(text_of(asserted))
    rough = [Fraction(v) for v in ("0.1", "-0.1", "0.3", "0.30000000000000000001", "0.7", "-1.2345678901234567")]
    near = [Fraction(np.nextafter(float(v), away)) for v in rough for away in (9, float(v), -9)]
    coordinate = st.sampled_from([*rough, *near])
    for _ in range(8):
        x = data.draw(st.lists(coordinate, min_size=N, max_size=N))
        y = data.draw(st.lists(coordinate, min_size=M, max_size=M))
        expected = in_box(x) and all(holds(f, environment(x, y)) for f in asserted)
        if not p.inexact.any():
            assert satisfied(p, x, y, outward=True) or not expected
            if all(Fraction(float(v)) == v for v in x):  # the inner box speaks of doubles only
                assert expected or not satisfied(p, x, y, outward=False)


def same(a: Property, b: Property) -> bool:
    fields = [f for f in a.__dataclass_fields__ if f != "source"]
    return all(np.array_equal(getattr(a, f), getattr(b, f)) for f in fields)


@settings(max_examples=250, deadline=None)
@given(st.lists(formulas(rough_numbers | exact_numbers), min_size=1, max_size=4))
def test_both_ways_of_reading_agree(asserted) -> None:
    assert same(parse(text_of(asserted)), parse(text_of(asserted), shapes=False))


@settings(max_examples=300, deadline=None)
@given(
    st.text("0123456789+-.eE", min_size=1, max_size=12)
    | st.from_regex(r"0?\.?0{0,25}[1-9]{0,20}(e-?0{0,6}[0-9])?", fullmatch=True)
)
def test_both_ways_of_reading_a_number_agree(token: str) -> None:
    outcomes = []
    for shapes in (True, False):
        try:
            outcomes.append(parse(f"{HEAD}{BOX}(assert (<= Y_0 {token}))".encode(), shapes=shapes))
        except PropertyError as error:
            outcomes.append(str(error))
    a, b = outcomes
    assert a == b if isinstance(a, str) else isinstance(b, Property) and same(a, b)


@settings(max_examples=60, deadline=None)
@given(st.lists(formulas(rough_numbers), min_size=1, max_size=4), st.integers(1, 200))
def test_block_size_does_not_matter(asserted, size: int) -> None:
    expected = parse(text_of(asserted))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(lexer, "_BLOCK", size)
        assert same(parse(text_of(asserted)), expected)


def bounds(number: str, op: str) -> tuple[float, float]:
    p = parse(f"{HEAD}{BOX}(assert ({op} X_0 {number}))(declare-const X_2 Real)"
              f"(assert (<= X_2 1e300))(assert (>= X_2 -1e300))(assert ({op} X_2 {number}))".encode())  # fmt: skip
    low = op.startswith(">")
    return (p.lower if low else p.upper)[0, 2], (p.inner_lower if low else p.inner_upper)[0, 2]


@settings(max_examples=300, deadline=None)
@given(st.from_regex(r"[+-]?(0|[1-9][0-9]{0,18})(\.[0-9]{0,22})?([eE][+-]?[0-9]{1,2})?", fullmatch=True).filter(
    lambda t: abs(Fraction(t)) < 2))  # fmt: skip
def test_every_number_is_rounded_by_at_most_one_double(token: str) -> None:
    exact = Fraction(token)
    p = parse(f"{HEAD}{BOX}(assert (<= Y_0 {token}))(assert (>= Y_1 {token}))".encode())
    for d, inner, v in ((p.d[i], p.inner_d[i], -exact if p.A_y[i, 1] else exact) for i in range(2)):
        assert Fraction(d) >= v > Fraction(np.nextafter(d, -np.inf))
        assert Fraction(inner) <= v < Fraction(np.nextafter(inner, np.inf))
    for op in ("<=", "<", ">=", ">"):
        outer, inner = bounds(token, op)
        sign = 1 if op[0] == "<" else -1  # mirrored, lower bounds are upper bounds
        v, out, into = sign * exact, sign * Fraction(outer), sign * Fraction(inner)
        assert out >= v > sign * Fraction(np.nextafter(outer, -sign * np.inf))
        step_up = sign * Fraction(np.nextafter(inner, sign * np.inf))
        if "=" in op:
            assert into <= v < step_up
        else:
            assert into < v <= step_up


# -- shapes of the normal form ----------------------------------------------------------------------------------------


def test_hand_made_example() -> None:
    p = parse(
        (
            HEAD
            + BOX
            + """; comment ( (\r
        (assert (or (and (<= X_0 0.5) (>= Y_0 Y_1)) (and (> X_0 1) (< (+ (* 3 Y_0) X_1) (- 7 (* 2 Y_1))))))"""
        ).encode()
    )
    assert p.box.tolist() == [0, 1]
    assert p.upper.tolist() == [[0.5, 2], [2, 2]]
    assert p.lower.tolist() == [[-2, -2], [1, -2]]
    assert p.inner_lower[1, 0] == np.nextafter(1, 2)
    first, second = p.literals(0)[0], p.literals(1)[0]
    assert p.A_y[first].tolist() == [-1, 1]
    assert p.A_y[second].tolist() == [3, 2]
    assert p.A_x[second].tolist() == [0, 1]
    assert (p.d[second], p.strict[second], p.inexact[second]) == (7, True, False)


def test_coefficients_that_are_no_doubles_are_flagged() -> None:
    p = parse((HEAD + BOX + "(assert (<= (* 0.1 Y_0) 1))(assert (<= (* 0.5 Y_0) 1))").encode())
    assert sorted(zip(p.A_y[:, 0].tolist(), p.inexact.tolist(), strict=True)) == [(0.1, True), (0.5, False)]


def test_contradiction_has_no_disjuncts() -> None:
    for extra in ("(assert (>= X_0 3))", "(assert (and (>= X_0 0) (< X_0 0)))", "(assert (or (> X_0 2) (< X_1 -2)))",
                  "(assert (or (>= X_0 3) (<= X_1 -3) (>= X_1 7)))", "(assert (<= 2 1))", "(assert false)",
                  "(assert (or (> X_0 2) (and (< X_1 0.3) (> X_1 0.30000000000000000001))))"):  # fmt: skip
        p = parse((HEAD + BOX + extra).encode())
        assert (p.n_disjuncts, p.n_inputs, p.n_outputs, len(p.start)) == (0, N, M, 1)


@pytest.mark.parametrize("behind", ["", "(assert (or (<= Y_0 5) (<= Y_1 5)))", "(assert (or (<= X_1 0) (<= Y_1 5)))"])
def test_disjunctions_whose_inputs_contradict_each_other_have_no_disjuncts(behind: str) -> None:
    one, two = (f"(assert (or (and {x} (<= Y_0 0)) (and {x} (<= Y_1 0))))" for x in ("(<= X_0 0)", "(>= X_0 1)"))
    assert parse((HEAD + BOX + one + two + behind).encode()).n_disjuncts == 0


def test_touching_intervals_become_one_and_gaps_stay() -> None:
    def count(*branches: str) -> int:
        return parse((HEAD + BOX + f"(assert (or {' '.join(branches)}))").encode()).n_disjuncts

    assert count("(and (>= X_0 0) (<= X_0 1))", "(and (>= X_0 1) (<= X_0 2))", "(and (>= X_0 -1) (< X_0 0))") == 1
    assert count("(< X_0 1)", "(> X_0 1)") == 2
    assert count("(<= X_0 1)", "(> X_0 1)") == 1
    assert count("(<= X_0 0)", "(>= X_0 1)") == 2
    assert count("(<= X_0 0)", "(>= X_1 0)") == 2


def test_product_of_ors_prunes_contradictions_and_merges_repetitions() -> None:
    cuts = "".join(f"(assert (or (<= X_0 {k / 32}) (>= X_0 {(k + 0.5) / 32}) (<= X_0 {k / 32})))" for k in range(60))
    assert parse((HEAD + BOX + cuts).encode()).n_disjuncts == 61  # not 3 ** 60


def test_what_would_multiply_out_of_bounds_is_kept() -> None:
    one = "".join(f"(assert (or (<= Y_0 {k}) (and (< Y_1 {k}) (<= X_0 1))))" for k in range(40))
    either = "(assert (or (<= X_0 0) (>= X_1 0.5)))"
    p = parse((HEAD + BOX + one + either + "(assert (<= Y_0 9))").encode())
    assert p.n_disjuncts == 2 and p.clauses is not None  # boxes are multiplied out
    assert [len(p.clauses.of(j)) for j in range(2)] == [39, 39] and len(p.d) == 1  # one follows from Y_0 <= 9
    assert satisfied(p, [Fraction(0), Fraction(1)], [Fraction(0), Fraction(9)], outward=False)
    assert not satisfied(p, [Fraction(0), Fraction(1)], [Fraction(1, 8), Fraction(0)], outward=False)


def test_a_hundred_thousand_literals_in_ors_take_linear_time() -> None:
    text = "".join(f"(assert (or {' '.join(f'(<= Y_0 {10 * c + k})' for k in range(10))}))" for c in range(10_000))
    begin = time.process_time()
    p = parse((HEAD + BOX + text).encode())
    assert p.n_disjuncts == 1 and time.process_time() - begin < 30


def test_equal_boxes_and_equal_literals_are_stored_once() -> None:
    p = parse(
        (
            HEAD
            + BOX
            + """(assert (or (and (<= X_0 1) (<= Y_0 1)) (and (<= X_0 1.0) (<= Y_1 1))
        (and (<= X_0 0) (<= Y_0 1.0)) (and (<= Y_0 1) (<= X_0 10e-1))))"""
        ).encode()
    )
    assert (p.n_disjuncts, len(p.lower), len(p.d)) == (3, 2, 2)


@pytest.mark.parametrize("opening", ["(and (<= Y_0 1) ", "(or (<= Y_0 1) ", "(not ", "(+ 1 "])
def test_nesting_has_no_depth_limit(opening: str) -> None:
    depth = 10_000
    inner = "Y_0" if "+" in opening else "(<= X_1 1)"
    body = opening * depth + inner + ")" * depth
    p = parse((HEAD + BOX + (f"(assert (<= {body} 1))" if "+" in opening else f"(assert {body})")).encode())
    assert p.n_disjuncts == (2 if "or" in opening else 1)


def test_alternating_nesting_is_answered_or_refused() -> None:
    text = "(and (<= Y_0 1) (or (<= Y_1 1) " * 5000 + "(<= X_0 1)" + "))" * 5000
    assert parse((HEAD + BOX + f"(assert {text})").encode()).n_disjuncts == 2


# -- real files and speed ---------------------------------------------------------------------------------------------


def real_files() -> list[Path]:
    found = sorted((SHARED / "benchmarks").glob("*/vnnlib/*.vnnlib*"))
    return [f for f in found if f.stat().st_size < 300_000]


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
def test_real_files_agree_with_the_naive_evaluator() -> None:
    """Corners of every box and random outputs near the constants, on one file of each family."""
    rng = random.Random(0)
    families = {f.parent.parent.name: f for f in real_files()}
    for path in families.values():
        p = vnnlib.read(path)
        text = gzip.decompress(path.read_bytes()).decode()
        assert p.n_disjuncts > 0
        text = re.sub(";.*", "", text)
        tree = trees(text)
        asserted = [e[1] for e in tree if e[0] == "assert"]
        constants = [Fraction(a) for a in set(re.findall(r"(?<=[ (])[-+.\de]+(?=[ )])", text[-5000:]))] or [Fraction(0)]
        for trial in range(6):
            k = rng.randrange(len(p.lower))
            corner = [p.inner_lower[k], p.inner_upper[k]]
            x = [Fraction(corner[rng.randrange(2)][i]) for i in range(p.n_inputs)]
            if trial == 5:  # just outside
                x[-1] = Fraction(np.nextafter(p.upper[k][-1], np.inf)) + Fraction(1, 10**6)
            y = [rng.choice(constants) + Fraction(rng.randint(-1, 1), 10**9) for _ in range(p.n_outputs)]
            env = environment(x, y)
            expected = all(holds(f, env) for f in asserted)
            assert satisfied(p, x, y, outward=True) or not expected, path
            assert expected or not satisfied(p, x, y, outward=False), path


def trees(text: str) -> list:
    stack: list[list] = [[]]
    for token in re.findall(r"[()]|[^\s()]+", text):
        if token == "(":
            stack.append([])
        elif token == ")":
            done = stack.pop()
            stack[-1].append(done)
        else:
            stack[-1].append(token)
    return stack[0]


@pytest.mark.skipif(not SHARED.exists(), reason="needs ../shared")
def test_real_files_read_the_same_both_ways() -> None:
    for path in real_files()[::7]:
        text = gzip.decompress(path.read_bytes())
        assert same(parse(text), parse(text, shapes=False)), path


def test_fifty_thousand_disjuncts_take_linear_time() -> None:
    rng = random.Random(1)
    branches = "\n".join(
        f"(and (<= X_0 {rng.random():.6f}) (>= X_1 -{rng.random():.16f}) "
        f"(<= Y_0 {rng.random():.17f}) (>= Y_1 {i}) (<= Y_0 Y_1))"
        for i in range(50_000)
    )
    begin = time.process_time()
    p = parse((HEAD + BOX + f"(assert (or {branches}))").encode())
    seconds = time.process_time() - begin
    assert p.n_disjuncts == 50_000
    assert seconds < 6  # 1 s on an idle machine; a quadratic step would take minutes
