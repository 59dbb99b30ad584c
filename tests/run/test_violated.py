"""What a counterexample does to the constraints of its property."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import verifier
from tests.cli.files import dense, spec
from verifier.run.violated import constraints
from verifier.spec.vnnlib import read
from verifier.spec.witness import Witness


@pytest.mark.parametrize(
    ("asserted", "told"),
    [
        ("(>= Y_0 Y_1)", "Y_0 >= Y_1  (0.6 >= 0.3)"),
        ("(<= Y_1 Y_0)", "Y_0 >= Y_1  (0.6 >= 0.3)"),
        ("(> Y_0 Y_1)", "Y_0 > Y_1  (0.6 > 0.3)"),
        ("(>= Y_0 0.5)", "Y_0 >= 0.5  (0.6 >= 0.5)"),
        ("(<= Y_0 0.75)", "Y_0 <= 0.75  (0.6 <= 0.75)"),
        ("(> Y_0 -7.0)", "Y_0 > -7  (0.6 > -7)"),
        ("(< (- Y_0 Y_1) 7.0)", "Y_1 + 7 > Y_0  (7.3 > 0.6)"),
        ("(>= (+ Y_0 X_1) (+ (* 2.0 Y_1) 0.125))", "Y_0 + X_1 >= 2 Y_1 + 0.125  (0.8 >= 0.725)"),
        ("(>= (+ Y_0 0.25) (* 2.0 Y_1))", "Y_0 + 0.25 >= 2 Y_1  (0.85 >= 0.6)"),
    ],
)
def test_in_words_and_numbers(asserted: str, told: str, tmp_path: Path) -> None:
    (tmp_path / "p.vnnlib").write_text(spec(f"(assert {asserted})", 2, 2))
    prop = read(tmp_path / "p.vnnlib")
    assert constraints(prop, Witness(np.array([0.1, 0.2]), np.array([0.6, 0.3]), 0)) == [told]


def test_the_disjunct_that_holds(tmp_path: Path) -> None:
    """Also where the witness has another's number; none where none holds."""
    either = "(assert (or (and (<= Y_0 -1.0) (<= Y_1 -2.0)) (and (>= Y_0 Y_1) (>= Y_1 0.25))))"
    (tmp_path / "p.vnnlib").write_text(spec(either, 2, 2))
    prop = read(tmp_path / "p.vnnlib")
    x, y = np.zeros(2), np.array([0.6, 0.3])
    for j in (0, 1, 7):
        assert sorted(constraints(prop, Witness(x, y, j))) == ["Y_0 >= Y_1  (0.6 >= 0.3)", "Y_1 >= 0.25  (0.3 >= 0.25)"]
    assert constraints(prop, Witness(x, -y, 0)) == []


def test_of_a_query_by_its_names(tmp_path: Path) -> None:
    (tmp_path / "n.onnx").write_bytes(dense([[1.0, 1.0]]))
    text = (
        "(vnnlib-version <2.0>)\n(declare-network f (declare-input A real [1, 2]) (declare-output B real [1, 1]))\n"
        "(assert (and (>= A[0,0] 0.25) (<= A[0,0] 1.0) (>= A[0,1] 0.5) (<= A[0,1] 1.0)))\n(assert (>= B[0,0] 1.5))\n"
    )
    (tmp_path / "q.vnnlib").write_text(text)
    found = verifier.verify(tmp_path / "n.onnx", tmp_path / "q.vnnlib", timeout=20)
    assert found.witness is not None
    (told,) = constraints(read(tmp_path / "q.vnnlib"), found.witness)
    assert told.startswith("B[0,0] >= 1.5  (")


def test_many_constraints_and_long_sums_are_cut(tmp_path: Path) -> None:
    many = "".join(f"(assert (>= Y_{k} -1.0))" for k in range(20))
    (tmp_path / "p.vnnlib").write_text(
        spec(many + f"(assert (<= (+ {' '.join(f'Y_{k}' for k in range(20))}) 50.0))", 1, 20)
    )
    told = constraints(read(tmp_path / "p.vnnlib"), Witness(np.zeros(1), np.ones(20), 0))
    assert len(told) == 13 and told[-1] == "… and 9 more" and all(len(t) < 80 for t in told)
