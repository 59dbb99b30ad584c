"""Networks from wherever they are: a model in memory answers as its file does, at every front door."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

import verifier
from tests.cli.files import MODEL, SAT, UNSAT, dense
from tests.run.test_cells import H, patched
from tests.run.test_queries2 import network
from verifier.spec.builders import output_property
from verifier.values.errors import ModelError, UserError

BOX = verifier.Box([-0.1, -0.3], [0.1, 0.3])
WAYS: dict[str, Callable[[Path], Any]] = {
    "proto": onnx.load,
    "bytes": Path.read_bytes,
    "packed": lambda path: gzip.compress(path.read_bytes()),
    "loaded": lambda path: verifier.load(onnx.load(path)),
}


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest) -> Callable[[Path], Any]:
    return WAYS[request.param]


def test_front_doors(way: Callable[[Path], Any]) -> None:
    model = way(Path(MODEL))
    found, expected = verifier.verify(model, SAT, 60), verifier.verify(MODEL, SAT, 60)
    assert found.verdict == expected.verdict == "sat"
    assert found.witness is not None and expected.witness is not None
    assert (found.witness.x == expected.witness.x).all() and (found.witness.y == expected.witness.y).all()
    assert verifier.verify({"f": model}, UNSAT, 60).verdict == "unsat"
    assert np.array_equal(verifier.bound(model, BOX), verifier.bound(MODEL, BOX))
    assert verifier.lipschitz(model, BOX, timeout=20).upper == verifier.lipschitz(MODEL, BOX, timeout=20).upper
    assert verifier.monotone(model, BOX, input=1).direction == verifier.monotone(MODEL, BOX, input=1).direction
    assert np.array_equal(verifier.jacobian(model, BOX), verifier.jacobian(MODEL, BOX))
    assert verifier.find_range(model, BOX, timeout=1)[0] <= verifier.find_range(MODEL, BOX, timeout=1)[1]
    assert verifier.verify(verifier.equivalent(model, MODEL, BOX, 0.1), timeout=60).verdict == "unsat"
    assert verifier.verify(verifier.output_range(model, BOX, upper=1e6), timeout=60).verdict == "unsat"


def test_data_sets(way: Callable[[Path], Any], tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    file = tmp_path / "c.onnx"
    file.write_bytes(dense(rng.standard_normal((8, 4)), rng.standard_normal((3, 8))))
    x = rng.random((6, 4))
    y = verifier.load(str(file)).run(x).argmax(1)
    model = way(file)
    asked: dict[str, Any] = {"timeout": 5, "db": tmp_path / "r.sqlite"}
    found, again = (verifier.certify(m, x, y, 0.01, **asked) for m in (model, str(file)))
    assert [p.status for p in found.points] == [p.status for p in again.points]
    assert again.resumed == 6  # one network, however it is given: its digest is of what it computes
    assert len(verifier.radii(model, x, y, 0.1, timeout=1)) == 6
    assert 0 < verifier.tightness(model, x, 0.1) <= 1
    with pytest.raises(UserError, match=r"^ONNX model 'test': several jobs need an ONNX file"):
        verifier.certify(model, x, y, 0.01, jobs=2)


def test_hidden_tensors(way: Callable[[Path], Any], tmp_path: Path) -> None:
    text = (
        "(vnnlib-version <2.0>)\n(declare-network f\n(declare-input A real [1,2])\n"
        '(declare-hidden H real [1,10] "hidden")\n(declare-output C real [2])\n)\n'
        "(assert (and (>= A[0,0] -1.0) (<= A[0,0] 1.0)))(assert (and (>= A[0,1] -1.0) (<= A[0,1] 1.0)))"
        "(assert (>= H[0,3] 0.01))"
    )
    (tmp_path / "q.vnnlib").write_text(text)
    file = network(tmp_path / "f.onnx", {"a": [1, 2]}, {"c": [2]}, 2)
    found = [verifier.verify(m, tmp_path / "q.vnnlib", 60) for m in (way(Path(file)), file)]
    assert found[0].verdict == found[1].verdict == "sat"
    assert [t.name for r in found for t in r.witness.tensors] == ["A", "H", "C"] * 2


def test_cells(way: Callable[[Path], Any], tmp_path: Path) -> None:
    W = patched(tmp_path / "n.onnx", np.random.default_rng(0))
    assert W.shape == (H, 8)
    low, high = np.append(np.full(H, 0.3), 0.0), np.append(np.full(H, 0.31), 4.9)
    question = output_property(low, high, [[(np.array([-1.0]), -1e3)]])
    if way is WAYS["loaded"]:
        with pytest.raises(ModelError):
            way(tmp_path / "n.onnx")
        return
    result = verifier.verify(way(tmp_path / "n.onnx"), question, 60)
    assert result.verdict == "unsat" and "cells" in result.reason


def test_a_file_of_that_name_is_another(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The name of a model in memory, which anyone can choose, is never opened as a file."""
    monkeypatch.chdir(tmp_path)
    proto = onnx.load_model_from_string(dense([[1.0, 2.0], [3.0, 4.0]]))
    proto.graph.name = "other.onnx"
    for name in ("other.onnx", "ONNX model 'other.onnx'"):
        (tmp_path / name).write_bytes(dense([[7.0, 7.0], [7.0, 7.0]]))
    net = verifier.load(proto)
    x, y = np.eye(2), np.array([1, 1])
    with pytest.raises(UserError, match="several jobs need an ONNX file"):
        verifier.certify(net, x, y, 0.01, jobs=2)
    assert isinstance(net.source, bytes) and (net.run(x) == [[1, 3], [2, 4]]).all()


def test_what_becomes_of_it_later_changes_nothing() -> None:
    proto = onnx.load_model_from_string(dense([[1.0]]))
    net = verifier.load(proto)
    proto.graph.initializer[0].raw_data = np.float32(5).tobytes()
    assert (net.run(np.ones((1, 1))) == 1).all()
    assert np.allclose(verifier.bound(net, verifier.Box([1], [1])), 1)


def test_refusals(tmp_path: Path) -> None:
    proto = onnx.load_model_from_string(dense([[1.0]]))
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = onnx.TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="w.bin")
    with pytest.raises(ModelError, match=r"^ONNX model 'test': data of tensor 'W0' are in another file; load them"):
        verifier.load(proto)
    for bad in (b"", b"no model", b"\x1f\x8b00", onnx.ModelProto()):
        with pytest.raises(ModelError, match=r"^ONNX model in memory: [^\n]+$"):
            verifier.load(bad)
    proto = onnx.load_model_from_string(dense([[1.0]]))
    proto.graph.node[0].op_type, proto.graph.name = "Nothing", "a\nb" * 99
    with pytest.raises(ModelError, match=r"^ONNX model 'a': node [^\n]*Nothing"):
        verifier.load(proto)
