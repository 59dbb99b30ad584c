"""Sets of inputs as they are given on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from verifier.values.box import Ball, Box
from verifier.values.errors import PropertyError, UserError


def input_set(a: argparse.Namespace) -> Box | Ball:
    """The set that the options describe.

    Raises:
        UserError: they contradict each other, or something cannot be read.
    """
    if a.spec is not None:
        if a.input is not None or a.eps is not None:
            raise UserError("--spec and --input: give one of them")
        return _hull(a.spec)
    if a.input is None or a.eps is None:
        raise UserError("no set of inputs is given: use --input X --eps E, or --spec SPEC")
    return Ball(_numbers(a.input), a.eps, float(a.ball), lo=a.lo, hi=a.hi)


def _hull(spec: str) -> Box:
    """The hull of a property's input boxes."""
    from verifier.spec.property import Property
    from verifier.spec.vnnlib import read

    prop: Any = read(spec)
    if not isinstance(prop, Property):
        raise PropertyError(f"{spec}: a query of version 2.0 has no input box of its own; use --input and --eps")
    if prop.n_disjuncts == 0:
        raise PropertyError(f"{spec}: the property contradicts itself: its input set is empty")
    return Box(prop.lower.min(0), prop.upper.max(0))


def _numbers(text: str) -> np.ndarray:
    """Numbers from a file, or written out."""
    path = Path(text)
    try:
        if path.suffix == ".npy":
            return np.asarray(np.load(path, allow_pickle=False), np.float64).reshape(-1)
        if path.exists():
            text = path.read_text()
        return np.array([float(word) for word in text.replace(",", " ").split()])
    except FileNotFoundError:
        raise UserError(f"{text}: there is no such file") from None
    except (OSError, ValueError, UnicodeDecodeError) as e:
        raise UserError(f"--input {str(path)[:60]}: neither a file of numbers nor numbers ({e})") from None
