"""`verifier verify`."""

from __future__ import annotations

import os
import sys
import threading
import time
from pathlib import Path
from typing import Any

from verifier.run.clock import since_start
from verifier.values.errors import UserError
from verifier.values.verdict import Verdict

GRACE = 0.15
"""Seconds before the timeout at which the verdict is due, so that it is printed in time."""


def command(
    model: str,
    spec: str,
    timeout: float | None,
    results: Path | None,
    certificate: Path | None,
    json: Path | None,
    device: str,
    quiet: bool,
) -> None:
    """Answer, print, write files; see `verifier verify --help`."""
    if certificate is not None:
        raise UserError("--certificate: certificates are not available yet; leave the option out")
    if timeout is not None and not timeout >= 0:
        raise UserError(f"--timeout {timeout:g}: give a number of seconds that is not negative")
    for path in (results, json):
        if path is not None and not path.absolute().parent.is_dir():
            raise UserError(f"{path}: its folder does not exist; make it first")
    report = _Report(results, json)
    watch = None if quiet else _Watch()
    left = None if timeout is None else max(0.0, timeout - since_start() - GRACE)
    if left:
        timer = threading.Timer(left + GRACE / 2, report.late)  # a step that takes too long must not delay the verdict
        timer.daemon = True
        timer.start()
    from verifier.run.verify import verify

    try:
        result = verify(model, spec, left, device=device, watch=watch)
    except KeyboardInterrupt:
        if watch:
            watch.last()
        raise
    finally:
        if watch:
            watch.close()
    report.done(result, quiet)


class _Report:
    """Prints one verdict, once, whoever comes first: the search or the clock."""

    def __init__(self, results: Path | None, json: Path | None) -> None:
        self._results, self._json, self._lock = results, json, threading.Lock()

    def done(self, result: Any, quiet: bool) -> None:
        """Print and write a result."""
        self._lock.acquire()  # kept: nothing is printed after this
        text = "" if result.witness is None else result.witness.text() + "\n"
        self._write(result.verdict, text, result)
        if not quiet:
            print(f"verifier: {result.reason} ({since_start():.2f} s)", file=sys.stderr)

    def late(self) -> None:
        """The time is up and the search has not come back: say so and leave."""
        if self._lock.acquire(blocking=False):
            self._write(Verdict.TIMEOUT, "", None)
            os._exit(0)

    def _write(self, verdict: Verdict, text: str, result: Any) -> None:
        if self._results is not None:
            _replace(self._results, f"{verdict}\n{text}")
        if self._json is not None:
            _replace(self._json, _as_json(verdict, result))
        sys.stdout.write(f"{verdict}\n{text}")
        sys.stdout.flush()


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        temporary.write_text(text)
        os.replace(temporary, path)
    except OSError as e:
        temporary.unlink(missing_ok=True)
        raise UserError(f"{path}: cannot be written ({e.strerror}); choose another place") from None


def _as_json(verdict: Verdict, result: Any) -> str:
    import json

    if result is None:
        return json.dumps({"verdict": verdict}) + "\n"
    witness = result.witness
    found = None if witness is None else {"x": witness.x.tolist(), "y": witness.y.tolist()}
    content = {"verdict": verdict, "reason": result.reason, "witness": found, "stats": result.stats}
    return json.dumps(content, indent=1) + "\n"


class _Watch:
    """A progress line on standard error, once a run takes more than a second, redrawn in place on a terminal."""

    def __init__(self) -> None:
        self._line, self._next, self._drawn = "starting", time.monotonic() + 1.0, False
        self._live = sys.stderr.isatty()

    def __call__(self, phase: str, progress: Any) -> None:
        """Take note; draw at most five times a second on a terminal, every ten seconds into a file."""
        self._line = phase
        if progress is not None:
            self._line = (
                f"{phase}: {progress.bounded:,} parts bounded, {progress.open:,} open, largest gap {progress.worst:.3g}"
            )
        now = time.monotonic()
        if now >= self._next:
            self._next = now + (0.2 if self._live else 10.0)
            self._drawn = self._live
            text = f"verifier: {self._line} ({since_start():.1f} s)"
            sys.stderr.write(f"\r\x1b[2K{text}" if self._live else text + "\n")
            sys.stderr.flush()

    def last(self) -> None:
        """The state so far, as a line of its own."""
        self.close()
        print(f"verifier: stopped while {self._line}", file=sys.stderr)

    def close(self) -> None:
        """Clear the line."""
        if self._drawn:
            sys.stderr.write("\r\x1b[2K")
            self._drawn = False
