"""The largest or smallest entries of windows of any widths, all of them at once, as rectifiers."""

from __future__ import annotations

import numpy as np

from verifier.graph.graph import Builder
from verifier.graph.ops.affine import Add
from verifier.graph.ops.moves import Concat, Take
from verifier.graph.ops.relu import Relu


def extremes(build: Builder, x: int, start: np.ndarray, index: np.ndarray, largest: bool, name: str) -> int:
    """A node `[W]`: of each window of the flat node `x` the largest entry, or the smallest.

    Args:
        start: `[W + 1]`, index: window w has the entries `index[start[w]:start[w + 1]]`, at least one.

    A tournament, `max(a, b) = b + relu(a − b)` and `min(a, b) = a − relu(a − b)`: one round halves every window.
    """
    size = np.diff(start)
    while len(size) and size.max() > 1:
        begin, half = np.cumsum(size) - size, size // 2
        pair = np.arange(int(half.sum())) - np.repeat(np.cumsum(half) - half, half) + np.repeat(begin, half)
        a, b = (_taken(build, x, index[at], name) for at in (pair, pair + np.repeat(half, half)))
        lead = build.add(Relu(), (build.add(Add((1, -1)), (a, b), name),), name)
        x_new = build.add(Add((1, 1)), (b, lead), name) if largest else build.add(Add((1, -1)), (a, lead), name)
        odd = np.flatnonzero(size % 2)
        if len(odd):  # the odd one out goes to the next round unplayed
            x_new = build.add(Concat(0), (x_new, _taken(build, x, index[begin[odd] + size[odd] - 1], name)), name)
        left = half + size % 2
        first = np.cumsum(left) - left
        at = np.arange(int(left.sum())) - np.repeat(first, left)
        winner = at < np.repeat(half, left)
        rank = np.repeat(np.cumsum(size % 2) - size % 2, left) + int(half.sum())
        index = np.where(winner, at + np.repeat(np.cumsum(half) - half, left), rank)
        x, size = x_new, left
    return _taken(build, x, index, name)


def _taken(build: Builder, x: int, index: np.ndarray, name: str) -> int:
    return build.add(Take(np.asarray(index, np.int64).copy(), (len(index),)), (x,), name)
