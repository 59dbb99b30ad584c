"""What the plots show."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from benchmarks.report import make
from tests.campaign.test_store import ROW
from verifier.campaign.rows import Row
from verifier.report.content import Content, RunGroup, collect
from verifier.report.figures import cactus, figures, png, scatter, svg


def sides(mine: list[tuple[str, float]], theirs: list[tuple[str, float]]) -> Content:
    def rows(some: list[tuple[str, float]]) -> list[Row]:
        return [replace(ROW, expected="", verdict=v, seconds=s, onnx=f"{k}.onnx") for k, (v, s) in enumerate(some)]

    a, b = rows(mine), rows(theirs)
    return Content(RunGroup("we", [], a), RunGroup("they", [], b), list(zip(a, b, strict=True)))


def test_a_cactus_counts_right_answers_only() -> None:
    content = sides([("sat", 3.0), ("unsat", 1.0), ("timeout", 60.0), ("sat", 0.0)], [("sat", 2.0)] * 4)
    wrong = replace(content.pairs[0][0], expected="unsat")
    content = replace(content, pairs=[(wrong, content.pairs[0][1]), *content.pairs[1:]])
    ours, theirs = cactus(content).axes[0].get_lines()
    assert ours.get_ydata().tolist() == [1e-3, 1.0] and list(ours.get_xdata()) == [1, 2]
    assert theirs.get_ydata().tolist() == [2.0] * 4


def test_a_scatter_shows_every_pair_once() -> None:
    ours = [("sat", 1.0), ("unsat", 2.0), ("timeout", 60.0), ("sat", 4.0)]
    content = sides(ours, [("sat", 5.0), ("timeout", 60.0), ("unknown", 3.0), ("unsat", 8.0)])
    ax = scatter(content).axes[0]
    points = {c.get_label(): np.asarray(c.get_offsets()).tolist() for c in ax.collections}
    edge = 16.0  # twice the slowest answer
    assert points == {
        "sat (1)": [[5.0, 1.0]],
        "unsat (1)": [[edge, 2.0]],
        "neither answers (1)": [[edge, edge]],
        "disagree (1)": [[8.0, 4.0]],
    }
    low, high = ax.get_xlim()
    assert low < 1 and high > edge and ax.get_ylim() == (low, high)
    links = [u for c in ax.collections for u in c.get_urls()]
    assert sorted(links) == [f"#instance-{k}" for k in range(4)]


def test_names_are_no_formulas() -> None:
    content = sides([("sat", 1.0)], [("sat", 2.0)])
    content = replace(content, theirs=replace(content.theirs, label=r"_a$\oops{$b"))
    for name, figure in figures(content).items():
        assert r"_a$\oops{$b" in svg(figure, name)


@pytest.mark.parametrize("verdict", ["timeout", "error"])
def test_nothing_answered_is_drawn_too(verdict: str) -> None:
    for figure in figures(sides([(verdict, 1.0)], [(verdict, 0.0)])).values():
        assert png(figure).startswith(b"\x89PNG")


def test_files_that_stand_alone(tmp_path: Path) -> None:
    make(tmp_path / "r.sqlite", 30)
    content = collect(tmp_path / "r.sqlite")
    texts = {name: svg(figure, name) for name, figure in figures(content).items()}
    assert set(texts) == {"cactus", "scatter"}
    for text in texts.values():
        root = ElementTree.fromstring(text)
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
    again = {name: svg(figure, name) for name, figure in figures(content).items()}
    assert again == texts  # no date, no chance
    assert list(figures(replace(content, theirs=None))) == ["cactus"]
