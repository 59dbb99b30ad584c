"""What `benchmarks/mutation.py` knows of the tests: how long each takes, and which functions it calls."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from benchmarks.mutants import ROOT, Key, key


@dataclass
class Learned:
    """Of one test: seconds of the processor, and which functions it calls."""

    seconds: float
    calls: set[Key]


class Known:
    """What is learned of tests, by their names, in a file, too: line by line as it comes, so that a run that is killed
    loses nothing.  It starts anew where `verifier` is not what it was, as functions are known by their first lines.
    """

    def __init__(self, path: Path | None) -> None:
        self.of: dict[str, Learned] = {}
        self._file: TextIO | None = None
        if path is None:
            return
        state = hashlib.sha256(b"".join(f.read_bytes() for f in sorted((ROOT / "verifier").rglob("*.py")))).hexdigest()
        lines = path.read_text().splitlines() if path.exists() else []
        same = lines[:1] == [state]
        for line in lines[1:] if same else ():
            with contextlib.suppress(ValueError):  # the last one of a run that was killed
                name, seconds, calls = json.loads(line)
                self._take(name, seconds, calls)
        self._file = path.open("a" if same else "w", 1)
        self._file.write("\n" if same else state + "\n")

    def _take(self, name: str, seconds: float, calls: Collection[Any]) -> None:
        self.of[name] = Learned(seconds, {(a, b, c) for a, b, c in calls})

    def add(self, name: str, seconds: float, calls: Collection[Any]) -> None:
        """Of one test more."""
        self._take(name, seconds, calls)
        if self._file is not None:
            self._file.write(json.dumps([name, seconds, list(calls)]) + "\n")


def tracing(calls: set[Key]) -> Callable[[Any, str, Any], None]:
    """What notes which functions of `verifier` are called."""
    seen, ours = set[Any](), str(ROOT / "verifier")

    def trace(frame: Any, event: str, arg: Any) -> None:
        code = frame.f_code
        if code not in seen:
            seen.add(code)
            if code.co_filename.startswith(ours):
                calls.add(key(code))

    return trace
