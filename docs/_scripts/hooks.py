"""What mkdocs calls while it builds: pages that are not kept in `docs/`, and links that leave the folder."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(ROOT))

from docs._scripts import api  # noqa: E402

LINKS = {"../benchmarks/README.md": "measurements.md", "../docs/": "", "../CHANGELOG.md": "changes.md"}
"""Beginning of a link in the repository -> what it is on the pages."""


def on_config(config: Any) -> Any:
    """Browsers refuse the worker that search needs to pages opened as files: ours stands in, not one from elsewhere."""
    config.extra["polyfills"] = ["assets/iframe-worker.js"]
    return config


def on_files(files: Any, config: Any) -> Any:
    """Add the measurements, the changes, and the page of Python names."""
    pages = {
        "measurements.md": (ROOT / "benchmarks" / "README.md").read_text(),
        "changes.md": (ROOT / "CHANGELOG.md").read_text(),
        "api.md": api.page(),
    }
    for name, text in pages.items():
        files.append(File.generated(config, name, content=text))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Turn links that leave the folder of the pages."""
    return turned(markdown)


def turned(markdown: str) -> str:
    """The text with its links as the pages need them."""
    for start, page in LINKS.items():
        markdown = re.sub(rf"\]\({re.escape(start)}", f"]({page}", markdown)
    return markdown
