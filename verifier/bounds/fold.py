"""A network on one box, with everything that is decided there folded away.

On a box most ReLUs have one sign and are affine.  What is left is a small network over the undecided neurons alone:

    z = X·x + H·h + c,   h = act(z),   H strictly lower triangular by layers,

and every row to be proved is affine in x and h.  It is exact, it has no convolutions, and a walk through it is a
handful of dense products, so a whole search over neuron splits runs on it.  (Residual connections and decided neurons
make a layer depend on all earlier ones, hence one matrix H and not a chain.)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from verifier.bounds.network import UNDERFLOW, Network, absolute_product
from verifier.bounds.propagate import Tick, nothing
from verifier.bounds.rows import Rows
from verifier.graph.graph import Affine
from verifier.values import sparse
from verifier.values.arrays import Array, Place, namespace, to_numpy
from verifier.values.rounding import gamma, outward


@dataclass(frozen=True, eq=False)
class Linear:
    """P functions `X·x + H·h + c`, each known up to `error`.

    Attributes:
        X: `[P, k]` over the inputs.  H: `[P, U]` over the activations.  c: `[P]`.
        error: `[P]` what rounding may have changed in the coefficients, in terms of the function's value on the box.
    """

    X: Array
    H: Array
    c: Array
    error: Array

    def __len__(self) -> int:
        """P."""
        return int(self.c.shape[0])

    def to(self, place: Place) -> Linear:
        """The same at another place."""
        return Linear(*(place.array(a, place.dtype) for a in (self.X, self.H, self.c, self.error)))

    def take(self, at: Any) -> Linear:
        """Some of the functions."""
        return Linear(self.X[at], self.H[at], self.c[at], self.error[at])

    def magnitude(self, x: Array, h: Array) -> Array:
        """`[P]` the sum of the magnitudes behind each function, where inputs and activations are at most x and h."""
        xp = namespace(self.c)
        return xp.abs(self.X) @ x + xp.abs(self.H) @ h + xp.abs(self.c)


@dataclass(frozen=True, eq=False)
class Folded:
    """U undecided neurons on a box, and the rows over them.

    Attributes:
        place: where the arrays are, and their type.
        z: the neurons' inputs, as functions of x and of earlier activations.
        rows: what is to be proved positive.
        blocks: positions of the neurons of one layer each; a layer depends on earlier ones only.
        source, entry: `[U]` (on the host): the node of the graph, and the entry of it, that each neuron's input is.
        leak: `[U]` slope of the activation below zero.
        lower, upper: `[U]` bounds of z on the box.
        varying: `[k]` (on the host) the inputs that vary; the others are part of the constants.
        center, radius: `[k]` the box, enclosed by `center ± radius`.
    """

    place: Place
    z: Linear
    rows: Linear
    blocks: tuple[slice, ...]
    source: np.ndarray
    entry: np.ndarray
    leak: Array
    lower: Array
    upper: Array
    varying: np.ndarray
    center: Array
    radius: Array

    def __len__(self) -> int:
        """U."""
        return len(self.source)

    def to(self, place: Place) -> Folded:
        """The same at another place; bounds are rounded outward, what else this rounds is not accounted for."""
        lower, upper = outward(self.lower, self.upper, place)
        moved = {n: place.array(getattr(self, n), place.dtype) for n in ("leak", "center", "radius")}
        return replace(
            self, place=place, z=self.z.to(place), rows=self.rows.to(place), lower=lower, upper=upper, **moved
        )

    @cached_property
    def reach(self) -> tuple[Array, Array, Array]:
        """The largest magnitudes of inputs `[k]`, of neurons' inputs and of activations `[U]`, on the box."""
        xp = self.place.xp
        z = xp.maximum(xp.abs(self.lower), xp.abs(self.upper))
        return xp.abs(self.center) + self.radius, z, z * xp.maximum(xp.abs(self.leak), 1.0)

    def prefix(self, k: int) -> Folded:
        """The first k layers, without rows."""
        U = self.blocks[k - 1].stop if k else 0
        z = Linear(self.z.X[:U], self.z.H[:U, :U], self.z.c[:U], self.z.error[:U])
        some = {n: getattr(self, n)[:U] for n in ("source", "entry", "leak", "lower", "upper")}
        return replace(self, z=z, rows=z.take(slice(0, 0)), blocks=self.blocks[:k], **some)

    def settle(self, lower: Array, upper: Array) -> Folded:
        """The same network, smaller: with better bounds `[U]`, what they decide folded in turn.

        Sound because: an active neuron's activation is its input, which is put in its place where it is used; an
        inactive one's is `leak` times it.  The error grows by that of the function put in, and by rounding.
        """
        xp, g = self.place.xp, gamma(len(self) + 4, self.place.dtype)
        x, _, h = self.reach
        slope = xp.where(lower >= 0, lower * 0 + 1, self.leak)
        settled = (lower >= 0) | (upper <= 0)
        everything = Linear(
            *(xp.concatenate([getattr(self.z, n), getattr(self.rows, n)]) * 1 for n in ("X", "H", "c", "error"))
        )
        X, H, c, error = everything.X, everything.H, everything.c, everything.error
        for block in self.blocks:
            at = block.start + xp.flatnonzero(settled[block])
            if not len(at):
                continue
            M = H[:, at] * slope[at]
            H[:, at] = 0
            put = Linear(X[at], H[at], c[at], error[at])
            X += M @ put.X
            H += M @ put.H
            c += M @ put.c
            error += xp.abs(M) @ (put.error + g * put.magnitude(x, h)) + g * Linear(X, H, c, error).magnitude(x, h)
        keep, U = xp.flatnonzero(~settled), len(self)
        host = to_numpy(keep)
        ends = np.searchsorted(host, [b.stop for b in self.blocks])
        starts = np.searchsorted(host, [b.start for b in self.blocks])
        z = Linear(X[keep], H[keep][:, keep], c[keep], error[keep])
        return replace(
            self,
            z=z,
            rows=Linear(X[U:], H[U:][:, keep], c[U:], error[U:]),
            blocks=tuple(slice(int(a), int(b)) for a, b in zip(starts, ends, strict=True) if a < b),
            source=self.source[host],
            entry=self.entry[host],
            leak=self.leak[keep],
            lower=lower[keep],
            upper=upper[keep],
        )


def fold(
    net: Network,
    rows: Rows,
    interval: dict[int, tuple[Array, Array]],
    weight: dict[int, Array],
    lower: np.ndarray,
    upper: np.ndarray,
    block: int = 2_000_000,
    tick: Tick = nothing,
) -> Folded:
    """Fold a network and rows on one box.

    Args:
        net: in double precision.
        rows: at the network's place.
        interval: source -> bounds `[1, *shape]` of its value on the box.
        weight: rounding weights of the nodes on the box (see `Network.weight`).
        lower, upper: `[n]` the box, in double precision on the host.
        block: how many numbers one block of rows may hold in the widest layer.
        tick: called between blocks; whoever has run out of time raises there.

    Sound because: decided neurons are affine on the box, and every other step is affine; each function's error is
    accounted for as in `backward`, as the coefficients of h multiply values that the weights cover.
    """
    nodes, place = net.graph.nodes, net.place
    bounds = {j: tuple(to_numpy(a).astype(np.float64).reshape(-1) for a in interval[j]) for j in interval}
    neurons = _neurons(net, bounds)
    walk = _Walk(net, bounds, weight, neurons)
    step = max(16, block // max(n.size for n in nodes))
    parts = []
    for i, entries in neurons.items():
        (j,) = nodes[i].inputs
        for at in range(0, len(entries), step):
            tick()
            some = entries[at : at + step]
            one_hot = np.zeros((len(some), nodes[j].size))
            one_hot[np.arange(len(some)), some] = 1
            parts.append(walk({j: place.array(one_hot)}, place.array(np.zeros(len(some)))))
    last = walk(rows.start, rows.constant)
    parts.append(replace(last, error=last.error + rows.error))
    z = Linear(*(place.xp.concatenate([getattr(p, n) for p in parts]) for n in ("X", "H", "c", "error")))
    varying = np.flatnonzero(lower < upper)
    center = lower * 0.5 + upper * 0.5
    radius = np.maximum(upper - center, center - lower) * (1 + gamma(2, "float64"))
    everything = Linear(
        z.X[:, place.array(varying)], z.H, z.c + z.X @ place.array(np.where(lower < upper, 0.0, center)), z.error
    )
    U = sum(len(e) for e in neurons.values())
    sizes = np.cumsum([0, *(len(e) for e in neurons.values())])
    of_node = np.repeat(list(neurons), np.diff(sizes)).astype(int) if neurons else np.zeros(0, int)
    source = np.array([nodes[i].inputs[0] for i in of_node], int)
    entry = np.concatenate([np.zeros(0, int), *neurons.values()])
    none = np.zeros(0)
    ends = [np.concatenate([none, *(bounds[nodes[i].inputs[0]][s][e] for i, e in neurons.items())]) for s in (0, 1)]
    return Folded(
        place,
        _part(everything, slice(0, U)),
        _part(everything, slice(U, None)),
        tuple(slice(int(a), int(b)) for a, b in zip(sizes[:-1], sizes[1:], strict=True)),
        source,
        entry,
        place.array(np.array([getattr(nodes[i].op, "leak", 0.0) for i in of_node], float)),
        place.array(ends[0]),
        place.array(ends[1]),
        varying,
        place.array(center[varying]),
        place.array(radius[varying]),
    )


def undecided(net: Network, interval: dict[int, tuple[Array, Array]]) -> int:
    """How many neurons `fold` would keep."""
    bounds = {j: tuple(to_numpy(a) for a in interval[j]) for j in interval}
    return sum(len(e) for e in _neurons(net, bounds).values())


def _part(f: Linear, at: slice) -> Linear:
    return Linear(f.X[at], f.H[at], f.c[at], f.error[at])


def _neurons(net: Network, bounds: dict[int, tuple[np.ndarray, ...]]) -> dict[int, np.ndarray]:
    """Nonlinear node -> its undecided entries; nodes without any are left out."""
    found = {}
    for i, node in enumerate(net.graph.nodes):
        if i != net.input and not isinstance(node.op, Affine):
            l, u = (a.reshape(-1) for a in bounds[node.inputs[0]])
            entries = np.flatnonzero((l < 0) & (u > 0))
            if len(entries):
                found[i] = entries
    return found


class _Walk:
    """Pulls rows back to the inputs and the undecided activations."""

    def __init__(
        self,
        net: Network,
        bounds: dict[int, tuple[np.ndarray, ...]],
        weight: dict[int, Array],
        neurons: dict[int, np.ndarray],
    ) -> None:
        self._net, self._weight, place = net, weight, net.place
        self._slope, self._open, self._column, at = {}, {}, {}, 0
        for i, node in enumerate(net.graph.nodes):
            if i == net.input or isinstance(node.op, Affine):
                continue
            l, u = bounds[node.inputs[0]]
            slope = np.where(l >= 0, 1.0, np.where(u <= 0, getattr(node.op, "leak", 0.0), 0.0))
            self._slope[i] = place.array(slope)
            if i in neurons:
                self._open[i] = place.array(neurons[i])
                self._column[i] = slice(at, at + len(neurons[i]))
                at += len(neurons[i])
        self._units = at

    def __call__(self, start: dict[int, Array], constant: Array) -> Linear:
        """Rows `Σ start[i]·value(i) + constant`, start `[P, size]`."""
        net, P = self._net, constant.shape[0]
        nodes, xp = net.graph.nodes, net.place.xp
        rows = {i: A.reshape(P, *nodes[i].shape) for i, A in start.items()}
        c, error = constant, constant * 0 + self._weight[UNDERFLOW]
        H = net.place.array(np.zeros((P, self._units)))
        for i in range(max(rows), -1, -1):
            if i not in rows or i == net.input:
                continue
            A, node = sparse.dense(rows.pop(i)).reshape(P, *nodes[i].shape), nodes[i]
            if i in self._slope:
                flat = A.reshape(P, -1)
                if i in self._open:
                    H[:, self._column[i]] = flat[:, self._open[i]]
                parts: Sequence[Array] = (flat * self._slope[i],)
            else:
                assert isinstance(node.op, Affine)
                if i in self._weight:
                    error = error + absolute_product(A, self._weight[i])
                bias = node.op.bias()
                if bias is not None:
                    c = c + A.reshape(P, -1) @ xp.broadcast_to(bias, node.shape).reshape(-1)
                parts = node.op.adjoint(A, *net.graph.shapes_in(i))
            for j, part in zip(node.inputs, parts, strict=True):
                part = sparse.dense(part).reshape(P, *nodes[j].shape)
                rows[j] = rows[j] + part if j in rows else part
        n = nodes[net.input].size
        X = rows[net.input].reshape(P, n) if net.input in rows else net.place.array(np.zeros((P, n)))
        return Linear(X, H, c, error + absolute_product(X, self._weight[net.input]))
