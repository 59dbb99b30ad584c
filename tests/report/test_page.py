"""The page as text: whole, small, safe; what it says of an instance."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

from benchmarks.report import make
from tests.campaign.test_store import ROW, RUN
from verifier.campaign.rows import Counterexample, Row, pack
from verifier.campaign.store import Store
from verifier.report import page as module
from verifier.report.content import collect
from verifier.report.page import data, explained, page
from verifier.report.render import embedded

EVIL = "</script><b class=evil>&amp;<script>window.broken=1</script>"


def evil(db: Path) -> None:
    """Markup, quotes, line separators and brackets wherever a file or a tool could bring them in."""
    store = Store(db)
    run = store.begin(replace(RUN, source=EVIL, machine={"cpu": EVIL}, version="1"))
    other = store.begin(replace(RUN, tool="other" + EVIL, started=13.0))
    found = Counterexample([0.0], [1.0], [], [], [], "")
    for k, text in enumerate([EVIL, "a'\"`\\\u2028\u2029{{ 1/0 }}{% raw %}", "[('f','a b.onnx'),('g','c.onnx')]"]):
        row = replace(ROW, run=run, onnx=text, vnnlib=text + ".vnnlib", category=text, reason=text, strategy=text)
        mine = replace(row, facts={"inputs": text}, ended=float(k), verdict="sat", packed=pack(found))
        theirs = replace(ROW, run=other, onnx=text, vnnlib=text + ".vnnlib", category=text, packed=None)
        store.add([mine.kept(), theirs.kept()])
    store.close()


def read(text: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found
    return json.loads(found[1])


def test_many_results_fit_into_a_small_page(tmp_path: Path) -> None:
    make(tmp_path / "r.sqlite", 2000)
    text = page(collect(tmp_path / "r.sqlite"))
    told = read(text)
    assert len(told["rows"]) == 2000 and len(text.encode()) < 5e6
    pictures = [r["found"]["picture"] for r in told["rows"] if r["found"]]
    assert sum(bool(p) for p in pictures) > 500
    assert not re.search(r"""(src|href)\s*=\s*["']?(https?:)?//""", text), "something is loaded from elsewhere"


def test_pictures_beyond_the_budget_are_left_out(tmp_path: Path, monkeypatch) -> None:
    make(tmp_path / "r.sqlite", 40)
    monkeypatch.setattr(module, "PICTURES", 6000)
    pictures = [r["found"]["picture"] for r in data(collect(tmp_path / "r.sqlite"))["rows"] if r["found"]]
    assert 0 < sum(map(len, pictures)) <= 6000 and "" in pictures


def test_nothing_in_the_data_ends_the_script(tmp_path: Path) -> None:
    evil(tmp_path / "r.sqlite")
    text = page(collect(tmp_path / "r.sqlite"))
    assert EVIL not in text and "<b class=evil>" not in text
    assert read(text)["rows"][0]["onnx"] == EVIL
    assert json.loads(embedded({"a": [float("nan"), float("inf"), 1.5], "b": "<!--\u2028"})) == {
        "a": [None, None, 1.5],
        "b": "<!--\u2028",
    }
    assert not set("<>&\u2028") & set(embedded("<>&\u2028"))


def test_every_instance_is_told(tmp_path: Path) -> None:
    make(tmp_path / "r.sqlite", 30)
    content = collect(tmp_path / "r.sqlite")
    told = read(page(content))
    for (row, other), shown in zip(content.pairs, told["rows"], strict=True):
        assert (shown["onnx"], shown["vnnlib"], shown["verdict"]) == (row.onnx, row.vnnlib, row.verdict)
        assert told["texts"][shown["reason"]] == row.reason
        assert abs(shown["seconds"] / row.seconds - 1) < 1e-3 and shown["domains"] == row.domains
        assert other is not None and shown["other"]["verdict"] == other.verdict
        assert any("784 inputs" in told["texts"][k] for k in shown["why"])
        assert (shown["found"] is not None) == (row.verdict == "sat")


def test_why_an_instance_is_open() -> None:
    parts = [{"disjunct": 4, "gap": 0.5, "open": 3, "undecided": 17}, {"disjunct": 1, "gap": None, "open": 1}]
    row = Row(1, "c", "a", "b", 10.0, "", "timeout", 10.0, "r", 7, 4, 0.5, facts={"disjuncts": 9}, parts=parts)
    words = explained(row)
    for part in ("2 of 9 disjuncts", "4 parts", "7 were bounded", "0.5 short of a proof", "neurons 17"):
        assert part in words
    assert explained(replace(row, verdict="unsat")) == ""
    nothing = Row(1, "c", "a", "b", 10.0, "", "timeout", 10.0, phases={"load": 1.0, "attack": 8.0})
    assert "Nothing was bounded" in explained(nothing) and "attack" in explained(nothing)
    assert "No bound" in explained(replace(row, gap=None, open=0, parts=[{"disjunct": 0, "gap": None, "open": 1}]))
    assert explained(Row(1, "c", "a", "b", 10.0, "", "error", 1.0)) == "Something went wrong before an answer."


def test_wrong_answers_and_disagreements_are_marked(tmp_path: Path) -> None:
    store = Store(tmp_path / "r.sqlite")
    run, other = store.begin(RUN), store.begin(replace(RUN, tool="other", started=13.0))
    mine, theirs = replace(ROW, run=run, verdict="unsat", expected="sat"), replace(ROW, run=other, verdict="sat")
    store.add([mine.kept(), theirs.kept()])
    store.close()
    content = collect(tmp_path / "r.sqlite")
    text = page(content)
    row = read(text)["rows"][0]
    assert row["wrong"] and row["disagree"] and len(content.disagreements) == 1
    assert text.count('class="bad"') >= 4
    assert "#d0021b" in text[text.index('id="scatter"') :]
