"""One nonlinear node of a folded network: which rows its units read, and its lines between bounds.

Lines of a unit may be chosen: a lower slope (`alpha`) for rectifiers, a lower and an upper slope (`alpha`, `second`)
for curves and staircases, places between the planes of McCormick for products, between those of a hull for gates.
Others are fixed.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from math import inf

import numpy as np

from verifier.bounds.through import through
from verifier.graph.graph import Operator
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.moves import Take
from verifier.graph.ops.product import Dot, Product, Share
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.relax import curves, gate, product, steps, table
from verifier.relax.lines import Lines
from verifier.relax.relu import lines as rectifier_lines
from verifier.relax.share import Planes
from verifier.values.arrays import Array, Place, namespace, place_of, to_numpy


@dataclass(frozen=True, eq=False)
class Layer:
    """The open units of one nonlinear node.

    Attributes:
        op: the operator.
        units: which activations these are.
        take: gathers what the units read from the rows: `[units]`, `[units, w]` where an operator takes w numbers, or
            `[groups, n]` for softmax, of which every group has n units.
        users: rows that depend on these units, all of them later than what the units read.
        last: the end of the rows that the units read.
        shared: `[units]` of staircases, where another one reads the same row and may belong to the other side at a
            jump (floor to what is above, ceil to what is below); None for nowhere.
    """

    op: Operator
    units: slice
    take: Take
    users: slice
    last: int
    shared: Array | None = None

    def to(self, place: Place) -> Layer:
        """The same at another place."""
        shared = None if self.shared is None else place.array(self.shared)
        return replace(self, take=self.take.cast(place.array), shared=shared)

    def within(self, N: int) -> Layer:
        """The same where only the first N rows are kept."""
        start, stop = min(self.users.start, N), min(self.users.stop, N)
        return replace(self, users=slice(start, stop))

    def gather(self, z: Array) -> Array:
        """What the units read, of rows `[B, N]`."""
        return self.take.linear(z)

    def scatter(self, Y: Array, N: int) -> Array:
        """Coefficients of what the units read, as coefficients `[B, N]` of the rows."""
        return self.take.adjoint(Y, (N,))[0]

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the units' activations, without the batch."""
        return self.take.size if not self._wide else self.take.size[:-1]

    @property
    def stairs(self) -> bool:
        """Whether units are staircases."""
        return isinstance(self.op, Step) and self.op.stairs

    def beyond(self, split: Array) -> steps.Beyond:
        """Ends of intervals at which a split left a staircase's value to the other part, by the signs of rows read.

        Sound because: a row is split at a jump into parts that both hold it, and every point lies in the part in which
        the staircase has its value there; staircases that disagree about that say nothing of it.
        """
        low, up = split > 0, (split < 0) | (split == 2)
        return (low, up) if self.shared is None else (low & ~self.shared, up & ~self.shared)

    @property
    def _wide(self) -> bool:
        return table.width(self.op) > 1

    def start(self, lower: Array, upper: Array) -> tuple[Array, Array]:
        """Where choosing begins, `alpha` and `second` `[B, units]`, on bounds `[B, …]` of what the units read."""
        if isinstance(self.op, Relu):
            xp = namespace(lower)
            alpha = xp.where(upper > -lower, lower * 0 + 1, lower * 0 + self.op.leak)
            return alpha, alpha * 0
        if isinstance(self.op, Curve):
            return curves.slope(self.op, 1, lower, upper), -curves.slope(self.op, -1, lower, upper)
        if isinstance(self.op, Step) and self.stairs:
            return steps.slope(self.op, 1, lower, upper), -steps.slope(self.op, -1, lower, upper)
        half = (lower[..., 0] if self._wide else lower) * 0 + 0.5
        half = half.reshape(half.shape[0], -1)
        return half, half

    def lines(
        self, lower: Array, upper: Array, alpha: Array, second: Array, split: Array | None = None
    ) -> tuple[Lines | Planes, Touch]:
        """Linear bounds, and where they touch; `split` are the signs (see `Region`) of what the units read."""
        if isinstance(self.op, Relu):
            f = rectifier_lines(self.op, lower, upper, alpha)
            return replace(f, t_l=f.t_u * 0), Touch()
        if isinstance(self.op, Curve):
            t_l, z_l = curves.least(self.op, 1, alpha, lower, upper)
            t_u, z_u = curves.least(self.op, -1, -second, lower, upper)
            return Lines(alpha, t_l, second, -t_u), Touch(z_l, z_u)
        if isinstance(self.op, Step) and self.stairs:
            beyond = None if split is None else self.beyond(split)
            first, last = steps.steps_between(self.op, lower, upper, beyond)
            alpha, second = (namespace(alpha).where(last > first, a, a * 0) for a in (alpha, second))
            t_l, z_l = steps.least(self.op, 1, alpha, lower, upper, beyond)
            t_u, z_u = steps.least(self.op, -1, -second, lower, upper, beyond)
            return Lines(alpha, t_l, second, -t_u), Touch(z_l, z_u)
        if isinstance(self.op, (Product, Dot)):
            choice = tuple(a.reshape(a.shape[0], *self.shape) for a in (alpha, second))
            planes = product.product_lines if isinstance(self.op, Product) else product.dot_lines
            return planes(lower, upper, choice), Touch()
        if isinstance(self.op, Gate):
            return gate.gate_lines(self.op, lower, upper, (alpha, second)), Touch(alpha, second)
        return table.lines(self.op, lower, upper), Touch()

    def span(self, lower: Array, upper: Array) -> tuple[Array, Array]:
        """The range `[B, units]` that choices come from, least and largest: of `alpha` and `second` alike."""
        if isinstance(self.op, Relu):
            return lower * 0 + self.op.leak, lower * 0 + 1
        if isinstance(self.op, Curve):
            return curves.slopes(self.op, lower, upper)
        if isinstance(self.op, Step) and self.stairs:
            return steps.slopes(self.op, lower, upper)
        zero = (lower[..., 0] if self._wide else lower) * 0
        zero = zero.reshape(zero.shape[0], -1)
        return zero, zero + float(isinstance(self.op, (Product, Dot, Gate)))

    def gradient(self, a: Array, z: Array, lower: Array, upper: Array, touch: Touch) -> tuple[Array, Array]:
        """How a bound moves with `alpha` and `second`, `[B, units]`.

        Args:
            a: `[B, units]` coefficients of the activations.
            z: what the units read where the bound is least.

        For curves, an intercept is least over z of `f(z) − s·z`, so it falls with s as fast as the point that attains
        it is far right.
        """
        xp = namespace(a)
        positive, negative = xp.maximum(a, 0.0), xp.minimum(a, 0.0)
        if isinstance(self.op, Relu):
            return xp.where((lower < 0) & (upper > 0), positive * z, a * 0), a * 0
        if isinstance(self.op, Curve) or self.stairs:
            return positive * (z - touch.low), negative * (z - touch.up)
        if isinstance(self.op, (Product, Dot)):
            k = int(z.shape[-1]) // 2
            (p, c), (q, d) = ((v[..., :k], v[..., k:]) for v in (lower, upper))
            x, y = z[..., :k], z[..., k:]
            up = ((d - c) * x + (q - p) * y - (q * d - p * c)).sum(-1)
            across = ((d - c) * x + (p - q) * y - (p * d - q * c)).sum(-1)
            return positive * up.reshape(a.shape[0], -1), negative * across.reshape(a.shape[0], -1)
        if isinstance(self.op, Gate):
            first, second = (gate.rise(self.op, s, lower, upper, q, z) for s, q in ((0, touch.low), (1, touch.up)))
            return positive * first, negative * second
        return a * 0, a * 0

    def through(self, a: Array, f: Lines | Planes) -> tuple[Array, Array]:
        """Coefficients of what the units read from those `[B, units]` of the activations, and intercepts `[B]`."""
        return through(a.reshape(a.shape[0], *self.shape), f, None)

    def follow(self, a: Array, f: Lines | Planes, z: Array) -> Array:
        """Activations `[B, units]` on the lines that coefficients `a` chose, at what the units read."""
        xp, B = namespace(a), a.shape[0]
        positive = a.reshape(B, *self.shape) > 0
        if isinstance(f, Planes):
            low = (f.S_l * z[..., None, :]).sum(-1) + f.t_l
            up = (f.S_u * z[..., None, :]).sum(-1) + f.t_u
        else:
            low, up = f.s_l * z, f.s_u * z
            if low.ndim > f.t_u.ndim:
                low, up = low.sum(-1), up.sum(-1)
            low, up = low + f.t_l, up + f.t_u
        return xp.where(positive, low, up).reshape(B, -1)

    def real(self, z: Array) -> Array:
        """Activations `[B, units]` of what the units read."""
        return self.op.evaluate(z).reshape(z.shape[0], -1)

    @property
    def pace(self) -> float:
        """How far a step may lead, as a share of one of rectifiers: slopes of curves matter to other units at once."""
        if isinstance(self.op, Curve):
            return 0.1
        return 0.3 if self.stairs else 0.4 if isinstance(self.op, (Product, Dot, Gate)) else 1.0

    @cached_property
    def reader(self) -> Array:
        """For each row up to `last`, which unit of the layer reads it; -1 for none.  (Units that read one row each.)"""
        index = to_numpy(self.take.index).reshape(-1)
        found = np.full(self.last, -1)
        found[index] = np.arange(len(index))
        return place_of(self.take.index).array(found, "int64")

    @property
    def admissible(self) -> tuple[float, float]:
        """The range in which every choice is sound; curves take any slope, others what lies between planes."""
        if isinstance(self.op, Relu):
            return (self.op.leak, 1.0)
        return (-inf, inf) if isinstance(self.op, Curve) or self.stairs else (0.0, 1.0)

    @property
    def groups(self) -> bool:
        """Whether units come in groups that read the same rows."""
        return isinstance(self.op, Share)


@dataclass(frozen=True, eq=False)
class Touch:
    """Where the lower and the upper lines of curves touch, `[B, units]`; of gates, which planes were chosen."""

    low: Array | None = None
    up: Array | None = None

    def take(self, at: Array) -> Touch:
        """Of some domains."""
        if self.low is None or self.up is None:
            return self
        return Touch(*(a if a.shape[0] == 1 else a[at] for a in (self.low, self.up)))
