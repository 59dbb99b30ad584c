"""Models whose floating-point types do not match: no runtime takes them, and in real arithmetic they mean one thing.

A converter that keeps weights as doubles and declares inputs as float32 writes such files.  They are read with every
number a double, which has all numbers of the shorter types; what computes in 16 bits on purpose is refused.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from verifier.graph.graph import Graph
from verifier.graph.importer import Imported, Importer
from verifier.graph.tidy import one_line
from verifier.values.errors import ModelError, memory_is_out

COMPUTED = "computed in double precision by verifier itself"
"""How outputs of such a model are, wherever they are shown."""
_DOUBLE = 11
_WIDENED = (1, 10, 16)
"""TensorProto types that doubles stand for: float32, float16, bfloat16."""
_SHORT = (10, 16)
_NUMPY = {"tensor(double)": "float64", "tensor(float16)": "float16", "tensor(int64)": "int64",
          "tensor(int32)": "int32", "tensor(bool)": "bool"}  # fmt: skip
"""Types of inputs, as onnxruntime calls them; float32 is the usual one."""


def imported(
    path: Path | str, proto: Any, source: bytes | str, decided: Sequence[np.ndarray] | None, parted: bool
) -> tuple[Imported, Reference | None]:
    """What a model holds; with doubles, and what to compare with, where its types do not match and nothing runs it.

    Args:
        source: what onnxruntime reads it from.  path, proto, decided, parted: as of `Importer`.

    Raises:
        ModelError: it cannot be read.
    """
    reader, failed = Importer(path, proto, decided, parted), None
    try:
        read = reader.run()
    except ModelError as e:
        if not reader.clash:
            raise
        failed = e
    if not reader.clash or runs(source):
        if failed is not None:
            raise failed
        return read, None
    wide = widened(path, proto)
    found = Importer(path, wide, decided, parted).run()
    ends = (found.input_names, found.output_names)
    return replace(found, input_dtype=reader.own), Reference(
        path, found.graph, found.input_shapes, *ends, wide, reader.clash, found.decided
    )


def _session(source: Any) -> Any:
    """A session of onnxruntime."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    return onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])


def runs(source: bytes | str, once: bool = False) -> bool:
    """Whether onnxruntime takes a model as it is; `once`: and computes something of zeros, a batch of one."""
    try:
        session = _session(source)
        if once:
            given = ((i.name, [_size(d) for d in i.shape], _NUMPY.get(i.type, "float32")) for i in session.get_inputs())
            session.run(None, {name: np.zeros(shape, kind) for name, shape, kind in given})
    except Exception as e:  # onnxruntime has no common type of error
        if memory_is_out(e):
            raise MemoryError(f"onnxruntime has no memory: {e}") from None
        return False
    return True


def _size(dim: Any) -> int:
    """Of a dimension as onnxruntime declares it: 1 where it is open."""
    return dim if isinstance(dim, int) and dim > 0 else 1


def widened(path: Path | str, proto: Any) -> Any:
    """The same ModelProto with a double for every floating-point number.

    Raises:
        ModelError: something in it computes in 16 bits.
    """
    wide = type(proto).FromString(proto.SerializeToString())
    short = any(t.data_type in _SHORT for graph in _graphs(wide.graph) for t in graph.initializer)
    for graph in _graphs(wide.graph):
        kept = set[str]()
        for node in graph.node:
            if _rounds(node, short):
                name = next((o for o in node.output if o), node.name)
                raise ModelError(
                    f"{path}: node '{name}' ({node.op_type}) rounds to 16 bits in a model whose floating-point types "
                    "do not match, so that no runtime defines what it computes; export it with one type"
                )
            _widen_node(node, _versions(wide), kept)
        for tensor in graph.initializer:
            if tensor.name not in kept:
                _widen(tensor)
        graph.ClearField("value_info")
        for v in (*graph.input, *graph.output):
            if v.type.tensor_type.elem_type in _WIDENED:
                v.type.tensor_type.elem_type = _DOUBLE
    return wide


def _versions(proto: Any) -> dict[str, int]:
    return {"" if o.domain == "ai.onnx" else o.domain: o.version for o in proto.opset_import}


def _graphs(graph: Any) -> Iterator[Any]:
    """A graph and those inside its nodes."""
    yield graph
    for node in graph.node:
        for a in node.attribute:
            for inner in (*([a.g] if a.HasField("g") else []), *a.graphs):
                yield from _graphs(inner)


def _widen(tensor: Any) -> None:
    """A TensorProto as doubles, which hold its numbers exactly."""
    from onnx import numpy_helper

    if tensor.data_type in _WIDENED:
        tensor.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(tensor).astype(np.float64), tensor.name))


def _rounds(node: Any, short: bool) -> bool:
    """Whether a node makes numbers of 16 bits; `short`: whether there are any that it could be like."""
    to = any(a.name in ("to", "dtype") and a.i in _SHORT for a in node.attribute)
    return to or (short and node.op_type == "CastLike")


def _widen_node(node: Any, versions: dict[str, int], kept: set[str]) -> None:
    """A node's own numbers and types; names of what it wants as float32, whatever else is a double, join `kept`."""
    from onnx import defs, helper

    for a in node.attribute:
        if a.name in ("to", "dtype") and a.i in _WIDENED:
            a.i = _DOUBLE
        if a.HasField("t"):
            _widen(a.t)
        if node.op_type == "Constant" and a.name in ("value_float", "value_floats"):
            numbers = np.asarray(helper.get_attribute_value(a), np.float64)
            a.CopyFrom(helper.make_attribute("value", helper.make_tensor(a.name, _DOUBLE, numbers.shape, numbers)))
    try:
        domain = "" if node.domain == "ai.onnx" else node.domain
        formal = defs.get_schema(node.op_type, versions.get(domain, 1), domain).inputs
    except Exception:  # onnx has an error type of its own for what it does not know
        return
    kept.update(n for n, f in zip(node.input, formal, strict=False) if f.type_str == "tensor(float)")


@dataclass(frozen=True)
class Reference:
    """A model of doubles by somebody else's arithmetic, for `compare.check`: onnxruntime's, or that of onnx itself.

    Attributes:
        path, input_shapes, input_names, output_names, decided: of the model.
        graph: with doubles, as it was read.
        proto: with doubles.
        clash: what does not match.
        input_dtype: of the points that are compared, and by whose rounding values may differ: some operators give
            float32 whatever they take.
    """

    path: Path | str
    graph: Graph
    input_shapes: tuple[tuple[int, ...], ...]
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    proto: Any
    clash: str
    decided: tuple[np.ndarray, ...] | None = None
    input_dtype: str = "float32"

    def differs(self, by: float) -> ModelError:
        """What to raise where the evaluator computes something else than the graph."""
        return ModelError(
            f"{self.path}: its floating-point types do not match ({self.clash}), and as doubles it differs by {by:.3g} "
            "from what another evaluator computes; export it with one type"
        )

    @property
    def remark(self) -> str:
        """How the model was read."""
        return (
            f"its floating-point types do not match ({self.clash}) and no runtime runs it: read in real arithmetic, "
            f"all numbers doubles; a counterexample is {COMPUTED}"
        )

    def run(self, *x: np.ndarray) -> np.ndarray:
        """The outputs `[P, m]` for one `[P, n]` per input, point by point.

        Raises:
            ModelError: neither can run it.
        """
        call = self._call()
        shaped = [np.asarray(a, np.float64).reshape(-1, *s) for a, s in zip(x, self.input_shapes, strict=True)]
        rows = []
        for point in zip(*shaped, strict=True):
            try:
                y = call(dict(zip(self.input_names, point, strict=True)))
            except Exception as e:  # neither has a common type of error
                raise self._refused(e) from None
            rows.append(np.concatenate([np.asarray(o, np.float64).reshape(-1) for o in y]))
        return np.array(rows)

    def _call(self) -> Any:
        names = list(self.output_names)
        try:
            session = _session(self.proto.SerializeToString())
            return lambda given: session.run(names, given)
        except Exception:  # onnxruntime has no kernel of doubles for some operator
            pass
        from onnx.reference import ReferenceEvaluator

        try:
            evaluator = ReferenceEvaluator(self.proto)
        except Exception as e:  # what it does not know
            raise self._refused(e) from None
        return lambda given: evaluator.run(names, given)

    def _refused(self, e: Exception) -> ModelError:
        return ModelError(
            f"{self.path}: its floating-point types do not match, and as doubles neither onnxruntime nor onnx's own "
            f"evaluator runs it, so that it cannot be checked how it was read ({one_line(e)}); export it with one type"
        )
