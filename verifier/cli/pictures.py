"""Bounds of a Jacobian as a table and as a picture."""

from __future__ import annotations

import io
from math import prod

import numpy as np

from verifier.values.extras import need

MOST_SHOWN = 12
"""Outputs that a picture of images shows, one row each."""


def signs(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """1 where an entry is nowhere negative, -1 where it is nowhere positive, 0 where it may be both."""
    return np.where(lower >= 0, 1, np.where(upper <= 0, -1, 0))


def table(names: list[str], lower: np.ndarray, upper: np.ndarray) -> str:
    """One line an entry: output, input, lower and upper bound, sign (+, - or ?)."""
    lines = ["output,input,lower,upper,sign"]
    sign = signs(lower, upper)
    for k, name in enumerate(names):
        lines += [
            f"{name},{j},{float(lower[k, j])!r},{float(upper[k, j])!r},{'?+-'[sign[k, j]]}"
            for j in range(lower.shape[1])
        ]
    return "\n".join(lines) + "\n"


def picture(names: list[str], lower: np.ndarray, upper: np.ndarray, shape: tuple[int, ...]) -> bytes:
    """A PNG: a heat map of the lower bounds, the upper bounds and the signs; for images, one image an output.

    Args:
        lower, upper: `[K, n]`.  shape: of the network's input.
    """
    need("a picture", "report")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    most = float(np.max(np.abs([lower, upper]), initial=0.0, where=np.isfinite([lower, upper]))) or 1.0
    panels = [("lower bound", lower, most), ("upper bound", upper, most), ("sign", signs(lower, upper) * 1.0, 1.0)]
    image = len(shape) >= 2 and shape[-1] > 1 and shape[-2] > 1
    K = min(len(lower), MOST_SHOWN) if image else 1
    size = (9.0, 2.4 * K + 0.6) if image else (12.0, 1.5 + 0.25 * len(lower))
    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplots(K, 3, squeeze=False)
    for column, (title, values, limit) in enumerate(panels):
        for k in range(K):
            shown = values
            if image:  # channels of a pixel: the entry that matters most
                stack = values[k].reshape(prod(shape[:-2]), *shape[-2:])
                shown = np.take_along_axis(stack, np.abs(stack).argmax(0)[None], 0)[0]
            ax = axes[k, column]
            drawn = ax.imshow(shown, cmap="RdBu_r", vmin=-limit, vmax=limit, aspect="equal" if image else "auto")
            ax.set_xticks([]) if image else ax.set_xlabel("input")
            ax.set_yticks([] if image else range(len(names)), [] if image else names)
            if k == 0:
                ax.set_title(title)
            if image and column == 0:
                ax.set_ylabel(names[k])
        figure.colorbar(drawn, ax=list(axes[:, column]), shrink=0.8)
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=110)
    return out.getvalue()
