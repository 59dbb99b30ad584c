"""A question without clauses, and which of the property's disjuncts each of its own comes from."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from verifier.bounds.propagate import Tick, nothing
from verifier.graph.graph import Graph
from verifier.search.budget import Budget
from verifier.search.outcome import Open
from verifier.search.query import Nested, Query, make_query
from verifier.spec.property import Property
from verifier.values.arrays import Place


@dataclass(frozen=True, eq=False)
class Reduced:
    """A question without clauses.

    Attributes:
        graph: the network, its outputs followed by what clauses have become.
        prop: over that; it holds wherever the property it was made of does.
        origin: `[J]` which disjunct of that property each one comes from.
        nested: rows of the property that are made of others, if any.
        bare: the network as it was, where some clauses have become outputs.
    """

    graph: Graph
    prop: Property
    origin: np.ndarray
    nested: Nested | None = None
    bare: Graph | None = None

    def plain(self, place: Place, tick: Tick = nothing) -> Query | None:
        """The question for splits of inputs: clauses are decided by their literals alone, which become true or false
        with smaller boxes; so nothing has to be bounded that the network does not have.  None where that is the same.
        """
        if self.bare is None or self.nested is None:
            return None
        m = self.bare.nodes[self.bare.outputs[0]].size
        prop = replace(self.prop, A_y=self.prop.A_y[:, :m])
        return make_query(self.bare, prop, place, tick, replace(self.nested, alone=True))

    def told(self, rest: tuple[Open, ...]) -> tuple[Open, ...]:
        """What is open, by disjuncts of the property that was asked."""
        found: dict[int, Open] = {}
        for o in rest:
            j = int(self.origin[o.disjunct])
            before = found.get(j)
            parts = o.parts + (before.parts if before else 0)
            worst = o if before is None or o.gap > before.gap else before
            found[j] = replace(worst, disjunct=j, parts=parts)
        return tuple(sorted(found.values(), key=lambda o: -o.gap))


def reduced(graph: Graph, prop: Property, budget: Budget) -> Reduced:
    """The question with its clauses put into the network (see `run.clauses`); as it is, where it has none.

    Args:
        graph: one input, one output, in double precision on numpy, all operators boundable.
    """
    if prop.clauses is None:
        return Reduced(graph, prop, np.arange(prop.n_disjuncts))
    from verifier.run.clauses import made  # only here: hardly any property has clauses

    return made(graph, prop, budget)
