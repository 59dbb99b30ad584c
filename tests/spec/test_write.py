"""Properties as text: what is written is read back as the same property."""

from __future__ import annotations

import gzip
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import example, given, reject, settings
from hypothesis import strategies as st

import verifier
from tests.cli.files import ROOT
from tests.spec.test_vnnlib1 import exact_numbers, formulas, real_files, rough_numbers, text_of
from verifier.spec import vnnlib
from verifier.spec.builders import output_property, robustness
from verifier.spec.property import Property
from verifier.spec.vnnlib1 import parse
from verifier.spec.witness import satisfies
from verifier.values.errors import PropertyError, UserError

numbers = st.one_of(
    rough_numbers,
    exact_numbers,
    st.floats(-2, 2).map(repr),
    st.floats(-2, 2).map(lambda v: format(Fraction(v).limit_denominator(10**6).__float__(), ".40f")),
    st.sampled_from(["1e-310", "-4.9e-324", "3e-324", "123456789012345678901234567890"]),
)


def content(p: Property) -> list[tuple[object, ...]]:
    """What each disjunct says, in order: all numbers of its box and of its literals, these in any order.

    Two literals between the same two doubles are one here: they say the same of every number that can be met.
    """
    found = []
    for j in range(p.n_disjuncts):
        k = p.box[j]
        box = [a[k].tolist() for a in (p.lower, p.upper, p.inner_lower, p.inner_upper)]
        rows = []
        for i in p.literals(j):
            inputs = np.zeros(p.n_inputs) if p.A_x is None else p.A_x[i]
            row = (*p.A_y[i].tolist(), *inputs.tolist(), p.d[i], p.inner_d[i], bool(p.strict[i]), bool(p.inexact[i]))
            rows.append(row)
        found.append((*map(tuple, box), tuple(sorted(set(rows)))))
    return found


def again(p: Property) -> Property:
    return parse(p.to_vnnlib().encode())


def neighbours_apart(p: Property) -> bool:
    """Whether no two disjuncts meet between two doubles: a property does not know whether they touch there."""
    ends = {(float(a), float(b)) for a, b in zip(p.lower.flat, p.inner_lower.flat, strict=True) if a != b}
    return not any((float(b), float(a)) in ends for a, b in zip(p.upper.flat, p.inner_upper.flat, strict=True))


_FAR = ("+", ("+", "Y_1", "123456789012345678901234567890"))


@settings(max_examples=400, deadline=None)
@example([("and", ("<=", _FAR, "0.1"), ("<=", _FAR, "-0.1"))])
@given(st.lists(formulas(numbers), min_size=1, max_size=4))
def test_reading_gives_it_back(asserted) -> None:
    try:
        p = parse(text_of(asserted))
    except PropertyError:  # coefficients beyond what doubles hold
        reject()
    back = again(p)
    # A contradiction may be seen in one form of huge numbers and not in another: what is empty is dropped by one only.
    if (p.n_disjuncts < 2 or neighbours_apart(p)) and abs(p.d).max(initial=0.0) < 1e15:
        assert content(back) == content(p)
    assert back.n_inputs == p.n_inputs and back.n_outputs == p.n_outputs
    assert back.to_vnnlib() == again(back).to_vnnlib()


@pytest.mark.parametrize(
    ("asserted", "said"),
    [
        ("(assert (>= Y_0 0.1))", r"\(<= \(\* -1.0 Y_0\) -0.1\)"),
        ("(assert (< Y_0 0.5))", r"\(< Y_0 0.5\)"),
        ("(assert (>= X_0 0.1))", r"\(>= X_0 0.1\)"),
        ("(assert (> X_0 0.5))", r"\(> X_0 0.5\)"),
        ("(assert (< X_0 0.3))", r"\(<= X_0 0.3\)"),  # no double is 0.3: the same numbers are inside
        ("(assert (<= (* 0.1 Y_0) 1))", r"\(<= \(\* 0.1 Y_0\) 1.0\)"),
        ("(assert (<= (* 0.50000000000000000001 Y_0) 1))", r"\(<= \(\* 0.5000\d+ Y_0\) 1.0\)"),
        ("(assert (<= Y_0 Y_1))", r"\(<= \(\+ Y_0 \(\* -1.0 Y_1\)\) 0.0\)"),
        ("(assert (<= (+ Y_0 X_1) 1e-310))", r"\(<= \(\+ Y_0 X_1\) 1e-310\)"),
        ("(assert (or (<= X_0 0) (and (>= X_0 1) (<= Y_0 0))))", r"\(or\n  \(and \(>= X_0 -2.0\) \(<= X_0 0.0\)\)\n"),
        ("(assert (= X_0 (+ X_1 0.10971186340160388)))", "X_1"),  # a tie: both sides must not contradict each other
        ("(assert (and (<= X_0 0.10971186340160388) (>= X_0 0.10971186340160388)))", "X_0"),
        ("(assert (> Y_0 Y_0))", r"\(assert false\)"),
    ],
)
def test_words(asserted: str, said: str) -> None:
    p = parse(text_of([]) + asserted.encode())
    assert re.search(said, p.to_vnnlib()), p.to_vnnlib()
    assert content(again(p)) == content(p)


def test_what_python_makes(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    x = rng.random((1, 5, 5)).astype(np.float32)
    for p in (
        robustness(x, 8 / 255, 3, 10, 0.0, 1.0),
        robustness(x, 0.0, 3, 10),
        output_property(x - 0.1, x + 0.1, [[(rng.standard_normal(4), 0.1), (np.ones(4), -2.0)], [(np.eye(4)[2], 5.0)]]),
        verifier.robustness(verifier.Ball(x, 0.1), label=1).property(4),
    ):
        for name in ("p.vnnlib", "p.vnnlib.gz"):
            verifier.write_vnnlib(p, tmp_path / name)
            assert content(verifier.read(tmp_path / name)) == content(p)
        assert gzip.decompress((tmp_path / name).read_bytes()).decode() == p.to_vnnlib()


def test_an_answer_is_the_same(tmp_path: Path) -> None:
    for spec, verdict in (("pendulum_limit_sat", "sat"), ("pendulum_pushes_back", "unsat")):
        verifier.write_vnnlib(verifier.read(ROOT / f"specs/{spec}.vnnlib"), tmp_path / "p.vnnlib")
        assert verifier.verify(ROOT / "models/pendulum.onnx", tmp_path / "p.vnnlib", 60).verdict == verdict


@pytest.mark.skipif(not real_files(), reason="needs ../shared")
def test_real_files() -> None:
    for path in {f.parent.parent.name: f for f in real_files() if f.stat().st_size < 30_000}.values():
        p = vnnlib.read(path)
        if isinstance(p, Property) and p.n_inputs * len(p.lower) < 4_000 and p.n_disjuncts < 2_000:
            assert content(again(p)) == content(p), path


def test_refusals(tmp_path: Path) -> None:
    exact = parse(text_of([]))
    ball = robustness(np.zeros(2), 0.1, 0, 2, norm=2)
    products = replace(exact, monomials=((0, 1),))
    apart = replace(exact, inner_lower=exact.lower + 0.25)
    infinite = replace(exact, lower=exact.lower - np.inf, inner_lower=exact.lower - np.inf)
    for p, why in (
        (ball, "robustness: a ball of the l2 norm cannot be written in VNN-LIB 1.0"),
        (products, "products of variables cannot be written in VNN-LIB 1.0"),
        (apart, "input X_0 has the bound -2, which is no decimal number rounded"),
        (infinite, "input X_0 has the bound -inf, which is no decimal number"),
    ):
        with pytest.raises(PropertyError, match=rf"^[^\n]*{why}[^\n]*$"):
            p.to_vnnlib()
    query = "(vnnlib-version <2.0>)(declare-network f (declare-input X real [1]) (declare-output Y real [1]))"
    box = "(assert (and (>= X[0] 0.0) (<= X[0] 1.0)))(assert (>= Y[0] 0.0))"
    (tmp_path / "q.vnnlib").write_text(query + box)
    with pytest.raises(PropertyError, match="a query of version 2.0 is kept as the text"):
        verifier.write_vnnlib(verifier.read(tmp_path / "q.vnnlib"), tmp_path / "p.vnnlib")
    with pytest.raises(UserError, match="cannot be written"):
        verifier.write_vnnlib(exact, tmp_path / "none" / "p.vnnlib")


def test_disjunctions_that_are_kept() -> None:
    rng = np.random.default_rng(0)
    ors = "".join(
        f"(assert (or (<= Y_0 {a:.3f}) (and (> Y_1 {b:.3f}) (<= (+ (* 0.3 Y_0) X_1) {c:.2f}))))"
        for a, b, c in rng.uniform(-1, 1, (40, 3))
    )
    p = parse(text_of([]) + ors.encode())
    back = again(p)
    assert p.clauses is not None and back.clauses is not None
    seen = set()
    for _ in range(300):
        x, y = rng.uniform(-2, 2, 2), rng.choice([-1.5, 0.9, 2.0, 0.0], 2)
        held = [any(satisfies(q, j, x, y) for j in range(q.n_disjuncts)) for q in (p, back)]
        assert held[0] == held[1]
        seen.add(held[0])
    assert seen == {True, False}
