"""Entries that are no numbers at any input, such as a softmax of nothing: allowed where nobody looks at them.

Exporters write attention so that a query that may look at nothing gets a softmax of nothing but minus infinity, and
choose zeros in its place.  In the graph such entries are zero; here it is said which they are, and that they are only
moved, and dropped, before anything is computed of them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from verifier.graph.graph import Builder
from verifier.graph.ops.affine import Scale
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.fit import Fit
from verifier.graph.ops.moves import Move
from verifier.graph.ops.near import Near


def undefined(builder: Builder, wanted: Iterable[int]) -> dict[int, np.ndarray]:
    """For the nodes that some depend on and that have entries without a value: which, in the node's shape.

    Raises:
        ValueError: something is computed of such an entry.
    """
    needed, stack = set[int](), list(wanted) if builder.undefined else []
    while stack:
        if (i := stack.pop()) not in needed:
            needed.add(i)
            stack.extend(builder.nodes[i].inputs)
    found: dict[int, np.ndarray] = {}
    for i in sorted(needed):
        node = builder.nodes[i]
        if i in builder.undefined:
            found[i] = builder.undefined[i]
        elif any(j in found for j in node.inputs):
            mask = _passed(builder, i, found)
            if mask.any():
                found[i] = mask
    return found


def _passed(builder: Builder, i: int, found: dict[int, np.ndarray]) -> np.ndarray:
    node = builder.nodes[i]
    parts = [found.get(j, np.zeros(builder.nodes[j].shape, bool)) for j in node.inputs]
    if isinstance(node.op, Move):
        return np.asarray(node.op.evaluate(*(p[None].astype(np.float64) for p in parts)))[0] > 0
    if isinstance(node.op, (Scale, Fit, Near, Curve)):  # entry by entry, and of what is no number they make none
        return np.broadcast_to(parts[0], node.shape)
    source = next(builder.nodes[j].name for j in node.inputs if j in found)
    raise ValueError(f"'{node.name}' is computed of '{source}', a softmax of nothing but minus infinity")


def check(builder: Builder, outputs: Iterable[int]) -> None:
    """Raise `ValueError` where an output has entries without a value, or something is computed of some."""
    outputs = list(outputs)
    found = undefined(builder, outputs)
    for i in outputs:
        if i in found:
            raise ValueError(f"output '{builder.nodes[i].name}' holds a softmax of nothing but minus infinity")
