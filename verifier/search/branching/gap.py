"""Which input to split: the one whose halving takes most of the relaxation's gap away."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.bounds.network import Network
from verifier.bounds.propagate import Bounds
from verifier.graph.graph import Affine, Input
from verifier.values import sparse
from verifier.values.arrays import Array, namespace


@dataclass(frozen=True)
class Gap:
    """Gap attribution.

    A row's bound loses, at each undecided neuron, its coefficient times the height of the relaxation's triangle,
    `−l·u/(u − l)`.  The neuron's interval is `c ± Σ_j |C_j| ± r` in forward form, so input j owns the share
    `|C_j| / Σ|C|` of its width, and is charged that share of the loss; `linear` times the row's own slope over the
    input is added, for what splitting a linear function gains in one of the two halves.
    """

    linear: float = 0.5

    def score(self, net: Network, bounds: Bounds, seen: dict[int, Array], A: Array, radius: Array) -> Array:
        """Scores `[B, n]` (none negative; zero where an input does not vary).

        Args:
            bounds: with the forms of every source.
            seen: nonlinear node -> rows `[B, *shape]` over its output, of the row that matters on each domain.
            A: `[B, n]` that row over the input.
            radius: `[B, n]`.
        """
        xp = namespace(radius)
        total = self.linear * xp.abs(A) * radius
        for i, rows in seen.items():
            node = net.graph.nodes[i]
            if isinstance(node.op, (Affine, Input)) or not len(bounds.symbols):
                continue
            (j,) = node.inputs
            l, u = (a.reshape(a.shape[0], -1) for a in bounds.interval[j])
            rows = xp.abs(sparse.dense(rows).reshape(l.shape))
            undecided = (l < 0) & (u > 0)
            loss = xp.where(undecided, rows * (-l) * u / xp.where(undecided, u - l, u * 0 + 1), u * 0)
            C = bounds.forms[j].C
            C = xp.abs(C[:, :-1].reshape(C.shape[0], C.shape[1] - 1, -1))
            width = C.sum(1)
            loss = loss / xp.where(width > 0, width, width * 0 + 1)
            total[:, bounds.symbols] += xp.einsum("bkn,bn->bk", C, loss)
        return xp.where(radius > 0, total, total * 0)
