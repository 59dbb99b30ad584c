"""A network on one box, with everything that is decided there folded away.

On a box most ReLUs have one sign and are affine.  What is left is a small network over the undecided neurons alone:

    z = X·x + H·h + c,   h = f(z),   H strictly lower triangular by layers,

where f is any nonlinear operator; h of a product or of softmax reads several rows of z, and one row of z may be read by
several units.  Where all are rectifiers, each with a row of its own, rows and units are the same (`plain`): then walks
are fused over layers, and better bounds fold more neurons away.  Every row to be proved is affine in x and h.  It is
exact, it has no convolutions, and a walk through it is a handful of dense products, so a whole search over neuron
splits runs on it.  (Residual connections and decided neurons make a layer depend on all earlier ones, hence one matrix
H and not a chain.)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np

from verifier.bounds.layers import Layer
from verifier.bounds.network import Tick, nothing
from verifier.values.arrays import Array, Place, namespace, to_numpy
from verifier.values.rounding import gamma, outward

MOVED = 500
"""Multiply-adds in the time that climbing, clipping and choosing take for one neuron of one part."""


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
    """U undecided neurons on a box, which read N values z, and the rows over them.

    Attributes:
        place: where the arrays are, and their type.
        z: the neurons' inputs, as functions of x and of earlier activations: `[N, k]`, `[N, U]`.
        rows: what is to be proved positive.
        blocks: positions of the neurons of one layer each; a layer depends on earlier ones only.
        source, entry: `[N]` (on the host): the node of the graph, and the entry of it, that each input is.
        leak: `[U]` slope of rectifiers below zero.
        lower, upper: `[N]` bounds of z on the box.
        varying: `[k]` (on the host) the inputs that vary; the others are part of the constants.
        center, radius: `[k]` the box, enclosed by `center ± radius`.
        layers: what the units are and read, one a block; empty where the network is plain.
        parts: which rows of z are of one node of the graph, and how many layers these depend on.
        by_sign: `[N]` where only the sign of z matters; None where the network is plain.
        tick: called now and then by whoever climbs; whoever has run out of time raises there.
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
    layers: tuple[Layer, ...] = ()
    parts: tuple[tuple[slice, int], ...] = ()
    by_sign: Array | None = None
    tick: Tick = nothing

    def __len__(self) -> int:
        """U."""
        return int(self.z.H.shape[1])

    @property
    def work(self) -> int:
        """Multiply-adds that stand for the time of a row's way back to the input, and its minimiser's forth again."""
        return 2 * len(self.z) * (len(self) + len(self.varying) + MOVED)

    @property
    def plain(self) -> bool:
        """Whether all units are rectifiers with rows of their own, so that N is U."""
        return not self.layers

    def open(self, lower: Array, upper: Array) -> Array:
        """Where bounds `[…, N]` leave something undecided."""
        undecided = (lower < 0) & (upper > 0)
        if self.by_sign is None:
            return undecided
        return namespace(lower).where(self.by_sign, undecided, lower < upper)

    @property
    def stages(self) -> tuple[tuple[slice, int], ...]:
        """`parts`, also of plain networks: there layers are parts."""
        return self.parts if self.layers else tuple((block, k) for k, block in enumerate(self.blocks))

    def to(self, place: Place) -> Folded:
        """The same at another place; bounds are rounded outward, what else this rounds is not accounted for."""
        lower, upper = outward(self.lower, self.upper, place)
        moved = {n: place.array(getattr(self, n), place.dtype) for n in ("leak", "center", "radius")}
        z, rows = self.z.to(place), self.rows.to(place)
        layers, signs = tuple(f.to(place) for f in self.layers), None
        if self.by_sign is not None:
            signs = place.array(self.by_sign)
        return replace(
            self, place=place, z=z, rows=rows, lower=lower, upper=upper, layers=layers, by_sign=signs, **moved
        )

    @cached_property
    def reach(self) -> tuple[Array, Array, Array]:
        """The largest magnitudes of inputs `[k]`, of neurons' inputs `[N]` and of rectifiers' activations `[U]`.

        (Of other activations, linear bounds tell: see `general.swell`.)
        """
        xp = self.place.xp
        z = xp.maximum(xp.abs(self.lower), xp.abs(self.upper))
        if not self.plain:
            return xp.abs(self.center) + self.radius, z, self.leak * 0
        return xp.abs(self.center) + self.radius, z, z * xp.maximum(xp.abs(self.leak), 1.0)

    @cached_property
    def _still(self) -> Array:
        """`[N]` the part of `magnitude` that does not hang on the activations."""
        xp = self.place.xp
        return xp.abs(self.z.X) @ self.reach[0] + xp.abs(self.z.c)

    def magnitude(self, h: Array) -> Array:
        """`[N]` the sum of the magnitudes behind each input of a unit, where activations are at most h `[U]`."""
        xp, total = self.place.xp, self._still * 1
        for f in self.layers:  # all that is not zero
            total[f.users] += xp.abs(self.z.H[f.users, f.units]) @ h[f.units]
        return total

    def prefix(self, k: int) -> Folded:
        """The first k layers, without rows."""
        U = self.blocks[k - 1].stop if k else 0
        N = max((f.last for f in self.layers[:k]), default=0) if self.layers else U
        z = Linear(self.z.X[:N], self.z.H[:N, :U], self.z.c[:N], self.z.error[:N])
        some = {n: getattr(self, n)[:N] for n in ("source", "entry", "lower", "upper")}
        layers = tuple(f.within(N) for f in self.layers[:k])
        signs = None if self.by_sign is None else self.by_sign[:N]
        return replace(
            self,
            z=z,
            rows=z.take(slice(0, 0)),
            blocks=self.blocks[:k],
            leak=self.leak[:U],
            layers=layers,
            by_sign=signs,
            **some,
        )

    def settle(self, lower: Array, upper: Array) -> Folded:
        """The same network with better bounds `[N]`; a plain one smaller: what they decide is folded in turn.

        Sound because: an active neuron's activation is its input, which is put in its place where it is used; an
        inactive one's is `leak` times it.  The error grows by that of the function put in, and by rounding.
        """
        if not self.plain:
            return replace(self, lower=lower, upper=upper)
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
