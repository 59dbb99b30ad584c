"""`verifier verify`."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path
from typing import Any

from verifier.cli.progress import Watch
from verifier.cli.write import check_folder, check_place, replace, write_tensors
from verifier.run.clock import keep_memory, since_start
from verifier.values.errors import UserError
from verifier.values.verdict import Verdict

GRACE = 0.15
"""Seconds before the timeout at which the verdict is due, so that it is printed in time."""
LEAST = 0.5
"""Seconds for reading the input where the timeout leaves none: bad input is refused whatever the timeout."""


def command(
    model: str | dict[str, str],
    spec: str,
    timeout: float | None,
    results: Path | None,
    certificate: Path | None,
    json: Path | None,
    device: str,
    quiet: bool,
    assignments: Path | None = None,
    accept_real: bool = False,
) -> None:
    """Answer, print, write files; see `verifier verify --help`."""
    if certificate is not None:
        raise UserError("--certificate: certificates are not available yet; leave the option out")
    if results is not None and results == json:
        raise UserError(f"{json}: given for --results and for --json; name two files")
    for path in (results, json):
        if path is not None:
            check_place(path)
    if assignments is not None:
        check_folder(assignments)
    watch = Watch(quiet)
    report = _Report(results, json, watch, assignments)
    left = None if timeout is None else max(0.0, timeout - since_start() - GRACE)
    timer = threading.Timer(_due(left), report.late)  # a step that takes too long must not delay the verdict
    timer.daemon = True
    if left is not None:
        timer.start()
    keep_memory()
    from verifier.run.verify import verify

    try:
        result = verify(model, spec, left, device=device, accept_real=accept_real, watch=watch.note)
    except KeyboardInterrupt:
        watch.say(f"stopped while {watch.line}")
        raise
    finally:
        timer.cancel()
        watch.close()
    report.done(result)


def _due(left: float | None) -> float:
    """Seconds until the clock takes the word; `done` silences it."""
    return min(left + GRACE / 2 if left else LEAST, threading.TIMEOUT_MAX)


class _Report:
    """Prints one verdict, once, whoever comes first: the search or the clock."""

    def __init__(self, results: Path | None, json: Path | None, watch: Watch, assignments: Path | None = None) -> None:
        self._results, self._json, self._watch, self._lock = results, json, watch, threading.Lock()
        self._assignments = assignments

    def done(self, result: Any) -> None:
        """Print and write a result."""
        self._lock.acquire()  # and never released: one verdict
        text = "" if result.witness is None else result.witness.text() + "\n"
        self._write(result.verdict, text, result.reason, result)
        self._watch.say(f"{result.reason} ({since_start():.2f} s)")

    def late(self) -> None:
        """The time is up and the search has not come back: say so and leave."""
        if not self._lock.acquire(blocking=False):
            return
        reason, status = f"out of time while {self._watch.line}", 0
        try:
            self._watch.close()
            self._write(Verdict.TIMEOUT, "", reason, None)
            self._watch.say(f"{reason} ({since_start():.2f} s)")
        except UserError as e:
            print(f"verifier: {e}", file=sys.stderr)
            status = 2
        except OSError:  # whoever read has left
            pass
        finally:
            os._exit(status)

    def _write(self, verdict: Verdict, text: str, reason: str, result: Any) -> None:
        """The files first: where they cannot be written there is no verdict on standard output either."""
        if self._results is not None:
            replace(self._results, f"{verdict}\n{text}")
        if self._json is not None:
            replace(self._json, _as_json(verdict, reason, result))
        if self._assignments is not None and result is not None and result.witness is not None:
            write_tensors(self._assignments, result.witness)
        sys.stdout.write(f"{verdict}\n{text}")
        sys.stdout.flush()


def _as_json(verdict: Verdict, reason: str, result: Any) -> str:
    import json

    witness = None if result is None else result.witness
    found = None if witness is None else {"x": witness.x.tolist(), "y": witness.y.tolist()}
    if found is not None and witness is not None and witness.tensors:
        found["variables"] = {t.name: t.values.tolist() for t in witness.tensors}
    stats = {} if result is None else result.stats
    return json.dumps({"verdict": verdict, "reason": reason, "witness": found, "stats": stats}, indent=1) + "\n"
