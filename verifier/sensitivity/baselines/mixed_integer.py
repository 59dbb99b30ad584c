"""LipMIP: the exact local Lipschitz constant of a small network of rectifiers (Jordan and Dimakis, NeurIPS 2020).

On each cell where the signs of all neurons' inputs are fixed the gradient of an output is constant, so the largest norm
that it takes is found by a mixed-integer program over inputs x, activations and gradients: one binary d a neuron says
which side of its kink it is on, and it ties `relu(z)` to z as well as the gradient behind the neuron to that before it,

    r = max(z, 0):   r >= 0,  r >= z,  r <= u·d,  r <= z − l·(1 − d)              for z in [l, u],
    y = d·v:         l·d <= y <= u·d,  v − u·(1 − d) <= y <= v − l·(1 − d)         for v in [l, u].

Cells are closed: where z = 0 both values of d are allowed, together with any at other neurons, so that the result is
the largest norm over the closures of all cells that the box touches.  That is the Lipschitz constant for boxes and
networks in general position; it may exceed it where whole cells have no interior (a neuron that is 0 throughout).

For comparison and for laws, not for proofs: HiGHS computes in floating point and takes an integer, or a constraint, for
satisfied when it is so up to `TOLERANCE`, relative to each neuron's range.  It stops there, too: what it leaves open
may be better by as much, so its upper bound is raised by that.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf

import numpy as np

from verifier.graph.graph import Graph
from verifier.graph.ops.relu import Relu
from verifier.sensitivity.baselines import Bounds, Layer, chain, flat_bounds
from verifier.values.errors import ModelError

TOLERANCE = 1e-6
"""Of HiGHS as scipy runs it: for integers and for the gap between its two bounds; for constraints it is a tenth."""
WIDER = 1e-12
"""By how much intervals are widened, relative to the magnitudes behind them."""


@dataclass(frozen=True, eq=False)
class _Functions:
    """k affine functions of the variables: `A·variables + c`, `[k, room]` and `[k]`."""

    A: np.ndarray
    c: np.ndarray

    def mapped(self, W: np.ndarray, b: np.ndarray | float = 0.0) -> _Functions:
        """`W·these + b`."""
        return _Functions(W @ self.A, W @ self.c + b)

    def scaled(self, s: np.ndarray) -> _Functions:
        """Each times a number."""
        return _Functions(self.A * s[:, None], self.c * s)

    def constant(self) -> np.ndarray:
        """`[k]`: which do not depend on any variable."""
        return np.asarray(~self.A.any(1))


@dataclass(eq=False)
class _Program:
    """A mixed-integer program under construction, of at most `room` variables.

    Attributes:
        lower, upper, whole: `[room]`: each variable's range; whether it is an integer.
        used: how many there are.
        rows: coefficients `[room]` of sums, which are at most the number beside them.
    """

    room: int
    used: int = 0
    rows: list[tuple[np.ndarray, float]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.lower, self.upper = np.zeros(self.room), np.zeros(self.room)
        self.whole = np.zeros(self.room, bool)

    def variable(self, lower: float, upper: float, whole: bool = False) -> int:
        """One more variable; its position."""
        k, self.used = self.used, self.used + 1
        self.lower[k], self.upper[k], self.whole[k] = lower, upper, whole
        return k

    def binary(self) -> int:
        """One more of 0 and 1."""
        return self.variable(0.0, 1.0, True)

    def most(self, a: np.ndarray, top: float) -> None:
        """`a·variables <= top`."""
        self.rows.append((a, top))

    def copy(self) -> _Program:
        """An independent copy."""
        new = _Program(self.room, self.used, list(self.rows))
        new.lower[:], new.upper[:], new.whole[:] = self.lower, self.upper, self.whole
        return new

    def reach(self, f: _Functions) -> tuple[np.ndarray, np.ndarray]:
        """`[k]` between which numbers functions lie, a little widened."""
        up, down = np.maximum(f.A, 0.0), np.minimum(f.A, 0.0)
        size = np.maximum(abs(self.lower), abs(self.upper))
        slack = WIDER * (abs(f.A) @ size + np.where(f.constant(), 0.0, abs(f.c)))
        return (f.c + up @ self.lower + down @ self.upper - slack, f.c + up @ self.upper + down @ self.lower + slack)

    def unit(self, *terms: tuple[int, float]) -> np.ndarray:
        """Coefficients `[room]` that are zero but for these."""
        a = np.zeros(self.room)
        for k, value in terms:
            a[k] += value
        return a


@dataclass(frozen=True, eq=False)
class _Gates:
    """What is known of the slopes of one layer: `leak + (1 − leak)·d`, `[k]`.

    Attributes:
        leak: of the rectifier.
        d: positions of the binaries; -1 where the slope is `fixed`.
    """

    leak: float
    d: np.ndarray
    fixed: np.ndarray


def lipmip(
    graph: Graph | Sequence[Layer],
    lower: np.ndarray,
    upper: np.ndarray,
    p: float = inf,
    rows: np.ndarray | None = None,
    bounds: Bounds | None = None,
    seconds: float = inf,
) -> tuple[np.ndarray, np.ndarray]:
    """The largest dual norm of the gradient of each row on a box: `[K]` one that is taken, `[K]` HiGHS's upper bound.

    For p = ∞ it is `Σ_j |J_j|`, for p = 1 `max_j |J_j|`: the constant L of `|f(x) − f(x')| <= L·‖x − x'‖_p`.  Inputs
    whose lower and upper end are equal count like others.

    Args:
        graph: a chain (see `chain`) of (leaky) rectifiers, or its layers.
        lower, upper: the box, as many numbers as the network has inputs.
        rows: `[K, m]`: of rows·f instead of each of the m outputs.
        bounds: of what enters the rectifiers on the box, where better ones than intervals are known.
        seconds: limit for each row.

    Raises:
        ModelError: the network is no chain, too large or not of rectifiers; box or bounds do not fit.
        ValueError: another norm.
    """
    if p not in (1, inf):
        raise ValueError(f"norm {p} is not supported; use 1 or float('inf')")
    layers = chain(graph) if isinstance(graph, Graph) else list(graph)
    W, n = layers[-1].W, layers[0].W.shape[1]
    lower, upper = (np.ravel(a).astype(np.float64) for a in (lower, upper))
    if not (len(lower) == len(upper) == n and (lower <= upper).all()):
        raise ModelError(f"a box for {n} inputs is needed, with lower at most upper")
    program, gates = _forward(layers, lower, upper, bounds)
    C = W if rows is None else np.asarray(rows, np.float64) @ W
    pairs = [_row(layers, program.copy(), gates, c, (p, seconds)) for c in C]
    middle = _gradients(layers, C, _signs(layers, 0.5 * lower + 0.5 * upper))
    low = np.maximum([a for a, _ in pairs], _norm(middle, p))
    return low, np.maximum([b for _, b in pairs], low)


def _norm(J: np.ndarray, p: float) -> np.ndarray:
    """`[K]` the norm dual to ℓp of each row."""
    return abs(J).sum(1) if p == inf else abs(J).max(1)


def _forward(
    layers: Sequence[Layer], lower: np.ndarray, upper: np.ndarray, bounds: Bounds | None
) -> tuple[_Program, list[_Gates]]:
    """Inputs, activations and binaries; and each layer's slopes.

    Inputs are `center + radius·v` with v in [-1, 1], activations are in units of their range, so that a tolerance means
    the same for all.  Neurons whose sign is known are not there: what lies between others is affine.
    """
    n, neurons = len(lower), sum(len(layer.b) for layer in layers[:-1])
    program = _Program(3 * n + 3 * neurons + 1)
    center = 0.5 * lower + 0.5 * upper
    for _ in range(n):
        program.variable(-1.0, 1.0)
    V, gates = _Functions(np.eye(n, program.room) * np.maximum(upper - center, center - lower)[:, None], center), []
    given = None if bounds is None else flat_bounds(layers, bounds)
    for k, layer in enumerate(layers[:-1]):
        f = layer.activation
        if not isinstance(f, Relu):
            raise ModelError(f"an activation is {f}: only networks of rectifiers can be written as integer programs")
        Z = V.mapped(layer.W, layer.b)
        l, u = program.reach(Z)
        if given is not None:
            l, u = np.maximum(l, given[k][0]), np.minimum(u, given[k][1])
        fixed = np.where((l > 0) | (f.leak == 1.0), 1.0, f.leak)
        V, d = Z.scaled(fixed), np.full(len(l), -1)
        for i in np.flatnonzero((l <= 0) & (u >= 0) & (f.leak != 1.0)).tolist():
            r, d[i], size = _rectified(program, Z, i, float(l[i]), float(u[i]))
            V.A[i, r] = (1.0 - f.leak) * size  # h = leak·z + (1 − leak)·max(z, 0)
        gates.append(_Gates(f.leak, d, fixed))
    return program, gates


def _rectified(program: _Program, Z: _Functions, i: int, l: float, u: float) -> tuple[int, int, float]:
    """Variables for `max(z, 0)` of one function, and its side: their positions, and the unit of the first."""
    size = max(u, -l) or 1.0
    r, d = program.variable(0.0, u / size), program.binary()
    z, c, l, u = Z.A[i] / size, float(Z.c[i]) / size, l / size, u / size
    program.most(z - program.unit((r, 1.0)), -c)
    program.most(program.unit((r, 1.0), (d, -l)) - z, c - l)
    program.most(program.unit((r, 1.0), (d, -u)), 0.0)
    return r, d, size


def _row(
    layers: Sequence[Layer], program: _Program, gates: list[_Gates], c: np.ndarray, how: tuple[float, float]
) -> tuple[float, float]:
    """The program for one row of the last layer, solved: the norm at HiGHS's solution, and its bound."""
    p, seconds = how
    v = _Functions(np.zeros((len(c), program.room)), c)
    for layer, gate in zip(layers[-2::-1], gates[::-1], strict=True):
        v = _gated(program, v, gate).mapped(layer.W.T)
    l, u = program.reach(v)
    largest = np.maximum(abs(l), abs(u))
    best = float(largest.sum() if p == inf else largest.max())
    if v.constant().all() or best == 0.0:
        value = float(_norm(v.c[None], p)[0])
        return value, value
    unit = np.full(len(l), 1.0 / best)
    objective = _sum_of_sizes(program, v.scaled(unit)) if p == inf else _largest_size(program, v.scaled(unit))
    solution, top = _solved(program, objective, seconds)
    if solution is None:
        return 0.0, best
    signs = [np.where(g.d < 0, g.fixed == 1.0, solution[g.d] > 0.5) for g in gates]
    return float(_norm(_gradients(layers, c[None], signs), p)[0]), min(best, top * best)


def _gated(program: _Program, v: _Functions, gate: _Gates) -> _Functions:
    """`(leak + (1 − leak)·d)·v`: one more variable where d is open and v is no constant."""
    out = v.scaled(np.where(gate.d < 0, gate.fixed, gate.leak))
    l, u = program.reach(v)
    constant = v.constant()
    for i in np.flatnonzero(gate.d >= 0).tolist():
        d, size = int(gate.d[i]), max(abs(l[i]), abs(u[i]))
        if constant[i] or size == 0.0:
            out.A[i, d] += (1.0 - gate.leak) * v.c[i]
            continue
        low, high, a, c = l[i] / size, u[i] / size, v.A[i] / size, v.c[i] / size
        y = program.variable(min(low, 0.0), max(high, 0.0))
        program.most(program.unit((y, 1.0), (d, -high)), 0.0)
        program.most(program.unit((y, -1.0), (d, low)), 0.0)
        program.most(program.unit((y, 1.0), (d, -low)) - a, c - low)
        program.most(a - program.unit((y, 1.0), (d, -high)), high - c)
        out.A[i, y] += (1.0 - gate.leak) * size
    return out


def _sum_of_sizes(program: _Program, J: _Functions) -> _Functions:
    """`Σ_j |J_j|`, to be maximised; a binary where the sign is open: `a <= J` or `a <= −J`."""
    l, u = program.reach(J)
    total, c = program.unit(), 0.0
    for j in range(len(l)):
        if l[j] >= 0 or u[j] <= 0:
            sign = 1.0 if l[j] >= 0 else -1.0
            total, c = total + sign * J.A[j], c + sign * float(J.c[j])
            continue
        a, s = program.variable(0.0, max(-l[j], u[j])), program.binary()
        program.most(program.unit((a, 1.0), (s, -2 * l[j])) - J.A[j], float(J.c[j]) - 2 * l[j])
        program.most(program.unit((a, 1.0), (s, -2 * u[j])) + J.A[j], -float(J.c[j]))
        total[a] += 1.0
    return _Functions(total[None], np.array([c]))


def _largest_size(program: _Program, J: _Functions) -> _Functions:
    """`max_j |J_j|`, to be maximised: a binary for each J_j and −J_j that may be it says which one t is at most."""
    l, u = program.reach(J)
    sure = max(0.0, float(np.maximum(l, -u).max()))
    top = float(np.maximum(u, -l).max())
    t, picks = program.variable(0.0, top), []
    for j in range(len(l)):
        for sign, low, high in ((1.0, l[j], u[j]), (-1.0, -u[j], -l[j])):
            if high < sure:
                continue
            picks.append(program.binary())
            program.most(
                program.unit((t, 1.0), (picks[-1], top - low)) - sign * J.A[j], sign * float(J.c[j]) + top - low
            )
    program.most(program.unit(*((k, 1.0) for k in picks)), 1.0)
    program.most(program.unit(*((k, -1.0) for k in picks)), -1.0)
    return _Functions(program.unit((t, 1.0))[None], np.zeros(1))


def _solved(program: _Program, objective: _Functions, seconds: float) -> tuple[np.ndarray | None, float]:
    """HiGHS on the program: its best point, if it has found one, and its upper bound of the objective.

    Its presolve is off: that of HiGHS 1.12 has cut off solutions of small mixed programs.
    """
    from scipy.optimize import Bounds as Ranges  # only here: it takes as long to import as an easy answer
    from scipy.optimize import LinearConstraint, milp

    k = program.used
    A, tops = np.array([a[:k] for a, _ in program.rows]).reshape(-1, k), [top for _, top in program.rows]
    options = {"presolve": False, "mip_rel_gap": 0.0} | ({} if seconds == inf else {"time_limit": seconds})
    found = milp(
        -objective.A[0, :k], integrality=program.whole[:k], bounds=Ranges(program.lower[:k], program.upper[:k]),
        constraints=[LinearConstraint(A, -inf, tops)] if tops else [], options=options,
    )  # fmt: skip
    if found.x is None:
        return None, inf
    return found.x, float(objective.c[0]) - float(found.mip_dual_bound) + TOLERANCE  # minus what is minimised


def _signs(layers: Sequence[Layer], x: np.ndarray) -> list[np.ndarray]:
    """`[k]` of each layer: which neurons' inputs are positive at x."""
    found = []
    for layer in layers[:-1]:
        assert layer.activation is not None
        z = layer.W @ x + layer.b
        found.append(z > 0)
        x = layer.activation.evaluate(z)
    return found


def _gradients(layers: Sequence[Layer], C: np.ndarray, signs: list[np.ndarray]) -> np.ndarray:
    """`[K, n]` gradients of rows C over the last activations, in the cell with these signs."""
    for layer, on in zip(layers[-2::-1], signs[::-1], strict=True):
        assert isinstance(layer.activation, Relu)
        C = (C * np.where(on, 1.0, layer.activation.leak)) @ layer.W
    return C
