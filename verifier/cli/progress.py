"""What standard error shows while a question is being decided."""

from __future__ import annotations

import sys
import time
from typing import Any

from verifier.run.clock import since_start


class Watch:
    """A progress line, once a run takes more than a second, redrawn in place on a terminal.

    Attributes:
        line: what is going on.
    """

    def __init__(self, quiet: bool) -> None:
        self.line, self._next, self._drawn = "reading the input", time.monotonic() + 1.0, False
        self._quiet, self._live = quiet, sys.stderr.isatty()

    def note(self, phase: str, progress: Any) -> None:
        """Take note; draw at most five times a second on a terminal, every ten seconds into a file."""
        self.line = phase
        if progress is not None:
            self.line += (
                f": {progress.bounded:,} parts bounded, {progress.open:,} open, largest gap {progress.worst:.3g}"
            )
        now = time.monotonic()
        if now >= self._next and not self._quiet:
            self._next = now + (0.2 if self._live else 10.0)
            self._drawn = self._live
            text = f"verifier: {self.line} ({since_start():.1f} s)"
            sys.stderr.write(f"\r\x1b[2K{text}" if self._live else text + "\n")
            sys.stderr.flush()

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
