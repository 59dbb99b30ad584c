"""Where an operator on known numbers gives what real arithmetic gives: what inputs fix is no constant to be rounded."""

from __future__ import annotations

import numpy as np

from verifier.graph.convert import Call

MOVES = frozenset(
    "Abs And ArgMax ArgMin Ceil Clip Concat ConstantOfShape DepthToSpace Equal Expand Flatten Floor Gather "
    "GatherElements GatherND Greater GreaterOrEqual Identity IsInf IsNaN Less LessOrEqual Max MaxPool Min Neg NonZero "
    "Not OneHot Or Pad ReduceMax ReduceMin Relu Reshape Round Shape Sign Size Slice SpaceToDepth Split Squeeze Tile "
    "TopK Transpose Trilu Unsqueeze Where Xor".split()
)
"""Operators that only move, select or compare numbers."""
_SCATTER = ("Scatter", "ScatterElements", "ScatterND")
_ARITHMETIC = ("Add", "Sub", "Mul", "Div")


def always(call: Call) -> bool:
    """Whether the call never rounds, whatever the numbers are."""
    return call.op in MOVES or (call.op in _SCATTER and call.get("reduction", b"none") in (b"none", "none"))


def entries(op: str, inputs: tuple[np.ndarray, ...], y: np.ndarray) -> np.ndarray:
    """Which entries of `y = op(*inputs)` are exact; False where that is not known.

    Sound because: numbers of single precision have products, and sums up to an error that is computed (Knuth), that
    are numbers of double precision; a quotient is exact if its product with the divisor is the dividend.
    """
    none = np.zeros(y.shape, bool)
    if y.dtype.kind == "b":
        return ~none if op == "Cast" else none
    if op == "Cast":
        return _cast(inputs[0], y)
    if all(a.dtype.kind in "iu" for a in (*inputs, y)):
        return ~none  # whole numbers, as the type of the model's counts them
    if op not in _ARITHMETIC or any(a.dtype.kind != "f" for a in (*inputs, y)):
        return none
    with np.errstate(all="ignore"):
        a, b, z = (np.broadcast_to(v.astype(np.float64), y.shape) for v in (*inputs, y))
        if op in ("Add", "Sub"):
            b = -b if op == "Sub" else b
            s = a + b
            t = s - a
            return np.asarray((z == s) & ((a - (s - t)) + (b - t) == 0))
        single = [v == v.astype(np.float32) for v in (a, b, z)]
        if op == "Mul":
            return np.asarray((z == a * b) & single[0] & single[1])
        return np.asarray((z * b == a) & single[1] & single[2] & (b != 0))


def _cast(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """A number that is the same in another type, or cut to a whole number as far as that type has it."""
    with np.errstate(all="ignore"):
        a, z = x.astype(np.float64), y.astype(np.float64)
    wanted = np.trunc(a) if y.dtype.kind in "iu" else a
    return np.asarray((wanted == z) & (np.abs(z) < 2.0**53))
