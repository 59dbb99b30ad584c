"""Bounds of clauses' literals, and the outputs that clauses become, allow for what the text's numbers lost."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest

from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.moves import Take
from verifier.graph.ops.relu import Relu
from verifier.run import margins, verify
from verifier.run.margins import bounded
from verifier.run.outputs import _powers, with_clauses
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


def exactly(prop: Property, lower: np.ndarray, upper: np.ndarray) -> list[tuple[Fraction, Fraction]]:
    """The least and the largest margin of each literal where the outputs are the inputs, backwards."""
    c, n = prop.clauses, len(lower)
    assert c is not None
    ends = [[Fraction(float(a)) for a in (*side, *side[::-1])] for side in (lower, upper)]
    found = []
    for i in range(len(c.d)):
        at = range(c.term[i], c.term[i + 1])
        a = {k: Fraction(0) for k in range(n)}
        for k in at:
            column = int(c.column[k])
            a[column if column < n else 2 * n - 1 - column] += Fraction(float(c.value[k]))
        sums = [sum((v * ends[(v > 0) == up][k] for k, v in a.items()), Fraction(0)) for up in (False, True)]
        found.append((sums[0] - Fraction(float(c.d[i])), sums[1] - Fraction(float(c.d[i]))))
    return found


@pytest.mark.parametrize("wide", [0.0, 1.0])
def test_margins_on_boxes_hold_exactly(wide: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing rounds in a network that moves numbers: what the rows' last sum may lose is taken off, and no more."""
    build, n = Builder(), 2
    x = build.add(Input((n,)), (), "x")
    graph = build.graph((x,), (build.add(Take(np.arange(n)[::-1].copy(), (n,)), (x,), "y"),))
    rng = np.random.default_rng(0)
    base = given(asked(monkeypatch), inexact=np.zeros(3, bool))
    for _ in range(100):
        c = base.clauses
        assert c is not None
        prop = given(base, value=rng.normal(size=len(c.value)), d=(d := rng.normal(size=3)), inner_d=d)
        lower = rng.normal(size=n) * 10
        upper = lower + wide * rng.random(n)
        found = bounded(graph, prop, lower, upper, Budget())
        for i, (least, most) in enumerate(exactly(prop, lower, upper)):
            assert Fraction(float(found.low[i])) <= least and most <= Fraction(float(found.high[i]))
            assert found.low[i] >= float(least) - 1e-12 and found.high[i] <= float(most) + 1e-12


def test_rows_are_not_walked_back_through_what_may_be_infinite(monkeypatch: pytest.MonkeyPatch) -> None:
    """There intervals alone count."""
    prop, kept = asked(monkeypatch), margins.propagate
    before = bounded(network(), prop, LOW, HIGH, Budget())
    monkeypatch.setattr(margins, "propagate", lambda *a: replace(kept(*a), broken=np.ones(1, bool)))
    broken = bounded(network(), prop, LOW, HIGH, Budget())
    monkeypatch.setattr(margins, "propagate", kept)
    monkeypatch.setattr(margins, "rows_backward", no_rows)
    monkeypatch.setattr(margins, "EFFORT", 0)
    plain = bounded(network(), prop, LOW, HIGH, Budget())
    assert (broken.low <= before.low).all() and (broken.low < before.low).any()
    np.testing.assert_allclose(broken.low, plain.low, rtol=0.5)


def no_rows(*_: object) -> None:
    raise AssertionError("too much effort")


def test_nothing_is_known_when_the_time_is_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither of literals nor of sizes."""
    found = bounded(network(), asked(monkeypatch), LOW, HIGH, Budget(0.0))
    assert (found.low == -np.inf).all() and (found.high == np.inf).all()
    assert found.size.shape == (4,) and (found.size == np.inf).all()


def test_clauses_of_clauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """The largest of an alternative, the least of all alternatives, whatever they are made of."""
    prop, rng, L = asked(monkeypatch), np.random.default_rng(2), 3
    c = prop.clauses
    assert c is not None
    build = Builder()
    x = build.add(Input((2,)), (), "x")
    graph = build.graph((x,), (build.add(Dense(np.eye(2), None), (x,), "y"),))
    kept = [((0, 1),), ((0,), (2,)), ((L + 0, 2), (L + 1, 1)), ((L + 2, L + 0), (1, 2))]
    points = rng.uniform(-3, 3, (300, 2))
    margin = list(c.margins(points, points, inner=False)[0].T)
    for alternatives in kept:
        margin.append(np.min([np.max([margin[i] for i in a], 0) for a in alternatives], 0))
    for wanted in ([3], [2, 3], [2, 0], [1, 3, 0]):
        got = with_clauses(graph, c, wanted, kept, np.full(4, 8.0)).evaluate(points)[0][:, 2:]
        want = np.stack([margin[L + k] for k in wanted], 1)
        assert ((got <= 0) == (want <= 0)).all() and (got <= 0).any() and (got > 0).any()


def test_literals_are_scaled_without_rounding() -> None:
    """By powers of two, to about one; not at all where something would become too small or too large for that."""
    rng = np.random.default_rng(0)
    reach, least, d = 10.0 ** rng.uniform([[-300], [-320], [-320]], [[308], [300], [300]], (3, 4000))
    least, d = np.minimum(least, reach), np.where(rng.random(4000) < 0.2, 0.0, np.minimum(d, reach))
    for (r, a, b), s in zip(np.stack([reach, least, d], 1).tolist(), _powers(reach, least, d).tolist(), strict=True):
        assert np.frexp(s)[0] == 0.5
        assert all(Fraction(v * s) == Fraction(v) * Fraction(s) for v in (a, b)) and r * s < np.inf
        if 1e-50 < r < 1e50 and a > 1e-100 and (b == 0 or b > 1e-100):
            assert 0.5 <= r * s <= 2


def test_clauses_are_not_asked_in_terms_of_differences(monkeypatch: pytest.MonkeyPatch) -> None:
    """That form knows nothing of clauses; a property without any has it."""
    prop, graph, place = asked(monkeypatch), network(), Place("numpy", "float64")
    joint = SimpleNamespace(parts=())
    assert verify._apart(joint, graph, prop, place, Budget()) is None
    assert verify._apart(joint, graph, replace(prop, clauses=None), place, Budget()) is not None
    assert verify._apart(object(), graph, replace(prop, clauses=None), place, Budget()) is None
