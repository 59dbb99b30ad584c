"""A graph made ready for bounding at one place: parameters converted, magnitudes at hand, rounding weights computed."""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import prod

import numpy as np

from verifier.graph.graph import Affine, Graph, Input
from verifier.relax import table
from verifier.values.arrays import Array, Place, namespace
from verifier.values.sparse import is_sparse
from verifier.values.rounding import gamma, tiny, unit


@dataclass(frozen=True, eq=False)
class Network:
    """What every bound method reads.

    Attributes:
        graph: one input node; parameters at `place`.
        place: where and how precisely bounds are computed.
        absolute: for each affine node the operator of magnitudes (None elsewhere).
        sources: nodes whose value feeds a nonlinear operator, in topological order: these need bounds.
        terms: for each node, products behind one entry of it or of its adjoint, plus what relaxing and adding up the
            constant of a row costs.
        weight: for each node that rounds, and for the input, `[size]`: with rows A at the node, |A|·weight bounds
            what rounding the row's walk through that node can change its bound by.  Empty until `with_range`.
    """

    graph: Graph
    place: Place
    absolute: tuple[Affine | None, ...]
    sources: tuple[int, ...]
    terms: tuple[int, ...]
    weight: dict[int, Array]

    @property
    def input(self) -> int:
        """Position of the input node."""
        return self.graph.inputs[0]

    @property
    def output(self) -> int:
        """Position of the output node."""
        return self.graph.outputs[0]

    def rounds(self, i: int) -> bool:
        """Whether node `i` is affine and evaluating it rounds."""
        op = self.graph.nodes[i].op
        return isinstance(op, Affine) and not op.exact

    def with_range(self, magnitudes: dict[int, np.ndarray]) -> Network:
        """The network with rounding weights for a whole search.

        `magnitudes[i]` is `[size]`, in double precision: an upper bound, over every box that will be bounded, on the
        sum of the magnitudes of the products behind each entry of node i (for the input, on |x| itself).

        Sound because: computing `A' = A·W` errs by at most gamma·|A||W| entry by entry; as the true value that A'
        multiplies is at most m, the bound moves by at most gamma·|A||W|m <= gamma·|A|·magnitude.  The factor 1.02
        covers the rounding of the error's own sum, conversion of W to `place.dtype` one more unit.
        """
        dtype = self.place.dtype
        weight = {}
        for i, m in magnitudes.items():
            if i == self.input or self.rounds(i):
                n = self.terms[i]
                w = np.asarray(m, np.float64).reshape(-1) * (gamma(n, dtype) + unit(dtype)) * 1.02 + n * tiny(dtype)
                weight[i] = self.place.array(np.nextafter(w.astype(dtype), np.inf, dtype=dtype))
        return replace(self, weight=weight)


def prepare(graph: Graph, place: Place) -> Network:
    """Convert a graph to a place.

    Raises:
        TypeError: when an operator has neither an adjoint nor a relaxation; the message names the node.
    """
    for node in graph.nodes:
        if not (isinstance(node.op, (Affine, Input)) or table.relaxable(node.op)):
            raise TypeError(f"no bounds for node {node.name} ({type(node.op).__name__})")
    absolute = tuple(n.op.absolute().cast(place.array) if isinstance(n.op, Affine) else None for n in graph.nodes)
    cast = graph.cast(place.array)
    sources = sorted(
        {j for n in graph.nodes if not isinstance(n.op, (Affine, Input)) for j in n.inputs}
    )
    return Network(cast, place, absolute, tuple(sources), _terms(graph, len(sources)), {})  # type: ignore[arg-type]


def _terms(graph: Graph, kinks: int) -> tuple[int, ...]:
    """See `Network.terms`."""
    depth = kinks + 1 + sum(isinstance(n.op, Affine) and not n.op.exact for n in graph.nodes)
    terms = []
    for i, node in enumerate(graph.nodes):
        n = node.size
        if isinstance(node.op, Affine):
            bias = node.op.bias()  # a row multiplies the whole bias into one constant
            n = 0 if bias is None else int((bias != 0).sum()) * (node.size // max(1, prod(bias.shape)))
            n = max(n, node.op.terms(*graph.shapes_in(i)))
        terms.append(n + 2 * depth + 8)
    return tuple(terms)


def magnitudes(graph: Graph, lower: np.ndarray, upper: np.ndarray, bounds: dict[int, tuple[Array, Array]]) -> dict:
    """Upper bounds on the sums of magnitudes behind every node, for `Network.with_range`.

    Args:
        graph: in double precision on numpy.
        lower, upper: `[n]` a box around everything that will be bounded.
        bounds: for nonlinear operators' input nodes, bounds `[size]` known there (tighter than magnitudes allow).

    Returns: node -> `[size]`, not rounded up by more than double precision needs.
    """
    out: dict[int, np.ndarray] = {}
    value: dict[int, np.ndarray] = {}
    for i, node in enumerate(graph.nodes):
        op = node.op
        if isinstance(op, Input):
            m = np.maximum(abs(lower), abs(upper)).reshape(1, *node.shape)
        elif isinstance(op, Affine):
            m = op.absolute().evaluate(*(value[j] for j in node.inputs))
            m = np.asarray(m) * (1 + gamma(max(1, op.terms(*graph.shapes_in(i))) + 2, "float64"))
        else:
            m = value[node.inputs[0]] * max(1.0, abs(getattr(op, "leak", 0.0)))
        out[i] = m.reshape(-1)
        value[i] = m
        if i in bounds:
            l, u = (np.asarray(a, np.float64).reshape(m.shape) for a in bounds[i])
            value[i] = np.minimum(m, np.maximum(abs(l), abs(u)))
    return out


def absolute_product(A: Array, w: Array) -> Array:
    """`Σ |A[p, ...]|·w[...]` for rows `[P, *shape]` and a vector `[size]`: `[P]`."""
    if is_sparse(A):
        return abs(A) @ w
    return namespace(A).abs(A).reshape(A.shape[0], prod(A.shape[1:])) @ w
