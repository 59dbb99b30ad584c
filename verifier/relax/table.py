"""Operator -> its relaxation: one record a family."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from verifier.graph.graph import Operator, Rowwise
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.fit import Fit
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.near import Near
from verifier.graph.ops.norm import Norm
from verifier.graph.ops.product import Difference, Dot, Product, Share
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.relax import curves, difference, fit, gate, near, norm, product, relu, share, steps
from verifier.relax.lines import Lines
from verifier.relax.share import Planes
from verifier.values.arrays import Array

Interval = tuple[Array, Array]


@dataclass(frozen=True)
class Family:
    """How one family of operators is bounded between `lower` and `upper`, arrays `[B, *input shape]`.

    Attributes:
        lines: linear bounds.
        parallel: linear bounds of one slope, or None where only intervals are carried forward.
        image: an interval that holds every value, up to one rounding.
    """

    lines: Callable[[Any, Array, Array], Lines | Planes]
    parallel: Callable[[Any, Array, Array], Lines] | None
    image: Callable[[Any, Array, Array], Interval]


FAMILIES: dict[type[Operator], Family] = {
    Relu: Family(relu.lines, relu.lines, relu.image),
    Curve: Family(curves.lines, curves.parallel, curves.image),
    Step: Family(steps.lines, steps.parallel, steps.image),
    Fit: Family(fit.lines, fit.lines, fit.image),
    Near: Family(near.lines, near.lines, near.image),
    Product: Family(
        lambda op, l, u: product.product_lines(l, u),
        lambda op, l, u: product.product_lines(l, u),
        lambda op, l, u: product.product_image(l, u),
    ),
    Dot: Family(
        lambda op, l, u: product.dot_lines(l, u),
        lambda op, l, u: product.dot_lines(l, u),
        lambda op, l, u: product.dot_image(l, u),
    ),
    Difference: Family(
        lambda op, l, u: difference.lines(l, u),
        lambda op, l, u: difference.parallel(l, u),
        lambda op, l, u: difference.image(l, u),
    ),
    Gate: Family(gate.gate_lines, gate.parallel, gate.gate_image),
    Norm: Family(norm.lines, None, norm.image),
    Share: Family(lambda op, l, u: share.planes(l, u), None, lambda op, l, u: share.image(l, u)),
}


def relaxable(op: Operator) -> bool:
    """Whether `op` has linear bounds here."""
    return type(op) in FAMILIES and not (isinstance(op, (Relu, Gate)) and op.leak > 1)


def width(op: Operator) -> int:
    """How many numbers an operator takes for one result (2: or more); 1 for softmax, whose results come in groups."""
    return max(2, op.width) if isinstance(op, Rowwise) and not isinstance(op, Share) else 1


def by_sign(op: Operator) -> bool:
    """Whether only the sign of its input matters to how well `op` is bounded."""
    return isinstance(op, Relu) or (isinstance(op, Step) and op.kind in ("sign", "positive", "not_negative"))


def by_value(op: Operator) -> slice | None:
    """Which entries of the last axis of its input matter with their values, not by sign alone: all, where None."""
    return slice(0, 1) if isinstance(op, Gate) else None


def family(op: Operator) -> Family:
    """The record of an operator.

    Raises:
        TypeError: when the operator has none.
    """
    if not relaxable(op):
        raise TypeError(f"no relaxation for {type(op).__name__}")
    return FAMILIES[type(op)]


def lines(op: Operator, lower: Array, upper: Array) -> Lines | Planes:
    """Linear bounds of `op` between `lower` and `upper`."""
    return family(op).lines(op, lower, upper)


def image(op: Operator, lower: Array, upper: Array) -> Interval:
    """An interval that holds `op` of everything between `lower` and `upper`, up to one rounding."""
    return family(op).image(op, lower, upper)
