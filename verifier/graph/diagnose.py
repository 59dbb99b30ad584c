"""What stands in the way of reading a model: every node that is refused, not the first alone.

The importer walks the model as ever; where it refuses a node, what the node computes is replaced by a stand-in of its
shape, which has no values, and the walk goes on.  No graph is handed out: there is nothing to bound or to verify.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from verifier.graph.advice import AGAIN, HINT, WRONG, known
from verifier.graph.answers import simplified
from verifier.graph.convert import LARGEST
from verifier.graph.graph import Convert, Node, Operator, Shape
from verifier.graph.importer import Importer
from verifier.graph.kinds import named
from verifier.graph.opened import in_memory, opened, parse
from verifier.graph.restrict import inputs, restricted, typed, varies
from verifier.graph.tidy import converted, names_read
from verifier.values.arrays import Array
from verifier.values.errors import ModelError

STANDARD = ("", "ai.onnx")
_RANDOM = ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
_SIZED = ("Compress", "NonMaxSuppression", "NonZero", "StringSplit", "Unique")
"""Operators whose result's size hangs on values."""
_SUBGRAPHS = ("If", "Loop", "Scan", "SequenceMap")
_NUMBERS = (2, 3, 4, 5, 6, 7, 9, 12, 13)
"""TensorProto types of whole numbers and truth values."""
VARY = "only floating-point inputs (float16, float32, float64) vary"
OTHERWISE = "the operator is read where it is used otherwise (docs/operators.md): export it so"
MEND = "the model contradicts itself, and no runtime runs it: export it again"
NOTHING = "a node that is not supported stands in this network: nothing can be computed or bounded of it"


@dataclass(frozen=True)
class Problem:
    """Something that cannot be read.

    Attributes:
        what: "node", "input", "output" or "model".
        name: of the tensor: of a node, its first output.  node: the node's own name, if it has one.
        operator: of a node, with its domain where that is not the standard one.
        tensor: type and shape of the result, as far as they are known.
        why: what is wrong.  advice: what to do instead.
    """

    what: str
    name: str
    node: str
    operator: str
    tensor: str
    why: str
    advice: str


@dataclass(frozen=True)
class Examined:
    """What was found.

    Attributes:
        problems: what stands in the way, in the model's order.
        unseen: nodes behind something of unknown shape, of which only the operator could be looked at.
        nodes: what the rest became, without what stands between: to be counted, and nothing else.
    """

    problems: tuple[Problem, ...]
    unseen: int
    nodes: tuple[Node, ...]


@dataclass(frozen=True, eq=False)
class Opaque(Operator):
    """What a node that is not read computes: of a shape, and nothing is known of its values, nor can be asked."""

    size: Shape

    def shape(self, *inputs: Shape) -> Shape:
        """The shape."""
        return self.size

    def evaluate(self, *x: Array) -> Array:
        """There is no value.

        Raises:
            ModelError: always.
        """
        raise ModelError(NOTHING)

    def cast(self, convert: Convert) -> Operator:
        """There is none in any precision: every question begins with this.

        Raises:
            ModelError: always.
        """
        raise ModelError(NOTHING)


def examine(source: Any, fixed: Mapping[str, Any] | None = None, outputs: Sequence[str] | None = None) -> Examined:
    """Look for everything in a model that `load` (with these arguments) would refuse.

    Raises:
        ModelError: there is no model, or no such input or output.
    """
    try:
        path, proto, _, _ = opened(source)
    except ModelError as e:
        if in_memory(source):
            raise
        proto = parse(Path(source))  # a model, then, but its data are missing
        return Examined((_whole(source, e), *_by_operators(proto.graph)), 0, ())
    simplified(proto.graph)
    if fixed or outputs:
        restricted(path, proto, fixed, outputs)
    if not any(v.type.tensor_type.elem_type in _NUMBERS for v in inputs(proto.graph)):
        return _walked(path, proto)
    copies = [type(proto).FromString(proto.SerializeToString()) for _ in range(2)]
    found = [_walked(path, copy, fill) for copy, fill in zip(copies, (1, 0), strict=True)]
    return min(found, key=lambda e: len(e.problems))  # masks are rather ones, places zeros


def _walked(path: Path | str, proto: Any, fill: int = 0) -> Examined:
    """The walk, with inputs that cannot vary fixed at some number."""
    missing = []
    for v in inputs(proto.graph):
        if not varies(v) and v.type.tensor_type.elem_type in _NUMBERS:
            missing.append(Problem("input", v.name, "", "", typed(v), VARY, _fix(v)))
            dims = [d.dim_value if d.dim_value > 0 else 1 for d in v.type.tensor_type.shape.dim]
            if prod(dims) <= LARGEST:
                restricted(path, proto, {v.name: np.full(dims, fill)}, None)
    try:
        doctor = _Doctor(path, converted(path, proto))
    except ModelError as e:
        return Examined((*missing, _whole(path, e), *_by_operators(proto.graph)), 0, ())
    try:
        doctor.run()
        more: tuple[Problem, ...] = ()
    except ModelError as e:
        more = () if doctor.begun else tuple(_by_operators(proto.graph))
        more = (_whole(path, e), *more)
    found = doctor.problems
    if missing and not inputs(proto.graph):  # nothing is left that outputs could depend on
        found = [p for p in found if p.what == "node"]
    read = tuple(node for node in doctor.builder.nodes if not isinstance(node.op, Opaque))
    return Examined((*missing, *found, *more), doctor.unseen, read)


def _fix(v: Any) -> str:
    return f"fix it: --input {v.name}=X, or verifier.load(model, fixed={{'{v.name}': x}}) in Python"


class _Doctor(Importer):
    """The importer, which notes what it refuses and goes on.

    Attributes:
        problems: so far.  begun: whether it came to the nodes.  unseen: nodes that could not be looked at.
    """

    def __init__(self, path: Path | str, proto: Any) -> None:
        super().__init__(path, proto)
        self.problems: list[Problem] = []
        self.begun, self.unseen, self._inside = False, 0, 0
        self._unknown: set[str] = set()
        self._opaque: set[str] = set()
        self._inferred = _inferred(proto)

    def _convert(self, node: Any) -> None:
        self.begun = True
        if self._inside:
            super()._convert(node)
            return
        if names_read(node) & self._unknown:
            self.unseen += 1
            if not known(node):
                self._note(node, "this operator is not supported")
            self._unknown.update(o for o in node.output if o)
            return
        try:
            super()._convert(node)
        except ModelError as e:
            self._note(node, _why(str(e)))
            for o in node.output:
                self._stand_in(o)

    def write(self, nodes: Sequence[Any], results: Sequence[str]) -> None:
        """As the importer does: what a node stands for is that node's business, and is not looked at by itself."""
        self._inside += 1
        try:
            super().write(nodes, results)
        finally:
            self._inside -= 1

    def _output(self, name: str) -> int:
        if name in self._unknown:
            return self.builder.add(Opaque(()), (), name)
        try:
            return super()._output(name)
        except ModelError as e:
            advice = "choose among the others: --output NAME" if len(self.proto_graph.output) > 1 else "export it anew"
            why = _why(str(e).removeprefix(f"{self.path}: "))
            self.problems.append(Problem("output", name, "", "", self._said(name), why, advice))
            return self.builder.add(Opaque(()), (), name)

    def _stand_in(self, name: str) -> None:
        """Something of the right type and shape, for whoever reads it."""
        if not name:
            return
        kind, shape = self._inferred.get(name, ("", None))
        if shape is None or prod(shape) > LARGEST:
            self._unknown.add(name)
            return
        self._opaque.add(name)
        self.values[name] = self.builder.add(Opaque(shape), (), name)
        self.types[name] = kind

    def _said(self, name: str) -> str:
        kind, shape = self._inferred.get(name, ("", None))
        return f"{kind} {'of unknown shape' if shape is None else list(shape)}".strip()

    def _note(self, node: Any, why: str) -> None:
        name = next((o for o in node.output if o), node.name)
        behind = sorted(names_read(node) & self._opaque)
        if behind:
            why += f"; it reads '{behind[0]}', which could not be read either"
        before = [n for n in node.input if n and isinstance(self.values.get(n), int) and n not in self._opaque]
        own = {v.name for v in self.proto_graph.input}
        cut = next((n for n in before if n not in own), None)
        self.problems.append(
            Problem("node", name, node.name, operator(node), self._said(name), why, _repair(why) or _advice(node, cut))
        )


def operator(node: Any) -> str:
    """A node's operator, with its domain where that is not the standard one."""
    return node.op_type if node.domain in STANDARD else f"{node.domain}.{node.op_type}"


def _why(text: str) -> str:
    """A refusal without what stands beside it: file, node, and where to look."""
    text = text.partition(HINT)[0].partition(AGAIN)[0]
    head, found, rest = text.partition("): ")
    return rest if found and "node '" in head else text


def _repair(why: str) -> str:
    """What to do where the model itself is wrong, however its operators are read; nothing where it may be right."""
    return next((advice for said, advice in WRONG if said in why), "")


def _advice(node: Any, cut: str | None) -> str:
    """What to do about a node; `cut`: a tensor before it, where the network could end."""
    if node.domain == "com.microsoft" and not known(node):
        return f"docs/operators.md lists what is read of that domain: export the model without others{_ending(cut)}"
    if node.domain not in STANDARD and not known(node):
        return (
            f"'{node.domain}' is no domain that is read: export the model without operators of one's own{_ending(cut)}"
        )
    if node.op_type in _RANDOM:
        return "what it computes is random: export the model in evaluation mode"
    if node.op_type in _SIZED:
        return f"how much it computes hangs on values: leave it out of the network{_ending(cut)}"
    if node.op_type in _SUBGRAPHS:
        return f"export the model with conditions and counts that are constant{_ending(cut)}"
    if known(node):
        return f"{OTHERWISE}{_ending(cut)}"
    return f"export it as operators that are read (`verifier info` lists them){_ending(cut)}"


def _ending(cut: str | None) -> str:
    return "" if cut is None else f", or end the network before it: --output {cut}"


def _whole(path: Any, e: ModelError) -> Problem:
    """A problem of the whole model."""
    text = str(e).removeprefix(f"{path}: ")
    return Problem("model", "", "", "", "", text.partition(HINT)[0], "")  # a node that it names is all that tells


def _by_operators(graph: Any) -> list[Problem]:
    """Nodes that depend on an input and whose operators are not read, whatever stands in the way of the rest."""
    found, constant = [], {"", *(t.name for t in graph.initializer)}
    for node in graph.node:
        if node.op_type in ("Shape", "Size") or all(n in constant for n in node.input):
            constant.update(node.output)
        elif not known(node):
            name = next((o for o in node.output if o), node.name)
            why = "this operator is not supported"
            found.append(Problem("node", name, node.name, operator(node), "", why, _advice(node, None)))
    return found


def _inferred(proto: Any) -> dict[str, tuple[str, Shape | None]]:
    """Types and shapes of tensors by name, for a batch of one where it is open."""
    from onnx import shape_inference

    one = type(proto)()
    one.CopyFrom(proto)
    for v in (*one.graph.input, *one.graph.output):
        dims = v.type.tensor_type.shape.dim
        if dims and dims[0].dim_value <= 0:
            dims[0].dim_value = 1
    try:
        one = shape_inference.infer_shapes(one, data_prop=True)
    except Exception:  # onnx raises whatever it finds, of models that are too large, too
        pass
    found: dict[str, tuple[str, Shape | None]] = {}
    for v in (*one.graph.value_info, *one.graph.output, *one.graph.input):
        tensor = v.type.tensor_type
        dims = [d.dim_value for d in tensor.shape.dim]
        shape = tuple(dims) if tensor.HasField("shape") and all(d > 0 for d in dims) else None
        found[v.name] = (named(tensor.elem_type), shape)
    return found
