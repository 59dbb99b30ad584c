"""The way in and out of a process: `verifier verify | bound | info`.

Only what a command needs is imported, and only once it runs.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from typing import Any


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; the README lists the statuses."""
    _streams()
    if not sys.warnoptions:
        warnings.simplefilter("ignore")  # libraries' remarks to programmers are noise to a user
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # our own threads share the cores out, read before numpy loads
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # nothing is sent anywhere, nor a thread started for it
    try:
        from verifier.cli.app import run

        status = run(sys.argv[1:] if arguments is None else arguments)
    except KeyboardInterrupt:
        print("verifier: interrupted", file=sys.stderr)
        status = 130
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a second Ctrl-C has nothing left to stop
    try:
        sys.stdout.flush()
        sys.stderr.flush()
    except OSError:  # whoever read has left
        pass
    os._exit(status)  # everything is written; taking the libraries down in order would cost a fifth of an easy answer


class _Deaf:
    """Standard error, where nobody may listen: what it cannot take is lost, and never an answer for it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """As of a stream."""
        try:
            return int(self._stream.write(text))
        except OSError:
            return len(text)

    def flush(self) -> None:
        """As of a stream."""
        try:
            self._stream.flush()
        except OSError:
            pass

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _streams() -> None:
    """Streams that can be written to: a process may be started without them, and standard error may be full."""
    if sys.stdout is None:
        sys.stdout = open(os.devnull, "w")
    sys.stderr = _Deaf(open(os.devnull, "w") if sys.stderr is None else sys.stderr)
