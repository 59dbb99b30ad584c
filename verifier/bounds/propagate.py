"""One walk down the network: every pre-activation bounded as well as it is known, before it is relaxed."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod

from verifier.bounds.backward import backward
from verifier.bounds.forward import Form, concretize, input_form, through_affine, through_lines
from verifier.bounds.network import UNDERFLOW, Network
from verifier.graph.graph import Affine, Input
from verifier.graph.ops.affine import Dense
from verifier.relax import table
from verifier.relax.relu import Lines
from verifier.values import sparse
from verifier.values.arrays import Array, namespace
from verifier.values.rounding import gamma

Tick = Callable[[], None]


def nothing() -> None:
    """For those who have all the time in the world."""


@dataclass(frozen=True)
class Boxes:
    """B boxes over the n inputs: `lower`, `upper` `[B, n]`, `center`, `radius` enclosing them.

    `symbols` is `[k]`: the inputs that get a symbol in forward forms; what else varies is kept as an interval.
    """

    lower: Array
    upper: Array
    center: Array
    radius: Array
    symbols: Array


def boxes(lower: Array, upper: Array, symbols: Array, dtype: str) -> Boxes:
    """Centers and radii, the radius rounded up so that `center ± radius` encloses the box."""
    xp = namespace(lower)
    center = lower * 0.5 + upper * 0.5
    radius = xp.maximum(upper - center, center - lower)
    return Boxes(lower, upper, center, radius * (1 + gamma(2, dtype)), symbols)


@dataclass(frozen=True)
class Bounds:
    """What one walk knows about B domains.

    Attributes:
        interval: source node -> lower and upper bounds `[B, *shape]` of its value.
        relaxed: nonlinear node -> its lines.
        forms: node -> forward form, for the nodes asked for.
        symbols: `[k]` the inputs whose symbols the forms keep.
        magnitude: node -> `[1, *shape]`: see `Network.weight`, for these domains.
    """

    interval: dict[int, tuple[Array, Array]]
    relaxed: dict[int, Lines]
    forms: dict[int, Form]
    symbols: Array
    magnitude: dict[int, Array]

    def weights(self, net: Network) -> dict[int, Array]:
        """Rounding weights at another network's place (the same graph)."""
        weight: dict[int, Array] = {UNDERFLOW: 0.0}
        for i, m in self.magnitude.items():
            here = net.place.array(m, net.place.dtype)
            weight[UNDERFLOW] = weight[UNDERFLOW] + net.underflow(i, here)
            if i == net.input or net.rounds(i):
                weight[i] = net.weight(i, here)
        return weight


def propagate(
    net: Network,
    box: Boxes,
    sign: dict[int, Array] | None,
    keep: set[int],
    critical: dict[int, Array] | None,
    chunk: int,
    known: dict[int, tuple[Array, Array]] | None = None,
    tick: Tick = nothing,
) -> Bounds:
    """Bound every source and relax every nonlinear node, in topological order.

    Args:
        net: the network.
        box: the domains.
        sign: source -> `[B, *shape]` int8: +1 where the value is known to be >= 0, -1 where <= 0, else 0.
        keep: nodes whose forward form is wanted.
        critical: source -> `[B, *shape]` boolean: which undecided entries the backward walk bounds, too (all of a
            source that is missing); None for the forward walk only.
        chunk: how many numbers one block of backward rows may hold.
        known: source -> bounds `[1, *shape]` that hold on every domain.
        tick: called between blocks of rows; whoever has run out of time raises there.
    """
    xp, nodes, dtype = namespace(box.lower), net.graph.nodes, net.place.dtype
    last = {j: i for i, n in enumerate(nodes) for j in n.inputs}
    forms: dict[int, Form] = {}
    interval: dict[int, tuple[Array, Array]] = {}
    relaxed: dict[int, Lines] = {}
    magnitude: dict[int, Array] = {}
    weight: dict[int, Array] = {UNDERFLOW: 0.0}
    for i, node in enumerate(nodes):
        if isinstance(node.op, Input):
            forms[i] = input_form(net, box.center, box.radius, box.symbols)
            magnitude[i] = _largest(box.lower, box.upper).reshape(1, *node.shape)
            weight[i] = net.weight(i, magnitude[i])
        elif isinstance(node.op, Affine):
            absolute = net.absolute[i]
            assert absolute is not None
            magnitude[i] = absolute.evaluate(*(magnitude[j] for j in node.inputs))
            if not node.op.exact:
                weight[i] = net.weight(i, magnitude[i])
            if i in last or i in keep:
                forms[i] = through_affine(net, i, [forms[j] for j in node.inputs])
        else:
            (j,) = node.inputs
            if j not in interval:
                l, u = concretize(forms[j], dtype)
                if known is not None:
                    l, u = xp.maximum(l, known[j][0]), xp.minimum(u, known[j][1])
                if sign is not None:
                    l = xp.where(sign[j] > 0, xp.maximum(l, 0.0), l)
                    u = xp.where(sign[j] < 0, xp.minimum(u, 0.0), u)
                if critical is not None and relaxed:
                    l, u = tighten(net, box, weight, relaxed, j, l, u, critical.get(j), chunk, tick)
                interval[j] = (l, u)
            relaxed[i] = table.lines(node.op, *interval[j])
            magnitude[i] = _largest(*table.image(node.op, *interval[j]))[None]
            forms[i] = through_lines(forms[j], relaxed[i], dtype)
        weight[UNDERFLOW] = weight[UNDERFLOW] + net.underflow(i, magnitude[i])
        for j in set(node.inputs):
            if last[j] == i and j not in keep:
                forms.pop(j, None)
    return Bounds(interval, relaxed, {i: forms[i] for i in keep}, box.symbols, magnitude)


def _largest(lower: Array, upper: Array) -> Array:
    """Of intervals `[B, *shape]`, the largest magnitude over the batch: `[*shape]`."""
    xp = namespace(lower)
    return xp.maximum(-xp.amin(lower, 0), xp.amax(upper, 0))


def tighten(  # noqa: PLR0913
    net: Network,
    box: Boxes,
    weight: dict[int, Array],
    relaxed: dict[int, Lines],
    j: int,
    l: Array,
    u: Array,
    wanted: Array | None,
    chunk: int,
    tick: Tick = nothing,
) -> tuple[Array, Array]:
    """Bounds of node `j` with every undecided entry bounded by the backward walk on both sides."""
    xp, (B, *shape) = namespace(l), l.shape
    flat_l, flat_u = l.reshape(B, -1), u.reshape(B, -1)
    undecided = (flat_l < 0) & (flat_u > 0)
    pairs = xp.flatnonzero(undecided if wanted is None else undecided & wanted.reshape(B, -1))
    if len(pairs) == 0:
        return l, u
    size = flat_l.shape[1]
    if len(shape) > 1:  # neighbours together: their rows see the same part of an image
        pairs = pairs[xp.argsort(pairs // size * size + pairs % prod(shape[1:]))]
    low, up = flat_l.reshape(-1), flat_u.reshape(-1)
    width = (
        1
        if sparse.is_sparse(getattr(net.graph.nodes[j].op, "W", None))
        else max(n.size for n in net.graph.nodes[: j + 1])
    )
    block = max(64, chunk // (2 * width))
    for at in range(0, len(pairs), block):
        tick()
        p = pairs[at : at + block]
        owner, neuron = p // size, p % size
        lb = lower_bounds(net, box, weight, relaxed, j, neuron, owner)
        lb = xp.where(xp.isfinite(lb), lb, -xp.inf)  # what has overflowed says nothing
        half = len(p)
        low[p] = xp.maximum(low[p], lb[:half])
        up[p] = xp.minimum(up[p], -lb[half:])
    return low.reshape(B, *shape), up.reshape(B, *shape)


def lower_bounds(
    net: Network,
    box: Boxes,
    weight: dict[int, Array],
    relaxed: dict[int, Lines],
    j: int,
    neuron: Array,
    owner: Array,
) -> Array:
    """Lower bounds of `+value` and then of `−value` of entries of node `j`: `[2P]`."""
    xp = namespace(box.lower)
    twice = xp.concatenate([owner, owner])
    op, node = net.graph.nodes[j].op, net.graph.nodes[j]
    if isinstance(op, Dense) and node.size == op.W.shape[0]:
        W, zero = op.W[neuron], box.lower[:1, 0] * 0
        if sparse.is_sparse(W):
            A = sparse.settle(sparse.both_signs(W))
        else:
            A = xp.concatenate([W, -W])
        if not sparse.is_sparse(A):
            A = A.reshape(len(twice), *net.graph.nodes[node.inputs[0]].shape)
        b = xp.broadcast_to(zero, twice.shape) if op.b is None else xp.concatenate([op.b[neuron], -op.b[neuron]])
        start = {node.inputs[0]: A}
        error = xp.concatenate([weight[j][neuron]] * 2)
    else:
        P = len(neuron)
        A = xp.broadcast_to((box.lower[:1, :1] * 0), (2 * P, node.size))
        A = A.copy() if hasattr(A, "copy") else A.clone()
        rows = xp.arange(P)
        A[rows, neuron], A[rows + P, neuron] = 1, -1
        start, b, error = {j: A.reshape(2 * P, *node.shape)}, A[:, 0] * 0, A[:, 0] * 0
    planes = backward(net, weight, relaxed, start, b, twice)
    value = xp.einsum("pn,pn->p", planes.A, box.center[twice]) + planes.b
    value = value - xp.einsum("pn,pn->p", xp.abs(planes.A), box.radius[twice])
    return value - planes.error - error
