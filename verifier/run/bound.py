"""What values an output, or any linear function of the outputs, can take on an input set."""

from __future__ import annotations

from typing import Any

import numpy as np

from verifier.bounds.ascend import Rates, ascend
from verifier.bounds.certain import certain
from verifier.bounds.dual import Objective, Walk
from verifier.bounds.fold import Folded
from verifier.bounds.folding import fold
from verifier.bounds.inside import settled
from verifier.bounds.intermediate import region, start, tighten
from verifier.bounds.network import Network, magnitudes, prepare
from verifier.bounds.propagate import Bounds, Boxes, boxes, propagate
from verifier.bounds.rows import Rows, make_rows, rows_backward, rows_forward
from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Scale
from verifier.graph.ops.moves import Reshape, Take
from verifier.run.model import boundable
from verifier.run.sample import of_set
from verifier.run.strategy import place_on
from verifier.run.tensors import about, by_name
from verifier.search.query import MOST_SYMBOLS
from verifier.values import given
from verifier.values.arrays import Array, Place, to_numpy
from verifier.values.box import Box
from verifier.values.errors import PropertyError, UserError
from verifier.values.precision import full_precision
from verifier.values.rounding import gamma, outward
from verifier.values.sets import InputSet, curved

METHODS = ("interval", "forward", "crown", "alpha-crown")
BLOCK = 2e7
"""Numbers that a block of rows may hold in the widest layer."""


class OutputBounds(tuple[np.ndarray, np.ndarray]):
    """Lower and upper bounds, a pair of arrays `[R]`.

    Attributes:
        outputs: without rows, by the output's name its own pair, in its shape.
    """

    outputs: dict[str, tuple[np.ndarray, np.ndarray]]


def bound(
    model: Any,
    inputs: Any,
    method: str = "crown",
    *,
    rows: Any = None,
    device: str = "cpu",
    dtype: str = "float64",
) -> OutputBounds:
    """Lower and upper bounds, rounding included.

    Args:
        model: what `load` takes or returned.  Several inputs are one, behind one another, and so are several outputs.
        inputs: a box or ball over the flattened input; or sets by the inputs' names, or in the model's order (see
            `input_set`).
        method: `interval`, `forward` (linear functions of the inputs, pushed forward) or `crown` (rows pulled back,
            every neuron's bounds first), or `alpha-crown` (the same with optimised slopes, for every neuron and row).
            Each gives the best of its own and of those before it (of `forward`, where that is cheaper: not with
            thousands of inputs and wide layers).
        rows: `[R, m]` linear functions of the outputs; the outputs themselves when None.
        device: `cpu` or `cuda`.  dtype: `float64` or `float32`.

    Returns: two arrays `[R]` (`[m]` without rows); infinite where nothing is known.  By name in `.outputs`.

    Raises:
        UserError: an unknown method, or sizes that don't fit.

    Sound because: see `bounds.backward`, `bounds.forward`; a ball is bounded in its box, and in its own norm where the
    row is concretised: the least of `A·x` within eps is `A·center − eps·‖A‖_q` with q the dual norm (Hölder).  Each
    method's bounds are bounds, so the larger of two lower ones is.
    """
    given.choice("method", method, METHODS)
    place = place_on(device, dtype)
    asked = about(model, inputs)
    net, inputs = asked.net, asked.inputs
    if inputs is None:
        raise UserError("inputs: none are given; give a Box or a Ball, or sets by the inputs' names")
    graph = boundable(net, of_set(inputs))
    n, m = graph.nodes[graph.inputs[0]].size, graph.nodes[graph.outputs[0]].size
    box = inputs.box()
    if len(box.lower) != n:
        raise PropertyError(f"the input set has {len(box.lower)} entries, the network {n} inputs; give as many")
    C = _rows(rows, m)
    graph = settled(graph, box.lower, box.upper)
    graph, box, cut = _moving(graph, box, curved(inputs))
    with full_precision(place), np.errstate(all="ignore"):  # what overflows is refused at the end
        value = _lower(graph, place, box, cut, np.concatenate([C, -C]), method)
    found = OutputBounds((value[: len(C)], -value[len(C) :]))
    sides = [by_name(net, side, "output") for side in found] if rows is None else [{}, {}]
    found.outputs = {name: (low, sides[1][name]) for name, low in sides[0].items()}
    return found


def _moving(graph: Graph, box: Box, ball: InputSet | None) -> tuple[Graph, Box, InputSet | None]:
    """The network of what varies in a set that is no box: rows are not measured along what stands still.

    Sound because: the others stand where their box is one point, which is written into the network without rounding;
    what varies is at most as far from a ball's centre as all is together.
    """
    at = np.flatnonzero(box.lower < box.upper)
    if ball is None or not 0 < len(at) < len(box.lower):
        return graph, box, ball
    (x,), n = graph.inputs, len(box.lower)
    spread, still = np.full(n, -1), np.where(box.lower < box.upper, 0.0, box.lower)
    spread[at] = np.arange(len(at))
    build = Builder()
    part = build.add(Input((len(at),)), (), graph.nodes[x].name)
    whole = build.add(Scale(None, still), (build.add(Take(spread, (n,)), (part,)),))
    new = {x: build.add(Reshape(graph.nodes[x].shape), (whole,))}
    for i, node in enumerate(graph.nodes):
        if i != x:
            new[i] = build.add(node.op, [new[j] for j in node.inputs], node.name)
    return build.graph((part,), tuple(new[i] for i in graph.outputs)), Box(box.lower[at], box.upper[at]), ball.only(at)


def _lower(graph: Graph, place: Place, box: Box, ball: InputSet | None, both: np.ndarray, method: str) -> np.ndarray:
    """Lower bounds `[2R]` of rows `[2R, m]`: the best of the method's own and of every cheaper one's."""
    net = prepare(graph, place)
    varying = np.flatnonzero(box.lower < box.upper)
    few = varying if len(varying) <= MOST_SYMBOLS else varying[:0]
    cheap = method == "forward" or (len(varying) + 1) * max(node.size for node in graph.nodes) <= BLOCK
    value = _walked(graph, net, box, ball, both, varying[:0], backward=False)
    if method != "interval" and cheap:
        value = np.fmax(value, _walked(graph, net, box, ball, both, varying, backward=False))
    if method in ("crown", "alpha-crown"):
        value = np.fmax(value, _walked(graph, net, box, ball, both, few, backward=True))
    if method == "alpha-crown":
        exact = prepare(graph, Place(place.kind, "float64", place.device))
        value = np.fmax(value, _finite(_optimised(graph, exact, place, box, both, ball)))
    return value


def _finite(value: np.ndarray) -> np.ndarray:
    """Lower bounds, nothing where there is a pole within reach, or an overflow."""
    return np.where(np.isfinite(value), value, -np.inf)


def _walked(
    graph: Graph,
    net: Network,
    box: Box,
    ball: InputSet | None,
    both: np.ndarray,
    symbols: np.ndarray,
    *,
    backward: bool,
) -> np.ndarray:
    """Lower bounds `[2R]` of rows `[2R, m]`, without optimised slopes.

    Args:
        symbols: the inputs that get one each in forward bounds; none for intervals.
        backward: whether rows are walked back, those of neurons first.
    """
    place = net.place
    lower, upper = outward(box.lower[None], box.upper[None], place)
    b = boxes(lower, upper, place.array(symbols), place.dtype, ball)
    first = propagate(net, b, None, set(), None, 10**6).interval
    size = magnitudes(graph, box.lower, box.upper, {j: (to_numpy(l), to_numpy(u)) for j, (l, u) in first.items()})
    block = max(1, int(BLOCK / max(node.size for node in graph.nodes)))
    bounds: Bounds | None = None
    parts = []
    for at in range(0, len(both), block):
        some, stops = both[at : at + block], () if backward or len(symbols) else net.maxima
        rows = make_rows(graph, net, size, some, None, np.zeros(len(some)), stops)
        if bounds is None:
            critical: dict[int, Array] | None = {} if backward else None
            bounds = propagate(net, b, None, set(rows.start), critical, 10**6)
        parts.append(_least(net, rows, bounds, b, backward, ball))
    return _finite(np.concatenate(parts))


def _least(net: Network, rows: Rows, bounds: Bounds, box: Boxes, backward: bool, ball: InputSet | None) -> np.ndarray:
    """Lower bounds of the rows on the one box (or the set in it)."""
    ids = net.place.array(np.arange(len(rows))[None])
    n = int(box.lower.shape[1])
    if not backward or bounds.broken is not None:  # rows walked back say nothing where a value may be infinite
        forward = rows_forward(net, rows, ids, bounds.forms)
        coefficients, c, slack = (to_numpy(a[0]).astype(np.float64) for a in forward)
        reach = abs(coefficients).sum(1) * (1 + gamma(n + 8, net.place.dtype))
        return np.asarray(c - reach - slack)
    planes = rows_backward(net, rows, ids, bounds.weights(net), bounds.relaxed)
    A, least = to_numpy(planes.A).astype(np.float64), to_numpy(planes.b - planes.error).astype(np.float64)
    center, radius = (to_numpy(a[0]).astype(np.float64) for a in (box.center, box.radius))
    value = least + A @ center - abs(A) @ radius * (1 + gamma(n + 8, "float64"))
    return np.asarray(value if ball is None else np.fmax(value, ball.concretise(A, least, center, radius)))


STEPS = 20
"""Climbing steps for the rows; the neurons' own bounds get fewer."""


def _optimised(
    graph: Graph, net: Network, fast: Place, box: Box, rows: np.ndarray, ball: InputSet | None
) -> np.ndarray:
    """Lower bounds of rows `[R, m]`: what is decided is folded, then slopes are climbed for neurons and for rows."""
    zero = np.zeros(len(rows))
    varying = np.flatnonzero(box.lower < box.upper)
    symbols = net.place.array(varying if len(varying) <= MOST_SYMBOLS else varying[:0])
    b = boxes(net.place.array(box.lower[None]), net.place.array(box.upper[None]), symbols, "float64", ball)
    bounds = propagate(net, b, None, set(), {}, 500_000)
    if bounds.broken is not None:
        return zero - np.inf
    host = {j: (to_numpy(l), to_numpy(u)) for j, (l, u) in bounds.interval.items()}
    some = make_rows(graph, net, magnitudes(graph, box.lower, box.upper, host), rows, None, zero)
    F = fold(net, some, bounds.interval, bounds.weights(net), box.lower, box.upper, relaxed=bounds.relaxed)
    F = F.settle(*tighten(F, fast, Rates(5, alpha=0.5), 500_000)[:2])
    quick, parts = F.to(fast), []
    step = max(16, int(BLOCK / 10) // (len(F) + len(varying) + 1))
    for at in range(0, len(rows), step):
        ids = np.arange(at, min(at + step, len(rows)))[:, None]
        o = Objective(quick.rows, fast.array(ids), len(F.blocks))
        first = start(quick, region(quick), len(ids))
        best = ascend(quick, region(quick), o, first, Rates(STEPS, alpha=0.5)).best
        exact = Objective(F.rows, net.place.array(ids), len(F.blocks))
        value, walk = certain(F, region(F), exact, best.to(net.place))
        bound = to_numpy(value)
        if ball is not None:  # slopes are climbed for the box: the first may suit better
            walks = (walk, certain(F, region(F), exact, first.to(net.place))[1])
            bound = np.maximum(bound, np.maximum(*(_in_ball(F, w, ball) for w in walks)))
        parts.append(bound)
    return np.concatenate(parts)


def _in_ball(F: Folded, w: Walk, ball: InputSet) -> np.ndarray:
    """The least values `[R]` of planes on a set that is no box."""
    A, b, center, radius = (to_numpy(a) for a in (w.A, w.b, F.center, F.radius))
    return np.asarray(ball.only(F.varying).concretise(A, b, center, radius)) if len(F.varying) else b - np.inf


def _rows(rows: Any, m: int) -> np.ndarray:
    """`rows` as `[R, m]`."""
    C = np.eye(m) if rows is None else np.atleast_2d(given.array("rows", rows))
    if C.ndim != 2:
        raise PropertyError("rows: give one row of finite numbers, or a matrix of them")
    if C.shape[1] != m:
        raise PropertyError(f"rows have {C.shape[1]} entries, the network {m} outputs; give as many")
    return C
