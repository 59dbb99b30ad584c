"""What parts of a folded network's box leave of its values, by interval arithmetic from layer to layer.

A split of a staircase leaves one step, so what comes of it is known exactly, and with it much of what reads it; the
bounds that a search inherits from its root know nothing of that.
"""

from __future__ import annotations

from dataclasses import replace

from verifier.bounds.fold import Folded
from verifier.bounds.lagrange import Region
from verifier.bounds.layers import Layer
from verifier.graph.ops.steps import Step
from verifier.relax import steps, table
from verifier.values.arrays import Array, namespace
from verifier.values.rounding import above, below, gamma, tiny


def worthwhile(F: Folded) -> bool:
    """Whether units are staircases: of curves a split leaves too much for intervals."""
    return any(layer.stairs for layer in F.layers)


def narrowed(F: Folded, r: Region) -> Region:
    """The parts with bounds of the values that intervals improve; a lower one above an upper one: nothing is there.

    Sound because: units lie in the images of what they read; a sum of N products is rounded by at most gamma(N) times
    the sum of their magnitudes, what folding may have changed is added, and ends are moved outward, so that none lies
    at a jump by chance (see `relax.steps.Beyond`).
    """
    xp, dtype = namespace(r.lower), F.place.dtype
    lower, upper = r.lower * 1, r.upper * 1
    B, U = int(lower.shape[0]), len(F)
    low_h, up_h = (lower[:, :1] * 0 + xp.broadcast_to(F.leak[None] * 0, (B, U)) for _ in range(2))
    g, done = gamma(2 * (U + len(F.varying)) + 8, dtype), 0
    center, reach = r.center @ F.z.X.T + F.z.c, r.radius @ xp.abs(F.z.X).T
    still = (xp.abs(r.center) + r.radius) @ xp.abs(F.z.X).T + xp.abs(F.z.c)
    for part, stop in F.parts:
        for layer in F.layers[done:stop]:
            images = _image(layer, replace(r, lower=lower, upper=upper))
            low_h[:, layer.units], up_h[:, layer.units] = images
        done = max(done, stop)
        n = F.layers[stop - 1].units.stop if stop else 0
        H = F.z.H[part, :n].T
        middle, half = 0.5 * low_h[:, :n] + 0.5 * up_h[:, :n], 0.5 * up_h[:, :n] - 0.5 * low_h[:, :n]
        size = xp.abs(H)
        value, far = middle @ H, half @ size
        error = g * ((xp.abs(middle) + half) @ size + still[:, part]) * 1.01 + F.z.error[part] + U * tiny(dtype)
        low, up = center[:, part] + value - reach[:, part] - far, center[:, part] + value + reach[:, part] + far
        lower[:, part] = xp.fmax(lower[:, part], below(low - error))
        upper[:, part] = xp.fmin(upper[:, part], above(up + error))
    return replace(r, lower=lower, upper=upper)


def _image(layer: Layer, r: Region) -> tuple[Array, Array]:
    """Intervals `[B, units]` of a layer's activations."""
    low, up = layer.gather(r.lower), layer.gather(r.upper)
    if isinstance(layer.op, Step) and layer.stairs:
        return steps.steps_between(layer.op, low, up, layer.beyond(layer.gather(r.sign)))
    found = table.image(layer.op, low, up)
    return found[0].reshape(low.shape[0], -1), found[1].reshape(low.shape[0], -1)
