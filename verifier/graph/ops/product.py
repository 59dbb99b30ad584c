"""Nonlinear functions of several numbers, which stand side by side on the last axis: products and softmax."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.graph.graph import Rowwise
from verifier.values.arrays import Array, namespace


@dataclass(frozen=True)
class Product(Rowwise):
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
class Dot(Rowwise):
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
