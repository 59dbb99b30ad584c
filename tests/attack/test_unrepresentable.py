"""Inputs fixed at decimals that the model's type does not have: see docs/design.md, "Witnesses"."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import verifier
from tests.laws.cases import Net, stack
from verifier.graph.ops.affine import Dense

TENTH = float(np.float32(0.1))  # 0.10000000149…


def decide(folder: Path, lower: str, upper: str, least: str) -> verifier.Result:
    """Can Y_0 = X_0 reach `least` where `lower <= X_0 <= upper`?"""
    path = folder / "p.vnnlib"
    path.write_text(
        "(declare-const X_0 Real)(declare-const Y_0 Real)"
        f"(assert (>= X_0 {lower}))(assert (<= X_0 {upper}))(assert (>= Y_0 {least}))"
    )
    identity = Net(stack([Dense(np.eye(1)), Dense(np.eye(1))]))  # relu(x) = x here
    return verifier.verify(identity, path, timeout=10)


def test_the_nearest_number_stands_for_it(tmp_path: Path) -> None:
    result = decide(tmp_path, "0.1", "0.1", "0.09")
    assert result.verdict == "sat" and result.witness.flat[0] == TENTH


def test_rounding_alone_is_no_counterexample(tmp_path: Path) -> None:
    """0.1 as a float32 reaches 0.1000000011, but 0.1 does not."""
    assert decide(tmp_path, "0.1", "0.1", "0.1000000011").verdict == "unsat"


@pytest.mark.parametrize("upper", ["0.10000001", "0.1000000015"])
def test_inside_where_there_is_a_number(tmp_path: Path, upper: str) -> None:
    result = decide(tmp_path, "0.1", upper, "0.09")
    assert result.verdict == "sat" and 0.1 <= result.witness.flat[0] <= float(upper)
