"""Laws of conjunctions of disjunctions: the same answers as multiplied out, and no counterexample is lost."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest

from verifier.attack.replay import Replay
from verifier.run import clauses
from verifier.run.reduced import Reduced, reduced
from verifier.search.budget import Budget
from verifier.search.candidates import Candidates
from verifier.search.decide import NeuronSearch, decide
from verifier.search.inputs import InputSearch
from verifier.search.query import make_query
from verifier.spec import dnf
from verifier.spec.property import Property
from verifier.spec.vnnlib1 import parse
from verifier.spec.witness import satisfies
from verifier.values.arrays import Place

from . import cases

HOST = Place("numpy", "float32")
NAMES = ["chain", "leaky", "residual", "cancelling"]
LARGE = (1, 4, 7, 10, 14, 18, 19, 21, 31, 34)
"""Cases that take long when they are multiplied out, or are too large for it."""
Tree = Any
"""`(a over inputs and outputs, d)`, or `(op, children)`."""


def random_tree(rng: np.random.Generator, z: np.ndarray, deep: int, op: str) -> Tree:
    """Literals over inputs and outputs, with thresholds within reach of `z` `[P, n + m]`."""
    if deep == 0 or (deep < 3 and rng.random() < 0.2):
        a = np.round(rng.normal(size=z.shape[1]), 2)
        a[rng.random(len(a)) < 0.5] = 0
        a[-1] = a[-1] or 0.5
        return a, round(float(np.quantile(z @ a, rng.choice([0.01, 0.2, 0.6]))), 6)
    inner = "or" if op == "and" else "and"
    return op, [random_tree(rng, z, deep - 1, inner) for _ in range(rng.integers(2, 5))]


def text(tree: Tree, n: int) -> str:
    if isinstance(tree[0], str):
        return f"({tree[0]} {' '.join(text(t, n) for t in tree[1])})"
    a, d = tree
    terms = " ".join(
        f"(* {v!r} {'X' if i < n else 'Y'}_{i if i < n else i - n})" for i, v in enumerate(a.tolist()) if v
    )
    return f"(<= (+ {terms}) {d!r})"


def holds(tree: Tree, z: list[Fraction]) -> bool:
    """By the text's own numbers, which are decimals."""
    if isinstance(tree[0], str):
        return (all if tree[0] == "and" else any)(holds(t, z) for t in tree[1])
    a, d = tree
    return sum((Fraction(repr(v)) * w for v, w in zip(a.tolist(), z, strict=True)), Fraction(0)) <= Fraction(repr(d))


def read(tree: Tree, lower: np.ndarray, upper: np.ndarray, m: int, choices: int, monkeypatch: Any) -> Property:
    monkeypatch.setattr(dnf, "MOST_CHOICES", choices)
    n = len(lower)
    head = "".join(f"(declare-const {v}_{i} Real)" for v, k in (("X", n), ("Y", m)) for i in range(k))
    box = "".join(f"(assert (>= X_{i} {a!r}))(assert (<= X_{i} {b!r}))" for i, (a, b) in
                  enumerate(zip(lower.tolist(), upper.tolist(), strict=True)))  # fmt: skip
    return parse(f"{head}{box}(assert {text(tree, n)})".encode())


def case(seed: int) -> tuple[Any, np.ndarray, np.ndarray, Tree, np.ndarray, np.ndarray]:
    """A network, a box, a formula, and points of the box with their outputs."""
    rng = np.random.default_rng(seed)
    graph = cases.GRAPHS[NAMES[seed % len(NAMES)]](rng)
    lower, upper = (a[0] for a in cases.domains(rng, "plain", graph.nodes[0].size))
    lower, upper = np.round(lower, 3), np.round(np.maximum(upper, lower + 0.01), 3)
    x = rng.uniform(lower, upper, (300, len(lower)))
    y = graph.evaluate(x.reshape(len(x), *graph.nodes[graph.inputs[0]].shape))[0].reshape(len(x), -1)
    tree = random_tree(rng, np.concatenate([x, y], 1), int(rng.integers(2, 5)), "and")
    return graph, lower, upper, tree, x, y


def asked(graph: Any, prop: Property, r: Reduced) -> tuple[Any, Candidates]:
    def run(x: np.ndarray) -> np.ndarray:
        return graph.evaluate(x.reshape(len(x), *graph.nodes[graph.inputs[0]].shape))[0].reshape(len(x), -1)

    query = make_query(r.graph, r.prop, HOST, nested=r.nested)
    return query, Candidates(query, Replay(prop, run, run, "float64"))


@pytest.mark.parametrize("small", [1, 16])
@pytest.mark.parametrize("seed", range(40))
def test_what_is_left_of_a_clause_holds_wherever_it_does(seed: int, small: int, monkeypatch: Any) -> None:
    graph, lower, upper, tree, x, y = case(seed)
    prop = read(tree, lower, upper, y.shape[1], 1, monkeypatch)
    monkeypatch.setattr(clauses, "SMALL", small)
    monkeypatch.setattr(clauses, "SOME", small)
    monkeypatch.setattr(clauses, "MOST_ROWS", 2)  # the others become one
    r = reduced(graph, prop, Budget())
    shape = r.graph.nodes[r.graph.inputs[0]].shape
    z = r.graph.evaluate(x.reshape(len(x), *shape))[0].reshape(len(x), -1)
    A_x = np.zeros((len(r.prop.d), len(lower))) if r.prop.A_x is None else r.prop.A_x
    margin = z @ r.prop.A_y.T + x @ A_x.T - r.prop.d
    said = [any(satisfies(prop, j, *p) for j in range(prop.n_disjuncts)) for p in zip(x, y, strict=True)]
    left = [any((margin[i, r.prop.literals(j)] <= 0).all() for j in range(r.prop.n_disjuncts)) for i in range(len(x))]
    truth = [holds(tree, [Fraction(v) for v in (*a.tolist(), *b.tolist())]) for a, b in zip(x, y, strict=True)]
    assert said == truth
    # Thresholds are quantiles of other numbers: no point lies so near to one that rounding decides.
    assert left == truth


@pytest.mark.parametrize("seed", [s for s in range(40) if s not in LARGE])
def test_verdicts_are_those_of_the_normal_form(seed: int, monkeypatch: Any) -> None:
    graph, lower, upper, tree, x, y = case(seed)
    kept, whole = (read(tree, lower, upper, y.shape[1], choices, monkeypatch) for choices in (1, 100_000))
    assert whole.clauses is None
    r = reduced(graph, kept, Budget())
    ways = []
    if r.prop.n_disjuncts:
        query, attempt = asked(graph, kept, r)
        plain = r.plain(HOST)
        ways.append(decide(query, Budget.seconds(20), attempt, plain=plain))
        for one in (InputSearch(plain or query, attempt), NeuronSearch(query, Budget.seconds(2), attempt)):
            done = one.advance(Budget.seconds(2))  # each way of splitting alone
            ways += [] if done is None else [done]
        assert all(o.witness is None or holds(tree, list(map(Fraction, [*o.witness.x, *o.witness.y]))) for o in ways)
    verdicts = {str(o.verdict) for o in ways} or {"unsat"}
    if whole.n_disjuncts:
        query, attempt = asked(graph, whole, reduced(graph, whole, Budget()))
        truth = str(decide(query, Budget.seconds(20), attempt).verdict)
    else:
        truth = "unsat"
    assert verdicts == {truth} and truth in ("sat", "unsat")
    if any(holds(tree, list(map(Fraction, [*a, *b]))) for a, b in zip(x.tolist(), y.tolist(), strict=True)):
        assert truth == "sat"


@pytest.mark.parametrize("seed", range(12))
def test_a_planted_counterexample_is_never_refuted(seed: int, monkeypatch: Any) -> None:
    graph, lower, upper, tree, x, y = case(1000 + seed)
    z = np.concatenate([x[0], y[0]])

    def planted(t: Tree, must: bool, rng: np.random.Generator) -> Tree:
        if isinstance(t[0], str):
            one = int(rng.integers(len(t[1])))
            return t[0], [planted(c, must and (t[0] == "and" or k == one), rng) for k, c in enumerate(t[1])]
        a, _ = t
        return a, float(np.round(z @ a + (1e-6 if must else -rng.uniform(0, 0.5)), 7))

    tree = planted(tree, True, np.random.default_rng(seed))
    assert holds(tree, [Fraction(v) for v in z.tolist()])
    prop = read(tree, lower, upper, y.shape[1], 1, monkeypatch)
    r = reduced(graph, prop, Budget())
    assert r.prop.n_disjuncts
    query, _ = asked(graph, prop, r)
    plain = r.plain(HOST) or query
    assert InputSearch(plain, lambda *_: None).advance(Budget.seconds(0.3)) is None
    assert NeuronSearch(query, Budget.seconds(0.3), lambda *_: None).advance(Budget.seconds(0.3)) is None
