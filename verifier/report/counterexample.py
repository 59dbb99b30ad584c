"""A counterexample for a reader: the picture it is, or the inputs that moved, against their bounds."""

from __future__ import annotations

import base64
import io
import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from verifier.bench.store import Found

Array = NDArray[np.float64]

WHOLE = 24
"""So many inputs are all shown; of more, those that moved most."""
MOVED = 12
"""How many of those."""
OUTPUTS = 24
"""So many outputs are shown."""
SIDE = 96
"""Pixels; larger pictures are made smaller, block by block."""


def picture(found: Found) -> bytes | None:
    """A PNG: centre of the input box, counterexample, and difference (red up, blue down), side by side.

    A pixel of the difference is the channel's change that is largest in size, relative to the picture's largest.
    None where the input is no image of one or three channels, or no box is known.
    """
    layout = channels(found)
    if layout is None:
        return None
    x, centre = (_image(v, layout) for v in (np.array(found.x), _centre(found)))
    low, high = min(x.min(), centre.min()), max(x.max(), centre.max())
    grey = [_smaller((v - low) / (high - low or 1.0)) for v in (centre, x)]
    difference = _largest(x - centre)
    moved = difference / (np.abs(difference).max() or 1.0)
    red = np.stack([1 + np.minimum(moved, 0), 1 - np.abs(moved), 1 - np.maximum(moved, 0)], 2)
    panels = [*(np.repeat(v, 3 // v.shape[2], 2) for v in grey), red]
    gap = np.ones((len(red), max(1, len(red) // 16), 3))
    joined = np.concatenate([panels[0], gap, panels[1], gap, panels[2]], 1)
    return _png((255 * np.clip(joined, 0, 1)).round().astype(np.uint8))


def channels(found: Found) -> tuple[int, int, int, bool] | None:
    """Channels, height, width, and whether channels come last, if the input is an image; flat squares count as one."""
    n = len(found.x)
    if len(found.lower) != n or n == 0 or not np.isfinite([found.lower, found.upper]).all():
        return None
    shape = [d for d in found.shape if d != 1] if math.prod(found.shape) == n else []
    if len(shape) == 3 and shape[0] == 3 and min(shape[1:]) >= 4:
        return 3, shape[1], shape[2], False
    if len(shape) == 3 and shape[2] == 3 and min(shape[:2]) >= 4:
        return 3, shape[0], shape[1], True
    if len(shape) == 2 and min(shape) >= 4:
        return 1, shape[0], shape[1], False
    if len(shape) <= 1:
        for c in (1, 3):
            side = math.isqrt(n // c)
            if side >= 8 and c * side * side == n:
                return c, side, side, False
    return None


def table(found: Found) -> dict[str, Any]:
    """Inputs and outputs, fit for JSON.

    `inputs`: for each shown its name, lower bound, value, upper bound (None where unknown or infinite); `of`: how many
    inputs there are; `moved`: whether those are shown that moved most from the centre of the box; `change`: the
    largest distance from the centre, or None; `outputs`, and `outputs_of` how many there are.
    """
    x, n = np.array(found.x, dtype=float), len(found.x)
    known = len(found.lower) == n and n > 0
    lower, upper = (np.array(v, dtype=float) if known else np.full(n, np.nan) for v in (found.lower, found.upper))
    distance = np.abs(x - _centre(found)) if known else np.zeros(n)
    distance = np.where(np.isfinite(distance), distance, 0.0)
    some = np.arange(n) if n <= WHOLE else np.sort(np.argsort(-distance, kind="stable")[:MOVED])
    inputs = [[f"X_{k}", number(lower[k]), number(x[k]), number(upper[k])] for k in some.tolist()]
    return {
        "inputs": inputs,
        "of": n,
        "moved": bool(n > WHOLE and known),
        "change": number(distance.max(initial=0.0)) if known else None,
        "outputs": [number(v) for v in found.y[:OUTPUTS]],
        "outputs_of": len(found.y),
    }


def number(value: float) -> float | None:
    """Seven digits, enough to tell float32 numbers apart by eye; None for what is not finite."""
    return float(f"{value:.7g}") if math.isfinite(value) else None


def uri(png: bytes) -> str:
    """A picture inside a page."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def _centre(found: Found) -> Array:
    lower, upper = np.array(found.lower, dtype=float), np.array(found.upper, dtype=float)
    with np.errstate(invalid="ignore"):  # infinite bounds have no centre
        return np.asarray(lower / 2 + upper / 2)


def _image(v: Array, layout: tuple[int, int, int, bool]) -> Array:
    c, height, width, last = layout
    return v.reshape(height, width, c) if last else v.reshape(c, height, width).transpose(1, 2, 0)


def _blocks(v: Array) -> Array:
    """`[h, w, c]` as `[h', w', k * k, c]`: what one pixel of a smaller picture stands for."""
    k = -(-max(v.shape[:2]) // SIDE)
    h, w = (-(-d // k) for d in v.shape[:2])
    v = np.pad(v, ((0, h * k - v.shape[0]), (0, w * k - v.shape[1]), (0, 0)), mode="edge")
    return v.reshape(h, k, w, k, -1).swapaxes(1, 2).reshape(h, w, k * k, -1)


def _smaller(v: Array) -> Array:
    return np.asarray(_blocks(v).mean(2))


def _largest(v: Array) -> Array:
    """Of all that a pixel stands for, the entry largest in size."""
    some = _blocks(v)
    some = some.reshape(*some.shape[:2], -1)
    return np.asarray(np.take_along_axis(some, np.abs(some).argmax(2)[..., None], 2)[..., 0])


def _png(rgb: NDArray[np.uint8]) -> bytes:
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG", optimize=True)
    return out.getvalue()
