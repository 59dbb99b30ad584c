"""Which entries of a node are copies of one number, and which are constants."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from verifier.graph.ops.adjoint import Constant
from verifier.graph.ops.affine import Scale
from verifier.graph.ops.moves import Move
from verifier.graph.passes.edit import Editor
from verifier.values.arrays import to_numpy


@dataclass(frozen=True, eq=False)
class Copies:
    """What the entries of a node are.

    Attributes:
        ids: `[size]` equal only where values are, whatever the input; 0 for constants.
        values: `[size]` of the constants; 0 elsewhere.
        leaves: nodes that the entries were traced back to -> the id of their first entry, and how many they have.
    """

    ids: np.ndarray
    values: np.ndarray
    leaves: dict[int, tuple[int, int]] = field(default_factory=dict)

    def traced(self, at: np.ndarray) -> tuple[int, np.ndarray] | None:
        """The one node that some entries are entries of, and which; None where there are several."""
        ids = self.ids[at]
        for node, (first, size) in self.leaves.items():
            if bool(((ids >= first) & (ids < first + size)).all()):
                return node, np.rint(ids - first).astype(int)
        return None


def copies(edit: Editor, x: int) -> Copies:
    """What the entries of a node are, seen through moves and through shifts of what they pad with."""
    sizes = [int(np.prod(node.shape)) for node in edit.builder.nodes]
    first, leaves = np.cumsum([1, *sizes]), dict[int, tuple[int, int]]()

    def visit(i: int) -> tuple[np.ndarray, np.ndarray]:
        op, shape = edit.op(i), edit.shape(i)
        if isinstance(op, Constant) and op.magnitude is None:
            return np.zeros(shape), np.asarray(to_numpy(op.value), np.float64)
        if isinstance(op, Move):
            before, move = [visit(j) for j in edit.inputs(i)], op.cast(to_numpy)
            assert isinstance(move, Move)
            ids, values = (move.linear(*(part[k][None] for part in before))[0] for k in (0, 1))
            return ids, values
        if isinstance(op, Scale) and op.magnitude is None:
            ids, values = visit(edit.inputs(i)[0])
            s, t = (np.asarray(d if a is None else to_numpy(a), np.float64) for a, d in ((op.s, 1.0), (op.t, 0.0)))
            s, t = np.broadcast_to(s, shape), np.broadcast_to(t, shape)
            exact = (ids == 0) & ((values == 0) | (t == 0) & (abs(s) == 1))  # nothing was rounded
            same, other = ids, (ids == 0) & ~exact | (ids != 0) & ((s != 1) | (t != 0))
            if other.any():
                read = np.stack([ids, values, s, t]).reshape(4, -1)
                kinds, alike = np.unique(read, axis=1, return_inverse=True)
                if kinds.shape[1] == sizes[i] and not exact.any():
                    return leaf(i)
                same = np.where(other, first[i] + alike.reshape(shape), ids)
            return np.where(exact, 0.0, same), np.where(exact, s * values + t, 0.0)
        return leaf(i)

    def leaf(i: int) -> tuple[np.ndarray, np.ndarray]:
        leaves[i] = int(first[i]), sizes[i]
        every = first[i] + np.arange(sizes[i], dtype=np.float64)
        return every.reshape(edit.shape(i)), np.zeros(edit.shape(i))

    ids, values = visit(x)
    return Copies(ids.reshape(-1), values.reshape(-1), leaves)
