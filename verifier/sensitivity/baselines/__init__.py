"""Lipschitz constants as others bound them, for comparison; and what they share: networks as chains of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from math import prod

import numpy as np

from verifier.graph.graph import Affine, Elementwise, Graph, Node, Shape
from verifier.sensitivity.baselines.spectral import separate
from verifier.values.arrays import Place
from verifier.values.errors import ModelError
from verifier.values.rounding import gamma

NEURONS = 600
"""Most neurons of a chain, all layers together."""
ENTRIES = 5_000_000
"""Most entries of a layer's matrix."""
WIDTH = 4096
"""Most inputs, and activations of one layer."""

Bounds = Sequence[tuple[np.ndarray, np.ndarray]]
"""Of what enters each layer of activations: lower and upper, `[k]` each."""


@dataclass(frozen=True, eq=False)
class Layer:
    """`activation(W·h + b)` of the previous layer's h (the flattened input, for the first).

    Attributes:
        W: `[k, n]`.  b: `[k]`.
        error: `[k, n]`, at least what the entries of W are off by; zero where nothing was rounded.
        activation: an elementwise function; None behind the last layer, whose result is the network's.
        node: the activation's position in the graph, or that of the output.
    """

    W: np.ndarray
    b: np.ndarray
    error: np.ndarray
    activation: Elementwise | None
    node: int


def columns(layers: list[Layer], counted: np.ndarray | None) -> list[Layer]:
    """The chain as a function of some entries of its input alone, the others being constants; all when None.

    Sound because: what is constant adds to the first layer's b, which neither slopes nor products of matrices hang on
    but through the range of what enters its activation, and that is for the caller to give for all constants.
    """
    if counted is None:
        return layers
    first = layers[0]
    return [replace(first, W=first.W[:, counted], error=first.error[:, counted]), *layers[1:]]


@dataclass(frozen=True, eq=False)
class _Form:
    """A node as an affine function of a source: the input, or an activation's result.

    Attributes:
        source: the source's position.
        W, error: `[n, *shape]` for n entries of the source, transposed; None for the source itself.
        b: `[1, *shape]`.
    """

    source: int
    shape: Shape
    W: np.ndarray | None = None
    error: np.ndarray | None = None
    b: np.ndarray = field(default_factory=lambda: np.zeros(1))

    def matrix(self) -> np.ndarray:
        """W, made where it is left out."""
        if self.W is not None:
            return self.W
        n = prod(self.shape)
        if n > WIDTH:
            raise ModelError(f"{n} inputs, or activations of one layer, are too many for a chain (more than {WIDTH})")
        return np.eye(n).reshape(n, *self.shape)


def chain(graph: Graph, neurons: int = NEURONS, entries: int = ENTRIES) -> list[Layer]:
    """A network as affine layers, each a matrix, with elementwise activations between: at least one layer.

    Whatever is affine between two activations becomes one matrix: convolutions, moves, even sums of several paths.

    Raises:
        ModelError: several inputs or outputs; another kind of operator; an activation that is skipped or stands beside
            another; more than `neurons` activations, or matrices of more than `entries` entries.
    """
    if len(graph.inputs) != 1 or len(graph.outputs) != 1:
        raise ModelError(f"a chain has one input and one output, not {len(graph.inputs)} and {len(graph.outputs)}")
    graph = graph.cast(Place("numpy", "float64").array)
    (start,), (end,) = graph.inputs, graph.outputs
    forms = {start: _Form(start, graph.nodes[start].shape, b=np.zeros((1, *graph.nodes[start].shape)))}
    layers: list[Layer] = []
    last, count = start, 0
    for i in sorted(_behind(graph, end) - {start}):
        node = graph.nodes[i]
        before = [forms[j] for j in node.inputs]
        if not before or any(f.source != last for f in before):
            raise ModelError(f"{_called(node)} skips an activation or stands beside one: the network is no chain")
        if isinstance(node.op, Affine):
            forms[i] = _through(node.op, before, node.shape, entries)
        elif isinstance(node.op, Elementwise):
            count += node.size
            if count > neurons:
                raise ModelError(f"{_called(node)}: the network has more than {neurons} neurons, too many for a chain")
            layers.append(_layer(before[0], node.op, i))
            forms[i] = _Form(i, node.shape, b=np.zeros((1, *node.shape)))
            last = i
        else:
            raise ModelError(f"{_called(node)} is neither affine nor elementwise: the network is no chain")
    return [*layers, _layer(forms[end], None, end)]


def flat_bounds(layers: Sequence[Layer], bounds: Bounds) -> list[tuple[np.ndarray, np.ndarray]]:
    """Bounds of a chain's activations, each flattened.

    Raises:
        ModelError: they are not one pair a layer, not of its size, or lower exceeds upper.
    """
    flat = [(np.ravel(l).astype(np.float64), np.ravel(u).astype(np.float64)) for l, u in bounds]
    sizes = [len(layer.b) for layer in layers[:-1]]
    if [len(l) for l, _ in flat] != sizes or [len(u) for _, u in flat] != sizes:
        raise ModelError("bounds do not fit: give lower and upper of every neuron, one pair a layer of activations")
    if any((l > u).any() for l, u in flat):
        raise ModelError("bounds do not fit: lower exceeds upper at some neuron")
    return flat


def _called(node: Node) -> str:
    return f"node '{node.name}' ({type(node.op).__name__})"


def _behind(graph: Graph, end: int) -> set[int]:
    """The nodes that `end` depends on, and itself."""
    found, stack = {end}, [end]
    while stack:
        new = set(graph.nodes[stack.pop()].inputs) - found
        found |= new
        stack.extend(new)
    return found


def _fits(m: int, n: int, most: int) -> None:
    if m * n > most:
        raise ModelError(f"a matrix of {m} by {n} is too large for a chain (more than {most} entries)")


def _layer(f: _Form, activation: Elementwise | None, node: int) -> Layer:
    W = f.matrix()
    n = len(W)
    error = np.zeros_like(W) if f.error is None else f.error
    return Layer(W.reshape(n, -1).T.copy(), f.b.reshape(-1).copy(), error.reshape(n, -1).T.copy(), activation, node)


def _through(op: Affine, before: list[_Form], shape: Shape, entries: int) -> _Form:
    """An affine operator on affine functions of one source, with what rounding may do to the matrix.

    Sound because every entry is a sum of at most `terms` products of the operator's weights with entries of W: the
    computed one errs by `gamma(terms)` times their magnitudes, and what W is off by comes through |op|.  Nothing rounds
    where op only moves numbers, or where its input is the source itself and each entry a weight.
    """
    inputs = [f.shape for f in before]
    n = prod(before[0].shape) if before[0].W is None else len(before[0].W)
    _fits(prod(shape), n, entries)
    W = [f.matrix() for f in before]
    plain, record = separate(op)
    sizes, g = (record or plain.absolute()), gamma(op.terms(*inputs) + 2, "float64")
    error: np.ndarray | None = None
    if record is not None or not (op.exact or (len(before) == 1 and before[0].W is None)):
        error = g * sizes.linear(*(abs(w) for w in W))
    if any(f.error is not None for f in before):
        given = (np.zeros_like(w) if f.error is None else f.error for f, w in zip(before, W, strict=True))
        moved = sizes.linear(*given) * (1 + 2 * g)
        error = moved if error is None else error + moved
    return _Form(before[0].source, shape, op.linear(*W), error, op.evaluate(*(f.b for f in before)))
