"""Walks through a folded network whose units are not all rectifiers; see `bounds.dual` for what they are for."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from verifier.bounds.fold import Folded
from verifier.bounds.lagrange import Multipliers, Objective, Point, Region, Walk, some
from verifier.bounds.layers import Touch
from verifier.relax.lines import Lines
from verifier.relax.share import Planes
from verifier.values.arrays import Array, namespace


@dataclass(frozen=True, eq=False)
class Bends:
    """Linear bounds of every layer's units, and where they touch."""

    lines: tuple[Lines | Planes, ...]
    touch: tuple[Touch, ...]

    def take(self, at: Array) -> Bends:
        """Those of some domains."""
        lines = tuple(type(f)(*(some(a, at) for a in vars(f).values())) for f in self.lines)
        return Bends(lines, tuple(t.take(at) for t in self.touch))


def bends(F: Folded, r: Region, alpha: Array, second: Array) -> Bends:
    """Linear bounds on every part, with the choices made; `alpha`, `second` are `[B, U]`."""
    lines, touch = [], []
    for layer in F.layers:
        low, up = layer.gather(r.lower), layer.gather(r.upper)
        split = layer.gather(r.sign) if layer.stairs else None
        f, t = layer.lines(low, up, alpha[:, layer.units], second[:, layer.units], split)
        lines.append(f)
        touch.append(t)
    return Bends(tuple(lines), tuple(touch))


def multipliers(r: Region, beta: Array) -> Array:
    """What stands before the rows for their splits, of either sign: positive for lower sides."""
    return namespace(beta).where(r.sign == 2, beta, beta * r.sign)


def back(F: Folded, r: Region, s: Bends, o: Objective, m: Multipliers) -> Walk:
    """Walk objectives back to the input: sound as `dual.back` is.

    A split at a point is a bound: `v·(lower − z)` for positive v and `v·(upper − z)` for negative v are `<= 0`.
    """
    xp, N = namespace(r.lower), len(F.z)
    X, H, c = o.combine(m.weight)
    v = multipliers(r, m.beta)
    y = -v
    b = c + (xp.maximum(v, 0.0) * r.lower + xp.minimum(v, 0.0) * r.upper).sum(1)
    a = H * 1
    for k in range(o.stop - 1, -1, -1):
        layer = F.layers[k]
        part = a[:, layer.units]
        if layer.users.stop > layer.users.start:
            part += y[:, layer.users] @ F.z.H[layer.users, layer.units]
        Y, shift = layer.through(part, s.lines[k])
        y += layer.scatter(Y, N)
        b = b + shift
    b = b + y @ F.z.c
    A = X + y @ F.z.X
    least = ((A * r.center).sum(1) - (xp.abs(A) * r.radius).sum(1)) if A.shape[1] else b * 0
    return Walk(b + least, A, b, a, y)


def forward(F: Folded, r: Region, s: Bends, w: Walk, stop: int) -> Point:
    """Where the bound is least, and what the relaxed and the real network do there."""
    xp = namespace(w.A)
    x = xp.where(w.A > 0, r.center - r.radius, r.center + r.radius)
    z = x @ F.z.X.T + F.z.c
    true, h, real = z * 1, w.a * 0, w.a * 0
    for k in range(stop):
        layer = F.layers[k]
        h[:, layer.units] = layer.follow(w.a[:, layer.units], s.lines[k], layer.gather(z))
        real[:, layer.units] = layer.real(layer.gather(true))
        if layer.users.stop > layer.users.start:
            H = F.z.H[layer.users, layer.units].T
            z[:, layer.users] += h[:, layer.units] @ H
            true[:, layer.users] += real[:, layer.units] @ H
    return Point(x, z, h, real)


def gradients(F: Folded, r: Region, s: Bends, a: Array, z: Array, stop: int) -> tuple[Array, Array]:
    """How a bound moves with `alpha` and `second`, `[B, U]`."""
    first, second = a * 0, a * 0
    for k, layer in enumerate(F.layers[:stop]):
        low, up = layer.gather(r.lower), layer.gather(r.upper)
        pair = layer.gradient(a[:, layer.units], layer.gather(z), low, up, s.touch[k])
        first[:, layer.units], second[:, layer.units] = pair
    return first, second


def spans(F: Folded, r: Region) -> tuple[Array, Array]:
    """Least and largest `[B, U]` (or `[1, U]`) of what may be chosen."""
    xp = namespace(r.lower)
    pairs = [layer.span(layer.gather(r.lower), layer.gather(r.upper)) for layer in F.layers]
    low, up = (xp.concatenate([p[side] for p in pairs], axis=1) for side in (0, 1))
    return low, up


def paces(F: Folded) -> Array:
    """`[U]` shares of their ranges that steps of the choices may lead."""
    sizes = [f.units.stop - f.units.start for f in F.layers]
    return F.place.array(np.repeat([f.pace for f in F.layers], sizes), F.place.dtype)


def start(F: Folded, r: Region) -> tuple[Array, Array]:
    """Where choosing begins, `[B, U]` (or `[1, U]`): lines that are closest in the middle."""
    xp = namespace(r.lower)
    pairs = [layer.start(layer.gather(r.lower), layer.gather(r.upper)) for layer in F.layers]
    first, second = (xp.concatenate([p[side] for p in pairs], axis=1) for side in (0, 1))
    return first, second


def swell(F: Folded, r: Region, s: Bends) -> tuple[Array, list[Array]]:
    """The largest magnitudes `[U]` behind the units' lines, over all parts; and per layer the largest slopes."""
    xp = namespace(r.lower)
    z = xp.maximum(xp.amax(xp.abs(r.lower), 0), xp.amax(xp.abs(r.upper), 0))[None]
    sizes, steepest = [], []
    for layer, f in zip(F.layers, s.lines, strict=True):
        reach = layer.gather(z)
        if isinstance(f, Planes):
            steep = xp.amax(xp.maximum(xp.abs(f.S_l), xp.abs(f.S_u)), 0)
            size = (steep * reach[0][..., None, :]).sum(-1)
        else:
            steep = xp.amax(xp.maximum(xp.abs(f.s_l), xp.abs(f.s_u)), 0)
            size = steep * reach[0]
            size = size.sum(-1) if size.ndim >= f.t_u.ndim else size
        size = size + xp.amax(xp.maximum(xp.abs(f.t_l), xp.abs(f.t_u)), 0)
        sizes.append(size.reshape(-1))
        steepest.append(steep)
    return xp.concatenate(sizes), steepest


def pulled(F: Folded, a: Array, steepest: list[Array]) -> Array:
    """`[B, N]` at least the sum of the magnitudes of what walks add up before each row."""
    xp = namespace(a)
    total = None
    for layer, steep in zip(F.layers, steepest, strict=True):
        A = xp.abs(a[:, layer.units]).reshape(a.shape[0], *layer.shape)
        if layer.groups:
            Y = (A[..., None] * steep[None]).sum(-2)
        else:
            Y = A[..., None] * steep[None] if steep.ndim + 1 > A.ndim else A * steep[None]
        y = layer.scatter(Y, len(F.z))
        total = y if total is None else total + y
    assert total is not None
    return total
