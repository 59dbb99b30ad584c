"""Functions without a value where nobody looks: a root of a negative number that a Where does not choose.

Elsewhere a network has no value where a root or a logarithm has none, and so no counterexample, and bounds hold on the
domain only.  Behind a Where it has one.
"""

from __future__ import annotations

from verifier.graph.graph import Affine, Builder
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.relu import Relu

_DEPTH = 16


def sheltered(builder: Builder, i: int, name: str, depth: int = _DEPTH) -> int:
    """Node `i` computed so that roots of negative numbers are zero: where they are chosen, that is one value more.

    Args:
        name: of the nodes that are added.
    """
    node = builder.nodes[i]
    if not depth or not node.inputs or not isinstance(node.op, (Curve, Affine)):
        return i
    before = tuple(sheltered(builder, j, name, depth - 1) for j in node.inputs)
    if _domain_ends(node.op) and _is_root(node.op) and not isinstance(builder.nodes[before[0]].op, Relu):
        before = (builder.add(Relu(), before, name),)
    return i if before == node.inputs else builder.add(node.op, before, name)


def may_end(builder: Builder, i: int) -> bool:
    """Whether some curve before node `i` is not defined everywhere, as far as its argument shows."""
    seen, stack = set[int](), [i]
    while stack:
        node = builder.nodes[at := stack.pop()]
        if at in seen:
            continue
        seen.add(at)
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
