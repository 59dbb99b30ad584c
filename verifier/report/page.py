"""The page for a set of results: one file that needs no network."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Any

from verifier.campaign.rows import Row, contradict
from verifier.campaign.summary import COUNTED, families
from verifier.report import counterexample
from verifier.report.content import Content
from verifier.report.figures import figures, svg
from verifier.report.made import made, words
from verifier.report.render import digits, render
from verifier.run.facts import lines
from verifier.values.images import uri

Watch = Callable[[int], None]

PICTURES = 2_000_000
"""Bytes of pictures of counterexamples on a page; those of later instances are left out, and the page says so."""
MOST_PARTS = 12
"""Open disjuncts shown of an instance, the worst first."""


def page(content: Content, watch: Watch | None = None, *, alone: str = "", files: Iterable[str] = ()) -> str:
    """The page as HTML; styles, script, figures, pictures and data inside.

    Args:
        content: what it is about.
        watch: called with how many instances are done.
        alone: for a page about one instance, which is shown in full, its title.
        files: what the page is about; their digests are on it.
    """
    told = data(content, watch)
    drawn = {} if alone else {name: svg(figure, name) for name, figure in figures(content).items()}
    return render(
        "page",
        {**told, "alone": bool(alone)},
        alone=bool(alone),
        content=content,
        title=alone or _title(content),
        families=families(content.pairs, content.theirs is not None),
        counted=[*COUNTED, "error"],
        figures=drawn,
        made=made(files),
        asked=[words(run.settings) for run in content.mine.runs],
        machines=[words(run.machine) for run in content.mine.runs],
        began=[time.strftime("%Y-%m-%d %H:%M", time.localtime(run.started)) for run in content.mine.runs],
    )


def data(content: Content, watch: Watch | None = None) -> dict[str, Any]:
    """What the page's script shows, fit for JSON; texts that many instances share are kept once, in `texts`."""
    texts: dict[str, int] = {}
    left = PICTURES
    rows = []
    for row, other in content.pairs:
        told = _told(row, other, texts)
        if (found := row.found) is not None:
            told["found"] = counterexample.table(found)
            shown = uri(png) if left > 0 and (png := counterexample.picture(found)) else ""
            left -= len(shown)
            if counterexample.image(found):
                told["found"]["picture"] = shown if left >= 0 else ""
        rows.append(told)
        if watch is not None:
            watch(len(rows))
    return {
        "mine": content.mine.label,
        "theirs": None if content.theirs is None else content.theirs.label,
        "sources": {str(run.id): run.source for run in content.mine.runs},
        "texts": list(texts),
        "rows": rows,
    }


def explained(row: Row) -> str:
    """Of an instance that is not answered: what is open, how far it is from a proof, and what could not be decided."""
    if row.solved:
        return ""
    if row.verdict == "error":
        return "Something went wrong before an answer."
    said = []
    if row.parts:
        total = row.facts.get("disjuncts")
        of = f" of {total:,}" if isinstance(total, int) else ""
        said.append(f"{len(row.parts):,}{of} disjuncts are open.")
    if row.open:
        parts = f"{row.open:,} parts of the question are open"
        said.append(parts + (f", {row.domains:,} were bounded." if row.domains else "."))
    if row.gap is not None:
        said.append(f"The worst one's bound is {row.gap:.3g} short of a proof.")
    elif row.parts and all(p.get("gap") is None for p in row.parts):
        said.append("No bound of them was complete before the end.")
    if row.parts and (undecided := row.parts[0].get("undecided")) is not None:
        said.append(f"Of the worst disjunct's neurons {undecided:,} could have either sign before any split.")
    if not said:
        longest = max(row.phases, key=lambda k: row.phases[k], default="")
        spent = f" Most of its time went into: {longest}." if longest else ""
        said.append(f"Nothing was bounded before the end.{spent}")
    return " ".join(said)


def _told(row: Row, other: Row | None, texts: dict[str, int]) -> dict[str, Any]:
    def shared(text: str) -> int:
        return texts.setdefault(text, len(texts))

    network, prop = row.name
    why = lines(row.strategy, row.facts) if _complete(row.facts) else [row.strategy] if row.strategy else []
    told: dict[str, Any] = {
        "run": row.run, "family": row.category, "network": network, "property": prop, "onnx": row.onnx,
        "vnnlib": row.vnnlib, "verdict": row.verdict, "expected": row.expected, "seconds": digits(row.seconds),
        "timeout": row.timeout, "reason": shared(row.reason), "domains": row.domains, "open": row.open,
        "gap": None if row.gap is None else digits(row.gap), "memory": row.memory, "wrong": row.wrong,
        "why": [shared(line) for line in why], "phases": {k: digits(v) for k, v in row.phases.items()},
        "parts": [[p["disjunct"], p.get("gap"), p.get("open"), p.get("undecided")] for p in row.parts[:MOST_PARTS]],
        "parts_of": len(row.parts), "explained": explained(row), "found": None,
        "files": [[name.replace("\\", "/").rsplit("/", 1)[-1], digest] for name, digest in row.files.items()],
    }  # fmt: skip
    if other is not None:
        told["other"] = {"verdict": other.verdict, "seconds": digits(other.seconds)}
        told["disagree"] = contradict(row.verdict, other.verdict)
    return told


def _complete(facts: dict[str, Any]) -> bool:
    """Whether these are facts of this version, which `lines` can put into words."""
    names = {"inputs", "varying", "outputs", "disjuncts", "boxes", "units", "multiply_adds", "dtype"}
    return names <= set(facts)


def _title(content: Content) -> str:
    names = list(dict.fromkeys(r.category for r in content.mine.rows if r.category))
    some = ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
    return f"{content.mine.label} on {some or 'its instances'}"
