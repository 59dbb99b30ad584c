"""Backward linear bounds (CROWN): rows pulled back through the network to its input.

Source: Zhang et al., *Efficient Neural Network Robustness Certification with General Activation Functions*, 2018.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

from verifier.bounds.attention import one_slope, walk
from verifier.bounds.network import UNDERFLOW, Network, absolute_product
from verifier.bounds.through import through
from verifier.graph.graph import Affine
from verifier.graph.ops.affine import Dense
from verifier.relax.lines import Lines
from verifier.relax.share import Planes as Softmax
from verifier.values import sparse
from verifier.values.arrays import Array, counting, namespace, rows_of
from verifier.values.rounding import gamma


@dataclass(frozen=True)
class Planes:
    """Lower planes of P rows: the row's value is at least `A·x + b − error` for every x in its domain's box.

    Attributes:
        A: `[P, n]` over the flattened input.
        b: `[P]`.
        error: `[P]`, what rounding may have changed, for any x of the box (concretising included).
    """

    A: Array
    b: Array
    error: Array


def backward(
    net: Network,
    weight: dict[int, Array],
    relaxed: dict[int, Lines | Softmax],
    start: dict[int, Array],
    constant: Array,
    owner: Array | None,
    seen: dict[int, Array] | None = None,
) -> Planes:
    """Lower planes of rows over the input.

    Args:
        net: the network.
        weight: rounding weights of the nodes (see `Network.weight`), for the domains at hand.
        relaxed: for each nonlinear operator's node, its linear bounds on every domain.
        start: node -> `[P, *shape]`: the rows are Σ start[i]·value(i) + constant.
        constant: `[P]`.
        owner: `[P]` the domain of each row; None when P = B·R and rows of one domain stand together.
        seen: filled with the rows `[P, *shape]` over each nonlinear node's output, where given.

    Sound because: where a row's coefficient is positive the lower line stands below what it replaces, where it is
    negative the upper line stands above; every affine step is exact up to `error` (see `Network.weight`).
    """
    nodes, rows = net.graph.nodes, dict(start)
    b, error = constant, constant * 0 + weight[UNDERFLOW]
    net.tick(net.graph.effort(len(b), max(rows)))
    for i in range(max(rows), -1, -1):
        if i not in rows or i == net.input:
            continue
        net.tick()
        inputs, parts, shift, rounded = _through(net, i, rows.pop(i), weight, relaxed, owner, seen)
        b = b + shift
        error = error if rounded is None else error + rounded
        for j, part in zip(inputs, parts, strict=True):
            if j in net.quiet and not bool((part != 0).any()):
                continue
            rows[j] = _sum(rows[j], part, nodes[j].shape) if j in rows else sparse.settle(part)
            if not sparse.is_sparse(rows[j]):
                rows[j] = rows[j].reshape(-1, *nodes[j].shape)
    P = b.shape[0]
    if net.input in rows:
        A = sparse.dense(rows[net.input]).reshape(P, -1)
    else:  # the rows do not depend on the input
        A = namespace(b).broadcast_to((b * 0)[:, None], (P, nodes[net.input].size))
    return Planes(A, b, error + absolute_product(A, weight[net.input]))


def _through(
    net: Network,
    i: int,
    A: Array,
    weight: dict[int, Array],
    relaxed: dict[int, Lines | Softmax],
    owner: Array | None,
    seen: dict[int, Array] | None,
) -> tuple[tuple[int, ...], tuple[Array, ...], Array, Array | None]:
    """Rows over a node's inputs from rows over it: which nodes these are, the rows, what constants add, and errors."""
    node, op = net.graph.nodes[i], net.graph.nodes[i].op
    if i in net.attention and seen is None and one_slope(f := relaxed[i]):
        fused = net.attention[i]
        A = sparse.dense(A).reshape(-1, *node.shape)
        inputs = (fused.left, fused.right)
        sizes = (net.graph.nodes[fused.left].size, net.graph.nodes[fused.right].size)
        over_x, over_y, shift, rounded = walk(fused, A, f, weight[i], sizes)
        return inputs, (over_x, over_y), shift, rounded
    if i in relaxed:
        if seen is not None:
            seen[i] = A
        f = relaxed[i]
        if isinstance(f, Lines) and f.t_l is None:
            A, shift = _through_lines(A, f, owner)
            return node.inputs, (A,), shift * (1 + gamma(net.terms[i], net.place.dtype)), None
        A = sparse.dense(A).reshape(-1, *node.shape)
        rounded = absolute_product(A, weight[i])
        A, shift = through(A, f, owner)
        return node.inputs, (A,), shift, rounded
    assert isinstance(op, Affine)
    rounded = absolute_product(A, weight[i]) if i in weight else None
    bias = op.bias()
    shift = 0.0 if bias is None else _dot_bias(A, bias, node.shape)
    if sparse.is_sparse(A) and not isinstance(op, Dense):
        A = A.toarray().reshape(A.shape[0], *node.shape)
    return node.inputs, op.adjoint(A, *net.graph.shapes_in(i)), shift, rounded


def _sum(a: Array, b: Array, shape: tuple[int, ...]) -> Array:
    if sparse.is_sparse(a) and sparse.is_sparse(b):
        return a + b
    return sparse.dense(a).reshape(-1, *shape) + sparse.dense(b).reshape(-1, *shape)


def _through_lines(A: Array, f: Lines, owner: Array | None) -> tuple[Array, Array]:
    """Rows over a nonlinear operator's input, and what the intercepts add."""
    B, P = f.s_l.shape[0], A.shape[0]
    s_l, s_u, t_u = (a.reshape(B, -1) for a in (f.s_l, f.s_u, f.t_u))
    xp = namespace(s_l)
    if sparse.is_sparse(A):
        return sparse.through_lines(A, s_l, s_u, t_u, counting(P, s_l) // (P // B) if owner is None else owner)
    flat = A.reshape(P, prod(A.shape[1:]))
    # Each coefficient takes one of the two slopes, and rounds once: a sum of both could cancel.
    if owner is None:  # rows of one domain stand together: broadcast instead of gathering
        flat = flat.reshape(B, -1, flat.shape[1])
        negative = xp.minimum(flat, 0.0)
        shift = xp.einsum("brn,bn->br", negative, t_u).reshape(P)
        out = (flat - negative) * s_l[:, None] + negative * s_u[:, None]
        return out.reshape(A.shape), shift
    # A − |A| and A + |A| are twice the negative and positive parts, exactly, and cheaper to find than a minimum.
    positive = xp.abs(flat)
    negative = flat - positive
    positive += flat
    s_l, s_u, t_u = s_l * 0.5, s_u * 0.5, t_u * 0.5
    if B == 1:
        shift = negative @ t_u[0]
    else:
        s_l, s_u, t_u = (rows_of(a, owner) for a in (s_l, s_u, t_u))
        shift = xp.einsum("pn,pn->p", negative, t_u)
    negative *= s_u
    positive *= s_l
    positive += negative
    return positive.reshape(A.shape), shift


def _dot_bias(A: Array, bias: Array, shape: tuple[int, ...]) -> Array:
    """`Σ A·bias` with bias broadcast to the rows' shape: `[P]`."""
    bias = namespace(bias).broadcast_to(bias, shape).reshape(-1)
    return A @ bias if sparse.is_sparse(A) else A.reshape(A.shape[0], -1) @ bias
