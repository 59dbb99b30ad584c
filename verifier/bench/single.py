"""One instance in a new interpreter, as a user would start it: python -m verifier.bench.single FD REQUEST."""

from __future__ import annotations

import json
import os
import sys
import warnings
from typing import Any


def work(into: int, request: dict[str, Any]) -> None:
    """Answer a request, write lines of JSON to the file descriptor, and leave at once."""
    from verifier.bench.answer import answer

    def send(message: dict[str, Any]) -> None:
        data = memoryview(json.dumps(message).encode() + b"\n")
        while data:
            data = data[os.write(into, data) :]

    warnings.simplefilter("ignore")  # libraries' remarks to programmers are noise to a user
    answer(request, send)
    os._exit(0)


if __name__ == "__main__":
    from verifier.run.clock import keep_memory

    keep_memory()
    work(int(sys.argv[1]), json.loads(sys.argv[2]))
