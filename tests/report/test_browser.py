"""The page in a real browser: it opens without an error and without a network, and what one clicks works."""

from __future__ import annotations

import json
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.report import make
from tests.report.browser import browser, photograph, visit
from tests.report.test_page import EVIL, evil
from verifier.report.content import collect
from verifier.report.page import page
from verifier.run.machine import version

pytestmark = pytest.mark.skipif(browser() is None, reason="no Chromium here: apt-get install chromium")

N = 120
SHOWN = "const shown = () => [...document.querySelectorAll('#instances tr.row')].filter((r) => !r.hidden).length;"
SET = (
    "const set = (id, value) => { const e = document.getElementById(id); e.value = value;"
    " e.dispatchEvent(new Event('input', { bubbles: true })); };"
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("page")
    make(folder / "r.sqlite", N)
    (folder / "r.html").write_text(page(collect(folder / "r.sqlite")), encoding="utf-8")
    return folder / "r.html"


def test_it_opens_without_errors_or_a_network(made: Path) -> None:
    script = (
        SHOWN + "const loaded = performance.getEntriesByType('resource').map((e) => e.name);"
        "const far = loaded.filter((n) => !n.startsWith('data:'));"
        "return [shown(), far, document.querySelectorAll('figure svg').length,"
        " getComputedStyle(document.querySelector('.tiles')).display];"
    )
    (rows, far, plots, display), errors = visit(made, script)
    assert (rows, far, plots, display) == (N, [], 2, "flex")
    assert errors == []


def test_errors_are_seen(made: Path) -> None:
    """Of the harness: a page that breaks does not pass."""
    broken = made.with_name("broken.html")
    text = made.read_text(encoding="utf-8")
    broken.write_text(text.replace('"use strict";', '"use strict"; nobody.home();', 1), encoding="utf-8")
    assert "nobody" in " ".join(visit(broken, "return 1")[1])
    broken.write_text(text.replace("<main>", '<main><img src="file:///gone.png">', 1), encoding="utf-8")
    assert "gone.png" in " ".join(visit(broken, "return 1")[1])


def test_filters(made: Path) -> None:
    pairs = collect(made.with_name("r.sqlite")).pairs
    script = (
        SHOWN + SET + "const seen = [];"
        "for (const v of ['sat', 'open', 'failed', 'behind', '']) { set('show', v); seen.push(shown()); }"
        "set('family', 'family_2'); seen.push(shown());"
        "set('text', 'NETWORK_3 unsat'); seen.push(shown()); seen.push(location.hash);"
        "seen.push(document.getElementById('count').textContent); return seen;"
    )
    seen, errors = visit(made, script)
    mine = [r for r, _ in pairs]
    behind = sum(not r.solved and o is not None and o.solved for r, o in pairs)
    sat, open_ = sum(r.verdict == "sat" for r in mine), sum(not r.solved for r in mine)
    family = [r for r in mine if r.category == "family_2"]
    # a word may stand anywhere in a row; "unsat" only in the verdict here
    both = [r for r in family if "network_3" in r.onnx and r.verdict == "unsat"]
    assert 0 < sat < N and 0 < open_ < N and 0 < len(both) < len(family)
    assert seen == [
        sat, open_, 0, behind, N, len(family), len(both), "#text=NETWORK_3+unsat&family=family_2", f"{len(both)} of {N}"
    ]  # fmt: skip
    assert errors == []


def test_a_view_can_be_sent_to_somebody(made: Path) -> None:
    seen, errors = visit(
        made, SHOWN + "return [shown(), document.getElementById('show').value];", "#show=open&family=family_1"
    )
    mine = [r for r, _ in collect(made.with_name("r.sqlite")).pairs]
    assert seen == [sum(not r.solved and r.category == "family_1" for r in mine), "open"] and errors == []
    seen, errors = visit(made, SHOWN + "return shown();", "#show=nonsense&family=nowhere&instance-999999")
    assert seen == N and errors == []


def test_sorting(made: Path) -> None:
    script = (
        "const all = (q) => [...document.querySelectorAll('#instances ' + q)];"
        "const head = (n) => all('thead button').find((b) => b.textContent === n);"
        "const column = (k) => all('tr.row').map((r) => r.children[k].textContent);"
        "head('seconds').click(); const up = column(4); head('seconds').click(); const down = column(4);"
        "head('gap').click(); return [up, down, column(6)];"
    )
    (up, down, gaps), errors = visit(made, script)
    numbers = [float(v) for v in up]
    assert numbers == sorted(numbers) and [float(v) for v in down] == numbers[::-1]
    known = [float(v) for v in gaps if v]
    assert known == sorted(known) and gaps[: len(known)] == [v for v in gaps if v] and 0 < len(known) < N
    assert errors == []


def test_details_of_a_point_that_was_clicked(made: Path) -> None:
    pairs = collect(made.with_name("r.sqlite")).pairs
    sat = next(k for k, (r, _) in enumerate(pairs) if r.verdict == "sat")
    script = (
        "const links = [...document.querySelectorAll('#scatter a')].map((a) => a.getAttribute('xlink:href'));"
        "const d = document.querySelector('tr.details'); const img = d.querySelector('img');"
        "return [links.length, new Set(links).size, d.previousSibling.id, img.naturalWidth, img.complete,"
        " d.querySelectorAll('.range b').length, d.textContent];"
    )
    (links, apart, which, width, complete, bars, text), errors = visit(made, script, f"#instance-{sat}")
    assert links == apart == N and which == f"instance-{sat}"
    assert complete and width > 3 * 28 and bars == 12
    assert "Counterexample" in text and "784 inputs" in text and "verifier verify" in text
    assert errors == []


def test_an_open_instance_says_what_is_open(made: Path) -> None:
    pairs = collect(made.with_name("r.sqlite")).pairs
    k = next(k for k, (r, _) in enumerate(pairs) if r.verdict == "timeout" and r.parts)
    text, errors = visit(made, "return document.querySelector('tr.details').textContent;", f"#instance-{k}")
    assert "9 of 9 disjuncts are open" in text and "short of a proof" in text and "neurons 300" in text and errors == []
    script = (
        "const b = document.querySelector('#instance-0 button');"
        "b.click(); const one = b.getAttribute('aria-expanded');"
        "b.click(); const two = b.getAttribute('aria-expanded');"
        "return [one, two, document.querySelectorAll('tr.details').length];"
    )
    assert visit(made, script) == (["true", "false", 0], [])


def test_a_click_anywhere_in_a_row_opens_its_details(made: Path) -> None:
    script = (
        "const row = document.getElementById('instance-2');"
        "const open = () => document.querySelectorAll('tr.details').length;"
        "const seen = []; for (const k of [0, 4, 1]) { row.children[k].click(); seen.push(open()); }"
        "row.querySelector('button').click(); seen.push(open()); return seen;"
    )
    assert visit(made, script) == ([1, 0, 1, 0], [])


def test_a_sorted_column_is_marked(made: Path) -> None:
    script = (
        "const heads = [...document.querySelectorAll('#instances thead th')];"
        "const seen = []; const look = () => seen.push(heads.map((h) => h.getAttribute('aria-sort') + "
        "getComputedStyle(h.querySelector('button'), '::after').content).filter((t) => !t.startsWith('null')));"
        "look(); heads[4].querySelector('button').click(); look(); heads[4].querySelector('button').click(); look();"
        "heads[0].querySelector('button').click(); look(); return seen;"
    )
    seen, errors = visit(made, script)
    up, down = ['ascending" ▲"'], ['descending" ▼"']
    assert seen == [[], up, down, up] and errors == []


def test_settings_and_columns_are_explained_and_the_page_says_what_made_it(made: Path) -> None:
    text, errors = visit(made, "return document.querySelector('body').innerText;")
    for word in ("domains:", "gap:", "memory gb", "fresh:", "cap:", "Made by", "program", "date", "machine"):
        assert word in text, word
    assert f"verifier {version()}" in text and time.strftime("%Y-") in text and errors == []


@pytest.mark.parametrize("width", [320, 390, 600])
def test_a_phone_shows_it_without_scrolling_sideways(width: int, made: Path) -> None:
    """The page in a frame as wide as a phone, with details of each kind open."""
    pairs = collect(made.with_name("r.sqlite")).pairs
    kinds = {r.verdict: k for k, (r, _) in enumerate(pairs)}
    opened = "".join(f"d.getElementById('instance-{k}').querySelector('button').click();" for k in kinds.values())
    frame = f"<iframe id=f style='width:{width}px;height:800px;border:0'></iframe>"
    made.with_name("frame.html").write_text(f"<!doctype html><html><head></head><body>{frame}</body></html>")
    text = made.read_text(encoding="utf-8")
    framed = json.dumps(text).replace("</", "<\\/")
    script = (
        f"const f = document.getElementById('f'); const d = f.contentDocument; d.open(); d.write({framed}); d.close();"
        f"{opened} const e = d.documentElement;"
        "return [f.contentWindow.innerWidth, e.scrollWidth, d.querySelectorAll('tr.details').length];"
    )
    (wide, scrolled, details), errors = visit(made.with_name("frame.html"), script)
    assert wide == width and scrolled <= width and details == len(kinds) and errors == []


def test_names_of_files_are_never_markup(tmp_path: Path) -> None:
    evil(tmp_path / "r.sqlite")
    (tmp_path / "r.html").write_text(page(collect(tmp_path / "r.sqlite")), encoding="utf-8")
    script = (
        "document.querySelectorAll('#instances tr.row button').forEach((b) => b.click());"
        "return [window.broken === undefined, document.querySelectorAll('b.evil').length,"
        " document.querySelectorAll('tr.details').length, document.querySelector('#instance-0').textContent];"
    )
    (whole, marked, details, text), errors = visit(tmp_path / "r.html", script)
    assert whole and marked == 0 and details > 0 and EVIL in text and errors == []


def test_it_looks_like_something(made: Path, tmp_path: Path) -> None:
    """Of a picture of the page: plots in their colours, beside each other, text above and below, nothing cut off."""
    photograph(made, tmp_path / "p.png")
    image = np.asarray(Image.open(tmp_path / "p.png").convert("RGB")).astype(int)
    assert image.shape == (2000, 1280, 3)
    blue, orange = (np.abs(image - c).sum(2) < 60 for c in ((0x1F, 0x6F, 0x8B), (0xDE, 0xA2, 0x76)))
    assert blue[200:700, 60:640].sum() > 300  # the curve
    assert orange[200:700, 660:1240].sum() > 100  # points, which let the paper through
    assert (image.sum(2) < 300).sum() > 5000  # text
    assert (image[:, :10] == 255).all() and (image[:, -10:] == 255).all()
