"""The page that leads from the field's words to our files leads somewhere."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "names.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.split("## From the field's words to our files")[1].splitlines()
    if line.startswith("|")
][2:]


def test_every_place_is_there() -> None:
    """Each file exists, and each name in it, or in one of those beside it."""
    assert len(ROWS) > 25
    for word, where, names in ROWS:
        files = [ROOT / "verifier" / path for path in re.findall(r"`([\w/]+\.py)`", where)]
        assert files and all(f.is_file() for f in files), f"{word}: {where}"
        text = "\n".join(f.read_text(encoding="utf-8") for f in files)
        for name in re.findall(r"`([A-Za-z_]\w*)`", names):
            assert re.search(rf"\b(def|class) {name}\b|^ *{name}\s*[:=]", text, re.M), f"{word}: no {name} in {where}"
