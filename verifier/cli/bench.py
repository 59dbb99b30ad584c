"""`verifier bench`."""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from verifier.bench import results
from verifier.bench.bench import Settings, State, Watch, bench
from verifier.bench.store import Row, contradict, pairs
from verifier.cli.write import check_place, replace


def command(a: argparse.Namespace) -> None:
    """Run what is left, write the table, print the summary; see `verifier bench --help`.

    Raises:
        SystemExit: status 1 where an answer contradicts the expected one.
        UserError: input that cannot be used.
    """
    for path in (a.db, a.csv):
        if path is not None:
            check_place(path)
    settings = Settings(a.jobs, a.threads, a.memory, a.device, a.fresh, a.timeout)
    try:
        with _shown(a.quiet) as watch:
            state = bench(a.source, a.db, settings, a.only, a.compare, watch)
    except KeyboardInterrupt:
        print(f"verifier: what has ended is in {a.db}; the same command goes on", file=sys.stderr)
        raise
    if a.csv is not None:
        replace(a.csv, results.table(state.rows))
    print(summary(state, a.db))
    if any(r.wrong for r in state.rows):
        raise SystemExit(1)


@contextmanager
def _shown(quiet: bool) -> Iterator[Watch | None]:
    """What standard error shows meanwhile: a bar on a terminal, a line an instance in a file, nothing when quiet."""
    if quiet:
        yield None
    elif sys.stderr.isatty():
        with _bar() as watch:
            yield watch
    else:
        yield _Lines().note


class _Lines:
    """A line for every result."""

    def __init__(self) -> None:
        self._told: int | None = None

    def note(self, state: State) -> None:
        """Write what is new."""
        if self._told is None:
            self._told = state.resumed
            if state.resumed:
                print(f"verifier: {state.resumed} of {state.total} are done already", file=sys.stderr)
        for row in state.rows[self._told :]:
            print(f"verifier: {line(row)}", file=sys.stderr, flush=True)
        self._told = len(state.rows)


@contextmanager
def _bar() -> Iterator[Watch]:
    """A bar, drawn whenever the run is looked at: no thread of its own."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

    console = Console(stderr=True)
    columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as progress:
        task = progress.add_task("", total=None)
        told = 0

        def note(state: State) -> None:
            nonlocal told
            for row in state.rows[max(told, state.resumed) :]:
                if row.wrong or row.verdict in ("error", "memory"):
                    progress.console.print(line(row), style="red", markup=False, highlight=False)
            told = len(state.rows)
            progress.update(task, total=state.total, completed=len(state.rows), description=standing(state))
            progress.refresh()

        yield note


def standing(state: State) -> str:
    """Where a run stands, in one line."""
    solved, wrong = sum(r.solved for r in state.rows), sum(r.wrong for r in state.rows)
    words = f"{solved} solved, {wrong} wrong, {len(state.left)} left"
    return words + (f", about {duration(state.estimate)} to go" if state.left else "")


def line(row: Row) -> str:
    """A result."""
    network, prop = row.name
    wrong = f"  WRONG: {row.expected} is expected" if row.wrong else ""
    why = f"  {row.reason}" if row.verdict in ("error", "memory") else ""
    return f"{row.category} {network} {prop}: {row.verdict} ({row.seconds:.2f} s){wrong}{why}"


def duration(seconds: float) -> str:
    """For a reader in a hurry."""
    if seconds < 90:
        return f"{math.ceil(seconds)} s"
    return f"{math.ceil(seconds / 60)} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def summary(state: State, db: Path) -> str:
    """Counts and seconds by benchmark, beside another tool's where there are some."""
    families: dict[str, list[tuple[Row, Row | None]]] = {}
    for mine, other in pairs(state.rows, state.others):
        families.setdefault(mine.category, []).append((mine, other))
    heads = ["benchmark", "n", "sat", "unsat", "unknown", "timeout", "error", "wrong", "seconds"]
    heads += ["other solved", "seconds", "ours/other", "disagree"] if state.others else []
    body = [_figures(name, some, bool(state.others)) for name, some in families.items()]
    if len(families) > 1:
        body.append(_figures("all", [pair for some in families.values() for pair in some], bool(state.others)))
    text = _aligned([heads, *body])
    for mine, other in pairs(state.rows, state.others):
        if mine.wrong:
            text += f"\nWRONG {line(mine)}"
        if other is not None and contradict(mine.verdict, other.verdict):
            text += f"\nDISAGREE {line(mine)}; the other says {other.verdict}"
    return f"{text}\n{len(state.rows)} results are in {db}, run {state.run}; {state.resumed} were there before."


def _figures(name: str, some: list[tuple[Row, Row | None]], beside: bool) -> list[str]:
    mine = [r for r, _ in some]
    count = {v: sum(r.verdict == v for r in mine) for v in ("sat", "unsat", "unknown", "timeout")}
    errors = len(mine) - sum(count.values())
    cells = [name, len(mine), *count.values(), errors, sum(r.wrong for r in mine), _tenths(r.seconds for r in mine)]
    if beside:
        both = [(r, o) for r, o in some if o is not None]
        ratios = [r.seconds / o.seconds for r, o in both if r.solved and o.solved and r.seconds > 0 and o.seconds > 0]
        mean = f"{math.exp(sum(map(math.log, ratios)) / len(ratios)):.3f}" if ratios else "-"
        cells += [sum(o.solved for _, o in both), _tenths(o.seconds for _, o in both), mean]
        cells.append(sum(contradict(r.verdict, o.verdict) for r, o in both))
    return [str(cell) for cell in cells]


def _tenths(seconds: Any) -> str:
    return f"{sum(seconds):.1f}"


def _aligned(rows: list[list[str]]) -> str:
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, wide, strict=True)))
        for row in rows
    )
