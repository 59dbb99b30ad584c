"""Linear bounds of margins that can be trained through: rows walked back over given intervals of the layers.

Sources: Zhang et al., *Towards Stable and Efficient Training of Verifiably Robust Neural Networks* (CROWN-IBP), 2020;
loss fusion: Xu et al., *Automatic Perturbation Analysis for Scalable Certified Robustness and Beyond*, 2020.
Plain arithmetic without rounding allowances, see `train.bounds`.  Gradients are those of the bounds, slopes included,
on curves as on rectifiers (`train.curved`).
"""

from __future__ import annotations

import torch
from torch import Tensor

from verifier.graph.graph import Affine, Operator
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.relu import Relu
from verifier.relax import relu, table
from verifier.relax.lines import Lines
from verifier.train import curved
from verifier.train.bounds import Intervals
from verifier.values.errors import ModelError


def least(bounds: Intervals, lower: Tensor, upper: Tensor, rows: Tensor, *, flat: bool = False) -> Tensor:
    """Lower bounds `[B, R]` of rows `[B, R, K]` of the outputs, for every input of the boxes `[B, *shape]`.

    Args:
        bounds: intervals of every layer on these boxes.
        flat: undecided ReLUs get the lower line 0 rather than the line z or 0 that is closer (CROWN-IBP's own choice
            where the layers' intervals are loose: it doesn't push them wider).

    Raises:
        ModelError: an operator that cannot be walked back over.

    Sound (up to rounding) because: where a coefficient is positive the lower line stands for what it bounds, where it
    is negative the upper line; affine layers are walked exactly; the last step is the least value of a plane on a box.
    """
    graph = bounds.graph
    nodes, (start,), (out,) = graph.nodes, graph.inputs, graph.outputs
    B, R = rows.shape[:2]
    over: dict[int, Tensor] = {out: rows.reshape(B * R, *nodes[out].shape)}
    b = rows.new_zeros(B, R)
    for i in range(out, -1, -1):
        if i not in over or i == start:
            continue
        A, node = over.pop(i), nodes[i]
        if isinstance(node.op, Affine):
            bias = node.op.bias()
            if bias is not None:
                b = b + (A.reshape(B, R, -1) @ bias.expand(node.shape).reshape(-1))
            parts = node.op.adjoint(A, *graph.shapes_in(i))
        else:
            (j,) = node.inputs
            A, shift = _through(node.op, A.reshape(B, R, -1), bounds.layers[j], flat, node.name)
            b, parts = b + shift, (A,)
        for j, part in zip(node.inputs, parts, strict=True):
            part = part.reshape(B * R, *nodes[j].shape)
            over[j] = over[j] + part if j in over else part
    if start not in over:
        return b
    A = over[start].reshape(B, R, -1)
    center, radius = ((upper + lower) * 0.5).reshape(B, 1, -1), ((upper - lower) * 0.5).reshape(B, 1, -1)
    return b + _summed(A, center) - _summed(A.abs(), radius)


def _through(op: Operator, A: Tensor, between: tuple[Tensor, Tensor], flat: bool, name: str) -> tuple[Tensor, Tensor]:
    """Rows `[B, R, n]` over a nonlinear operator's input, and what its lines' constants add `[B, R]`."""
    lower, upper = between
    B = len(lower)
    if isinstance(op, MaxOf):
        return _through_maxima(op, A, lower.reshape(B, -1), upper.reshape(B, -1))
    if not table.relaxable(op) or table.width(op) != 1:
        raise ModelError(f"{name}: {type(op).__name__} has no linear bounds to train with; use an interval method")
    f = curved.lines(op, lower, upper) if isinstance(op, Curve) else table.lines(op, lower, upper)
    if not isinstance(f, Lines):
        raise ModelError(f"{name}: {type(op).__name__} has no linear bounds to train with; use an interval method")
    s_l = f.s_l
    if flat and isinstance(op, Relu):
        s_l = relu.lines(op, lower, upper, torch.full_like(lower, op.leak)).s_l
    s_l, s_u, t_u = (a.reshape(B, 1, -1) for a in (s_l, f.s_u, f.t_u))
    # Rows are the largest arrays there are: as few passes over them as can be.
    negative = A.clamp(max=0.0)
    if f.t_l is None:
        shift = _summed(negative, t_u)
    else:
        t_l = f.t_l.reshape(B, 1, -1)
        shift = _summed(A, t_l) + _summed(negative, t_u - t_l)
    return torch.addcmul(A * s_l, negative, s_u - s_l), shift


def _summed(A: Tensor, v: Tensor) -> Tensor:
    """Products `[B, R]` of rows `[B, R, n]` with one vector a sample `[B, 1, n]`."""
    return torch.bmm(A, v.transpose(1, 2))[:, :, 0]


def _through_maxima(op: MaxOf, A: Tensor, lower: Tensor, upper: Tensor) -> tuple[Tensor, Tensor]:
    """A maximum is at least its entry with the largest lower bound, and at most the largest upper bound.

    Where one entry is never below another, the maximum is that entry.
    """
    B, R, n = *A.shape[:2], lower.shape[1]
    w_l, w_u = lower[:, op.windows], upper[:, op.windows]  # [B, m, w]
    first, own = w_l.max(2)
    others = w_u.scatter(2, own[:, :, None], -torch.inf)
    # A window at the border repeats an entry: its copies are the same number, not rivals.
    entry = op.windows.expand(B, -1, -1).gather(2, own[:, :, None])
    others = others.masked_fill(op.windows == entry, -torch.inf).amax(2)
    decided = (first >= others)[:, None]
    negative = A.clamp(max=0.0)
    by_entry = torch.where(decided, A, A - negative)
    out = A.new_zeros(B, R, n).scatter_add(2, entry.reshape(B, 1, -1).expand(B, R, -1), by_entry)
    return out, (torch.where(decided, 0.0, negative) * w_u.amax(2)[:, None]).sum(2)


def margin_rows(y: Tensor, K: int) -> Tensor:
    """`[B, K, K]`: row j is `z_y − z_j`, all zero at j = y."""
    eye = torch.eye(K, device=y.device)
    return eye[y][:, None] - eye


def fused(bounds: Intervals, lower: Tensor, upper: Tensor, y: Tensor, margins: Tensor, *, flat: bool = False) -> Tensor:
    """Upper bounds `[B]` of the cross-entropy over the boxes, from one row a sample (loss fusion).

    Args:
        margins: lower bounds `[B, K]` of `z_y − z_j`, as `Intervals.margins` gives them.

    With `m_j = z_y − z_j` in `[l_j, u_j]`, the loss is `log(1 + Σ_{j≠y} e^{−m_j})`; `e^{−m}` lies below its chord
    `e^{−l} + k·(m − l)`, `k = (e^{−u} − e^{−l})/(u − l) <= 0`, so one lower bound of `Σ −k_j·m_j` bounds the sum.
    The least l is taken out of the exponentials first, so that nothing overflows.
    """
    K = margins.shape[1]
    reach = _upper_margins(bounds, y, margins)
    other = torch.ones_like(margins).scatter(1, y[:, None], 0.0).bool()
    l = margins
    u = torch.maximum(reach, l)
    top = (-l).masked_fill(~other, 0.0).amax(1, keepdim=True).detach()  # >= 0: the one is at j = y
    at_l, wide = torch.exp(-l - top), u - l
    # (e^{-u} − e^{-l})/(u − l) without cancellation where the interval is short.
    k = torch.where(wide > 1e-6, at_l * torch.expm1(-wide) / wide.clamp(min=1e-6), -at_l)
    k = torch.where(other, k, 0.0)
    row = torch.einsum("bj,bjk->bk", -k, margin_rows(y, K).to(k.dtype))
    value = least(bounds, lower, upper, row[:, None], flat=flat)[:, 0]
    chords = torch.where(other, at_l - k * l, 0.0).sum(1) - value
    # Each term is bounded by its largest value, too: what linear bounds lose must not make the loss larger than that.
    chords = torch.minimum(chords, torch.where(other, at_l, 0.0).sum(1))
    one = torch.exp(-top[:, 0])
    return torch.log((one + chords).clamp(min=1e-30)) + top[:, 0]


def _upper_margins(bounds: Intervals, y: Tensor, lower: Tensor) -> Tensor:
    """Upper bounds `[B, K]` of `z_y − z_j` from lower ones: an interval's ends lie as far from its centre."""
    z = bounds.graph.nodes[bounds.graph.outputs[0]].op.evaluate(bounds.center)
    return 2 * (z.gather(1, y[:, None]) - z) - lower
