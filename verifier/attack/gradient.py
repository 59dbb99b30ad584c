"""Projected gradient search for points of the unsafe region, over all disjuncts and restarts at once.

Source: Madry et al., *Towards Deep Learning Models Resistant to Adversarial Attacks*, 2018 (sign steps, projection);
the loss of a disjunct is its largest literal margin, so that literals already satisfied stop pulling.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from verifier.graph.graph import Affine, Elementwise, Graph, Operator
from verifier.graph.ops.pool import MaxOf
from verifier.spec.property import Property


@dataclass(frozen=True)
class Targets:
    """T disjuncts to be reached: boxes and literals, literals padded by repeating one.

    Attributes:
        lower, upper: `[T, n]`.
        ids: `[T, K]` literals.
        box: `[T]` box of each.
    """

    lower: np.ndarray
    upper: np.ndarray
    ids: np.ndarray
    box: np.ndarray


def targets(prop: Property, disjuncts: np.ndarray) -> Targets:
    """The disjuncts as targets."""
    count = prop.start[disjuncts + 1] - prop.start[disjuncts]
    K = max(1, int(count.max(initial=1)))
    at = np.minimum(np.arange(K)[None], np.maximum(count - 1, 0)[:, None]) + prop.start[disjuncts][:, None]
    ids = prop.literal[np.minimum(at, len(prop.literal) - 1)] if len(prop.literal) else at * 0 - 1
    ids = np.where(count[:, None] > 0, ids, -1)
    box = prop.box[disjuncts]
    return Targets(prop.lower[box], prop.upper[box], ids, box)


def margins(prop: Property, ids: np.ndarray, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """How far each literal is from holding, `[P, K]` (holds where <= 0), for points with literals `ids` `[P, K]`."""
    if not len(prop.d):
        return np.full(ids.shape, -np.inf)
    value = np.einsum("pkm,pm->pk", prop.A_y[ids], y) - prop.inner_d[ids]
    if prop.A_x is not None:
        value = value + np.einsum("pkn,pn->pk", prop.A_x[ids], x)
    return np.where(ids >= 0, value, -np.inf)


def search(
    graph: Graph, prop: Property, t: Targets, starts: int, steps: int, rng: np.random.Generator
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield points `[P, n]` and their boxes `[P]` that look like counterexamples, step by step.

    Args:
        graph: the network on numpy (its type decides the cost).
        t: what to reach.
        starts: points per target; the first is the centre, others are uniform or corners.
        steps: gradient steps.
    """
    T, n = t.lower.shape
    lower, upper = (np.repeat(a, starts, 0) for a in (t.lower, t.upper))
    ids, box = np.repeat(t.ids, starts, 0), np.repeat(t.box, starts, 0)
    first = np.arange(T) * starts
    u = rng.random((T * starts, n))
    corner = rng.random(T * starts) < 0.25
    u = np.where(corner[:, None], np.rint(u), u)
    u[first] = 0.5
    x = lower + (upper - lower) * u
    rate = 0.25
    for step in range(steps + 1):
        y, pull = _evaluate(graph, x)
        m = margins(prop, ids, x, y)
        worst = m.max(1)
        found = worst <= 0
        if found.any():
            yield x[found], box[found]
        if step == steps:
            break
        worst_id = ids[np.arange(len(ids)), m.argmax(1)]
        gradient = pull(prop.A_y[worst_id])
        if prop.A_x is not None:
            gradient = gradient + prop.A_x[worst_id]
        x = np.clip(x - rate * (upper - lower) * np.sign(gradient), lower, upper)
        rate *= 0.8


@np.errstate(all="ignore")  # what overflows is no counterexample
def _evaluate(graph: Graph, x: np.ndarray):
    """Outputs `[P, m]` in double precision, and the function that pulls rows over the outputs back to the input."""
    dtype = _dtype(graph)
    (source,), (out,) = graph.inputs, graph.outputs
    values = graph.values(x.astype(dtype).reshape(len(x), *graph.nodes[source].shape))

    def pull(rows: np.ndarray) -> np.ndarray:
        grads = {out: rows.astype(dtype).reshape(values[out].shape)}
        for i in range(out, source, -1):
            if i not in grads:
                continue
            node = graph.nodes[i]
            for j, g in zip(node.inputs, _adjoint(node.op, grads.pop(i), graph, i, values), strict=True):
                grads[j] = grads[j] + g if j in grads else g
        g = grads.get(source)
        return np.zeros(x.shape) if g is None else g.reshape(len(x), -1).astype(np.float64)

    return values[out].reshape(len(x), -1).astype(np.float64), pull


def _adjoint(op: Operator, g: np.ndarray, graph: Graph, i: int, values: list) -> tuple[np.ndarray, ...]:
    if isinstance(op, Affine):
        return op.adjoint(g, *graph.shapes_in(i))
    (v,) = (values[j] for j in graph.nodes[i].inputs)
    if isinstance(op, Elementwise):
        return (g * op.slope(v),)
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
