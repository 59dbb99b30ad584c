"""Plots of a set of results."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from verifier.campaign.rows import Row, contradict
from verifier.report.content import Content
from verifier.values.extras import need

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLOUR = {"sat": "#c8641b", "unsat": "#1f6f8b", "wrong": "#d0021b", "none": "#8a8f98"}
"""Of verdicts, and of the other tool's curve."""
LONG = 24
"""Letters; longer names stand below each other."""
LEAST = 1e-3
"""Seconds; on a logarithmic axis nothing is shorter."""


def figures(content: Content) -> dict[str, Figure]:
    """`cactus`, and beside another tool that has an instance in common `scatter`."""
    drawn = {"cactus": cactus(content)}
    alone = content.theirs is None or all(o is None for _, o in content.pairs)
    return drawn if alone else {**drawn, "scatter": scatter(content)}


def cactus(content: Content) -> Figure:
    """The k-th fastest answer's seconds over k; answers that are known to be wrong don't count."""
    figure, ax = empty()
    sides = [(content.mine.label, [r for r, _ in content.pairs], COLOUR["unsat"])]
    if content.theirs is not None:
        sides.append((content.theirs.label, [o for _, o in content.pairs if o is not None], COLOUR["none"]))
    for label, rows, colour in sides:
        seconds = sorted(max(LEAST, r.seconds) for r in rows if r.solved and not r.wrong)
        counts = range(1, len(seconds) + 1)
        ax.plot(counts, seconds, color=colour, linewidth=1.8, label=plain(f"{label} ({len(seconds)} of {len(rows)})"))
    ax.set_yscale("log")
    ax.set_xlim(left=0)
    ax.set_xlabel("instances answered")
    ax.set_ylabel("seconds for each of them, at most")
    legend(figure)
    return figure


def scatter(content: Content) -> Figure:
    """Seconds of either tool on each instance; below the line ours is faster; unanswered ones lie on the edges.

    Every point carries a link to its instance on the page; disagreements are red crosses.
    """
    figure, ax = empty()
    both = [(k, r, o) for k, (r, o) in enumerate(content.pairs) if o is not None]
    answered = [row.seconds for _, *two in both for row in two if row.solved]
    edge = 2 * max([1.0, *answered])
    least = min([1.0, *(max(LEAST, s) for s in answered)]) / 2

    def at(row: Row) -> float:
        return max(LEAST, row.seconds) if row.solved else edge

    groups: dict[str, list[tuple[float, float, str]]] = {}
    for k, r, o in both:
        groups.setdefault(_kind(r, o), []).append((at(o), at(r), f"#instance-{k}"))
    kinds = [("sat", "sat", "o"), ("unsat", "unsat", "s"), ("none", "neither answers", "^"), ("wrong", "disagree", "X")]
    for kind, words, marker in kinds:
        if some := groups.get(kind):
            x, y, links = zip(*some, strict=True)
            size = 60 if kind == "wrong" else 16
            drawn = ax.scatter(
                x, y, s=size, marker=marker, c=COLOUR[kind], alpha=1.0 if kind == "wrong" else 0.6, linewidths=0,
                label=f"{words} ({len(some)})", zorder=3 if kind == "wrong" else 2,
            )  # fmt: skip
            drawn.set_urls(links)
    for factor, style in ((1, "-"), (10, ":"), (100, ":")):
        ax.plot([least, edge], [least / factor, edge / factor], style, color="#b5b9c0", linewidth=0.8, zorder=1)
    for line in (ax.axvline, ax.axhline):
        line(edge, color="#b5b9c0", linewidth=0.8, linestyle="--", zorder=1)
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.set_xlim(least, 1.3 * edge)
    ax.set_ylim(least, 1.3 * edge)
    assert content.theirs is not None
    ax.set_xlabel(plain(f"seconds, {content.theirs.label}"))
    ax.set_ylabel(plain(f"seconds, {content.mine.label}"))
    legend(figure)
    return figure


def legend(figure: Figure) -> None:
    """What colours and marks mean, above the axes: there it hides nothing that is drawn."""
    (ax,) = figure.axes
    marks, names = ax.get_legend_handles_labels()
    if names:
        columns = 1 if max(map(len, names)) > LONG else 3
        figure.legend(marks, names, loc="outside upper left", ncols=columns, frameon=False, fontsize="small")


def plain(text: str) -> str:
    """A name of a file or a tool as it is: matplotlib reads formulas between dollars, and hides what begins with _."""
    text = text.replace("$", r"\$")
    return f" {text}" if text.startswith("_") else text


def svg(figure: Figure, name: str) -> str:
    """The figure alone, without a document's head; ids of two names on one page do not meet."""
    from matplotlib import rc_context

    out = io.StringIO()
    with rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(out, format="svg", transparent=True, metadata={"Date": None})
    text = out.getvalue()
    return text[text.index("<svg") :]


def png(figure: Figure) -> bytes:
    """The figure as a picture."""
    out = io.BytesIO()
    figure.savefig(out, format="png", dpi=160)
    return out.getvalue()


def _kind(r: Row, o: Row) -> str:
    if contradict(r.verdict, o.verdict):
        return "wrong"
    return r.verdict if r.solved else o.verdict if o.solved else "none"


def empty() -> tuple[Figure, Any]:
    """A figure with one pair of axes, for something to be drawn on."""
    need("plots", "report")
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.6), layout="constrained")
    FigureCanvasAgg(figure)
    ax = figure.subplots()
    ax.grid(True, color="#e3e5e8", linewidth=0.6)
    ax.set_axisbelow(True)
    for side in ("top", "right"):
        ax.spines[side].set_visible(False)
    return figure, ax
