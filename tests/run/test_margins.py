"""Bounds of clauses' literals, and the outputs that clauses become, allow for what the text's numbers lost."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.relu import Relu
from verifier.run import verify
from verifier.run.margins import bounded
from verifier.run.outputs import with_clauses
from verifier.search.budget import Budget
from verifier.spec import dnf
from verifier.spec.property import Property
from verifier.spec.vnnlib1 import parse
from verifier.values.arrays import Place

TENTHS = ("(+ (* 0.1 Y_0) (* 0.7 X_0))", "(+ (* 0.1 Y_1) (* -0.3 Y_0))", "(* 0.1 Y_0)")
"""Left-hand sides none of whose coefficients is a double."""
PARTS = [[(0.1, "Y0"), (0.7, "X0")], [(0.1, "Y1"), (-0.3, "Y0")], [(0.1, "Y0")]]
LOW, HIGH = np.array([1.5, -0.5]), np.array([2.0, 0.25])


def network() -> Graph:
    """Two inputs, two outputs."""
    build = Builder()
    x = build.add(Input((2,)), (), "x")
    h = build.add(Relu(), (build.add(Dense(np.array([[1.0, -2.0], [0.5, 1.5]]), None), (x,)),))
    y = build.add(Dense(np.array([[1.0, 0.5], [-1.0, 2.0]]), None), (h,), "y")
    return build.graph((x,), (y,))


def asked(monkeypatch: pytest.MonkeyPatch, sides: tuple[float, ...] = (0.3, 0.1, 0.2)) -> Property:
    """Two clauses over the literals."""
    monkeypatch.setattr(dnf, "MOST_CHOICES", 1)
    head = "".join(f"(declare-const {v}_{i} Real)" for v in "XY" for i in range(2))
    box = "".join(
        f"(assert (>= X_{i} {a}))(assert (<= X_{i} {b}))" for i, (a, b) in enumerate(zip(LOW, HIGH, strict=True))
    )
    a, b, c = (f"(<= {t} {d})" for t, d in zip(TENTHS, sides, strict=True))
    prop = parse(f"{head}{box}(assert (or {a} {b}))(assert (or {c} (and {a} {b})))".encode())
    assert prop.clauses is not None and len(prop.clauses.d) == 3 and prop.clauses.inexact.all()
    return prop


def given(prop: Property, **fields: np.ndarray) -> Property:
    """With other literals."""
    assert prop.clauses is not None
    return replace(prop, clauses=replace(prop.clauses, **fields))


def test_right_hand_sides_are_rounded_outward_to_refute_and_inward_to_hold(monkeypatch: pytest.MonkeyPatch) -> None:
    """`low` is of the larger ones, `high` of the smaller ones."""
    prop = asked(monkeypatch)
    same = np.full(3, 0.5)
    base = bounded(network(), given(prop, d=same, inner_d=same), LOW, HIGH, Budget())
    apart = bounded(network(), given(prop, d=same + 1, inner_d=same - 2), LOW, HIGH, Budget())
    np.testing.assert_allclose(apart.low, base.low - 1, rtol=1e-12)
    np.testing.assert_allclose(apart.high, base.high + 2, rtol=1e-12)


def test_margins_enclose_those_of_the_text(monkeypatch: pytest.MonkeyPatch) -> None:
    """At points, with the decimals as they are written; both ends are near."""
    prop, graph, rng = asked(monkeypatch), network(), np.random.default_rng(0)
    assert prop.clauses is not None
    order = [sizes_at(prop, sorted(abs(a) for a, _ in part)) for part in PARTS]
    for _ in range(50):
        x = rng.integers(-8, 9, 2) / 8.0
        y = graph.evaluate(x[None])[0][0]  # eighths times halves: exact
        found = bounded(graph, prop, x, x, Budget())
        at = {f"{v}{i}": Fraction(float(a[i])) for v, a in (("X", x), ("Y", y)) for i in range(2)}
        for i, part, d in zip(order, PARTS, ("0.3", "0.1", "0.2"), strict=True):
            exact = sum((Fraction(str(a)) * at[v] for a, v in part), Fraction(0)) - Fraction(d)
            assert Fraction(float(found.low[i])) <= exact <= Fraction(float(found.high[i]))
            assert found.high[i] - found.low[i] < 1e-12


def sizes(prop: Property, i: int) -> list[float]:
    """Magnitudes of a literal's coefficients."""
    c = prop.clauses
    assert c is not None
    return sorted(abs(c.value[c.term[i] : c.term[i + 1]]).tolist())


def test_coefficients_that_are_no_doubles_widen_both_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """By a unit of each product's size at least, next to what rounding takes; where they are doubles, by nothing."""
    prop = asked(monkeypatch)
    c = prop.clauses
    assert c is not None
    sure = given(prop, inexact=np.zeros(3, bool))
    wide, narrow = (bounded(network(), p, LOW, HIGH, Budget()) for p in (prop, sure))
    some = bounded(network(), given(prop, inexact=np.array([False, True, False])), LOW, HIGH, Budget())
    size = wide.size
    assert (size[:2] >= np.maximum(abs(LOW), abs(HIGH))).all()
    need = np.array([abs(c.value[k]) @ size[c.column[k]] for k in (slice(*c.term[i : i + 2]) for i in range(3))])
    need = need * 2.0**-53
    assert (narrow.low - wide.low >= need).all() and (wide.high - narrow.high >= need).all()
    assert (narrow.low - wide.low <= 16 * need).all() and (wide.high - narrow.high <= 16 * need).all()
    assert ((some.low < narrow.low) == (False, True, False)).all()
    assert ((some.high > narrow.high) == (False, True, False)).all()


def outputs(prop: Property, wanted: list[int], points: np.ndarray) -> np.ndarray:
    """What clauses become, at outputs `[P, 2]` of an identity."""
    build = Builder()
    x = build.add(Input((2,)), (), "x")
    graph = build.graph((x,), (build.add(Dense(np.eye(2), None), (x,), "y"),))
    c = prop.clauses
    assert c is not None
    kept = [((i,),) for i in range(3)]  # a clause for each literal
    made = with_clauses(graph, c, wanted, kept, np.full(4, 8.0))
    return made.evaluate(points)[0][:, 2:]


def test_an_output_holds_where_the_text_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """`0.1·b − 0.3·a <= 0` holds at `b = 3·a` with these decimals; with the doubles nearest to them it does not."""
    prop = asked(monkeypatch)
    two, zero = sizes_at(prop, [0.1, 0.3]), np.zeros(3)
    p, beyond = given(prop, d=zero, inner_d=zero - 1), 0
    for a in np.arange(1, 20) / 8.0:
        assert outputs(p, [two], np.array([[a, 3 * a]]))[0, 0] <= 0
        assert outputs(p, [two], np.array([[a, 3 * a + 1e-13]]))[0, 0] > 0
        exact = given(p, inexact=np.zeros(3, bool))
        beyond += outputs(exact, [two], np.array([[a, 3 * a]]))[0, 0] > 0
    assert beyond  # it does depend on the allowance


def test_an_output_is_of_the_right_hand_side_that_is_rounded_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A literal that may hold must be able to in the network, too."""
    prop = given(asked(monkeypatch), d=np.ones(3), inner_d=np.zeros(3))
    one = sizes_at(prop, [0.1])
    assert (outputs(prop, [one], np.array([[9.0, 0.0], [11.0, 0.0]]))[:, 0] > 0).tolist() == [False, True]


def sizes_at(prop: Property, wanted: list[float]) -> int:
    """The literal with coefficients of these magnitudes."""
    return next(i for i in range(3) if sizes(prop, i) == wanted)


def test_several_outputs_keep_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each wanted clause has the sign of its literal's margin."""
    prop, rng = asked(monkeypatch), np.random.default_rng(1)
    assert prop.clauses is not None
    points = rng.uniform(-3, 3, (200, 2))
    margin = prop.clauses.margins(points, points, inner=False)[0]
    for wanted in ([2, 0, 1], [1], [0, 2]):
        got = outputs(prop, wanted, points)
        assert got.shape == (200, len(wanted))
        assert ((got <= 0) == (margin[:, wanted] <= 0)).all()
        assert (got <= 0).any() and (got > 0).any()


def test_clauses_are_not_asked_in_terms_of_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    """That form knows nothing of clauses; a property without any has it."""
    prop, graph, place = asked(monkeypatch), network(), Place("numpy", "float64")
    joint = SimpleNamespace(parts=())
    assert verify._apart(joint, graph, prop, place, Budget()) is None
    assert verify._apart(joint, graph, replace(prop, clauses=None), place, Budget()) is not None
    assert verify._apart(object(), graph, replace(prop, clauses=None), place, Budget()) is None
