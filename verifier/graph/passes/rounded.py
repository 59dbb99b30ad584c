"""How far a quantised network is from the one it was made of, followed layer by layer.

Each tensor u of the quantised network stands for one, w, of the other: `s·u` for w, with the scale s of its codes.
Next to both networks `d = s·u − w` is computed from the differences before.  A staircase is what it rounds, or its
rectifier, and a rest of half a step where nothing saturates, so `d` grows by `s/2` at most there; layers have other
weights, whose difference is a layer of its own (as in `differences`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from typing import Any

import numpy as np

from verifier.graph.graph import Builder, Graph, Node
from verifier.graph.ops.affine import Add, Dense, Scale
from verifier.graph.ops.conv import Conv
from verifier.graph.ops.fit import Fit
from verifier.graph.ops.moves import Concat, Reshape, Take, Transpose
from verifier.graph.ops.near import Near
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import MANY, Step
from verifier.graph.passes.differences import dense, less, rectified, same_kind, without_bias
from verifier.graph.weights import merge


def rounds(graph: Graph) -> bool:
    """Whether a network has staircases whose rest can be told."""
    return any(_staircase(node.op) for node in graph.nodes)


def from_rounded(
    build: Builder,
    graphs: tuple[Graph, Graph],
    at: tuple[Sequence[int], Sequence[int]],
    start: Mapping[int, int | None],
) -> list[int | None]:
    """Add the differences of two networks that are there already: a quantised one, the second, less the first.

    Args:
        build: where everything goes.
        graphs: the networks, all parameters numpy arrays; at: where their nodes are.
        start: for every input of the second network the difference of its values (None: there is none).

    Returns: for each output where the difference is; None where it is not known, or there is none.

    Sound because: which nodes stand for each other, and the scales, may be any: what follows from `w = s·u − d` is
    exact for all, up to rounding in parameters that their magnitudes cover (see `weights`).
    """
    walk = _Walk(build, graphs, at)
    for i, j in zip(graphs[0].inputs, graphs[1].inputs, strict=True):
        walk.found[j] = _Pair(i, 1.0, start[j])
    for j, node in enumerate(graphs[1].nodes):
        if j not in walk.found:
            pairs = [walk.found[k] for k in node.inputs if k in walk.found]
            made = walk.visit(j, node, pairs) if len(pairs) == len(node.inputs) else None
            if made is not None:
                walk.found[j] = made
    return [walk.end(i, j) for i, j in zip(graphs[0].outputs, graphs[1].outputs, strict=True)]


@dataclass(frozen=True)
class _Pair:
    """What a node u of the quantised network stands for: node w of the other; `d` is where `s·u − w` is (None: 0)."""

    w: int
    s: float
    d: int | None


class _Walk:
    """Through the quantised network, node by node; `found` are the pairs so far."""

    def __init__(self, build: Builder, graphs: tuple[Graph, Graph], at: tuple[Sequence[int], Sequence[int]]) -> None:
        self._build, self._graphs, self._at = build, graphs, at
        self.found: dict[int, _Pair] = {}

    def visit(self, j: int, node: Node, pairs: list[_Pair]) -> _Pair | None:
        """The pair of node `j`, whose inputs are in `pairs`; None where there is none."""
        op = node.op
        if _staircase(op):
            return self._rounded(j, node, pairs[0])
        if isinstance(op, Scale):
            return self._rescaled(op, node, pairs[0])
        if isinstance(op, Near) or (isinstance(op, Fit) and not op.exact):
            return self._computed(j, node, pairs[0])
        if isinstance(op, Relu) and op.leak == 0.0:
            return self._rectified(node, pairs[0])
        if isinstance(op, (Dense, Conv)):
            return self._layer(op, node, pairs[0])
        if isinstance(op, Add):
            return self._sum(op, node, pairs)
        if isinstance(op, (Reshape, Take, Transpose, Concat)):
            return self._moved(node, pairs)
        return self._apart(j, node, pairs)

    def end(self, i: int, j: int) -> int | None:
        """Output j of the quantised network less output i of the other one."""
        pair = self.found.get(j)
        if pair is None or pair.w != i:
            return None
        return self._total([pair.d, self._apply(_gap(Scale(), pair.s), self._at[1][j])])

    def _rounded(self, j: int, node: Node, pair: _Pair) -> _Pair:
        """`s·step(u) − w = d + s·rest(u)`, or the same with rectifiers of u and w where the step starts at zero."""
        step, (k,) = node.op, node.inputs
        assert isinstance(step, Step)
        w = self._next(pair, lambda op: isinstance(op, Relu) and op.leak == 0.0) if step.low == 0 else None
        if any(isinstance(n.op, Relu) and j in n.inputs for n in self._graphs[1].nodes):
            w = None  # the rectifier is still to come
        u, d = self._at[1][k], pair.d
        if w is not None:
            d = self._difference(pair, k, node.name)
            u = self._build.add(Relu(), (u,), node.name)
        rest = self._build.add(Step("rest", 0.0, step.low, step.high), (u,), node.name)
        size = self._build.add(Scale(np.array(pair.s)), (rest,), node.name)
        return _Pair(pair.w if w is None else w, pair.s, self._total([d, size]))

    def _rescaled(self, op: Scale, node: Node, pair: _Pair) -> _Pair | None:
        """Of `a·u + b`: `(s/a)·(a·u + b) − w = d + (s/a·a − s)·u + s/a·b`."""
        a = 1.0 if op.s is None else _one(op.s)
        if a is None or not _usable(pair.s / a):
            return None
        s = _near_one(pair.s / a)
        gap = less(merge(_scales, Scale(np.array(s)), op, 2, False), Scale(np.array(pair.s)))
        return _Pair(pair.w, s, self._total([pair.d, self._apply(gap, self._at[1][node.inputs[0]])]))

    def _computed(self, j: int, node: Node, pair: _Pair) -> _Pair:
        """Of u as a type rounds it, or as a kernel computes it, v: `s·v − w = d + s·(v − u)`."""
        off = self._build.add(Add((1, -1)), (self._at[1][j], self._at[1][node.inputs[0]]), node.name)
        return _Pair(pair.w, pair.s, self._total([pair.d, self._build.add(Scale(np.array(pair.s)), (off,), node.name)]))

    def _rectified(self, node: Node, pair: _Pair) -> _Pair | None:
        w = self._next(pair, lambda op: isinstance(op, Relu) and op.leak == 0.0)
        if w is None:
            return None
        return _Pair(w, pair.s, self._difference(pair, node.inputs[0], node.name))

    def _difference(self, pair: _Pair, k: int, name: str) -> int | None:
        """`s·relu(u) − relu(w)`, u being node k."""
        if pair.d is None:
            return None
        u = self._at[1][k]
        e = u if pair.s == 1.0 else self._build.add(Scale(np.array(pair.s)), (u,), name)
        return rectified(self._build, (self._at[0][pair.w], e, pair.d), self._graphs[1].nodes[k].shape, name)

    def _layer(self, op: Dense | Conv, node: Node, pair: _Pair) -> _Pair | None:
        """`s'·(A·u + b) − (W·w + c) = W·d + (s'·A − s·W)·u + (s'·b − c)`, s' the scale that brings both closest."""
        w = self._next(pair, lambda other: same_kind(op, other))
        if w is None:
            return None
        before: Any = self._graphs[0].nodes[w].op
        A, W = dense(op.W), pair.s * dense(before.W)
        s = _near_one(float((A * W).sum() / max((A * A).sum(), 1e-300)))
        if not _usable(s):
            return None
        other = merge(_inputs, Scale(np.array(pair.s)), before, 2, False)
        gap = less(merge(_outputs, Scale(np.array(s)), op, 2, False), other)
        d = None if pair.d is None else self._build.add(without_bias(before), (pair.d,), node.name)
        return _Pair(w, s, self._total([d, self._apply(gap, self._at[1][node.inputs[0]])]))

    def _sum(self, op: Add, node: Node, pairs: list[_Pair]) -> _Pair | None:
        """`s·Σ±u_k − Σ±w_k = Σ±(d_k + (s − s_k)·u_k)`, s the first one's."""
        wanted = sorted((p.w, s) for p, s in zip(pairs, op.signs, strict=True))
        nodes = enumerate(self._graphs[0].nodes)
        sums = [(i, n, n.op) for i, n in nodes if isinstance(n.op, Add) and len(n.inputs) == len(pairs)]
        w = next((i for i, n, a in sums if sorted(zip(n.inputs, a.signs, strict=True)) == wanted), None)
        if w is None:
            return None
        parts = []
        for k, pair in zip(node.inputs, pairs, strict=True):
            gap = less(Scale(np.array(pairs[0].s)), Scale(np.array(pair.s)))
            parts.append(self._total([pair.d, self._apply(gap, self._at[1][k])]))
        return _Pair(w, pairs[0].s, self._total(parts, op.signs))

    def _moved(self, node: Node, pairs: list[_Pair]) -> _Pair | None:
        w = self._next(pairs, lambda other: same_kind(node.op, other))
        if w is None or len({pair.s for pair in pairs}) > 1:
            return None
        if all(pair.d is None for pair in pairs):
            return _Pair(w, pairs[0].s, None)
        zeros = [self._graphs[1].nodes[k].shape for k in node.inputs]
        inputs = [
            self._build.add(Take(np.full(int(np.prod(shape)), -1), shape), (self._at[1][k],)) if p.d is None else p.d
            for k, shape, p in zip(node.inputs, zeros, pairs, strict=True)
        ]
        return _Pair(w, pairs[0].s, self._build.add(node.op, inputs, node.name))

    def _apart(self, j: int, node: Node, pairs: list[_Pair]) -> _Pair | None:
        """Of any other operator that both have: what it gives in one less what it gives in the other."""
        w = self._next(pairs, lambda other: same_kind(node.op, other))
        if w is None:
            return None
        return _Pair(w, 1.0, self._build.add(Add((1, -1)), (self._at[1][j], self._at[0][w]), node.name))

    def _next(self, pairs: _Pair | list[_Pair], fits: Callable[[Any], bool]) -> int | None:
        """The first node of the other network that reads these, fits and stands for nothing yet."""
        inputs = tuple(p.w for p in (pairs if isinstance(pairs, list) else [pairs]))
        taken = {p.w for p in self.found.values()}
        nodes = enumerate(self._graphs[0].nodes)
        return next((i for i, n in nodes if tuple(n.inputs) == inputs and i not in taken and fits(n.op)), None)

    def _apply(self, op: Any, node: int) -> int | None:
        return None if op is None else self._build.add(op, (node,))

    def _total(self, parts: list[int | None], signs: tuple[int, ...] = ()) -> int | None:
        kept = [(s, p) for s, p in zip(signs or (1,) * len(parts), parts, strict=True) if p is not None]
        if not kept or kept == [(1, kept[0][1])]:
            return kept[0][1] if kept else None
        return self._build.add(Add(tuple(s for s, _ in kept)), [p for _, p in kept])


def _staircase(op: Any) -> bool:
    """Whether `rest` is known of it."""
    if not isinstance(op, Step) or op.kind not in ("round", "nearest"):
        return False
    return (op.low, op.high) == (-inf, inf) or max(-op.low, op.high) < MANY


def _usable(s: float) -> bool:
    return bool(1e-30 < s < 1e30)


def _near_one(s: float) -> float:
    """A scale; that of real numbers where it is close to it: what quantising weights has changed is no scale."""
    return 1.0 if abs(s - 1.0) < 0.02 else s


def _one(a: np.ndarray) -> float | None:
    """The number that all entries are, if it is positive."""
    found = float(a.reshape(-1)[0]) if a.size else 0.0
    return found if found > 0 and bool((a == found).all()) else None


def _gap(one: Scale, s: float) -> Any:
    """`1 − s` as an operator, None where that is zero."""
    return less(replace(one, s=np.array(1.0)), Scale(np.array(s)))


# Formulas for `weights.merge`: a scale of one number, and the operator whose results or inputs it multiplies.


def _scales(second: Scale, first: Scale) -> Scale:
    s = second.s if first.s is None else first.s * second.s
    return Scale(s, None if first.t is None else first.t * second.s)


def _outputs(second: Scale, first: Any) -> Any:
    return replace(first, W=first.W * second.s, b=None if first.b is None else first.b * second.s, magnitude=None)


def _inputs(second: Scale, first: Any) -> Any:
    return replace(first, W=first.W * second.s, magnitude=None)
