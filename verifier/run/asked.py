"""Questions about how fast outputs change: which norm of the derivative is sought, and by what search."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from itertools import product as combinations
from math import inf
from typing import Any

import numpy as np

from verifier.bounds.network import Tick
from verifier.graph.graph import Builder, Graph
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.moves import Reshape
from verifier.sensitivity.pairs import dual
from verifier.sensitivity.problem import pose
from verifier.sensitivity.search import Aim, DerivativeSearch
from verifier.sensitivity.spectral import Spectral
from verifier.sensitivity.steps import still
from verifier.values import given
from verifier.values.ball import Ball
from verifier.values.box import Box
from verifier.values.errors import PropertyError, UserError
from verifier.values.sets import InputSet, Product, curved

SIGNS = 10
"""Most outputs (or inputs) all of whose combinations of signs are looked at."""


def lengthened(n: int, a: float, b: float) -> float:
    """The largest `‖x‖_a / ‖x‖_b` of vectors of n entries, rounded up: `n^(1/a − 1/b)`, or 1 where a >= b."""
    power = 1 / a - 1 / b
    return float(n) ** power * (1 + 1e-12) if power > 0 else 1.0


@dataclass(frozen=True, eq=False)
class Asked:
    """A question, put together.

    The norm from ℓp to ℓq of a matrix J `[K, n]` is

    * for q infinite the largest norm of a row, in the dual of p (`way` is `rows`);
    * for p = 1 the largest ℓq norm of a column (`columns`);
    * for q = 1 the largest of `‖tᵀJ‖` in the dual of p over all t of signs, and for p infinite that of `‖J·s‖_q` over
      all s of signs, as convex functions are largest at corners (`signs`, `corners`: few outputs, or few inputs);
    * for p = q = 2 the spectral norm (`spectral`);
    * always at most the ℓq norm of the rows' constants, as `|(J·d)_i| <= ‖J_i‖·‖d‖_p`, and at least `‖uᵀJ‖/‖u‖` in the
      duals of p and q for any u (`together`: the bounds need not meet).

    Attributes:
        graph: the network.  box, ball: the set.  inner: a box that does not reach beyond it but for the ball.
        rows: `[K, m]` functionals of the outputs.
        norm: (p, q), q infinite for one functional.
        tolerance: relative distance at which the bounds have met.  each: whether each functional counts.
        counted: which entries of the input move, the others standing anywhere in the box: J has their columns alone.
            None for all.
    """

    graph: Graph
    box: Box
    ball: InputSet | None
    inner: Box
    rows: np.ndarray
    norm: tuple[float, float]
    tolerance: float
    each: bool
    counted: np.ndarray | None = None

    @property
    def n(self) -> int:
        """How many entries of the input move."""
        return len(self.box.lower if self.counted is None else self.counted)

    @cached_property
    def way(self) -> str:
        """How it is answered: see above."""
        (p, q), K, n = self.norm, len(self.rows), self.n
        if q == inf:
            return "rows"
        if p == 1:
            return "columns"
        if p == q == 2:
            return "spectral"
        if q == 1 and K <= SIGNS and (p != inf or K <= n):
            return "signs"
        return "corners" if p == inf and n <= SIGNS else "together"

    @property
    def by_rows(self) -> bool:
        """Whether the search is over the functionals themselves."""
        return self.way in ("rows", "together")

    @property
    def dual(self) -> float:
        """The norm in which rows (or what is in their place) are measured."""
        return self.norm[1] if self.way in ("columns", "corners") else dual(self.norm[0])

    def search(self, tick: Tick) -> DerivativeSearch:
        """The search that answers it; `tick` is called now and then until its root is bounded."""
        rows, way, graph, along = self.rows, self.way, self.graph, self.way in ("columns", "corners")
        if way == "spectral":
            problem = pose(graph, self.box, rows, 2, self.ball, tick=tick, inner=self.inner, counted=self.counted)
            return Spectral(problem, Aim(np.zeros(1, int), 2 * self.tolerance), tick=tick)
        if not self.by_rows:
            graph = combined(graph, rows)
            n = self.n if along else len(rows)
            rows = np.eye(n) if way == "columns" else signs(n)
        if along and self.counted is not None:  # directions that leave the others where they are
            rows = rows @ np.eye(len(self.box.lower))[self.counted]
        counted = None if along else self.counted
        problem = pose(graph, self.box, rows, self.dual, self.ball, along, tick, self.inner, counted=counted)
        apart = self.by_rows and (self.each or way == "together")
        group = problem.goals[:, 0] if apart else np.zeros(len(problem.goals), int)
        return DerivativeSearch(problem, Aim(group, self.tolerance * (2 if self.dual == 2 else 1)), tick=tick)

    def of_each(self) -> Asked:
        """The question about the functionals one by one."""
        return replace(self, norm=(self.norm[0], inf), each=True)


def signs(n: int) -> np.ndarray:
    """All rows `[2^(n − 1), n]` of ones and minus ones, of each and its negative one."""
    return np.array([(1.0, *rest) for rest in combinations((1.0, -1.0), repeat=n - 1)])


def combined(graph: Graph, rows: np.ndarray) -> Graph:
    """The network with functionals `[K, m]` of its outputs as its outputs."""
    m = graph.nodes[graph.outputs[0]].size
    if rows.shape == (m, m) and (rows == np.eye(m)).all():
        return graph
    builder = Builder()
    builder.nodes = list(graph.nodes)
    flat = builder.add(Reshape((m,)), graph.outputs)
    return builder.graph(graph.inputs, (builder.add(Dense(rows), (flat,)),))


def ask(
    graph: Graph,
    inputs: Box | Ball | Product,
    norm: float | tuple[float, float] | None,
    outputs: Any,
    margins: int | None,
    name: str,
    tolerance: float,
    each: bool,
) -> Asked:
    """Put a question together.

    Raises:
        UserError: sizes or norms do not fit.
    """
    box, ball, inner = input_set(graph, inputs, name)
    graph = still(graph, box)
    rows = functionals(graph, outputs, margins, name)
    p, q = norms(norm, inputs)
    if len(rows) == 1:
        q = inf  # one functional: its absolute value is every norm of it
    return Asked(graph, box, ball, inner, rows, (p, q), tolerance, each)


def input_set(graph: Graph, inputs: Any, name: str) -> tuple[Box, InputSet | None, Box]:
    """The box around a set, what it is where that is less, and a box that does not reach beyond it.

    Raises:
        UserError: it is no set, or does not fit.
    """
    if not isinstance(inputs, (Box, Ball, Product)):
        raise UserError(f"inputs: a {type(inputs).__name__} is not an input set; give a Box or a Ball")
    box = inputs.box()
    n = graph.nodes[graph.inputs[0]].size
    if len(box.lower) != n:
        raise PropertyError(f"the input set has {len(box.lower)} entries, {name} {n} inputs; give as many")
    if isinstance(inputs, Box) or (isinstance(inputs, Ball) and not np.any(inputs.eps)):
        return box, None, box
    low, high = box.lower.copy(), box.upper.copy()
    for at, ball in inputs.parts() if isinstance(inputs, Product) else inputs.balls():
        low[at], high[at] = (np.nextafter(ball.center + s * ball.eps, ball.center) for s in (-1, 1))
    inner = Box(*(np.clip(a, box.lower, box.upper) for a in (low, high)))
    return box, curved(inputs), inner


def functionals(graph: Graph, outputs: Any, margins: int | None, name: str) -> np.ndarray:
    """Rows `[K, m]` over the outputs.

    Raises:
        PropertyError: they do not fit.
    """
    m = graph.nodes[graph.outputs[0]].size
    if margins is not None:
        if outputs is not None:
            raise PropertyError("outputs and margins: give one of them")
        if m < 2:
            raise PropertyError(f"margins: {name} has one output; there is no other to take from it")
        i = _entries("margins", given.whole("margins", margins), m, name)
        return np.eye(m)[i] - np.delete(np.eye(m), i, 0)
    if outputs is None:
        return np.eye(m)
    a = given.array("outputs", outputs)
    if a.ndim < 2:
        return np.eye(m)[_entries("outputs", a, m, name)].reshape(-1, m)
    if a.ndim != 2 or a.shape[1] != m:
        raise PropertyError(f"outputs: a matrix of finite numbers needs {m} columns, as many as {name} has outputs")
    return a


def _entries(what: str, at: Any, m: int, name: str) -> np.ndarray:
    """Positions among m outputs; negative ones count from the end.

    Raises:
        PropertyError: there is no such output.
    """
    a = np.asarray(at, np.float64)
    wrong = (a != np.rint(a)) | (a < -m) | (a >= m)
    if wrong.any():
        raise PropertyError(
            f"{what}: {a[wrong][0]:g}; {name} has the outputs 0 to {m - 1} (or -{m} to -1, from the end)"
        )
    return np.where(a < 0, a + m, a).astype(int)


def norms(norm: float | tuple[float, float] | None, inputs: Box | Ball | Product | None) -> tuple[float, float]:
    """Those of input and output.

    Raises:
        PropertyError: they are none.
    """
    if norm is None:
        norm = inputs.norm if isinstance(inputs, Ball) else inf
    try:
        both = given.array("norm", norm, finite=False)
    except PropertyError:
        both = np.zeros(1)
    if both.ndim > 1 or both.size > 2 or (both < 1).any():
        raise PropertyError(f"norm {given.shown(norm)}: norms are numbers from 1 to inf; give one, or a pair (p, q)")
    p, q = np.broadcast_to(both, 2)
    return float(p), float(q)
