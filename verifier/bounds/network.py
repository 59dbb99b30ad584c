"""A graph made ready for bounding at one place, and what rounding costs there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from math import prod

import numpy as np

from verifier.graph.graph import Affine, Graph, Input
from verifier.relax import table
from verifier.values.arrays import Array, Place, namespace
from verifier.values.rounding import gamma, tiny, unit
from verifier.values.sparse import is_sparse

UNDERFLOW = -1
"""Key, among the rounding weights of nodes, of what products too small to be represented may cost a whole walk."""


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
    """

    graph: Graph
    place: Place
    absolute: tuple[Affine | None, ...]
    sources: tuple[int, ...]
    terms: tuple[int, ...]

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

    def weight(self, i: int, magnitude: Array) -> Array:
        """The rounding weight of a node: with rows A over it, rounding moves their bounds by at most `|A|·weight`.

        Args:
            i: the input, or a node that rounds.
            magnitude: `[size]`, at least the sum of the magnitudes of the products behind each entry of the node, over
                all domains at hand (for the input: at least |x|).

        Sound because: computing `A' = A·W` errs by at most gamma·|A||W|, entry by entry; as the value that A'
        multiplies is at most m, the bound moves by at most gamma·|A||W|m <= gamma·|A|·magnitude.  Converting W to the
        place's type costs one more unit; 1.03 covers the rounding of magnitude and of the errors' own sum.
        """
        dtype, n = self.place.dtype, self.terms[i]
        return magnitude.reshape(-1) * ((gamma(n, dtype) + unit(dtype)) * 1.03) + n * tiny(dtype)

    def underflow(self, i: int, magnitude: Array) -> Array:
        """What lost products cost at node `i`, to be added up under `UNDERFLOW`: a number.

        Sound because: an entry of `A·W` loses at most one tiny number a product, and multiplies a value that is at
        most the magnitude of the node's input; so does each of the slopes behind it.
        """
        return magnitude.sum() * (2 * self.terms[i] * tiny(self.place.dtype))


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
    sources = sorted({j for n in graph.nodes if not isinstance(n.op, (Affine, Input)) for j in n.inputs})
    return Network(cast, place, absolute, tuple(sources), _terms(graph, len(sources)))  # type: ignore[arg-type]


def _terms(graph: Graph, kinks: int) -> tuple[int, ...]:
    """See `Network.terms`."""
    depth = kinks + 1 + sum(isinstance(n.op, Affine) and not n.op.exact for n in graph.nodes)
    uses = Counter(j for n in graph.nodes for j in n.inputs)  # rows that come from several users are added up
    depth += max(uses.values(), default=0)
    terms = []
    for i, node in enumerate(graph.nodes):
        n = node.size
        if isinstance(node.op, Affine):
            bias = node.op.bias()  # a row multiplies the whole bias into one constant
            n = 0 if bias is None else int((bias != 0).sum()) * (node.size // max(1, prod(bias.shape)))
            n = max(n, node.op.terms(*graph.shapes_in(i)))
        terms.append(n + 2 * depth + 8)
    return tuple(terms)


def magnitudes(
    graph: Graph, lower: np.ndarray, upper: np.ndarray, known: dict[int, tuple[Array, Array]] | None = None
) -> dict[int, np.ndarray]:
    """Upper bounds `[size]` on the sums of magnitudes behind every node's entries, over a box `[n]`.

    Args:
        graph: on numpy, in double precision.
        known: node -> bounds `[1, *shape]` of its value on the box, where there are some.
    """
    size: dict[int, np.ndarray] = {}
    value: dict[int, np.ndarray] = {}  # bounds on |value|, at most size
    for i, node in enumerate(graph.nodes):
        op = node.op
        if isinstance(op, Input):
            size[i] = np.maximum(abs(lower), abs(upper)).reshape(1, *node.shape)
        elif isinstance(op, Affine):
            m = np.asarray(op.absolute().evaluate(*(value[j] for j in node.inputs)))
            size[i] = m * (1 + gamma(max(1, op.terms(*graph.shapes_in(i))) + 2, "float64"))
        else:
            size[i] = value[node.inputs[0]] * max(1.0, abs(getattr(op, "leak", 0.0)))
        value[i] = size[i]
        if known is not None and i in known:
            l, u = (np.asarray(a, np.float64).reshape(1, *node.shape) for a in known[i])
            value[i] = np.minimum(value[i], np.maximum(abs(l), abs(u)))
    return {i: v.reshape(-1) for i, v in size.items()}


def absolute_product(A: Array, w: Array) -> Array:
    """`Σ |A[p, ...]|·w[...]` for rows `[P, *shape]` and a vector `[size]`: `[P]`."""
    if is_sparse(A):
        return abs(A) @ w
    return namespace(A).abs(A).reshape(A.shape[0], prod(A.shape[1:])) @ w
