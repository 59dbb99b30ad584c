"""How far the nodes of two copies of a network are apart, followed on its own.

Bounded side by side, two copies know nothing of each other: what rectifiers lose is lost twice, however close the
copies are.  Next to both, the difference d of each two nodes is computed from the differences before: an affine layer
maps d linearly (its constant cancels), a rectifier maps it by the operator `Difference`.  A row `f(x') − f(x)` then
starts at d alone, and what is lost is in proportion to d.

Source: Paulsen et al., *ReluDiff: Differential Verification of Deep Neural Networks*, 2020.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from verifier.graph.graph import Affine, Builder, Graph, Input, Node, Operator, Shape
from verifier.graph.ops.affine import Add, Dense, Scale
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.moves import Concat, Reshape, Take
from verifier.graph.ops.product import Difference
from verifier.graph.ops.relu import Relu
from verifier.graph.weights import is_sparse


def alike(first: Graph, second: Graph) -> bool:
    """Whether two graphs are the same but for parameters, with a rectifier that differences are followed through."""
    if (first.inputs, first.outputs, len(first.nodes)) != (second.inputs, second.outputs, len(second.nodes)):
        return False
    same = all(
        (a.inputs, a.shape) == (b.inputs, b.shape) and same_kind(a.op, b.op)
        for a, b in zip(first.nodes, second.nodes, strict=True)
    )
    return same and any(_rectifier(node.op) for node in first.nodes)


def differences(
    build: Builder,
    graphs: tuple[Graph, Graph],
    at: tuple[Sequence[int], Sequence[int]],
    start: Mapping[int, int | None],
) -> list[int | None]:
    """Add the differences of two networks that are `alike` and there already, second less first.

    Args:
        build: where everything goes.
        graphs: the networks, all parameters numpy arrays; at: where their nodes are.
        start: for every input of the networks the difference of its values (None: there is none).

    Returns: for each output where the difference is; None where there is none.

    Sound because: `W'v' + b' − (W v + b) = W'(v' − v) + (W' − W)v + (b' − b)`; a rectifier's difference is what
    `Difference` computes from both its inputs; any other operator's is taken of its values.
    """
    both = _Both(build, graphs, at, dict(start))
    for i, node in enumerate(graphs[1].nodes):
        if i not in both.differences:
            both.differences[i] = both.visit(i, node)
    return [both.differences[i] for i in graphs[1].outputs]


class _Both:
    """The differences so far, by node of the graphs (None where there is none)."""

    def __init__(
        self,
        build: Builder,
        graphs: tuple[Graph, Graph],
        at: tuple[Sequence[int], Sequence[int]],
        differences: dict[int, int | None],
    ) -> None:
        self._build, self._graphs, self._at = build, graphs, at
        self.differences = differences

    def visit(self, i: int, node: Node) -> int | None:
        """The difference at node `i`."""
        op, before = node.op, self._graphs[0].nodes[i].op
        changed = [self.differences[j] for j in node.inputs]
        terms: list[int] = []
        if isinstance(op, Affine):
            assert isinstance(before, Affine)
            rest = None if op is before else less(op, before)
            if any(d is not None for d in changed):
                terms.append(self._linear(op, node, changed))
            if rest is not None:
                terms.append(self._build.add(rest, [self._at[0][j] for j in node.inputs], node.name))
        elif any(d is not None for d in changed):
            terms.append(self._nonlinear(i, node))
        if not terms:
            return None
        return terms[0] if len(terms) == 1 else self._build.add(Add(), terms, node.name)

    def _linear(self, op: Affine, node: Node, changed: list[int | None]) -> int:
        """`Σ W_i d_i`."""
        if isinstance(op, Add):
            kept = [(s, d) for s, d in zip(op.signs, changed, strict=True) if d is not None]
            return self._build.add(Add(tuple(s for s, _ in kept)), [d for _, d in kept], node.name)
        if isinstance(op, Scale) and op.s is None and changed[0] is not None:
            return changed[0]
        inputs = [self._zero(j) if d is None else d for j, d in zip(node.inputs, changed, strict=True)]
        return self._build.add(without_bias(op), inputs, node.name)

    def _nonlinear(self, i: int, node: Node) -> int:
        """What a nonlinear operator makes of a difference."""
        build, first, second = self._build, *self._at
        if not _rectifier(node.op):
            return build.add(Add((1, -1)), (second[i], first[i]), node.name)
        (j,) = node.inputs
        d = self.differences[j]
        assert d is not None
        return rectified(build, (first[j], second[j], d), self._graphs[1].nodes[j].shape, node.name)

    def _zero(self, j: int) -> int:
        """Zeros of the shape of node `j`."""
        shape = self._graphs[1].nodes[j].shape
        return self._build.add(Take(np.full(prod(shape), -1), shape), (self._at[0][j],))


def rectified(build: Builder, inputs: tuple[int, int, int], shape: Shape, name: str) -> int:
    """`relu(e) − relu(z)` of nodes z, e and d of one shape, where d is e − z."""
    triple = [build.add(Reshape((*shape, 1)), (k,), name) for k in inputs]
    return build.add(Difference(), (build.add(Concat(len(shape)), triple, name),), name)


def _rectifier(op: Operator) -> bool:
    return isinstance(op, Relu) and op.leak == 0.0


def same_kind(a: Operator, b: Operator) -> bool:
    """Whether two operators are equal, or of one kind whose parameters can be subtracted."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, Dense) and isinstance(b, Dense):
        return bool(a.W.shape == b.W.shape)
    if isinstance(a, Conv) and isinstance(b, Conv):
        return a.W.shape == b.W.shape and all(
            getattr(a, n) == getattr(b, n) for n in ("stride", "pads", "dilation", "groups")
        )
    return isinstance(a, (Scale, Input)) or _equal(vars(a), vars(b))


def _equal(a: dict[str, Any], b: dict[str, Any]) -> bool:
    """Whether operators' attributes are equal, arrays compared entry by entry (what they have cached aside)."""
    names = [n for n in a if not n.startswith("_")]
    return all(n in b and type(a[n]) is type(b[n]) and np.array_equal(a[n], b[n]) for n in names)


def without_bias(op: Affine) -> Affine:
    """The linear part of an affine operator."""
    if op.bias() is None:
        return op
    name = "t" if isinstance(op, Scale) else "b"
    magnitude = getattr(op, "magnitude", None)
    if magnitude is not None:
        magnitude = replace(magnitude, **{name: None})
    return replace(op, **{name: None, **({} if magnitude is None else {"magnitude": magnitude})})  # type: ignore[type-var]


def less(op: Affine, before: Affine) -> Affine | None:
    """The operator `op − before`, or None where both compute the same.

    Parameters are subtracted in double precision: each may be off by a unit of itself, which a magnitude of twice its
    size covers (see `weights`); what the operators' own magnitudes allow for is added.
    """
    names = ("s", "t") if isinstance(op, Scale) else ("W", "b")
    if not hasattr(op, names[0]):
        return None
    pairs = [_both(getattr(op, n), getattr(before, n), float(n == "s")) for n in names]
    carried = [o for o in (op, before) if getattr(o, "magnitude", None) is not None]
    if not carried and all(a is None or np.array_equal(a, b) for a, b in pairs):
        return None
    found = [None if a is None else a - b for a, b in pairs]
    if isinstance(op, Scale) and found[0] is None:
        found[0] = np.array(0.0)  # without s it would be one
    if found[1] is not None and not found[1].any():
        found[1] = None
    result = replace(op, **dict(zip(names, found, strict=True)), magnitude=None)  # type: ignore[type-var]
    exact = all(a is None or _exactly(a, b, d) for (a, b), d in zip(pairs, found, strict=True) if d is not None)
    if exact and not carried:
        return result
    size = [None if d is None else 2.0 * abs(d) for d in found]
    for o in carried:
        k = (o.terms() + 2) / result.terms() + 1e-9
        more = [dense(getattr(o.absolute(), n)) for n in names]
        size = [m if s is None else s if m is None else s + k * m for s, m in zip(size, more, strict=True)]
    magnitude = replace(result, **dict(zip(names, size, strict=True)))  # type: ignore[type-var]
    return replace(result, magnitude=magnitude)  # type: ignore[type-var]


def _both(a: Any, b: Any, default: float) -> tuple[Any, Any]:
    """Two parameters as arrays of one shape, None where both are missing."""
    if a is None and b is None:
        return None, None
    found = [np.asarray(default) if p is None else dense(p) for p in (a, b)]
    left, right = np.broadcast_arrays(*found)
    return left, right


def dense(a: Any) -> Any:
    """Weights as a numpy array."""
    return a.toarray() if is_sparse(a) else a


def _exactly(a: np.ndarray, b: np.ndarray, d: np.ndarray) -> bool:
    """Whether `d = a − b` without rounding (the rest that Knuth's sum leaves is zero)."""
    part = d - a
    return bool(((a - (d - part)) + (-b - part) == 0).all())
