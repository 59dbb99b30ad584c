"""What standard error shows while a question is being decided."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TextIO

from verifier.run.clock import since_start
from verifier.values.log import note


class Watch:
    """A progress line, once a run takes more than a second, redrawn in place on a terminal.

    Attributes:
        last: the progress that was noted last, if any.

    Args:
        quiet: say nothing.
        timeout: seconds since the start of the process at which the time is up, if ever.
    """

    def __init__(self, quiet: bool, timeout: float | None = None) -> None:
        self._phase, self._began, self._before = "reading the input", 0.0, 0
        self.last: Any = None
        self._next, self._drawn, self._timeout = time.monotonic() + 1.0, False, timeout
        self._told = 0.0
        self._quiet, self._live = quiet, sys.stderr.isatty()

    @property
    def line(self) -> str:
        """What is going on."""
        p = self.last
        if p is None:
            return self._phase
        return f"{self._phase}: {p.bounded:,} parts bounded, {p.open:,} open, largest gap {p.worst:.3g}"

    def note(self, phase: str, progress: Any) -> None:
        """Take note; draw at most five times a second on a terminal, every ten seconds into a file."""
        now = time.monotonic()
        if self.last is None and progress is not None:
            self._began, self._before = now, progress.bounded
        self._phase, self.last = phase, progress
        if now >= self._told:
            self._told = now + 1.0
            note("cli", "%s", self.line)
        if now >= self._next and not self._quiet:
            self._next = now + (0.2 if self._live else 10.0)
            self._drawn = self._live
            if self._live:
                sys.stderr.write(f"\r\x1b[2K{_cut(f'verifier: {self.status(now)}', sys.stderr)}")
            else:
                sys.stderr.write(f"verifier: {self.line} ({since_start():.1f} s)\n")
            sys.stderr.flush()

    def status(self, now: float) -> str:
        """Time, parts open and closed, the worst bound (0 would be proved), parts a second."""
        spent = since_start()
        clock = f"{spent:.0f} s" if self._timeout is None else f"{max(0.0, self._timeout - spent):.0f} s left"
        p = self.last
        if p is None:
            return f"{clock}  {self._phase}"
        rate = (p.bounded - self._before) / (now - self._began) if now > self._began else 0.0
        return f"{clock}  {p.open:,} parts open, {p.closed:,} closed  worst bound {-p.worst:.3g}  {rate:,.0f} parts/s"

    def say(self, text: str) -> None:
        """A line of its own."""
        self.close()
        if not self._quiet:
            print(f"verifier: {text}", file=sys.stderr)

    def close(self) -> None:
        """Clear the line."""
        if self._drawn:
            sys.stderr.write("\r\x1b[2K")
            self._drawn = False


def _cut(text: str, stream: TextIO) -> str:
    """What fits a line of the terminal: a line that wraps cannot be drawn over."""
    try:
        return text[: max(1, os.get_terminal_size(stream.fileno()).columns - 1)]
    except (OSError, ValueError):
        return text


@contextmanager
def campaign(quiet: bool) -> Iterator[Callable[..., None]]:
    """What standard error shows of many questions: a bar on a terminal, lines in a file, nothing when quiet.

    What is yielded is to be called with how many are done, of how many, and what is known so far in one line; where
    questions are told one by one, with what is new: lines, and whether each is worth one of its own on a terminal.
    """
    if quiet:
        yield lambda *_: None
    elif sys.stderr.isatty():
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

        columns = (BarColumn(), MofNCompleteColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=None)

            def draw(done: int, total: int, words: str, news: Sequence[tuple[str, bool]] = ()) -> None:
                for line in (line for line, bad in news if bad):
                    bar.console.print(line, style="red", markup=False, highlight=False)
                bar.update(task, total=total, completed=done, description=words, refresh=True)

            yield draw
    else:
        watch = Watch(False)

        def write(done: int, total: int, words: str, news: Sequence[tuple[str, bool]] | None = None) -> None:
            if news is None:
                watch.note(f"{done} of {total} images done  {words}".rstrip(), None)
            for line, _ in news or ():
                print(f"verifier: {line}", file=sys.stderr, flush=True)

        yield write
        watch.close()
