"""Operator -> its relaxation."""

from __future__ import annotations

from verifier.graph.graph import Operator
from verifier.graph.ops.relu import Relu
from verifier.relax import relu
from verifier.relax.relu import Lines
from verifier.values.arrays import Array


def relaxable(op: Operator) -> bool:
    """Whether `op` has linear bounds here."""
    return isinstance(op, Relu) and op.leak <= 1


def lines(op: Operator, lower: Array, upper: Array, alpha: Array | None = None) -> Lines:
    """Linear bounds of `op` between `lower` and `upper`, arrays `[B, *shape]`.

    Raises:
        TypeError: when the operator has no row here.
    """
    if isinstance(op, Relu):
        return relu.lines(op, lower, upper, alpha)
    raise TypeError(f"no relaxation for {type(op).__name__}")


def image(op: Operator, lower: Array, upper: Array) -> tuple[Array, Array]:
    """An interval that holds `op` of everything between `lower` and `upper`, up to one rounding.

    Raises:
        TypeError: when the operator has no row here.
    """
    if isinstance(op, Relu):
        return relu.image(op, lower, upper)
    raise TypeError(f"no relaxation for {type(op).__name__}")
