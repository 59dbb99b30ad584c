"""Climbing the dual: slopes and multipliers improved by Adam with gradients in closed form."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from verifier.bounds import general
from verifier.bounds.dual import Bends, Multipliers, Objective, Point, Region, Slopes, Walk, back, forward, slopes
from verifier.bounds.fold import Folded
from verifier.values.arrays import Array, counting, namespace, to_numpy


@dataclass(frozen=True)
class Rates:
    """Step lengths, as shares: of the range of slopes, and of the size of the objective's coefficients."""

    steps: int = 4
    alpha: float = 0.25
    beta: float = 0.1
    mu: float = 0.3
    decay: float = 0.95


@dataclass(frozen=True, eq=False)
class Ascent:
    """What climbing found.

    Attributes:
        bound: `[B]` the best bound met (as computed: not rounded to the safe side).
        best: the multipliers that give it.
        last: `[P]` the domains that were still climbing at the end; for these
        walk, line: the last walk back and its lines (`[P, …]`).
        hits: domains whose objectives were all `<= 0` at some minimiser, and those points `[Q, k]`.
    """

    bound: Array
    best: Multipliers
    last: Array
    walk: Walk
    line: Slopes | Bends
    hits: list[tuple[np.ndarray, np.ndarray]]


DROP = 0.2
"""Share of domains that have reached the goal, from which the others go on alone."""


def ascend(
    F: Folded, r: Region, o: Objective, m: Multipliers, rates: Rates, goal: float = float("inf"), seek: bool = False
) -> Ascent:
    """Improve the bounds of B objectives.

    Args:
        goal: a bound above which there is no need to climb.
        seek: whether the objectives are rows of a property, so that a point where the network makes all of them
            `<= 0` is a candidate counterexample.
    """
    xp, B = namespace(r.lower), int(o.ids.shape[0])
    line, adam = slopes(F, r, m.alpha, m.second), _Adam()
    active = counting(B, r.lower)
    bound, best = o.rows.c[o.ids[:, 0]] * 0 - xp.inf, m
    hits: list[tuple[np.ndarray, np.ndarray]] = []
    for step in range(rates.steps + 1):
        F.tick(len(active) * F.work)
        walk = back(F, r, line, o, m)
        if step == 0:
            bound, best = walk.bound * 1, m.copy() if rates.steps else m
        else:
            better = xp.flatnonzero(walk.bound > bound[active])
            bound[active[better]] = walk.bound[better]
            best.put(active[better], m.take(better))
        if step == rates.steps:
            break
        left = xp.flatnonzero(~(walk.bound > goal))
        if len(left) < (1 - DROP) * len(active):
            if not len(left):
                break
            active, r, o = active[left], r.take(left), o.take(left)
            m, walk, line = m.take(left), walk.take(left), line.take(left)
            adam = adam.take(left)
        point = forward(F, r, line, walk, o.stop)
        if seek:
            hits += _hits(o, point, active)
        m = adam.step(F, r, line, o, m, walk, point, rates, step)
        line = line.with_alpha(m.alpha) if isinstance(line, Slopes) else slopes(F, r, m.alpha, m.second)
    return Ascent(bound, best, active, walk, line, hits)


def _hits(o: Objective, p: Point, active: Array) -> list[tuple[np.ndarray, np.ndarray]]:
    """Domains all of whose rows are `<= 0` at their point (roughly: they are replayed)."""
    xp = namespace(p.x)
    rows, worst = o.rows, p.x[:, :1].sum(1) * 0 - xp.inf
    for k in range(o.ids.shape[1]):
        at = o.ids[:, k]
        worst = xp.maximum(worst, (rows.X[at] * p.x).sum(1) + (rows.H[at] * p.real).sum(1) + rows.c[at])
    found = xp.flatnonzero(worst <= 0)
    return [(to_numpy(active[found]), to_numpy(p.x[found]))] if len(found) else []


class _Adam:
    """Kingma and Ba, *Adam*, 2015, projected; weights of an objective's rows move on the simplex by mirror steps."""

    def __init__(self) -> None:
        self._first: dict[str, Array] = {}
        self._second: dict[str, Array] = {}
        self._span: tuple[Array, Array] | None = None
        self._pace: Array = None

    def take(self, at: Array) -> _Adam:
        """For some of the domains."""
        some = _Adam()
        some._first = {n: a[at] for n, a in self._first.items()}
        some._second = {n: a[at] for n, a in self._second.items()}
        if self._span is not None:
            some._pace = self._pace
            some._span = tuple(a if a.shape[0] == 1 else a[at] for a in self._span)
        return some

    def step(  # noqa: PLR0913
        self,
        F: Folded,
        r: Region,
        line: Slopes | Bends,
        o: Objective,
        m: Multipliers,
        w: Walk,
        p: Point,
        rates: Rates,
        t: int,
    ) -> Multipliers:
        """One step up."""
        xp, shrink = namespace(w.a), rates.decay**t
        alpha, second = self._lines(F, r, line, o, m, w, p, rates.alpha * shrink, t)
        size = _rms(w.a, w.a != 0)[:, None] * (rates.beta * shrink)
        beta = m.beta + self._move("beta", _pull(F, r, m.beta, p.z), t) * size
        beta = xp.maximum(beta, 0.0) if F.plain else xp.where(r.sign == 2, beta, xp.maximum(beta, 0.0))
        mu, weight, facts = m.mu, m.weight, o.facts
        if facts is not None and mu is not None:
            value = p.x @ facts.X.T + p.z @ facts.Z.T + p.h @ facts.H.T + facts.c
            reach = (xp.abs(w.A) * r.radius).sum(1)[:, None] * (rates.mu * shrink)
            mu = xp.maximum(mu + self._move("mu", value, t) * reach, 0.0)
            mu = mu if r.holds is None else mu * r.holds
        if o.ids.shape[1] > 1:
            value = xp.einsum("bkn,bn->bk", o.rows.X[o.ids], p.x) + xp.einsum("bku,bu->bk", o.rows.H[o.ids], p.h)
            value = value + o.rows.c[o.ids]
            scale = xp.amax(xp.abs(value), 1)[:, None] + 1e-30
            weight = weight * xp.exp(value / scale * (2 * rates.alpha * shrink))
            weight = weight / weight.sum(1)[:, None]
        return replace(m, alpha=alpha, beta=beta, mu=mu, weight=weight, second=second)

    def _lines(  # noqa: PLR0913
        self,
        F: Folded,
        r: Region,
        line: Slopes | Bends,
        o: Objective,
        m: Multipliers,
        w: Walk,
        p: Point,
        rate: float,
        t: int,
    ) -> tuple[Array, Array | None]:
        """One step of what may be chosen about lines."""
        xp = namespace(w.a)
        if isinstance(line, Slopes):
            gradient = xp.where(line.open, xp.maximum(w.a, 0.0) * p.z, 0.0)
            alpha = m.alpha + self._move("alpha", gradient, t) * (rate * (1 - F.leak))
            return xp.minimum(xp.maximum(alpha, F.leak), 1.0), None
        assert m.second is not None
        if t == 0 or self._span is None or self._span[0].shape[0] not in (1, w.a.shape[0]):
            self._span, self._pace = general.spans(F, r), general.paces(F)
        low, up = self._span
        gradients = general.gradients(F, r, line, w.a, p.z, o.stop)
        moved = []
        for name, old, g in zip(("alpha", "second"), (m.alpha, m.second), gradients, strict=True):
            new = old + self._move(name, g, t) * (rate * self._pace * (up - low))
            moved.append(xp.minimum(xp.maximum(new, low), up))
        return moved[0], moved[1]

    def _move(self, name: str, g: Array, t: int) -> Array:
        """The direction of the step along one group of variables, entries about one in size."""
        xp = namespace(g)
        if t == 0:
            self._first[name], self._second[name] = 0.1 * g, 0.001 * g * g
        else:
            self._first[name] = 0.9 * self._first[name] + 0.1 * g
            self._second[name] = 0.999 * self._second[name] + 0.001 * g * g
        first, second = self._first[name] / (1 - 0.9 ** (t + 1)), self._second[name] / (1 - 0.999 ** (t + 1))
        return first / (xp.sqrt(second) + 1e-12)


def _pull(F: Folded, r: Region, beta: Array, z: Array) -> Array:
    """How a bound moves with the multipliers of splits."""
    if F.plain:
        return -r.sign * z
    xp = namespace(z)
    low, up = r.lower - z, z - r.upper  # positive where a side is violated
    both = xp.where(beta > 0, low, xp.where(beta < 0, -up, xp.maximum(low, 0.0) - xp.maximum(up, 0.0)))
    return xp.where(r.sign == 2, both, xp.where(r.sign > 0, low, xp.where(r.sign < 0, up, 0.0)))


def _rms(a: Array, where: Array) -> Array:
    """Root mean square over the entries counted, of `[B, U]`: `[B]`."""
    xp = namespace(a)
    return xp.sqrt((a * a).sum(1) / xp.maximum(where.sum(1) * 1.0, 1.0)) + 1e-30
