"""A graph made ready for bounding at one place, and what rounding costs there."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from math import inf, prod
from typing import Protocol

import numpy as np

from verifier.bounds.attention import Attention, attentions
from verifier.graph.graph import Affine, Elementwise, Graph, Input, Operator
from verifier.graph.ops.adjoint import Adjoint, Tangent
from verifier.graph.ops.affine import Add, Dense, Scale
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.moves import Concat, Move, Reshape
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.product import Difference
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.relax import table
from verifier.relax.lines import Lines
from verifier.relax.shapes import domain
from verifier.relax.share import Planes
from verifier.values.arrays import Array, Place, namespace
from verifier.values.errors import ModelError
from verifier.values.rounding import gamma, tiny, unit
from verifier.values.sparse import is_sparse

UNDERFLOW = -1
"""Key, among the rounding weights of nodes, of what products too small to be represented may cost a whole walk."""


class Tick(Protocol):
    """Called between steps; whoever has run out of time raises there."""

    def __call__(self, work: float = 0.0) -> None:
        """So many multiply-adds are due now (told before every walk, by those who know; else none)."""


def nothing(work: float = 0.0) -> None:
    """For those who have all the time in the world."""


@dataclass(frozen=True, eq=False)
class Network:
    """What every bound method reads.

    Attributes:
        graph: one input node; parameters at `place`.
        place: where and how precisely bounds are computed.
        absolute: for each affine node the operator of magnitudes (None elsewhere).  spread: that of |W| itself, where
            magnitudes are larger because W was rounded; the same operator elsewhere.
        feeds: nodes whose value feeds a nonlinear operator.  sources: the same, looked for behind what only moves
            numbers: these need bounds.  Both in topological order.
        by_sign: sources of which only the sign matters: they feed nothing but kinks and jumps at zero.
        passed: of the sources that are read by value by gates alone, these gates: where all of them are decided, the
            value need not be bounded well.  quiet: nodes whose sign gates read: rows over them are mostly zero.
        pair: of the sources that are differences (see `ops.product.Difference`), the two they are the difference of.
        maxima: sums `b + relu(a − b)`, with where a and b are: their intervals are those of the larger of the two.
        log_sums: of these the ones that are `b + softplus(a − b)` instead, `log(exp a + exp b)`.
        attention: inner products of all pairs of rows of two activations, by node.
        fragile: curves that are not defined everywhere, with where they are, if a step or a rectifier hangs on
            them: of no value, a comparison or a maximum makes one (onnxruntime's MaxPool passes NaN over).
        curved: whether some nonlinear operator is no rectifier.
        mixed: sources for which interval arithmetic is not exact, though no nonlinear node lies before them: sums of
            sums of inputs.
        terms: for each node, products behind one entry of it or of its adjoint, plus what relaxing and adding up the
            constant of a row costs.
        tick: called between nodes by everything that walks over them; whoever has run out of time raises there.
    """

    graph: Graph
    place: Place
    absolute: tuple[Affine | None, ...]
    spread: tuple[Affine | None, ...]
    feeds: tuple[int, ...]
    sources: tuple[int, ...]
    by_sign: frozenset[int]
    passed: dict[int, tuple[int, ...]]
    quiet: frozenset[int]
    pair: dict[int, tuple[int, int]]
    maxima: dict[int, tuple[int, int]]
    log_sums: frozenset[int]
    mixed: frozenset[int]
    fragile: dict[int, tuple[float, float]]
    curved: bool
    attention: dict[int, Attention]
    terms: tuple[int, ...]
    tick: Tick = nothing

    @property
    def input(self) -> int:
        """Position of the input node."""
        return self.graph.inputs[0]

    @property
    def output(self) -> int:
        """Position of the output node."""
        return self.graph.outputs[0]

    def open(self, j: int, lower: Array, upper: Array) -> Array:
        """Which entries of a source `[B, *shape]` are worth bounding better."""
        return (lower < 0) & (upper > 0) if j in self.by_sign else lower < upper

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

    def relaxing(self, i: int, relaxed: Lines | Planes, magnitude: Array) -> Array | None:
        """The rounding weight of a nonlinear node, as of `weight`; None for rectifiers.

        Args:
            relaxed: its linear bounds on the domains at hand.
            magnitude: `[1, *input shape]` at least the magnitude of its input there.

        Sound because: a row's coefficient is multiplied by slopes (of which, for softmax, as many are added up as the
        axis is long) and by intercepts, and what it multiplies is at most the sum of their magnitudes.  Rectifiers
        have slopes of at most one and no lower intercept: their single rounding is among the terms of other nodes.
        """
        if isinstance(relaxed, Lines) and relaxed.t_l is None:
            return None
        dtype = self.place.dtype
        if isinstance(relaxed, Planes):
            slopes = _most(relaxed.S_l, relaxed.S_u)
            size = (slopes * magnitude[0][..., None, :]).sum(-1)
        else:
            size = _most(relaxed.s_l, relaxed.s_u) * magnitude[0]
            size = size if size.shape == relaxed.t_u.shape[1:] else size.sum(-1)
        size = size + _most(relaxed.t_l, relaxed.t_u)
        n = self.terms[i]
        return size.reshape(-1) * (gamma(n, dtype) * 1.03) + n * tiny(dtype)

    def underflow(self, i: int, magnitude: Array) -> Array:
        """What lost products cost at node `i`, to be added up under `UNDERFLOW`: a number.

        Sound because: an entry of `A·W` loses at most one tiny number a product, and multiplies a value that is at
        most the magnitude of the node's input; so does each of the slopes behind it.
        """
        return magnitude.sum() * (2 * self.terms[i] * tiny(self.place.dtype))


def _most(a: Array, b: Array) -> Array:
    """The largest magnitude over the batch; infinite ones count in broken domains only, which say nothing."""
    xp = namespace(a)
    size = xp.maximum(xp.abs(a), xp.abs(b))
    return xp.amax(xp.where(xp.isfinite(size), size, 0.0), 0)


def prepare(graph: Graph, place: Place, tick: Tick = nothing) -> Network:
    """Convert a graph to a place (`tick`: see `Network`).

    Raises:
        ModelError: when an operator has neither an adjoint nor a relaxation; the message names the node.
    """
    for node in graph.nodes:
        if not (isinstance(node.op, (Affine, Input)) or table.relaxable(node.op)):
            steep = " with a leak above 1" if isinstance(node.op, (Relu, Gate)) else ""
            what = type(node.op).__name__.lower() + steep
            raise ModelError(f"node {node.name} ({what}): its values cannot be bounded; use another in its place")
    absolute = tuple(n.op.absolute().cast(place.array) if isinstance(n.op, Affine) else None for n in graph.nodes)
    cast = graph.cast(place.array)
    users = {i: n.inputs[0] for i, n in enumerate(graph.nodes) if not isinstance(n.op, (Affine, Input))}
    feeds = tuple(sorted(set(users.values())))
    behind = {j: origins(graph, j) for j in feeds}
    sources = tuple(sorted(set().union(*behind.values())))
    pair = _pairs(graph)
    valued = {i: _by_value(graph, i, behind[j]) for i, j in users.items()}
    wide = set().union(*valued.values())
    wide -= {z for both in pair.values() for z in both if not _wide_elsewhere(graph, z, valued)}
    by_sign = frozenset(set(sources) - wide)
    sums = _sums(graph)
    mixed = frozenset(j for j in sources if sums[j] > 1)
    curved = any(not isinstance(graph.nodes[i].op, Relu) for i in users)
    terms = _terms(graph, len(sources))
    spread = tuple(_spread(n.op) or size for n, size in zip(cast.nodes, absolute, strict=True))
    passed, quiet = _gates(graph, valued)
    log_sums = _sums_with(graph, Curve("softplus"))
    maxima = _sums_with(graph, Relu())
    return Network(
        cast, place, absolute, spread, feeds, sources, by_sign, passed, quiet, pair, log_sums | maxima,  # type: ignore[arg-type]
        frozenset(log_sums.keys() - maxima.keys()), mixed, fragile(graph), curved, attentions(graph), terms, tick,
    )  # fmt: skip


def _pairs(graph: Graph) -> dict[int, tuple[int, int]]:
    """For each node d that a `Difference` gets from nodes z and e, entry by entry: these."""
    found = {}
    for node in graph.nodes:
        triple = graph.nodes[node.inputs[0]] if isinstance(node.op, Difference) else None
        if triple is None or not isinstance(triple.op, Concat) or len(triple.inputs) != 3:
            continue
        z, e, d = (_before_reshapes(graph, j) for j in triple.inputs)
        if not any(isinstance(graph.nodes[j].op, Move) for j in (z, e, d)):
            found[d] = z, e
    return found


def _sums_with(graph: Graph, op: Operator) -> dict[int, tuple[int, int]]:
    """Sums `b + op(a − b)` and where a and b are; written by `graph.passes.maxima` and `convert_reduce.log_sum`."""
    nodes, found = graph.nodes, {}
    for i, node in enumerate(nodes):
        for b, lead in (node.inputs, node.inputs[::-1]) if node.op == Add((1, 1)) else ():
            gap = nodes[nodes[lead].inputs[0]] if nodes[lead].op == op else node
            if gap.op == Add((1, -1)) and gap.inputs[1] == b:
                found[i] = gap.inputs[0], b
    return found


def _before_reshapes(graph: Graph, j: int) -> int:
    while isinstance(graph.nodes[j].op, Reshape):
        (j,) = graph.nodes[j].inputs
    return j


def _wide_elsewhere(graph: Graph, z: int, valued: dict[int, set[int]]) -> bool:
    """Whether a node feeds, besides differences, something of which more than its sign matters."""
    return any(z in behind and not isinstance(graph.nodes[i].op, Difference) for i, behind in valued.items())


def _gates(graph: Graph, valued: dict[int, set[int]]) -> tuple[dict[int, tuple[int, ...]], frozenset[int]]:
    """See `Network.passed` and `Network.quiet`."""
    nodes, passed, quiet = graph.nodes, dict[int, list[int]](), set()
    for i, node in enumerate(nodes):
        pair = nodes[node.inputs[0]] if isinstance(node.op, Gate) else None
        if pair is not None and pair.op == Concat(len(node.shape)) and len(pair.inputs) == 2:
            quiet.add(pair.inputs[1])
            passed.setdefault(_before_reshapes(graph, pair.inputs[0]), []).append(i)
    uses = Counter(j for behind in valued.values() for j in behind)
    alone = {}
    for j, gates in passed.items():
        last = max(nodes[nodes[i].inputs[0]].inputs[1] for i in gates)  # all signs are known before the first gate
        if uses[j] == len(gates) and last < min(gates) and not isinstance(nodes[j].op, Move):
            alone[j] = tuple(gates)
    return alone, frozenset(quiet)


def _by_value(graph: Graph, i: int, behind: set[int]) -> set[int]:
    """Of the nodes behind what the nonlinear node `i` reads, those of which more than the sign matters to it."""
    op, j = graph.nodes[i].op, graph.nodes[i].inputs[0]
    if table.by_sign(op):
        return set()
    part = table.by_value(op)
    if part is None:
        return behind
    mask = np.zeros((1, *graph.nodes[j].shape))
    mask[..., part] = 1
    return origins(graph, j, mask)


def fragile(graph: Graph) -> dict[int, tuple[float, float]]:
    """See `Network.fragile`."""
    stepped: set[int] = set()
    for i in range(len(graph.nodes) - 1, -1, -1):
        if i in stepped or isinstance(graph.nodes[i].op, (Step, Relu, Gate, MaxOf)):
            stepped.update((i, *graph.nodes[i].inputs))
    curves = {i: op for i in stepped if isinstance(op := graph.nodes[i].op, Curve)}
    return {i: ends for i, op in curves.items() if (ends := domain(op)) != (-inf, inf)}


def _spread(op: Operator) -> Affine | None:
    """|W| itself, of an operator that records other magnitudes."""
    if isinstance(op, (Adjoint, Tangent)):
        inner = _spread(op.op)
        return None if inner is None else replace(op, op=inner)
    if not isinstance(op, (Dense, Scale, Conv)) or op.magnitude is None:
        return None
    return replace(op, magnitude=None).absolute()


def _sums(graph: Graph) -> list[int]:
    """For each node, how many nodes on the way from the input add entries up."""
    sums: list[int] = []
    for n in graph.nodes:
        adds = not isinstance(n.op, (Input, Move, Scale, Elementwise))
        sums.append(int(adds) + max((sums[j] for j in n.inputs), default=0) if n.inputs else 0)
    return sums


def origins(graph: Graph, j: int, mask: np.ndarray | None = None) -> set[int]:
    """The nodes whose entries node `j` (or what of it `mask`, `[1, *shape]`, leaves) is made of, by moves alone."""
    op, inputs = graph.nodes[j].op, graph.nodes[j].inputs
    if mask is not None and not mask.any():
        return set()
    if not isinstance(op, Move):
        return {j}
    parts = [None] * len(inputs) if mask is None else op.adjoint(mask, *graph.shapes_in(j))
    return set().union(*(origins(graph, k, part) for k, part in zip(inputs, parts, strict=True)))


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
        elif isinstance(op, Relu):
            size[i] = value[node.inputs[0]] * max(1.0, abs(op.leak))
            if known is not None and node.inputs[0] in known:  # far below zero nothing comes through
                l, u = (np.asarray(a, np.float64).reshape(1, *node.shape) for a in known[node.inputs[0]])
                size[i] = np.fmin(size[i], np.maximum(np.maximum(-l, 0.0) * abs(op.leak) * 1.01, np.maximum(u, 0.0)))
        else:
            j, m = node.inputs[0], value[node.inputs[0]]
            low, high = (-m, m) if known is None or j not in known else known[j]
            ends = (np.asarray(a, np.float64).reshape(1, *graph.nodes[j].shape) for a in (low, high))
            size[i] = np.maximum(*(abs(a) for a in table.image(op, *ends)))
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
