"""The log of a run as a table."""

from __future__ import annotations

import csv
import io
from contextlib import suppress
from pathlib import Path
from typing import Any

from verifier.values.errors import Unwritten

COLUMNS = (
    "epoch", "eps", "lr", "loss", "clean", "robust", "natural", "verified", "dead", "active", "unstable", "tightness",
    "held_natural", "held_verified", "seconds", "note",
)  # fmt: skip
"""Of `log.csv`; empty where a run has no such number."""


def write(folder: Path, log: list[dict[str, Any]]) -> None:
    """The log as `log.csv`.

    Raises:
        Unwritten: it cannot be written.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, restval="", extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows([{k: "" if v is None else v for k, v in row.items()} for row in log])
    aside = folder / "log.csv.part"
    try:
        aside.write_text(text.getvalue(), encoding="utf-8")
        aside.replace(folder / "log.csv")
    except OSError as e:
        with suppress(OSError):
            aside.unlink(missing_ok=True)
        raise Unwritten(f"{folder / 'log.csv'}: cannot be written ({e.strerror}); see to it, then --resume") from None
