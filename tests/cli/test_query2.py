"""Questions in VNN-LIB 2.0 on the command line, and `supports`."""

from __future__ import annotations

import gzip
import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import verifier
from tests.cli.files import dense, start
from tests.query2 import assignment, recheck
from verifier.cli.app import run
from verifier.graph.ops.table import supported

TEXT = """(vnnlib-version <2.0>)
(declare-network f (declare-input X Real [2]) (declare-output Y Real [1]))
(declare-network g (equal-to f) (declare-input Z Real [2]) (declare-output W Real [1]))
(assert (and (>= X[0] 0.0) (<= X[0] 1.0)))
(assert (== X[1] Z[1])) (assert (== X[1] 0.5))
(assert (<= X[0] Z[0])) (assert (<= Z[0] 1.0))
(assert (> Y[0] (+ W[0] 0.25)))
"""
RISING, FALLING = dense([[1.0, 1.0], [2.0, -1.0]], [[1.0, 0.5]]), dense([[-1.0, 1.0], [-2.0, -1.0]], [[1.0, 0.5]])


@pytest.fixture
def files(tmp_path: Path) -> dict[str, str]:
    """Paths of the query and of networks that answer it either way."""
    paths = {name: tmp_path / name for name in ("q.vnnlib", "rising.onnx", "falling.onnx", "again.onnx")}
    paths["q.vnnlib"].write_text(TEXT)
    for name in ("rising", "falling"):
        paths[f"{name}.onnx"].write_bytes(RISING if name == "rising" else FALLING)
    paths["again.onnx"].write_bytes(FALLING)
    return {name: str(path) for name, path in paths.items()}


def answered(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(["verify", *arguments, "--quiet"]) == 0
    out, err = capfd.readouterr()
    assert err == ""
    return out


def refused(capfd: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(list(arguments)) == 2
    out, err = capfd.readouterr()
    assert out == "" and err.count("\n") == 1 and err.startswith("verifier: ")
    return err


FORMS: list[Any] = [
    lambda q, f: [q, "--network", f"f={f}"],
    lambda q, f: ["--network", f"f={f}", q, "--timeout", "9999"],  # counted from when this worker started
    lambda q, f: [q, f"--network=f={f}", f"--network=g={f}"],
    lambda q, f: [f"[('f','{f}'),('g','{f}')]", q],
    lambda q, f: [f'[ ("f", "{f}"), ]', q],
    lambda q, f: [f, q],
]


@pytest.mark.parametrize("form", FORMS)
def test_every_way_to_name_the_models(form: Any, files: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    assert answered(capfd, *form(files["q.vnnlib"], files["rising.onnx"])) == "unsat\n"
    first, rest = answered(capfd, *form(files["q.vnnlib"], files["falling.onnx"])).split("\n", 1)
    assert first == "sat"
    recheck(TEXT, {"f": files["falling.onnx"]}, rest)


def test_an_equal_network_may_be_given_as_a_copy(files: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    named = ("--network", f"f={files['falling.onnx']}", "--network", f"g={files['again.onnx']}")
    assert answered(capfd, files["q.vnnlib"], *named).startswith("sat\nX real [2]\n")


def test_files_of_a_counterexample(files: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    folder, results, data = tmp_path / "new/folder", tmp_path / "r.txt", tmp_path / "r.json"
    out = answered(capfd, files["falling.onnx"], files["q.vnnlib"], "--serialise-assignments", str(folder),
                   "--results", str(results), "--json", str(data))  # fmt: skip
    assert results.read_text() == out
    values = {name: value for name, (_, value) in assignment(out.split("\n", 1)[1]).items()}
    assert sorted(p.name for p in folder.iterdir()) == ["W.pb", "X.pb", "Y.pb", "Z.pb"]
    for name, value in values.items():
        stored = onnx.TensorProto.FromString((folder / f"{name}.pb").read_bytes())
        assert stored.name == name and (numpy_helper.to_array(stored) == value).all()
    assert json.loads(data.read_text())["witness"]["variables"] == {k: v.tolist() for k, v in values.items()}


def test_float_types_need_consent(files: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "f32.vnnlib.gz"
    path.write_bytes(gzip.compress(TEXT.replace("Real", "float32").encode()))
    message = refused(capfd, "verify", files["falling.onnx"], str(path))
    assert "f32.vnnlib.gz:2: X is declared float32" in message and "--accept-real" in message
    out = answered(capfd, files["falling.onnx"], str(path), "--accept-real", "--serialise-assignments", str(tmp_path))
    assert out.startswith("sat\nX float32 [2]\n")
    stored = numpy_helper.to_array(onnx.TensorProto.FromString((tmp_path / "X.pb").read_bytes()))
    assert stored.dtype == np.float32


@pytest.mark.parametrize(
    ("arguments", "what"),
    [
        (["q.vnnlib"], "required"),
        (["q.vnnlib", "--network", "f"], "write NAME=FILE"),
        (["q.vnnlib", "--network", "f=a.onnx", "--network", "f=b.onnx"], "given twice"),
        (["q.vnnlib", "--network", "f=nowhere.onnx"], "nowhere.onnx: no such file"),
        (["q.vnnlib", "--network", "f=rising.onnx", "--network", "h=rising.onnx"], "no network `h`"),
        (["q.vnnlib", "--network", "f=rising.onnx", "--network", "g=falling.onnx"], "g is equal-to f"),
        (["[('f','a.onnx'),", "q.vnnlib"], "write [('f','a.onnx')"),
        (["[]", "q.vnnlib"], "empty list"),
        (["[__import__('os')]", "q.vnnlib"], "neither a file nor a list"),
        (["rising.onnx", "q.vnnlib", "--serialise-assignments", "q.vnnlib"], "q.vnnlib: no folder"),
    ],
)
def test_bad_models(
    arguments: list[str], what: str, files: dict[str, str], monkeypatch: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(Path(files["q.vnnlib"]).parent)
    assert what in refused(capfd, "verify", *arguments)


def test_a_counterexample_of_version_1_has_no_variables_to_write(
    files: dict[str, str], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "p.vnnlib").write_text(
        "(declare-const X_0 Real)(declare-const X_1 Real)(declare-const Y_0 Real)"
        "(assert (<= 0 X_0))(assert (<= X_0 1))(assert (<= 0 X_1))(assert (<= X_1 1))(assert (<= Y_0 100))"
    )
    message = refused(
        capfd, "verify", files["rising.onnx"], str(tmp_path / "p.vnnlib"), "--serialise-assignments", str(tmp_path),
        "--quiet",
    )  # fmt: skip
    assert "--serialise-assignments: only queries of version 2.0" in message


def test_bound_names_the_outputs_of_a_query(files: dict[str, str], capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["bound", files["rising.onnx"], files["q.vnnlib"]]) == 0
    assert [line.split()[0] for line in capfd.readouterr().out.splitlines()] == ["Y[0]", "W[0]"]


ANSWERS = {
    "onnx-element-types": "real\n",
    "onnx-operators": "".join(f"{name}\n" for name in supported()),
    "vnnlib-versions": "1.0\n2.0\n",
    "hidden-node-theories": "NH\nH\n",
    "multiple-input-output-theories": "SIO\nMIO\n",
    "multiple-network-theories": "SNET\nMENET\nMINET\nMNET\n",
    "multiple-node-comparison-theories": "SNC\nMNC\n",
    "arithmetic-complexity-theories": "BND\nOUTC\nLIN\nPOLY\n",
    "optimised-disjunctive-reasoning": "true\n",
    "serialise-assignments": "true\n",
}


@pytest.mark.parametrize(("capability", "text"), ANSWERS.items())
def test_supports(capability: str, text: str, capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["supports", f"--{capability}"]) == 0
    assert capfd.readouterr() == (text, "")


def test_supported_operator_sets(capfd: pytest.CaptureFixture[str]) -> None:
    assert run(["supports", "--onnx-opset-versions"]) == 0
    oldest, newest = map(int, capfd.readouterr().out.split())
    assert oldest == 7 and 21 <= newest <= onnx.defs.onnx_opset_version()


def test_supports_needs_one_question(capfd: pytest.CaptureFixture[str]) -> None:
    assert "required" in refused(capfd, "supports")
    refused(capfd, "supports", "--vnnlib-versions", "--onnx-operators")
    refused(capfd, "supports", "--everything")


def test_name_and_version(capfd: pytest.CaptureFixture[str]) -> None:
    for option, text in (("--name", "verifier"), ("--version", verifier.__version__)):
        assert run([option]) == 0
        assert capfd.readouterr() == (f"{text}\n", "")


def test_the_parser_of_the_standard_is_imported_for_version_2_only(files: dict[str, str]) -> None:
    """Start-up with version 1.0 costs what it did."""
    import subprocess
    import sys

    code = (
        "import sys, verifier; verifier.read(sys.argv[1]); from verifier.run import verify; "
        "print([m for m in sys.modules if m.startswith('vnnlib') or m.startswith('verifier.spec') and m[-1] == '2'])"
    )
    one = Path(__file__).resolve().parents[2] / "specs/pendulum_limit_sat.vnnlib"
    shown = subprocess.run([sys.executable, "-c", code, str(one)], capture_output=True, text=True, check=True).stdout
    assert shown == "[]\n"


def test_a_process_of_its_own(files: dict[str, str]) -> None:
    out, err = start("verify", files["q.vnnlib"], "--network", f"f={files['rising.onnx']}").communicate(timeout=60)
    assert out == "unsat\n" and err.startswith("verifier: ")
