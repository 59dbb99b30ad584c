"""Running out of memory, under one name."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def one_memory_error() -> Iterator[None]:
    """What a device raises when its memory is full becomes a `MemoryError` (torch has no common type for it)."""
    try:
        yield
    except RuntimeError as e:
        if "out of memory" in str(e).lower():
            raise MemoryError(str(e)) from None
        raise
