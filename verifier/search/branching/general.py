"""Which value to split, and where, in networks whose units are not all rectifiers.

Source: GenBaB (Shi et al., *Neural Network Verification with Branch-and-Bound for General Nonlinearities*, 2025), where
any value that nonlinear operators read may be split at any point, and scores come from bound propagation.  Here a unit
is charged its coefficient times how far its line is from it where the bound is least: what a split there can win.
"""

from __future__ import annotations

from dataclasses import replace

from verifier.bounds.dual import Bends, Region, Walk, forward
from verifier.bounds.fold import Folded
from verifier.bounds.layers import Layer
from verifier.graph.ops.curves import Curve
from verifier.relax import curves
from verifier.relax.share import Planes
from verifier.search.neurons.splits import Splits
from verifier.values.arrays import Array, counting, namespace
from verifier.values.rounding import dtype_of, unit

AROUND = 0.2
"""A split is at zero, where curves bend over, if this share of the interval lies on either side; else in the middle."""
HEIGHT = 0.1
"""How much the distance of the lines in the middle of the interval counts beside that where the bound is least."""


def widest(F: Folded, r: Region, line: Bends, w: Walk) -> tuple[Array, Array]:
    """`[B]` the value to split in every part (-1 where none can be), and `[B]` at which point."""
    xp = namespace(r.lower)
    if not len(F):
        return xp.argmax(w.b[:, None], 1) - 1, w.b * 0
    point = forward(F, r, line, w, len(F.blocks))
    miss = [xp.abs(point.h[:, f.units] - f.real(f.gather(point.z))) * xp.abs(w.a[:, f.units]) for f in F.layers]
    score = _rows(F, miss) + HEIGHT * loss(F, r, line, w.a)
    score = xp.where(xp.isfinite(score), score, 1e30)
    width = r.upper - r.lower
    narrow = width <= 64 * unit(dtype_of(width)) * (xp.abs(r.lower) + xp.abs(r.upper))
    able = F.open(r.lower, r.upper) & ~narrow
    pick = xp.argmax(xp.where(able, score + 1e-30, -1.0), 1)
    each = counting(int(pick.shape[0]), pick)
    low, up = r.lower[each, pick], r.upper[each, pick]
    sign = xp.where(F.by_sign, 1, 0)[pick] > 0
    zero = sign | (xp.minimum(-low, up) > AROUND * (up - low))
    at = xp.where(zero, low * 0, 0.5 * low + 0.5 * up)
    return xp.where(able.any(1), pick, pick * 0 - 1), at


def loss(F: Folded, r: Region, line: Bends, a: Array) -> Array:
    """`[B, N]` coefficients times the distance of units' lines in the middle of what they read."""
    xp, parts = namespace(a), []
    for layer, f in zip(F.layers, line.lines, strict=True):
        z = 0.5 * layer.gather(r.lower) + 0.5 * layer.gather(r.upper)
        if isinstance(f, Planes):
            height = ((f.S_u - f.S_l) * z[..., None, :]).sum(-1) + f.t_u - f.t_l
        else:
            product = (f.s_u - f.s_l) * z
            height = (product.sum(-1) if product.ndim > f.t_u.ndim else product) + f.t_u - f.t_l
        height = height.reshape(height.shape[0], -1)
        parts.append(xp.abs(a[:, layer.units]) * xp.maximum(height, 0.0))
    return _rows(F, parts)


def _rows(F: Folded, parts: list[Array]) -> Array:
    """What is said of units, said of the values that they read: `[B, N]`."""
    total = None
    for layer, part in zip(F.layers, parts, strict=True):
        y = layer.scatter(_spread(layer, part), len(F.z))
        total = y if total is None else total + y
    assert total is not None
    return total


def _spread(layer: Layer, part: Array) -> Array:
    xp, B = namespace(part), part.shape[0]
    size = layer.take.size
    part = part.reshape(B, *layer.shape)
    if layer.groups:
        part = part.sum(-1)[..., None] / size[-1]
    elif len(size) > len(layer.shape):
        part = part[..., None]
    return xp.broadcast_to(part, (B, *size))


def renewed(F: Folded, s: Splits) -> Splits:
    """Parts with fresh lines of the curves that read what has just been split: the parents' suit wider intervals."""
    if F.plain or s.second is None:
        return s
    xp, pick = namespace(s.lower), s.pick
    each = counting(len(s), pick)
    low, up = s.lower[each, pick], s.upper[each, pick]
    alpha, second = s.alpha * 1, s.second * 1
    for layer in F.layers:
        if not isinstance(layer.op, Curve):
            continue
        unit_of = layer.reader
        reads = pick < len(unit_of)
        column = xp.where(reads, unit_of[xp.where(reads, pick, pick * 0)], pick * 0 - 1)
        at = xp.flatnonzero(column >= 0)
        if len(at):
            where = (at, column[at] + layer.units.start)
            alpha[where] = curves.slope(layer.op, 1, low[at], up[at])
            second[where] = -curves.slope(layer.op, -1, low[at], up[at])
    return replace(s, alpha=alpha, second=second)
