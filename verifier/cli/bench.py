"""`verifier bench`."""

from __future__ import annotations

import argparse
import math
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from verifier.bench import results
from verifier.bench.bench import Settings, State, Watch, bench, delete
from verifier.bench.store import Row, contradict, pairs
from verifier.bench.summary import Family, families, strange
from verifier.cli.write import Answer
from verifier.values.errors import Unwritten, UserError


def command(a: argparse.Namespace) -> None:
    """Run what is left, write the table, print the summary; see `verifier bench --help`.

    Raises:
        SystemExit: status 1 where an answer contradicts the expected one.
        UserError: input that cannot be used.
    """
    if a.list or a.delete is not None:
        _kept(a)
        return
    if a.source is None:
        raise UserError("no FOLDER or LIST of instances; name one, or --list what the file of results holds")
    settings = Settings(a.jobs, a.threads, a.memory, a.device, a.fresh, a.timeout)
    answer, seen = Answer(a.csv), dict[str, State]()
    try:
        with _shown(a.quiet) as watch:

            def note(state: State) -> None:
                seen["last"] = state
                if watch is not None:
                    watch(state)

            state = bench(a.source, a.db, settings, a.only, a.compare, note)
    except Unwritten:
        if "last" in seen:  # the file has no room; what was answered is answered
            answer.say(summary(seen["last"], a.db, _columns()))
        raise
    except KeyboardInterrupt:
        print(f"verifier: what has ended is in {a.db}; the same command goes on", file=sys.stderr)
        raise
    if a.compare is not None and not a.quiet and all(other is None for _, other in pairs(state.rows, state.others)):
        print(f"verifier: {strange(str(a.compare))}", file=sys.stderr)
    answer.say(summary(state, a.db, _columns()))
    answer.write(a.csv, lambda: results.table(state.rows))
    answer.done()
    if any(r.wrong for r in state.rows):
        raise SystemExit(1)


def _kept(a: argparse.Namespace) -> None:
    """List the runs of a file, or take some out."""
    from verifier.cli.report import numbers
    from verifier.report.content import label, listed

    if a.source is not None or (a.list and a.delete is not None):
        both = "--list and --delete" if a.source is None else f"{a.source} and {'--list' if a.list else '--delete'}"
        raise UserError(f"{both}: give one of them")
    if a.list:
        print("\n".join(listed(a.db)))
        return
    how = f"verifier bench --db {a.db} --list"
    some = numbers("--delete", a.delete, how)
    if not some:
        raise UserError(f"--delete: give numbers of runs; `{how}` shows them")
    for run in delete(a.db, some):
        print(f"deleted run {run.id}: {label([run])} on {run.source}")


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


def summary(state: State, db: Path, columns: int | None = None) -> str:
    """Counts and seconds by benchmark, beside another tool's where there are some.

    Args:
        columns: of the terminal; None for as many as it takes.
    """
    beside = pairs(state.rows, state.others)
    heads = ["benchmark", "n", "sat", "unsat", "unknown", "timeout", "error", "wrong", "seconds"]
    heads += ["other solved", "seconds", "ours/other", "disagree"] if state.others else []
    text = _aligned([heads, *(_figures(f) for f in families(beside, bool(state.others)))], columns)
    for mine, other in beside:
        if mine.wrong:
            text += f"\nWRONG {line(mine)}"
        if other is not None and contradict(mine.verdict, other.verdict):
            text += f"\nDISAGREE {line(mine)}; the other says {other.verdict}"
    text += f"\n{len(state.rows)} results are in {db}, run {state.run}; {state.resumed} were there before."
    return f"{text}\nA page with plots, details and counterexamples: verifier report {db}"


def _figures(f: Family) -> list[str]:
    cells = [f.name, f.n, *f.counts.values(), f.wrong, f"{f.seconds:.1f}"]
    if (b := f.beside) is not None:
        cells += [b.solved, f"{b.seconds:.1f}", "-" if b.ratio is None else f"{b.ratio:.3f}", b.disagree]
    return [str(cell) for cell in cells]


def _columns() -> int | None:
    """Of the terminal that standard output is."""
    try:
        return os.get_terminal_size(sys.stdout.fileno()).columns if sys.stdout.isatty() else None
    except (OSError, ValueError):
        return None


def _aligned(rows: list[list[str]], columns: int | None) -> str:
    """Under each other; where a row would not fit its cells stand under each other, each with its name."""
    wide = [max(map(len, column)) for column in zip(*rows, strict=True)]
    if columns is not None and sum(wide) + 2 * (len(wide) - 1) > columns:
        name, cell = max(map(len, rows[0])), max(map(len, (c for row in rows[1:] for c in row[1:])))
        blocks = (
            [row[0], *(f"  {h.ljust(name)}  {c.rjust(cell)}" for h, c in zip(rows[0][1:], row[1:], strict=True))]
            for row in rows[1:]
        )
        return "\n".join(line for block in blocks for line in block)
    return "\n".join(
        "  ".join(cell.ljust(w) if k == 0 else cell.rjust(w) for k, (cell, w) in enumerate(zip(row, wide, strict=True)))
        for row in rows
    )
