"""Packed files are read in bounded pieces."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from pathlib import Path

import numpy as np
import onnx
import pytest

import verifier
from verifier.graph import from_onnx
from verifier.spec import vnnlib
from verifier.train.data import read_idx
from verifier.values import packed
from verifier.values.errors import UserError, memory_is_out

TEXT = bytes(range(256)) * 1000


def test_what_was_packed_comes_back() -> None:
    """One member or several, padded or not, empty, of random bytes (which pack badly) and of zeros (which do well)."""
    noise = np.random.default_rng(0).bytes(300_000)
    for data in (TEXT, b"", noise, bytes(10**6)):
        assert packed.unpacked(gzip.compress(data)) == data
        assert packed.unpacked(gzip.compress(data) + gzip.compress(noise) + bytes(512)) == data + noise
    assert packed.is_packed(gzip.compress(b"x")) and not packed.is_packed(b"x")


def test_damage_is_said() -> None:
    good = gzip.compress(TEXT)
    for cut in (1, 5, 9, 20, len(good) // 2, len(good) - 3):
        with pytest.raises(UserError, match="damaged gzip data"):
            packed.unpacked(good[:-cut])
    for at in (3, 40, len(good) - 6):
        spoiled = bytearray(good)
        spoiled[at] ^= 0xFF
        with pytest.raises(UserError, match="damaged gzip data"):
            packed.unpacked(bytes(spoiled))
    with pytest.raises(UserError, match="damaged gzip data"):
        packed.unpacked(good + b"not gzip")


def test_a_small_file_that_is_large_inside_costs_no_memory() -> None:
    """Whether its end says how large it is or not; never more than the limit and one piece."""
    honest = gzip.compress(bytes(3 * 10**8), 9)
    assert len(honest) < 400_000
    liar = honest[:-4] + b"\1\0\0\0"
    pair = honest + gzip.compress(b"x")
    for data in (honest, liar, pair):
        tracemalloc.start()
        with pytest.raises(UserError, match="unpacks to more than 0.01 GB"):
            packed.unpacked(data, 10**7)
        most = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert most < 6e7, most


def test_every_reader_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Models, properties and data sets, by name of the file."""
    small = packed.unpacked
    monkeypatch.setattr("verifier.graph.opened.unpacked", lambda data: small(data, 1000))
    monkeypatch.setattr(vnnlib, "MOST_TEXT", 1000)
    monkeypatch.setattr("verifier.train.data.unpacked", lambda data: small(data, 1000))
    path = tmp_path / "bomb.gz"
    path.write_bytes(gzip.compress(bytes(10**6)))
    for read in (from_onnx.load, verifier.verify, vnnlib.read, read_idx):
        with pytest.raises(UserError, match=r"bomb\.gz.*unpacks to more than 1e-06 GB") as e:
            read(*(path,) * (2 if read is verifier.verify else 1))
        assert "\n" not in str(e.value)


@pytest.mark.parametrize("words", ["std::bad_alloc", "Failed to allocate memory for requested buffer of size 9"])
def test_want_of_memory_is_not_blamed_on_the_model(words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What onnxruntime raises in its own words, when it reads the model and when it runs it."""
    import onnxruntime

    info = onnx.helper.make_tensor_value_info
    node = onnx.helper.make_node("Relu", ["x"], ["y"])
    graph = onnx.helper.make_graph([node], "g", [info("x", 1, [1, 2])], [info("y", 1, [1, 2])])
    made = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 13)], ir_version=8)
    onnx.save(made, tmp_path / "n.onnx")

    class Full(onnxruntime.InferenceSession):  # type: ignore[misc]
        def run(self, *_: object) -> None:
            raise RuntimeError(f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {words}")

    def fails(*_: object, **__: object) -> None:
        raise RuntimeError(f"[ONNXRuntimeError] : 6 : RUNTIME_EXCEPTION : {words}")

    for session in (Full, fails):
        model = from_onnx.load(tmp_path / "n.onnx")
        with monkeypatch.context() as m:
            m.setattr(onnxruntime, "InferenceSession", session)
            with pytest.raises(MemoryError):
                model.run(np.zeros((1, 2)))
    assert memory_is_out(MemoryError()) and not memory_is_out(zlib.error("invalid"))
