"""Walking the nodes of an ONNX model: each becomes operators of ours, or is computed at once where it is constant."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from verifier.graph import undefined
from verifier.graph.advice import AGAIN, HINT, fits_not
from verifier.graph.convert import LARGEST, Call, Value
from verifier.graph.decided import Decided, Front
from verifier.graph.ended import exposed
from verifier.graph.fitting import fitted
from verifier.graph.fold import fold
from verifier.graph.graph import Builder, Graph, Input, Shape
from verifier.graph.kinds import clash, number_of, result_types, type_of, unlike
from verifier.graph.ops.affine import Scale
from verifier.graph.ops.moves import Take
from verifier.graph.ops.table import INSTEAD, converter
from verifier.graph.restrict import typed, varies
from verifier.graph.tidy import all_read, names_read, one_line, ordered, standard
from verifier.graph.unroll import RULES, function
from verifier.graph.written import NODES, Held
from verifier.values.errors import ModelError

_DTYPES = {1: "float32", 10: "float16", 11: "float64"}  # TensorProto types
_BFLOAT16 = 16
OTHERS = "there is nothing to ask; export the network without it, or choose others: --output NAME"
"""What to do about an output."""
_BY_SIZE = ("float16", "float32", "float64")
_MEETING = ("Add", "Concat", "Div", "Equal", "Greater", "Less", "Max", "Min", "Mul", "Sub")
"""Operators that take real numbers which inputs decide as nodes just as well."""


@dataclass(frozen=True)
class Imported:
    """A graph and what the file declares; see `from_onnx.Model`."""

    graph: Graph
    input_names: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    input_dtype: str
    output_names: tuple[str, ...]
    output_shapes: tuple[Shape, ...]
    batched: bool
    decided: tuple[np.ndarray, ...] | None
    whole: tuple[np.ndarray, ...] | None
    front: Front | None
    precision: str


def _unvarying(v: Any) -> str:
    """Why a declared input cannot vary, and what to do."""
    if v.type.WhichOneof("value") not in (None, "tensor_type"):
        return "is no tensor; export a network whose inputs are tensors"
    if v.type.tensor_type.elem_type == 8:
        return f"is {typed(v)}: words cannot be read; export a network whose inputs are numbers"
    if not varies(v):
        kinds = "only floating-point inputs (float16, float32, float64) vary"
        return f"is {typed(v)}; {kinds}; fix it: --input {v.name}=X, in Python fixed={{'{v.name}': x}}"
    return f"is {typed(v)} of unknown rank; export it with its shape"


def _open(v: Any) -> str:
    """What is wrong with a shape that is open, or empty, behind its first dimension."""
    dims = v.type.tensor_type.shape.dim
    text = ", ".join(str(d.dim_value if d.HasField("dim_value") else d.dim_param or "?") for d in dims)
    if any(d.HasField("dim_value") and d.dim_value == 0 for d in dims[1:]):
        return f"has shape [{text}], and so no entries; export a network whose inputs hold numbers"
    return f"has shape [{text}]; only the first dimension may be open: export it with the others given"


class Importer:
    """Turns one ModelProto into a graph."""

    def __init__(
        self, path: Path | str, proto: Any, decided: Sequence[np.ndarray] | None = None, parted: bool = False
    ) -> None:
        self.path, self.proto = path, ordered(path, proto)
        self.proto_graph = self.proto.graph
        self.builder = Builder()
        self.values: dict[str, Value] = {}
        self.lists: dict[str, Held] = {}
        self.types: dict[str, str] = {}
        self.own, self.clash = "float32", ""
        self.given, self.decided = decided, Decided(parted)
        self.read = all_read(proto.graph)
        self.opset = standard(proto)
        self.copies = self.written = 0

    def run(self) -> Imported:
        """What the model holds."""
        initial = self._initializers()
        inputs = [v for v in self.proto_graph.input if v.name not in initial]
        positions, shapes, dtypes, symbolic = [], [], [], []
        for v in inputs:
            shape, dtype, batch = self._declared(v)
            shapes.append(shape)
            dtypes.append(dtype)
            symbolic.append(batch)
            positions.append(self.builder.add(Input(shape), (), v.name))
            self.values[v.name] = positions[-1]
            self.types[v.name] = self.own = dtype
        if len(set(dtypes)) > 1 and self.given is not None:
            raise ModelError(f"{self.path}: inputs of several types ({', '.join(dtypes)}), some of them decided")
        self.own = min(dtypes, key=_BY_SIZE.index, default="float32")  # its numbers are numbers of the others
        fixed = None if self.given is None else self._fixed(inputs, positions, dtypes)
        declared = tensors(self.proto_graph)
        if not declared:
            name = self.proto_graph.output[0].name
            raise ModelError(f"{self.path}: output '{name}' is no tensor; export a network whose outputs are tensors")
        whole = len(declared) == len(self.proto_graph.output)
        for node in self.proto_graph.node if whole else _behind(self.proto_graph, declared):
            self._convert(node)
        outputs = [self._output(o.name) for o in declared]
        self.clash = self.clash or next(filter(None, (unlike(o, self.types.get(o.name, "")) for o in declared)), "")
        self.decided.spoil([o.name for o in declared])
        try:
            undefined.check(self.builder, outputs)
        except ValueError as e:
            raise ModelError(f"{self.path}: {e}") from None
        exposed(self.builder)
        graph = self.builder.graph(positions, outputs)
        for made in graph.nodes:
            if isinstance(made.op, Scale) and made.op.t is not None and np.isneginf(made.op.t).any():
                raise ModelError(f"{self.path}: node '{made.name}' adds minus infinity, and no softmax takes it in")
        symbolic += [self._symbolic(v) for v in declared if v.HasField("type")]
        return Imported(
            graph=graph,
            input_names=tuple(v.name for v in inputs),
            input_shapes=tuple(shapes),
            input_dtype=self.own,
            output_names=tuple(o.name for o in declared),
            output_shapes=tuple(graph.nodes[i].shape for i in graph.outputs),
            batched=bool(inputs) and all(symbolic) and all(graph.nodes[i].shape[:1] == (1,) for i in graph.outputs),
            decided=fixed,
            whole=None if fixed is None else tuple(self.decided.cut),
            front=None if fixed is None else self.decided.front,
            precision="float32" if self.own == "float64" and "float32" in self.types.values() else self.own,
        )

    def _fixed(self, inputs: list[Any], positions: list[int], dtypes: list[str]) -> tuple[np.ndarray, ...]:
        """The fixed entries in the model's type; inputs that are fixed altogether become constants."""
        sizes = [prod(self.builder.nodes[at].shape) for at in positions]
        if [np.size(a) for a in self.given or ()] != sizes:
            have = [np.size(a) for a in self.given or ()]
            raise ModelError(f"{self.path}: values are given for inputs of sizes {have}, its inputs have {sizes}")
        given = [np.asarray(a, dtype).reshape(-1) for a, dtype in zip(self.given or (), dtypes, strict=True)]
        for v, at, a in zip(inputs, positions, given, strict=True):
            self.decided.trace(v.name, self.builder.nodes[at].shape)
            self.values[v.name] = self.decided.start(at, a.reshape(self.builder.nodes[at].shape))
        return tuple(given)

    def _initializers(self, graph: Any = None) -> set[str]:
        from onnx import numpy_helper

        graph = graph or self.proto_graph
        for tensor in graph.initializer:
            try:
                self.values[tensor.name] = numpy_helper.to_array(tensor)
            except MemoryError:
                raise
            except Exception as e:  # whatever a damaged tensor makes numpy or onnx raise
                raise ModelError(f"{self.path}: tensor '{tensor.name}' is damaged: {one_line(e)}") from None
        return {t.name for t in graph.initializer}

    @staticmethod
    def _symbolic(v: Any) -> bool:
        dims = v.type.tensor_type.shape.dim
        return bool(dims) and dims[0].dim_value <= 0

    def _declared(self, v: Any) -> tuple[Shape, str, bool]:
        """Shape, type and whether the batch is symbolic, of an input."""
        tensor = v.type.tensor_type
        if tensor.elem_type == _BFLOAT16:
            raise ModelError(
                f"{self.path}: input '{v.name}' is of type bfloat16, in which onnxruntime computes on no processor; "
                "export the network with float32 inputs (what is cast to bfloat16 inside is bounded with its rounding)"
            )
        if tensor.elem_type not in _DTYPES or not tensor.HasField("shape"):
            raise ModelError(f"{self.path}: input '{v.name}' {_unvarying(v)}")
        dims = [d.dim_value if d.dim_value > 0 else 0 for d in tensor.shape.dim]
        if any(d == 0 for d in dims[1:]):
            raise ModelError(f"{self.path}: input '{v.name}' {_open(v)}")
        shape = tuple(d or 1 for d in dims)
        if prod(shape) > LARGEST:
            size = f"{prod(shape):,} entries; at most {LARGEST:,} are supported: export the network for smaller inputs"
            raise ModelError(f"{self.path}: input '{v.name}' has {size}")
        return shape, _DTYPES[tensor.elem_type], bool(dims) and dims[0] == 0

    def _output(self, name: str) -> int:
        value = self.values.get(name)
        if value is None:
            raise ModelError(f"{self.path}: output '{name}' is not computed by any node")
        if isinstance(value, int):
            return value
        if value.dtype.kind not in "fiub" or not self.builder.nodes:
            raise ModelError(f"{self.path}: output '{name}' does not depend on the input: {OTHERS}")
        wide = np.asarray(value, np.float64)
        if not np.isfinite(wide).all() or (value.dtype.kind in "iu" and (wide.astype(value.dtype) != value).any()):
            raise ModelError(
                f"{self.path}: output '{name}' does not depend on the input, and not all of it are numbers: {OTHERS}"
            )
        return self._known(name, value)

    def _convert(self, node: Any) -> None:
        """Add what one node stands for and note its outputs."""
        name = next((o for o in node.output if o), node.name)
        where = f"{self.path}: node '{name}' ({node.op_type})"
        missing = next((n for n in node.input if n and n not in self.values and n not in self.lists), None)
        if missing is not None:
            raise ModelError(f"{where}: tensor '{missing}' is not computed by any node{AGAIN}")
        try:
            rule = RULES.get(node.op_type) if node.domain in ("", "ai.onnx") else None
            if rule is None or not rule(self, node):
                self._plain(node, name, where)
        except ModelError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError) as e:
            raise ModelError(f"{where}: {fits_not(e, node.op_type, one_line(e))}{HINT}") from None

    def _plain(self, node: Any, name: str, where: str) -> None:
        """As `_convert`, of a node whose inputs are tensors."""
        from onnx.helper import get_attribute_value

        if held := next((n for n in node.input if n in self.lists), None):
            raise ValueError(f"input '{held}' is a sequence, or an optional value that is not there")
        inputs = tuple(self.values[n] if n else None for n in node.input)
        used = tuple(o in self.read for o in node.output)
        types = tuple(type_of(v, self.types.get(n, self.own)) for n, v in zip(node.input, inputs, strict=True))
        call = Call(
            node.op_type,
            name,
            {a.name: get_attribute_value(a) for a in node.attribute},
            inputs,
            tuple(node.input),
            used,
            self._version(node),
            self.builder,
            types,
        )
        self.clash = self.clash or clash(node, types, call.opset)
        before, rule = len(self.builder.nodes), converter(node.domain, node.op_type)
        if not any(isinstance(v, int) for v in inputs):
            self.decided.look(call, node, self.proto.opset_import)
            results: Any = fold(call, node, self.proto.opset_import)
            if self.given is not None and not self.decided.exact(call, node.output, results):
                results = self._several(rule, self._lifted(call))
        elif rule is None:
            if self._function(node):
                return
            domain = f" of domain '{node.domain}'" if node.domain else ""
            do = f"; {INSTEAD[node.domain]}" if node.domain in INSTEAD else HINT
            raise ModelError(f"{where}: this operator{domain} is not supported{do}")
        else:
            self.decided.look(call, node, self.proto.opset_import)
            if self.decided.parted and call.op in _MEETING:
                call = self._lifted(call)
            self.decided.meet(call)
            several = self._several(rule, call)
            results = self.decided.results(call, node, self.proto.opset_import, several, before)
        self.values.update((n, v) for n, v in zip(node.output, results, strict=False) if n)
        self.types.update((n, t) for n, t in zip(node.output, result_types(call), strict=False) if n)

    def _function(self, node: Any) -> bool:
        """Read the body of an operator that ONNX defines by others, if it does."""
        return function(self, node, self.proto.opset_import, {n: self.type_number(n) for n in node.input if n})

    def write(self, nodes: Sequence[Any], results: Sequence[str]) -> None:
        """See `written.Host`."""
        self.read.update(results, *(names_read(node) for node in nodes))
        for node in nodes:
            self._convert(node)

    def fresh(self, count: int) -> str:
        """See `written.Host`."""
        self.copies, self.written = self.copies + 1, self.written + count
        if self.written > NODES:
            raise ValueError(f"written out, loops and functions have more than {NODES} nodes")
        return f"__{self.copies}"

    def alias(self, new: str, old: str) -> None:
        """See `written.Host`."""
        if old not in self.lists and old not in self.values:
            raise ValueError(f"'{old}' is not computed by any node")
        if old in self.lists:
            self.lists[new] = self.lists[old]
        else:
            self.values[new] = self.values[old]
            self.types.update({new: self.types[old]} if old in self.types else {})
        self.decided.alias(new, old)

    def hang(self, name: str, outputs: Sequence[str]) -> None:
        """See `written.Host`."""
        self.decided.hang(name, outputs)

    def place(self, name: str, value: np.ndarray) -> None:
        """See `written.Host`."""
        self.values[name] = value

    def shape(self, name: str) -> Shape:
        """See `written.Host`."""
        if name not in self.values:
            raise ValueError(f"'{name}' is no tensor")
        value = self.values[name]
        return self.builder.nodes[value].shape if isinstance(value, int) else value.shape

    def type_number(self, name: str) -> int:
        """See `written.Host`."""
        return number_of(self.values[name], self.types.get(name, self.own))

    def _several(self, rule: Any, call: Call) -> list[Value]:
        """The results of a converter, one or several, held to their types."""
        if rule is None:
            raise ValueError("not supported where it rounds what inputs decide")
        made = rule(call)
        several = [made] if isinstance(made, (int, np.ndarray)) else list(made)
        return fitted(call, several, result_types(call), "float32" if self.own == "float16" else self.own)

    def _lifted(self, call: Call) -> Call:
        """A call that would round numbers which inputs decide, on nodes that have these numbers, to be bounded."""
        self.decided.meet(replace(call, inputs=tuple(None if _real(v) else v for v in call.inputs)))
        decides = self.decided.depends
        pairs = zip(call.names, call.inputs, strict=True)
        inputs = tuple(self._known(n, v) if n in decides and _real(v) else v for n, v in pairs)
        if not any(isinstance(v, int) for v in inputs):
            raise ValueError("whole numbers that inputs decide are rounded here")
        return replace(call, inputs=inputs)

    def _known(self, name: str, value: Any) -> int:
        """A node of known numbers."""
        made = self.decided.front.tensors
        if name not in made:
            nothing = self.builder.add(Take(np.full(value.size, -1), value.shape), (0,), name)
            made[name] = self.builder.add(Scale(None, np.asarray(value, np.float64)), (nothing,), name)
        return made[name]

    def _version(self, node: Any) -> int:
        """Version of the operator set that a node belongs to."""
        if node.domain in ("", "ai.onnx"):
            return self.opset
        return next((o.version for o in self.proto.opset_import if o.domain == node.domain), 1)


def _real(value: Value | None) -> bool:
    """Whether it is an array of real numbers."""
    return isinstance(value, np.ndarray) and value.dtype.kind == "f"


def tensors(graph: Any) -> list[Any]:
    """The outputs of an onnx GraphProto that are tensors: sequences and maps, as classifiers give them, are ignored."""
    return [o for o in graph.output if not _no_tensor(o)]


def _behind(graph: Any, outputs: list[Any]) -> list[Any]:
    """The nodes that some outputs depend on, in order."""
    needed, kept = {o.name for o in outputs}, []
    for node in reversed(graph.node):
        if needed & set(node.output):
            kept.append(node)
            needed |= names_read(node)
    return kept[::-1]


def _no_tensor(v: Any) -> bool:
    """Whether a declared value is a sequence or a map."""
    return bool(v.type.WhichOneof("value") not in (None, "tensor_type"))
