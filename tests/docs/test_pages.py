"""Pages whose code runs, pages that are made by scripts, and that everything that is named is there."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from .blocks import ROOT, RUN, blocks, run

DOCS = ROOT / "docs"
PAGES = ("index.md", "tutorial.md", "how-bounds-work.md", "guide/quantised.md")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """An empty folder but for the examples."""
    for name in ("models", "specs"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    return tmp_path


@pytest.mark.parametrize("name", PAGES)
def test_every_block_runs(name: str, folder: Path) -> None:
    """And prints what the page shows."""
    page = DOCS / name
    assert run(page, folder) == sum(b.kind in RUN for b in blocks(page)) > 0


def test_nothing_shown_is_empty() -> None:
    for name in (*PAGES, "extending.md"):
        assert all(b.shown is None or b.shown.strip() for b in blocks(DOCS / name))


def test_operators_are_those_of_the_tables() -> None:
    """The committed page is what the script writes (in a process of its own, so that nothing else has been drawn)."""
    command = [sys.executable, "-m", "docs._scripts.operators", "--check"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_pictures_are_drawn_by_the_script() -> None:
    """Each that a page shows is one that the script draws, and says in words what is to be seen."""
    from docs._scripts.pictures import DRAWN

    shown = [
        m for page in DOCS.glob("*.md") for m in re.findall(r"!\[([^\]]*)\]\(pictures/(\w+)\.svg\)", page.read_text())
    ]
    assert sorted(name for _, name in shown) == sorted(f.__name__ for f in DRAWN)
    assert all((DOCS / "pictures" / f"{name}.svg").exists() and len(words) > 60 for words, name in shown)


def test_measured_pictures_are_shown_and_can_be_made_again() -> None:
    """Each stands on a page with what is to be seen in words, and what makes it is named there."""
    text = (DOCS / "how-bounds-work.md").read_text()
    shown = {name: words for words, name in re.findall(r"!\[([^\]]*)\]\(pictures/measured/(\w+)\.svg\)", text)}
    assert shown.keys() == {p.stem for p in (DOCS / "pictures" / "measured").iterdir()}
    assert all(len(words) > 60 and f"python -m benchmarks.{name} " in text for name, words in shown.items())


def test_numbers_in_pictures() -> None:
    """What the page says of them."""
    from docs._scripts.pictures import CLIPPED, apart, clipped_box

    lower, upper, _ = CLIPPED
    _, l, u, _ = clipped_box()
    text = (DOCS / "how-bounds-work.md").read_text()
    assert f"{100 * ((u - l) / (upper - lower)).prod():.0f}% of its area" in text
    for parts in (1, 2):
        assert f"{apart(parts):.1f} apart on average" in text


# ---- the names ----


def test_every_public_name_of_training_is_on_the_page() -> None:
    """With every key of a recipe."""
    from dataclasses import fields

    import verifier.train
    from docs._scripts import api

    text = api.page()
    assert all(f"\n### {name}\n" in text for name in (*verifier.__all__, *verifier.train.__all__))
    keys = re.findall(r"^- `([^`:]+)`:", text[text.index("### Recipe") : text.index("### Trained")], re.MULTILINE)
    told = {name for key in keys for name in key.split(", ")} | {"factor", "milestones"}  # beside lr
    parts = [f.default_factory for f in fields(verifier.train.Recipe) if f.name != "method"]
    assert {f.name for part in parts for f in fields(part)} == told  # type: ignore[arg-type]


def test_the_order_of_folders_is_the_one_that_is_held() -> None:
    contract = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"][0]
    held = [sorted(place.replace("verifier.", "").split(" | ")) for place in reversed(contract["layers"])]
    told = re.search(r"^values < .*?\.", (DOCS / "design.md").read_text(), re.MULTILINE | re.DOTALL)
    assert told is not None
    assert [sorted(place.split(", ")) for place in " ".join(told[0][:-1].split()).split(" < ")] == held


# ---- the figures ----

SCRIPTS = sorted(p for p in (ROOT / "benchmarks").glob("*.py"))


def test_every_figure_can_be_made_again() -> None:
    """Each script of `benchmarks/` is on the page, and each that the page names is there."""
    text = (DOCS / "reproduce.md").read_text()
    named = set(re.findall(r"python -m benchmarks\.(\w+)", text)) | set(re.findall(r"benchmarks/(\w+)\.py", text))
    assert named == {p.stem for p in SCRIPTS}


def test_every_heading_with_a_command_is_listed() -> None:
    """Each section of the measurements is linked from the page."""
    titles = re.findall(r"^## (.+)$", (ROOT / "benchmarks" / "README.md").read_text(), re.MULTILINE)
    text = (DOCS / "reproduce.md").read_text()
    anchors = set(re.findall(r"\(measurements\.md#([\w-]+)\)", text))
    wanted = {re.sub(r"[^\w\s-]", "", t.lower()).strip().replace(" ", "-") for t in titles}
    assert wanted <= anchors, wanted - anchors


# ---- the site ----


def test_what_builds_it_is_pinned() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    pins = (ROOT / "constraints.txt").read_text()
    assert all(f"\n{name}==" in pins for name in project["optional-dependencies"]["docs"])


def test_the_site_builds_and_needs_no_network(tmp_path: Path) -> None:
    """`mkdocs build --strict` is quiet, and no page loads anything from elsewhere."""
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    config = load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path), strict=True)
    config.plugins.on_startup(command="build", dirty=False)
    build(config)
    pages = sorted(tmp_path.rglob("*.html"))
    assert len(pages) > 10
    for page in pages:
        text = page.read_text()
        loaded = re.findall(r"<(?:script|link|img|iframe|source)\b[^>]*?\b(?:src|href)=\"([^\"]+)\"", text)
        assert loaded and not [a for a in loaded if re.match(r"(?:https?:)?//", a)], page.name
    for style in tmp_path.rglob("*.css"):
        assert not re.search(r"url\([\"']?(?:https?:)?//|@import", style.read_text()), style.name
