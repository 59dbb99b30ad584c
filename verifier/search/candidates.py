"""Candidate counterexamples that a search meets on its way, for nearly nothing."""

from __future__ import annotations

import numpy as np

from verifier.attack.gradient import Targets, evaluate, margins, search
from verifier.attack.replay import Replay
from verifier.search.query import Query
from verifier.spec.witness import Witness
from verifier.values.arrays import Place

WORK = 3e7
"""Multiply-adds that one round's gradient steps may cost."""
STEPS = 8


class Candidates:
    """Tries the points where rows are least on their planes; from the most promising it walks on along gradients.

    Args:
        query: the question; replay: the judge.
    """

    def __init__(self, query: Query, replay: Replay) -> None:
        self._query, self._replay = query, replay
        self._graph = query.graph.cast(Place("numpy", "float32").array)

    def __call__(self, x: np.ndarray, group: np.ndarray) -> Witness | None:
        """A witness among points `[P, n]` of groups `[P]` or near them, or None."""
        q = self._query
        ids, uses = q.ids[group], q.uses[group]
        x = x if q.prop.ball is None else q.prop.ball.project(x)
        y, _ = evaluate(self._graph, x)
        m = margins(q.prop, ids, x, y)
        worst = np.where(uses, m[:, None], -np.inf).max(2)  # [P, J]: the disjunct holds where <= 0
        worst = np.where(q.open[group], worst, np.inf)
        nearest, margin = worst.argmin(1), worst.min(1)
        order = np.argsort(margin, kind="stable")
        hits = order[margin[order] <= 0][:8]
        witness = self._replay(x[hits], q.box[group[hits]])
        count = min(len(x), int(WORK / max(1, q.cost) / STEPS / 3))
        if witness is not None or count == 0:
            return witness
        at = order[:count]
        literals = np.where(np.take_along_axis(uses[at], nearest[at, None, None], 1)[:, 0], ids[at], -1)
        t = Targets(x[at], q.lower[group[at]], q.upper[group[at]], literals, q.box[group[at]])
        for point, box in search(self._graph, q.prop, t, STEPS, 0.1, q.exact.tick):
            witness = self._replay(point[:8], box[:8])
            if witness is not None:
                return witness
        return None
