"""Nonlinear functions of several numbers, which stand side by side on the last axis: products and softmax."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np

from verifier.graph.graph import Rowwise
from verifier.graph.ops.moves import Take
from verifier.values.arrays import Array, namespace

if TYPE_CHECKING:
    from verifier.graph.chain import Chain, Rows


class _Bilinear(Rowwise):
    """Products of the first and the second half of the last axis, one or a sum of them."""

    def vjp(self, t: Chain, g: Rows, i: int) -> tuple[Rows | None, ...]:
        """Each factor times the other one."""
        pair = t.inputs(i)[0]
        return (t.times(t.spread(g, t.shape(pair)[-1]), _other(t, pair)),)

    def jvp(self, t: Chain, dx: tuple[Rows, ...], i: int) -> Rows:
        """How each factor moves times the other one, added up."""
        return t.total(t.times(dx[0], _other(t, t.inputs(i)[0])))


def _other(t: Chain, pair: int) -> int:
    """The halves of the last axis of a node exchanged."""
    shape = t.shape(pair)
    index = np.arange(prod(shape)).reshape(-1, 2, shape[-1] // 2)[:, ::-1]
    return t.add(Take(index.reshape(-1).copy(), shape), pair)


@dataclass(frozen=True)
class Product(_Bilinear):
    """The product of the two entries of the last axis."""

    width = 2

    def evaluate(self, *x: Array) -> Array:
        """`x[..., 0]·x[..., 1]`."""
        return x[0][..., 0] * x[0][..., 1]

    def gradient(self, g: Array, x: Array) -> Array:
        """Each factor times the other one."""
        xp = namespace(x)
        return xp.stack([g * x[..., 1], g * x[..., 0]], -1)


@dataclass(frozen=True)
class Dot(_Bilinear):
    """The inner product of the first and the second half of the last axis."""

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        """The input's without the last axis, which must be even."""
        (s,) = inputs
        if not s or s[-1] % 2 or not s[-1]:
            raise ValueError(f"an inner product over the last axis of shape {list(s)}")
        return s[:-1]

    def evaluate(self, *x: Array) -> Array:
        """`Σ_i x[..., i]·x[..., k + i]`."""
        k = x[0].shape[-1] // 2
        return (x[0][..., :k] * x[0][..., k:]).sum(-1)

    def gradient(self, g: Array, x: Array) -> Array:
        """Each half times the other one."""
        xp, k = namespace(x), x.shape[-1] // 2
        return g[..., None] * xp.concatenate([x[..., k:], x[..., :k]], -1)


@dataclass(frozen=True)
class Difference(Rowwise):
    """`relu(e) − relu(z)` for the entries z, e and d = e − z of the last axis: how two copies of a network differ.

    Whoever builds a graph sees to it that d is e − z: bounds of this operator hold for such entries only.
    """

    width = 3

    def evaluate(self, *x: Array) -> Array:
        """The difference."""
        xp, z, e = namespace(x[0]), x[0][..., 0], x[0][..., 1]
        return xp.maximum(e, 0.0) - xp.maximum(z, 0.0)

    def gradient(self, g: Array, x: Array) -> Array:
        """By z and by e; d, which follows, counts for nothing."""
        xp, z, e = namespace(x), x[..., 0], x[..., 1]
        return xp.stack([xp.where(z > 0, -g, g * 0), xp.where(e > 0, g, g * 0), g * 0], -1)


@dataclass(frozen=True)
class Share(Rowwise):
    """Softmax over the last axis: `exp(x_i) / Σ_k exp(x_k)`, of shape `(*s, n)` like its input."""

    def shape(self, *inputs: tuple[int, ...]) -> tuple[int, ...]:
        """The input's."""
        (s,) = inputs
        if not s or s[-1] < 1:
            raise ValueError(f"softmax over the last axis of shape {list(s)}")
        return s

    def evaluate(self, *x: Array) -> Array:
        """The softmax, shifted by the largest entry so that nothing overflows."""
        xp, (a,) = namespace(x[0]), x
        e = xp.exp(a - xp.amax(a, -1)[..., None])
        return e / e.sum(-1)[..., None]

    def gradient(self, g: Array, x: Array) -> Array:
        """`p∘(g − ⟨g, p⟩)`."""
        p = self.evaluate(x)
        return p * (g - (g * p).sum(-1)[..., None])

    def _chain(self, t: Chain, g: Rows, i: int) -> Rows:
        """`p∘(g − ⟨g, p⟩)`, for rows as for directions."""
        n = t.shape(i)[-1]
        mean = t.spread(t.total(t.times(g, i)), n)
        return t.times(t.sum([g, t.negative(mean)]), i)

    def vjp(self, t: Chain, g: Rows, i: int) -> tuple[Rows | None, ...]:
        """See `gradient`."""
        return (self._chain(t, g, i),)

    def jvp(self, t: Chain, dx: tuple[Rows, ...], i: int) -> Rows:
        """See `gradient`."""
        return self._chain(t, dx[0], i)
