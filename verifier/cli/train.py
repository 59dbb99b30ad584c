"""`verifier train`."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from verifier.cli.progress import Watch
from verifier.cli.write import Answer
from verifier.values.extras import need


def command(a: argparse.Namespace) -> None:
    """Train from a recipe; a table of accuracies on standard output."""
    need("training", "torch")  # what writes the network at its end is asked for at its start
    import torch

    from verifier.run.train import changed, train
    from verifier.train.recipe import read
    from verifier.values.errors import Unwritten, UserError

    if a.threads < 0:
        raise UserError(f"--threads {a.threads}: give a whole number, 1 or more")
    if a.threads:
        torch.set_num_threads(a.threads)

    recipe = changed(read(a.config), a.data, a.seed, a.epochs)
    folder = a.out or Path(a.config.stem)
    watch = Watch(a.quiet)
    began, shown = time.monotonic(), Progress(watch, a.quiet)
    unwritten: Unwritten | None = None
    try:
        out = train(recipe, folder, resume=a.resume, device=a.device, tick=shown.step, report=shown.epoch)
    except Unwritten as e:
        if e.found is None:
            raise
        out, unwritten = e.found, e
    finally:
        shown.close()
    row = out.trained.log[-1]
    watch.say(f"{row['epoch']} epochs in {time.monotonic() - began:.1f} s; weights of epoch {out.trained.best}")
    model = [] if unwritten else [out.model]
    watch.say(f"wrote {', '.join(map(str, [*model, folder / 'log.csv', folder / 'checkpoint.pt']))}")
    answer = Answer()
    answer.say(
        f"eps       {recipe.schedule.eps:g}\nnatural   {out.test.natural:.2%}\n"
        f"verified  {out.test.verified:.2%}  (by interval or linear bounds; `verifier certify` proves more)"
    )
    if unwritten is not None:
        raise unwritten
    answer.done()


class Progress:
    """A bar on a terminal; elsewhere a line now and then."""

    def __init__(self, watch: Watch, quiet: bool) -> None:
        """Nothing is drawn where `quiet`."""
        self._watch, self._text, self._noted = watch, "training", False
        self._bar: Any = None
        self._task: Any = None
        if sys.stderr.isatty() and not quiet:
            from rich.console import Console
            from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
            from rich.progress import Progress as Bar

            columns = (BarColumn(), TimeElapsedColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
            self._bar = Bar(*columns, console=Console(stderr=True), transient=True)
            self._bar.start()
            self._task = self._bar.add_task(self._text, total=None)

    def step(self, done: int, of: int) -> None:
        """One step more."""
        if self._bar is not None:
            self._bar.update(self._task, completed=done, total=of)
        else:
            self._watch.note(f"step {done} of {of}, {self._text}", None)

    def epoch(self, row: dict[str, Any]) -> None:
        """One epoch more."""
        if row.get("note") and not self._noted:
            self._watch.say(f"epoch {row['epoch']}: {row['note']}")
        self._noted = bool(row.get("note"))
        proved = "" if row["verified"] is None else f", verified {row['verified']:.1%}"
        self._text = (
            f"epoch {row['epoch']}: eps {row['eps']:.4g}, loss {row['loss']:.4g}, natural {row['natural']:.1%}{proved}"
        )
        if self._bar is not None:
            self._bar.update(self._task, description=self._text)

    def close(self) -> None:
        """Clear what is drawn."""
        if self._bar is not None:
            self._bar.stop()
        self._watch.close()
