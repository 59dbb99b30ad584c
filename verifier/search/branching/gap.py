"""Which input to split: the one whose halving takes most of the relaxation's gap away."""

from __future__ import annotations

from dataclasses import dataclass

from verifier.bounds.network import Network
from verifier.bounds.propagate import Bounds
from verifier.graph.graph import Affine, Input
from verifier.relax.lines import Lines
from verifier.relax.share import Planes
from verifier.values import sparse
from verifier.values.arrays import Array, namespace

POLE = 1e9
"""What stands for an infinite distance of lines: nothing else is worth a split before poles are out of the way."""


@dataclass(frozen=True)
class Gap:
    """Gap attribution.

    A row's bound loses, at each undecided neuron, its coefficient times the height of the relaxation's triangle,
    `−l·u/(u − l)`; at other nonlinear nodes, times the distance of the linear bounds in the
    middle of the interval.  The neuron's interval is `c ± Σ_j |C_j| ± r` in forward form, so input j owns the share
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
            loss = _loss(bounds, i, j, xp.abs(sparse.dense(rows).reshape(len(radius), *node.shape)))
            C = bounds.forms[j].C
            C = xp.abs(C[:, :-1].reshape(C.shape[0], C.shape[1] - 1, -1))
            width = C.sum(1)
            loss = loss / xp.where(width > 0, width, width * 0 + 1)
            total[:, bounds.symbols] += xp.einsum("bkn,bn->bk", C, loss)
        return xp.where(radius > 0, total, total * 0)


def _loss(bounds: Bounds, i: int, j: int, rows: Array) -> Array:
    """What each entry of node `j`, the input of nonlinear node `i`, costs rows of magnitudes `rows`: `[B, size]`."""
    xp, (l, u), f = namespace(rows), bounds.interval[j], bounds.relaxed[i]
    if isinstance(f, Lines) and f.t_l is None:
        undecided = (l < 0) & (u > 0)
        loss = xp.where(undecided, rows * (-l) * u / xp.where(undecided, u - l, u * 0 + 1), u * 0)
        return loss.reshape(len(rows), -1)
    middle = 0.5 * l + 0.5 * u
    if isinstance(f, Planes):
        height = ((f.S_u - f.S_l) * middle[..., None, :]).sum(-1) + f.t_u - f.t_l
    else:
        product = (f.s_u - f.s_l) * middle
        height = (product.sum(-1) if product.ndim > f.t_u.ndim else product) + f.t_u - f.t_l
    loss = rows * xp.maximum(xp.where(xp.isfinite(height), height, POLE), 0.0)
    if isinstance(f, Planes):  # every entry of the axis has its part in every share
        loss = loss.sum(-1)[..., None] * (middle * 0 + 1)
    elif middle.ndim > loss.ndim:
        loss = loss[..., None] * (middle * 0 + 1)
    return loss.reshape(len(rows), -1)
