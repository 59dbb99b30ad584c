"""The last word on a part whose neurons are all decided: a linear program.

There the network is affine, so the part holds a counterexample if and only if

    t* = min over x of max(rows of the disjunct, −sign_i·z_i of the neurons)

is at most zero.  HiGHS finds it; what it says is only a proposal.  Its dual solution is a point of the dual of
`bounds.dual`, and the bound computed there with its rounding decides; its primal solution is replayed.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.bounds.dual import Multipliers, Region
from verifier.bounds.fold import Linear
from verifier.search.budget import Budget
from verifier.search.neurons.splits import Splits
from verifier.search.neurons.tree import Tree, decisive
from verifier.values.arrays import Place, to_numpy

SOLVED, SIMPLEX = 3e7, 100.0
"""Multiply-adds in the time that any linear program takes, and how often solving one goes over its matrix, roughly."""


def finish(tree: Tree, s: Splits, budget: Budget) -> tuple[bool, np.ndarray]:
    """Decide one part: whether it is refuted, and where its rows are least, `[1, k]`.

    Args:
        s: one part with every neuron decided.  budget: the solver is stopped at its end.

    Raises:
        OutOfTime: before it came to anything.
    """
    budget.check()
    from scipy.optimize import linprog

    E, goal = tree.exact.to(Place("numpy", "float64")), int(s.goal[0])
    lower, upper = (to_numpy(a[0]).astype(np.float64) for a in (s.lower, s.upper))
    sign = np.where(lower >= 0, 1.0, -1.0)  # also where clipping has decided: that holds for counterexamples only
    split = np.arange(len(sign))
    used = tree.ids[goal][tree.uses[goal] > 0]
    parts = [E.rows.take(used), _signed(E.z.take(split), -sign[split])]
    both = Linear(*(np.concatenate([getattr(p, n) for p in parts]) for n in ("X", "H", "c", "error")))
    affine = replace(E, rows=both).settle(lower, upper).rows
    A, b = affine.X, affine.c
    middle = b + A @ E.center
    size = np.maximum(abs(A) @ E.radius, abs(middle)) + 1e-30  # what each function comes to
    size[: len(used)] = size[: len(used)].max()
    # Variables: x as center + radius·v with v in [-1, 1], and t.
    G = np.concatenate([A * E.radius / size[:, None], -np.ones((len(A), 1))], 1)
    h = -middle / size
    ends = [(-1.0, 1.0)] * len(E.radius) + [(None, None)]
    goal_ = np.r_[np.zeros(len(E.radius)), 1.0]
    budget.clock.count(SOLVED + SIMPLEX * G.size)
    found = linprog(goal_, A_ub=G, b_ub=h, bounds=ends, method="highs", options=_limit(budget))
    if found.x is None or found.ineqlin.marginals is None:
        budget.check()
        return False, E.center[None]
    x = (E.center + E.radius * found.x[:-1])[None]
    price = np.maximum(-found.ineqlin.marginals, 0.0) / size
    weight, beta = np.zeros((1, tree.ids.shape[1])), np.zeros((1, len(E)))
    weight[0, np.flatnonzero(tree.uses[goal] > 0)] = price[: len(used)]
    beta[0, split] = price[len(used) :]
    array = tree.exact.place.array
    r = Region(s.lower, s.upper, array(sign[None]), tree.fast.center, tree.fast.radius)
    m = Multipliers(s.alpha, array(beta), array(weight))
    return bool(decisive(tree, r, s.goal, m)[0][0] > 0), x


def _limit(budget: Budget) -> dict[str, float]:
    return {"time_limit": max(budget.left(), 0.0)} if budget.deadline < float("inf") else {}


def _signed(f: Linear, sign: np.ndarray) -> Linear:
    return Linear(f.X * sign[:, None], f.H * sign[:, None], f.c * sign, f.error)
