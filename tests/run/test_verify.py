"""`verifier.verify` and `verifier.load` as the README shows them."""

from __future__ import annotations

import gzip
import os
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import verifier
from tests.cli.files import MODEL, ROOT, SAT, UNSAT, dense, holds, outputs, spec
from verifier.search.outcome import Progress
from verifier.spec.builders import output_property
from verifier.spec.witness import admissible, satisfies

DIGITS = ROOT / "models/digits_fc.onnx"


def test_public_names() -> None:
    assert set(verifier.__all__) < set(dir(verifier)) and "__version__" in dir(verifier)
    for name in verifier.__all__:
        assert getattr(verifier, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'prove'"):
        verifier.prove  # noqa: B018


def test_verdicts_are_the_four_words() -> None:
    assert [str(v) for v in verifier.Verdict] == [v.value for v in verifier.Verdict]
    assert {v.name.lower(): v.value for v in verifier.Verdict} == {w: w for w in ("sat", "unsat", "unknown", "timeout")}


def test_files() -> None:
    result = verifier.verify(MODEL, UNSAT)
    assert result.verdict is verifier.Verdict.UNSAT and result.witness is None and result.certificate is None
    assert result.reason and "\n" not in result.reason
    assert 0 < sum(result.stats["phases"].values()) <= result.stats["seconds"] + 1e-3


@pytest.mark.parametrize("make", [str, Path, lambda p: verifier.read(p)])
def test_a_counterexample_holds(make: Any) -> None:
    result = verifier.verify(verifier.load(MODEL), make(SAT), timeout=60)
    assert result.verdict == "sat"
    w = result.witness
    assert w.x.shape == (1, 2) and (w.x.astype(np.float32) == w.x).all()
    assert outputs(MODEL, w.x) == w.y.tolist() and holds(SAT, w.flat.tolist(), w.y.tolist())


def test_compressed_model(tmp_path: Path) -> None:
    path = tmp_path / "n.onnx.gz"
    path.write_bytes(gzip.compress(Path(MODEL).read_bytes()))
    assert verifier.verify(path, UNSAT).verdict == "unsat"


@pytest.mark.parametrize("as_box", [True, False])
@pytest.mark.parametrize("eps", [1e-3, 0.3])
def test_robustness(as_box: bool, eps: float) -> None:
    net = verifier.load(DIGITS)
    x = np.random.default_rng(3).uniform(0.4, 0.6, 64).astype(np.float32).astype(np.float64)
    label = int(np.argmax(outputs(str(DIGITS), x)))
    region = verifier.Box(x - eps, x + eps) if as_box else verifier.Ball(x, eps)
    result = verifier.verify(net, verifier.robustness(region, label=label), timeout=60)
    assert result.verdict == ("unsat" if eps < 0.01 else "sat")
    if result.witness is not None:
        assert (abs(result.witness.flat - x) <= eps).all()
        y = outputs(str(DIGITS), result.witness.flat)
        assert max(y[:label] + y[label + 1 :]) >= y[label]


def test_the_range_of_a_ball_is_kept() -> None:
    x = np.full(64, 0.05)
    ball = verifier.Ball(x, 0.6, lo=0, hi=1)
    label = (int(np.argmax(outputs(str(DIGITS), x))) + 1) % 10  # the wrong one: any input will do
    result = verifier.verify(DIGITS, verifier.robustness(ball, label))
    assert result.verdict == "sat" and result.witness.flat.min() >= 0 and result.witness.flat.max() <= 1


def test_a_property_of_our_own() -> None:
    reachable = output_property([-1, -1], [1, 1], [[([1.0], -1e3)], [([-1.0], 0.0)]])
    result = verifier.verify(MODEL, reachable)
    assert result.verdict == "sat" and result.witness.disjunct == 1
    lower, upper = admissible(reachable, np.array([0]), "float32")
    assert (lower <= result.witness.flat).all() and (result.witness.flat <= upper).all()
    assert satisfies(reachable, 1, result.witness.flat, result.witness.y)
    assert verifier.verify(MODEL, output_property([-1, -1], [1, 1], [[([1.0], -1e3)]])).verdict == "unsat"


def test_a_single_point() -> None:
    y = outputs(MODEL, [0.25, 0.5])[0]
    for d, verdict in ((y + 1e-3, "sat"), (y - 1e-3, "unsat")):
        assert verifier.verify(MODEL, output_property([0.25, 0.5], [0.25, 0.5], [[([1.0], d)]])).verdict == verdict


def test_torch_module() -> None:
    import torch

    torch.manual_seed(0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 8), torch.nn.ReLU(), torch.nn.Linear(8, 2))
    net = verifier.load(module, torch.zeros(1, 3))
    x = torch.tensor([0.1, -0.2, 0.3])
    label = int(module(x[None]).argmax())
    assert verifier.verify(net, verifier.robustness(verifier.Ball(x, 1e-4), label)).verdict == "unsat"
    result = verifier.verify(net, verifier.robustness(verifier.Ball(x, 1e-4), 1 - label))
    assert result.verdict == "sat"
    y = module(torch.tensor(result.witness.flat, dtype=torch.float32)[None])[0].detach().numpy()
    np.testing.assert_array_equal(y, result.witness.y)


def test_two_questions_at_once() -> None:
    """Nothing is shared between runs, not even where they share a network."""
    net = verifier.load(MODEL)
    jobs = [(net, UNSAT, "unsat"), (net, SAT, "sat"), (MODEL, UNSAT, "unsat"), (MODEL, SAT, "sat")] * 3
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda job: verifier.verify(job[0], job[1], timeout=60), jobs))
    assert [str(r.verdict) for r in results] == [verdict for _, _, verdict in jobs]
    first = results[1].witness
    for r in results:
        if r.witness is not None:
            assert r.witness.x.tolist() == first.x.tolist() and r.witness.y.tolist() == first.y.tolist()


def test_nothing_global_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)

    def state() -> list[Any]:
        seed = np.random.get_state()[1].tolist()  # noqa: NPY002
        return [os.getcwd(), dict(os.environ), np.geterr(), seed, list(warnings.filters), np.get_printoptions()]

    before = state()
    verifier.verify(MODEL, UNSAT)
    verifier.verify(MODEL, SAT)
    verifier.bound(MODEL, verifier.Box([-1, -1], [1, 1]))
    assert state() == before
    assert list(tmp_path.iterdir()) == []


def test_what_is_watched() -> None:
    seen: list[tuple[str, Any]] = []
    verifier.verify(MODEL, UNSAT, watch=lambda phase, progress: seen.append((phase, progress)))
    assert seen[0] == ("looking for a counterexample", None)
    assert seen[-1][0] == "searching" and seen[-1][1].open == 0 and seen[-1][1].bounded > 0


@pytest.mark.parametrize("timeout", [0, 0.0])
def test_no_time(timeout: float) -> None:
    result = verifier.verify(MODEL, UNSAT, timeout)
    assert result.verdict is verifier.Verdict.TIMEOUT and "out of time" in result.reason


def test_where_a_search_stood_in_words() -> None:
    assert Progress(bounded=3, open=1200, worst=0.25).late.endswith("1,200 parts are open, the largest gap is 0.25")
    assert Progress().late == "out of time before the first bounds were complete"


def test_contradiction(tmp_path: Path) -> None:
    (tmp_path / "p.vnnlib").write_text(spec("(assert (>= X_0 2))(assert (>= Y_0 0))"))
    result = verifier.verify(MODEL, tmp_path / "p.vnnlib")
    assert result.verdict == "unsat" and "contradicts itself" in result.reason


X = np.zeros(64)
WRONG: list[tuple[Any, str]] = [
    (lambda: verifier.load("none.onnx"), "none.onnx: no such file"),
    (lambda: verifier.load(5), "int: give a file"),
    (lambda: verifier.load(5, np.zeros(3)), "int"),
    (lambda: verifier.verify(MODEL, "none.vnnlib"), "none.vnnlib: no such file"),
    (lambda: verifier.verify(MODEL, 7), "int is not a property"),
    (lambda: verifier.verify(MODEL, UNSAT, timeout=-1), "timeout -1: give"),
    (lambda: verifier.verify(MODEL, UNSAT, timeout=float("nan")), "timeout nan: give"),
    (lambda: verifier.verify(MODEL, UNSAT, device="tpu"), "'tpu': use one of auto, cpu, cuda"),
    (lambda: verifier.verify(DIGITS, UNSAT), "2 input variables, but .*64 inputs"),
    (lambda: verifier.verify(MODEL, output_property([0, 0], [1, 1], [[([1, 1], 0)]])), "2 output variables, but"),
    (lambda: verifier.verify(DIGITS, verifier.robustness(verifier.Ball(X, 0.1), 10)), "label 10 of 10"),
    (lambda: verifier.verify(DIGITS, verifier.robustness(verifier.Box(X, X), -1)), "label -1: give"),
    (lambda: verifier.verify(DIGITS, verifier.robustness(verifier.Ball(X[:3], 0.1), 1)), "3 input variables"),
    (lambda: verifier.Box([0, 0], [1]), "lower has 2 entries and upper 1"),
    (lambda: verifier.Box([0, 2], [1, 1]), "lower exceeds upper at entry 1"),
    (lambda: verifier.Box([0, np.nan], [1, 1]), "lower: it must hold finite numbers"),
    (lambda: verifier.Box(["a"], [1]), "lower: not an array of numbers"),
    (lambda: verifier.Ball([0], -1), "eps -1: give"),
    (lambda: verifier.Ball([0], np.inf), "eps: it must hold finite numbers"),
    (lambda: verifier.Ball([0, 0, 0], 1, hi=[1, 1]), "hi has 2 entries, the center 3"),
    (lambda: verifier.Ball([0], 1, norm=3), "norm 3 is not supported"),
]


@pytest.mark.parametrize(("use", "message"), WRONG)
def test_misuse(use: Any, message: str) -> None:
    with pytest.raises(verifier.UserError, match=message) as error:
        use()
    assert isinstance(error.value, verifier.VerifierError) and "\n" not in str(error.value)


def test_importing_costs_nothing() -> None:
    code = (
        "import sys; import verifier; print([m for m in ('numpy', 'torch', 'onnx', 'onnxruntime') if m in sys.modules])"
    )
    process = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert process.stdout == "[]\n"


def test_a_wide_network_in_the_time_given(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    (tmp_path / "n.onnx").write_bytes(dense(rng.normal(size=(150, 8)), rng.normal(size=(150, 150)), np.ones((1, 150))))
    (tmp_path / "p.vnnlib").write_text(spec("(assert (<= Y_0 0.001))", 8))
    result = verifier.verify(tmp_path / "n.onnx", tmp_path / "p.vnnlib", timeout=0.8)
    assert result.verdict in ("timeout", "unsat", "sat") and result.stats["seconds"] < 3
