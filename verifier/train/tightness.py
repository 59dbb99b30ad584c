"""Propagation tightness: how much of the interval bounds' width is real.

Source: Mao et al., *Understanding Certified Training with Interval Bound Propagation*, ICLR 2024, section 3.  A network
is replaced by its linear piece at a point, and of that piece the exact output radius `|J| ε` is divided by the radius
that interval bounds give, `A ε`: J the product of the layers' matrices, A that of their absolute values.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from verifier.graph.graph import Affine, Elementwise, Graph, Node, Operator
from verifier.graph.ops.affine import Scale
from verifier.graph.ops.moves import Move
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.values.errors import ModelError

KINDS = ("local", "linear")
NUMBERS = 10**7
"""Numbers that rows under way may hold at once, in the widest layer."""


def tightness(graph: Graph, x: Tensor, radius: Tensor, *, kind: str = "local", rows: Tensor | None = None) -> Tensor:
    """Tightness `[B, R]` of rows of the outputs, each in [0, 1]; NaN where a row does not depend on the input at all.

    Args:
        graph: the network, on torch in double precision; gradients reach its parameters.
        x: `[B, *shape]` points.
        radius: `[B, *shape]` of the boxes, not negative; only its proportions matter.
        kind: `local`: of the linear piece at x, where ReLUs are on from zero upwards; `linear`: activations left out,
            the same at every point.
        rows: `[R, K]` of the flattened output, merged into the last layer; the outputs themselves where None.

    Raises:
        ModelError: an operator that is neither affine nor an elementwise function with a derivative (pooling is
            followed at its winner, locally), or numbers that are not finite.

    Nothing is cut off below: rows are multiplied by powers of two on the way, the same for J and A, so that ratios of
    networks of any depth come out, however small the products themselves are.
    """
    nodes, (start,) = graph.nodes, graph.inputs
    out = graph.outputs[0]
    values = _values(graph, x) if kind == "local" else [None] * len(nodes)
    C = torch.eye(nodes[out].size, dtype=x.dtype, device=x.device) if rows is None else rows
    B, R = len(x) if kind == "local" else 1, len(C)
    J: dict[int, Tensor] = {out: C.expand(B, R, -1).reshape(B * R, *nodes[out].shape)}
    A = {out: J[out].abs()}
    last = {out}  # on the way from the outputs to the layer that the rows are merged into
    for i in range(out, -1, -1):
        if i not in J or i == start:
            continue
        op = nodes[i].op
        parts = _back(nodes[i], graph, J.pop(i), A.pop(i), values, kind)
        if i in last and isinstance(op, Affine):
            parts = [(signed, signed.abs()) for signed, _ in parts]
            if isinstance(op, Move) or (isinstance(op, Scale) and op.s is None):
                last.update(nodes[i].inputs)
        for j, (signed, absolute) in zip(nodes[i].inputs, parts, strict=True):
            shape = (B * R, *nodes[j].shape)
            J[j] = J[j] + signed.reshape(shape) if j in J else signed.reshape(shape)
            A[j] = A[j] + absolute.reshape(shape) if j in A else absolute.reshape(shape)
        _rescale(J, A)
    if start not in J:
        return x.new_full((len(x), R), torch.nan)
    flat = radius.reshape(len(x), -1, 1).to(x)
    exact, bound = ((a.reshape(B, R, -1).expand(len(x), R, -1) @ flat)[:, :, 0] for a in (J[start].abs(), A[start]))
    if not bool(torch.isfinite(bound).all()):
        raise ModelError("weights that are not finite numbers have no propagation tightness")
    return torch.where(bound > 0, exact / torch.where(bound > 0, bound, 1.0), torch.nan)


def by_parts(graph: Graph, x: Tensor, radius: Tensor, kind: str, rows: Tensor) -> Tensor:
    """`tightness` of a few points and rows at a time, so that memory suffices."""
    each = few(graph, 1, "local", len(rows))  # rows of one point
    step = few(graph, each, kind, len(x))
    parts = zip(x.split(step), radius.split(step), strict=True)
    return torch.cat(
        [torch.cat([tightness(graph, p, r, kind=kind, rows=C) for C in rows.split(each)], 1) for p, r in parts]
    )


def few(graph: Graph, rows: int, kind: str, of: int) -> int:
    """How many out of so many points may be looked at together, with so many rows each."""
    widest = max(node.size for node in graph.nodes)
    return of if kind == "linear" else max(1, min(of, NUMBERS // (widest * max(1, rows))))


def _values(graph: Graph, x: Tensor) -> list[Any]:
    """Value of every node; with gradients only where slopes have any."""
    curved = any(isinstance(node.op, Elementwise) and not isinstance(node.op, Relu) for node in graph.nodes)
    with torch.set_grad_enabled(curved and torch.is_grad_enabled()):
        return graph.values(x)


def _back(node: Node, graph: Graph, J: Tensor, A: Tensor, values: list[Any], kind: str) -> list[tuple[Tensor, Tensor]]:
    """Rows over a node's inputs: of the product, and of the product of absolute values."""
    op = bare(node.op)
    if isinstance(op, Affine):
        shapes = tuple(graph.nodes[j].shape for j in node.inputs)
        return list(zip(op.adjoint(J, *shapes), op.absolute().adjoint(A, *shapes), strict=True))
    if isinstance(op, Elementwise) and not isinstance(op, Step):
        if kind == "linear":
            return [(J, A)]
        z = values[node.inputs[0]]
        # A ReLU at zero is on, as in the paper: D = diag(1[z >= 0]).
        one, leak = (z.new_tensor(v) for v in (1.0, getattr(op, "leak", 0.0)))
        slope = torch.where(z >= 0, one, leak) if isinstance(op, Relu) else op.slope(z)
        if not bool(torch.isfinite(slope).all()):
            raise ModelError(f"{node.name}: its slope at x is infinite or undefined, so that there is no tightness")
        slope = slope.repeat_interleave(len(J) // len(z), 0)
        return [(J * slope, A * slope.abs())]
    if isinstance(op, MaxOf) and kind == "local":
        z = values[node.inputs[0]].flatten(1)
        winner = z[:, op.windows].argmax(2)
        entry = op.windows.expand(len(z), -1, -1).gather(2, winner[:, :, None])[:, :, 0]
        entry = entry.repeat_interleave(len(J) // len(z), 0)
        signed, absolute = (a.new_zeros(len(a), z.shape[1]).scatter_add(1, entry, a.flatten(1)) for a in (J, A))
        return [(signed, absolute)]
    raise ModelError(f"{node.name}: {type(op).__name__} has no propagation tightness of kind {kind}")


def bare(op: Operator) -> Operator:
    """The operator without what its matrix was computed from: `absolute` is then of the matrix itself."""
    return replace(op, magnitude=None) if getattr(op, "magnitude", None) is not None else op  # type: ignore[type-var]


def _rescale(J: dict[int, Tensor], A: dict[int, Tensor]) -> None:
    """Multiply all rows `[P, ...]` that are under way by powers of two that bring the largest of A near one."""
    tops = torch.stack([a.detach().reshape(len(a), -1).amax(1) for a in A.values()]).amax(0)
    exponent = torch.frexp(torch.where(tops > 0, tops, 1.0)).exponent.clamp(min=-1000)  # so that its inverse is finite
    factor = torch.ldexp(torch.ones_like(tops), -exponent)
    for rows in (J, A):
        for j, a in rows.items():
            rows[j] = a * factor.reshape(-1, *(1,) * (a.ndim - 1))


def mean(values: Tensor) -> Tensor:
    """The mean over samples and rows, without those that depend on nothing; NaN where none is left."""
    return values.nanmean()


def up_to(graph: Graph, i: int) -> Graph:
    """The network that ends in node `i`."""
    return Graph(graph.nodes[: i + 1], graph.inputs, (i,))


def profile(
    graph: Graph, x: Tensor, radius: Tensor, *, kind: str = "local", neurons: int = 32, seed: int = 0
) -> list[tuple[str, float]]:
    """Mean tightness of the inputs of every elementwise layer, and of the outputs, from the first to the last.

    Args:
        neurons: up to so many of a layer are looked at, drawn at random.

    Returns: name of the layer, tightness.
    """
    generator = torch.Generator().manual_seed(seed)
    ends = sorted({n.inputs[0] for n in graph.nodes if isinstance(n.op, Elementwise)} | {graph.outputs[0]})
    found = []
    for i in ends:
        size = graph.nodes[i].size
        if i in graph.inputs:
            continue
        chosen = torch.randperm(size, generator=generator)[:neurons].sort().values
        rows = torch.zeros(len(chosen), size, dtype=x.dtype, device=x.device)
        rows[torch.arange(len(chosen)), chosen] = 1
        values = by_parts(up_to(graph, i), x, radius, kind, rows)
        found.append((graph.nodes[i].name, float(mean(values))))
    return found


def conflicts(graph: Graph, x: Tensor, *, kind: str = "local") -> Tensor:
    """How many (output, input) pairs of each sample's linear piece have paths of both signs between them, `[B]`.

    None: interval bounds of the piece are exact on every box (Mao et al. 2024, the theorem on exactness).  Signs are
    followed, not numbers: every matrix is replaced by its signs, so that all sums are of small whole numbers.
    """
    nodes, (start,) = graph.nodes, graph.inputs
    out = graph.outputs[0]
    values = graph.values(x) if kind == "local" else [None] * len(nodes)
    B, K = len(x) if kind == "local" else 1, nodes[out].size
    eye = torch.eye(K, dtype=x.dtype, device=x.device).expand(B, K, K).reshape(B * K, *nodes[out].shape)
    plus: dict[int, Tensor] = {out: eye}
    minus: dict[int, Tensor] = {out: eye * 0}
    for i in range(out, -1, -1):
        if i not in plus or i == start:
            continue
        node = replace(nodes[i], op=bare(nodes[i].op).cast(_signs))
        (p, m) = plus.pop(i), minus.pop(i)
        by_plus, by_minus = (_back(node, graph, a, a, values, kind) for a in (p, m))
        for j, (jp, ap), (jm, am) in zip(node.inputs, by_plus, by_minus, strict=True):
            shape = (B * K, *nodes[j].shape)
            more, less = (((ap + jp) + (am - jm)) > 0).reshape(shape), (((ap - jp) + (am + jm)) > 0).reshape(shape)
            plus[j] = (more | (plus[j] > 0) if j in plus else more).to(x)
            minus[j] = (less | (minus[j] > 0) if j in minus else less).to(x)
    if start not in plus:
        return torch.zeros(len(x), dtype=torch.int64, device=x.device)
    return ((plus[start] > 0) & (minus[start] > 0)).reshape(B, -1).sum(1).expand(len(x))


def _signs(a: Tensor) -> Tensor:
    """Signs of numbers; positions stay."""
    return a.sign() if a.is_floating_point() else a
