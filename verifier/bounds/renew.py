"""Bounds of everything in a folded network made anew on many regions at once, stage by stage.

The neuron search of `search.neurons` inherits the bounds of neurons from the root: only what a part's own plane says
improves them.  Where the objective hardly depends on the input (the derivative of a rectifier network, see
`graph.derivative`), what a split decides reaches the objective only through fresh bounds of all that hangs on it.  So
here every row of a folded network is walked back on every region, on lines made for that region.

All in double precision: rounding is bounded once a batch, for all rows.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from verifier.bounds.lagrange import Region
from verifier.bounds.network import Tick, nothing
from verifier.bounds.plan import Plan
from verifier.bounds.through import through
from verifier.graph.ops.product import Dot, Product
from verifier.relax import table
from verifier.relax.lines import Lines
from verifier.relax.share import Planes
from verifier.values.arrays import Array, counting, namespace
from verifier.values.rounding import gamma, tiny


@dataclass(frozen=True, eq=False)
class Known:
    """What is known of B regions.

    Attributes:
        lower, upper: `[B, N]` bounds of the rows z.
        planes: per part, `[B, 2M, k']`, `[B, 2M]`: planes below its M rows z, then below −z, over `Plan.columns`.
        lines: of the layers.
        value: `[B, R]` lower bounds of the objectives.
        a: per layer, coefficients `[B·R, units]` of the objectives' walk.
        images: intervals `[B, units]` of the layers' values.
        rounding: behind all that.
    """

    lower: Array
    upper: Array
    planes: dict[int, tuple[Array, Array]]
    lines: tuple[Lines | Planes, ...] = ()
    value: Array = None
    a: dict[int, Array] = field(default_factory=dict)
    images: tuple[Any, ...] = ()
    rounding: _Rounding | None = None


def renew_common(plan: Plan, r: Region, walk: bool = True, tick: Tick = nothing) -> Known:
    """Bounds of what is common (`Plan.common`) to several regions that agree in the first n inputs, from one of them.

    `renew` takes them as given on all of these.  Without `walk`, bounds stay as they are and only lines are made.
    """
    state = _State(plan, r, (0.5, 0.5))
    parts, layers = plan.common
    for p in parts if walk else ():
        tick(state.work(p))
        state.renew(p)
    for k in layers:
        state.relax(k)
    return Known(state.lower, state.upper, {}, tuple(state.lines), None, {}, tuple(state.images), state.rounding)


def renew(
    plan: Plan,
    r: Region,
    ids: Array | None,
    parts: tuple[int, ...] | None = None,
    between: tuple[float, float] = (0.5, 0.5),
    common: Known | None = None,
    tick: Tick = nothing,
) -> Known:
    """Bounds of all rows (of some parts, where `parts` says which) and of objectives `ids` `[B, R]` on each region.

    `between` says where between their planes products are bounded below and above (see `relax.product`); `common` what
    `renew_common` found of one of the regions, where they all agree in what it is about.  `tick`: called between parts.

    Sound because: each row is walked back on lines that hold between bounds known of this region, so its bound holds
    there; what it was before holds, too, and so does interval arithmetic over what the units can be.  Every bound is
    lowered by the rounding behind it (`_Rounding`); what is no number says nothing.
    """
    F, xp = plan.F, namespace(r.lower)
    state = _State(plan, r, between, common)
    planes: dict[int, tuple[Array, Array]] = {}
    for p in range(len(F.parts)) if parts is None else parts:
        if common is None or p not in plan.common[0]:
            tick(state.work(p))
            planes[p] = state.renew(p)
    if ids is None:
        return Known(state.lower, state.upper, planes)
    tick(ids.size * plan.F.work / 2)
    for k in range(len(F.layers)):
        state.relax(k)
    error = state.rounding.of(-1)
    A, b, a = state.walk(-1, plan.X[-1, -1][ids], F.rows.c[ids], ids)
    plain = state.interval(-1, F.rows.c)
    value = xp.maximum(b + state.least(-1, A), plain[0][counting(len(ids), ids)[:, None], ids]) - error[ids]
    value = xp.where(xp.isfinite(value), value, -xp.inf)
    return Known(state.lower, state.upper, planes, tuple(state.lines), value, a)


class _State:
    """What is found on the way."""

    def __init__(self, plan: Plan, r: Region, between: tuple[float, float], common: Known | None = None) -> None:
        self.plan, self.r, self.B, self.between = plan, r, int(r.lower.shape[0]), between
        self.lower, self.upper = r.lower * 1, r.upper * 1
        self.lines: list[Any] = [None] * len(plan.F.layers)
        self.images: list[Any] = [None] * len(plan.F.layers)
        self.rounding = _Rounding(plan)
        if common is not None:
            assert common.rounding is not None
            xp = namespace(r.lower)
            for part in (plan.F.parts[p][0] for p in plan.common[0]):
                self.lower[:, part] = xp.fmax(self.lower[:, part], common.lower[:, part])
                self.upper[:, part] = xp.fmin(self.upper[:, part], common.upper[:, part])
            self.lines, self.images = list(common.lines), list(common.images)
            self.rounding = common.rounding.copy()

    def work(self, p: int) -> float:
        """Multiply-adds of bounding the rows of a part: each is walked back over what lies before it."""
        part, _ = self.plan.F.parts[p]
        return self.B * (part.stop - part.start) * self.plan.F.work * (part.stop / max(1, len(self.plan.F.z)))

    def renew(self, p: int) -> tuple[Array, Array]:
        """Bound the rows of a part, both sides; returns the planes."""
        F, xp = self.plan.F, namespace(self.lower)
        part, _ = F.parts[p]
        z = F.z.take(part)
        for k in reversed(self.plan.behind[p]):
            self.relax(k)
        error = self.rounding.of(p)
        X, c = self.plan.X[p, p], xp.concatenate([z.c, -z.c])
        A, b, _ = self.walk(p, xp.concatenate([X, -X])[None], c[None], signs=True)
        b = b - xp.concatenate([error, error])[None]
        low = b + self.least(p, A)
        n = part.stop - part.start
        plain = self.interval(p, z.c)
        self.lower[:, part] = xp.fmax(self.lower[:, part], xp.fmax(low[:, :n], plain[0] - error))
        self.upper[:, part] = xp.fmin(self.upper[:, part], xp.fmin(-low[:, n:], plain[1] + error))
        return A, b

    def relax(self, k: int) -> None:
        """Lines of a layer, once the bounds of what it reads are known."""
        if self.lines[k] is not None:
            return
        layer = self.plan.F.layers[k]
        low, up = layer.gather(self.lower), layer.gather(self.upper)
        alpha, second = layer.start(low, up)
        if isinstance(layer.op, (Product, Dot)):
            alpha, second = (a * 0 + q for a, q in zip((alpha, second), self.between, strict=True))
        f, _ = layer.lines(low, up, alpha, second)
        if self.plan.narrow[k]:
            assert isinstance(f, Lines)
            f = Lines(f.s_l[..., 0], f.t_l, f.s_u[..., 0], f.t_u)
        self.lines[k] = f
        self.images[k] = tuple(a.reshape(self.B, -1) for a in table.image(layer.op, low, up))
        self.rounding.relaxed(k, f)

    def walk(
        self, p: int, X: Array, c: Array, ids: Array | None = None, signs: bool = False
    ) -> tuple[Array, Array, dict[int, Array]]:
        """Walk rows of a part (with `signs` also their negatives), or objectives `ids`, back to the input.

        Args:
            X: `[1 or B, R, k']`, c: `[1 or B, R]`.

        Returns: planes below them `[B, R, k']`, `[B, R]`, and coefficients of the units, per layer.
        """
        plan, F, B, R = self.plan, self.plan.F, self.B, int(X.shape[1])
        xp, units = namespace(X), {}
        y: dict[int, Array] = {}
        b = xp.broadcast_to(c, (B, R)).reshape(B * R) * 1
        for k in plan.behind[p]:
            layer, a = F.layers[k], None
            if (p, k) in plan.blocks:
                block = plan.blocks[p, k]
                block = xp.concatenate([block, -block])[None] if signs else block[ids]
                a = xp.broadcast_to(block, (B, R, block.shape[2])).reshape(B * R, -1)
            for q, coefficients in y.items():
                if (q, k) in plan.blocks:
                    part = coefficients @ plan.blocks[q, k]
                    a = part if a is None else a + part
            if a is None:
                continue
            units[k] = a
            Y, shift = through(a.reshape(B * R, *layer.shape), self.lines[k], None)
            b, Y = b + shift, Y.reshape(B * R, -1)
            for read in plan.reads[k]:
                part, _ = F.parts[read.part]
                if read.take is None:
                    got = Y
                else:
                    (got,) = read.take.adjoint(Y[:, read.columns], (part.stop - part.start,))
                y[read.part] = y[read.part] + got if read.part in y else got
        A = xp.broadcast_to(X, (B, R, X.shape[2]))
        for q, coefficients in y.items():
            part, _ = F.parts[q]
            A = A + (coefficients @ plan.X[p, q]).reshape(B, R, -1)
            b = b + coefficients @ F.z.c[part]
        return A, b.reshape(B, R), units

    def box(self, p: int) -> tuple[Array, Array]:
        """Centers and radii `[B, k']` of the inputs that a part's walks may reach."""
        columns, r = self.plan.columns[p], self.r
        return (r.center, r.radius) if columns is None else (r.center[:, columns], r.radius[:, columns])

    def least(self, p: int, A: Array) -> Array:
        """The least of `A·x` on each region: `[B, R]`."""
        (center, radius), xp = self.box(p), namespace(A)
        in_box = (A @ center[:, :, None])[..., 0] - (xp.abs(A) @ radius[:, :, None])[..., 0]
        if self.plan.ball is None:
            return in_box
        at, own = self.plan.round[p]
        if own is None:
            return in_box
        A_s = A * 1
        A_s[..., at] = 0
        rest = (A_s @ center[:, :, None])[..., 0] - (xp.abs(A_s) @ radius[:, :, None])[..., 0]
        return xp.fmax(in_box, own.concretise(A[..., at], rest, center[:, None, at], radius[:, None, at]))

    def interval(self, p: int, c: Array) -> tuple[Array, Array]:
        """Rows of a part by interval arithmetic over what their units can be: `[B, R]` twice."""
        (center, radius), X, xp = self.box(p), self.plan.X[p, p], namespace(c)
        middle, reach = center @ X.T + c, radius @ xp.abs(X).T
        low, up = middle - reach, middle + reach
        for k in self.plan.behind[p]:
            if (p, k) in self.plan.blocks:
                block = self.plan.blocks[p, k]
                positive, negative = xp.maximum(block, 0.0).T, xp.minimum(block, 0.0).T
                l, u = self.images[k]
                low, up = low + l @ positive + u @ negative, up + u @ positive + l @ negative
        return low, up


class _Rounding:
    """What rounding may have changed in the bounds of rows, at most, whatever the region of a batch.

    Sound because: every term of a walk is a product along one path through rows and units, and is rounded at most
    `Plan.steps` times; the sum of the magnitudes of all paths of a row is at most what walking magnitudes through the
    steepest lines of the batch gives.  What folding rounded (`error`) is carried along the same paths.  An activation
    is at most as large as its lines.
    """

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self._parts: dict[int, tuple[Array, Array]] = {}
        self._units: dict[int, tuple[Array, Array]] = {}

    def copy(self) -> _Rounding:
        """To go on from here."""
        new = _Rounding(self.plan)
        new._parts, new._units = dict(self._parts), dict(self._units)
        return new

    def of(self, p: int) -> Array:
        """What rounding may change in the bounds of a part's rows (or of the objectives)."""
        if p not in self._parts:
            plan, F = self.plan, self.plan.F
            rows = F.rows if p < 0 else F.z.take(F.parts[p][0])
            xp = namespace(rows.c)
            size = xp.abs(rows.X) @ F.reach[0] + xp.abs(rows.c)
            carried = rows.error * 1
            for k in plan.behind[p]:
                if (p, k) in plan.blocks:
                    block = xp.abs(plan.blocks[p, k])
                    size, carried = size + block @ self._units[k][0], carried + block @ self._units[k][1]
            self._parts[p] = size, carried
        size, carried = self._parts[p]
        g = gamma(self.plan.steps, self.plan.F.place.dtype)
        return 1.01 * (carried + 2 * g * size) + self.plan.steps * tiny(self.plan.F.place.dtype)

    def relaxed(self, k: int, f: Lines | Planes) -> None:
        """A layer has lines."""
        xp = namespace(f.t_u)
        if isinstance(f, Planes):
            steep = xp.amax(xp.maximum(xp.abs(f.S_l), xp.abs(f.S_u)), 0)
        else:
            steep = xp.amax(xp.maximum(xp.abs(f.s_l), xp.abs(f.s_u)), 0)
        shift = xp.amax(xp.maximum(xp.abs(f.t_l), xp.abs(f.t_u)), 0)
        size, carried = (self._read(k, i) for i in (0, 1))
        sizes = [(steep @ v[..., None])[..., 0] if isinstance(f, Planes) else steep * v for v in (size, carried)]
        if not isinstance(f, Planes) and steep.ndim > shift.ndim:
            sizes = [v.sum(-1) for v in sizes]
        self._units[k] = (sizes[0] + shift).reshape(-1), sizes[1].reshape(-1)

    def _read(self, k: int, which: int) -> Array:
        """Magnitudes (or what is carried) of what a layer reads, in its shape."""
        plan, layer = self.plan, self.plan.F.layers[k]
        xp, n = plan.F.place.xp, sum(len(r.columns) for r in plan.reads[k])
        flat = plan.F.z.c[:1] * 0 + xp.broadcast_to(plan.F.z.c[:1] * 0, (n,)) * 1
        for read in plan.reads[k]:
            self.of(read.part)
            v = self._parts[read.part][which]
            flat[read.columns] = v if read.take is None else v[read.take.index]
        return flat.reshape(layer.take.size[:-1] if plan.narrow[k] else layer.take.size)
