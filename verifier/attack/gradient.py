"""Projected gradient search for points of the unsafe region, over all disjuncts and restarts at once.

Source: Madry et al., *Towards Deep Learning Models Resistant to Adversarial Attacks*, 2018 (sign steps, projection);
the loss of a disjunct is its largest literal margin, so that literals already satisfied stop pulling.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from verifier.attack.ball import towards
from verifier.graph.graph import Affine, Elementwise, Graph, Operator, Rowwise
from verifier.graph.ops.pool import MaxOf
from verifier.spec.property import Property


@dataclass(frozen=True)
class Targets:
    """P points, each with a disjunct to reach.

    Attributes:
        x: `[P, n]` where the search starts.
        lower, upper: `[P, n]` the disjunct's box.
        ids: `[P, K]` its literals, filled up with -1.
        box: `[P]` which box of the property that is.
    """

    x: np.ndarray
    lower: np.ndarray
    upper: np.ndarray
    ids: np.ndarray
    box: np.ndarray

    def take(self, index: np.ndarray) -> Targets:
        """The points at `index`."""
        return Targets(self.x[index], self.lower[index], self.upper[index], self.ids[index], self.box[index])


def targets(prop: Property, disjuncts: np.ndarray, starts: int, rng: np.random.Generator) -> Targets:
    """`starts` points for each disjunct: the centre of its box, corners (all, where they are few), others."""
    count = prop.start[disjuncts + 1] - prop.start[disjuncts]
    slot = np.arange(max(1, int(count.max(initial=1))))[None]
    at = np.minimum(prop.start[disjuncts][:, None] + slot, max(0, len(prop.literal) - 1))
    ids = np.where(slot < count[:, None], prop.literal[at] if len(prop.literal) else -1, -1)
    box = prop.box[disjuncts]
    lower, upper = (np.repeat(a[box], starts, 0) for a in (prop.lower, prop.upper))
    u = rng.random(lower.shape)
    corner = rng.random(len(u)) < 0.25
    u = np.where(corner[:, None], np.rint(u), u).reshape(len(disjuncts), starts, -1)
    u[:, 0] = 0.5
    varying = np.flatnonzero((lower < upper).any(0))
    if 2 ** len(varying) < starts:  # few inputs: every corner
        corners = np.arange(1, 2 ** len(varying) + 1)
        u[:, corners[:, None], varying] = (corners[:, None] >> np.arange(len(varying))) & 1
    u = u.reshape(lower.shape)
    x = np.clip(lower + (upper - lower) * u, lower, upper)  # rounding may lead outside
    return Targets(x, lower, upper, np.repeat(ids, starts, 0), np.repeat(box, starts))


def margins(prop: Property, ids: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far each literal is from holding, `[P, K]` (holds where <= 0), for points with literals `ids` `[P, K]`."""
    if not len(prop.d):
        return np.full(ids.shape, -np.inf)
    value = np.einsum("pkm,pm->pk", prop.A_y[ids], y) - prop.inner_d[ids]
    if prop.A_x is not None:
        value = value + np.einsum("pkn,pn->pk", prop.A_x[ids], x)
    return np.where(ids >= 0, value, -np.inf)


def search(
    graph: Graph,
    prop: Property,
    t: Targets,
    steps: int,
    rate: float = 0.25,
    tick: Callable[[float], None] | None = None,
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield points `[P, n]` and their boxes `[P]` that look like counterexamples, step by step.

    Args:
        graph: the network on numpy (its type decides the cost).
        t: where to start and what to reach.
        steps: gradient steps.
        rate: length of the first step, as a share of the box's sides; each further one is a fifth shorter.
        tick: called before every step with the multiply-adds of it; whoever has run out of time raises there.
    """
    x = t.x if prop.ball is None else prop.ball.project(t.x)
    for step in range(steps + 1):
        if tick is not None:
            tick(graph.effort(2 * len(x)))
        y, pull = evaluate(graph, x)
        m = margins(prop, t.ids, x, y)
        found = m.max(1) <= 0
        if found.any():
            yield x[found], t.box[found]
        if step == steps or not len(prop.d):  # without literals there is nowhere to go
            break
        worst = t.ids[np.arange(len(x)), m.argmax(1)]
        gradient = pull(prop.A_y[worst])
        if prop.A_x is not None:
            gradient = gradient + prop.A_x[worst]
        if prop.ball is not None:
            x = towards(prop.ball, x, gradient, t.lower, t.upper, step)
            continue
        x = np.clip(x - rate * (t.upper - t.lower) * np.sign(gradient), t.lower, t.upper)
        rate *= 0.8


@np.errstate(all="ignore")  # what overflows is no counterexample
def evaluate(graph: Graph, x: np.ndarray) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """Outputs `[P, m]` in double precision, and the function that pulls rows over the outputs back to the input."""
    dtype = _dtype(graph)
    (source,), (out,) = graph.inputs, graph.outputs
    values = graph.values(x.astype(dtype).reshape(len(x), *graph.nodes[source].shape))

    @np.errstate(all="ignore")
    def pull(rows: np.ndarray) -> np.ndarray:
        grads = {out: rows.astype(dtype).reshape(values[out].shape)}
        for i in range(out, source, -1):
            if i not in grads:
                continue
            node = graph.nodes[i]
            for j, g in zip(node.inputs, _adjoint(node.op, grads.pop(i), graph, i, values), strict=True):
                grads[j] = grads[j] + g if j in grads else g
        total = grads.get(source)
        return np.zeros(x.shape) if total is None else total.reshape(len(x), -1).astype(np.float64)

    return values[out].reshape(len(x), -1).astype(np.float64), pull


def _adjoint(op: Operator, g: np.ndarray, graph: Graph, i: int, values: list) -> tuple[np.ndarray, ...]:
    if isinstance(op, Affine):
        return op.adjoint(g, *graph.shapes_in(i))
    (v,) = (values[j] for j in graph.nodes[i].inputs)
    if isinstance(op, (Elementwise, Rowwise)):
        return (op.gradient(g, v),)
    if isinstance(op, MaxOf):
        flat = v.reshape(len(v), -1)
        best = flat[:, op.windows].argmax(2)
        out = np.zeros_like(flat)
        at = np.take_along_axis(np.broadcast_to(op.windows, (len(v), *op.windows.shape)), best[..., None], 2)[..., 0]
        np.add.at(out, (np.arange(len(v))[:, None], at), g.reshape(len(v), -1))
        return (out.reshape(v.shape),)
    raise TypeError(f"no gradient for {type(op).__name__}")


def _dtype(graph: Graph) -> np.dtype:
    for node in graph.nodes:
        for name in ("W", "s", "t"):
            a = getattr(node.op, name, None)
            if a is not None:
                return a.dtype
    return np.dtype(np.float64)
