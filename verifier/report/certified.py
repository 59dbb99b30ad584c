"""The page for a certified data set: how much is proved, by class, in what time, and every image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from verifier.campaign.certify import Certified
from verifier.campaign.radii import Radius
from verifier.report.figures import COLOUR, LEAST, empty, legend, svg
from verifier.report.render import digits, render
from verifier.run.certification.points import NAMES, Status
from verifier.values.images import Layout, layout, png, uri

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PICTURES = 3_000_000
"""Bytes of pictures on a page: of images that are not certified first, then of the others, as long as they last."""
FATES = {
    "certified": COLOUR["unsat"], "unknown": COLOUR["none"], "attacked": COLOUR["sat"], "incorrect": "#7d3c98",
    "error": COLOUR["wrong"],
}  # fmt: skip
"""What becomes of an image, in words for everybody, and in colours."""

Table = list[tuple[str, ...]]
"""Rows of cells, the first of heads."""


@dataclass(frozen=True)
class Image:
    """An image on the page.

    Attributes:
        index, label, predicted: its place in the data, its class, the model's.
        fate: one of `FATES`.
        words: what decided it, or why it is open.
        seconds: spent on it.
        witness: the counterexample, if there is one.  becomes: the class that it becomes.
    """

    index: int
    label: int
    predicted: int
    fate: str
    words: str
    seconds: float
    witness: np.ndarray | None
    becomes: int | None = None


def accuracy_page(
    result: Certified, x: np.ndarray, about: dict[str, str], rungs: Table, made: dict[str, str] | None = None
) -> str:
    """The page of `certify`.

    Args:
        result: what is known.  x: `[N, *shape]` the data that its images are places in.
        about: what was asked, by name.  rungs: a table of what proved how much.  made: see `report.made`.
    """
    images = [
        Image(
            p.index, p.label, p.predicted, fate(p.status), _words(p.status, p.reason), p.seconds, p.witness, p.becomes
        )
        for p in result.points
    ]
    tiles = [
        (f"{result.natural:.2%}", "classified right (natural)"),
        (f"{result.attacked:.2%}", "right, and no counterexample found"),
        (f"{result.certified:.2%}", "certified: right on the whole ball"),
        (str(result.count(Status.UNKNOWN)), "unknown"),
    ]
    figures = {"classes": by_class(images), "time": times(images)}
    tables = [("By what it was proved", rungs), ("By class", class_table(images))]
    return _page("Certified accuracy", images, x, (about, made or {}), tiles, figures, tables)


def radius_page(
    found: list[Radius],
    most: float,
    x: np.ndarray,
    about: dict[str, str],
    quantiles: Table,
    made: dict[str, str] | None = None,
) -> str:
    """The page of `certify --radius`; `most` is the largest radius that was tried, the rest as of `accuracy_page`."""
    images = [_measured(r, most) for r in found]
    right = [r for r in found if r.predicted == r.label]
    tiles = [
        (f"{len(right) / max(1, len(found)):.2%}", "classified right (natural)"),
        (f"{np.median([r.proved for r in right]):.4g}" if right else "-", "median certified radius of these"),
        (str(sum(r.proved >= most for r in right)), f"certified up to {most:g}"),
        (str(sum(bool(r.reason) for r in right)), "left open"),
    ]
    figures = {"radius": curves(right, len(found), most), "time": times(images)}
    return _page("Certified radii", images, x, (about, made or {}), tiles, figures, [("Radii", quantiles)])


def fate(status: Status) -> str:
    """In words for everybody."""
    return "certified" if status.certified else str(status)


def by_class(images: list[Image]) -> Figure:
    """What became of the images of each class."""
    figure, ax = empty()
    classes = sorted({i.label for i in images})
    left = np.zeros(len(classes))
    for name, colour in FATES.items():
        counts = np.array([sum(i.label == c and i.fate == name for i in images) for c in classes])
        if counts.any():
            ax.barh(range(len(classes)), counts, left=left, color=colour, label=f"{name} ({counts.sum()})", height=0.8)
            left = left + counts
    ax.set_yticks(range(len(classes)), [str(c) for c in classes])
    ax.invert_yaxis()
    ax.xaxis.get_major_locator().set_params(integer=True)
    ax.set_xlabel("images")
    ax.set_ylabel("class")
    ax.set_xlim(0, 1.02 * max(1, left.max(initial=0)))
    legend(figure)
    return figure


def times(images: list[Image]) -> Figure:
    """The k-th fastest image's seconds over k, by what became of it."""
    figure, ax = empty()
    for name, colour in FATES.items():
        seconds = sorted(max(LEAST, i.seconds) for i in images if i.fate == name)
        if seconds and name != "incorrect":
            ax.plot(range(1, len(seconds) + 1), seconds, color=colour, linewidth=1.8, label=f"{name} ({len(seconds)})")
    ax.set_yscale("log")
    ax.set_xlim(left=0)
    ax.set_xlabel("images")
    ax.set_ylabel("seconds for each of them, at most")
    legend(figure)
    return figure


def curves(right: list[Radius], total: int, most: float) -> Figure:
    """Shares of all images that are certified, and that have no known counterexample, at a radius of so much."""
    figure, ax = empty()
    ends = {"certified": [r.proved for r in right], "no counterexample found": [min(r.attacked, most) for r in right]}
    for (name, radii), colour in zip(ends.items(), (COLOUR["unsat"], COLOUR["sat"]), strict=True):
        n = len(radii)
        share = np.array([n, *range(n, -1, -1)]) / max(1, total)  # up to each radius, itself included
        ax.step([0.0, *sorted(radii), most], share, where="pre", color=colour, linewidth=1.8, label=name)
    ax.set_xlim(0, most or 1.0)
    ax.set_ylim(0, 1.02)
    ax.set_xlabel("radius")
    ax.set_ylabel("share of the images")
    legend(figure)
    return figure


def class_table(images: list[Image]) -> Table:
    """Counts and certified share by class."""
    rows: Table = [("class", "images", *FATES, "certified share")]
    for c in sorted({i.label for i in images}):
        some = [i.fate for i in images if i.label == c]
        counts = {name: some.count(name) for name in FATES}
        rows.append((str(c), str(len(some)), *map(str, counts.values()), f"{counts['certified'] / len(some):.1%}"))
    return rows


def _page(
    title: str,
    images: list[Image],
    x: np.ndarray,
    about: tuple[dict[str, str], dict[str, str]],
    tiles: Sequence[tuple[str, str]],
    figures: dict[str, Figure],
    tables: list[tuple[str, Table]],
) -> str:
    told = [_told(i) for i in images]
    shape = layout(x.shape[1:], int(np.prod(x.shape[1:])))
    if shape is not None:
        _draw(images, told, x, shape)
    return render(
        "certified",
        {"images": told},
        title=title,
        about=about[0],
        made=about[1],
        tiles=tiles,
        figures={name: svg(figure, name) for name, figure in figures.items()},
        tables=tables,
        classes=sorted({i.label for i in images}),
        fates=list(FATES),
        left_out=0 if shape is None else sum("picture" not in t for t in told),
    )


def _told(i: Image) -> dict[str, Any]:
    return {
        "index": i.index, "label": i.label, "predicted": i.predicted, "fate": i.fate, "words": i.words,
        "seconds": digits(i.seconds), "becomes": i.becomes,
    }  # fmt: skip


def _draw(images: list[Image], told: list[dict[str, Any]], x: np.ndarray, shape: Layout) -> None:
    """Give `told` pictures, those that a reader looks for first."""
    left = PICTURES
    for k in sorted(range(len(images)), key=lambda k: (images[k].fate == "certified", k)):
        i = images[k]
        picture = uri(png(shape, x[i.index].ravel().astype(float), i.witness))
        left -= len(picture)
        if left < 0:
            return
        told[k]["picture"] = picture


def _words(status: Status, reason: str) -> str:
    return f"by {NAMES[status]}" if status.certified else reason


def _measured(r: Radius, most: float) -> Image:
    if r.predicted != r.label:
        return Image(r.index, r.label, r.predicted, "incorrect", "", r.seconds, None)
    name = "certified" if r.proved >= most else "attacked" if not r.reason else "unknown"
    said = f"certified up to {r.proved:.4g}"
    said += f", counterexample at {r.attacked:.4g}" if np.isfinite(r.attacked) else ""
    return Image(r.index, r.label, r.predicted, name, f"{said}. {r.reason}".strip(), r.seconds, r.witness, r.becomes)
