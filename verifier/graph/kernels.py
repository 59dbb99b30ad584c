"""What kernels of float32 may err by before a number is rounded to a code: how much is rounded on the way.

Codes are exact, and so are sums and products of whole numbers that float32 has; from there on each product and each sum
is rounded.  A sum of n products errs by at most `gamma(n)` times their magnitudes, in whatever order a kernel adds them
up (`values.rounding`), and a chain of such sums by the `gamma` of all roundings on the longest way.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from verifier.graph.convert import Call
from verifier.graph.fitting import reach
from verifier.graph.graph import Affine, Builder
from verifier.graph.ops.affine import Add, Dense, Scale, Sum
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.fit import WHOLE, Fit
from verifier.graph.ops.moves import Move
from verifier.graph.ops.near import Near
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.product import Dot, Product
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.graph.weights import entries
from verifier.values.rounding import gamma

_ALSO = 2
"""Roundings of an operator besides those of its sum: of weights and of a bias, where they are codes times scales."""
_WHOLE = 2.0**24
"""Up to here float32 has all whole numbers."""
LAST = frozenset(("QLinearAdd", "QLinearAveragePool", "QLinearMul"))
"""Operators whose kernels add the zero point before they round; all others round first."""
_EXPANDED = 3.0
"""Kernels of these may multiply codes and zero points by scales apart from each other, and subtract then: of all codes
and zero points that comes to at most three times what their differences come to."""
_UP = 1 + 1e-6
"""More than what these sums round themselves."""
_IN_WHOLE = frozenset(("QGemm", "QLinearConv", "QLinearMatMul"))
"""Operators whose kernels add up whole numbers as such, in 32 bits."""


def continuous(call: Call, x: int) -> bool:
    """Whether x is the network's input, moved: halves are met there at single points, not on whole regions."""
    nodes = call.builder.nodes
    while isinstance(nodes[x].op, Move) and len(nodes[x].inputs) == 1:
        (x,) = nodes[x].inputs
    return not nodes[x].inputs


def computed(call: Call, y: int, far: float) -> int:
    """y up to what kernels err by, which compute it in float32; codes up to `far` are made of it.

    Of codes it is on a lattice, and where scales are commensurable, as those of means are, it is a half, or within a
    rounding of one, on whole regions of inputs: there onnxruntime's code is the one or the other.  How far it may be
    off is told at once where only codes, whose range is known, are multiplied and added up; else where there is a box.
    """
    way = _Way(call.builder, y, call.op in _IN_WHOLE)
    size = way.size[y] * (_EXPANDED if call.op in LAST else 1.0)
    near = Near(way.count[y], far)
    off = (gamma(near.terms + 1, "float32") * size + near.coding(size)) * _UP
    return call.add(near if not np.isfinite(off).all() else replace(near, off=off), y)


class _Way:
    """From exact numbers to a node of a builder.

    Attributes:
        exact: whether a node holds whole numbers that kernels have exactly, or an input of the network.
        count: roundings behind an entry on the longest way.
        size: `[*shape]` magnitudes behind the entries, all codes being as large as they can; infinite if not known.
    """

    def __init__(self, builder: Builder, y: int, whole: bool) -> None:
        self._builder, self._whole = builder, whole
        nodes, stack, needed = builder.nodes, [y], set[int]()
        while stack:
            i = stack.pop()
            if i not in needed:
                needed.add(i)
                if not _made_anew(nodes[i].op):
                    stack += nodes[i].inputs
        self.exact: dict[int, bool] = {}
        self.count: dict[int, int] = {}
        self.size: dict[int, np.ndarray] = {}
        for i in sorted(needed):
            self.exact[i] = self._exact(i)
            still = self.exact[i] or not nodes[i].inputs or _made_anew(nodes[i].op)
            self.count[i] = 0 if still else self._counted(i, [self.count[j] for j in nodes[i].inputs])
            with np.errstate(all="ignore"):
                size = self._reached(i) if still else self._sized(i, [self.size[j] for j in nodes[i].inputs])
            self.size[i] = np.where(np.isnan(size), np.inf, size)

    def _counted(self, i: int, before: list[int]) -> int:
        node = self._builder.nodes[i]
        if isinstance(node.op, Scale):
            given = (node.op.s is not None) + (node.op.t is not None)
            return before[0] + given + (0 if node.op.magnitude is None else 2 * _ALSO)
        if isinstance(node.op, (Dense, Conv)):
            return before[0] + int(_used(node.op.W).max(initial=0)) + 1 + _ALSO
        if isinstance(node.op, Affine):
            shapes = [self._builder.nodes[j].shape for j in node.inputs]
            return max(before) + (0 if node.op.exact else node.op.terms(*shapes) + _ALSO)
        if isinstance(node.op, (Product, Dot)):
            return 2 * before[0] + self._builder.nodes[node.inputs[0]].shape[-1] + _ALSO
        return max(before) + 4 * _ALSO

    def _reached(self, i: int) -> np.ndarray:
        return np.full(self._builder.nodes[i].shape, max(map(abs, reach(self._builder, i))))

    def _sized(self, i: int, before: list[np.ndarray]) -> np.ndarray:
        op = self._builder.nodes[i].op
        if isinstance(op, Affine):
            plain = replace(op, magnitude=None) if isinstance(op, (Scale, Dense, Conv)) else op
            return np.asarray(plain.absolute().evaluate(*(a[None] for a in before))[0])
        if isinstance(op, (Product, Dot)):
            k = 1 if isinstance(op, Product) else before[0].shape[-1] // 2
            return np.asarray((before[0][..., :k] * before[0][..., k:]).sum(-1))
        if isinstance(op, MaxOf):
            return np.broadcast_to(before[0].max(), self._builder.nodes[i].shape)
        if isinstance(op, Relu):
            return before[0] * max(1.0, abs(op.leak))
        return before[0] if isinstance(op, (Near, Step)) else np.full(self._builder.nodes[i].shape, np.inf)

    def _exact(self, i: int) -> bool:
        node = self._builder.nodes[i]
        if _made_anew(node.op):
            return isinstance(node.op, Step) and node.op.whole
        if not node.inputs or not all(self.exact.get(j, False) for j in node.inputs) or not _of_whole(node.op):
            return False
        low, high = reach(self._builder, i)
        return self._whole or max(-low, high) <= _WHOLE


def _used(W: Any) -> np.ndarray:
    """How many weights each result has."""
    return np.asarray((W != 0).sum(1) if W.ndim == 2 else (W != 0).reshape(len(W), -1).sum(1)).reshape(-1)


def _made_anew(op: Any) -> bool:
    """Whether what an operator makes is not rounded, whatever it reads was: steps, but for those that pass it on."""
    return isinstance(op, Step) and op.kind != "threshold"


def _of_whole(op: Any) -> bool:
    """Whether an operator makes whole numbers of whole numbers."""
    if isinstance(op, (Move, Add, Sum, Product, Dot, MaxOf)):
        return True
    if isinstance(op, Fit):
        return op.kind in WHOLE
    if isinstance(op, Relu):
        return op.leak == 0.0
    parameters: tuple[Any, ...]
    if isinstance(op, (Dense, Conv)):
        parameters = (entries(op.W), op.b)
    elif isinstance(op, Scale):
        parameters = (op.s, op.t)
    else:
        return False
    return all(a is None or bool((a == np.rint(a)).all()) for a in parameters)
