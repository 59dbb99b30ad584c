"""The network behind what whole numbers of the inputs decide, bounded at many of its inputs at once.

Patches are pasted and boxes computed by moving numbers, which no arithmetic rounds; only then comes a network, the same
for every place.  So what inputs decide is computed for many points as the model computes it, and the network behind is
bounded there, in double precision with its rounding.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from verifier.bounds.point import Pointwise, at_points
from verifier.graph import from_onnx
from verifier.graph.decided import Condition
from verifier.graph.exactly import entries
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.opened import proto_of
from verifier.graph.ops.moves import Reshape, Take
from verifier.graph.passes.runner import simplify
from verifier.spec.property import Property
from verifier.values.arrays import Place
from verifier.values.errors import ModelError
from verifier.values.rounding import gamma

AT_ONCE = 2**20
"""Numbers of the widest node that are bounded at once, so that they stay near the processor."""
CHECKED = 4
"""Points of those that are run together at which the network is compared with the model."""


@dataclass(frozen=True, eq=False)
class Split:
    """A model in two parts: what its inputs decide, and a network that takes that.

    Attributes:
        model: read with all inputs decided; session: of its first part.
        read: the second part on one flat input, on numpy in double precision; net: the same simplified.
        tensors: names of the tensors that the input is made of, one behind the other.
        conditions: what must hold for the first part to be exact.
    """

    model: from_onnx.Model
    session: Any
    read: Graph
    net: Pointwise
    tensors: tuple[str, ...]
    conditions: tuple[Condition, ...]

    def refuted(self, prop: Property, k: int, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Which of the points `x` `[P, n]`, with outputs y, satisfy no disjunct of box k in real arithmetic.

        Sound because: the first part is exact where its conditions hold (see `graph.exactly`), and the rows are bounded
        with their rounding on boxes that are points.
        """
        found = [self._values(point) for point in x]
        sure = np.array([v is not None for v in found])
        if not sure.any():
            return sure
        v = np.array([a for a in found if a is not None])
        from_onnx.check(_At(self.model, self.read, v, y[sure]), self.net.graph, v[:CHECKED], False)
        sure[sure] = _closed(self.net, prop, k, v)
        return sure

    def _values(self, x: np.ndarray) -> np.ndarray | None:
        """What the first part computes at one point; None where it is not exact."""
        shape, names = self.model.input_shapes[0], [o.name for o in self.session.get_outputs()]
        given = {self.model.input_names[0]: x.astype(self.model.input_dtype).reshape(shape)}
        known = {**given, **dict(zip(names, self.session.run(names, given), strict=True))}
        for c in self.conditions:
            inputs = tuple(known.get(n, a) for n, a in zip(c.names, c.inputs, strict=True))
            if not all(entries(c.op, inputs, known[n]).all() for n in c.outputs):
                return None
        flat = np.concatenate([known[n].reshape(-1).astype(np.float64) for n in self.tensors])
        return flat if np.isfinite(flat).all() else None


def split(source: Any, x: np.ndarray) -> Split | None:
    """A model in two parts, read with all its inputs decided at x `[n]`; None where that does not go."""
    try:
        model = from_onnx.load(source, decided=[x], parted=True)
    except ModelError:
        return None
    front = model.front
    if front is None or not front.apart or not front.tensors or len(model.input_names) != 1:
        return None
    built = _behind(model.graph, tuple(front.tensors))
    if built is None:
        return None
    read, tensors = built
    net = Pointwise.of(simplify(read))
    conditions = [c for c in front.conditions if len(c.names) == len(c.inputs)]
    if len(conditions) < len(front.conditions):
        return None
    computed = {o for node in proto_of(source).graph.node for o in node.output}
    names = {*tensors, *(n for c in conditions for n in (*c.outputs, *c.names))} & computed
    if not {*tensors, *(n for c in conditions for n in c.outputs)} <= names:  # the input itself, or inside a branch
        return None
    return Split(model, from_onnx.inner(source, sorted(names)), read, net, tensors, tuple(conditions))


def _behind(graph: Graph, tensors: tuple[str, ...]) -> tuple[Graph, tuple[str, ...]] | None:
    """The graph with the known tensors that it needs as its input, and which these are; None if it needs others."""
    at = {i: node.name for i, node in enumerate(graph.nodes) if node.name in tensors and not _leads(graph, i)}
    order = tuple(dict.fromkeys(at.values()))
    if not at:
        return None
    size = {name: next(graph.nodes[i].size for i, n in at.items() if n == name) for name in order}
    build = Builder()
    x = build.add(Input((sum(size.values()),)), (), "known")
    start = dict(zip(order, np.cumsum([0, *size.values()]), strict=False))
    new: dict[int, int] = {}
    for i, node in enumerate(graph.nodes):
        if i in at:
            part = build.add(Take(np.arange(start[at[i]], start[at[i]] + node.size), (node.size,)), (x,))
            new[i] = build.add(Reshape(node.shape), (part,), node.name)
        elif all(j in new for j in node.inputs) and node.inputs:
            new[i] = build.add(node.op, [new[j] for j in node.inputs], node.name)
    if any(i not in new for i in graph.outputs):
        return None
    flat = [build.add(Reshape((prod(graph.nodes[i].shape),)), (new[i],)) for i in graph.outputs]
    if len(flat) != 1:
        return None
    return build.graph((x,), flat).cast(Place("numpy", "float64").array), order


def _leads(graph: Graph, i: int) -> bool:
    """Whether it is the node of nothing that a known tensor's node reads."""
    return any(node.name == graph.nodes[i].name and i in node.inputs for node in graph.nodes)


@np.errstate(all="ignore")  # what overflows refutes nothing
def _closed(net: Pointwise, prop: Property, k: int, v: np.ndarray) -> np.ndarray:
    """At which inputs `[P, N]` of the network every disjunct of box k has a literal that interval bounds refute."""
    closed = np.zeros(len(v), bool)
    for shared in (True, False):  # nearly all are far from any literal
        left = np.flatnonzero(~closed)
        step = max(1, AT_ONCE // max(node.size for node in net.graph.nodes))
        for at in range(0, len(left), step):
            some = left[at : at + step]
            closed[some] = _refuted(prop, k, *at_points(net, v[some], shared))
    return closed


def _refuted(prop: Property, k: int, lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """At which points with outputs within bounds `[P, m]` every disjunct of box k has a literal that these refute."""
    closed = np.ones(len(lower), bool)
    for j in np.flatnonzero(prop.box == k):
        ids = prop.literals(int(j))
        A, d = prop.A_y[ids], prop.d[ids]
        terms = np.where(A != 0, A * np.where(A > 0, lower[:, None], upper[:, None]), 0.0)
        slack = gamma(A.shape[1] + 8, "float64") * (np.abs(terms).sum(2) + np.abs(d))
        closed &= (terms.sum(2) - d - slack > 0).any(1)
    return closed


@dataclass(frozen=True, eq=False)
class _At:
    """What the second part must compute, in the terms of `from_onnx.check`: known at some points."""

    model: from_onnx.Model
    graph: Graph
    v: np.ndarray
    y: np.ndarray

    @property
    def path(self) -> Path | str:
        """The model's."""
        return self.model.path

    @property
    def input_dtype(self) -> str:
        """The model's."""
        return self.model.input_dtype

    def run(self, x: np.ndarray) -> np.ndarray:
        """The outputs at the first of the points."""
        return self.y[: len(x)]
