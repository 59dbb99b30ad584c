"""A comparison makes a number of what is none: where a root may have no value, nothing behind a step is proved."""

from __future__ import annotations

import numpy as np
import pytest

from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Dense, Scale
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.steps import Step
from verifier.search.budget import Budget
from verifier.search.decide import by_neurons, decide
from verifier.search.query import make_query
from verifier.spec.builders import output_property
from verifier.values.arrays import Place

LINES = {"asin": (-0.8, 1.3), "atanh": (-0.8, 1.3), "acosh": (1.0, 0.6)}
"""Of x, what leaves the domain where x goes below about zero."""


def network(kind: str, p: tuple[float, ...], step: bool) -> Graph:
    """`[f(x) + 30 >= 0]`, or `f(x) + 30`; or with a line of x inside."""
    b = Builder()
    x = b.add(Input((1,)))
    s, t = LINES.get(kind, (1.0, 0.0))
    y = b.add(Curve(kind, p), (b.add(Scale(np.array(s), np.array(t)), (x,)),))
    z = b.add(Dense(np.eye(1), np.array([30.0])), (y,))
    return b.graph([x], [b.add(Dense(np.eye(1), None), (b.add(Step("not_negative"), (z,)) if step else z,))])


@pytest.mark.parametrize("way", [decide, by_neurons])
@pytest.mark.parametrize(("kind", "p"), [("power", (0.5,)), ("power", (1.7,)), ("log", ()), *((k, ()) for k in LINES)])
def test_no_value_is_no_proof(kind: str, p: tuple[float, ...], way: object) -> None:
    """The literal `y <= 0.5` never holds where f is defined; where it is not, onnxruntime's comparison says 0."""
    for low, step, expected in ((-1.0, True, False), (0.5, True, True), (0.5, False, True)):
        prop = output_property(np.array([low]), np.array([1.0]), [[(np.array([1.0]), 0.5)]], "law")
        query = make_query(network(kind, p, step), prop, Place("numpy", "float32"))
        verdict = way(query, Budget.seconds(1.0), lambda x, group: None).verdict.value  # type: ignore[operator]
        assert (verdict == "unsat") == expected, (low, step)
