"""The competition's rules, on answers made up for each of them."""

from __future__ import annotations

from pathlib import Path

import pytest

from vnncomp.score import CORRECT, TOLERATED, TRUSTED, UNSUPPORTED, Answer, Instance, answers, points, scores, table

NONE = Answer("timeout", 60.0)


def one(a: Answer, b: Answer = NONE) -> tuple[int, int]:
    i = Instance("x", 60.0, {"a": a, "b": b})
    return points(i, "a"), points(i, "b")


@pytest.mark.parametrize(
    ("a", "score"),
    [
        (Answer("unsat", 1.0), 10),
        (Answer("unsat", 60.1), 0),
        (Answer("sat", 60.0, CORRECT), 10),
        (Answer("sat", 60.1, CORRECT), 0),
        (Answer("sat", 1.0, TOLERATED), 10),
        (Answer("sat", 1.0, TRUSTED), 10),
        (Answer("sat", 1.0, UNSUPPORTED), 0),
        (Answer("sat", 1.0, "missing: no counterexample"), -150),
        (Answer("sat", 1.0, "not a counterexample"), -150),
        (Answer("sat", 1.0), -150),
        *((Answer(word, 1.0), 0) for word in ("timeout", "unknown", "error", "no_result_in_file", "")),
    ],
)
def test_an_answer_alone(a: Answer, score: int) -> None:
    assert one(a) == (score, 0)


def test_a_counterexample_refutes_only_where_it_is_exact_and_in_time() -> None:
    unsat = Answer("unsat", 1.0)
    assert one(unsat, Answer("sat", 1.0, CORRECT)) == (-150, 10)
    assert one(unsat, Answer("sat", 1.0, TRUSTED)) == (-150, 10)
    assert one(unsat, Answer("sat", 1.0, TOLERATED)) == (10, 10)
    assert one(unsat, Answer("sat", 1.0, "not a counterexample")) == (10, -150)
    assert one(unsat, Answer("sat", 61.0, CORRECT)) == (10, 0)


def test_the_best_tool_of_a_benchmark_has_100() -> None:
    good, none, bad = Answer("unsat", 1.0), Answer("timeout", 60.0), Answer("sat", 1.0, "malformed")
    some = [
        Instance("x", 60.0, {"a": good, "b": good}), Instance("x", 60.0, {"a": good, "b": none}),
        Instance("y", 60.0, {"a": none, "b": none}), Instance("z", 60.0, {"a": bad, "b": none}),
    ]  # fmt: skip
    assert scores(some, ["a", "b"]) == {
        "x": {"a": 100.0, "b": 50.0}, "y": {"a": 0.0, "b": 0.0}, "z": {"a": -150.0, "b": 0.0}
    }  # fmt: skip
    lines = table(some, ["a", "b"]).splitlines()
    assert lines[2] == "| x | 2 | 100.0 | 2 | 0 | 50.0 | 1 | 0 |"
    assert lines[-1] == "| all | 4 | -50.0 | 2 | 1 | 50.0 | 1 | 0 |"


def test_answers_from_columns_and_from_a_folder(tmp_path: Path) -> None:
    row = {"benchmark": "x", "onnx": "a.onnx", "vnnlib": "p.vnnlib", "v": "sat", "s": ""}
    assert answers("v,s", [row], tmp_path) == [Answer("sat", 0.0, TRUSTED)]
    (tmp_path / "results.csv").write_text("x,a.onnx,p.vnnlib,0.1,unsat,1.5\n")
    other = {**row, "onnx": "b.onnx"}
    assert answers(str(tmp_path), [row, other], tmp_path) == [Answer("unsat", 1.5), Answer("", 0.0)]
