"""A process that answers tasks: a copy of one that has imported everything, or a new interpreter.

python -m verifier.executor.worker FD

speaks lines of JSON on the socket FD: `local.Work` comes first, then requests; what is told goes back, null after each.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import warnings
from typing import Any


class Lines:
    """Messages, out of bytes as they come."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> list[Any]:
        """Those that are complete now."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        return [json.loads(line) for line in lines]


def line(message: Any) -> bytes:
    """As it goes over the wire."""
    return json.dumps(message).encode() + b"\n"


def named(name: str) -> Any:
    """A function by `module:function`."""
    module, _, function = name.partition(":")
    return getattr(importlib.import_module(module), function)


def work(wire: socket.socket) -> None:
    """Answer requests, one or all, and leave at once."""
    warnings.simplefilter("ignore")  # libraries' remarks to programmers are noise to a user
    asked = map(json.loads, wire.makefile())
    about = next(asked)
    answer = named(about["answer"])(about["setup"])
    for request in asked:
        answer(request, lambda message: wire.sendall(line(message)))
        wire.sendall(line(None))
        if not about["keep"]:
            break
    os._exit(0)


if __name__ == "__main__":
    work(socket.socket(fileno=int(sys.argv[1])))
