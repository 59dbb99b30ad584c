"""Bounds on a folded network that account for their rounding: what may decide."""

from __future__ import annotations

from dataclasses import replace

from verifier.bounds import general
from verifier.bounds.dual import Bends, Multipliers, Objective, Region, Walk, back, slopes
from verifier.bounds.fold import Folded
from verifier.values.arrays import Array, namespace
from verifier.values.rounding import gamma, tiny


def certain(F: Folded, r: Region, o: Objective, m: Multipliers) -> tuple[Array, Walk]:
    """Lower bounds `[B]` of B objectives, rounded down, and the walk behind them; its planes' `b` are rounded down too.

    Args:
        F, r, o, m: in double precision; multipliers of any origin.

    Sound because: every sum of at most N products errs by gamma(N) times the sum of their magnitudes, and each kind of
    sum is bounded over the whole box: a coefficient of a neuron's input stands before the magnitudes of that input's
    own terms, an objective's and a fact's weight before theirs, offsets and the minimum over the box before their own.
    What the folded functions do not know exactly (`error`) is weighed the same way.  Where units are not all
    rectifiers, coefficients of one row come from several units and may cancel, so the sums of their magnitudes are
    taken, and activations may be as large as their lines are.
    """
    xp, dtype = namespace(r.lower), F.place.dtype
    m, facts = _admissible(F, m), o.facts
    line = slopes(F, r, m.alpha, m.second)
    walk = back(F, r, line, o, m)
    U, k = len(F) + len(F.z), len(F.varying)
    N = U + k + o.ids.shape[1] + (0 if facts is None else len(facts)) + 2 * len(F.blocks) + 40
    g = gamma(N, dtype)
    x, z, h = F.reach
    Z = xp.abs(m.beta)
    if isinstance(line, Bends):
        h, steepest = general.swell(F, r, line)
    size = (m.weight * (o.rows.error + g * o.rows.magnitude(x, h))[o.ids]).sum(1)
    if facts is not None and m.mu is not None:
        size = size + m.mu @ (
            2 * g * (xp.abs(facts.X) @ x + xp.abs(facts.Z) @ z + xp.abs(facts.H) @ h + xp.abs(facts.c))
        )
        Z = Z + m.mu @ xp.abs(facts.Z)
    if isinstance(line, Bends):
        y = general.pulled(F, walk.a, steepest)
        size = size + (y + 2 * Z) @ (F.z.error + g * (F.magnitude(h) + z))
        size = size + g * (xp.abs(walk.a) @ h)
    else:
        size = size + (xp.abs(walk.y) + 2 * Z) @ (F.z.error + g * F.z.magnitude(x, h))
        size = size + g * (xp.abs(xp.minimum(walk.a, 0.0)) * line.offset).sum(1)
    plane = walk.b - (1 + 4 * g) * size - N * tiny(dtype) * (1 + x.sum() + z.sum())
    least = (walk.A * r.center).sum(1) - (xp.abs(walk.A) * r.radius).sum(1) if k else plane * 0
    bound = plane + least - 2 * g * (xp.abs(walk.A) @ x + xp.abs(plane))
    bound = xp.where(xp.isfinite(bound), bound, -xp.inf)
    return bound, Walk(bound, walk.A, plane, walk.a, walk.y)


def _admissible(F: Folded, m: Multipliers) -> Multipliers:
    """Choices found in single precision may lie beyond what double precision allows."""
    xp = namespace(m.alpha)
    if F.plain:
        return replace(m, alpha=xp.minimum(xp.maximum(m.alpha, F.leak), 1.0))
    assert m.second is not None
    alpha, second = m.alpha * 1, m.second * 1
    for layer in F.layers:
        low, up = layer.admissible
        for a in (alpha, second):
            a[:, layer.units] = xp.minimum(xp.maximum(a[:, layer.units], low), up)
    return replace(m, alpha=alpha, second=second)
