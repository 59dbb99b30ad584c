"""What the system offers to a process of ours."""

from __future__ import annotations

from typing import Any


def system_library() -> Any:
    """The C library that this process runs on; None where the system does not let it be found so (Windows)."""
    import ctypes

    try:
        return ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
