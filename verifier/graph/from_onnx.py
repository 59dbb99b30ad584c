"""Reading ONNX files: `load` makes a Graph of one, `check` compares it with onnxruntime."""

from __future__ import annotations

import gzip
import os
import zlib
from dataclasses import dataclass, field
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from verifier.graph.convert import LARGEST, Call, Value
from verifier.graph.fold import fold
from verifier.graph.graph import Affine, Builder, Graph, Input, Shape
from verifier.graph.ops.table import CONVERTERS
from verifier.values.errors import ModelError, UnsoundBound

_DTYPES = {1: "float32", 10: "float16", 11: "float64"}  # TensorProto types
_UNIT = {"float32": 2.0**-24, "float64": 2.0**-53, "float16": 2.0**-11}
_TINY = {"float32": 1e-38, "float64": 1e-300, "float16": 6.2e-5}
_HINT = "run `verifier info` for the list of what is supported"


@dataclass(frozen=True)
class Model:
    """A network as read from a file, and the means to run the original.

    Attributes:
        graph: the network; activations have their full ONNX shapes with batch size 1.
        path: the file.
        input_names, output_names: as the file declares them, in its order.
        input_shapes, output_shapes: full ONNX shapes, a symbolic batch dimension replaced by 1.
        input_dtype: `"float32"`, `"float64"` or `"float16"`.
        batched: whether the first dimension of every input and output is symbolic.
    """

    graph: Graph
    path: Path
    input_names: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    input_dtype: str
    output_names: tuple[str, ...]
    output_shapes: tuple[Shape, ...]
    batched: bool
    _source: bytes | str = field(repr=False, compare=False, default=b"")
    _state: dict[str, Any] = field(repr=False, compare=False, default_factory=dict)

    def session(self) -> Any:
        """The model in onnxruntime on the CPU, made at the first call."""
        if "session" not in self._state:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4  # what fails is raised; its log would stand beside our one line
            options.intra_op_num_threads = _threads()
            options.inter_op_num_threads = 1
            try:
                self._state["session"] = onnxruntime.InferenceSession(
                    self._source, options, providers=["CPUExecutionProvider"]
                )
            except Exception as e:  # onnxruntime has no common type of error
                reason = str(e).splitlines()[0][:200]
                raise ModelError(f"{self.path}: onnxruntime cannot run this model: {reason}") from None
        return self._state["session"]

    def run(self, *x: np.ndarray) -> np.ndarray:
        """The outputs `[B, m]` as onnxruntime computes them, for one `[B, n]` per input.

        Points are rounded to the model's type; several outputs are joined in order.  The whole batch goes in one call
        where the model takes batches (kernels may then round differently than for one point), else point by point.
        """
        given = [
            np.ascontiguousarray(a, self.input_dtype).reshape(-1, *shape)
            for a, shape in zip(x, self.input_shapes, strict=True)
        ]
        count = len(given[0]) if given else 1
        if count > 1 and self._takes_batches():
            return self._batch(given)
        points = [self._call([a[i, ...] for a in given]) for i in range(count)]
        rows = [np.concatenate([np.asarray(o, np.float64).reshape(-1) for o in y]) for y in points]
        width = sum(prod(s) for s in self.output_shapes)
        if any(len(row) != width for row in rows):
            raise UnsoundBound(f"{self.path}: onnxruntime computes {len(rows[0])} outputs where {width} are expected")
        return np.array(rows).reshape(count, width)

    def _batch(self, given: list[np.ndarray]) -> np.ndarray:
        """The outputs for inputs `[B, 1, ...]`, in one call."""
        y = self._call([a.reshape(len(a), *a.shape[2:]) for a in given])
        return np.concatenate([np.asarray(o, np.float64).reshape(len(given[0]), -1) for o in y], 1)

    def _takes_batches(self) -> bool:
        """Whether a batch gives what its points give alone: files may declare an open batch and then mix samples."""
        if "batches" not in self._state:
            self._state["batches"] = self.batched and self._try_batch()
        return bool(self._state["batches"])

    def _try_batch(self) -> bool:
        rng = np.random.default_rng(1)
        given = [rng.standard_normal((2, *s)).astype(self.input_dtype) for s in self.input_shapes]
        alone = [np.concatenate([np.ravel(o) for o in self._call([a[i] for a in given])]) for i in range(2)]
        try:
            together = self._batch(given)
        except (ModelError, ValueError):  # it has another batch size built in
            return False
        scale = np.abs(alone).max(initial=0.0)
        return together.shape == np.shape(alone) and bool((np.abs(together - alone) <= 1e-3 * scale).all())

    def _call(self, x: list[np.ndarray]) -> list[np.ndarray]:
        try:
            return list(self.session().run(list(self.output_names), dict(zip(self.input_names, x, strict=True))))
        except ModelError:
            raise
        except Exception as e:  # onnxruntime has no common type of error
            reason = str(e).splitlines()[0][:200]
            raise ModelError(f"{self.path}: onnxruntime fails on this model: {reason}") from None


def _threads() -> int:
    text = os.environ.get("OMP_NUM_THREADS", "1")
    return max(1, int(text)) if text.isdigit() else 1


def load(path: str | Path) -> Model:
    """Read a network from an `.onnx` file, gzip-compressed or not.

    Raises:
        ModelError: if the file cannot be read, or holds something that is not supported; one line.
    """
    path = Path(path)
    data, packed = _read(path)
    proto = _parse(path, data)
    external = _load_external(path, proto)
    source: bytes | str = str(path) if external and not packed else data
    if external and packed:
        raise ModelError(f"{path}: a compressed model with external data; unpack it")
    return _Importer(path, proto).model(source)


def _read(path: Path) -> tuple[bytes, bool]:
    """Contents, unpacked, and whether they were packed."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise ModelError(f"{path}: is a folder, not an ONNX file") from None
    except OSError as e:
        raise ModelError(f"{path}: cannot be read: {e.strerror}") from None
    packed = data[:2] == b"\x1f\x8b"
    if packed:
        try:
            data = gzip.decompress(data)
        except (OSError, EOFError, zlib.error) as e:
            raise ModelError(f"{path}: damaged gzip file: {e}") from None
    if not data:
        raise ModelError(f"{path}: the file is empty")
    if data.startswith(b"version https://git-lfs"):
        raise ModelError(f"{path}: a git-lfs pointer, not the model itself; fetch it with `git lfs pull`")
    return data, packed


def _parse(path: Path, data: bytes) -> Any:
    import onnx

    try:
        proto = onnx.load_model_from_string(data)
    except Exception:  # protobuf's error type depends on its implementation
        raise ModelError(f"{path}: not an ONNX model, or a truncated one") from None
    if not proto.HasField("graph") or not proto.graph.output:
        raise ModelError(f"{path}: not an ONNX model, or a truncated one (no graph)")
    return proto


def _load_external(path: Path, proto: Any) -> bool:
    """Read tensors stored in other files, which must lie in the model's folder.  Whether there were any."""
    external = [t for t in proto.graph.initializer if t.data_location == t.EXTERNAL]
    if not external:
        return False
    from onnx.external_data_helper import load_external_data_for_tensor

    folder = path.parent.resolve()
    for tensor in external:
        location = next((e.value for e in tensor.external_data if e.key == "location"), "")
        if not location or not (folder / location).resolve().is_relative_to(folder):
            raise ModelError(f"{path}: tensor '{tensor.name}' is stored outside the model's folder ('{location}')")
        try:
            load_external_data_for_tensor(tensor, str(folder))
        except Exception as e:  # its own checker raises types of its own
            raise ModelError(f"{path}: data of tensor '{tensor.name}' in '{location}': {_line(e)}") from None
    return True


def _line(e: BaseException) -> str:
    lines = str(e).splitlines()
    return f"{lines[0][:300]}" if lines else type(e).__name__


class _Importer:
    """Turns one ModelProto into a Model."""

    def __init__(self, path: Path, proto: Any) -> None:
        self.path, self.proto, self.proto_graph = path, proto, proto.graph
        self.builder = Builder()
        self.values: dict[str, Value] = {}
        self.read = {n for node in proto.graph.node for n in node.input} | {o.name for o in proto.graph.output}
        opsets = [o.version for o in proto.opset_import if o.domain in ("", "ai.onnx")]
        self.opset = opsets[0] if opsets else 0
        if self.opset < 7:
            raise ModelError(f"{path}: operator set {self.opset} is too old; convert the model to version 7 or later")

    def model(self, source: bytes | str) -> Model:
        """The finished model."""
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
        if len(set(dtypes)) > 1:
            raise ModelError(f"{self.path}: inputs of several types ({', '.join(dtypes)})")
        for node in self.proto_graph.node:
            self._convert(node)
        outputs = [self._output(o.name) for o in self.proto_graph.output]
        graph = self.builder.graph(positions, outputs)
        symbolic += [self._symbolic(v) for v in self.proto_graph.output]
        return Model(
            graph=graph,
            path=self.path,
            input_names=tuple(v.name for v in inputs),
            input_shapes=tuple(shapes),
            input_dtype=dtypes[0] if dtypes else "float32",
            output_names=tuple(o.name for o in self.proto_graph.output),
            output_shapes=tuple(graph.nodes[i].shape for i in graph.outputs),
            batched=bool(inputs) and all(symbolic) and all(graph.nodes[i].shape[:1] == (1,) for i in graph.outputs),
            _source=source,
        )

    def _initializers(self) -> set[str]:
        from onnx import numpy_helper

        for tensor in self.proto_graph.initializer:
            try:
                self.values[tensor.name] = numpy_helper.to_array(tensor)
            except Exception as e:  # whatever a damaged tensor makes numpy or onnx raise
                raise ModelError(f"{self.path}: tensor '{tensor.name}' is damaged: {_line(e)}") from None
        return {t.name for t in self.proto_graph.initializer}

    @staticmethod
    def _symbolic(v: Any) -> bool:
        dims = v.type.tensor_type.shape.dim
        return bool(dims) and dims[0].dim_value <= 0

    def _declared(self, v: Any) -> tuple[Shape, str, bool]:
        """Shape, type and whether the batch is symbolic, of an input."""
        tensor = v.type.tensor_type
        if tensor.elem_type not in _DTYPES or not tensor.HasField("shape"):
            raise ModelError(f"{self.path}: input '{v.name}' is not a floating-point tensor of known rank")
        dims = [d.dim_value if d.dim_value > 0 else 0 for d in tensor.shape.dim]
        if any(d == 0 for d in dims[1:]):
            text = ", ".join(str(d.dim_value or d.dim_param or "?") for d in tensor.shape.dim)
            raise ModelError(f"{self.path}: input '{v.name}' has shape [{text}]; only the first dimension may be open")
        shape = tuple(d or 1 for d in dims)
        if prod(shape) > LARGEST:
            raise ModelError(f"{self.path}: input '{v.name}' has {prod(shape)} entries")
        return shape, _DTYPES[tensor.elem_type], bool(dims) and dims[0] == 0

    def _output(self, name: str) -> int:
        value = self.values.get(name)
        if value is None:
            raise ModelError(f"{self.path}: output '{name}' is not computed by any node")
        if not isinstance(value, int):
            raise ModelError(f"{self.path}: output '{name}' does not depend on the input")
        return value

    def _convert(self, node: Any) -> None:
        """Add what one node stands for and note its outputs."""
        from onnx.helper import get_attribute_value

        name = next((o for o in node.output if o), node.name)
        where = f"{self.path}: node '{name}' ({node.op_type})"
        missing = next((n for n in node.input if n and n not in self.values), None)
        if missing is not None:
            raise ModelError(f"{where}: tensor '{missing}' is not computed by an earlier node")
        if node.domain not in ("", "ai.onnx"):
            raise ModelError(f"{where}: operators of domain '{node.domain}' are not supported; {_HINT}")
        inputs = tuple(self.values[n] if n else None for n in node.input)
        try:
            attributes = {a.name: get_attribute_value(a) for a in node.attribute}
            used = tuple(o in self.read for o in node.output)
            call = Call(node.op_type, name, attributes, inputs, tuple(node.input), used, self.opset, self.builder)
            if not any(isinstance(v, int) for v in inputs):
                results: Any = fold(call, node, self.proto.opset_import)
            elif node.op_type in CONVERTERS:
                results = CONVERTERS[node.op_type](call)
            else:
                raise ModelError(f"{where}: this operator is not supported; {_HINT}")
        except ModelError:
            raise
        except (ValueError, TypeError, KeyError, IndexError, AttributeError, ArithmeticError, MemoryError) as e:
            raise ModelError(f"{where}: {_line(e)}; {_HINT}") from None
        results = results if isinstance(results, list) else [results]
        self.values.update((n, v) for n, v in zip(node.output, results, strict=False) if n)


def check(model: Model, graph: Graph | None = None) -> None:
    """Compare a graph (the model's own unless given) with onnxruntime on a few random inputs.

    What may differ is rounding: its first-order bound is carried through the graph next to the values.  Large networks
    are compared on one point, so that this takes little time.

    Raises:
        UnsoundBound: if they differ by more.
    """
    graph = graph or model.graph
    work = sum(n.op.work(*graph.shapes_in(i)) for i, n in enumerate(graph.nodes) if isinstance(n.op, Affine))
    points = 3 if work < 1_000_000 else 1
    rng = np.random.default_rng(0)
    x = [rng.standard_normal((points, prod(s))) * rng.choice([0.3, 1.0, 3.0], (points, 1)) for s in model.input_shapes]
    x = [a.astype(model.input_dtype).astype(np.float64) for a in x]
    expected = model.run(*x)
    if not np.isfinite(expected).all():
        raise ModelError(f"{model.path}: its outputs on random inputs are not finite; its weights are too large")
    values, error = _with_error(model, graph, x)
    if values.shape != expected.shape:
        raise UnsoundBound(f"{model.path}: {values.shape[1]} outputs, where onnxruntime has {expected.shape[1]}")
    off = np.abs(values - expected)
    if not (off <= 4 * error).all():  # also where either is NaN
        raise UnsoundBound(f"{model.path}: differs from onnxruntime by {off.max():.3g} on random inputs; report it")


def _with_error(model: Model, graph: Graph, x: list[np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """Outputs `[B, m]`, and how far rounding in the model's type may put others off them."""
    u, tiny = _UNIT[model.input_dtype], _TINY[model.input_dtype]
    values: list[np.ndarray] = [np.zeros(0)] * len(graph.nodes)
    errors: list[np.ndarray] = [np.zeros(0)] * len(graph.nodes)
    for i, a in zip(graph.inputs, x, strict=True):
        values[i] = a.reshape(len(a), *graph.nodes[i].shape)
        errors[i] = np.zeros(values[i].shape)
    for i, node in enumerate(graph.nodes):
        if i in graph.inputs:
            continue
        op, v, e = node.op, [values[j] for j in node.inputs], [errors[j] for j in node.inputs]
        values[i] = y = op.evaluate(*v)
        if isinstance(op, Affine):
            size, b = op.absolute(), op.absolute().bias()
            step = 0.0 if op.exact else u * (op.terms(*graph.shapes_in(i)) + 4)
            error = size.linear(*(f + step * abs(a) for a, f in zip(v, e, strict=True)))
            errors[i] = error if op.exact else error + (tiny if b is None else step * b + tiny)
        else:
            moved = np.zeros(y.shape)
            for k, a in enumerate(v):
                for shift in (e[k], -e[k]):
                    moved = np.maximum(moved, abs(op.evaluate(*v[:k], a + shift, *v[k + 1 :]) - y))
            errors[i] = moved + (0.0 if op.exact else 4 * u * (abs(y) + abs(y).max(initial=0.0) * u) + tiny)
    out = [np.concatenate([a[i].reshape(len(a[i]), -1) for i in graph.outputs], 1) for a in (values, errors)]
    return out[0], out[1]
