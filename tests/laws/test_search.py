"""Laws of the search: what a batch is told about its domains holds, and splitting loses no point of interest."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from verifier.search.domains import Domains, roots
from verifier.search.evaluate import Evaluation, evaluate
from verifier.search.inputs import split
from verifier.search.query import Query, make_query
from verifier.spec.property import Property
from verifier.values.arrays import Place

from . import cases
from .cases import HOST, PLACES, Literal, domains, place_id, points, wide_values

NAMES = ["chain", "leaky", "mirrored", "cancelling", "residual", "sources", "pooled"]
CHUNK = 10**5


def asked(name: str, seed: int, place: Place) -> tuple[Query, np.ndarray, np.ndarray]:
    """A query with three boxes of five disjuncts in all, over outputs and inputs, thresholds within reach.

    Also points `[G, P, n]` of the groups' boxes and the literals' values there `[G, P, L]`, in extended precision.
    """
    rng = np.random.default_rng([seed, *name.encode()])
    graph = cases.GRAPHS[name](rng)
    n, m = graph.nodes[0].size, graph.nodes[graph.outputs[0]].size
    lower, upper = domains(rng, "plain", n)
    x = points(rng, lower, upper, 200)
    y = wide_values(graph, x)[graph.outputs[0]]
    box = np.array([0, 0, 1, 1, 2])
    count = [1, 2, 3, 2, 1]
    literals: list[Literal] = []
    for j, K in enumerate(count):
        for _ in range(K):
            a, c = rng.normal(size=m), rng.normal(size=n) * (rng.random() < 0.4)
            value = (y[box[j]] @ a + x[box[j]] @ c).astype(float)
            literals.append((a, c, float(np.quantile(value, rng.choice([0.05, 0.3, 0.7])))))
    base = cases.property_of(lower[0], upper[0], [[f] for f in literals])
    start = np.cumsum([0, *count])
    prop = Property(
        lower, upper, lower, upper, box, start, np.arange(len(literals)), base.A_y, base.A_x, base.d, base.inner_d,
        base.strict, base.inexact,
    )  # fmt: skip
    A_x = np.zeros((len(literals), n)) if prop.A_x is None else prop.A_x
    value = y @ prop.A_y.T.astype(np.longdouble) + x @ A_x.T.astype(np.longdouble) - prop.d
    return make_query(graph, prop, place), x, value


def interesting(query: Query, value: np.ndarray) -> np.ndarray:
    """`[G, P, J]` which points satisfy which disjunct of their group."""
    held = np.take_along_axis(value, query.ids[:, None], 2) <= 0  # [G, P, K]
    return (held[:, :, None] | ~query.uses[:, None]).all(3) & query.open[:, None]


def check(query: Query, d: Domains, e: Evaluation, x: np.ndarray, value: np.ndarray) -> int:
    """At every point inside a domain: rows hold, half-spaces hold, satisfied disjuncts are alive."""
    satisfied, met = interesting(query, value), 0
    for i in range(len(d)):
        g = d.group[i]
        at = np.flatnonzero(((x[g] >= d.lower[i]) & (x[g] <= d.upper[i])).all(1))
        rows = value[g][at][:, query.ids[g]]  # [P, K]
        plane = x[g][at].astype(np.longdouble) @ e.A[i].T + e.b[i]
        used = query.uses[g].any(0)
        assert (plane <= rows + 1e-17 * abs(rows) + 1e-25)[:, used].all(), "a half-space is not implied"
        assert (e.row[i] <= rows)[:, used].all(), "a row's bound"
        for p in at:
            for j in np.flatnonzero(satisfied[g, p] & d.alive[i]):
                met += 1
                assert e.alive[i, j], "a satisfied disjunct was refuted"
    return met


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("place", PLACES, ids=place_id)
def test_evaluate_and_split(place: Place, name: str) -> None:
    """Three rounds of bounding and splitting: every point of interest stays in a domain that is alive for it."""
    query, x, value = asked(name, 0, place)
    satisfied = interesting(query, value)
    d, met = roots(query), 0
    for _ in range(4):
        e = evaluate(query, d, CHUNK)
        assert np.isfinite(e.gap[e.alive.any(1)]).all() and (e.gap[e.alive.any(1)] >= 0).all()
        assert not (e.alive & ~d.alive).any()
        corner = e.corner(d)
        assert (corner >= d.lower).all() and (corner <= d.upper).all()
        met += check(query, d, e, x, value)
        left = np.flatnonzero(e.alive.any(1))
        parents, (d, stuck) = d, split(query, d, e, left)
        assert len(stuck) == 0 and d.alive.any(1).all() and (d.lower <= d.upper).all()
        for g, p, j in np.argwhere(satisfied):
            inside = (d.group == g) & d.alive[:, j] & ((x[g, p] >= d.lower) & (x[g, p] <= d.upper)).all(1)
            assert inside.any(), "a point of interest is lost"
        for i in range(len(d)):  # children are parts of parents
            assert ((d.lower[i] >= parents.lower) & (d.upper[i] <= parents.upper)).all(1).any()
    assert met > 20 and len(d) > 3, "the law was not put to the test"


@pytest.mark.parametrize("place", PLACES[:2], ids=place_id)
def test_alone_as_in_the_batch(place: Place) -> None:
    """What is found about a domain does not depend on its neighbours, but for rounding allowances."""
    query, _, _ = asked("residual", 1, place)
    d, _ = split(query, roots(query), evaluate(query, roots(query), CHUNK), np.arange(3))
    whole = evaluate(query, d, CHUNK)
    for i in range(len(d)):
        one = evaluate(query, d.take(np.array([i])), CHUNK)
        np.testing.assert_allclose(one.row[0], whole.row[i], rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(one.A[0], whole.A[i], rtol=1e-2, atol=1e-3)


def halves(lower: np.ndarray, upper: np.ndarray) -> tuple[Domains, int]:
    """Split of one domain of which nothing else is known."""
    n = len(lower)
    graph = cases.chain(np.random.default_rng(0), (n, 3, 1))
    query = make_query(graph, cases.property_of(lower, upper, [[(np.ones(1), np.zeros(n), 0.0)]]), HOST)
    d = roots(query)
    e = evaluate(query, d, CHUNK)
    nothing = Evaluation(e.A * 0, e.b * 0 - 1, e.row, e.gap, d.alive, e.score, e.deciding, e.sign)
    return split(query, d, nothing, np.array([0]))


def test_halves_cover_their_parent() -> None:
    """Exactly, with the cut in both, down to neighbouring numbers; what has no number between its ends is stuck."""
    rng = np.random.default_rng(2)
    for k in range(60):
        lower = rng.normal(size=2) * 10.0 ** rng.integers(-20, 20, 2)
        step = rng.integers(0, 4, 2) if k % 2 else rng.integers(0, 2**40, 2)
        upper = lower + abs(np.spacing(lower)) * step
        d, stuck = halves(lower, upper)
        middle = lower * 0.5 + upper * 0.5
        splittable = ((middle > lower) & (middle < upper)).any()
        assert (len(d), len(stuck)) == ((2, 0) if splittable else (0, 1))
        if splittable:
            size = [cases.fractions(h) - cases.fractions(l) for l, h in zip(d.lower, d.upper, strict=True)]
            axis = int(np.flatnonzero((d.lower[0] != d.lower[1]) | (d.upper[0] != d.upper[1]))[0])
            assert sum(s[axis] for s in size) == Fraction(float(upper[axis])) - Fraction(float(lower[axis]))
            assert np.array_equal(d.lower.min(0), lower) and np.array_equal(d.upper.max(0), upper)
            assert np.array_equal(np.delete(d.lower, axis, 1), np.delete(np.tile(lower, (2, 1)), axis, 1))
