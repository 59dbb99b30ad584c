"""`verifier tightness`."""

from __future__ import annotations

import argparse
import io
import json
from pathlib import Path
from typing import Any

import numpy as np

from verifier.cli.inputs import alone, asked, centred, network, output_names
from verifier.cli.progress import Watch
from verifier.cli.write import Answer
from verifier.values.ball import Ball
from verifier.values.errors import UserError
from verifier.values.extras import need


def command(a: argparse.Namespace) -> None:
    """Print the mean tightness, then each output's; `--plot` draws it by layer, `--theory` by width and depth."""
    _check_files(a)
    if a.model is None and (a.theory is None or any(v is not None for v in (a.input, a.spec, a.data, a.plot, a.json))):
        raise UserError("no MODEL is given; only --theory, by itself, can do without")
    answer = Answer(a.json)
    if a.model is None:
        answer.write(a.theory, lambda: drawn(a.theory, by_width_and_depth()))
        return answer.done()
    watch = Watch(a.quiet)
    try:
        watch.note("reading the model", None)
        net, x, radius, ends = _points(a)
        from verifier.run.tightness import profile, tightness

        watch.note("walking back over the layers", None)
        values = tightness(net, x, radius, kind=a.kind, per_output=True, **ends).detach().numpy()
        layers = profile(net, x, radius, kind=a.kind, **ends) if a.plot or a.json else []
    finally:
        watch.close()
    alive = np.isfinite(values)
    mean = float(values[alive].mean()) if alive.any() else float("nan")
    each = [float(v[k].mean()) if k.any() else float("nan") for v, k in zip(values.T, alive.T, strict=True)]
    content = {"kind": a.kind, "points": len(values), "mean": mean, "outputs": each, "layers": layers}
    answer.say(
        "\n".join([f"{mean!r}", *(f"{name} {value!r}" for name, value in zip(output_names(net), each, strict=True))])
    )
    answer.write(a.json, lambda: json.dumps(_finite(content), indent=1) + "\n")
    answer.write(a.plot, lambda: drawn(a.plot, by_layer(layers, a.kind)))
    answer.write(a.theory, lambda: drawn(a.theory, by_width_and_depth()))
    B, K = values.shape
    watch.say(f"mean {a.kind} tightness {mean:.4g} of {K} output{'s' * (K != 1)} at {B} point{'s' * (B != 1)}")
    return answer.done()


def _check_files(a: argparse.Namespace) -> None:
    """Refuse, before the work, pictures of no known kind."""
    for option, path in (("--plot", a.plot), ("--theory", a.theory)):
        if path is not None and path.suffix not in (".png", ".svg", ".pdf"):
            raise UserError(f"{option} {path}: its name must end in .png, .svg or .pdf")


def _points(a: argparse.Namespace) -> tuple[Any, np.ndarray, Any, dict[str, Any]]:
    """The network, points `[B, n]`, the radius of their boxes, and the range that these are cut to."""
    if a.ball is not None and (a.data is not None or any(norm != "inf" for _, norm in a.ball)):
        raise UserError(f"--ball {_plain_norms(a.ball)}: tightness is of boxes; leave it out")
    if a.data is not None:
        if a.spec is not None or a.lower is not None or a.upper is not None or centred(a):
            raise UserError("--data, --input and --spec: give one of them")
        count = 100 if a.count is None else a.count
        if count < 1:
            raise UserError(f"--count {count}: give at least 1")
        from verifier.cli.data import read

        x = read(a.data)[0][:count]
        radius, lo, hi = (alone(f"--{name}", getattr(a, name)) for name in ("eps", "lo", "hi"))
        ends = {"lo": lo, "hi": hi}
        return network(a), x.reshape(len(x), -1).astype(np.float64), 1.0 if radius is None else radius, ends
    if a.count is not None:
        raise UserError(f"--count {a.count}: it counts inputs of --data; leave it out")
    if a.input is None and a.lower is None and a.upper is None and a.spec is None:
        raise UserError("no inputs are given: use --input X, --spec SPEC or --data SOURCE")
    if a.spec is None and a.eps is None and a.lower is None:
        a.eps = [(None, 1.0)]  # only proportions matter
    net, found = asked(a)
    if isinstance(found, Ball) and not any(isinstance(v, np.ndarray) for v in (found.eps, found.lo, found.hi)):
        return net, found.center[None], found.eps, {"lo": found.lo, "hi": found.hi}
    box = found.box()
    return net, ((box.lower + box.upper) / 2)[None], ((box.upper - box.lower) / 2)[None], {"lo": None, "hi": None}


def _plain_norms(balls: list[tuple[str | None, str]]) -> str:
    return ", ".join(norm if name is None else f"{name}={norm}" for name, norm in balls)


def _finite(content: dict[str, Any]) -> dict[str, Any]:
    """NaN has no place in JSON: null."""

    def plain(v: Any) -> Any:
        if isinstance(v, float):
            return v if np.isfinite(v) else None
        return [plain(u) for u in v] if isinstance(v, (list, tuple)) else v

    return {k: plain(v) for k, v in content.items()}


def by_layer(layers: list[tuple[str, float]], kind: str) -> Any:
    """A picture of tightness up to each layer."""
    figure, ax = _axes((6.0, 3.5))
    at = range(1, len(layers) + 1)
    ax.semilogy(at, [v if v > 0 else float("nan") for _, v in layers], "o-")
    ax.set_xticks(at, [name[-16:] for name, _ in layers], rotation=45, ha="right", fontsize=7)
    ax.set_ylabel(f"{kind} tightness")
    ax.set_title("Propagation tightness up to each layer")
    ax.grid(alpha=0.3)
    return figure


def by_width_and_depth() -> Any:
    """A picture of what theory expects of Gaussian linear networks, and samples of them beside it."""
    from verifier.train import theory

    rng = np.random.default_rng(0)
    widths = [5, 10, 20, 50, 100, 200, 500]
    figure, ax = _axes((6.0, 4.0))
    for layers in (2, 3, 5, 8):
        of = [theory.two_layers(d) if layers == 2 else theory.depth(layers, d) for d in widths]
        (line,) = ax.loglog(widths, of, label=f"{layers} layers, theory")
        ax.loglog(widths, [_sampled(rng, layers, d) for d in widths], "o", color=line.get_color(), markersize=4)
    ax.set_xlabel("width")
    ax.set_ylabel("expected tightness (points: sampled)")
    ax.set_title("Tightness of Gaussian linear networks at initialisation")
    ax.legend(fontsize=8)
    ax.grid(alpha=0.3, which="both")
    return figure


def _sampled(rng: np.random.Generator, layers: int, width: int) -> float:
    J = A = np.eye(width)
    for _ in range(layers):
        W = rng.normal(size=(width, width)) / width
        J, A = W @ J, abs(W) @ A
    return float(abs(J).sum() / A.sum())


def _axes(size: tuple[float, float]) -> tuple[Any, Any]:
    """A figure, and axes to draw on."""
    need("a picture", "report")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    return figure, figure.subplots()


def drawn(path: Path, figure: Any) -> bytes:
    """A figure, as the file's name asks for it."""
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix[1:], dpi=150)
    return content.getvalue()
