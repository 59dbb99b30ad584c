"""`verifier certify`."""

from __future__ import annotations

import argparse
import csv
import io
import json
import math
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from verifier.campaign.certify import Certified, certify
from verifier.campaign.images import ImagesDone
from verifier.campaign.radii import Radius, radii
from verifier.cli.data import number, read
from verifier.cli.inputs import network, restricts
from verifier.cli.progress import campaign
from verifier.cli.write import Answer
from verifier.run.certification.points import NAMES, RUNGS, Point, Status
from verifier.run.certification.question import digest_data
from verifier.values.errors import Unwritten, UserError


def command(a: argparse.Namespace) -> None:
    """Certify a data set, or find radii: a table on standard output, files where asked for.

    Raises:
        UserError: input that cannot be used.
    """
    if not Path(a.model).is_file():  # before the data are read
        raise UserError(f"{a.model}: no such file; check the path")
    if a.tolerance is not None and not a.radius:
        raise UserError(f"--tolerance {a.tolerance:g}: it is of --radius; leave it out")
    eps, model = number(a.eps), network(a) if restricts(a) else a.model
    x, y = read(a.data)
    wanted = images(a.count, a.range, len(y))
    if cut := beyond(a.count, a.range, wanted, len(y)):
        _say(a, cut)
    lo, hi = None if a.lo == -math.inf else a.lo, None if a.hi == math.inf else a.hi
    how: dict[str, Any] = {"norm": float(a.norm), "lo": lo, "hi": hi, "timeout": a.timeout, "indices": wanted,
                           "db": a.db, "jobs": a.jobs, "device": a.device}  # fmt: skip
    answer = Answer(a.csv, a.json)
    with campaign(a.quiet) as told:
        how |= {"watch": lambda s: told(s.done, s.total, standing(s))}
        if a.radius:
            found = _kept(answer, lambda: radii(model, x, y, eps, tolerance=a.tolerance, **how))
            points, rows, each = found, radius_table(found, eps), [radius_row(r) for r in found]
            title, summary = f"certified radii of {len(found)} images, norm {a.norm}", {"most": eps}
        else:
            found = _kept(answer, lambda: certify(model, x, y, eps, **how))
            points, rows, each = found.points, table(found), [point_row(p) for p in found.points]
            title, summary = f"{len(points)} images, eps {a.eps}, norm {a.norm}", summed(found)
    answer.say(drawn(rows, title))
    _write(a, answer, each, summary, points, x)

    def page() -> str:
        from verifier.report.certified import accuracy_page, radius_page

        about = _about(a, len(points)), rows, _made(a, x, y)
        return radius_page(found, eps, x, *about) if a.radius else accuracy_page(found, x, *about)

    if answer.write(a.report, page):
        _say(a, f"the page is {a.report}")
    if a.db is not None and not a.radius:
        _say(a, f"results are in {a.db}; {found.resumed} were there before")
    answer.done()


def summed(r: Certified) -> dict[str, Any]:
    """The result in numbers."""
    numbers = {name: getattr(r, name) for name in ("natural", "attacked", "certified", "seconds", "resumed")}
    return {"eps": r.eps, "images": len(r.points), **numbers, "counts": {str(s): r.count(s) for s in Status}}


def _kept(answer: Answer, find: Callable[[], Any]) -> Any:
    """What is found, also where the file of results has no room for it."""
    try:
        return find()
    except Unwritten as e:
        answer.fail(str(e))
        return e.found


def _say(a: argparse.Namespace, text: str) -> None:
    if not a.quiet:
        print(f"verifier: {text}", file=sys.stderr)


def _about(a: argparse.Namespace, n: int) -> dict[str, str]:
    """What was asked, for the head of a page."""
    asked = {"model": a.model, "data": a.data, "images": f"{n:,}", "eps": a.eps, "norm": a.norm}
    return asked | {"range": f"{a.lo:g} .. {a.hi:g}", "seconds an image": f"{a.timeout:g}"}


def _made(a: argparse.Namespace, x: np.ndarray, y: np.ndarray) -> dict[str, str]:
    """By what, when, where and of what a page is made."""
    from verifier.report.made import made

    return made([a.model], **{f"the images and classes of {a.data}": digest_data(x.reshape(len(x), -1), y)})


def images(count: int | None, span: str | None, n: int) -> Sequence[int]:
    """Which of n images.

    Raises:
        UserError: both are given, or there are no such images.
    """
    if count is None and span is None:
        return range(n)
    if count is not None and span is not None:
        raise UserError("--count and --range: give one of them")
    first, last = "0", str(count)
    if span is not None:
        first, _, last = span.partition(":")
    try:
        start, stop = (int(first or 0), int(last or n)) if span is None or ":" in span else (0, 0)
    except ValueError:
        start, stop = 0, 0
    if not 0 <= start < stop or start >= n:
        what = f"--count {count}" if span is None else f"--range {span}"
        raise UserError(f"{what}: give images A:B with 0 <= A < B (there are {n}), or a count of at least 1")
    return range(start, min(stop, n))


def beyond(count: int | None, span: str | None, wanted: Sequence[int], n: int) -> str:
    """What to say where more images were asked for than there are; empty where there are enough."""
    last = str(count) if span is None else span.partition(":")[2]
    if (count is None and span is None) or int(last or n) <= n:
        return ""
    what = f"--count {count}" if span is None else f"--range {span}"
    return f"{what}: there are {n} images; {len(wanted)} are taken, {wanted[0]} to {wanted[-1]}"


def standing(s: ImagesDone) -> str:
    """What is known so far, in one line."""
    if not s.counts:
        return ""
    proved = sum(s.counts[r] for r in RUNGS)
    rest = {"attacked": Status.ATTACKED, "misclassified": Status.INCORRECT, "unknown": Status.UNKNOWN,
            "errors": Status.ERROR}  # fmt: skip
    return ", ".join([f"{proved} certified", *(f"{s.counts[v]} {k}" for k, v in rest.items() if s.counts[v])])


def table(r: Certified) -> list[tuple[str, ...]]:
    """The result, row by row: what, images, share, seconds spent on those."""

    def row(what: str, *statuses: Status, count: int | None = None) -> tuple[str, ...]:
        n = r.count(*statuses) if count is None else count
        seconds = sum(p.seconds for p in r.points if p.status in statuses)
        return what, str(n), f"{n / max(1, len(r.points)):.2%}", f"{seconds:.2f}" if statuses else ""

    rows: list[tuple[str, ...]] = [("", "images", "share", "seconds")]
    rows.append(row("classified right (natural)", count=round(r.natural * len(r.points))))
    rows.append(row("no counterexample found", count=round(r.attacked * len(r.points))))
    for k, rung in enumerate(RUNGS):
        more = f"  and by {NAMES[rung]}" if k else f"certified by {NAMES[rung]}"
        n = r.count(*RUNGS[: k + 1])
        rows.append((more, str(n), f"{n / max(1, len(r.points)):.2%}", row("", rung)[3]))
    rows.append(row("certified", *RUNGS))
    rows.append(row("attacked", Status.ATTACKED))
    rows.append(row("unknown", Status.UNKNOWN))
    return rows + ([row("errors (not counted)", Status.ERROR)] if r.count(Status.ERROR) else [])


def radius_table(found: list[Radius], most: float) -> list[tuple[str, ...]]:
    """Quantiles of radii over the images that are classified right."""
    right = [r for r in found if r.predicted == r.label]
    proved = np.array([r.proved for r in right]) if right else np.full(1, np.nan)
    hit = np.array([r.attacked for r in right]) if right else np.full(1, np.nan)
    rows: list[tuple[str, ...]] = [("", "certified", "attacked at")]
    for name, q in (("least", 0.0), ("a quarter at most", 0.25), ("median", 0.5), ("three quarters at most", 0.75)):
        rows.append((name, *(f"{np.quantile(v, q, method='lower'):.5g}" for v in (proved, hit))))
    rows.append(("largest", f"{proved.max():.5g}", f"{hit.max():.5g}"))
    rows.append((f"certified up to {most:g}", str(int((proved >= most).sum())), ""))
    rows.append(("classified wrong", str(len(found) - len(right)), ""))
    return rows + [("left open", str(sum(bool(r.reason) for r in right)), "")]


def drawn(rows: list[tuple[str, ...]], title: str, width: int | None = None) -> str:
    """A table as text, as wide as the terminal; where that is narrow words wrap and lines go, never a number.

    Args:
        width: in place of the terminal's.
    """
    from rich.console import Console
    from rich.table import Table

    text = io.StringIO()
    width = width or (None if sys.stdout.isatty() else 100)
    console = Console(file=text, markup=False, highlight=False, width=width)
    narrow = console.width < NARROW
    t = Table(box=None, padding=(0, 1, 0, 0), pad_edge=False) if narrow else Table()
    for k, (head, *cells) in enumerate(zip(*rows, strict=True)):
        least = max(map(len, (head, *cells))) if k else None
        t.add_column(head, justify="right" if k else "left", no_wrap=k > 0, min_width=least)
    for row in rows[1:]:
        t.add_row(*row)
    console.print(title)
    console.print(t)
    return text.getvalue().rstrip("\n")


NARROW = 64
"""Columns; on fewer a table has no lines."""


def point_row(p: Point) -> dict[str, Any]:
    """An image as a row of the table."""
    return {
        "index": p.index,
        "label": p.label,
        "predicted": p.predicted,
        "becomes": p.becomes,
        "status": str(p.status),
        "rung": NAMES.get(p.status, ""),
        "eps": p.eps,
        "seconds": round(p.seconds, 6),
        "reason": p.reason,
    }


def radius_row(r: Radius) -> dict[str, Any]:
    """An image's radius as a row of the table."""
    return {
        "index": r.index,
        "label": r.label,
        "predicted": r.predicted,
        "becomes": r.becomes,
        "certified_radius": r.proved,
        "rung": NAMES[r.by] if r.by else "",
        "attacked_radius": r.attacked if r.attacked < math.inf else "",
        "trials": r.trials,
        "seconds": round(r.seconds, 6),
        "reason": r.reason,
    }


def _write(
    a: argparse.Namespace,
    answer: Answer,
    rows: list[dict[str, Any]],
    summary: dict[str, Any],
    found: Sequence[Point | Radius],
    x: np.ndarray,
) -> None:
    """The files that are asked for."""
    about = {"model": str(a.model), "data": str(a.data), "norm": a.norm, **summary, "rows": rows}
    answer.write(a.csv, lambda: _as_csv(rows))
    answer.write(a.json, lambda: json.dumps(about, indent=1) + "\n")
    answer.write(a.counterexamples, lambda: _packed(found, x))


def _as_csv(rows: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def _packed(found: Sequence[Point | Radius], x: np.ndarray) -> bytes:
    """Counterexamples as an .npz file: places in the data, points, and from which class to which."""
    some = [p for p in found if p.witness is not None]
    points = np.array([p.witness for p in some]).reshape(len(some), *(x.shape[1:] if some else (0,)))
    numbers = {k: np.array([getattr(p, k) for p in some], np.int64) for k in ("index", "label", "becomes")}
    raw = io.BytesIO()
    np.savez_compressed(raw, x=points, **numbers)  # type: ignore[arg-type]
    return raw.getvalue()
