"""Properties made from arrays instead of files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from verifier.spec.clauses import Clauses, Nest
from verifier.spec.property import Array, Property
from verifier.values import given
from verifier.values.ball import Ball
from verifier.values.box import Box
from verifier.values.errors import PropertyError
from verifier.values.sets import Product, curved


def robustness(
    center: Any,
    eps: Any,
    label: int,
    n_classes: int,
    lo: Any = None,
    hi: Any = None,
    source: str = "robustness",
    norm: float = float("inf"),
) -> Property:
    """Some input within `eps` of `center` is not classified as `label`.

    One disjunct a rival class: its score is at least the label's.

    Args:
        center: `[n]` or any shape, flattened row-major.
        eps: radius, one number or (maximum norm) one a coordinate; not negative.
        label: the class that should win, in 0 .. n_classes - 1.
        n_classes: number of outputs, at least 2.
        norm: 1, 2 or infinity.
        lo, hi: the valid range of inputs, numbers or arrays like `center`; the ball is cut to it.

    Raises:
        PropertyError: shapes, ranges or the label do not fit, or the ball lies outside lo .. hi.
    """
    x, norm = given.vector("center", center), given.norm("norm", norm)
    radius = _like(eps, x, "eps")
    if (radius < 0).any():
        raise PropertyError(f"{source}: center and eps must be finite and eps not negative; correct them")
    lo, hi = _like(_or(lo, -np.inf), x, "lo", finite=False), _like(_or(hi, np.inf), x, "hi", finite=False)
    label, n_classes = given.whole("label", label), given.whole("n_classes", n_classes)
    if n_classes < 2 or not 0 <= label < n_classes:
        raise PropertyError(f"{source}: label {label} of {n_classes} classes; give 0 <= label < n_classes, two or more")
    outer, inner = _ends(x, radius, lo, hi, source)
    rivals = [k for k in range(n_classes) if k != label]
    A = np.zeros((len(rivals), n_classes))
    A[:, label] = 1.0
    A[np.arange(len(rivals)), rivals] = -1.0
    index = np.arange(len(rivals), dtype=np.int64)
    start = np.arange(len(rivals) + 1, dtype=np.int64)
    prop = _property(outer, inner, A, np.zeros(len(rivals)), start, index, source)
    return prop if norm == float("inf") else replace(prop, ball=Ball(x, float(radius[0]), norm))


def output_property(
    lower: Any, upper: Any, disjuncts: Sequence[Sequence[tuple[Any, float]]], source: str = "property"
) -> Property:
    """Some input between `lower` and `upper` has an output in a union of polytopes.

    Args:
        lower, upper: `[n]` or any shape, flattened row-major; finite.
        disjuncts: for every polytope its half-spaces `(coefficients [m], d)`, each meaning `coefficients · y <= d`.

    Raises:
        PropertyError: shapes do not fit, a number is not finite, lower exceeds upper, or no half-space is given.
    """
    low, high = given.vector("lower", lower), given.vector("upper", upper)
    if low.shape != high.shape:
        raise PropertyError(f"{source}: lower has {len(low)} entries and upper {len(high)}; give as many")
    if not (low <= high).all():
        raise PropertyError(f"{source}: bounds must be finite and lower at most upper; correct them")
    try:
        pairs = [[(a, d) for a, d in disjunct] for disjunct in disjuncts]
    except (TypeError, ValueError):
        what = given.shown(disjuncts)
        raise PropertyError(f"disjuncts {what}: give a list of lists of pairs (coefficients, d)") from None
    rows = [(given.vector("coefficients", a), given.number("d", d)) for disjunct in pairs for a, d in disjunct]
    if not rows:
        raise PropertyError(f"{source}: no half-space over the outputs; give at least one")
    if len({len(a) for a, _ in rows}) != 1:
        raise PropertyError(f"{source}: half-spaces with different numbers of outputs; give all the same")
    A, d = np.stack([a for a, _ in rows]), np.array([d for _, d in rows])
    distinct, literal = np.unique(np.column_stack([A, d]), axis=0, return_inverse=True)
    start = np.cumsum([0, *map(len, pairs)], dtype=np.int64)
    return _property((low, high), (low, high), distinct[:, :-1].copy(), distinct[:, -1].copy(), start,
                     literal.reshape(-1).astype(np.int64), source)  # fmt: skip


def on_set(prop: Property, inputs: Box | Ball | Product) -> Property:
    """A property of one box, asked about another set of as many inputs.

    Raises:
        PropertyError: sizes differ, numbers overflow, or there is nothing in the set.
    """
    box, source = inputs.box(), prop.source
    if len(box.lower) != prop.n_inputs:
        raise PropertyError(f"{source}: the set has {len(box.lower)} entries, and there are {prop.n_inputs} inputs")
    ends = np.stack([box.lower, box.upper, box.lower, box.upper])
    balls = () if isinstance(inputs, Box) else inputs.parts() if isinstance(inputs, Product) else inputs.balls()
    for at, ball in balls:
        x = ball.center
        lo, hi = _like(_or(ball.lo, -np.inf), x, "lo", finite=False), _like(_or(ball.hi, np.inf), x, "hi", finite=False)
        outer, inner = _ends(x, _like(ball.eps, x, "eps"), lo, hi, source)
        ends[:, at] = np.stack([*outer, *inner])
    lower, upper, inner_lower, inner_upper = ends[:, None]
    return replace(prop, lower=lower, upper=upper, inner_lower=inner_lower, inner_upper=inner_upper,
                   ball=curved(inputs))  # fmt: skip


def _or(value: Any, other: float) -> Any:
    return other if value is None else value


def with_clauses(prop: Property, clauses: Sequence[Sequence[Sequence[tuple[Any, float]]]]) -> Property:
    """The property where, in every disjunct, a list of disjunctions holds as well.  They are not multiplied out.

    Args:
        prop: as of `output_property`, or read from a file, without clauses.
        clauses: for each its alternatives, for each alternative its half-spaces `(coefficients [m], d)`.

    Raises:
        PropertyError: shapes do not fit, a number is not finite, an alternative is empty, or there are clauses.
    """
    if prop.clauses is not None or not clauses:
        raise PropertyError(f"{prop.source}: give a property without clauses, and at least one clause")
    alternatives = [a for clause in clauses for a in clause]
    rows = [(given.vector("coefficients", v), given.number("d", d)) for a in alternatives for v, d in a]
    if not all(map(len, clauses)) or not all(map(len, alternatives)):
        raise PropertyError(f"{prop.source}: a clause without alternatives, or one without half-spaces; leave it out")
    if any(len(a) != prop.n_outputs or not a.any() or not np.isfinite([*a, d]).all() for a, d in rows):
        raise PropertyError(f"{prop.source}: give {prop.n_outputs} finite coefficients, not all zero, and a finite d")
    L, J, C = len(rows), prop.n_disjuncts, len(clauses)
    column = [np.flatnonzero(a) for a, _ in rows]
    d, no = np.array([d for _, d in rows]), np.zeros(L, bool)
    first, start = (np.cumsum([0, *map(len, some)], dtype=np.int64) for some in (clauses, alternatives))
    made = Clauses(np.cumsum([0, *map(len, column)], dtype=np.int64), np.concatenate(column) + prop.n_inputs,
                   np.concatenate([a[at] for (a, _), at in zip(rows, column, strict=True)]), d, d.copy(), no, no.copy(),
                   Nest(L, first, start, np.arange(L)), np.arange(J + 1) * C, np.tile(np.arange(C), J))  # fmt: skip
    return replace(prop, clauses=made)


def _property(
    outer: tuple[Array, Array], inner: tuple[Array, Array], A: Array, d: Array, start: Any, literal: Any, source: str
) -> Property:
    """One box, exact non-strict literals over the outputs."""
    flags = np.zeros(len(d), bool)
    return Property(outer[0][None], outer[1][None], inner[0][None], inner[1][None],
                    np.zeros(len(start) - 1, np.int64), start, literal, A, None, d, d.copy(), flags, flags.copy(),
                    source)  # fmt: skip


def _like(value: Any, x: Array, name: str, finite: bool = True) -> Array:
    """`value` as `[n]`: one number for all coordinates, or one a coordinate."""
    return np.broadcast_to(given.spread(name, value, len(x), "the center", finite=finite), x.shape)


def _ends(
    x: Array, radius: Array, lo: Array, hi: Array, source: str
) -> tuple[tuple[Array, Array], tuple[Array, Array]]:
    """The ends of `x ± radius`, cut to `lo` .. `hi`: rounded outward, and inward."""
    lower, lower_rest = _exact_sum(x, -radius)
    upper, upper_rest = _exact_sum(x, radius)
    if not (np.isfinite(lower).all() and np.isfinite(upper).all()):
        raise PropertyError(f"{source}: center +- eps overflows; use a smaller eps")
    outer = (
        np.where(lower_rest < 0, np.nextafter(lower, -np.inf), lower),
        np.where(upper_rest > 0, np.nextafter(upper, np.inf), upper),
    )
    inner = (
        np.where(lower_rest > 0, np.nextafter(lower, np.inf), lower),
        np.where(upper_rest < 0, np.nextafter(upper, -np.inf), upper),
    )
    low, high = np.maximum(outer[0], lo), np.minimum(outer[1], hi)
    if (low > high).any():
        i = int(np.flatnonzero(low > high)[0])
        raise PropertyError(f"{source}: the ball lies outside lo .. hi at coordinate {i}; move the center or lo, hi")
    return (low, high), (np.maximum(inner[0], lo), np.minimum(inner[1], hi))


def _exact_sum(a: Array, b: Array) -> tuple[Array, Array]:
    """The nearest double of `a + b` and the exact rest (Knuth)."""
    with np.errstate(over="ignore", invalid="ignore"):  # an overflow is found by the caller
        total = a + b
        part = total - a
        return total, (a - (total - part)) + (b - part)
