"""Files of arrays that say more than a machine holds."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest

from verifier.cli.app import run
from verifier.cli.data import read
from verifier.cli.inputs import _numbers
from verifier.train import data
from verifier.values import stored
from verifier.values.errors import UserError

MODEL = "models/digits_fc.onnx"


def header(shape: tuple[int, ...]) -> bytes:
    """Of an array of doubles, without the numbers."""
    out = io.BytesIO()
    np.lib.format.write_array_header_1_0(out, {"descr": "<f8", "fortran_order": False, "shape": shape})
    return out.getvalue()


def archive(path: Path, **arrays: bytes) -> Path:
    """An `.npz` file of these members."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, content in arrays.items():
            packed.writestr(f"{name}.npy", content)
    return path


def small(n: int = 4) -> bytes:
    out = io.BytesIO()
    np.save(out, np.arange(n))
    return out.getvalue()


def test_a_header_alone_is_refused(tmp_path: Path) -> None:
    """Terabytes that are announced and not there, in every place that reads arrays; one line names file and array."""
    huge = header((10**9, 28, 28))
    test = archive(tmp_path / "t.npz", x_test=huge, y_test=small())
    with pytest.raises(UserError, match=r"t.npz: array x_test takes 6.27e\+03 GB, and this machine has"):
        read(str(test))
    parts = {"x_train": huge, "y_train": small(), "x_test": small(), "y_test": small()}
    with pytest.raises(UserError, match=r"w.npz: array x_train takes .* GB, and this machine"):
        data.read(str(archive(tmp_path / "w.npz", **parts)))
    (tmp_path / "c.npy").write_bytes(header((10**15,)))
    with pytest.raises(UserError, match="cut off: it says 8,000,000,000,000,000 bytes"):
        _numbers("--input", str(tmp_path / "c.npy"))


def test_numbers_that_unpack_to_more_than_there_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros that are all there, packed a thousandfold; what is not read does not count."""
    there = header((300, 1000)) + bytes(8 * 300_000)
    path = archive(tmp_path / "t.npz", x=there, y=small(300), other=there)
    assert path.stat().st_size < 20_000
    assert read(str(path))[0].shape == (300, 1000)
    monkeypatch.setattr(stored, "memory", lambda: 3_000_000)
    assert read(str(path))[0].shape == (300, 1000)
    monkeypatch.setattr(stored, "memory", lambda: 2_000_000)
    with pytest.raises(UserError, match="array x takes 0.0024 GB"):
        read(str(path))
    np.save(tmp_path / "i.npy", np.zeros(300_000))
    with pytest.raises(UserError, match="--input .*the array takes 0.0024 GB"):
        _numbers("--input", str(tmp_path / "i.npy"))


def test_the_command_says_so_in_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = archive(tmp_path / "t.npz", x=header((10**9, 64)), y=small())
    assert run(["certify", "--model", MODEL, "--data", str(path), "--eps", "0.1"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "array x takes 512 GB" in err
