"""`verifier tightness`."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import numpy as np

from verifier.cli.inputs import input_set
from verifier.cli.progress import Watch
from verifier.cli.write import check_place, replace
from verifier.run.model import load
from verifier.values.box import Ball
from verifier.values.errors import UserError


def command(a: argparse.Namespace) -> None:
    """Print the mean tightness, then each output's; `--plot` draws it by layer, or by width and depth."""
    for path in (a.json, a.plot, a.theory):
        if path is not None:
            check_place(path)
    if a.theory is not None:
        by_width_and_depth(a.theory)
        if a.model is None:
            return
    if a.model is None:
        raise UserError("no MODEL is given; only --theory can do without")
    watch = Watch(a.quiet)
    try:
        watch.note("reading the model", None)
        net = load(a.model)
        x, radius = _points(a)
        from verifier.run.tightness import profile, tightness

        watch.note("walking back over the layers", None)
        values = tightness(net, x, radius, kind=a.kind, per_output=True, lo=a.lo, hi=a.hi).detach().numpy()
        layers = profile(net, x, radius, kind=a.kind, lo=a.lo, hi=a.hi) if a.plot or a.json else []
    finally:
        watch.close()
    alive = np.isfinite(values)
    mean = float(values[alive].mean()) if alive.any() else float("nan")
    each = [float(v[k].mean()) if k.any() else float("nan") for v, k in zip(values.T, alive.T, strict=True)]
    if a.json is not None:
        content = {"kind": a.kind, "points": len(x), "mean": mean, "outputs": each, "layers": layers}
        replace(a.json, json.dumps(_finite(content), indent=1) + "\n")
    if a.plot is not None:
        by_layer(a.plot, layers, a.kind)
    print(f"{mean!r}")
    for k, value in enumerate(each):
        print(f"Y_{k} {value!r}")
    watch.say(f"mean {a.kind} tightness {mean:.4g} of {values.shape[1]} outputs at {len(x)} point{'s' * (len(x) != 1)}")


def _points(a: argparse.Namespace) -> tuple[np.ndarray, Any]:
    """Points `[B, n]` and the radius of their boxes."""
    if a.data is not None:
        if a.input is not None or a.spec is not None:
            raise UserError("--data and --input: give one of them")
        from verifier.train.data import read

        x = read(a.data).x_test[: a.count]
        return x.reshape(len(x), -1).astype(np.float64), a.eps if a.eps is not None else 1.0
    if a.spec is None and a.eps is None:
        a.eps = 1.0
    found = input_set(a)
    if isinstance(found, Ball):
        if a.ball not in (None, "inf"):
            raise UserError("--ball: tightness is of boxes; leave it out")
        return found.center[None], found.eps
    return ((found.lower + found.upper) / 2)[None], ((found.upper - found.lower) / 2)[None]


def _finite(content: dict[str, Any]) -> dict[str, Any]:
    """NaN has no place in JSON: null."""

    def plain(v: Any) -> Any:
        if isinstance(v, float):
            return v if np.isfinite(v) else None
        return [plain(u) for u in v] if isinstance(v, (list, tuple)) else v

    return {k: plain(v) for k, v in content.items()}


def by_layer(path: Path, layers: list[tuple[str, float]], kind: str) -> None:
    """A picture of tightness up to each layer."""
    with _figure(path, (6.0, 3.5)) as ax:
        values = [v if v > 0 else float("nan") for _, v in layers]
        ax.semilogy(range(1, len(layers) + 1), values, "o-")
        ax.set_xticks(
            range(1, len(layers) + 1), [name[-16:] for name, _ in layers], rotation=45, ha="right", fontsize=7
        )
        ax.set_ylabel(f"{kind} tightness")
        ax.set_title("Propagation tightness up to each layer")
        ax.grid(alpha=0.3)


def by_width_and_depth(path: Path) -> None:
    """A picture of what theory expects of Gaussian linear networks, and samples of them beside it."""
    from verifier.train import theory

    rng = np.random.default_rng(0)
    widths = [5, 10, 20, 50, 100, 200, 500]
    with _figure(path, (6.0, 4.0)) as ax:
        for layers in (2, 3, 5, 8):
            of = [theory.two_layers(d) if layers == 2 else theory.depth(layers, d) for d in widths]
            (line,) = ax.loglog(widths, of, label=f"{layers} layers, theory")
            ax.loglog(widths, [_sampled(rng, layers, d) for d in widths], "o", color=line.get_color(), markersize=4)
        ax.set_xlabel("width")
        ax.set_ylabel("expected tightness (points: sampled)")
        ax.set_title("Tightness of Gaussian linear networks at initialisation")
        ax.legend(fontsize=8)
        ax.grid(alpha=0.3, which="both")


def _sampled(rng: np.random.Generator, layers: int, width: int) -> float:
    J = A = np.eye(width)
    for _ in range(layers):
        W = rng.normal(size=(width, width)) / width
        J, A = W @ J, abs(W) @ A
    return float(abs(J).sum() / A.sum())


class _figure:  # noqa: N801  (reads as a function where it is used)
    """Axes to draw on, written to a file at the end."""

    def __init__(self, path: Path, size: tuple[float, float]) -> None:
        if path.suffix not in (".png", ".svg", ".pdf"):
            raise UserError(f"{path}: its name must end in .png, .svg or .pdf")
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure

        self._path, self._figure = path, Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(self._figure)

    def __enter__(self) -> Any:
        return self._figure.subplots()

    def __exit__(self, kind: Any, *_: Any) -> None:
        if kind is None:
            import io

            content = io.BytesIO()
            self._figure.savefig(content, format=self._path.suffix[1:], dpi=150)
            replace(self._path, content.getvalue())
