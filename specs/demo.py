"""Verify every instance of `instances.csv`; print verdicts, times and a counterexample, and write a page about them.

    python -m specs.demo

Exit status 1 when a verdict is not the expected one.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from verifier.campaign.bench import Settings, State, bench
from verifier.campaign.rows import Counterexample, Row
from verifier.report.content import collect
from verifier.report.page import page

ROOT = Path(__file__).resolve().parent.parent
SHADES = " .:-=+*#%@"
STYLE = {"sat": "yellow", "unsat": "green"}


def told(listing: Path, row: Row) -> tuple[str, np.ndarray | None]:
    """What a property's opening comment says, and the image `[8, 8]` in [0, 1] that it shows, if it shows one."""
    folder = next(f for f in (listing.parent, listing.parent.parent) if (f / row.vnnlib).exists())
    comment = re.findall(r"^; (.*)$", (folder / row.vnnlib).read_text(), re.MULTILINE)
    numbers = [int(n) for line in comment if line.startswith("|") for n in line.strip("|").split()]
    return comment[0], np.array(numbers, dtype=float).reshape(8, 8) / 16 if numbers else None


def drawn(image: np.ndarray) -> list[str]:
    """An image `[8, 8]` as eight lines, two characters per pixel."""
    levels = np.clip(np.rint(image * (len(SHADES) - 1)), 0, len(SHADES) - 1).astype(int)
    return ["".join(SHADES[p] * 2 for p in row) for row in levels]


def numbers(name: str, values: np.ndarray) -> str:
    """Named values on one line."""
    return "  ".join(f"{name}_{i} = {v:.6g}" for i, v in enumerate(values))


def show(console: Console, name: str, says: str, pixels: np.ndarray | None, found: Counterexample) -> None:
    """Print a counterexample; for an image also before and after."""
    x, y = np.array(found.x), np.array(found.y)
    console.print(f"\nCounterexample to {name}: it is not so that {says}.")
    if pixels is None:
        console.print("inputs   " + numbers("X", x), markup=False)
    else:
        console.print(f"\n{'image':18s}{'counterexample':18s}")
        for before, after in zip(drawn(pixels), drawn(x.reshape(8, 8)), strict=True):
            console.print(f"{before}  {after}", markup=False, highlight=False)
        change = np.abs(x - pixels.ravel()).max()
        console.print(f"\nlargest change of a pixel {change:.4g}; read as {y.argmax()}")
    console.print("outputs  " + numbers("Y", y), markup=False)


def run(console: Console, listing: Path, db: Path) -> list[Row]:
    """Every instance anew, as `verifier bench` runs it; in the list's order."""
    for old in db.parent.glob(db.name + "*"):
        old.unlink()
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("verifying", total=None)

        def watch(state: State) -> None:
            progress.update(task, total=state.total, completed=len(state.rows))

        return bench(listing, db, Settings(), watch=watch).rows


def main(folder: Path = ROOT / "build" / "demo", listing: Path = ROOT / "specs" / "instances.csv") -> int:
    """Run all instances of a list, leave results and page in `folder`; returns the exit status."""
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(width=None if Console().is_terminal else 160)
    rows = run(console, listing, folder / "runs.sqlite")
    table = Table("instance", "asks whether", "verdict", "seconds", "expected", title="verifier on its own examples")
    table.columns[1].max_width = 72
    table.columns[3].justify = "right"
    wrong, example = 0, None
    for row in rows:
        name, (says, pixels) = row.name[1], told(listing, row)
        wrong += row.verdict != row.expected
        mark = "" if row.verdict == row.expected else "  WRONG"
        verdict = f"[{STYLE.get(row.verdict, 'red')}]{row.verdict}[/]{mark}"
        table.add_row(name, says, verdict, f"{row.seconds:.2f}", row.expected)
        if example is None and row.found is not None:
            example = name, says, pixels, row.found
    console.print(table)
    console.print("unsat: it is so, for every input of the set.  sat: a counterexample was found and replayed.")
    if example is not None:
        show(console, *example)
    report = folder / "report.html"
    report.write_text(page(collect(folder / "runs.sqlite")), encoding="utf-8")
    console.print(f"\nPlots, every instance and all counterexamples, for a browser: {report}", soft_wrap=True)
    if wrong:
        console.print(f"\n[red]{wrong} of {len(rows)} verdicts are not the expected ones[/]")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
