"""Maxima over windows as rectifiers, so that everything that bounds rectifiers bounds them too."""

from __future__ import annotations

import numpy as np

from verifier.graph.graph import Graph, Node
from verifier.graph.ops.affine import Add, Scale
from verifier.graph.ops.moves import Concat, Reshape, Take
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.relu import Relu
from verifier.graph.passes.copies import copies
from verifier.graph.passes.edit import Editor, rewrite
from verifier.graph.weights import shrinking


def maxima_to_relu(graph: Graph) -> Graph:
    """Every `MaxOf` as a tournament of `max(a, b) = b + relu(a − b)`, one round a halving of the window.

    Nobody plays against a copy of himself, which would be a neuron that is zero throughout and never decided; constants
    play last, as `t + relu(c − t)`: whatever their size (padding may be the lowest number there is) they round nothing
    where they lose.
    """
    return rewrite(graph, _rule)


def _rule(edit: Editor, node: Node, inputs: tuple[int, ...]) -> int | None:
    if not isinstance(node.op, MaxOf):
        return None
    windows = np.asarray(node.op.windows)
    of, x = copies(edit, inputs[0]), inputs[0]
    players, counts, least = _players(windows, of.ids, of.values)
    if (least > -np.inf).any():  # without what puts the constants in
        x, players = of.traced(players) or (x, players)
    x, players = _played(edit, node.name, x, players, counts)
    last = edit.add(Take(players, (len(players),)), (x,), node.name)
    at = np.flatnonzero(least > -np.inf)
    if len(at):
        some = last if len(at) == len(least) else edit.add(Take(at, (len(at),)), (last,), node.name)
        by = np.array(shrinking(least[at]))
        step = edit.add(Relu(), (edit.add(Scale(-by, least[at] * by), (some,), node.name),), node.name)
        step = step if by == 1 else edit.add(Scale(1 / by), (step,), node.name)
        if len(at) < len(least):
            back = np.full(len(least), -1)
            back[at] = np.arange(len(at))
            step = edit.add(Take(back, (len(back),)), (step,), node.name)
        last = edit.add(Add((1, 1)), (last, step), node.name)
    return edit.add(Reshape(node.shape), (last,), node.name)


def _players(windows: np.ndarray, ids: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Who plays in each window: positions `[w, N]`, of which the first `counts` `[N]`, and the constant `[N]` there.

    The constant is minus infinity where a window has none, and where it holds nothing else: then it plays.
    """
    N, each = len(windows), np.arange(len(windows))
    known, fixed = ids[windows], np.where(ids[windows] == 0, values[windows], -np.inf)
    alone = (known == 0).all(1)
    order = np.argsort(known, 1, kind="stable")
    ranked = np.take_along_axis(known, order, 1)
    first = np.diff(ranked, axis=1, prepend=-1.0) != 0
    keep = np.zeros(windows.shape, bool)
    np.put_along_axis(keep, order, first, 1)
    keep &= known != 0
    keep[each[alone], fixed.argmax(1)[alone]] = True
    packed = np.take_along_axis(windows, np.argsort(~keep, 1, kind="stable"), 1)
    counts = keep.sum(1)
    packed = np.where(np.arange(packed.shape[1]) < counts[:, None], packed, packed[:, :1])
    return packed.T, counts, np.where(alone, -np.inf, fixed.max(1)) if N else np.zeros(0)


def _played(edit: Editor, name: str, x: int, players: np.ndarray, counts: np.ndarray) -> tuple[int, np.ndarray]:
    """The tournaments of all windows, side by side: a node, and where in it each window's largest entry is."""
    each = np.arange(len(counts))
    while counts.max(initial=0) > 1:
        h, turn = counts // 2, np.arange(counts.max() // 2)[:, None]
        plays = turn < h  # [games, N]
        left = edit.add(Take(players[: len(turn)][plays], (int(plays.sum()),)), (x,), name)
        behind = players[np.minimum(turn + h, len(players) - 1), each]
        right = edit.add(Take(behind[plays], (int(plays.sum()),)), (x,), name)
        lead = edit.add(Relu(), (edit.add(Add((1, -1)), (left, right), name),), name)
        winners = edit.add(Add((1, 1)), (right, lead), name)
        odd = counts % 2 == 1  # these go to the next round unplayed
        new = np.zeros((int((h + odd).max()), len(each)), int)
        new[: len(turn)][plays] = np.arange(plays.sum())
        new[h[odd], each[odd]] = plays.sum() + np.arange(odd.sum())
        if odd.any():
            rest = edit.add(Take(players[2 * h[odd], each[odd]], (int(odd.sum()),)), (x,), name)
            winners = edit.add(Concat(0), (winners, rest), name)
        x, players, counts = winners, new, h + odd
    return x, players[0].copy()
