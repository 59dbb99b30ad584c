"""What a page is about: the results of one or several runs, and another tool's or version's beside them."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from verifier.campaign import tables
from verifier.campaign.bench import KIND, TOOL
from verifier.campaign.rows import Row, contradict, pairs, rows
from verifier.campaign.store import Run, results, runs
from verifier.values.errors import UserError


@dataclass(frozen=True)
class RunGroup:
    """Runs that are shown as one.

    Attributes:
        label: what they are called.
        runs: none where the results come from a table.
        rows: their results.
    """

    label: str
    runs: list[Run]
    rows: list[Row]


@dataclass(frozen=True)
class Content:
    """A side, and for each of its results that of the other side, if there is one.

    Attributes:
        mine: what the page is about.
        theirs: what is put beside; None for nothing.
        pairs: a result and the other side's on the same instance.
    """

    mine: RunGroup
    theirs: RunGroup | None
    pairs: list[tuple[Row, Row | None]]

    @property
    def disagreements(self) -> list[tuple[Row, Row]]:
        """Pairs of answers that cannot both be right."""
        return [(r, o) for r, o in self.pairs if o is not None and contradict(r.verdict, o.verdict)]


def collect(
    db: Path, chosen: list[int] | None = None, against: list[int] | None = None, table: Path | None = None
) -> Content:
    """Read what a page needs.

    Args:
        db: a file of results.
        chosen: numbers of runs; None for all runs of the latest version of this tool under its latest settings.
        against: numbers of the runs beside them; none where it is empty; None for those of the latest other tool,
            version or settings that have an instance in common.
        table: another tool's results in their place, see `tables.read`.

    Raises:
        UserError: the file or the table cannot be read, or has no such run or no result.
    """
    every = _of_bench(db, [*(chosen or []), *(against or [])])
    if chosen:
        mine = _side(db, [every[k] for k in chosen])
    else:
        kinds = _kinds([r for r in every.values() if r.tool == TOOL])
        if not kinds:
            raise UserError(f"{db}: holds no run of {TOOL}; name runs with --run (`verifier report {db} --list`)")
        mine = next((side for some in kinds if (side := _side(db, some)).rows), _side(db, kinds[0]))
    if not mine.rows:
        raise UserError(f"{db}: no result yet in {mine.label}; let `verifier bench` go on first")
    theirs = _table(table) if table is not None else _beside(db, every, mine, against)
    if theirs is None:
        return Content(mine, None, [(row, None) for row in mine.rows])
    if theirs.label == mine.label:
        mine, theirs = _numbered(mine), _numbered(theirs)
    return Content(mine, theirs, pairs(mine.rows, theirs.rows))


def _of_bench(db: Path, named: list[int]) -> dict[int, Run]:
    """The runs that a page can be about; those named are among them."""
    known = {r.id: r for r in runs(db)}
    every = {k: r for k, r in known.items() if r.kind == KIND}
    made = "has a page of its own: give that command again, with --report PAGE"
    for number in named:
        if number in known and number not in every:
            raise UserError(f"{db}: run {number} is one of `verifier certify`, which {made}")
        if number not in every:
            have = ", ".join(map(str, every)) or "none"
            raise UserError(f"{db}: has no run {number}; its runs are {have} (`verifier report {db} --list`)")
    if known and not every:
        raise UserError(f"{db}: holds results of `verifier certify` alone, which {made}")
    return every


def listed(db: Path) -> list[str]:
    """The runs of a file, a line each.

    Raises:
        UserError: it cannot be read.
    """
    every = runs(db)
    have = Counter(r.run for r in results(db, *(r.id for r in every)))
    many = {r.id: f"{have[r.id]} of {r.total} results" if r.total else f"{have[r.id]} results" for r in every}
    return [f"{r.id:4d}  {label([r])}  {many[r.id]}  {asked(r)}" for r in every]


def asked(run: Run) -> str:
    """What a run is about."""
    return run.source if run.kind == KIND else f"eps {run.settings['eps']}, {run.settings['ball']}"


def _beside(db: Path, every: dict[int, Run], mine: RunGroup, against: list[int] | None) -> RunGroup | None:
    if against is not None:
        return _side(db, [every[k] for k in against]) if against else None
    names = {row.name for row in mine.rows}
    for some in _kinds([r for r in every.values() if r not in mine.runs]):
        side = _side(db, some)
        if any(row.name in names for row in side.rows):
            return side
    return None


def _kinds(some: list[Run]) -> list[list[Run]]:
    """Runs that share tool, version and settings; the kind that was begun last comes first."""
    by_kind: dict[tuple[str, str, str], list[Run]] = {}
    for r in some:
        by_kind.setdefault((r.tool, r.version, repr(sorted(r.settings.items()))), []).append(r)
    return sorted(by_kind.values(), key=lambda kind: -kind[-1].id)


def _side(db: Path, some: list[Run]) -> RunGroup:
    return RunGroup(label(some), some, rows(db, *(run.id for run in some)))


def _table(path: Path) -> RunGroup:
    return RunGroup(path.stem, [], tables.read(path))


def label(some: list[Run]) -> str:
    """What runs are called: tools, ours with its version; another's is a digest, which means nothing to a reader."""
    names = (f"{r.tool} {r.version or r.kind}" if r.tool == TOOL else r.tool for r in some)
    return ", ".join(dict.fromkeys(names))


def _numbered(side: RunGroup) -> RunGroup:
    return replace(side, label=f"{side.label}, run {', '.join(str(r.id) for r in side.runs)}")
