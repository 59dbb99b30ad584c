"""The page for a certified data set."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from benchmarks.report import make
from tests.cli.files import ROOT
from tests.report.browser import browser, visit
from tests.report.test_page import EVIL, read
from verifier.campaign.certify import Certified
from verifier.campaign.radii import Radius
from verifier.cli.app import run
from verifier.report import certified
from verifier.report.certified import (
    FATES,
    Image,
    accuracy_page,
    by_class,
    class_table,
    curves,
    fate,
    radius_page,
    times,
)
from verifier.report.content import collect
from verifier.report.figures import figures
from verifier.run.certification.points import Point, Status

STATUSES = (Status.INTERVAL, Status.SEARCH, Status.ATTACKED, Status.UNKNOWN, Status.INCORRECT, Status.ERROR)


def made(n: int, shape: tuple[int, ...] = (1, 8, 8)) -> tuple[Certified, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.random((n, *shape))
    points = []
    for k in range(n):
        status = STATUSES[k % len(STATUSES)]
        witness = x[k].ravel() + 0.1 if status is Status.ATTACKED else None
        label, predicted = k % 3, (k + 1) % 3 if status is Status.INCORRECT else k % 3
        becomes = None if witness is None else (k - 1) % 3
        points.append(Point(k, label, predicted, 0.1, status, 0.01 * k, 1.0, EVIL if k == 3 else "", witness, becomes))
    return Certified(points, 0.1, float("inf"), 1.0, 0), x


ABOUT = {"model": "m.onnx" + EVIL, "eps": "0.1"}
RUNGS = [("", "images"), ("certified", "2")]


def test_every_image_is_told_and_pictures_stand_by_it() -> None:
    result, x = made(60)
    text = accuracy_page(result, x, ABOUT, RUNGS, {"SHA-256 of m.onnx": "abc"})
    told = read(text)["images"]
    assert [i["index"] for i in told] == list(range(60)) and EVIL not in text
    assert all("picture" in i for i in told)
    assert told[0]["fate"] == "certified" and told[0]["words"] == "by interval bounds"
    assert [i["becomes"] for i in told[:3]] == [None, None, 1] and "SHA-256 of m.onnx" in text
    assert told[1]["words"] == "by the search" and told[3]["words"] == EVIL
    assert {i["fate"] for i in told} == {*FATES}
    # natural: all but the incorrect ones; nothing found: nor attacked; certified: two of six
    assert [t for t in re.findall(r"<b>([^<]*)</b>", text)[:4]] == ["83.33%", "66.67%", "33.33%", "10"]


def test_pictures_of_what_is_not_certified_come_first(monkeypatch: pytest.MonkeyPatch) -> None:
    result, x = made(60)
    monkeypatch.setattr(certified, "PICTURES", 15_000)
    text = accuracy_page(result, x, ABOUT, RUNGS)
    told = read(text)["images"]
    assert f"Pictures of {sum('picture' not in i for i in told)} " in text
    drawn = {i["fate"] for i in told if "picture" in i}
    assert drawn and "certified" not in drawn
    assert sum(len(i.get("picture", "")) for i in told) <= 15_000


def test_inputs_that_are_no_images() -> None:
    result, x = made(12, (5,))
    told = read(accuracy_page(result, x, ABOUT, RUNGS))
    assert not any("picture" in i for i in told["images"])


def test_a_data_set_fits_into_a_small_page() -> None:
    result, x = made(60, (1, 28, 28))
    many = [replace(p, index=k) for k, p in enumerate(result.points * 167)]
    text = accuracy_page(replace(result, points=many), np.tile(x, (167, 1, 1, 1)), ABOUT, RUNGS)
    assert len(text.encode()) < 5e6 and len(read(text)["images"]) == 10_020


def test_the_table_by_class_counts_everything() -> None:
    result, _ = made(60)
    images = [Image(p.index, p.label, p.predicted, certified.fate(p.status), "", 0.0, None) for p in result.points]
    head, *body = class_table(images)
    assert [sum(int(row[head.index(f)]) for row in body) for f in FATES] == [20, 10, 10, 10, 10]
    assert [row[1] for row in body] == ["20", "20", "20"]


def radius(k: int, proved: float, attacked: float, reason: str = "", predicted: int = 1) -> Radius:
    return Radius(k, 1, predicted, proved, Status.SEARCH if proved else None, attacked, None, 0.5, 3, reason)


def test_curves_of_radii() -> None:
    """The share at a radius is that of the images whose radius is so large or larger, of all images."""
    inf = float("inf")
    right = [radius(0, 0.1, 0.2), radius(1, 0.3, inf), radius(2, 0.0, 0.05, "open")]
    proved, met = curves(right, 4, 0.3).axes[0].get_lines()
    x, y = proved.get_xdata(), proved.get_ydata()

    def at(r: float) -> float:  # a step curve drawn "pre": y[k] holds on (x[k-1], x[k]]
        return float(y[int(np.searchsorted(x, r, side="left"))])

    assert at(0.05) == 0.5 and at(0.1) == 0.5 and at(0.2) == 0.25 and at(0.3) == 0.25
    assert list(met.get_xdata()) == [0.0, 0.05, 0.2, 0.3, 0.3] and y[-1] == 0
    text = radius_page([*right, radius(3, 0.0, inf, predicted=0)], 0.3, np.zeros((4, 64)), ABOUT, [("", "certified")])
    assert [i["fate"] for i in read(text)["images"]] == ["attacked", "certified", "unknown", "incorrect"]


@pytest.mark.skipif(browser() is None, reason="no Chromium here: apt-get install chromium")
def test_in_a_browser(tmp_path: Path) -> None:
    result, x = made(300)
    (tmp_path / "p.html").write_text(accuracy_page(result, x, ABOUT, RUNGS), encoding="utf-8")
    script = (
        "const set = (id, v) => { const e = document.getElementById(id); e.value = v;"
        " e.dispatchEvent(new Event('input', { bubbles: true })); };"
        "const cards = () => document.querySelectorAll('.card').length;"
        "const told = () => document.getElementById('count').textContent;"
        "const seen = [cards(), told()]; document.getElementById('more').click(); seen.push(cards());"
        "set('show', 'attacked'); seen.push(cards(), told(), document.getElementById('more').hidden);"
        "set('class', '2'); seen.push(told()); set('show', ''); set('class', ''); set('text', '7'); seen.push(told());"
        "seen.push([...document.querySelectorAll('.card img')].every((i) => i.src.startsWith('data:')));"
        "seen.push(window.broken === undefined, document.querySelectorAll('b.evil').length, location.hash);"
        "return seen;"
    )
    seen, errors = visit(tmp_path / "p.html", script)
    assert errors == []
    assert seen == [
        120, "300 of 300", 240, 50, "50 of 300", True, "50 of 300", "1 of 300", True, True, 0, "#text=7"
    ]  # fmt: skip


def test_from_the_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["certify", "--model", str(ROOT / "models/digits_fc.onnx"), "--data", "digits", "--count", "12", "--quiet"]
    page = tmp_path / "p.html"
    assert run([*words, "--eps", "0.1", "--timeout", "20", "--report", str(page)]) == 0
    text = page.read_text()
    told = read(text)["images"]
    assert len(told) == 12 and "Certified accuracy" in text and all(i["picture"] for i in told)
    out = capsys.readouterr().out
    assert re.search(rf"certified +│ +{sum(i['fate'] == 'certified' for i in told)} ", out)
    assert run([*words, "--eps", "0.1", "--timeout", "5", "--radius", "--report", str(page)]) == 0
    assert "Certified radii" in page.read_text()
    assert run([*words, "--eps", "0.1", "--report", str(tmp_path / "no" / "p.html")]) == 2


def test_a_legend_hides_no_curve(tmp_path: Path) -> None:
    """It stands outside the axes, in every figure of every page."""
    make(tmp_path / "r.sqlite", 40)
    result, _ = made(60)
    images = [Image(p.index, p.label, p.predicted, fate(p.status), "", p.seconds, None) for p in result.points]
    right = [radius(0, 0.1, 0.2), radius(1, 0.3, float("inf"))]
    some = [*figures(collect(tmp_path / "r.sqlite")).values(), by_class(images), times(images), curves(right, 4, 0.3)]
    for figure in some:
        figure.canvas.draw()
        (ax,), (legend,) = figure.axes, figure.legends
        assert ax.get_legend() is None and legend.get_texts()
        assert not legend.get_window_extent().overlaps(ax.patch.get_window_extent())
        assert figure.bbox.contains(*legend.get_window_extent().p0)
