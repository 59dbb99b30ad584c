"""Data files: what is read, and what is refused in one line."""

import gzip
import pickle
import pickletools
import struct
from dataclasses import replace

import numpy as np
import pytest

from verifier.train.data import Data, read, read_idx
from verifier.values.errors import UserError


def _idx(path, a):
    a = np.asarray(a, np.uint8)
    raw = b"\0\0\x08" + bytes([a.ndim]) + struct.pack(f">{a.ndim}I", *a.shape) + a.tobytes()
    path.write_bytes(gzip.compress(raw) if path.suffix == ".gz" else raw)


def _mnist(folder, end=""):
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 256, (7, 5, 4)), rng.integers(0, 3, 7)
    for name, n in (("train", 4), ("t10k", 3)):
        _idx(folder / f"{name}-images-idx3-ubyte{end}", x[:n] if name == "train" else x[4:])
        _idx(folder / f"{name}-labels-idx1-ubyte{end}", y[:n] if name == "train" else y[4:])
    return x, y


def test_digits_are_split_by_class():
    data = read("digits")
    assert data.x_train.shape[1:] == (1, 8, 8) and data.x_train.dtype == np.float32 and data.classes == 10
    assert len(data.x_train) + len(data.x_test) == 1797 and 350 <= len(data.x_test) <= 360
    assert data.x_train.min() == 0 and data.x_train.max() == 1
    assert (np.bincount(data.y_test) >= 34).all()
    assert len(read("digits", limit=50).x_train) == 50


@pytest.mark.parametrize("end", ["", ".gz"])
def test_idx_files(tmp_path, end):
    x, y = _mnist(tmp_path, end)
    data = read(tmp_path)
    np.testing.assert_array_equal(data.x_train[:, 0], (x[:4] / np.float32(255)).astype(np.float32))
    np.testing.assert_array_equal(data.y_test, y[4:])


@pytest.mark.parametrize(
    "damage",
    [lambda b: b[:-1], lambda b: b + b"x", lambda b: b"\1" + b[1:], lambda b: b[:3], lambda b: b"\0\0\x0d" + b[3:]],
)
def test_damaged_idx_files(tmp_path, damage):
    path = tmp_path / "a"
    _idx(path, np.arange(12).reshape(3, 4))
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UserError, match="a"):
        read_idx(path)


def _cifar(folder, protocol, wrap=lambda b: b):
    rng = np.random.default_rng(1)
    x, y = rng.integers(0, 256, (12, 3072), dtype=np.uint8), rng.integers(0, 10, 12)
    for k, name in enumerate([*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]):
        part = slice(2 * k, 2 * k + 2)
        content = {
            b"data": x[part],
            b"labels": [int(v) for v in y[part]],
            b"batch_label": b"some",
            b"filenames": [b"a"],
        }
        (folder / name).write_bytes(wrap(pickle.dumps(content, protocol)))
    return x.reshape(-1, 3, 32, 32), y


@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar_pickles(tmp_path, protocol):
    x, y = _cifar(tmp_path, protocol)
    data = read(tmp_path)
    np.testing.assert_array_equal(data.x_train, (x[:10] / np.float32(255)).astype(np.float32))
    np.testing.assert_array_equal(data.y_test, y[10:])
    assert data.shape == (3, 32, 32)


class _Hostile:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        import os

        return (os.system, (f"touch {self.path}",))


@pytest.mark.parametrize("protocol", [0, 2, 4])
def test_a_pickle_that_would_run_something_is_refused(tmp_path, protocol):
    _cifar(tmp_path, 2)
    trace = tmp_path / "executed"
    content = pickle.dumps({b"data": _Hostile(trace), b"labels": [1]}, protocol)
    assert any(op.name in ("REDUCE", "NEWOBJ") for op, _, _ in pickletools.genops(content))
    (tmp_path / "data_batch_3").write_bytes(content)
    with pytest.raises(UserError, match="system"):
        read(tmp_path)
    assert not trace.exists()


@pytest.mark.parametrize("name", ["getattr", "eval", "exec", "open", "__import__"])
def test_no_builtin_is_reached(tmp_path, name):
    _cifar(tmp_path, 2)
    (tmp_path / "data_batch_1").write_bytes(b"c__builtin__\n" + name.encode() + b"\n(S'1'\ntR.")
    with pytest.raises(UserError, match=name):
        read(tmp_path)


def test_npz_of_bytes_and_channels_last(tmp_path):
    rng = np.random.default_rng(2)
    x, y = rng.integers(0, 256, (6, 9, 8, 3), dtype=np.uint8), np.array([0, 1, 2, 0, 1, 2], np.uint8)
    np.savez(tmp_path / "a.npz", x_train=x[:4], y_train=y[:4], x_test=x[4:], y_test=y[4:, None])
    data = read(tmp_path / "a.npz")
    assert data.shape == (3, 9, 8) and data.y_test.shape == (2,)
    np.testing.assert_array_equal(data.x_test, (x[4:].transpose(0, 3, 1, 2) / np.float32(255)).astype(np.float32))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"y_test": np.array([0.5, 1.0])}, "y_test"),
        ({"y_test": np.array([0, -1])}, "y_test"),
        ({"y_test": np.array([0])}, "y_test"),
        ({"y_test": np.array([0, 10**12])}, "y_test"),
        ({"y_test": np.array([0, 2**64 - 1], np.uint64)}, "y_test"),
        ({"x_test": np.array([[np.nan, 1], [0, 0]])}, "x_test"),
        ({"x_test": np.zeros((2, 3))}, "to train on"),
        ({"x_test": None}, "x_test"),
        ({"x_train": np.array([None, 1, 2])}, "plain"),
    ],
)
def test_npz_that_cannot_be_used(tmp_path, change, said):
    parts = {
        "x_train": np.zeros((3, 2)),
        "y_train": np.array([0, 1, 1]),
        "x_test": np.zeros((2, 2)),
        "y_test": np.array([1, 0]),
    }
    parts = {k: v for k, v in (parts | change).items() if v is not None}
    np.savez(tmp_path / "a.npz", **parts, allow_pickle=True)
    with pytest.raises(UserError, match=said) as e:
        read(tmp_path / "a.npz")
    assert "a.npz" in str(e.value) and "\n" not in str(e.value)


def test_a_damaged_archive_is_refused_in_one_line(tmp_path):
    packed = bytearray(gzip.compress(b"\0\0\x08\1" + struct.pack(">I", 3000) + bytes(range(250)) * 12))
    packed[14:18] = b"\xff" * 4
    (tmp_path / "a.gz").write_bytes(packed)
    with pytest.raises(UserError, match=r"a\.gz"):
        read_idx(tmp_path / "a.gz")
    (tmp_path / "sizes").write_bytes(b"\0\0\x08\4" + struct.pack(">4I", 2**31, 2**31, 4, 1))  # their product is 2^64
    with pytest.raises(UserError, match="sizes"):
        read_idx(tmp_path / "sizes")
    rng = np.random.default_rng(0)
    parts = {"x_train": rng.random((40, 6)), "y_train": np.arange(40) % 3, "x_test": rng.random((5, 6))}
    np.savez_compressed(tmp_path / "b.npz", **parts, y_test=np.arange(5) % 3)
    raw = bytearray((tmp_path / "b.npz").read_bytes())
    raw[120] ^= 0xFF
    raw[130] ^= 0xFF
    (tmp_path / "b.npz").write_bytes(raw)
    with pytest.raises(UserError, match=r"b\.npz"):
        read(tmp_path / "b.npz")
    np.save(tmp_path / "c.npy", np.zeros(3))
    (tmp_path / "c.npy").rename(tmp_path / "c.npz")
    with pytest.raises(UserError, match=r"c\.npz"):
        read(tmp_path / "c.npz")


def test_data_are_within_their_range_in_both_parts():
    data = Data(*(np.array(a, np.float32) for a in ([[0.2], [0.1]], [0, 1], [[0.3]], [0])), 2)
    data.within(0.1, 0.3)  # as float32, which is a little more than 0.3
    for bad in (1.1, -0.1, np.nan):
        for part in ("x_train", "x_test"):
            with pytest.raises(UserError, match=part):
                replace(data, **{part: np.full((1, 1), bad, np.float32)}).within(0, 1)


@pytest.mark.parametrize("name", ["nothing.npz", "nowhere", "."])
def test_what_is_not_there(tmp_path, name):
    with pytest.raises(UserError):
        read(tmp_path / name)
    (tmp_path / "nothing.npz").write_bytes(b"PK\3\4 no zip")
    with pytest.raises(UserError):
        read(tmp_path / "nothing.npz")


def test_held_out_samples_come_from_the_training_part_only():
    data = read("digits", limit=200)
    part = data.held_out(0.25, 3)
    assert len(part.x_test) == 50 and len(part.x_train) == 150
    whole = {a.tobytes() for a in data.x_train}
    assert {a.tobytes() for a in part.x_test} | {a.tobytes() for a in part.x_train} == whole
    assert not {a.tobytes() for a in part.x_test} & {a.tobytes() for a in part.x_train}
    again = data.held_out(0.25, 3)
    np.testing.assert_array_equal(part.x_test, again.x_test)
    assert not np.array_equal(part.x_test, data.held_out(0.25, 4).x_test)
    with pytest.raises(UserError, match="held out"):
        data.held_out(0.999, 0)
