"""What a counterexample does to the constraints of its property, in words and numbers."""

from __future__ import annotations

import numpy as np

from verifier.spec.property import Array, Property
from verifier.spec.query2 import Query2, entry_name
from verifier.spec.witness import Witness, satisfies

MOST = 12
"""Constraints that are told of one counterexample."""
LOOK = 2000
"""Disjuncts that are looked through for one that holds."""
TERMS = 6
"""Terms of a sum that are written out."""


def constraints(question: Property | Query2, witness: Witness) -> list[str]:
    """The comparisons of the disjunct that a counterexample satisfies, each with its two sides as they came out.

    They describe what must not happen: `Y_2 >= Y_0  (0.61 >= 0.35)`.  None where the disjunct is not found again.
    """
    names_x, names_y, prop, x = _names(question, witness)
    y = np.concatenate([witness.y, np.zeros(prop.n_outputs - len(witness.y))])  # products come last
    base = np.concatenate([x, witness.y])
    for k, product in enumerate(prop.monomials):
        y[len(witness.y) + k] = base[list(product)].prod()
    some = (witness.disjunct, *range(min(prop.n_disjuncts, LOOK)))  # the number may be another's after a division
    j = next((j for j in some if _holds(prop, j, x, y)), None)
    if j is None:
        return []
    ids = prop.literals(j).tolist()
    told = [_literal(prop, i, x, y, names_x, names_y) for i in ids[:MOST]]
    return told + ([f"… and {len(ids) - MOST:,} more"] if len(ids) > MOST else [])


def _holds(prop: Property, j: int, x: Array, y: Array) -> bool:
    return j < prop.n_disjuncts and satisfies(prop, j, x, y)


def _names(question: Property | Query2, witness: Witness) -> tuple[list[str], list[str], Property, Array]:
    """What inputs and outputs are called, the property over them, and its inputs."""
    if isinstance(question, Property):
        names = [[f"{letter}_{i}" for i in range(n)] for letter, n in (("X", len(witness.flat)), ("Y", len(witness.y)))]
        return names[0], names[1], question, witness.flat
    first = np.unique(question.expand, return_index=True)[1]
    inputs = [entry_name(question.networks, int(i)) for i in first]
    outputs = [v.entry(i) for net in question.networks for v in net.results for i in range(v.size)]
    every = [*inputs, *outputs]
    products = ["*".join(every[i] for i in m) for m in question.property.monomials]
    return inputs, outputs + products, question.property, witness.flat[first]


def _literal(prop: Property, i: int, x: Array, y: Array, names_x: list[str], names_y: list[str]) -> str:
    """`A·(x, y) <= d`, what is negative brought to the other side."""
    some = [(float(prop.A_y[i, k]), names_y[k], float(y[k])) for k in np.flatnonzero(prop.A_y[i])]
    if prop.A_x is not None:
        some += [(float(prop.A_x[i, k]), names_x[k], float(x[k])) for k in np.flatnonzero(prop.A_x[i])]
    d = float(prop.d[i])
    less, more = [t for t in some if t[0] > 0], [(-c, name, v) for c, name, v in some if c < 0]
    a, b = (sum(c * v for c, _, v in side) for side in (less, more))
    below, above = ("<", ">") if prop.strict[i] else ("<=", ">=")
    if not more:
        return f"{_sum(less, 0.0)} {below} {d:.6g}  ({a:.6g} {below} {d:.6g})"
    if not less:
        return f"{_sum(more, 0.0)} {above} {-d:.6g}  ({b:.6g} {above} {-d:.6g})"
    high, low = max(d, 0.0), max(-d, 0.0)
    return f"{_sum(more, high)} {above} {_sum(less, low)}  ({b + high:.6g} {above} {a + low:.6g})"


def _sum(terms: list[tuple[float, str, float]], constant: float) -> str:
    words = [name if c == 1 else f"{c:.6g} {name}" for c, name, _ in terms[:TERMS]]
    words += ["…"] * (len(terms) > TERMS) + [f"{constant:.6g}"] * (constant != 0 or not terms)
    return " + ".join(words)
