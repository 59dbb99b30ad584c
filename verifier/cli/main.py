"""The way in and out of a process: `verifier verify | bound | info`.

Only what a command needs is imported, and only once it runs.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit; the README lists the statuses."""
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
