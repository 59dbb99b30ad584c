"""A question about copies of a network, put in terms of how far apart they are: another form to search in."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifier.bounds.inside import settled
from verifier.bounds.network import Tick, nothing
from verifier.graph import from_onnx
from verifier.graph.graph import Graph
from verifier.graph.passes.runner import simplify
from verifier.run.joint import Joint
from verifier.run.sample import of_property
from verifier.search.query import MOST_SYMBOLS, Query, make_query
from verifier.spec.apart import over_differences
from verifier.spec.property import Property
from verifier.values.arrays import Place


def apart(net: Joint, graph: Graph, prop: Property, place: Place, tick: Tick = nothing) -> Query | None:
    """The question over differences; None where no literal compares two like networks.

    With more varying inputs than forward bounds can follow there is none either: splitting these decides nothing, and
    neurons are split on the networks themselves.

    Args:
        net: the networks; graph: theirs, simplified, which the other one is compared with.
        place: for bulk bounding; tick: see `make_query`.

    Raises:
        UnsoundBound: when both compute something else.
    """
    few = int((prop.lower < prop.upper).any(0).sum()) <= MOST_SYMBOLS
    compared = net.compared if few else None
    over = None if compared is None else over_differences(prop, compared.pairs)
    if compared is None or over is None:
        return None
    both = simplify(compared.graph)
    from_onnx.check(_Expected(graph, compared.pairs), both, of_property(prop))
    return make_query(settled(both, over.lower.min(0), over.upper.max(0)), over, place, tick)


@dataclass(frozen=True, eq=False)
class _Expected:
    """What the graph of differences must compute, in the terms of `from_onnx.check`."""

    graph: Graph
    pairs: np.ndarray

    path = "the difference of two networks"
    input_dtype = "float64"

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One flat input."""
        return (self.graph.nodes[self.graph.inputs[0]].shape,)

    def run(self, x: np.ndarray) -> np.ndarray:
        """Outputs, and what they differ by."""
        (y,) = self.graph.evaluate(x)
        return np.concatenate([y, y[:, self.pairs[:, 1]] - y[:, self.pairs[:, 0]]], 1)
