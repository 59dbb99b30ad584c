"""`--log`: lines with the time of what is done and why, in a file."""

from __future__ import annotations

import logging
import shlex
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from verifier import __version__
from verifier.values.errors import Unwritten
from verifier.values.log import note


@contextmanager
def into(path: Path, arguments: Sequence[str]) -> Iterator[None]:
    """Add to a file what happens meanwhile; each line is there as soon as it is said.

    Raises:
        Unwritten: it could not be written, said at the end: a log is no reason not to answer.
    """
    try:
        handler = _File(path, "a", encoding="utf-8", errors="backslashreplace")
    except OSError as e:
        raise Unwritten(f"{path}: cannot be written ({e.strerror}); choose another place") from None
    handler.setFormatter(_Line("%(asctime)s.%(msecs)03d %(name)s: %(message)s", "%Y-%m-%d %H:%M:%S"))
    logger = logging.getLogger("verifier")
    before = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(handler)
    began = time.monotonic()
    try:
        note("cli", "verifier %s: %s", __version__, shlex.join(arguments))
        yield
        note("cli", "ended after %.2f s", time.monotonic() - began)
    except BaseException as e:
        note("cli", "ended after %.2f s by %s: %s", time.monotonic() - began, type(e).__name__, e)
        raise
    finally:
        logger.removeHandler(handler)
        logger.setLevel(before)
        handler.close()
    if handler.lost:
        raise Unwritten(f"{path}: cannot be written ({handler.lost}); the answer stands, the log has gaps")


class _File(logging.FileHandler):
    """Remembers what it could not write."""

    lost = ""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802
        """Nothing on standard error: it is said once, at the end."""
        import sys

        e = sys.exc_info()[1]
        self.lost = getattr(e, "strerror", None) or str(e)

    def close(self) -> None:
        """Close it; what is still to be written may be lost, too."""
        try:
            super().close()
        except OSError as e:
            self.lost = e.strerror or str(e)


class _Line(logging.Formatter):
    """One line a record, whatever stands in names and messages."""

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        return "".join(c if c.isprintable() else " " for c in super().format(record))
