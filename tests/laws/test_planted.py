"""A slice of `benchmarks/planted.py`: no `unsat` of a question that has a counterexample."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
import pytest

import verifier
from benchmarks import lattices, planted
from verifier.graph.ops import affine

from .onnx_models import Case

SLICE = (
    "island int32",
    "island float16",
    "Abs",
    "Clip",
    "Conv",
    "Div",
    "Floor",
    "Gather",
    "GRU",
    "MaxPool",
    "Resize",
    "Softmax",
    "Where",
    planted.LATTICE,
)


@pytest.mark.parametrize("op", SLICE)
def test_no_planted_counterexample_is_missed(op: str) -> None:
    """Whatever comes out but a verdict that is not earned, or a fault."""
    _, counts, said = planted.sweep(op, 3, 4, 0.1, None)
    assert not said, "\n".join(said)
    assert set(counts) <= {"unknown", "timeout", "refused"} and counts.total() >= 1


def test_the_question_holds_at_the_planted_point_and_nobody_looks_for_it(tmp_path: Path) -> None:
    """With its eyes open `verify` finds what it must not find with them closed; afterwards they are open again."""
    case = Case([1, 3])
    case.node("Relu", "x")
    q = next(q for k in range(99) if (q := planted.planted(case, np.random.default_rng(k))) is not None)
    assert planted.ask(q, 0.2, tmp_path)[0] in ("unknown", "timeout")
    assert verifier.verify(tmp_path / "model.onnx", tmp_path / "property.vnnlib", timeout=20).verdict == "sat"


@pytest.mark.parametrize("op", ["Relu", planted.LATTICE])
def test_an_error_of_the_bounds_is_seen(op: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Biases that are far too large, and no comparison with the original: some question must come out `unsat`."""
    bias = affine.Dense.bias

    def wrong(op: affine.Dense) -> object:
        b = bias(op)
        return None if b is None else b + 10.0 * np.abs(b).max()

    case = Case([1, 3])
    case.node("Relu", "x")
    monkeypatch.setattr("verifier.run.model.from_onnx.check", lambda *_: None)
    monkeypatch.setattr(affine.Dense, "bias", wrong)
    seen: Counter[str] = Counter()
    for k in range(12):
        rng = np.random.default_rng(k)
        if op == planted.LATTICE:
            made = lattices.question(rng)
            q = None if made is None else planted.Planted(*made)
        else:
            q = planted.planted(case, rng)
        if q is not None:
            seen[planted.ask(q, 0.2, tmp_path)[0]] += 1
    assert seen["unsat"], seen
