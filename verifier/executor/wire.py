"""Lines of JSON between processes."""

from __future__ import annotations

import json
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
