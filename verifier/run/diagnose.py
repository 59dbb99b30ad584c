"""Whether a model can be asked about, what stands in the way where it cannot, and how it would be bounded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from verifier.bounds.folding import unstable
from verifier.bounds.network import prepare
from verifier.bounds.propagate import boxes, propagate
from verifier.graph.advice import AGAIN
from verifier.graph.contents import Contents, contents
from verifier.graph.diagnose import MEND, OTHERWISE, Problem, examine
from verifier.graph.from_onnx import Model
from verifier.graph.graph import Affine, Elementwise, Graph, Input, Node
from verifier.graph.opened import in_memory
from verifier.graph.ops.moves import Move
from verifier.graph.ops.relu import Relu
from verifier.graph.ops.steps import Step
from verifier.run.model import Network, boundable, load, name_of, remarks, single
from verifier.search.query import MOST_SYMBOLS, ROOT_EFFORT
from verifier.values.arrays import Place
from verifier.values.errors import ModelError
from verifier.values.shown import Shown, table

CHUNK = 1_000_000
"""Numbers in one block of rows."""


@dataclass(frozen=True)
class Part:
    """Nodes of one kind, in the terms of the engine.

    Attributes:
        operator: what they are.  nodes: how many.  entries: how many numbers they make together.
        how: how they are bounded.
    """

    operator: str
    nodes: int
    entries: int
    how: str


@dataclass(frozen=True, eq=False, repr=False)
class Diagnosis(Shown):
    """What a model is, and whether it can be asked about.

    Attributes:
        readable: whether `verify` would run.
        contents: what the file declares.
        problems: what stands in the way, all of it; none where it is readable.
        unseen: nodes that could not be looked at, because they read something of unknown shape.
        parts: what the network is made of; of one that is not readable, what the rest of it would be.
        remarks: on how it was read, or on what it asks.
        error: what `load` says, in one line; empty where it is readable.
        net: the network, where it is readable.  graph: simplified, with one input and one output.
    """

    readable: bool
    contents: Contents
    problems: tuple[Problem, ...]
    unseen: int
    parts: tuple[Part, ...]
    remarks: tuple[str, ...]
    error: str
    net: Network | None = None
    graph: Graph | None = None

    def _said(self) -> list[tuple[str, Any]]:
        """Whether it is readable, or what is not."""
        ends = (("input", self.contents.inputs), ("output", self.contents.outputs))
        told = [(what, f"{name} {kind} {shape}") for what, some in ends for name, kind, shape in some]
        wrong = [("problem", f"{p.name} {p.operator}: {p.why}") for p in self.problems]
        return [("readable", self.readable), *told, *wrong]

    def _below(self) -> str:
        """What to do about each problem."""
        rows = [(p.name, p.operator, p.tensor, p.why, p.advice) for p in self.problems]
        return table(rows, ("tensor", "operator", "result", "why", "what to do")) if rows else ""


def diagnose(
    model: Any, *, fixed: Mapping[str, Any] | None = None, outputs: str | Sequence[str] | None = None
) -> Diagnosis:
    """Look at an ONNX model as a whole: what it is made of, everything that cannot be read, and what to do.

    Args:
        model: a file, a model in memory, or what `load` returned of one.
        fixed, outputs: as of `load`.

    Raises:
        ModelError: there is no model there, or no such input or output.
        UnsoundBound: the network that is read computes something else than the original.
    """
    source = model.source if isinstance(model, Model) else model
    if not (isinstance(source, (str, Path)) or in_memory(source)):
        raise ModelError(f"{name_of(model)}: only ONNX models are looked at; export it, or give the file")
    found = contents(source)
    try:
        net = load(source, fixed=fixed, outputs=outputs)
        graph = boundable(single(net))
    except ModelError as e:
        chosen = [outputs] if isinstance(outputs, str) else outputs
        seen = examine(source, fixed, chosen)
        if str(e).endswith(AGAIN):
            told = (replace(p, advice=MEND) if p.advice.startswith(OTHERWISE) else p for p in seen.problems)
            seen = replace(seen, problems=tuple(told))
        problems = seen.problems or (Problem("model", "", "", "", "", str(e), ""),)
        return Diagnosis(False, found, problems, seen.unseen, parts(seen.nodes), (), str(e))
    return Diagnosis(True, found, (), 0, parts(graph.nodes), (*remarks(net), *_batches(net)), "", net, graph)


@dataclass(frozen=True)
class Layer:
    """A nonlinear node on a set of inputs.

    Attributes:
        name, operator: of the node.  units: how many it has.
        unstable: how many of them bounds leave undecided: these are relaxed, and split; all others are affine there.
    """

    name: str
    operator: str
    units: int
    unstable: int


@np.errstate(all="ignore")
def stability(graph: Graph, lower: np.ndarray, upper: np.ndarray) -> tuple[tuple[Layer, ...], str]:
    """How many units of each nonlinear node are unstable on a box `[n]`, and by which bounds.

    Args:
        graph: as of `boundable`.

    These are the bounds that `verify` begins with: CROWN, or, where that takes long, interval arithmetic and forward
    bounds.  What a search finds later (optimised bounds, splits) makes fewer.
    """
    net = prepare(graph, Place("numpy", "float64"))
    active = np.flatnonzero(lower < upper)
    symbols = active if len(active) <= MOST_SYMBOLS else active[:0]
    effort = sum(graph.nodes[j].size for j in net.sources) * graph.work
    thorough = effort < ROOT_EFFORT and len(symbols) == len(active)
    box = boxes(lower[None], upper[None], symbols, "float64")
    found = propagate(net, box, None, set(), {} if thorough else None, CHUNK)
    open_ = unstable(net, found.interval, found.relaxed)
    layers = tuple(
        Layer(n.name, called(n), n.size, open_.get(i, 0))
        for i, n in enumerate(graph.nodes)
        if not isinstance(n.op, (Affine, Input))
    )
    return layers, "CROWN bounds" if thorough else "forward bounds" if len(symbols) else "interval bounds"


def _batches(net: Network) -> tuple[str, ...]:
    """A word about what may be a batch that is part of the model."""
    shapes = (*net.input_shapes, *net.output_shapes)
    first = {s[0] for s in shapes if len(s) > 1}
    if len(first) != 1 or any(len(s) < 2 for s in shapes) or first == {1}:
        return ()
    n = first.pop()
    return (
        f"all inputs and outputs begin with {n}: were that a batch, export it with batch 1 to ask about one sample",
    )


def parts(nodes: Sequence[Node]) -> tuple[Part, ...]:
    """Nodes by kind, in the order of their first ones."""
    found: dict[str, list[Node]] = {}
    for node in nodes:
        if not isinstance(node.op, Input):
            found.setdefault(called(node), []).append(node)
    return tuple(Part(k, len(v), sum(n.size for n in v), _how(v[0])) for k, v in found.items())


def called(node: Node) -> str:
    """A node's operator in the engine's terms."""
    kind = getattr(node.op, "kind", None)
    return f"{type(node.op).__name__}({kind})" if isinstance(kind, str) else type(node.op).__name__


def _how(node: Node) -> str:
    """How its values are bounded."""
    op = node.op
    if isinstance(op, Move):
        return "exact: numbers are moved"
    if isinstance(op, Affine):
        return "exact: affine"
    if isinstance(op, Relu):
        return "a kink each: two lines where its sign is open, split by sign"
    if isinstance(op, Step):
        return "a jump each: two lines where it is in reach, split there"
    if isinstance(op, Elementwise):
        return "a curve each: two lines, split at points"
    return "of several numbers each: planes, split at points"
