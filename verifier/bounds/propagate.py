"""One walk down the network: every pre-activation bounded as well as it is known, before it is relaxed."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from verifier.bounds.backward import backward
from verifier.bounds.forward import (
    Form,
    concretize,
    input_form,
    through_affine,
    through_interval,
    through_lines,
)
from verifier.bounds.network import UNDERFLOW, Network, Tick, nothing
from verifier.graph.graph import Affine, Input, Node
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.fit import Fit
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.moves import Move
from verifier.graph.ops.near import Near
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.relax import difference, gate, table
from verifier.relax.lines import Lines
from verifier.relax.share import Planes
from verifier.values import sparse
from verifier.values.arrays import Array, counting, namespace
from verifier.values.hoelder import Balls
from verifier.values.rounding import dtype_of, gamma, unit
from verifier.values.sets import InputSet


@dataclass(frozen=True)
class Boxes:
    """B boxes over the n inputs: `lower`, `upper` `[B, n]`, `center`, `radius` enclosing them.

    `symbols` is `[k]`: the inputs that get a symbol in forward forms; what else varies is kept as an interval.
    `ball`: what all of them are cut to (or each to its own); rows walked back are bounded in it,
    too.
    """

    lower: Array
    upper: Array
    center: Array
    radius: Array
    symbols: Array
    ball: InputSet | Balls | None = None


def boxes(lower: Array, upper: Array, symbols: Array, dtype: str, ball: InputSet | Balls | None = None) -> Boxes:
    """Centers and radii, the radius rounded up so that `center ± radius` encloses the box."""
    xp = namespace(lower)
    center = lower * 0.5 + upper * 0.5
    radius = xp.maximum(upper - center, center - lower)
    return Boxes(lower, upper, center, radius * (1 + gamma(2, dtype)), symbols, ball)


@dataclass(frozen=True)
class Bounds:
    """What one walk knows about B domains.

    Attributes:
        interval: node -> lower and upper bounds `[B, *shape]` of its value, for sources and feeds.
        relaxed: nonlinear node -> its linear bounds.
        image: nonlinear node, or the sum that makes a maximum -> an interval `[B, *shape]` of its values.
        forms: node -> forward form, for the nodes asked for.
        symbols: `[k]` the inputs whose symbols the forms keep.
        magnitude: node -> `[1, *shape]`: see `Network.weight`, for these domains, broken ones left out.
        broken: `[B]` domains on which some value is not known to be finite (a pole lies in its interval): rows walked
            back say nothing there.
    """

    interval: dict[int, tuple[Array, Array]]
    relaxed: dict[int, Lines | Planes]
    image: dict[int, tuple[Array, Array]]
    forms: dict[int, Form]
    symbols: Array
    magnitude: dict[int, Array]
    broken: Array | None = None

    def weights(self, net: Network, relaxed: dict[int, Lines | Planes] | None = None) -> dict[int, Array]:
        """Rounding weights at another network's place (the same graph), for linear bounds made there."""
        weight: dict[int, Array] = {UNDERFLOW: 0.0}
        here = {i: net.place.array(m, net.place.dtype) for i, m in self.magnitude.items()}
        for i, m in here.items():
            weight[UNDERFLOW] = weight[UNDERFLOW] + net.underflow(i, m)
            if i == net.input or net.rounds(i):
                weight[i] = net.weight(i, m)
        for i, lines in (self.relaxed if relaxed is None else relaxed).items():
            own = net.relaxing(i, lines, here[net.graph.nodes[i].inputs[0]])
            if own is not None:
                weight[i] = own
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
        critical: source -> `[B, *shape]` or `[1, *shape]` boolean: which undecided entries the backward walk bounds,
            too (all of a source that is missing); None for the forward walk only.
        chunk: how many numbers one block of backward rows may hold.
        known: source -> bounds `[1, *shape]` that hold on every domain.
        tick: called between blocks of rows; whoever has run out of time raises there.
    """
    net.tick(net.graph.effort(len(box.lower) * (len(box.symbols) + 2)))
    down = _Down(net, box, sign, keep, critical, chunk, known, tick)
    for i, node in enumerate(net.graph.nodes):
        down.visit(i, node)
    forms = {i: down.forms[i] for i in keep}
    return Bounds(down.interval, down.relaxed, down.image, forms, box.symbols, down.magnitude, down.broken)


class _Down:
    """The walk: what is known so far, node by node.  See `propagate` and `Bounds`."""

    def __init__(
        self,
        net: Network,
        box: Boxes,
        sign: dict[int, Array] | None,
        keep: set[int],
        critical: dict[int, Array] | None,
        chunk: int,
        known: dict[int, tuple[Array, Array]] | None,
        tick: Tick,
    ) -> None:
        self._net, self._box, self._sign, self._keep = net, box, sign, keep
        self._critical, self._chunk, self._known, self._tick = critical, chunk, known, tick
        self._last = {j: i for i, n in enumerate(net.graph.nodes) for j in (*n.inputs, *net.maxima.get(i, ()))}
        self.forms: dict[int, Form] = {}
        # Lines leave the range of curves (a square's are below zero), and of maxima: there plain intervals go along
        # with the forms.
        self._plain: dict[int, Form] | None = {} if (net.curved or net.maxima) and len(box.symbols) else None
        self.interval: dict[int, tuple[Array, Array]] = {}
        self.relaxed: dict[int, Lines | Planes] = {}
        self.image: dict[int, tuple[Array, Array]] = {}
        self.magnitude: dict[int, Array] = {}
        self.broken: Array | None = None
        # A gate takes what is zero at an end for decided, and counts on rounding that no end is (see `relax.gate`).
        kinds = {type(n.op) for n in net.graph.nodes}
        self._stepped = not kinds.isdisjoint((Step, Fit, Near)) and Gate not in kinds
        self._weight: dict[int, Array] = {UNDERFLOW: 0.0}

    def visit(self, i: int, node: Node) -> None:
        """Everything about node `i`, from what is known of the nodes before."""
        net, box, magnitude = self._net, self._box, self.magnitude
        net.tick()
        wanted = i in self._last or i in self._keep
        if isinstance(node.op, Input):
            self.forms[i] = input_form(net, box.center, box.radius, box.symbols)
            if self._plain is not None:
                self._plain[i] = input_form(net, box.center, box.radius, box.symbols[:0])
            magnitude[i] = _largest(box.lower, box.upper).reshape(1, *node.shape)
            self._weight[i] = net.weight(i, magnitude[i])
        elif isinstance(node.op, Affine):
            absolute = net.absolute[i]
            assert absolute is not None
            magnitude[i] = absolute.evaluate(*(magnitude[j] for j in node.inputs))
            if not node.op.exact:
                self._weight[i] = net.weight(i, magnitude[i])
            if wanted:
                self.forms[i] = through_affine(net, i, [self.forms[j] for j in node.inputs])
                if self._plain is not None:
                    self._plain[i] = through_affine(net, i, [self._plain[j] for j in node.inputs])
                if i in net.maxima:
                    self._larger(i, *net.maxima[i])
        else:
            self._relax(i, node, wanted)
        self._weight[UNDERFLOW] = self._weight[UNDERFLOW] + net.underflow(i, magnitude[i])
        for j in {*node.inputs, *net.maxima.get(i, ())}:
            if self._last[j] == i and j not in self._keep and j not in net.sources:
                self.forms.pop(j, None)
                if self._plain is not None:
                    self._plain.pop(j, None)

    def _larger(self, i: int, a: int, b: int) -> None:
        """The interval of a maximum `b + relu(a − b)`, which as a sum is as wide as both together.

        Or of `b + softplus(a − b)`, the logarithm of `exp a + exp b`.

        Sound because: the larger of two numbers grows with both, and lies between the larger of their lower and the
        larger of their upper bounds.  That logarithm grows with both, too.  It is the larger number plus
        `softplus(−|a − b|)`, computed with errors of a few units of either; more than these are taken off.
        """
        plain = self.forms if self._plain is None else self._plain
        dtype, xp = self._net.place.dtype, namespace(self._box.lower)
        (l, u), (p, q), (r, s) = (concretize(plain[j], dtype) for j in (i, a, b))
        low, high = xp.maximum(p, r), xp.maximum(q, s)
        if i in self._net.log_sums:
            low, high = _log_sum(p, r, low, -1.0), _log_sum(q, s, high, 1.0)
        self.image[i] = xp.fmax(l, low), xp.fmin(u, high)
        plain[i] = through_interval(plain[i], *self.image[i], dtype)

    def _relax(self, i: int, node: Node, wanted: bool) -> None:
        """Linear bounds of a nonlinear node, and its form."""
        (j,), dtype = node.inputs, self._net.place.dtype
        l, u = self._bounds(j)
        family = table.family(node.op)
        self.relaxed[i] = family.lines(node.op, l, u)
        own = self._net.relaxing(i, self.relaxed[i], self.magnitude[j])
        if own is not None:
            self._weight[i] = own
        low, high = family.image(node.op, l, u)
        outside = None
        if i in self._net.fragile:
            start, end = self._net.fragile[i]
            outside = (l < start) | (u > end)
            outside = outside if bool(outside.any()) else None
        if outside is not None:  # there may be no value: nothing is said
            low, high = namespace(l).where(outside, -float("inf"), low), namespace(l).where(outside, float("inf"), high)
        self.image[i] = (low, high)
        xp, finite = namespace(low), namespace(low).isfinite(low) & namespace(low).isfinite(high)
        if not bool(finite.all()):
            broken = ~finite.reshape(low.shape[0], -1).all(1)
            self.broken = broken if self.broken is None else self.broken | broken
            low, high = xp.where(finite, low, 0.0), xp.where(finite, high, 0.0)
        self.magnitude[i] = _largest(low, high)[None]
        low, high = self.image[i]
        if not wanted:
            return
        if self._plain is not None:
            self._plain[i] = through_interval(self._plain[j], low, high, dtype)
        if family.parallel is None or not len(self._box.symbols) or outside is not None:
            self.forms[i] = through_interval(self.forms[j], low, high, dtype)
        else:
            self.forms[i] = through_lines(self.forms[j], family.parallel(node.op, l, u), dtype)

    def _bounds(self, j: int) -> tuple[Array, Array]:
        """Bounds of the input of a nonlinear node; what it only moves is bounded where it comes from."""
        if j in self.interval:
            return self.interval[j]
        node, xp = self._net.graph.nodes[j], namespace(self._box.lower)
        if isinstance(node.op, Move):
            parts = [self._bounds(k) for k in node.inputs]
            l, u = (node.op.linear(*(p[side] for p in parts)) for side in (0, 1))
        else:
            l, u = concretize(self.forms[j], self._net.place.dtype)
            if self._plain is not None:
                low, high = concretize(self._plain[j], self._net.place.dtype)
                l, u = xp.fmax(l, low), xp.fmin(u, high)
            if node.op == Relu() and self._stepped:  # whatever rounding says: a jump may lie at zero
                l = xp.where(l == l, xp.maximum(l, 0.0), l)
            if self.broken is not None:
                l, u = xp.where(l == l, l, -xp.inf), xp.where(u == u, u, xp.inf)
            if self._known is not None:
                l, u = xp.maximum(l, self._known[j][0]), xp.minimum(u, self._known[j][1])
            if self._sign is not None:
                l = xp.where(self._sign[j] > 0, xp.maximum(l, 0.0), l)
                u = xp.where(self._sign[j] < 0, xp.minimum(u, 0.0), u)
            pair = self._pair(j, l)
            if pair is not None:
                l, u = difference.between(*pair, (l, u))
            exact = not self.relaxed and (j not in self._net.mixed or len(self._box.symbols) > 0)
            exact = exact and self._box.ball is None
            if self._critical is not None and not exact:
                known, wanted = (self._weight, self.relaxed), self._critical.get(j)
                if pair is not None:
                    open_ = difference.undecided(*pair)
                    wanted = open_ if wanted is None else open_ & wanted
                if j in self._net.passed:
                    open_ = self._undecided(j, l)
                    wanted = open_ if wanted is None else open_ & wanted
                l, u = tighten(self._net, self._box, *known, j, l, u, wanted, self._chunk, self._tick, self.broken)
        self.interval[j] = (l, u)
        return l, u

    def _undecided(self, j: int, like: Array) -> Array:
        """Which entries of a node, `[B, *shape]`, some gate that passes them on has not decided upon."""
        nodes, found = self._net.graph.nodes, None
        for i in self._net.passed[j]:
            active, inactive = gate.signs(*self._bounds(nodes[nodes[i].inputs[0]].inputs[1]))
            open_ = ~(active | inactive).reshape(like.shape)
            found = open_ if found is None else found | open_
        assert found is not None
        return found

    def _pair(self, j: int, like: Array) -> tuple[tuple[Array, Array], tuple[Array, Array]] | None:
        """Bounds of the two values that node `j` is the difference of, shaped like its own; None where it is none."""
        nodes = self._net.pair.get(j)
        if nodes is None or not all(k in self.interval for k in nodes):
            return None
        first, second = ((l.reshape(like.shape), u.reshape(like.shape)) for l, u in (self.interval[k] for k in nodes))
        return first, second


def _log_sum(a: Array, b: Array, largest: Array, sign: float) -> Array:
    """`log(exp a + exp b)`, rounded down or up as the sign says."""
    xp = namespace(a)
    more = xp.log1p(xp.exp(-xp.abs(a - b)))
    return largest + more + sign * (16 * unit(dtype_of(a)) * (xp.abs(largest) + 1.0))


def _largest(lower: Array, upper: Array) -> Array:
    """Of intervals `[B, *shape]`, the largest magnitude over the batch: `[*shape]`."""
    xp = namespace(lower)
    return xp.maximum(-xp.amin(lower, 0), xp.amax(upper, 0))


def tighten(  # noqa: PLR0913
    net: Network,
    box: Boxes,
    weight: dict[int, Array],
    relaxed: dict[int, Lines | Planes],
    j: int,
    l: Array,
    u: Array,
    wanted: Array | None,
    chunk: int,
    tick: Tick = nothing,
    broken: Array | None = None,
) -> tuple[Array, Array]:
    """Bounds of node `j` with every undecided entry bounded by the backward walk on both sides."""
    xp, (B, *shape) = namespace(l), l.shape
    flat_l, flat_u = l.reshape(B, -1), u.reshape(B, -1)
    undecided = net.open(j, flat_l, flat_u)
    pairs = xp.flatnonzero(undecided if wanted is None else undecided & wanted.reshape(wanted.shape[0], -1))
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
        if broken is not None:
            lb = xp.where(xp.concatenate([broken[owner]] * 2), -xp.inf, lb)
        half = len(p)
        low[p] = xp.maximum(low[p], lb[:half])
        up[p] = xp.minimum(up[p], -lb[half:])
    return low.reshape(B, *shape), up.reshape(B, *shape)


def lower_bounds(
    net: Network,
    box: Boxes,
    weight: dict[int, Array],
    relaxed: dict[int, Lines | Planes],
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
        rows = counting(P, A)
        A[rows, neuron], A[rows + P, neuron] = 1, -1
        start, b, error = {j: A.reshape(2 * P, *node.shape)}, A[:, 0] * 0, A[:, 0] * 0
    planes = backward(net, weight, relaxed, start, b, twice)
    value = xp.einsum("pn,pn->p", planes.A, box.center[twice]) + planes.b
    value = value - xp.einsum("pn,pn->p", xp.abs(planes.A), box.radius[twice])
    if box.ball is not None:
        own = box.ball.of(twice)
        value = xp.maximum(value, own.concretise(planes.A, planes.b, box.center[twice], box.radius[twice]))
    return value - planes.error - error
