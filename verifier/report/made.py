"""What a page was made by, when, where, and of what, so that a later reader can tell whether it still holds."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from verifier.run.machine import machine, version


def made(files: Iterable[str | Path] = (), **more: str) -> dict[str, str]:
    """Program with its version, date, machine, and SHA-256 of files.

    Args:
        files: what the page is about.  more: digests of something else, by name.
    """
    told = {"program": f"verifier {version()}", "date": time.strftime("%Y-%m-%d %H:%M %z"), "machine": words(machine())}
    sums = {str(f): digest(f) for f in files}
    return told | {f"SHA-256 of {name}": value for name, value in (sums | more).items() if value}


def words(about: dict[str, Any]) -> str:
    """A machine, or settings, in one line."""
    return ", ".join(f"{k.replace('_', ' ')} {v}" for k, v in about.items())


def digest(path: str | Path) -> str:
    """SHA-256 of a file; empty where it cannot be read."""
    try:
        with open(path, "rb") as f:
            return hashlib.file_digest(f, "sha256").hexdigest()
    except OSError:
        return ""
