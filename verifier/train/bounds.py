"""Interval bounds that can be trained through: two passes over the network, centre and radius.

Source: Gowal et al., *On the Effectiveness of Interval Bound Propagation for Training Verifiably Robust Models*, 2018.
Plain arithmetic without rounding allowances: these bounds guide training.  What is certified is bounded again by `run`.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.graph.graph import Affine, Graph, Operator
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Move
from verifier.graph.ops.norm import Norm
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.product import Share
from verifier.graph.ops.relu import Relu
from verifier.relax import table
from verifier.train import curved
from verifier.values.errors import ModelError

PAIRS = 64
"""Up to so many classes, the difference of every pair is one row of a product that all samples share."""
INCREASING = ("sigmoid", "tanh", "atan", "erf", "softsign", "softplus", "exp")
"""Curves whose image of an interval lies between their values at its ends."""


@dataclass(frozen=True, eq=False)
class Intervals:
    """Bounds of every node that a nonlinear operator reads, and what enters the last layer.

    Attributes:
        graph: the network.
        layers: node -> lower and upper bounds `[B, *shape]`, for inputs of nonlinear operators.
        center, radius: `[B, *shape]` of the input of the output node.
    """

    graph: Graph
    layers: dict[int, tuple[Tensor, Tensor]]
    center: Tensor
    radius: Tensor

    def output(self) -> tuple[Tensor, Tensor]:
        """Lower and upper bounds `[B, K]` of the outputs."""
        op = self.graph.nodes[self.graph.outputs[0]].op
        assert isinstance(op, Affine)
        c, r = op.evaluate(self.center), op.absolute().linear(self.radius)
        return c - r, c + r

    def margins(self, y: Tensor) -> Tensor:
        """Lower bounds `[B, K]` of `z_y − z_j`, zero at j = y; `y` is `[B]`.

        The difference is taken of the last layer's rows, before their absolute values (Gowal et al. 2018, section 3).
        """
        op = self.graph.nodes[self.graph.outputs[0]].op
        if not isinstance(op, Dense) or self.center.ndim != 2:
            lower, upper = self.output()
            own = torch.zeros_like(lower, dtype=torch.bool).scatter(1, y[:, None], True)
            return (lower.gather(1, y[:, None]) - upper).masked_fill(own, 0.0)
        z = op.evaluate(self.center)
        K, n = op.W.shape
        if K <= PAIRS:
            apart = (op.W[:, None] - op.W).abs().reshape(K * K, n)
            spread = (self.radius @ apart.T).reshape(-1, K, K)[torch.arange(len(y), device=y.device), y]
        else:
            spread = torch.einsum("bkn,bn->bk", (op.W[y][:, None] - op.W).abs(), self.radius)
        return z.gather(1, y[:, None]) - z - spread


def interval(graph: Graph, lower: Tensor, upper: Tensor, *, shrink: float = 1.0) -> Intervals:
    """Bounds of a network on boxes `[B, *shape]`.

    Args:
        shrink: upper bounds behind undecided ReLUs are multiplied by so much; below 1 nothing is a bound any more.

    Raises:
        ModelError: an operator that has no bounds.

    Sound (up to rounding) because: an affine layer maps a box to values within `|W|·radius` of the image of its
    centre; every nonlinear operator's image of an interval is its family's own (`relax.table`).
    """
    nodes = graph.nodes
    last = {j: i for i, node in enumerate(nodes) for j in node.inputs}
    (out,) = graph.outputs
    if not isinstance(nodes[out].op, Affine) or len(nodes[out].inputs) != 1:
        raise ModelError(f"{nodes[out].name}: the last layer must be affine to be trained by bounds")
    mid: dict[int, tuple[Tensor, Tensor]] = {graph.inputs[0]: ((lower + upper) * 0.5, (upper - lower) * 0.5)}
    ends: dict[int, tuple[Tensor, Tensor]] = {graph.inputs[0]: (lower, upper)}
    layers: dict[int, tuple[Tensor, Tensor]] = {}
    for i, node in enumerate(nodes[:out]):
        op = node.op
        if i in graph.inputs:
            continue
        if isinstance(op, Move) and all(j in ends for j in node.inputs):  # moving numbers moves both ends
            l, u = (op.evaluate(*(ends[j][k] for j in node.inputs)) for k in (0, 1))
            ends[i] = (l, u)
        elif isinstance(op, Affine):
            own = [_mid(j, mid, ends) for j in node.inputs]
            mid[i] = (op.evaluate(*(c for c, _ in own)), op.absolute().linear(*(r for _, r in own)))
        else:
            (j,) = node.inputs
            layers[j] = _ends(j, mid, ends)
            ends[i] = image(op, *layers[j], node.name, shrink)
        for j in node.inputs:
            if last[j] == i:
                mid.pop(j, None)
                ends.pop(j, None)
    return Intervals(graph, layers, *_mid(nodes[out].inputs[0], mid, ends))


def image(op: Operator, lower: Tensor, upper: Tensor, name: str, shrink: float = 1.0) -> tuple[Tensor, Tensor]:
    """An interval that holds a nonlinear operator's values, but see `interval` about `shrink`."""
    if isinstance(op, Relu) and op.leak >= 0:  # increasing
        f = torch.relu if op.leak == 0 else op.evaluate
        most = f(upper)
        if shrink != 1:
            most = torch.where((lower < 0) & (upper > 0), shrink * most, most)
        return f(lower), most
    if isinstance(op, MaxOf) or (isinstance(op, Curve) and op.kind in INCREASING):
        return op.evaluate(lower), op.evaluate(upper)
    if not table.relaxable(op):
        raise ModelError(f"{name}: {type(op).__name__} has no bounds to train with")
    if isinstance(op, Curve):
        flat = torch.zeros_like(lower)
        return curved.least(op, 1, flat, lower, upper), -curved.least(op, -1, flat, lower, upper)
    if isinstance(op, Share):
        return _shares(lower, upper)
    if isinstance(op, Norm):
        return _norms(op, lower, upper)
    return table.image(op, lower, upper)


def _shares(lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """A softmax's share is least where its own entry is least and all others are largest, and the other way round."""
    n = lower.shape[-1]
    own = torch.eye(n, dtype=torch.bool, device=lower.device)

    def share(x: Tensor, others: Tensor) -> Tensor:
        gaps = torch.where(own, 0.0, others[..., None, :] - x[..., :, None])
        return torch.exp(-torch.logsumexp(gaps, -1))

    return share(lower, upper), share(upper, lower)


def _norms(op: Norm, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """Norms of the entries nearest to zero and farthest from it; that of zero, where none is a slope, has none."""
    size = torch.maximum(lower.abs(), upper.abs())
    small = torch.where((lower > 0) | (upper < 0), torch.minimum(lower.abs(), upper.abs()), 0.0)

    def norm(x: Tensor) -> Tensor:
        zero = x.amax(-1) == 0
        return torch.where(zero, 0.0, op.evaluate(torch.where(zero[..., None], 1.0, x)))

    return norm(small), norm(size)


def _mid(
    j: int, mid: dict[int, tuple[Tensor, Tensor]], ends: dict[int, tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    if j not in mid:
        l, u = ends[j]
        mid[j] = ((l + u) * 0.5, (u - l) * 0.5)
    return mid[j]


def _ends(
    j: int, mid: dict[int, tuple[Tensor, Tensor]], ends: dict[int, tuple[Tensor, Tensor]]
) -> tuple[Tensor, Tensor]:
    if j not in ends:
        c, r = mid[j]
        ends[j] = (c - r, c + r)
    return ends[j]
