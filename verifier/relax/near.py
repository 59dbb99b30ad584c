"""Linear bounds of a number that is known up to what kernels err by."""

from __future__ import annotations

from verifier.graph.ops.near import Near
from verifier.relax.lines import Lines
from verifier.values.arrays import Array, namespace


def lines(f: Near, lower: Array, upper: Array) -> Lines:
    """Lines of slope one.

    Sound because: `|f(z) − z| <= off`, and nothing is computed here that rounds.  Where `off` is not known, they are
    infinitely far away.
    """
    xp = namespace(lower)
    zero = xp.where(lower == lower, lower * 0, 0.0) if f.off is None else lower * 0
    off = zero + _off(f, lower)
    return Lines(zero + 1, -off, zero + 1, off)


def image(f: Near, lower: Array, upper: Array) -> tuple[Array, Array]:
    """An interval that holds every value."""
    off = _off(f, lower)
    return lower - off, upper + off


def _off(f: Near, like: Array) -> Array | float:
    """What it is off by; reshapes may have been put before it since it was told."""
    return namespace(like).inf if f.off is None else f.off.reshape(like.shape[1:])
