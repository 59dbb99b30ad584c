"""`verifier bench`."""

from __future__ import annotations

import argparse
import math
import os
import sys
from pathlib import Path

from verifier.campaign import tables
from verifier.campaign.bench import Settings, State, bench, delete
from verifier.campaign.rows import Row, contradict, pairs
from verifier.campaign.summary import Totals, families, strange
from verifier.cli.progress import campaign
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
        with campaign(a.quiet) as told:

            def note(state: State) -> None:
                news = [(line(r), r.wrong or r.verdict in ("error", "memory")) for r in state.new]
                if not seen and state.resumed:
                    news = [(f"{state.resumed} of {state.total} are done already", False)]
                seen["last"] = state
                told(len(state.rows), state.total, standing(state), news)

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
    answer.write(a.csv, lambda: tables.table(state.rows))
    answer.done()
    if any(r.wrong for r in state.rows):
        raise SystemExit(1)


def _kept(a: argparse.Namespace) -> None:
    """List the runs of a file, or take some out."""
    from verifier.cli.report import numbers
    from verifier.report.content import asked, label, listed

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
        print(f"deleted run {run.id}: {label([run])} on {asked(run)}")


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


def _figures(f: Totals) -> list[str]:
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
