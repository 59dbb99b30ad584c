"""Labelled data from local files, as numpy arrays.  Files are data: nothing in them is ever executed."""

from __future__ import annotations

import hashlib
import math
import pickle
import zipfile
import zlib
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from verifier.values import stored
from verifier.values.errors import UserError
from verifier.values.extras import need
from verifier.values.packed import unpacked

PARTS = ("x_train", "y_train", "x_test", "y_test")
"""Arrays that a file of data has."""
CHANNELS = (1, 3, 4)
MOST_CLASSES = 100_000
"""A larger label is no class: the network would need so many outputs."""


@dataclass(frozen=True, eq=False)
class Data:
    """A data set in two parts.

    Attributes:
        x_train, x_test: `[N, *shape]` float32; images are channels first, in [0, 1].
        y_train, y_test: `[N]` int64 classes from 0.
        classes: how many there are.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray
    classes: int

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one input."""
        return tuple(self.x_train.shape[1:])

    def digest(self) -> str:
        """Of what is trained on: two data sets with the same one have the same training part."""
        h = hashlib.sha256(repr((self.x_train.shape, self.x_train.dtype.str)).encode())
        h.update(np.ascontiguousarray(self.x_train).data)
        h.update(np.ascontiguousarray(self.y_train, np.int64).data)
        return h.hexdigest()

    def check(self) -> None:
        """See that there is something to train on, and that inputs and classes belong together.

        Raises:
            UserError: names the part that is not as it should be.
        """
        if not len(self.x_train):
            raise UserError("data: x_train is empty; give at least one input")
        for part in ("train", "test"):
            x, y = np.asarray(getattr(self, f"x_{part}")), np.asarray(getattr(self, f"y_{part}"))
            if x.dtype.kind != "f" or x.shape[1:] != self.shape or not self.shape:
                raise UserError(
                    f"data: x_{part} is {x.dtype} of shape {list(x.shape)}; floating-point numbers "
                    f"{['N', *self.shape]} are needed".replace("'", "")
                )
            if y.shape != x.shape[:1] or y.dtype.kind not in "ui":
                raise UserError(
                    f"data: y_{part} is {y.dtype} of shape {list(y.shape)} for {len(x)} inputs; one whole number each"
                )
            if len(y) and not 0 <= y.min() <= y.max() < self.classes:
                raise UserError(
                    f"data: y_{part} goes from {y.min()} to {y.max()}, but there are {self.classes} classes, from 0 on"
                )
        present = set(np.unique(np.concatenate([self.y_train, self.y_test])).tolist())
        if self.classes > 2 and present == set(range(1, self.classes)):
            raise UserError(f"data: classes are 1 to {max(present)}, but they are counted from 0; subtract 1")

    def within(self, lower: float, upper: float) -> None:
        """See that all inputs are in [lower, upper]: boxes are cut to that range, which turns those outside inside out.

        Raises:
            UserError: one isn't; the message says of which part.
        """
        for part in ("x_train", "x_test"):
            x = getattr(self, part)
            if x.size and not np.float32(lower) <= x.min() <= x.max() <= np.float32(upper):
                raise UserError(
                    f"data: {part} goes from {x.min():g} to {x.max():g}, not within [{lower:g}, {upper:g}]; "
                    "set data.lower and data.upper"
                )

    def held_out(self, share: float, seed: int) -> Data:
        """The training part alone, with a random share of it in place of the test part (never the test part itself)."""
        order = np.random.default_rng(seed).permutation(len(self.x_train))
        cut = max(1, round(share * len(order)))
        if cut >= len(order):
            raise UserError(f"held out: a share of {share} leaves nothing to train on; give less")
        away, stay = np.sort(order[:cut]), np.sort(order[cut:])
        return replace(
            self,
            x_train=self.x_train[stay],
            y_train=self.y_train[stay],
            x_test=self.x_train[away],
            y_test=self.y_train[away],
        )


def read(source: str | Path, limit: int | None = None) -> Data:
    """The data that `source` names.

    Args:
        source: `digits` (8 x 8 images, 1,437 and 360 of them); a folder with the four IDX files of MNIST (`.gz` or not)
            or with the batches of CIFAR-10's python version; an `.npz` file with `x_train`, `y_train`, `x_test`,
            `y_test`; or `torchvision:NAME[:FOLDER]`, where that is installed and has the data.
        limit: so many of the training part, the first ones.

    Raises:
        UserError: it isn't there, or isn't what it should be.
    """
    name, path = str(source), Path(source)
    if name == "digits":
        data = _digits()
    elif name.startswith("torchvision:"):
        data = _torchvision(*name.split(":")[1:])
    elif path.suffix == ".npz":
        data = _npz(path)
    elif path.is_dir():
        data = _folder(path)
    else:
        raise UserError(f"{name}: no data there; give `digits`, an .npz file, or a folder with MNIST or CIFAR-10 files")
    if limit is not None:
        data = replace(data, x_train=data.x_train[:limit], y_train=data.y_train[:limit])
    return data


def files(source: str | Path) -> list[Path]:
    """The files that `read` may read for a source; none for `digits`, which is part of scikit-learn."""
    path = Path(source)
    if str(source).startswith("torchvision:"):  # its own folders are below the one that is named
        folder = Path([*str(source).split(":"), "data"][2])
        return [p for below in folder.glob("*/") for p in below.rglob("*")]
    if not path.is_dir():
        return [path]
    parts = ("train-images*", "train-labels*", "t10k-*", "data_batch_*", "test_batch")
    return [p for within in _homes(path) for pattern in parts for p in within.glob(pattern)]


def images(x: np.ndarray, where: str) -> np.ndarray:
    """Inputs as float32: bytes become [0, 1], images channels first.

    Raises:
        UserError: numbers that are not finite, or no numbers.
    """
    if x.ndim < 2 or x.dtype.kind not in "uif" or not x.size:
        raise UserError(f"{where}: inputs of type {x.dtype} and shape {list(x.shape)}; numbers [N, ...] are needed")
    if x.dtype == np.uint8:
        x = x.astype(np.float32) / np.float32(255)
    x = np.asarray(x, np.float32)
    if not np.isfinite(x).all():
        raise UserError(f"{where}: an input is not a finite number")
    if x.ndim == 3:
        x = x[:, None]
    elif x.ndim == 4 and x.shape[3] in CHANNELS and x.shape[1] not in CHANNELS:
        x = x.transpose(0, 3, 1, 2)
    return np.ascontiguousarray(x)


def labels(y: np.ndarray, n: int, where: str) -> np.ndarray:
    """Classes `[N]` as int64.

    Raises:
        UserError: not whole numbers from 0, or not one an input.
    """
    y = np.asarray(y).reshape(-1) if np.asarray(y).ndim <= 2 and np.asarray(y).size == n else np.asarray(y)
    if y.shape != (n,) or y.dtype.kind not in "ui" or (n and y.min() < 0):
        raise UserError(f"{where}: labels of type {y.dtype} and shape {list(y.shape)} for {n} inputs; one class each")
    if n and y.max() >= MOST_CLASSES:
        raise UserError(f"{where}: a label is {y.max()}; classes are numbered from 0, up to {MOST_CLASSES - 1}")
    return y.astype(np.int64)


def _data(parts: dict[str, np.ndarray], where: str) -> Data:
    x = [images(parts[k], f"{where}: {k}") for k in ("x_train", "x_test")]
    y = [labels(parts[k], len(v), f"{where}: {k}") for k, v in zip(("y_train", "y_test"), x, strict=True)]
    if x[0].shape[1:] != x[1].shape[1:]:
        raise UserError(f"{where}: inputs to train on are {list(x[0].shape[1:])}, to test on {list(x[1].shape[1:])}")
    return Data(x[0], y[0], x[1], y[1], int(max(y[0].max(initial=0), y[1].max(initial=0))) + 1)


def _digits() -> Data:
    """Scikit-learn's digits, every fifth of each class held for the test."""
    need("data digits", "data")
    from sklearn.datasets import load_digits

    raw = load_digits()
    x, y = raw.images.astype(np.float32) / np.float32(16), raw.target
    rank = np.empty(len(y), int)
    for k in range(10):
        rank[y == k] = np.arange((y == k).sum())
    test = rank % 5 == 4
    return _data({"x_train": x[~test], "y_train": y[~test], "x_test": x[test], "y_test": y[test]}, "digits")


def _npz(path: Path) -> Data:
    try:
        with path.open("rb") as file:
            stored.check(file, PARTS)
            f = np.load(file, allow_pickle=False)
            if not isinstance(f, np.lib.npyio.NpzFile):
                raise UserError(f"{path}: one array, not an .npz file; it needs x_train, y_train, x_test, y_test")
            missing = [k for k in PARTS if k not in f.files]
            if missing:
                raise UserError(f"{path}: has no array {missing[0]}; it needs x_train, y_train, x_test, y_test")
            return _data({k: f[k] for k in PARTS}, str(path))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except UserError as e:
        raise e if str(path) in str(e) else UserError(f"{path}: {e}") from None
    except (OSError, ValueError, RuntimeError, zipfile.BadZipFile, zlib.error, EOFError) as e:
        raise UserError(f"{path}: not an .npz file of plain arrays ({e})") from None


def _folder(path: Path) -> Data:
    for within in _homes(path):
        if _idx(within, "train-images") is not None:
            return _mnist(within)
        if (within / "data_batch_1").is_file():
            return _cifar10(within)
    raise UserError(
        f"{path}: neither MNIST's IDX files (train-images-idx3-ubyte) nor CIFAR-10's data_batch_1 are there"
    )


def _homes(path: Path) -> list[Path]:
    """Where in a folder the files of a data set may lie."""
    return [path, path / "MNIST" / "raw", path / "raw", path / "cifar-10-batches-py"]


def _idx(folder: Path, part: str) -> Path | None:
    kind = "idx3-ubyte" if part.endswith("images") else "idx1-ubyte"
    names = (f"{part}-{kind}", f"{part}.{kind}", f"{part}-{kind}.gz", f"{part}.{kind}.gz")
    return next((folder / n for n in names if (folder / n).is_file()), None)


def _mnist(folder: Path) -> Data:
    names = {"x_train": "train-images", "y_train": "train-labels", "x_test": "t10k-images", "y_test": "t10k-labels"}
    parts = {}
    for key, name in names.items():
        path = _idx(folder, name)
        if path is None:
            raise UserError(f"{folder}: {name}-idx{3 if key[0] == 'x' else 1}-ubyte is missing")
        parts[key] = read_idx(path)
    return _data(parts, str(folder))


def read_idx(path: Path) -> np.ndarray:
    """The array of bytes in an IDX file (LeCun's format: magic number, sizes, bytes).

    Raises:
        UserError: it is not such a file, or cut off.
    """
    try:
        raw = path.read_bytes()
        raw = unpacked(raw) if path.suffix == ".gz" else raw
    except (OSError, UserError) as e:
        raise UserError(f"{path}: cannot be read ({e})") from None
    if len(raw) < 4 or raw[:3] != b"\0\0\x08" or not 1 <= raw[3] <= 4 or len(raw) < 4 + 4 * raw[3]:
        raise UserError(f"{path}: not an IDX file of bytes")
    sizes = [int(n) for n in np.frombuffer(raw, ">u4", raw[3], 4)]
    start = 4 + 4 * raw[3]
    if len(raw) - start != math.prod(sizes):
        raise UserError(f"{path}: {len(raw) - start} bytes for sizes {sizes}: the file is cut off or too long")
    return np.frombuffer(raw, np.uint8, offset=start).reshape(sizes)


def _cifar10(folder: Path) -> Data:
    train = [_batch(folder / f"data_batch_{k}") for k in range(1, 6)]
    x_test, y_test = _batch(folder / "test_batch")
    x, y = np.concatenate([x for x, _ in train]), np.concatenate([y for _, y in train])
    return _data({"x_train": x, "y_train": y, "x_test": x_test, "y_test": y_test}, str(folder))


def _batch(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Images `[N, 3, 32, 32]` and labels of one batch."""
    try:
        with path.open("rb") as f:
            content = _Plain(f, encoding="bytes").load()
        data, y = content[b"data"], content[b"labels"]
        x = np.frombuffer(data.content, np.uint8).reshape(data.shape) if isinstance(data, _Array) else data
        return x.reshape(-1, 3, 32, 32), np.asarray(y, np.int64)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; check the path") from None
    except UserError:
        raise
    except Exception as e:  # a reader of pickles may fail in any way on a broken one
        raise UserError(f"{path}: not a batch of CIFAR-10 ({type(e).__name__}: {e})") from None


class _Array:
    """What stands for a numpy array while a pickle is read: its bytes and shape, nothing that runs."""

    content: bytes = b""
    shape: tuple[int, ...] = ()

    def __setstate__(self, state: Any) -> None:
        _, self.shape, kind, fortran, self.content = state
        if kind.name != "u1" or fortran:
            raise ValueError(f"an array of type {kind.name}")


class _Kind:
    """What stands for a numpy type."""

    def __init__(self, name: Any, *_: Any) -> None:
        self.name = name.decode() if isinstance(name, bytes) else str(name)

    def __setstate__(self, state: Any) -> None:
        pass


def _array(*_: Any) -> _Array:
    return _Array()


def _encoded(text: Any, _: Any = None) -> bytes:
    """What newer pickles write for bytes in old protocols."""
    return str(text).encode("latin1")


class _Plain(pickle.Unpickler):
    """Reads pickles of plain values and arrays of bytes; every name in them means one of the stand-ins above."""

    _KNOWN = {
        ("numpy.core.multiarray", "_reconstruct"): _array,
        ("numpy._core.multiarray", "_reconstruct"): _array,
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Kind,
        ("_codecs", "encode"): _encoded,
    }

    def __init__(self, file: BinaryIO, *, encoding: str) -> None:
        super().__init__(file, encoding=encoding)

    def find_class(self, module: str, name: str) -> Any:
        """Only what is known."""
        if (module, name) not in self._KNOWN:
            raise UserError(f"the file names {module}.{name}, which no CIFAR-10 batch does; it is not read")
        return self._KNOWN[module, name]


def _torchvision(name: str = "", folder: str = "data") -> Data:
    need(f"data torchvision:{name}", "train", "torchvision")
    from torchvision import datasets

    kind = getattr(datasets, name, None)
    if not isinstance(kind, type):
        raise UserError(f"torchvision:{name}: torchvision has no such data set")
    try:
        train, test = kind(folder, train=True, download=False), kind(folder, train=False, download=False)
        parts = {"x_train": train.data, "y_train": train.targets, "x_test": test.data, "y_test": test.targets}
    except (RuntimeError, TypeError, AttributeError) as e:
        raise UserError(f"torchvision:{name}: not in {folder}, or not images with classes ({e})") from None
    return _data({k: np.asarray(v) for k, v in parts.items()}, f"torchvision:{name}")
