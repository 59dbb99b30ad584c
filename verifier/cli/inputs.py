"""Sets of inputs as they are given on the command line."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np

from verifier.values.box import Ball, Box
from verifier.values.errors import PropertyError, UserError, why


def input_set(a: argparse.Namespace) -> Box | Ball:
    """The set that the options describe.

    Raises:
        UserError: they contradict each other, or something cannot be read.
    """
    if a.spec is not None:
        if a.input is not None or a.eps is not None:
            raise UserError("--spec and --input: give one of them")
        if a.ball is not None or a.lo is not None or a.hi is not None:
            raise UserError("--ball, --lo and --hi shape the set about --input; leave them out with --spec")
        return _hull(a.spec)
    if a.input is None or a.eps is None:
        others = ", --spec SPEC or --everywhere" if hasattr(a, "everywhere") else ", or --spec SPEC"
        raise UserError(f"no set of inputs is given: use --input X --eps E{others}")
    return Ball(_numbers(a.input), a.eps, float(a.ball or "inf"), lo=a.lo, hi=a.hi)


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
    try:
        # Before any look at files: many numbers are longer than a file's name may be.
        return np.array([float(word) for word in text.replace(",", " ").split()])
    except ValueError:
        path = Path(text)
    try:
        if path.suffix == ".npy":
            values = np.load(path, allow_pickle=False)
            if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
                raise ValueError("its entries are not real numbers")
            return np.asarray(values, np.float64).reshape(-1)
        return np.array([float(word) for word in path.read_text().replace(",", " ").split()])
    except (OSError, EOFError, ValueError) as e:
        reason = "there is no such file" if isinstance(e, FileNotFoundError) else why(e)
        raise UserError(f"--input {text[:60]}: neither a file of numbers nor numbers ({reason})") from None
