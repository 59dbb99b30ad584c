"""Which value to split, and where, in networks whose units are not all rectifiers.

Source: GenBaB (Shi et al., *Neural Network Verification with Branch-and-Bound for General Nonlinearities*, 2025), where
any value that nonlinear operators read may be split at any point, and scores come from bound propagation.  Here a unit
is charged its coefficient times how far its line is from it where the bound is least: what a split there can win.
"""

from __future__ import annotations

from dataclasses import replace
from math import log

from verifier.bounds.dual import Bends, Region, Walk, forward
from verifier.bounds.fold import Folded
from verifier.bounds.layers import Layer
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.steps import STAIRS, Step
from verifier.relax import curves, steps
from verifier.relax.share import Planes
from verifier.search.neurons.splits import Splits
from verifier.values.arrays import Array, counting, namespace
from verifier.values.rounding import dtype_of, unit

AROUND = 0.2
"""A split is at zero, where curves bend over, if this share of the interval lies on either side; else in the middle."""
BITS = 16
"""Up to as many combinations of a first layer's steps, 2^16, are few."""
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
    rises = _rises(F, r)
    able = F.open(r.lower, r.upper) & ~narrow & ~((rises == 0) & _stairs_only(F))
    first = _first(F, able, rises)
    score = xp.where(first, score + 1e30, score)
    pick = xp.argmax(xp.where(able, score + 1e-30, -1.0), 1)
    each = counting(int(pick.shape[0]), pick)
    low, up = r.lower[each, pick], r.upper[each, pick]
    sign = xp.where(F.by_sign, 1, 0)[pick] > 0
    zero = sign | (xp.minimum(-low, up) > AROUND * (up - low))
    at = _jump(F, pick, low, up, xp.where(zero, low * 0, 0.5 * low + 0.5 * up))
    return xp.where(able.any(1), pick, pick * 0 - 1), at


def _rises(F: Folded, r: Region) -> Array:
    """`[B, N]` by how many steps the staircases rise that read a value, on each part."""
    total = r.lower * 0
    for layer in F.layers:
        if isinstance(layer.op, Step) and layer.stairs:
            beyond = layer.beyond(layer.gather(r.sign))
            first, last = steps.steps_between(layer.op, layer.gather(r.lower), layer.gather(r.upper), beyond)
            total = total + layer.scatter(last - first, len(F.z))
    return total


def _stairs_only(F: Folded) -> Array:
    """`[1, N]` which values are read by staircases alone."""
    others = F.lower[None] * 0
    for layer in F.layers:
        if not layer.stairs:
            others = others + layer.scatter(layer.gather(others) * 0 + 1, len(F.z))
    return others == 0


def _first(F: Folded, able: Array, rises: Array) -> Array:
    """`[B, N]` values that are split before any others: those of a first layer of staircases, which decides all that
    comes behind, where the combinations of its steps are few.
    """
    xp, none = namespace(rises), able & ~able
    if not F.parts or not F.layers[0].stairs:
        return none
    part, stop = F.parts[0]
    if stop or part.stop - part.start > BITS or not bool(_stairs_only(F)[:, part].all()):
        return none
    bits = xp.log1p(rises[:, part]).sum(1)[:, None] / log(2)
    none[:, part] = able[:, part] & (bits <= BITS)
    return none


def _jump(F: Folded, pick: Array, low: Array, up: Array, at: Array) -> Array:
    """Where staircases jump that read the picked values `[B]`: where they begin or cease to rise if that is well
    inside, else in the middle; `at` for others.
    """
    xp = namespace(low)
    for layer in F.layers:
        if not (isinstance(layer.op, Step) and layer.stairs):
            continue
        op, known = layer.op, layer.reader
        reads = (pick < len(known)) & (known[xp.where(pick < len(known), pick, pick * 0)] >= 0)
        first, last = steps.steps_between(op, low, up, (low == low, low == low))
        shift = 1.0 - STAIRS[op.kind]  # between y and y + 1 it jumps at y + shift
        point = xp.minimum(xp.maximum(xp.floor(0.5 * low + 0.5 * up - shift + 0.5), first), last - 1)
        room = AROUND * (up - low)
        for end in (op.low, op.high - 1):
            inside = (end + shift - low > room) & (up - end - shift > room) & (end >= first) & (end < last)
            point = xp.where(inside, low * 0 + end, point)
        at = xp.where(reads & (last > first), point + shift, at)
    return at


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
        op = layer.op
        if not (isinstance(op, Curve) or (isinstance(op, Step) and op.stairs)):
            continue
        unit_of = layer.reader
        reads = pick < len(unit_of)
        column = xp.where(reads, unit_of[xp.where(reads, pick, pick * 0)], pick * 0 - 1)
        at = xp.flatnonzero(column >= 0)
        if len(at):
            where = (at, column[at] + layer.units.start)
            for sign, chosen in ((1, alpha), (-1, second)):
                known = curves.slope if isinstance(op, Curve) else steps.slope
                chosen[where] = sign * known(op, sign, low[at], up[at])  # type: ignore[arg-type]
    return replace(s, alpha=alpha, second=second)
