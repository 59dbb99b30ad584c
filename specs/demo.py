"""Verify every instance of `instances.csv`; print the verdicts, the times and the first counterexample.

    python -m specs.demo

Exit status 1 when a verdict is not the expected one.
"""

from __future__ import annotations

import csv
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

import verifier

ROOT = Path(__file__).resolve().parent.parent
SHADES = " .:-=+*#%@"
STYLE = {"sat": "yellow", "unsat": "green", "unknown": "red", "timeout": "red"}


@dataclass(frozen=True)
class Instance:
    """One row of `instances.csv`, with the comment that opens its property."""

    model: str
    spec: str
    timeout: float
    expected: str
    says: str
    pixels: np.ndarray | None
    """The image `[8, 8]` in [0, 1] that the comment shows, if it shows one."""


def instances() -> list[Instance]:
    """The rows of `instances.csv`."""
    result = []
    with open(ROOT / "specs" / "instances.csv", newline="") as table:
        for row in csv.DictReader(table):
            comment = re.findall(r"^; (.*)$", (ROOT / row["spec"]).read_text(), re.MULTILINE)
            numbers = [int(n) for line in comment if line.startswith("|") for n in line.strip("|").split()]
            pixels = np.array(numbers, dtype=float).reshape(8, 8) / 16 if numbers else None
            result.append(
                Instance(row["model"], row["spec"], float(row["timeout"]), row["expected"], comment[0], pixels)
            )
    return result


def drawn(image: np.ndarray) -> list[str]:
    """An image `[8, 8]` as eight lines, two characters per pixel."""
    levels = np.clip(np.rint(image * (len(SHADES) - 1)), 0, len(SHADES) - 1).astype(int)
    return ["".join(SHADES[p] * 2 for p in row) for row in levels]


def numbers(name: str, values: np.ndarray) -> str:
    """Named values on one line."""
    return "  ".join(f"{name}_{i} = {v:.6g}" for i, v in enumerate(values))


def show(console: Console, instance: Instance, x: np.ndarray, y: np.ndarray) -> None:
    """Print a counterexample: inputs `x`, outputs `y`, for an image also before and after."""
    console.print(f"\nCounterexample to {Path(instance.spec).stem}: it is not so that {instance.says}.")
    if instance.pixels is None:
        console.print("inputs   " + numbers("X", x), markup=False)
    else:
        console.print(f"\n{'image':18s}{'counterexample':18s}")
        for before, after in zip(drawn(instance.pixels), drawn(x.reshape(8, 8)), strict=True):
            console.print(f"{before}  {after}", markup=False, highlight=False)
        change = np.abs(x - instance.pixels.ravel()).max()
        console.print(f"\nlargest change of a pixel {change:.4g}; read as {y.argmax()}")
    console.print("outputs  " + numbers("Y", y), markup=False)


def main() -> int:
    """Run all instances; returns the exit status."""
    console = Console(width=None if Console().is_terminal else 160)
    table = Table("instance", "asks whether", "verdict", "seconds", "expected", title="verifier on its own examples")
    table.columns[1].max_width = 72
    table.columns[3].justify = "right"
    wrong, example = 0, None
    name_column = TextColumn("{task.description}")
    columns = (SpinnerColumn(), name_column, BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    every = instances()
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task("", total=len(every))
        for instance in every:
            name = Path(instance.spec).stem
            progress.update(task, description=name)
            start = time.perf_counter()
            result = verifier.verify(
                os.fspath(ROOT / instance.model), os.fspath(ROOT / instance.spec), timeout=instance.timeout
            )
            seconds = time.perf_counter() - start
            verdict = str(result.verdict)
            wrong += verdict != instance.expected
            mark = "" if verdict == instance.expected else "  WRONG"
            style = STYLE.get(verdict, "red")
            table.add_row(name, instance.says, f"[{style}]{verdict}[/]{mark}", f"{seconds:.2f}", instance.expected)
            if verdict == "sat" and example is None and result.witness is not None:
                example = instance, np.ravel(result.witness.x), np.ravel(result.witness.y)
            progress.advance(task)
    console.print(table)
    console.print("unsat: it is so, for every input of the set.  sat: a counterexample was found and replayed.")
    if example is not None:
        show(console, *example)
    if wrong:
        console.print(f"\n[red]{wrong} of {len(every)} verdicts are not the expected ones[/]")
    return int(wrong > 0)


if __name__ == "__main__":
    raise SystemExit(main())
