"""A real Chromium without a window: what a script finds on a page, and the errors that the page makes."""

from __future__ import annotations

import html
import json
import re
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--no-first-run",
)
CATCH = """<script>
window.caught = [];
addEventListener("error", (e) => caught.push(String(e.message || e.target.src || e)), true);
addEventListener("unhandledrejection", (e) => caught.push(String(e.reason)));
</script>"""
ASK = """<script>
addEventListener("load", () => {
  let answer = null;
  try { answer = (() => { %s })(); } catch (e) { caught.push(String(e)); }
  document.documentElement.dataset.answer = JSON.stringify([answer === undefined ? null : answer, caught]);
});
</script>"""


def browser() -> str | None:
    """Its path, if there is one."""
    return next(filter(None, map(shutil.which, NAMES)), None)


def visit(page: Path, script: str, hash: str = "") -> tuple[Any, list[str]]:
    """Open a page as it is but for a script that runs once it has loaded; what that returned, and all errors."""
    text = page.read_text(encoding="utf-8")
    with tempfile.TemporaryDirectory(prefix="chromium") as folder:
        copy = Path(folder) / "page.html"
        asked = text.replace("<head>", "<head>" + CATCH, 1).replace("</body>", ASK % script + "</body>")
        copy.write_text(asked, encoding="utf-8")
        out = _start(folder, "--dump-dom", f"{copy.as_uri()}{hash}")
    found = re.search(r'data-answer="([^"]*)"', out)
    if not found:
        raise AssertionError(f"the script was not reached: {out[-500:]}")
    answer, errors = json.loads(html.unescape(found[1]))
    return answer, errors


def photograph(page: Path, to: Path, size: tuple[int, int] = (1280, 2000)) -> None:
    """What a reader sees."""
    with tempfile.TemporaryDirectory(prefix="chromium") as folder:
        _start(folder, f"--window-size={size[0]},{size[1]}", f"--screenshot={to}", page.as_uri())


def _start(folder: str, *words: str) -> str:
    command = [str(browser()), *FLAGS, f"--user-data-dir={folder}/profile", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
