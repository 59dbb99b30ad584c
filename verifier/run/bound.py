"""What values an output, or any linear function of the outputs, can take on an input set."""

from __future__ import annotations

from typing import Any

import numpy as np

from verifier.bounds.network import magnitudes, prepare
from verifier.bounds.propagate import boxes, propagate
from verifier.bounds.rows import make_rows, rows_backward, rows_forward
from verifier.run.model import boundable, load
from verifier.run.strategy import place_on
from verifier.values.arrays import to_numpy
from verifier.values.box import Ball, Box
from verifier.values.errors import PropertyError, UnsoundBound, UserError
from verifier.values.rounding import gamma, outward

METHODS = ("interval", "forward", "crown")


@np.errstate(all="ignore")  # what overflows is refused at the end
def bound(
    model: Any,
    inputs: Box | Ball,
    method: str = "crown",
    *,
    rows: Any = None,
    device: str = "cpu",
    dtype: str = "float64",
) -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper bounds, rounding included.

    Args:
        model: a file, or what `load` returned.
        inputs: a box or ball over the flattened input.
        method: `interval`, `forward` (linear functions of the inputs, pushed forward) or `crown` (rows pulled back,
            every neuron's bounds first).
        rows: `[R, m]` linear functions of the outputs; the outputs themselves when None.
        device: `cpu` or `cuda`.  dtype: `float64` or `float32`.

    Returns: two arrays `[R]` (`[m]` without rows).

    Raises:
        UserError: an unknown method, or sizes that don't fit.

    Sound because: see `bounds.backward`, `bounds.forward`; a ball is bounded in its box, and in its own norm where the
    row is concretised: the least of `A·x` within eps is `A·center − eps·‖A‖_q` with q the dual norm (Hölder).
    """
    if method not in METHODS:
        raise UserError(f"method {method!r}: use one of {', '.join(METHODS)}")
    if not isinstance(inputs, (Box, Ball)):
        raise UserError(f"{type(inputs).__name__} is not an input set: give a Box or a Ball")
    place = place_on(device, dtype)
    net = load(model)
    graph = boundable(net)
    ball = inputs if isinstance(inputs, Ball) else None
    box = inputs.box() if isinstance(inputs, Ball) else inputs
    n, m = graph.nodes[graph.inputs[0]].size, graph.nodes[graph.outputs[0]].size
    if len(box.lower) != n:
        raise PropertyError(f"the input set has {len(box.lower)} entries, the network {n} inputs; give as many")
    C = _rows(rows, m)
    size = magnitudes(graph, box.lower, box.upper)
    prepared = prepare(graph, place)
    both = make_rows(graph, prepared, size, np.concatenate([C, -C]), None, np.zeros(2 * len(C)))
    varying = np.flatnonzero(box.lower < box.upper) if method != "interval" else np.arange(0)
    lower, upper = outward(box.lower[None], box.upper[None], place)
    b = boxes(lower, upper, place.array(varying), dtype)
    bounds = propagate(prepared, b, None, set(both.start), {} if method == "crown" else None, 10**6)
    ids = place.array(np.arange(len(both))[None])
    if method == "crown":
        planes = rows_backward(prepared, both, ids, bounds.weights(prepared), bounds.relaxed)
        A, least = to_numpy(planes.A).astype(np.float64), to_numpy(planes.b - planes.error).astype(np.float64)
        reach = abs(A) @ to_numpy(b.radius[0]).astype(np.float64)
        center = to_numpy(b.center[0]).astype(np.float64)
        if ball is not None and ball.norm != float("inf"):
            dual = np.inf if ball.norm == 1 else 2
            off = abs(center - ball.center).max() if n else 0.0
            reach = np.minimum(reach, (ball.eps * np.linalg.norm(A, dual, axis=1) + off * abs(A).sum(1)))
        reach = reach * (1 + gamma(n + 8, "float64"))
        value = least + A @ center - reach
    else:
        coefficients, c, slack = (
            to_numpy(a[0]).astype(np.float64) for a in rows_forward(prepared, both, ids, bounds.forms)
        )
        reach = abs(coefficients).sum(1) * (1 + gamma(n + 8, dtype))
        value = c - reach - slack
    if not np.isfinite(value).all():
        raise UnsoundBound(f"bounds of {getattr(net, 'path', 'the network')} are not finite; try dtype float64")
    return value[: len(C)], -value[len(C) :]


def _rows(rows: Any, m: int) -> np.ndarray:
    """`rows` as `[R, m]`."""
    try:
        C = np.eye(m) if rows is None else np.atleast_2d(np.asarray(rows, np.float64))
    except (TypeError, ValueError) as e:
        raise PropertyError(f"rows: not an array of numbers ({e}); correct it") from None
    if C.ndim != 2 or not np.isfinite(C).all():
        raise PropertyError("rows: give one row of finite numbers, or a matrix of them")
    if C.shape[1] != m:
        raise PropertyError(f"rows have {C.shape[1]} entries, the network {m} outputs; give as many")
    return C
