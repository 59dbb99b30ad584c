"""Replaying a counterexample: with zero tolerance, without the verifier."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from tests.cli.files import MODEL, SAT, dense, spec
from vnncomp.replay import CORRECT, TOLERATED, UNSUPPORTED, replay


def ask(folder: Path, asserts: str, text: str, box: tuple[float, float] = (-1, 1)) -> str:
    """The network is the sum of its two inputs."""
    (folder / "n.onnx").write_bytes(dense([[1.0, 1.0]]))
    (folder / "p.vnnlib").write_text(spec(asserts, box=box))
    return replay(folder / "n.onnx", folder / "p.vnnlib", text)


def says(*x: float, word: str = "sat") -> str:
    return f"{word}\n(" + "\n".join(f"(X_{i} {v!r})" for i, v in enumerate(x)) + "\n(Y_0 99))"


@pytest.mark.parametrize(
    ("asserts", "x", "answer"),
    [
        ("(assert (>= Y_0 1.5))", (1.0, 0.5), CORRECT),
        ("(assert (> Y_0 1.5))", (1.0, 0.5), "not a counterexample"),
        ("(assert (>= Y_0 1.50001))", (1.0, 0.5), "not a counterexample"),
        ("(assert (<= Y_0 99))", (1.00005, 0.5), TOLERATED),
        ("(assert (<= Y_0 99))", (1.0002, 0.5), "not a counterexample"),
        ("(assert (or (and (<= Y_0 -5)) (and (>= Y_0 0.5) (<= X_0 0.0))))", (0.0, 0.5), CORRECT),
        ("(assert (or (and (<= Y_0 -5)) (and (>= Y_0 0.5) (<= X_0 -0.5))))", (0.0, 0.5), "not a counterexample"),
        ("(assert (>= (+ Y_0 (* 2.0 X_0)) 2.0))", (1.0, 0.0), CORRECT),
        ("(assert (>= (- Y_0 X_0) 0.75))", (1.0, 0.5), "not a counterexample"),
        ("(assert (>= (- Y_0) (- 1.0 3.0)))", (1.0, 1.0), CORRECT),
    ],
)
def test_what_holds(asserts: str, x: tuple[float, float], answer: str, tmp_path: Path) -> None:
    assert ask(tmp_path, asserts, says(*x)) == answer


def test_the_input_is_rounded_and_its_bounds_are_read_in_its_type(tmp_path: Path) -> None:
    """0.1 has no float32; the nearest one is above it and is what stands for it."""
    assert ask(tmp_path, "(assert (>= Y_0 0.0))", says(float(np.float32(0.1)), 0.1), (0.1, 0.1)) == CORRECT


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("sat\n", "missing"), ("", "missing"), (says(1.0, 1.0, word="unsat"), "missing"), (says(1.0), "malformed"),
        (says(1.0, 1.0, 1.0), "malformed"), (says(float("nan"), 1.0), "malformed"),
        ("sat\n((X_1 1.0)(X_0 1.0)(Y_0 2.0))", "malformed"),
    ],
)  # fmt: skip
def test_what_is_no_counterexample(text: str, answer: str, tmp_path: Path) -> None:
    assert ask(tmp_path, "(assert (>= Y_0 0.0))", text).startswith(answer)


def test_what_it_does_not_know_is_said(tmp_path: Path) -> None:
    assert ask(tmp_path, "(assert (=> Y_0 0.0))", says(1.0, 1.0)) == UNSUPPORTED
    assert ask(tmp_path, "(assert (>= Y[0,0] 0.0))", says(1.0, 1.0)) == UNSUPPORTED


def test_what_the_verifier_writes_holds(tmp_path: Path) -> None:
    from verifier.cli.app import run

    net, prop = tmp_path / "n.onnx.gz", tmp_path / "p.vnnlib.gz"
    net.write_bytes(gzip.compress(Path(MODEL).read_bytes()))
    prop.write_bytes(gzip.compress(Path(SAT).read_bytes()))
    assert run(["verify", str(net), str(prop), "--results", str(tmp_path / "r"), "--quiet"]) == 0
    assert replay(net, prop, (tmp_path / "r").read_text()) == CORRECT
