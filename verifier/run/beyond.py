"""Saying which node leaves the range of its type, where that keeps a question from being answered."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifier.graph.ops.fit import WHOLE, Fit, limits
from verifier.search.budget import Budget
from verifier.search.query import Query
from verifier.values.arrays import to_numpy
from verifier.values.errors import PropertyError

PATIENCE = 2.0
"""Seconds that a search may take where some inputs leave a type's range: what becomes of these is hardly ever enough to
refute, and never gets more."""
_POINTS = 256


@dataclass(frozen=True)
class Beyond:
    """A node whose numbers do not all fit its type, as far as bounds can tell.

    Attributes:
        node: its name.  kind: the type.  value: what it comes to at some input of the set, None where none was met.
    """

    node: str
    kind: str
    value: float | None

    def patience(self, budget: Budget) -> Budget:
        """How long a search may go on."""
        return budget if self.value is None else budget.within(PATIENCE)

    def remark(self, model: str) -> str:
        """What stands behind the reason of an open answer.

        Raises:
            PropertyError: some input leaves the range: there is no proof to be had.
        """
        if self.value is None:
            return f"; node '{self.node}' may leave the range of {self.kind}"
        low, high = limits(self.kind)
        ends = f"{low} to {high}" if self.kind in WHOLE else f"up to {high:.4g}"
        wraps = "wraps around" if self.kind in WHOLE else "overflows"
        raise PropertyError(
            f"{model}: node '{self.node}' comes to {self.value:.6g} on the input set, but {self.kind} holds {ends}; "
            f"what is beyond {wraps}: narrow the input set"
        )


@np.errstate(all="ignore")  # what overflows is looked for
def beyond(query: Query) -> Beyond | None:
    """Of the nodes that the rows depend on and that are not known to fit their types, one, rather one that does not."""
    graph = query.graph
    left = [i for i, n in enumerate(graph.nodes) if isinstance(n.op, Fit) and n.op.exact and _matters(query, i)]
    if not left:
        return None
    values = graph.values(_points(query).reshape(-1, *graph.nodes[graph.inputs[0]].shape))
    for i in left:
        op, (j,) = graph.nodes[i].op, graph.nodes[i].inputs
        assert isinstance(op, Fit)
        low, high = (float(v) for v in limits(op.kind))
        out = values[j][(values[j] < low) | (values[j] > high)]
        if out.size:
            return Beyond(graph.nodes[i].name, op.kind, float(out[np.abs(out).argmax()]))
    op = graph.nodes[left[0]].op
    assert isinstance(op, Fit)
    return Beyond(graph.nodes[left[0]].name, op.kind, None)


def _matters(query: Query, i: int) -> bool:
    return i in query.reached and bool(to_numpy(query.reached[i]).any())


def _points(query: Query) -> np.ndarray:
    """Ends, middles and other points of the boxes."""
    rng = np.random.default_rng(0)
    lower, upper = query.lower[:_POINTS], query.upper[:_POINTS]
    share = rng.random((max(4, _POINTS // len(lower)), *lower.shape))
    share[:3] = np.array([0.0, 0.5, 1.0])[:, None, None]
    return np.asarray(np.clip(lower + share * (upper - lower), lower, upper)).reshape(-1, lower.shape[1])
