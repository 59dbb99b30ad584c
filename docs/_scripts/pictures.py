"""Draw the pictures of `docs/how-bounds-work.md` from the example networks.

Run `python -m docs._scripts.pictures`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib import pyplot as plt
from matplotlib.patches import Rectangle

import verifier
from verifier.bounds.network import magnitudes, prepare
from verifier.bounds.propagate import boxes, propagate
from verifier.bounds.rows import make_rows, rows_backward
from verifier.graph.ops.relu import Relu
from verifier.relax import table
from verifier.run.model import boundable
from verifier.search.clipping.relaxed import clip
from verifier.values.arrays import Place

ROOT = Path(__file__).resolve().parent.parent.parent
FOLDER = ROOT / "docs" / "pictures"
MODEL = ROOT / "models" / "pendulum.onnx"
HOST = Place("numpy", "float64")
BLUE, ORANGE, GREEN, GREY, DARK = "#3b6ea8", "#c8641b", "#2f8a5b", "#8a8f98", "#2b2f36"
STYLE: dict[str, Any] = {
    "svg.fonttype": "path", "svg.hashsalt": "verifier", "font.size": 9, "axes.spines.top": False,
    "axes.spines.right": False, "axes.edgecolor": GREY, "axes.labelcolor": DARK, "xtick.color": DARK,
    "ytick.color": DARK, "text.color": DARK, "legend.frameon": False, "figure.facecolor": "white",
    "savefig.facecolor": "white", "axes.titlesize": 9.5, "axes.titlelocation": "left",
}  # fmt: skip
METHODS = {"interval": GREY, "crown": BLUE, "alpha-crown": ORANGE}


def network() -> Any:
    """The pendulum's controller as a graph."""
    return boundable(verifier.load(str(MODEL)))


def planes(graph: Any, lower: np.ndarray, upper: np.ndarray, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """CROWN's linear lower bounds `A·x + b` of rows over the outputs, on one box: `[R, n]`, `[R]`."""
    symbols = np.flatnonzero(lower < upper)
    box = boxes(lower[None], upper[None], symbols, "float64")
    net = prepare(graph, HOST)
    first = propagate(net, box, None, set(), {}, 10**6).interval
    size = magnitudes(graph, lower, upper, first)
    made = make_rows(graph, net, size, rows, None, np.zeros(len(rows)))
    bounds = propagate(net, box, None, set(made.start), {}, 10**6)
    found = rows_backward(net, made, np.arange(len(rows))[None], bounds.weights(net), bounds.relaxed, {})
    return np.asarray(found.A), np.asarray(found.b - found.error)


def torque(graph: Any, x: np.ndarray) -> np.ndarray:
    """The network at points `[P, 2]`."""
    return np.asarray(graph.evaluate(x.reshape(len(x), *graph.nodes[graph.inputs[0]].shape))[0]).reshape(-1)


def triangle() -> None:
    """A rectifier between two numbers, and lines below and above it."""
    lower, upper = -1.0, 2.0
    f = table.lines(Relu(), np.array([[lower]]), np.array([[upper]]))
    slope, offset = float(f.s_u[0, 0]), float(f.t_u[0, 0])  # type: ignore[index]
    figure, axes = plt.subplots(1, 3, figsize=(8.2, 2.5), sharey=True)
    z = np.linspace(lower, upper, 3)
    for ax, alpha, title in zip(axes, (0.0, 1.0, 0.4), ("alpha = 0", "alpha = 1", "alpha = 0.4"), strict=True):
        ax.fill_between([lower, upper], [alpha * lower, alpha * upper], slope * np.array([lower, upper]) + offset,
                        color=BLUE, alpha=0.13, lw=0)  # fmt: skip
        ax.plot(z, slope * z + offset, color=BLUE, lw=1.6)
        ax.plot(z, alpha * z, color=ORANGE, lw=1.6)
        ax.plot([-1.6, 0, 2.6], [0, 0, 2.6], color=DARK, lw=2)
        ax.set_title(title)
        ax.set_xticks([lower, 0, upper], ["l", "0", "u"])
        ax.set_yticks([])
        ax.axvline(0, color=GREY, lw=0.5, zorder=0)
        ax.set_ylim(-1.3, 2.7)
    axes[0].text(-0.9, 1.0, "above", color=BLUE)
    axes[1].text(-0.35, -0.95, "below", color=ORANGE)
    axes[0].text(1.3, 0.75, "relu(z)", color=DARK)
    save(figure, "triangle")


def methods() -> None:
    """Bounds of the torque on boxes of growing width, and of the same network cut to one line."""
    graph, net = network(), verifier.load(str(MODEL))
    figure, (left, right) = plt.subplots(1, 2, figsize=(8.2, 3.1))
    center, widths = np.array([0.5, 0.0]), np.linspace(0.01, 0.6, 13)
    grid = np.stack(np.meshgrid(np.linspace(-1, 1, 41), np.linspace(-1, 1, 41)), -1).reshape(-1, 2)
    inside = np.array([[f(torque(graph, center + w * grid)) for f in (np.min, np.max)] for w in widths])
    left.fill_between(widths, inside[:, 0], inside[:, 1], color=GREEN, alpha=0.3, lw=0, label="what occurs")
    for method, color in METHODS.items():
        found = np.array([verifier.bound(net, verifier.Ball(center, w), method=method) for w in widths])[:, :, 0]
        left.plot(widths, found, color=color, lw=1.5, label=[method, None])
    left.set_xlabel("half the width of the box")
    left.set_ylabel("torque")
    left.set_title("Bounds about angle 0.5, velocity 0")
    left.legend(loc="upper left")
    _draw(right, graph, 0.1, 0.9)
    l, u = verifier.bound(net, verifier.Box([0.1, 0], [0.9, 0]), method="interval")
    right.axhline(float(l[0]), color=GREY, lw=1.5, label="interval")
    right.axhline(float(u[0]), color=GREY, lw=1.5)
    right.set_title("On a line: angles 0.1 to 0.9, velocity 0")
    right.legend(loc="lower left", bbox_to_anchor=(0, 0.08))
    right.set_xlabel("angle")
    save(figure, "methods")


def on_a_line(graph: Any, low: float, high: float) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Angles, CROWN's line below the torque there, its line above, and the torque; velocity 0."""
    ends = np.array([low, 0.0]), np.array([high, 0.0])
    angle = np.linspace(low, high, 200)
    x = np.stack([angle, angle * 0], 1)
    A, b = planes(graph, *ends, np.array([[1.0], [-1.0]]))
    return angle, x @ A[0] + b[0], -(x @ A[1] + b[1]), torque(graph, x)


def _draw(ax: Any, graph: Any, low: float, high: float, labels: bool = True) -> None:
    angle, below, above, value = on_a_line(graph, low, high)
    ax.fill_between(angle, below, above, color=BLUE, alpha=0.13, lw=0)
    ax.plot(angle, below, color=BLUE, lw=1.5, label="CROWN's lines" if labels else None)
    ax.plot(angle, above, color=BLUE, lw=1.5)
    ax.plot(angle, value, color=DARK, lw=2, label="the network" if labels else None)


def _ends(parts: int) -> list[tuple[float, float]]:
    ends = np.linspace(-1, 1, parts + 1)
    return list(zip(ends[:-1], ends[1:], strict=True))


def apart(parts: int) -> float:
    """How far CROWN's lines are apart on average, on angles from -1 to 1 in so many parts."""
    found = (on_a_line(network(), *part) for part in _ends(parts))
    return float(np.mean([np.mean(above - below) for _, below, above, _ in found]))


def split() -> None:
    """The same line in one part and in two."""
    graph = network()
    figure, axes = plt.subplots(1, 2, figsize=(8.2, 3.0), sharey=True)
    for ax, parts in zip(axes, (1, 2), strict=True):
        for k, part in enumerate(_ends(parts)):
            _draw(ax, graph, *part, labels=k == 0)
        ax.set_title(f"{'one part' if parts == 1 else 'two parts'}: lines {apart(parts):.1f} apart on average")
        ax.set_xticks([-1, -0.5, 0, 0.5, 1])
        ax.set_xlabel("angle (velocity 0)")
        ax.legend(loc="upper right")
    axes[1].axvline(0, color=GREY, lw=0.8, ls="--")
    axes[0].set_ylabel("torque")
    save(figure, "split")


CLIPPED = (np.array([0.0, -1.0]), np.array([1.0, 1.0]), -14.0)
"""Box, and the torque below which a state is a counterexample."""


def clipped_box() -> tuple[np.ndarray, np.ndarray, np.ndarray, float]:
    """`A`, lower and upper sides of the clipped box, and b: counterexamples have `A·x + b <= 0`."""
    lower, upper, limit = CLIPPED
    A, b = planes(network(), lower, upper, np.array([[1.0]]))
    level = float(b[0]) - limit
    l, u = clip(lower[None], upper[None], A[None], np.array([[level]]))
    return A[0], l[0], u[0], level


def clipping() -> None:
    """A box, the counterexamples in it, the plane that they lie behind, and what is left of the box."""
    lower, upper, limit = CLIPPED
    A, l, u, level = clipped_box()
    graph = network()
    figure, ax = plt.subplots(figsize=(5.2, 3.6))
    X, Y = np.meshgrid(np.linspace(lower[0], upper[0], 200), np.linspace(lower[1], upper[1], 200))
    value = torque(graph, np.stack([X, Y], -1).reshape(-1, 2)).reshape(X.shape)
    ax.contourf(X, Y, value, levels=[value.min() - 1, limit], colors=[ORANGE], alpha=0.5)
    ax.add_patch(Rectangle(lower, *(upper - lower), fill=False, ec=GREY, lw=1.5))
    ax.add_patch(Rectangle(l, *(u - l), fill=True, fc=BLUE, alpha=0.12, lw=0))
    ax.add_patch(Rectangle(l, *(u - l), fill=False, ec=BLUE, lw=2))
    v = np.linspace(lower[1], upper[1], 2)
    ax.plot(-(level + A[1] * v) / A[0], v, color=DARK, lw=1.5, ls="--")
    ax.text(0.03, 0.82, "the box", color=GREY)
    ax.text(l[0] + 0.02, -0.92, "what is left", color=BLUE)
    ax.text(0.76, 0.55, "torque\nbelow −14", color="#7a3a08")
    at = 0.1
    ax.text(-(level + A[1] * at) / A[0] - 0.03, at, "A·x + b = 0", color=DARK, ha="right")
    ax.set_xlim(lower[0] - 0.04, upper[0] + 0.04)
    ax.set_ylim(lower[1] - 0.08, upper[1] + 0.08)
    ax.set_xlabel("angle")
    ax.set_ylabel("velocity")
    share = float(np.prod(u - l) / np.prod(upper - lower))
    ax.set_title(f"{100 * share:.0f}% of the box is left")
    save(figure, "clipping")


def save(figure: Any, name: str) -> None:
    """As SVG without a date, so that the same picture is the same file."""
    figure.tight_layout()
    figure.savefig(FOLDER / f"{name}.svg", metadata={"Date": None, "Creator": None})
    plt.close(figure)


DRAWN = (triangle, methods, split, clipping)


def main() -> None:
    """Draw all."""
    FOLDER.mkdir(exist_ok=True)
    with plt.rc_context(STYLE):
        for draw in DRAWN:
            draw()


if __name__ == "__main__":
    main()
