"""How far kernels of float32 may be off on a box, where a number is rounded to a code next."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verifier.bounds.network import magnitudes
from verifier.graph.graph import Affine, Graph, Node
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.fit import Fit
from verifier.graph.ops.near import Near
from verifier.graph.ops.product import Dot, Product, Share
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.relax import shapes
from verifier.values.arrays import Array
from verifier.values.rounding import gamma

_CODES = 256.0
"""A scale is multiplied by no more than so many codes, where only the rest that rounding adds stands in the graph."""
_UP = 1 + 1e-6
"""More than what these sums round themselves, and what is lost where they become float32."""

Intervals = dict[int, tuple[Array, Array]]


@np.errstate(all="ignore")  # what is not finite says that nothing is known
def known_off(graph: Graph, lower: np.ndarray, upper: np.ndarray, interval: Intervals | None) -> Graph:
    """The network with numbers for what kernels err by on a box `[n]`, in the place of `Near`s that know none.

    Args:
        graph: on numpy, in double precision; interval: bounds of nodes on the box, where there are some.

    Sound because: a kernel's sum errs by at most `gamma` of all roundings on the way times the magnitudes of what is
    added up, whatever the order (`values.rounding`); the error of what it reads passes through linear operators by
    their magnitudes, through products by the other factor's, through curves by their steepest slope on the box, and
    through anything else by no more than twice the largest value.  Codes are the same on both sides: which one it is
    stays open at the `Near` before them.
    """
    if not any(isinstance(node.op, Near) and node.op.off is None for node in graph.nodes):
        return graph
    size = magnitudes(graph, lower, upper, interval)
    value = [_value(size[i], (interval or {}).get(i)).reshape(node.shape) for i, node in enumerate(graph.nodes)]
    nodes = list(graph.nodes)
    for i, node in enumerate(nodes):
        if isinstance(node.op, Near) and node.op.off is None:
            (j,) = node.inputs
            error = _Errors(graph, value, interval or {}, gamma(node.op.terms + 1, "float32")).at(j)
            off = (error + node.op.coding(value[j])) * _UP
            nodes[i] = replace(node, op=replace(node.op, off=np.where(np.isnan(off), np.inf, off)))
    return replace(graph, nodes=tuple(nodes))


def _value(size: np.ndarray, interval: tuple[Array, Array] | None) -> np.ndarray:
    if interval is None:
        return size
    low, high = (np.asarray(a, np.float64).reshape(-1) for a in interval)
    return np.fmin(size, np.maximum(abs(low), abs(high)))


Error = tuple[np.ndarray, np.ndarray]
"""Of a node's entries the magnitudes behind them, which are rounded, and what they are off by besides that."""


@dataclass(frozen=True)
class _Errors:
    """What nodes may be off by, `[*shape]` each, since the codes before them; see `known_off`.

    Attributes:
        value: the largest magnitude of each node's entries.
        rounding: relative to the magnitudes behind a node, all roundings on the way.
    """

    graph: Graph
    value: list[np.ndarray]
    interval: Intervals
    rounding: float

    def at(self, y: int) -> np.ndarray:
        """Of node y."""
        nodes, stack, needed = self.graph.nodes, [y], set[int]()
        while stack:
            i = stack.pop()
            if i not in needed:
                needed.add(i)
                stack += () if _exact(nodes[i]) else nodes[i].inputs
        found: dict[int, Error] = {}
        for i in sorted(needed):
            found[i] = self._exactly(i) if _exact(nodes[i]) else self._behind(i, [found[j] for j in nodes[i].inputs])
        return self._total(found[y])

    def _exactly(self, i: int) -> Error:
        """Of what rounding adds to a code count the codes: a scale is multiplied by these."""
        op = self.graph.nodes[i].op
        rest = isinstance(op, Step) and op.kind == "rest"
        return self.value[i] + (_CODES if rest else 0.0), np.zeros(self.value[i].shape)

    def _total(self, e: Error) -> np.ndarray:
        return self.rounding * e[0] + e[1]

    def _behind(self, i: int, e: list[Error]) -> Error:
        """Of node i, where what it reads is off by e."""
        op: Any = self.graph.nodes[i].op
        size, off = e[0]
        if isinstance(op, Affine):
            A = op.absolute()
            return A.evaluate(*(m[None] for m, _ in e))[0], A.linear(*(f[None] for _, f in e))[0]
        if isinstance(op, (Product, Dot)):
            return self._multiplied(op, size, off)
        if isinstance(op, Relu):
            return size * max(1.0, abs(op.leak)), off * max(1.0, abs(op.leak))
        if isinstance(op, (Near, Step)):
            return size, off
        if isinstance(op, Fit):
            return size, off + 2 * (op.error[0] * self.value[i] + op.error[1])
        return self.value[i], np.fmin(self._smooth(i, size, self._total(e[0])), 2 * self.value[i])

    def _multiplied(self, op: Product | Dot, size: np.ndarray, off: np.ndarray) -> Error:
        k = 1 if isinstance(op, Product) else size.shape[-1] // 2
        a, b, ea, eb = size[..., :k], size[..., k:], off[..., :k], off[..., k:]
        return (a * b).sum(-1), ((1 + self.rounding) * (a * eb + b * ea) + ea * eb).sum(-1)

    def _smooth(self, i: int, size: np.ndarray, e: np.ndarray) -> np.ndarray:
        """Of a curve or a softmax whose argument is off by e; infinite where nothing is known."""
        node, g = self.graph.nodes[i], self.rounding
        (j,) = node.inputs
        if isinstance(node.op, Share):
            return np.broadcast_to(np.expm1(2 * e.max() + g * (2 * size.max() + 8)), node.shape)
        if not isinstance(node.op, Curve):
            return np.full(node.shape, np.inf)
        m = self.value[j]
        low, high = (np.asarray(a, float).reshape(m.shape) for a in self.interval.get(j, (-m, m)))
        return np.asarray(_steepest(node.op, low - e, high + e) * e + g * (self.value[i] + m + 1))


def _exact(node: Node) -> bool:
    """Whether a node's numbers are exact: inputs, and steps that do not pass on what they read."""
    return not node.inputs or (isinstance(node.op, Step) and node.op.kind != "threshold")


def _steepest(f: Curve, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """The largest magnitude of a curve's slope between two numbers: at an end of a piece of one bend, or at theirs."""
    best = np.maximum(abs(f.slope(low)), abs(f.slope(high)))
    for piece in shapes.pieces(f, low, high):
        for end in (piece.start, piece.end):
            z = np.clip(end, low, high)
            best = np.maximum(best, abs(f.slope(z)))
    for kink in shapes.kinks(f):
        for side in (-np.inf, np.inf):
            best = np.maximum(best, abs(f.slope(np.clip(np.nextafter(kink, side), low, high))))
    return np.where(np.isfinite(best), best * 1.001, np.inf)
