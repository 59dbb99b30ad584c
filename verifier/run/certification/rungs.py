"""Lower bounds of the margins of many images at once: intervals, and rows walked back (CROWN).

Everything is in double precision with its rounding accounted for; the network is bounded once for a whole batch, with a
row for each rival class of each image.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from verifier.bounds.network import Tick, magnitudes, nothing
from verifier.bounds.propagate import Bounds, Boxes, boxes, propagate
from verifier.bounds.rows import Rows, make_rows, rows_backward, rows_interval
from verifier.run.certification.points import ImageBatch
from verifier.run.certification.setting import Setting
from verifier.search.query import MOST_SYMBOLS
from verifier.values.arrays import Array, to_numpy
from verifier.values.hoelder import Balls
from verifier.values.precision import full_precision
from verifier.values.rounding import gamma, tiny

inf = float("inf")
BLOCK = 500_000
"""Numbers in one block of rows for neurons."""


@dataclass(frozen=True, eq=False)
class Margins:
    """Bounds of a batch.

    Attributes:
        least: `[B, K − 1]` lower bounds of the label's score less each rival's; minus infinity where nothing is known.
        bounds, box: of every neuron, and where.
        rows, ids: the rows, and `[B, K − 1]` which of them are each image's.
    """

    least: np.ndarray
    bounds: Bounds
    box: Boxes
    rows: Rows
    ids: Array

    @property
    def proved(self) -> np.ndarray:
        """`[B]` whether every rival loses on the whole ball.  NaN proves nothing."""
        return np.asarray((self.least > 0).all(1))


def interval(s: Setting, b: ImageBatch) -> Margins:
    """By interval arithmetic, for a ball in the box around it.

    Source: Gowal et al., *On the Effectiveness of Interval Bound Propagation*, 2018; its last layer is multiplied into
    the differences of outputs.
    """
    return _margins(s, b, walk=False, thorough=False)


def linear(s: Setting, b: ImageBatch) -> Margins:
    """Rows walked back over neurons bounded by intervals (CROWN-IBP: Zhang et al. 2020); never below `interval`."""
    return _margins(s, b, walk=True, thorough=False)


def crown(s: Setting, b: ImageBatch, tick: Tick = nothing) -> Margins:
    """Rows walked back over neurons that were bounded by walking back themselves; never below `linear`.

    Args:
        tick: called between blocks; whoever has run out of time raises there.
    """
    found = _margins(s, b, walk=True, thorough=True, tick=tick)
    return replace(found, least=np.fmax(found.least, linear(s, b).least))


def _margins(s: Setting, b: ImageBatch, *, walk: bool, thorough: bool, tick: Tick = nothing) -> Margins:
    with full_precision(s.exact.place), np.errstate(all="ignore"):  # what overflows proves nothing
        return _bounded(s, b, walk, thorough, tick)


def _bounded(s: Setting, b: ImageBatch, walk: bool, thorough: bool, tick: Tick) -> Margins:
    net, place = s.exact, s.exact.place
    lower, upper = s.box(b)
    varying = np.flatnonzero((lower < upper).any(0))
    if not thorough or len(varying) > MOST_SYMBOLS:
        varying = varying[:0]
    balls = Balls(place.array(b.x), place.array(b.eps), s.norm) if thorough and s.norm != inf else None
    box = boxes(place.array(lower), place.array(upper), place.array(varying), "float64", balls)
    bounds = propagate(net, box, None, set(), {} if thorough else None, BLOCK, None, tick)
    rows, whole, ids = _rows(s, b, bounds, lower, upper)
    least = to_numpy(rows_interval(net, whole, ids, bounds.image, (box.lower, box.upper)))
    if walk:
        least = np.fmax(least, _walked(s, b, bounds, box, rows, ids))
    if bounds.broken is not None:
        least = np.where(to_numpy(bounds.broken)[:, None], -inf, least)
    return Margins(np.where(np.isfinite(least), least, -inf), bounds, box, rows, ids)


def _rows(s: Setting, b: ImageBatch, bounds: Bounds, lower: np.ndarray, upper: np.ndarray) -> tuple[Rows, Rows, Array]:
    """A row for each label of the batch and each of its rivals; the same from maxima on; which are each image's."""
    present, rank = np.unique(b.label, return_inverse=True)
    K = s.classes
    C = np.concatenate([np.delete(np.eye(K)[y] - np.eye(K), y, 0) for y in present])
    fine = np.arange(len(b)) if bounds.broken is None else np.flatnonzero(~to_numpy(bounds.broken))
    fine = fine if len(fine) else np.arange(len(b))  # of broken ones nothing is claimed
    hull = {}  # of all images: what rounding in the last layers may cost
    for j, (l, u) in bounds.interval.items():
        low, high = to_numpy(l)[fine], to_numpy(u)[fine]
        hull[j] = low.min(0, keepdims=True), high.max(0, keepdims=True)
    size = magnitudes(s.graph, lower[fine].min(0), upper[fine].max(0), hull)
    ids = rank[:, None] * (K - 1) + np.arange(K - 1)
    rows = whole = make_rows(s.graph, s.exact, size, C, None, np.zeros(len(C)))
    if s.exact.maxima:
        whole = make_rows(s.graph, s.exact, size, C, None, np.zeros(len(C)), s.exact.maxima)
    return rows, whole, s.exact.place.array(ids)


def _walked(s: Setting, b: ImageBatch, bounds: Bounds, box: Boxes, rows: Rows, ids: Array) -> np.ndarray:
    """Lower bounds `[B, K − 1]` of rows walked back to the input.

    Sound because: `error` covers the rounding of concretising on the box (see `bounds.backward.Planes`).
    """
    planes = rows_backward(s.exact, rows, ids, bounds.weights(s.exact), bounds.relaxed)
    B, R = ids.shape
    A, c = to_numpy(planes.A).reshape(B, R, -1), to_numpy(planes.b - planes.error).reshape(B, R)
    center, radius = to_numpy(box.center), to_numpy(box.radius)
    value = (A @ center[:, :, None])[:, :, 0] + c - (abs(A) @ radius[:, :, None])[:, :, 0]
    return value if s.norm == inf else np.fmax(value, in_balls(A, c, b.x, b.eps, s.norm))


def in_balls(A: np.ndarray, c: np.ndarray, center: np.ndarray, eps: np.ndarray, norm: float) -> np.ndarray:
    """Lower bounds `[B, R]` of `A·x + c` on balls: A `[B, R, n]`, c `[B, R]`, center `[B, n]`, eps `[B]`.

    Sound because: Hölder's inequality, as `values.hoelder.least`, for a ball a batch entry.
    """
    n, size = A.shape[2], abs(A)
    dual = size.max(2)
    if norm == 2:  # scaled before it is squared, so that nothing underflows
        scaled = A / np.where(dual > 0, dual, 1.0)[:, :, None]
        dual = dual * np.sqrt((scaled * scaled).sum(2))
    reach = dual * eps[:, None]
    error = gamma(2 * n + 16, "float64") * ((size @ abs(center)[:, :, None])[:, :, 0] + reach + abs(c))
    error = error + (n + 4) * tiny("float64") * (1 + size.sum(2))
    return np.asarray((A @ center[:, :, None])[:, :, 0] + c - reach - error)
