"""Data sets and radii as they are given on the command line."""

from __future__ import annotations

import zipfile
import zlib
from pathlib import Path

import numpy as np

from verifier.train import data
from verifier.values import stored
from verifier.values.errors import UserError, why


def number(text: str) -> float:
    """A radius: a number or a fraction such as 8/255, not negative.

    Raises:
        UserError: it is none.
    """
    try:
        top, slash, below = text.partition("/")
        value = float(top) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        value = float("nan")
    if not (0 <= value < float("inf")):
        raise UserError(f"--eps {text}: give a number or a fraction such as 8/255, not negative")
    return value


def read(source: str) -> tuple[np.ndarray, np.ndarray]:
    """Images `[N, *shape]` and classes `[N]` of the test part; an .npz file may have that part alone.

    Raises:
        UserError: they are not there, or not what they should be.
    """
    path = Path(source)
    names = _test_part(path) if path.suffix == ".npz" and path.is_file() else None
    if names is None:
        whole = data.read(source)
        return whole.x_test, whole.y_test
    try:
        with path.open("rb") as file:
            stored.check(file, names)
            f = np.load(file, allow_pickle=False)
            x = data.images(f[names[0]], f"{path}: {names[0]}")
            return x, data.labels(f[names[1]], len(x), f"{path}: {names[1]}")
    except UserError as e:
        raise e if str(path) in str(e) else UserError(f"{path}: {e}") from None
    except (OSError, ValueError, RuntimeError, EOFError, zipfile.BadZipFile, zlib.error) as e:
        raise UserError(f"{path}: cannot be read ({why(e)}); save arrays of numbers by numpy.savez") from None


def _test_part(path: Path) -> tuple[str, str] | None:
    """The names of inputs and classes in a file that has no training part; None where it has one, or is no such file.

    Raises:
        UserError: it has neither part.
    """
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as f:
            there = set(f.files)
    except (OSError, ValueError, AttributeError, TypeError, EOFError, zipfile.BadZipFile):
        return None  # the reader of whole data sets says what is wrong
    if "x_train" in there:
        return None
    for names in (("x_test", "y_test"), ("x", "y")):
        if there.issuperset(names):
            return names
    missing = "x_test" if "x_test" not in there else "y_test"
    raise UserError(f"{path}: has no array {missing}; it needs x_test and y_test, or x and y")
