"""The page for one answer of `verify`."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from tests.cli.files import MODEL, ROOT, SAT, UNSAT
from tests.report.browser import browser, visit
from tests.report.test_page import read
from verifier import __version__
from verifier.cli.app import run
from verifier.report.single import answer_page

DIGITS = [str(ROOT / "models/digits_fc.onnx"), str(ROOT / "specs/digits_fc_35_large.vnnlib")]


def test_an_answer_and_what_it_is_of(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    page, facts = tmp_path / "p.html", tmp_path / "j"
    assert run(["verify", *DIGITS, "--quiet", "--report", str(page), "--json", str(facts)]) == 0
    assert capfd.readouterr().out.startswith("sat\n")
    text = page.read_text(encoding="utf-8")
    (row,) = read(text)["rows"]
    constraints = json.loads(facts.read_text())["witness"]["constraints"]
    assert row["verdict"] == "sat" and row["found"]["picture"] and row["found"]["constraints"] == constraints
    assert len(constraints) == 1 and " >= Y_5  (" in constraints[0]  # the class that it becomes, above its own
    for file in DIGITS:
        assert file in text and hashlib.sha256(Path(file).read_bytes()).hexdigest() in text
    assert f"verifier {__version__}" in text and "<svg" not in text


def test_what_is_open(tmp_path: Path) -> None:
    for spec, verdict in ((UNSAT, "unsat"), (SAT, "timeout")):
        more = ["--timeout", "0"] if verdict == "timeout" else []
        if more:  # the clock would end the process
            asked = {"model": {"f": MODEL}, "spec": spec, "timeout": 1.5, "device": "auto"}
            text = answer_page(asked, "timeout", "out of time", {"seconds": 1.5, "open": 7, "gap": None}, None)
        else:
            assert run(["verify", MODEL, spec, "--quiet", "--report", str(tmp_path / "p.html")]) == 0
            text = (tmp_path / "p.html").read_text()
        (row,) = read(text)["rows"]
        assert row["verdict"] == verdict and row["found"] is None and row["reason"] is not None


@pytest.mark.skipif(browser() is None, reason="no Chromium here: apt-get install chromium")
def test_in_a_browser(tmp_path: Path) -> None:
    assert run(["verify", *DIGITS, "--quiet", "--report", str(tmp_path / "p.html")]) == 0
    script = "return [document.querySelectorAll('tr.details').length, document.body.innerText];"
    (details, text), errors = visit(tmp_path / "p.html", script)
    assert details == 1 and errors == []
    for words in ("sat: digits_fc_35_large.vnnlib on digits_fc", "What decided it", "Counterexample", "SHA-256 of"):
        assert words in text
    assert "By benchmark" not in text and "Instances" not in text and "null" not in text and "undefined" not in text
