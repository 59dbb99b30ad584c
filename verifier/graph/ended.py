"""Functions without a value where nobody looks: a root of a negative number that a Where does not choose.

Elsewhere a network has no value where a root or a logarithm has none, and so no counterexample, and bounds hold on the
domain only.  Behind a Where it has one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from verifier.graph.graph import Affine, Builder, Shape
from verifier.graph.ops.affine import Add, Scale
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.fit import Fit
from verifier.graph.ops.gate import Gate
from verifier.graph.ops.moves import Concat, Reshape
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.product import Dot, Product
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step

_DEPTH = 16


@dataclass(frozen=True)
class Side:
    """One side of a Where.

    Attributes:
        condition: the node that says which entries are chosen.
        sign: 1 for the side that is chosen where it is 1, −1 for the other.
    """

    condition: int
    sign: int


def sheltered(builder: Builder, i: int, name: str, side: Side, depth: int = _DEPTH) -> int:
    """Node `i` computed so that roots of negative numbers are zero: where they are chosen, that is one value more.

    Sound because what lies between a root and node `i` makes no number of what is none (curves, affine operators and
    products): where a root has no value, neither has `i`.  What comes after may make one (a comparison does): so where
    the condition does not say that the root has a value, the shelter is noted in `builder.shelters`, see `exposed`.

    Args:
        name: of the nodes that are added.
    """
    return _sheltered(builder, i, name, side, depth, True)


def _sheltered(builder: Builder, i: int, name: str, side: Side, depth: int, apiece: bool) -> int:
    """As `sheltered`; apiece: whether entries of node `i` decide on the chosen entries in the same place only."""
    node = builder.nodes[i]
    if not depth or not node.inputs or not isinstance(node.op, (Curve, Affine, Product, Dot)):
        return i
    apiece = apiece and all(_in_place(node.op, node.shape, builder.nodes[j].shape) for j in node.inputs)
    before = tuple(_sheltered(builder, j, name, side, depth - 1, apiece) for j in node.inputs)
    if _domain_ends(node.op) and _is_root(node.op) and not isinstance(builder.nodes[before[0]].op, Relu):
        known = _positive(builder, node.inputs[0]) or (apiece and _not_negative(builder, node.inputs[0], side))
        before = (builder.add(Relu(), before, name),)
        if not known:
            builder.shelters.add(before[0])
    return i if before == node.inputs else builder.add(node.op, before, name)


def _in_place(op: object, shape: Shape, before: Shape) -> bool:
    """Whether entries of a result of some shape are made of those in the same place of what it is made of.

    Factors of a product are put side by side, along a last axis of their own.
    """
    if isinstance(op, Product):
        return before == (*shape, 2)
    if isinstance(op, Concat):
        return before == (*shape[:-1], 1)
    if isinstance(op, Reshape):
        return (*before, 1) == shape
    return isinstance(op, (Curve, Scale, Add)) and before == shape


def exposed(builder: Builder) -> None:
    """Take shelters away that a comparison, a rectifier or a maximum comes after: it makes a number of what is none.

    Bounds then see that the root may have no value, see `Network.fragile`.
    """
    if not builder.shelters:
        return
    seen = set[int]()
    for i in range(len(builder.nodes) - 1, -1, -1):
        node = builder.nodes[i]
        if i in seen or (isinstance(node.op, (Step, Relu, MaxOf, Fit)) and i not in builder.shelters):
            seen.update(node.inputs)
        elif isinstance(node.op, Gate):  # of a Where: what it lets through stays what it is
            pair = builder.nodes[node.inputs[0]]
            seen.update(pair.inputs[1:] if isinstance(pair.op, Concat) else node.inputs)
    for i in builder.shelters & seen:
        builder.nodes[i] = replace(builder.nodes[i], op=Reshape(builder.nodes[i].shape))


def _positive(builder: Builder, i: int) -> bool:
    """Whether node `i` is at least 0 wherever it has a value; False where that is not known."""
    node = builder.nodes[i]
    if isinstance(node.op, Scale):
        known = all(a is not None and (a >= 0).all() for a in _numbers(node.op))
        return known and _positive(builder, node.inputs[0])
    return _is_root(node.op) and node.op.parameters[0] % 1 != 0  # type: ignore[attr-defined]


def _not_negative(builder: Builder, i: int, side: Side) -> bool:
    """Whether node `i` is at least 0 wherever its side is chosen, entry by entry; False where that is not known.

    With `d` what the condition compares with zero, and both affine in the same node: `u = q·d + c`, `q·d ≥ 0`, `c ≥ 0`.
    """
    at, sign = side.condition, side.sign
    while isinstance(op := builder.nodes[at].op, Scale):
        s, t = _numbers(op)
        if s is None or t is None or not (s == -1).all() or not (t == 1).all():
            return False
        at, sign = builder.nodes[at].inputs[0], -sign
    if not isinstance(op, Step) or op.kind not in ("positive", "not_negative"):
        return False
    one, other = (_affine(builder, k) for k in (i, builder.nodes[at].inputs[0]))
    if one is None or other is None:
        return False
    (u, r, c), (v, q, d) = one, other
    if u != v or builder.nodes[i].shape != builder.nodes[at].shape or not (np.abs(r) == np.abs(q)).all():
        return False
    turn = np.where(r == q, 1.0, -1.0)  # how u turns with what is compared; exact, so that no rounding hides a sign
    return bool((turn == sign).all() and (r != 0).all() and (c >= turn * d).all())


def _affine(builder: Builder, i: int) -> tuple[int, np.ndarray, np.ndarray] | None:
    """Node `i` as `r·x + c` of a node x, of one Scale or none; None where its numbers are not known."""
    node = builder.nodes[i]
    if not isinstance(node.op, Scale):
        return i, np.ones(()), np.zeros(())
    s, t = _numbers(node.op)
    if s is None or t is None:
        return None
    return node.inputs[0], s, t


def _numbers(op: Scale) -> tuple[np.ndarray | None, np.ndarray | None]:
    """A Scale's factors and shifts; None for a module's parameters, which may change."""
    out: list[np.ndarray | None] = []
    a: Any
    for a, usual in ((op.s, 1.0), (op.t, 0.0)):
        if getattr(a, "requires_grad", False):
            out.append(None)
        else:
            held = a.cpu() if hasattr(a, "cpu") else a
            out.append(np.asarray(usual if held is None else held, np.float64))
    return out[0], out[1]


def may_end(builder: Builder, i: int) -> bool:
    """Whether some curve before node `i` is not defined everywhere, as far as its argument shows."""
    seen, stack = set[int](), [i]
    while stack:
        node = builder.nodes[at := stack.pop()]
        if at in seen:
            continue
        seen.add(at)
        if at in builder.shelters:
            return True
        if _domain_ends(node.op) and not (_is_root(node.op) and isinstance(builder.nodes[node.inputs[0]].op, Relu)):
            return True
        stack.extend(node.inputs)
    return False


def _domain_ends(op: object) -> bool:
    """Whether a curve has no value, or no finite one, at some number."""
    return isinstance(op, Curve) and (
        op.kind in ("log", "tan", "asin", "acosh", "atanh")
        or (op.kind == "power" and (op.parameters[0] < 0 or op.parameters[0] % 1 != 0))
    )


def _is_root(op: object) -> bool:
    return isinstance(op, Curve) and op.kind == "power" and op.parameters[0] > 0
