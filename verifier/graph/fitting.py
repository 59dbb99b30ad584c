"""Results held to their type: whole numbers wrap, short floating-point types round, smaller ones overflow.

Operators of ours compute with real numbers.  Where a model computes in a type whose numbers are not enough for that, a
`Fit` stands behind what was computed, unless the result is known to fit whatever the network's input.
"""

from __future__ import annotations

from math import inf

import numpy as np

from verifier.graph.convert import Call, Value
from verifier.graph.graph import Builder
from verifier.graph.ops.affine import Add, Dense, Scale, Sum
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.fit import FLOATS, WHOLE, Fit, limits
from verifier.graph.ops.moves import Move, Take
from verifier.graph.ops.pool import MaxOf
from verifier.graph.ops.product import Product
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step

Range = tuple[float, float]

_KEEPS = frozenset(
    "ArgMax ArgMin ArrayFeatureExtractor Binarizer Clip Compress Concat DepthToSpace Dropout DynamicQuantizeLinear "
    "Expand Flatten Gather GatherElements GatherND GlobalMaxPool Hardmax Identity Max MaxPool Min Mod OneHot Pad QGemm "
    "QLinearAdd QLinearAveragePool QLinearSoftmax "
    "QLinearConcat QLinearConv QLinearGlobalAveragePool QLinearLeakyRelu QLinearMatMul QLinearMul QLinearSigmoid "
    "QuantizeLinear ReduceMax ReduceMin Relu Reshape ReverseSequence Sign Slice SpaceToDepth Split Squeeze Tile TopK "
    "Transpose Trilu Unsqueeze Where".split()
)
"""Operators whose results are numbers of their inputs, or such that any type has; some saturate there themselves."""
_SCATTERS = frozenset(("Scatter", "ScatterElements", "ScatterND"))
"""Operators that keep numbers, or add them up."""
_COMPUTES = frozenset(
    "Abs Add Cast CastLike ConvInteger CumSum Div Einsum MatMul MatMulInteger Mul Neg Pow ReduceL1 ReduceProd "
    "ReduceSum ReduceSumSquare Sub".split()
)
"""Operators whose results, where these are whole numbers, are what real arithmetic gives as long as they fit."""
_DEPTH = 64
"""How many nodes back a range is looked for."""


def fitted(call: Call, made: list[Value], types: tuple[str, ...], own: str) -> list[Value]:
    """The results of a converted node, held to their types.

    Args:
        made: what the converter returned.
        types: of the results.
        own: the type of the network's input: its numbers count as real ones.

    Raises:
        ValueError: an operator on whole numbers that is no arithmetic of real numbers.
    """
    return [
        _fitted(call, v, t, own) if isinstance(v, int) and t != "bool" and k < len(call.used) and call.used[k] else v
        for k, (v, t) in enumerate(zip(made, types, strict=False))
    ]


def _fitted(call: Call, x: int, kind: str, own: str) -> int:
    how = _how(call, kind, own)
    if how is None:
        return x
    low, high = reach(call.builder, x)
    if _fits(kind, low, high) and (how != "rounds" or _held(call, kind, low, high)):
        return x
    return call.add(Fit(kind, how), x)


def held(call: Call, x: int, kind: str) -> int:
    """A whole result inside a node, held to the type that it has there."""
    return x if _fits(kind, *reach(call.builder, x)) else call.add(Fit(kind, "wraps"), x)


def _fits(kind: str, low: float, high: float) -> bool:
    least, most = limits(kind)
    slack = 1e-9 * max(abs(low), abs(high)) if max(abs(low), abs(high)) < inf else 0.0  # these were rounded
    return least <= low - slack and high + slack <= most


def _how(call: Call, kind: str, own: str) -> str | None:
    """What the type does to the node's result; None for nothing."""
    converts = call.op in ("Cast", "CastLike")
    before = call.types[0] if call.types else own
    if call.op in _KEEPS or (call.op in _SCATTERS and call.get("reduction", "none") == "none"):
        return None
    if kind in WHOLE:
        if call.op not in _COMPUTES | _SCATTERS:
            raise ValueError(f"{call.op} of whole numbers ({kind})")
        return None if converts and before == kind else "cut" if converts and before in FLOATS else "wraps"
    if kind not in FLOATS:
        raise ValueError(f"{call.op} gives numbers of type {kind}")
    if FLOATS[kind][0] < FLOATS[own][0] and kind != "float32":
        same = (converts and before == kind) or call.op in ("Abs", "Neg")
        return None if same else "rounds"
    smaller = before in (*WHOLE, *FLOATS) and limits(kind)[1] < limits(before)[1]
    return "overflows" if converts and smaller else None


def _held(call: Call, kind: str, low: float, high: float) -> bool:
    """Whether the type has all whole numbers of a range, and the result is one."""
    most = 2.0 ** FLOATS[kind][0]
    return call.op in ("Cast", "CastLike") and call.kinds[0] in ("i", "b") and -most <= low and high <= most


def reach(builder: Builder, i: int) -> Range:
    """A range that holds every entry of a node, whatever the network's input; up to relative roundings of 1e-12."""
    return _reach(builder, i, _DEPTH, {})


def _reach(builder: Builder, i: int, depth: int, known: dict[int, Range]) -> Range:
    if i not in known:
        low, high = _of_node(builder, i, depth, known)
        known[i] = (float(low), float(high)) if low <= high else (-inf, inf)
    return known[i]


def _of_node(builder: Builder, i: int, depth: int, known: dict[int, Range]) -> Range:
    node = builder.nodes[i]
    op, inputs = node.op, node.inputs
    if isinstance(op, Fit):
        low, high = limits(op.kind)
        return (float(low), float(high)) if op.kind in WHOLE else (-inf, inf)
    if isinstance(op, Step) and op.stairs and max(-op.low, op.high) < inf:
        return op.low, op.high
    if isinstance(op, Step) and op.kind in ("positive", "not_negative", "zero", "sign"):
        return (-1.0 if op.kind == "sign" else 0.0), 1.0
    if isinstance(op, Curve) and op.kind in ("sigmoid", "tanh", "softsign", "erf", "sin", "cos"):
        return (0.0 if op.kind == "sigmoid" else -1.0), 1.0
    if depth == 0 or not inputs:
        return -inf, inf
    return _through(op, [_reach(builder, j, depth - 1, known) for j in inputs], builder.nodes[inputs[0]].shape)


def _through(op: object, ends: list[Range], shape: tuple[int, ...]) -> Range:
    """A range of an operator's values from those of its inputs."""
    low, high = min(a for a, _ in ends), max(b for _, b in ends)
    if isinstance(op, Move):
        padded = isinstance(op, Take) and bool((np.asarray(op.index) < 0).any())
        return (min(low, 0.0), max(high, 0.0)) if padded else (low, high)
    if isinstance(op, MaxOf):
        return low, high
    if isinstance(op, Relu) and op.leak == 0.0:
        return max(low, 0.0), max(high, 0.0)
    if isinstance(op, Step) and op.stairs:
        return (low, high) if max(-low, high) == inf else (float(np.floor(low)), float(np.ceil(high)))
    if isinstance(op, Add):
        sides = [(a, b) if s > 0 else (-b, -a) for s, (a, b) in zip(op.signs, ends, strict=True)]
        return sum(a for a, _ in sides), sum(b for _, b in sides)
    if isinstance(op, Scale):
        return _scaled(op, low, high)
    if isinstance(op, Sum):
        count = int(np.prod([shape[a] for a in op.axes]))
        return _times((low, high), (float(count), float(count)))
    if isinstance(op, Product):
        return _times((low, high), (low, high))
    if isinstance(op, Curve) and op.kind == "square":
        return 0.0, max(abs(low), abs(high)) ** 2
    if isinstance(op, (Dense, Conv)):
        W = op.W if isinstance(op, Dense) else op.W.reshape(len(op.W), -1)
        size = max(abs(low), abs(high)) * float(abs(W).sum(1).max(initial=0.0) if W.size else 0.0)
        shift = 0.0 if op.b is None else float(abs(op.b).max(initial=0.0))
        return (-size - shift, size + shift) if size < inf else (-inf, inf)
    return -inf, inf


def _scaled(op: Scale, low: float, high: float) -> Range:
    s, t = (np.asarray(d if p is None else p).reshape(-1) for p, d in ((op.s, 1.0), (op.t, 0.0)))
    if not s.size or not t.size:
        return 0.0, 0.0
    least, most = _times((low, high), (float(s.min()), float(s.max())))
    return least + float(t.min()), most + float(t.max())


def _times(a: Range, b: Range) -> Range:
    products = [0.0 if p == 0.0 or q == 0.0 else p * q for p in a for q in b]
    return min(products), max(products)
