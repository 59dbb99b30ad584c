"""Inputs that are images, as small pictures inside a page."""

from __future__ import annotations

import base64
import io
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from verifier.values.extras import need

Array = NDArray[np.float64]

SIDE = 96
"""Pixels; larger pictures are made smaller, block by block."""


class Layout(NamedTuple):
    """How numbers are an image: channels (1 or 3), height, width, and whether channels come last."""

    channels: int
    height: int
    width: int
    last: bool


def layout(shape: Sequence[int], n: int) -> Layout | None:
    """That of `n` numbers of this shape (of one input; empty where it is not known), if they are an image.

    Flat squares of 8 × 8 or more count as one, of one channel or three.
    """
    some = [d for d in shape if d != 1] if math.prod(shape) == n else []
    if len(some) == 3 and some[0] == 3 and min(some[1:]) >= 4:
        return Layout(3, some[1], some[2], False)
    if len(some) == 3 and some[2] == 3 and min(some[:2]) >= 4:
        return Layout(3, some[0], some[1], True)
    if len(some) == 2 and min(some) >= 4:
        return Layout(1, some[0], some[1], False)
    if len(some) <= 1:
        for c in (1, 3):
            side = math.isqrt(n // c)
            if side >= 8 and c * side * side == n:
                return Layout(c, side, side, False)
    return None


def png(shape: Layout, before: Array, after: Array | None = None) -> bytes:
    """An image; with another one: both, and their difference (red up, blue down), side by side.

    A pixel of the difference is the channel's change that is largest in size, relative to the picture's largest.
    """
    images = [_image(v, shape) for v in (before, after) if v is not None]
    low, high = min(v.min() for v in images), max(v.max() for v in images)
    panels = [np.repeat(_smaller((v - low) / (high - low or 1.0)), 3 // shape.channels, 2) for v in images]
    if after is not None:
        difference = _largest(images[1] - images[0])
        moved = difference / (np.abs(difference).max() or 1.0)
        panels.append(np.stack([1 + np.minimum(moved, 0), 1 - np.abs(moved), 1 - np.maximum(moved, 0)], 2))
        gap = np.ones((len(moved), max(1, len(moved) // 16), 3))
        panels = [panels[0], gap, panels[1], gap, panels[2]]
    return _encoded((255 * np.clip(np.concatenate(panels, 1), 0, 1)).round().astype(np.uint8))


def uri(picture: bytes) -> str:
    """A picture inside a page."""
    return "data:image/png;base64," + base64.b64encode(picture).decode()


def _image(v: Array, shape: Layout) -> Array:
    c, height, width, last = shape
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


def _encoded(rgb: NDArray[np.uint8]) -> bytes:
    need("a picture", "report", "PIL")
    from PIL import Image

    out = io.BytesIO()
    Image.fromarray(rgb).save(out, "PNG", optimize=True)
    return out.getvalue()
