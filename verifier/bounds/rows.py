"""Rows to be proved positive: linear functions of a network's output and input, pulled back to where they start.

A property asks whether a literal `A_y·y + A_x·x <= d` can hold.  Its row is `A_y·y + A_x·x − d`: where every x of a
box gives a positive row, the literal cannot hold there.  The affine tail of the network is multiplied into the rows
once, in double precision; what remains starts at activations (and at the input).
"""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass

import numpy as np

from verifier.bounds.backward import Planes, backward
from verifier.bounds.forward import Form
from verifier.bounds.network import Network
from verifier.graph.graph import Affine, Graph
from verifier.relax.lines import Lines
from verifier.relax.share import Planes as Softmax
from verifier.values.arrays import Array, namespace
from verifier.values.rounding import gamma, unit

Interval = tuple[Array, Array]


@dataclass(frozen=True, eq=False)
class Rows:
    """L rows `Σ_i start[i]·value(i) + constant`, known up to `error` (conversion and the tail's rounding).

    Attributes:
        start: node -> `[L, size]`.
        constant, error: `[L]`.
    """

    start: dict[int, Array]
    constant: Array
    error: Array

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.constant)


def make_rows(
    graph: Graph,
    net: Network,
    magnitude: dict[int, np.ndarray],
    A_y: Array,
    A_x: Array | None,
    d: Array,
    stops: Container[int] = (),
) -> Rows:
    """Pull rows `A_y·y + A_x·x − d` back through the affine tail.

    Args:
        graph: in double precision on numpy, the same nodes as `net.graph`.
        net: where the rows will be used.
        magnitude: see `magnitudes`, over everything that will be bounded.
        A_y: `[L, m]`; A_x: `[L, n]` or None; d: `[L]`; all in double precision.
        stops: affine nodes that rows are not pulled back through, because more is known of them as they are: maxima,
            where rows are bounded by intervals.
    """
    L, out = len(d), net.output
    if net.place.dtype == "float64" and not np.isfinite(magnitude[out]).all():
        return _whole(net, A_y, A_x, d)
    rows = {out: np.asarray(A_y, np.float64).reshape(L, *graph.nodes[out].shape)}
    constant, error = -np.asarray(d, np.float64), abs(np.asarray(d, np.float64)) * 4 * unit("float64")
    start: dict[int, np.ndarray] = {}
    for i in range(out, -1, -1):
        if i not in rows:
            continue
        net.tick()
        A, node = rows.pop(i), graph.nodes[i]
        if not isinstance(node.op, Affine) or i in stops:
            start[i] = start[i] + A.reshape(L, -1) if i in start else A.reshape(L, -1)
            continue
        if net.rounds(i):
            error = error + abs(A).reshape(L, -1) @ magnitude[i] * gamma(net.terms[i] + node.size, "float64") * 1.02
        bias = node.op.bias()
        if bias is not None:
            constant = constant + A.reshape(L, -1) @ np.broadcast_to(bias, node.shape).reshape(-1)
        for j, part in zip(node.inputs, node.op.adjoint(A, *graph.shapes_in(i)), strict=True):
            rows[j] = rows[j] + part if j in rows else part
    if A_x is not None:
        A = np.asarray(A_x, np.float64).reshape(L, -1)
        start[net.input] = start[net.input] + A if net.input in start else A
    u = unit(net.place.dtype)
    for i, A in start.items():  # conversion to the place's type
        error = error + abs(A) @ magnitude[i] * (u + 2 * unit("float64")) * 1.02
    error = error + abs(constant) * gamma(len(graph.nodes) + 8, net.place.dtype)  # each node adds to it, and rounds it
    array = net.place.array
    up = np.nextafter(error.astype(net.place.dtype), np.inf, dtype=net.place.dtype)
    return Rows({i: array(A) for i, A in start.items()}, array(constant), array(up))


def _whole(net: Network, A_y: Array, A_x: Array | None, d: Array) -> Rows:
    """Rows that start at the output itself, in double precision.

    Where some value may be infinite, nothing can be said once and for all about the rounding of the affine tail; then
    it is walked with the rest, on each domain with that domain's magnitudes.
    """
    array, u = net.place.array, unit("float64")
    start = {net.output: array(np.asarray(A_y, np.float64).reshape(len(d), -1))}
    if A_x is not None:
        start[net.input] = array(np.asarray(A_x, np.float64).reshape(len(d), -1))
    constant = -np.asarray(d, np.float64)
    return Rows(start, array(constant), array(abs(constant) * (4 * u + gamma(len(net.graph.nodes) + 8, "float64"))))


def rows_backward(
    net: Network,
    rows: Rows,
    ids: Array,
    weight: dict[int, Array],
    relaxed: dict[int, Lines | Softmax],
    seen: dict[int, Array] | None = None,
) -> Planes:
    """Lower planes `[B·K]` of the rows `ids` (`[B, K]`) of every domain, by the backward walk."""
    flat = ids.reshape(-1)
    start = {i: A[flat].reshape(len(flat), *net.graph.nodes[i].shape) for i, A in rows.start.items()}
    planes = backward(net, weight, relaxed, start, rows.constant[flat], None, seen)
    return Planes(planes.A, planes.b, planes.error + rows.error[flat])


def rows_interval(net: Network, rows: Rows, ids: Array, image: dict[int, tuple[Array, Array]], x: Interval) -> Array:
    """Lower bounds `[B, K]` of the rows `ids` (`[B, K]`) from intervals of the nodes where they start.

    Linear bounds of saturated functions (a sigmoid near one) leave their range, which intervals never do.

    Args:
        net: in double precision; rows: at its place, best with maxima as stops.
        image: see `Bounds.image`.  x: that of the input, `[B, n]`.

    Returns minus infinity where rows start elsewhere (see `_whole`).

    Sound because: a row is linear in what it starts from; its sum errs by gamma times the magnitudes.
    """
    xp, array = namespace(rows.constant), net.place.array
    if any(i != net.input and i not in image for i in rows.start):
        return rows.constant[ids] * 0 - xp.inf
    total = rows.constant[ids] - rows.error[ids]
    size, n = xp.abs(total) + rows.error[ids], 4
    for i, A in rows.start.items():
        low, high = (array(a, net.place.dtype).reshape(a.shape[0], -1) for a in (x if i == net.input else image[i]))
        R = A[ids]
        reach = xp.maximum(xp.abs(low), xp.abs(high))[:, :, None]
        total = total + (xp.maximum(R, 0.0) @ low[:, :, None] + xp.minimum(R, 0.0) @ high[:, :, None])[:, :, 0]
        size, n = size + (xp.abs(R) @ reach)[:, :, 0], n + int(R.shape[2])
    return total - 2 * gamma(n, net.place.dtype) * size


def rows_forward(net: Network, rows: Rows, ids: Array, forms: dict[int, Form]) -> tuple[Array, Array, Array]:
    """Rows by the forward walk, over ε: `(C, b, slack)` with row >= C·ε + b − slack; `[B, K, k]`, `[B, K]`, `[B, K]`.

    Sound because: a row is affine in the values it starts from, so it follows `through_affine`.
    """
    xp = namespace(rows.constant)
    C, b, slack, n = None, rows.constant[ids], rows.error[ids], 0
    size = xp.abs(b)
    for i, A in rows.start.items():
        form, R = forms[i], A[ids]  # [B, K, size]
        B, k1 = form.C.shape[:2]
        F = form.C.reshape(B, k1, -1)
        product = R @ xp.transpose(F, (0, 2, 1))  # [B, K, k + 1]
        n += F.shape[2]
        part = product[:, :, :-1]
        C = part if C is None else C + part
        b = b + product[:, :, -1]
        r, span = form.r.reshape(B, -1), form.span.reshape(B, -1)
        R = xp.abs(R)
        g = gamma(F.shape[2] + k1 + 4, net.place.dtype)
        slack = slack + (R @ (r * (1 + g) + g * (span + xp.abs(F[:, -1])))[:, :, None])[:, :, 0]
        size = size + (R @ xp.abs(F[:, -1])[:, :, None])[:, :, 0]
    assert C is not None
    slack = slack + size * gamma(2 * len(rows.start) + 4, net.place.dtype)
    return C, b, slack
