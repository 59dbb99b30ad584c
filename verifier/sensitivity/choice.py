"""Which row of the folded network, or which input, to split in a part.

What a unit's lines lose where they are farthest apart, times its coefficient in the bound, is charged to what can
narrow it: a gate's to the sign that opens and shuts it; a curve's or a product's to the rows it reads, and from there
to the units behind them, in proportion to what they contribute to the rows' width, until it comes to signs or inputs.
"""

from __future__ import annotations

import numpy as np

from verifier.bounds.layers import Layer
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.norm import Norm, shares
from verifier.graph.ops.relu import Relu
from verifier.relax import table
from verifier.relax.lines import Lines
from verifier.relax.share import Planes
from verifier.sensitivity.problem import Problem
from verifier.sensitivity.regions import Parts
from verifier.values.arrays import Array
from verifier.values.rounding import unit

HALF = 0.5
"""What halving an input's interval is reckoned to win of what is charged to it; splitting a sign wins all."""


def choose(score: np.ndarray) -> np.ndarray:
    """`[D]` the row to split in every part, or N + j for input j; -1 where nothing can be."""
    if not score.shape[1]:  # nothing varies, no sign is open: a point, say
        return np.full(len(score), -1)
    pick = np.argmax(score, 1)
    return np.where(score[np.arange(len(score)), pick] >= 0, pick, -1)


def scores(
    P: Problem, s: Parts, a: dict[int, np.ndarray], lines: tuple[Lines | Planes, ...], times: int = 1
) -> np.ndarray:
    """`[D, N + k]` how much splitting a row or an input is reckoned to win; negative where it cannot be split.

    Args:
        a: coefficients `[D, units]` of the units, per layer, in the walk behind the part's bound.
        lines: of the layers, for every `times`-th part.
    """
    F = P.F
    open_ = P.kinks & (s.lower < 0) & (s.upper > 0)
    if all(isinstance(layer.op, (Gate, Relu)) for layer in F.layers if not P.outer(layer)):
        rows = np.zeros_like(s.lower)
        for k, layer in enumerate(F.layers):
            if isinstance(layer.op, Gate) and k in a:
                np.add.at(rows.T, _signs(layer), (abs(a[k]) * _reach(layer, s)).T)
        return np.concatenate([np.where(open_, rows, -1.0), np.full_like(s.low, -1.0)], 1)
    rows, inputs = _charged(P, s, a, lines, times)
    able = (s.high - s.low > 64 * unit("float64") * (abs(s.low) + abs(s.high))) & (inputs > 0)
    return np.concatenate([np.where(open_, rows, -1.0), np.where(able, HALF * inputs, -1.0)], 1)


def _signs(layer: Layer) -> np.ndarray:
    """The rows that open and shut the gates of a layer."""
    return np.asarray(layer.take.index).reshape(layer.take.size)[..., 1].reshape(-1)


def _reach(layer: Layer, s: Parts) -> np.ndarray:
    """How much gates can change what they let through, `[D, units]`."""
    assert isinstance(layer.op, Gate)
    low, up = layer.gather(s.lower)[..., 0], layer.gather(s.upper)[..., 0]
    reach = (np.maximum(up, 0.0) - np.minimum(low, 0.0)) * (1 - layer.op.leak)
    return np.asarray(reach.reshape(len(s), -1))


def _charged(
    P: Problem, s: Parts, a: dict[int, np.ndarray], lines: tuple[Lines | Planes, ...], times: int
) -> tuple[np.ndarray, np.ndarray]:
    """What rows `[D, N]` that are signs and inputs `[D, k]` are charged."""
    F, D = P.F, len(s)
    H, X, total = abs(F.z.H), abs(F.z.X), s.upper - s.lower + 1e-300
    charge = np.zeros_like(s.lower)
    for k in range(len(F.layers) - 1, -1, -1):
        layer = F.layers[k]
        low, up = layer.gather(s.lower), layer.gather(s.upper)
        least, most = table.image(layer.op, low, up)
        width = (most - least).reshape(D, -1)
        mine = np.zeros((D, layer.units.stop - layer.units.start))
        if layer.users.stop > layer.users.start:
            part = charge[:, layer.users] / total[:, layer.users]
            part = np.where(P.kinks[layer.users], 0.0, part)
            mine = (part @ H[layer.users, layer.units]) * width
        if k in a:
            mine = mine + abs(a[k]) * (
                _reach(layer, s) if isinstance(layer.op, Gate) else _height(lines[k], low, up, times)
            )
        mine = np.where(np.isfinite(mine), mine, 1e30)
        np.add.at(charge.T, np.asarray(layer.take.index).reshape(-1), _shared(layer, mine, low, up).T)
    part = np.where(P.kinks, 0.0, charge / total)
    return charge, (part @ X) * (s.high - s.low)


def _height(f: Lines | Planes, low: np.ndarray, up: np.ndarray, times: int) -> np.ndarray:
    """How far apart the lines are in the middle of what their units read: `[D, units]`."""
    z, D = 0.5 * low + 0.5 * up, len(low)

    def each(v: Array) -> Array:
        return v if len(v) == 1 or times == 1 else np.repeat(v, times, 0)

    gap = each(f.t_u) - each(f.t_l)
    if isinstance(f, Planes):
        gap = gap + (each(f.S_u - f.S_l) * z[..., None, :]).sum(-1)
    else:
        slope = each(f.s_u - f.s_l) * z
        gap = gap + (slope.sum(-1) if slope.ndim > gap.ndim else slope)
    return np.maximum(gap, 0.0).reshape(D, -1)


def _shared(layer: Layer, mine: np.ndarray, low: np.ndarray, up: np.ndarray) -> np.ndarray:
    """What units are charged, among the entries that they read: `[D, entries]`."""
    D, op = len(mine), layer.op
    if isinstance(op, Gate):
        open_ = (low[..., 1] < 0) & (up[..., 1] > 0)
        charge = mine.reshape(low.shape[:-1])
        return np.stack([np.where(open_, 0.0, charge), np.where(open_, charge, 0.0)], -1).reshape(D, -1)
    if low.ndim == mine.reshape(D, *layer.shape).ndim and not layer.groups:
        return mine
    width = up - low + 1e-300
    if layer.groups:
        return (mine.reshape(low.shape).sum(-1)[..., None] * width / width.sum(-1)[..., None]).reshape(D, -1)
    if isinstance(op, Norm):  # by what widths add to the norm, about
        size = shares(np.maximum(abs(low), abs(up)))[1] ** (op.r - 1) * width
        share = size / (size.sum(-1)[..., None] + 1e-300)
        return np.asarray(mine.reshape(low.shape[:-1])[..., None] * share).reshape(D, -1)
    half = low.shape[-1] // 2
    both = width[..., :half] * width[..., half:]
    both = both / both.sum(-1)[..., None] * (0.5 * mine.reshape(low.shape[:-1])[..., None])
    return np.concatenate([both, both], -1).reshape(D, -1)
