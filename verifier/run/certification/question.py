"""Model, data and balls as they are given: whether they fit, and what names them."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from verifier.graph.graph import Graph
from verifier.run.certification.setting import Setting, setting
from verifier.run.model import name_of
from verifier.values import given
from verifier.values.arrays import to_numpy
from verifier.values.errors import PropertyError, UserError

inf = float("inf")
COMPARED = 8
"""Images on which an imported network is compared with the original."""


def posed(
    model: Any, x: Any, y: Any, norm: float, lo: Any, hi: Any, device: str
) -> tuple[Setting, np.ndarray, np.ndarray]:
    """The model loaded, images `[N, n]` in double precision, classes `[N]`.

    Raises:
        UserError: they do not fit together.
    """
    x, y = (_numbers(name, v) for name, v in (("x", x), ("y", y)))
    if x.dtype.kind not in "uif" or x.ndim < 2 or y.dtype.kind not in "ui" or y.shape != (len(x),) or not len(x):
        raise PropertyError(
            f"x: {x.dtype} of shape {list(x.shape)}, y: {y.dtype} of shape {list(y.shape)}; "
            "give numbers [N, ...] and one whole number for each, at least one"
        )
    sample = x[:COMPARED].reshape(min(len(x), COMPARED), -1).astype(np.float64)
    s = setting(model, x[:1], norm, lo, hi, device, sample)
    shape = s.net.input_shapes[0]
    if x.size != len(x) * s.inputs:
        raise PropertyError(f"x: images of shape {list(x.shape[1:])}, but {name_of(s.net)} takes {list(shape)}")
    if x.ndim == 4 and shape[-3:] == (*x.shape[2:], x.shape[1]) and shape[-3:] != x.shape[1:]:
        x = x.transpose(0, 2, 3, 1)  # the model has its channels last
    if y.min() < 0 or y.max() >= s.classes:
        raise PropertyError(f"y: classes {y.min()} to {y.max()}, but {name_of(s.net)} has {s.classes} outputs")
    return s, np.ascontiguousarray(x.reshape(len(x), -1), np.float64), y.astype(np.int64)


def _numbers(name: str, value: Any) -> np.ndarray:
    """An array, in its own type."""
    try:
        return np.asarray(value.detach().cpu() if hasattr(value, "detach") else value)
    except (TypeError, ValueError, OverflowError):
        raise PropertyError(f"{name}: not an array of numbers ({given.shown(value)}); give one") from None


def check(s: Setting, x: np.ndarray) -> None:
    """Refuse what nothing can be said about.

    Raises:
        UserError: numbers that are not finite, or images beyond the range of inputs.
    """
    if not np.isfinite(x).all():
        raise UserError(f"image {int(np.flatnonzero(~np.isfinite(x).all(1))[0])}: an entry is not a finite number")
    low, high = (-inf if s.lo is None else s.lo), (inf if s.hi is None else s.hi)
    if np.any(low > high) or np.any(low == inf) or np.any(high == -inf):
        raise UserError("lo .. hi: nothing lies in it; give a range that images have")
    beyond = ((x < low) | (x > high)).any(1)
    if beyond.any():
        raise UserError(f"image {int(np.flatnonzero(beyond)[0])}: beyond lo .. hi; scale the data, or give its range")


def become(s: Setting, found: Sequence[tuple[int, np.ndarray | None]]) -> list[int | None]:
    """The class that each counterexample becomes, by the original model: of the others than its label the highest."""
    some = [(label, z) for label, z in found if z is not None]
    classes = iter(())
    if some:
        y = np.nan_to_num(np.asarray(s.net.run(np.stack([z for _, z in some])), np.float64).reshape(len(some), -1))
        y[np.arange(len(some)), [label for label, _ in some]] = -np.inf
        classes = iter(y.argmax(1).tolist())
    return [None if z is None else int(next(classes)) for _, z in found]


def chosen(indices: Sequence[int] | None, n: int) -> list[int]:
    """Which images.

    Raises:
        UserError: there is no such image, or one is named twice.
    """
    if indices is None:
        return list(range(n))
    try:
        wanted = [given.whole("indices: one", i) for i in indices]
    except TypeError:
        raise UserError(f"indices {given.shown(indices)}: give a list of whole numbers") from None
    wrong = next((i for i in wanted if not 0 <= i < n), None)
    if wrong is not None:
        raise UserError(f"image {wrong}: there are {n} images, from 0 to {n - 1}")
    if len(set(wanted)) < len(wanted):
        raise UserError("indices: an image is named twice")
    return wanted


def described(s: Setting, x: np.ndarray, y: np.ndarray) -> dict[str, str]:
    """What results are of: digests of model and data, and the balls' norm and range."""
    ends = [None if end is None else end.tolist() if len(end) < 9 else digest_data(end, y[:0]) for end in (s.lo, s.hi)]
    ball = f"norm {s.norm:g} in {ends[0]} .. {ends[1]}"
    return {"model": digest_graph(s.net.graph), "data": digest_data(x, y), "ball": ball}


def digest_data(x: np.ndarray, y: np.ndarray) -> str:
    """Of inputs `[N, n]` and classes `[N]`."""
    h = hashlib.sha256(repr((x.shape, x.dtype.str)).encode())
    h.update(np.ascontiguousarray(x).data)
    h.update(np.ascontiguousarray(y, np.int64).data)
    return h.hexdigest()


def digest_graph(graph: Graph) -> str:
    """Of what a network computes: operators, how they hang together, and all parameters."""
    h = hashlib.sha256(repr((graph.inputs, graph.outputs)).encode())
    for node in graph.nodes:
        h.update(repr((node.inputs, node.shape)).encode())
        _feed(h, node.op)
    return h.hexdigest()


def _feed(h: Any, value: Any) -> None:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        h.update(type(value).__name__.encode())
        for field in dataclasses.fields(value):
            _feed(h, getattr(value, field.name))
    elif hasattr(value, "tocsr"):
        for part in (value.data, value.indices, value.indptr):
            _feed(h, part)
    elif hasattr(value, "shape"):
        array = np.ascontiguousarray(to_numpy(value))
        h.update(repr((array.shape, array.dtype.str)).encode())
        h.update(array.tobytes())
    elif isinstance(value, (tuple, list)):
        h.update(f"({len(value)}".encode())
        for item in value:
            _feed(h, item)
    else:
        h.update(repr(value).encode() + b"\0")
