"""The command line: `verifier verify | bound | info`.

Only what a command needs is imported, and only once it runs.
"""

from __future__ import annotations

import sys

COMMANDS = ("verify", "bound", "info")


def main(arguments: list[str] | None = None) -> None:
    """Run the command line and exit: 0 with an answer, 2 for input that cannot be used, 130 when interrupted."""
    from verifier.cli.app import run

    sys.exit(run(sys.argv[1:] if arguments is None else arguments))
