"""Softmax, or the largest, of numbers some of which are minus infinity: of the others alone, so that none is left."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from verifier.graph.convert import Call
from verifier.graph.ops.affine import Scale
from verifier.graph.ops.moves import Reshape

_GROUPS = 512
"""Most different numbers of entries that the rows of one softmax may keep."""


def kept(t: np.ndarray) -> np.ndarray | None:
    """Where a shift is not minus infinity; None if that is everywhere.

    Raises:
        ValueError: it holds NaN or plus infinity.
    """
    if np.isnan(t).any() or np.isposinf(t).any():
        raise ValueError("a constant holds NaN or infinite values")
    return ~np.isneginf(t) if np.isneginf(t).any() else None


def groups(keep: np.ndarray, nothing: bool = False) -> tuple[list[np.ndarray], np.ndarray]:
    """How to take a softmax of what is kept of each row.

    Parameters:
        keep: `[..., n]`, which entries count.
        nothing: a row may keep nothing, and is zero then.

    Returns:
        For the rows that keep equally many entries, the flat positions of those, `[rows, count]`; and for each entry
        where it stands among the results, flattened and joined: -1 where it is zero.

    Raises:
        ValueError: a row keeps nothing where that is not expected, or too many different numbers of entries are kept.
    """
    rows = keep.reshape(-1, keep.shape[-1])
    counts = rows.sum(1)
    if (counts == 0).any() and not nothing:
        raise ValueError("a softmax of nothing but minus infinity")
    sizes = np.unique(counts[counts > 0])
    if len(sizes) > _GROUPS:
        raise ValueError(f"a mask with {len(sizes)} different numbers of entries in its rows")
    where, parts, start = np.full(rows.size, -1, np.int64), [], 0
    positions = np.arange(rows.size).reshape(rows.shape)
    for size in sizes:
        mine = counts == size
        part = positions[mine][rows[mine]].reshape(-1, size)
        where[part.reshape(-1)] = np.arange(start, start + part.size)
        start += part.size
        parts.append(part)
    return parts, where.reshape(keep.shape)


def unmasked(call: Call, x: int) -> tuple[int, np.ndarray | None]:
    """x with zero in the place of minus infinity, and where it is not that; None if nowhere."""
    source = x
    while isinstance(call.builder.nodes[source].op, Reshape):
        source = call.builder.nodes[source].inputs[0]
    node = call.builder.nodes[source]
    if not isinstance(node.op, Scale) or node.op.t is None:
        return x, None
    keep = kept(node.op.t)
    if keep is None:
        return x, None
    y = call.add(replace(node.op, t=np.where(keep, node.op.t, 0.0)), *node.inputs)
    return call.reshape(y, call.shape(x)), np.broadcast_to(keep, node.shape).reshape(call.shape(x))
