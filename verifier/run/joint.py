"""Several networks as one: what a property over more than one input and one output tensor is asked of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from math import prod
from typing import Any

import numpy as np

from verifier.graph.graph import Builder, Graph, Input
from verifier.graph.ops.affine import Dense
from verifier.graph.ops.curves import Curve
from verifier.graph.ops.moves import Concat, Reshape, Take
from verifier.graph.ops.product import Product
from verifier.graph.passes.differences import alike, differences
from verifier.graph.passes.maxima import maxima_to_relu
from verifier.graph.passes.rounded import from_rounded, rounds
from verifier.graph.passes.runner import simplify
from verifier.values.arrays import Place
from verifier.values.shown import Shown

_PRECISION = ("float16", "float32", "float64")


@dataclass(frozen=True, eq=False)
class Part:
    """One use of a network.

    Attributes:
        model: the loaded network.
        inputs: for every input tensor, which entry of the joint input each of its entries is, `[size]`.
        outputs: which of the network's outputs the joint output has, in this order.
    """

    model: Any
    inputs: tuple[np.ndarray, ...]
    outputs: tuple[int, ...]

    def same_values(self, other: Part) -> bool:
        """Whether both compute the same: one network on the same inputs."""
        return self.model is other.model and all(map(np.array_equal, self.inputs, other.inputs))


@dataclass(frozen=True, eq=False)
class Compared:
    """A graph whose last outputs are differences of two earlier ones.

    Attributes:
        graph: all of it, on numpy in double precision.
        pairs: `[D, 2]` which outputs: each of the last D is the second less the first.
    """

    graph: Graph
    pairs: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Joint(Shown):
    """Networks side by side on one flat input, their outputs and products of these behind one another.

    Attributes:
        parts: the networks.
        n: size of the input.
        monomials: products of entries, as in `Property.monomials`: indices into the input followed by the outputs.

    The input's type is the least precise that a network takes: its numbers are numbers of every network's type.
    """

    parts: tuple[Part, ...]
    n: int
    monomials: tuple[tuple[int, ...], ...] = ()
    _state: dict[str, Any] = field(repr=False, default_factory=dict)

    def _said(self) -> list[tuple[str, Any]]:
        """The networks, inputs and outputs."""
        return [("networks", self.path), ("inputs", self.n), ("outputs", prod(self.output_shapes[0]))]

    @cached_property
    def graph(self) -> Graph:
        """All of it; a network used twice on the same inputs is there once."""
        build, x, _ = self._copies(tuple(part.model.graph for part in self.parts))
        return build.graph((x,), (len(build.nodes) - 1,))

    @cached_property
    def compared(self) -> Compared | None:
        """The same with the differences of outputs behind the outputs; None where no part is like another one."""
        to = Place("numpy", "float64").array
        models = {id(part.model): part.model for part in self.parts}
        simple = {k: maxima_to_relu(simplify(model.graph.cast(to))) for k, model in models.items()}
        graphs = tuple(simple[id(part.model)] for part in self.parts)
        build, x, where = self._copies(graphs)
        y = len(build.nodes) - 1
        ends = np.cumsum([0, *(prod(part.model.output_shapes[k]) for part in self.parts for k in part.outputs)])
        column = {(i, k): int(at) for (i, k), at in zip(self._outputs(), ends, strict=False)}
        added, pairs = [], []
        for i, j, follow in _comparable(graphs, where):
            start = _moved(build, x, graphs[i], self.parts[j], self.parts[i])
            found = follow(build, (graphs[j], graphs[i]), (where[j], where[i]), start)
            for k, d in enumerate(found):
                if d is not None and (i, k) in column and (j, k) in column:
                    size = build.nodes[d].size
                    added.append(build.add(Reshape((size,)), (d,)))
                    pairs.append(np.arange(size)[:, None] + (column[j, k], column[i, k]))
        if not added:
            return None
        y = build.add(Concat(0), (y, *added), "y")
        return Compared(build.graph((x,), (y,)), np.concatenate(pairs))

    def _outputs(self) -> list[tuple[int, int]]:
        """Part and output of the network, in the order of the joint output."""
        return [(i, k) for i, part in enumerate(self.parts) for k in part.outputs]

    def _twin(self, i: int) -> int | None:
        """An earlier part that computes the same as part i."""
        return next((j for j in range(i) if self.parts[i].same_values(self.parts[j])), None)

    def _copies(self, graphs: tuple[Graph, ...]) -> tuple[Builder, int, dict[int, list[int]]]:
        """The parts' graphs on one input, the output the last node; also the input, and where each part's nodes are."""
        build = Builder()
        x = build.add(Input((self.n,)), (), "x")
        where: dict[int, list[int]] = {}
        ends: list[list[int]] = []
        for i, (part, graph) in enumerate(zip(self.parts, graphs, strict=True)):
            twin = self._twin(i)
            if twin is None:
                where[i] = _copied(build, x, graph, part)
            ends.append([where[i][k] for k in graph.outputs] if twin is None else ends[twin])
        flat = []
        for i, k in self._outputs():
            flat.append(build.add(Reshape((build.nodes[ends[i][k]].size,)), (ends[i][k],)))
        y = flat[0] if len(flat) == 1 else build.add(Concat(0), flat, "y")
        _with_products(build, x, y, self.monomials)
        return build, x, where

    @property
    def path(self) -> str:
        """The names of the networks' files."""
        return ", ".join(dict.fromkeys(str(getattr(part.model, "path", "network")) for part in self.parts))

    @property
    def input_dtype(self) -> str:
        """The least precise type of a network's input."""
        return min((str(part.model.input_dtype) for part in self.parts), key=_PRECISION.index)

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One flat input."""
        return ((self.n,),)

    @property
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One flat output."""
        sizes = (prod(part.model.output_shapes[k]) for part in self.parts for k in part.outputs)
        return ((sum(sizes) + len(self.monomials),),)

    def unoptimised(self) -> Joint:
        """The same with every file run without onnxruntime's optimisation."""
        plain = {id(p.model): p.model.unoptimised() for p in self.parts if hasattr(p.model, "unoptimised")}
        return replace(self, parts=tuple(replace(p, model=plain.get(id(p.model), p.model)) for p in self.parts))

    @property
    def second(self) -> Joint | None:
        """As of `from_onnx.Model`."""
        return self._state.get("second")

    def take_second(self, second: Joint) -> None:
        """As of `from_onnx.Model`."""
        self._state["second"] = second

    def run(self, x: np.ndarray) -> np.ndarray:
        """The originals on `[P, n]`: `[P, m]`; the products of what they give in double precision."""
        given = x.astype(self.input_dtype).astype(np.float64)
        found: list[np.ndarray] = []
        columns = []
        for i, part in enumerate(self.parts):
            twin = self._twin(i)
            found.append(part.model.run(*(given[:, at] for at in part.inputs)) if twin is None else found[twin])
            ends = np.cumsum([0, *(prod(s) for s in part.model.output_shapes)])
            columns += [found[i][:, ends[k] : ends[k + 1]] for k in part.outputs]
        base = np.concatenate([given, *columns], 1)
        with np.errstate(over="ignore", invalid="ignore"):
            products = [base[:, list(m)].prod(1)[:, None] for m in self.monomials]
        return np.concatenate([base[:, self.n :], *products], 1)


def flat(model: Any) -> Joint:
    """One network with all its input tensors, and all its output tensors, behind one another."""
    ends = np.cumsum([0, *(prod(s) for s in model.input_shapes)])
    inputs = tuple(np.arange(a, b) for a, b in zip(ends, ends[1:], strict=False))
    return Joint((Part(model, inputs, tuple(range(len(model.output_shapes)))),), int(ends[-1]))


def _comparable(graphs: Sequence[Graph], where: Iterable[int]) -> Iterator[tuple[int, int, Callable[..., Any]]]:
    """Of which parts the differences can be followed, the first less the second, and by what.

    A quantised network is less the one it was made of, whichever comes first in the question.
    """
    for i, j in ((i, j) for i in where for j in where if j < i):
        if alike(graphs[j], graphs[i]):
            yield i, j, differences
        elif rounds(graphs[i]) != rounds(graphs[j]):
            yield (i, j, from_rounded) if rounds(graphs[i]) else (j, i, from_rounded)


def _copied(build: Builder, x: int, graph: Graph, part: Part) -> list[int]:
    """The network's nodes, fed from entries of `x`; where they are."""
    new: dict[int, int] = {}
    for i, at in zip(graph.inputs, part.inputs, strict=True):
        shape = graph.nodes[i].shape
        new[i] = build.add(Reshape(shape), (build.add(Take(at, (len(at),)), (x,)),), graph.nodes[i].name)
    for i, node in enumerate(graph.nodes):
        if i not in new:
            new[i] = build.add(node.op, [new[j] for j in node.inputs], node.name)
    return [new[i] for i in range(len(graph.nodes))]


def _moved(build: Builder, x: int, graph: Graph, first: Part, second: Part) -> dict[int, int | None]:
    """For each input of `graph` what the second part's has more than the first one's, one product an entry of `x`."""
    start: dict[int, int | None] = {}
    for i, a, b in zip(graph.inputs, first.inputs, second.inputs, strict=True):
        W = np.zeros((len(a), build.nodes[x].size))
        at = np.arange(len(a))
        np.add.at(W, (at, b), 1.0)
        np.add.at(W, (at, a), -1.0)  # what both share cancels here, before anything is multiplied
        difference = build.add(Dense(W), (x,), "difference") if W.any() else None
        start[i] = None if difference is None else build.add(Reshape(graph.nodes[i].shape), (difference,))
    return start


def _with_products(build: Builder, x: int, y: int, monomials: Sequence[tuple[int, ...]]) -> int:
    """`y` and behind it the products of entries of x followed by y, built from smaller ones, all of one level at once.

    Even powers are squares, whose bounds are tighter than those of a product of two numbers.
    """
    if not monomials:
        return y
    size = build.nodes[x].size + build.nodes[y].size
    pool = build.add(Concat(0), (x, y))
    place: dict[tuple[int, ...], int] = {(i,): i for i in range(size)}
    levels: dict[int, list[tuple[int, ...]]] = {}
    for m in monomials:
        _plan(m, levels)
    for level in sorted(levels)[1:]:
        wanted = list(dict.fromkeys(levels[level]))
        squares = [m for m in wanted if _halves(m)[0] == _halves(m)[1]]
        products = [m for m in wanted if _halves(m)[0] != _halves(m)[1]]
        added = [pool]
        if squares:
            at = np.array([place[_halves(m)[0]] for m in squares])
            added.append(build.add(Curve("square"), (build.add(Take(at, (len(at),)), (pool,)),), "square"))
        if products:
            pairs = np.array([[place[half] for half in _halves(m)] for m in products])
            added.append(build.add(Product(), (build.add(Take(pairs.reshape(-1), pairs.shape), (pool,)),), "product"))
        for m in (*squares, *products):
            place[m] = len(place)
        pool = build.add(Concat(0), added)
    ends = np.array([place[m] for m in monomials])
    return build.add(Concat(0), (y, build.add(Take(ends, (len(ends),)), (pool,))), "y")


def _plan(m: tuple[int, ...], levels: dict[int, list[tuple[int, ...]]]) -> int:
    """Note at which level a product can be built, after what it is made of."""
    level = 0 if len(m) == 1 else 1 + max(_plan(half, levels) for half in _halves(m))
    levels.setdefault(level, []).append(m)
    return level


def _halves(m: tuple[int, ...]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """Two smaller products that make it up: twice the same where all powers are even, else the even powers apart."""
    count = {i: m.count(i) for i in m}
    even = tuple(i for i in sorted(count) for _ in range(count[i] // 2 * 2))
    rest = tuple(i for i in sorted(count) if count[i] % 2)
    if not rest:
        return m[::2], m[::2]
    return (even, rest) if even else (rest[: len(rest) // 2], rest[len(rest) // 2 :])
