"""Input that cannot be used: one clear line on standard error, nothing on standard output, status 2, no file."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import helper

from tests.cli.files import MODEL, SAT, UNSAT, dense, model, spec
from verifier.cli.app import run

GOOD = dense([[1.0, -1.0]])


@pytest.fixture
def refused(capfd: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Run `verify` and check the refusal; returns the line."""

    def check(net: Any, prop: Any, *words: str, options: tuple[str, ...] = ()) -> None:
        results = tmp_path / "results" / "out.txt"
        results.parent.mkdir(exist_ok=True)
        if "--results" not in options:
            options += ("--results", str(results))
        assert run(["verify", str(net), str(prop), *options]) == 2
        out, err = capfd.readouterr()
        assert out == ""
        assert err.startswith("verifier: ") and err.endswith("\n") and err.count("\n") == 1, err
        assert "Traceback" not in err
        for word in words:
            assert word in err, err
        assert list(results.parent.iterdir()) == []

    return check


@pytest.fixture
def save(tmp_path: Path) -> Any:
    def write(content: bytes | str, name: str = "net.onnx") -> Path:
        path = tmp_path / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    return write


@pytest.fixture
def prop(save: Any) -> Path:
    return save(spec("(assert (>= Y_0 0))"), "p.vnnlib")


# Models


def test_missing_model(refused: Any, prop: Path, tmp_path: Path) -> None:
    refused(tmp_path / "none.onnx", prop, "none.onnx", "no such file")


@pytest.mark.parametrize("name", ["net.onnx", "net.onnx.gz"])
def test_empty_model(refused: Any, save: Any, prop: Path, name: str) -> None:
    refused(save(b"", name), prop, name, "empty")


def test_truncated_model(refused: Any, save: Any, prop: Path) -> None:
    refused(save(GOOD[: len(GOOD) // 2]), prop, "net.onnx", "truncated")


@pytest.mark.parametrize("kept", [-9, 20])
def test_gzip_damaged_model(refused: Any, save: Any, prop: Path, kept: int) -> None:
    refused(save(gzip.compress(GOOD)[:kept], "net.onnx.gz"), prop, "net.onnx.gz", "gzip")


@pytest.mark.parametrize("content", [b"hello\n", bytes(range(256)) * 9, b"\x89PNG\r\n\x1a\n" * 40])
def test_model_that_is_none(refused: Any, save: Any, prop: Path, content: bytes) -> None:
    refused(save(content), prop, "net.onnx", "not an ONNX model")


def test_folder_as_model(refused: Any, prop: Path, tmp_path: Path) -> None:
    refused(tmp_path, prop, str(tmp_path), "is a folder")


def test_model_without_input(refused: Any, save: Any, prop: Path) -> None:
    net = model([helper.make_node("Relu", ["c"], ["y"])], {"c": [[1.0]]}, {}, {"y": [1, 1]})
    refused(save(net), prop, "net.onnx", "input")


@pytest.mark.parametrize("n", [2, 5])
def test_property_for_one_of_two_inputs(refused: Any, save: Any, n: int) -> None:
    nodes = [helper.make_node("Add", ["a", "b"], ["s"]), helper.make_node("Gemm", ["s", "W"], ["y"])]
    net = model(nodes, {"W": [[1.0], [1.0]]}, {"a": [1, 2], "b": [1, 2]}, {"y": [1, 1]})
    refused(save(net), save(spec("(assert (>= Y_0 0))", n), "p.vnnlib"), f"{n} input variables", "net.onnx", "4 inputs")


def test_property_for_one_of_two_outputs(refused: Any, save: Any) -> None:
    nodes = [helper.make_node("Relu", ["x"], ["y"]), helper.make_node("Gemm", ["x", "W"], ["z"])]
    net = model(nodes, {"W": [[1.0], [1.0]]}, {"x": [1, 2]}, {"y": [1, 2], "z": [1, 1]})
    prop = save(spec("(assert (>= Y_0 0))", 2, 2), "p.vnnlib")
    refused(save(net), prop, "2 output variables", "net.onnx", "3 outputs")


def test_unsupported_operator(refused: Any, save: Any, prop: Path) -> None:
    nodes = [helper.make_node("Gemm", ["x", "W"], ["h"]), helper.make_node("Bernoulli", ["h"], ["out"])]
    net = model(nodes, {"W": [[1.0], [1.0]]}, {"x": [1, 2]}, {"out": [1, 1]})
    refused(save(net), prop, "net.onnx", "node 'out'", "(Bernoulli)", "not supported", "verifier info")


def test_operator_that_onnxruntime_refuses(refused: Any, save: Any, prop: Path) -> None:
    nodes = [helper.make_node("Reshape", ["x", "s"], ["h"]), helper.make_node("Gemm", ["h", "W"], ["y"])]
    net = model(nodes, {"W": [[1.0], [1.0]], "s": [1.0, 2.0]}, {"x": [1, 2]}, {"y": [1, 1]})
    refused(save(net), prop, "net.onnx")


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_weights_that_are_no_numbers(refused: Any, save: Any, prop: Path, bad: float) -> None:
    refused(save(dense([[1.0, bad], [1.0, 1.0]], [[1.0, 1.0]])), prop, "net.onnx", "node 'h0' (Gemm)", "'W0'")


def test_weights_that_overflow(save: Any, prop: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Nearly everywhere its outputs are not finite; where they are, they count, and nowhere else."""
    net = save(dense(np.full((2, 2), 3e38), np.full((2, 2), 3e38), [[1.0, -1.0]]))
    assert run(["verify", str(net), str(prop), "--timeout", "5"]) == 0
    verdict, *witness = capfd.readouterr().out.split("\n")
    assert verdict in ("sat", "timeout", "unknown") and (verdict != "sat" or "(Y_0 0.0))" in witness)


# Properties


def test_missing_property(refused: Any, tmp_path: Path) -> None:
    refused(MODEL, tmp_path / "none.vnnlib", "none.vnnlib", "no such file")


def test_empty_property(refused: Any, save: Any) -> None:
    refused(MODEL, save("", "p.vnnlib"), "p.vnnlib", "empty")


def test_folder_as_property(refused: Any, tmp_path: Path) -> None:
    refused(MODEL, tmp_path, str(tmp_path), "is a folder")


@pytest.mark.parametrize("content", [GOOD, bytes(range(256)), b"\xff\xfe text"])
def test_binary_property(refused: Any, save: Any, content: bytes) -> None:
    refused(MODEL, save(content, "p.vnnlib"), "p.vnnlib:", "text")


def test_gzip_damaged_property(refused: Any, save: Any) -> None:
    refused(MODEL, save(gzip.compress(spec("").encode())[:-9], "p.vnnlib.gz"), "p.vnnlib.gz", "gzip")


def test_unbalanced_property(refused: Any, save: Any) -> None:
    refused(MODEL, save(spec("(assert (>= Y_0 0)"), "p.vnnlib"), "p.vnnlib:8:1", "never closed")


def test_unknown_variable(refused: Any, save: Any) -> None:
    refused(MODEL, save(spec("(assert (<= Y_0 X_7))"), "p.vnnlib"), "p.vnnlib:8:9", "X_7 is not declared")


def test_input_without_bounds(refused: Any, save: Any) -> None:
    text = "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)(assert (>= X_0 0))"
    refused(
        MODEL, save(text + "(assert (<= X_0 1))(assert (>= Y_0 0))", "p.vnnlib"), "p.vnnlib", "X_1 has no lower bound"
    )


def test_other_shapes(refused: Any, save: Any) -> None:
    refused(MODEL, save(spec("(assert (>= Y_0 0))", 3), "p.vnnlib"), "3 input variables", "2 inputs", "pendulum.onnx")
    refused(MODEL, save(spec("(assert (>= Y_3 0))", 2, 4), "p.vnnlib"), "4 output variables", "1 outputs", "[1, 1]")


# Options


@pytest.mark.parametrize("option", ["--results", "--json"])
def test_folder_that_is_missing(refused: Any, tmp_path: Path, option: str) -> None:
    refused(MODEL, UNSAT, "gone", "does not exist", options=(option, str(tmp_path / "gone" / "out")))


@pytest.mark.parametrize("option", ["--results", "--json"])
def test_folder_as_result(refused: Any, tmp_path: Path, option: str) -> None:
    refused(MODEL, UNSAT, str(tmp_path), "is a folder", options=(option, str(tmp_path)))


@pytest.mark.parametrize("option", ["--results", "--json"])
def test_folder_that_may_not_be_written_to(
    refused: Any, tmp_path: Path, option: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    if os.geteuid() == 0:  # whom no mode stops
        monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != locked)
    refused(MODEL, UNSAT, "locked", "may not be written", options=(option, str(locked / "out")))


def test_one_file_for_both(refused: Any, tmp_path: Path) -> None:
    path = str(tmp_path / "out")
    refused(MODEL, UNSAT, "two files", options=("--results", path, "--json", path))


@pytest.mark.parametrize("seconds", ["-1", "-0.5", "nan", "soon", "", "1s"])
def test_timeout_that_is_none(refused: Any, seconds: str) -> None:
    refused(MODEL, UNSAT, "--timeout", "number of seconds", options=("--timeout", seconds))


def test_device_that_is_unknown(refused: Any) -> None:
    refused(MODEL, UNSAT, "--device", "tpu", "cuda", options=("--device", "tpu"))


def test_gpu_where_there_is_none(refused: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    refused(MODEL, UNSAT, "device cuda", "no CUDA device", options=("--device", "cuda"))


def test_certificates_are_refused_for_now(refused: Any, tmp_path: Path) -> None:
    refused(MODEL, UNSAT, "--certificate", "not available yet", options=("--certificate", str(tmp_path / "c")))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["prove", MODEL, UNSAT], ["prove", "verify", "bound", "info"]),
        (["verify", MODEL], ["SPEC"]),
        (["verify", MODEL, UNSAT, "--fast"], ["--fast"]),
        (["verify", MODEL, UNSAT, "--time", "3"], ["--time"]),
        (["verify", MODEL, UNSAT, SAT], [SAT]),
        (["bound", MODEL, UNSAT, "--method", "guess"], ["guess", "crown"]),
        (["bound", MODEL, "none.vnnlib"], ["none.vnnlib"]),
        (["info", "none.onnx"], ["none.onnx"]),
        (["--loud"], ["--loud"]),
    ],
)
def test_command_lines(arguments: list[str], words: list[str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(arguments) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.startswith("verifier: ") and err.count("\n") == 1
    for word in words:
        assert word in err


def test_a_name_with_a_line_break_stays_on_one_line(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["info", "a\nb\r.onnx"]) == 2
    assert capfd.readouterr().err.count("\n") == 1


def test_a_fault_of_ours_is_one_line(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("a\nb")

    monkeypatch.setattr("verifier.run.verify.verify", broken)
    assert run(["verify", MODEL, UNSAT]) == 1
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and "ZeroDivisionError" in err and "report" in err


def test_out_of_memory(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    def greedy(*_: Any, **__: Any) -> None:
        raise MemoryError

    monkeypatch.setattr("verifier.run.verify.verify", greedy)
    assert run(["verify", MODEL, UNSAT]) == 2
    out, err = capfd.readouterr()
    assert out == "" and err == "verifier: out of memory; use a machine with more, or a smaller network\n"
