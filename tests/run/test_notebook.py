"""What answers look like in a notebook: short, escaped, with pictures, and with one line of progress."""

from __future__ import annotations

import base64
import io
import re
import sys
from html.parser import HTMLParser
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pytest
from PIL import Image

import verifier
from tests.cli.files import MODEL, ROOT, SAT, UNSAT, dense, hard
from tests.run.test_queries2 import network
from verifier.run import notebook
from verifier.run.certification.points import Status
from verifier.spec.property import Property

BOX = verifier.Box([-0.1, -0.3], [0.1, 0.3])
WIDE = verifier.Box([-1, -3], [1, 3])
DIGITS = str(ROOT / "models/digits_fc.onnx")


class Page(HTMLParser):
    """The tags and the text of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.text = ""
        self.feed(page)
        self.close()

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        self.tags.append(tag)

    def handle_data(self, data: str) -> None:
        self.text += data + "\n"


def digits() -> verifier.Result:
    return verifier.verify(DIGITS, ROOT / "specs/digits_fc_35_large.vnnlib", 60)


def certified() -> Any:
    x = np.random.default_rng(0).random((30, 64))
    y = verifier.load(DIGITS).run(x).argmax(1)
    return verifier.certify(DIGITS, x, y, 0.1, timeout=1)


def everything() -> list[Any]:
    found = certified()
    rng = np.random.default_rng(0)
    net = verifier.load(DIGITS)
    return [
        net,
        digits(),
        digits().witness,
        verifier.verify(MODEL, UNSAT, 60),
        verifier.read(ROOT / "specs/digits_fc_35_large.vnnlib"),
        found,
        *found.points[:3],
        verifier.Box(np.zeros((8, 8)), np.ones((8, 8))),
        verifier.Ball(rng.random(64), np.full(64, 0.1), lo=np.zeros(64), hi=1),
        verifier.robustness(verifier.Ball(rng.random(64), 0.1, norm=2), 3),
        verifier.robustness(verifier.Box(np.zeros(64), np.ones(64)), 3),
        verifier.equivalent(net, DIGITS, verifier.Box(np.zeros(64), np.ones(64)), eps=0.1),
        verifier.lipschitz(MODEL, BOX, timeout=1),
        verifier.monotone(MODEL, BOX, input=1),
        verifier.radii(DIGITS, rng.random((1, 64)), np.array([3]), 0.01, timeout=1)[0],
    ]


def test_a_few_words_and_a_table() -> None:
    for value in everything():
        line, page = repr(value), value._repr_html_()
        assert "\n" not in line and len(line) < 500 and line.startswith(f"{type(value).__name__}(")
        assert len(re.sub(r"base64,[^\"]*", "", page)) < 6000
        seen = Page(page)
        assert seen.tags[0] == "table" and set(seen.tags) <= {
            "table", "caption", "tr", "td", "th", "p", "code", "figure", "img", "figcaption"
        }  # fmt: skip
        assert len(re.findall(r"-?\d+\.\d+", line)) < 30


def test_what_is_said() -> None:
    said = repr(verifier.load(MODEL))
    assert "pendulum.onnx" in said and "[1, 2]" in said and "float32" in said
    result = verifier.verify(MODEL, SAT, 60)
    assert "verdict: sat" in repr(result) and "counterexample: [" in repr(result)
    assert "direction: decreasing" in repr(verifier.monotone(MODEL, BOX, input=1))
    text = Page(certified()._repr_html_()).text
    assert re.search(r"natural\n100.00%", text) and "and 20 more in" in text


def test_names_are_no_markup() -> None:
    evil = "<script>alert(1)</script>\n\x1b[31m&amp;"
    proto = onnx.load_model_from_string(dense([[1.0, 2.0]]))
    proto.graph.name = proto.graph.input[0].name = proto.graph.node[0].input[0] = evil.split("\n", maxsplit=1)[0]
    net = verifier.load(proto)
    prop = verifier.output_property([0, 0], [1, 1], [[([1.0], 0.5)]], evil)
    result = verifier.Result(verifier.Verdict.UNKNOWN, None, evil, {"seconds": 1.0})
    witness = verifier.verify(net, prop, 60).witness
    assert witness is not None
    for value in (net, prop, result, witness):
        assert "\n" not in repr(value) and "\x1b" not in repr(value)
        assert "<script" not in value._repr_html_()
    assert "<script>alert(1)</script>" in Page(prop._repr_html_()).text


def images(page: str) -> list[Image.Image]:
    found = re.findall(r'src="data:image/png;base64,([^"]*)"', page)
    return [Image.open(io.BytesIO(base64.b64decode(data))) for data in found]


def test_a_picture_of_a_counterexample() -> None:
    result = digits()
    (drawn,) = images(result._repr_html_())
    assert drawn.height == 8 and drawn.width == 8 * 3 + 2  # middle, counterexample, difference
    pixels = np.asarray(drawn)
    assert result.witness is not None
    x = result.witness.flat.reshape(8, 8)
    assert (np.diff(x[0]) > 0.2).any() and (np.argmax(x) == np.argmax(pixels[:, 9:17, 0]))
    assert not images(verifier.verify(MODEL, SAT, 60)._repr_html_())  # two numbers are no image
    found = certified()
    shown = images(found._repr_html_())
    assert len(shown) == min(4, found.count(Status.ATTACKED)) > 0
    assert all(im.width == 26 for im in shown)


def test_the_shape_of_a_counterexample(tmp_path: Path) -> None:
    w = digits().witness
    assert w is not None and w.x.shape == (1, 64) and w.flat.shape == (64,) and list(w.inputs) == ["input"]
    assert (verifier.load(DIGITS).run(w.x)[0] == w.y).all()
    assert w.text().startswith("((X_0 ") and w.text().count("X_") == 64
    file = network(tmp_path / "f.onnx", {"a": [1, 2], "b": [1]}, {"c": [2]}, 2)
    low, high = -np.ones(3), np.ones(3)
    w = verifier.verify(file, verifier.output_property(low, high, [[([0.0, 0.0], 1.0)]]), 60).witness
    assert w is not None and w.x.shape == (3,) and {k: v.shape for k, v in w.inputs.items()} == {"a": (1, 2), "b": (1,)}
    assert (np.concatenate([w.inputs["a"][0], w.inputs["b"]]) == w.flat).all()


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """A kernel that notes what is displayed."""
    shown: list[str] = []

    def display(bundle: dict[str, str], raw: bool, display_id: bool = False) -> Any:
        assert raw and list(bundle) == ["text/plain"]
        shown.append(bundle["text/plain"])
        return SimpleNamespace(update=display) if display_id else None

    ipython, module = ModuleType("IPython"), ModuleType("IPython.display")
    ipython.get_ipython = lambda: SimpleNamespace(kernel=object())  # type: ignore[attr-defined]
    module.display = display  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "IPython", ipython)
    monkeypatch.setitem(sys.modules, "IPython.display", module)
    monkeypatch.setattr(notebook, "FIRST", 0.0)
    monkeypatch.setattr(notebook, "AGAIN", 0.0)
    return shown


def test_progress_in_a_kernel(kernel: list[str], tmp_path: Path) -> None:
    model, spec = hard(tmp_path)
    verifier.verify(model, spec, 1)
    assert any("parts bounded" in text for text in kernel) and kernel[-1] == "" and all("\n" not in t for t in kernel)
    for ask, words in (
        (lambda: verifier.lipschitz(MODEL, BOX, timeout=1), "bounding the derivative"),
        (lambda: verifier.monotone(MODEL, BOX, input=1), "bounding the derivative"),
        (lambda: verifier.lipschitz(MODEL, WIDE, timeout=1), "parts bounded"),  # more than one turn
        (certified, "30 of 30 images"),
    ):
        kernel.clear()
        ask()
        assert any(words in text for text in kernel) and kernel[-1] == ""


def test_searches_that_narrow_say_how_many_parts() -> None:
    """`lipschitz` hands in what stands, `monotone` the search itself; before there is one, the phase stands alone."""
    told: list[Any] = []
    verifier.lipschitz(MODEL, WIDE, timeout=1, watch=lambda phase, found: told.append(found))
    for found in (told[-1], told[-1].search):
        assert re.fullmatch(r"searching: [1-9]\d* parts bounded, \d+ open", notebook.narrowing("searching", found))
    assert notebook.narrowing("bounding", None) == notebook.narrowing("bounding", SimpleNamespace()) == "bounding"


def test_no_progress_elsewhere(kernel: list[str], monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    verifier.verify(MODEL, UNSAT, 60, watch=lambda *told: None)  # who watches is not told twice
    monkeypatch.setattr(sys.modules["IPython"], "get_ipython", lambda: SimpleNamespace())  # a terminal's shell
    verifier.verify(MODEL, UNSAT, 60)
    monkeypatch.delitem(sys.modules, "IPython")
    verifier.verify(MODEL, UNSAT, 60)
    with pytest.raises(verifier.UserError):
        verifier.verify("none.onnx", UNSAT, 60)
    assert kernel == [] and capsys.readouterr() == ("", "")


def test_properties_print_short() -> None:
    n = 3000
    prop = verifier.output_property(np.zeros(n), np.ones(n), [[(np.ones(5), float(k))] for k in range(200)])
    assert isinstance(prop, Property) and len(repr(prop)) < 200
    assert "2,988 more" in prop._repr_html_()
