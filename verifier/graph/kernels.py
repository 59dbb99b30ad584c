"""What kernels of float32 may err by before a number is rounded to a code: how much is rounded on the way.

Codes are exact, and so are sums and products of whole numbers that float32 has; from there on each product and each sum
is rounded.  A sum of n products errs by at most `gamma(n)` times their magnitudes, in whatever order a kernel adds them
up (`values.rounding`), and a chain of such sums by the `gamma` of all roundings on the longest way.
"""

from __future__ import annotations

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

_ALSO = 2
"""Roundings of an operator besides those of its sum: of weights and of a bias, where they are codes times scales."""
_WHOLE = 2.0**24
"""Up to here float32 has all whole numbers."""
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
    rounding of one, on whole regions of inputs: there onnxruntime's code is the one or the other.
    """
    return call.add(Near(_Roundings(call.builder, call.op in _IN_WHOLE).behind(y), far), y)


class _Roundings:
    """Of a builder's nodes: which hold whole numbers that kernels have exactly, and how often others were rounded."""

    def __init__(self, builder: Builder, whole: bool) -> None:
        self._builder, self._whole = builder, whole

    def behind(self, y: int) -> int:
        """Roundings behind an entry of node y, on the longest way."""
        nodes, stack, needed = self._builder.nodes, [y], set[int]()
        while stack:
            i = stack.pop()
            if i not in needed:
                needed.add(i)
                if not _made_anew(nodes[i].op):
                    stack += nodes[i].inputs
        exact, count = dict[int, bool](), dict[int, int]()
        for i in sorted(needed):
            exact[i] = self._exact(i, exact)
            before = [count.get(j, 0) for j in nodes[i].inputs]
            count[i] = 0 if exact[i] or not nodes[i].inputs else self._more(i, before)
        return count[y]

    def _more(self, i: int, before: list[int]) -> int:
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

    def _exact(self, i: int, known: dict[int, bool]) -> bool:
        node = self._builder.nodes[i]
        if _made_anew(node.op):
            return isinstance(node.op, Step) and node.op.whole
        if not node.inputs or not all(known.get(j, False) for j in node.inputs) or not _of_whole(node.op):
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
