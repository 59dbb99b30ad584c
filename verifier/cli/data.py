"""Data sets and radii as they are given on the command line."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np

from verifier.train import data
from verifier.values.errors import UserError


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
    if path.suffix == ".npz" and path.is_file():
        try:
            with path.open("rb") as file, np.load(file, allow_pickle=False) as f:
                for names in (("x_test", "y_test"), ("x", "y")):
                    if "x_train" not in f.files and set(names) <= set(f.files):
                        x = data.images(f[names[0]], f"{path}: {names[0]}")
                        return x, data.labels(f[names[1]], len(x), f"{path}: {names[1]}")
        except (OSError, ValueError, EOFError, zipfile.BadZipFile):
            pass  # the reader below says what is wrong
    whole = data.read(source)
    return whole.x_test, whole.y_test
