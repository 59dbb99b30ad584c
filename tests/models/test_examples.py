"""The committed examples are what their scripts make, small, and have the verdicts that `instances.csv` says."""

import csv
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from models.export import difference
from specs import demo, exact, make
from verifier.campaign.rows import rows as read_rows

ROOT = Path(__file__).resolve().parents[2]
MODELS = ("digits_fc", "digits_conv", "pendulum")
QUICK = (
    "digits_fc_45_small",
    "digits_fc_75_centre",
    "pendulum_pushes_back",
    "pendulum_line_unsat",
    "pendulum_line_sat",
)


@pytest.mark.parametrize("script", ["digits", "pendulum"])
def test_training_again_gives_the_committed_weights(script: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", f"models.{script}", "--check"], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "same" in run.stdout


def test_a_changed_weight_is_seen() -> None:
    model, other = onnx.load(ROOT / "models/pendulum.onnx"), onnx.load(ROOT / "models/pendulum.onnx")
    assert difference(model, other) == 0
    values = onnx.numpy_helper.to_array(other.graph.initializer[0]).copy()
    values.flat[5] += 0.01
    other.graph.initializer[0].CopyFrom(onnx.numpy_helper.from_array(values, other.graph.initializer[0].name))
    assert difference(model, other) == pytest.approx(0.01, rel=1e-4)


def test_the_properties_are_what_the_script_makes() -> None:
    for name, content in make.files().items():
        assert (ROOT / "specs" / name).read_text() == content, name
    assert {p.name for p in (ROOT / "specs").glob("*.vnnlib")} < set(make.files())


def test_examples_are_small_and_have_both_verdicts() -> None:
    for path in [*(ROOT / "models").glob("*.onnx"), *(ROOT / "specs").glob("*.vnnlib")]:
        assert path.stat().st_size < 100_000
    with open(ROOT / "specs/instances.csv", newline="") as table:
        rows = list(csv.DictReader(table))
    for model in MODELS:
        assert {r["expected"] for r in rows if r["model"] == f"models/{model}.onnx"} == {"sat", "unsat"}
    assert all((ROOT / r["model"]).exists() and (ROOT / r["spec"]).exists() for r in rows)


@pytest.mark.parametrize("name", MODELS)
def test_the_exact_program_computes_the_network(name: str) -> None:
    """The layers that the exact answer is worked out on give what onnxruntime gives."""
    layers = exact.layers(ROOT / f"models/{name}.onnx")
    for x in np.random.default_rng(0).uniform(-1, 1, (20, layers[0][0].shape[1])):
        h = x
        for i, (weight, bias) in enumerate(layers):
            h = weight @ h + bias
            h = np.maximum(h, 0) if i < len(layers) - 1 else h
        assert np.abs(h - exact.replay(ROOT / f"models/{name}.onnx", x)).max() < 1e-4


@pytest.mark.filterwarnings("default")
@pytest.mark.parametrize("question", [q for q in make.questions() if q.name in QUICK], ids=lambda q: q.name)
def test_expected_verdict_is_exact(question: make.Question) -> None:
    verdict, margin = make.prove(question)
    assert verdict == question.expected
    assert margin >= make.CLEAR


def test_the_demo_shows_verdicts_a_counterexample_and_a_page(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert demo.main(tmp_path) == 0
    out = capsys.readouterr().out
    assert all(q.name in out for q in make.questions())
    assert "largest change of a pixel" in out
    assert "WRONG" not in out
    assert out.splitlines()[-1].endswith(f"for a browser: {tmp_path / 'report.html'}")
    page = (tmp_path / "report.html").read_text()
    assert all(q.name in page for q in make.questions())
    rows = read_rows(tmp_path / "runs.sqlite", 1)
    assert [r.verdict for r in rows] == [q.expected for q in make.questions()]


def test_the_demo_fails_on_a_wrong_verdict(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    listing = tmp_path / "instances.csv"
    names = ("digits_fc_75_centre,60,unsat", "digits_fc_35_large,60,unsat")
    listing.write_text(
        "".join(f"{ROOT}/models/digits_fc.onnx,{ROOT}/specs/{n.replace(',', '.vnnlib,', 1)}\n" for n in names)
    )
    assert demo.main(tmp_path, listing) == 1
    out = capsys.readouterr().out
    assert "1 of 2 verdicts" in out and "WRONG" in out
    assert demo.main(tmp_path, listing) == 1  # nothing is kept from before
    assert "1 of 2 verdicts" in capsys.readouterr().out
