"""Pages that are made by a script: written, or compared with the committed ones."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path


def main(path: Path, make: Callable[[], str]) -> None:
    """Write a page, or with `--check` say whether it is up to date."""
    text = make()
    if sys.argv[1:] == ["--check"]:
        if not path.exists() or path.read_text() != text:
            name = path.stem
            sys.exit(f"docs/{path.name} is not what its script makes; run: python -m docs._scripts.{name}")
    elif sys.argv[1:]:
        sys.exit(f"unknown: {' '.join(sys.argv[1:])}; only --check is")
    else:
        path.write_text(text)
