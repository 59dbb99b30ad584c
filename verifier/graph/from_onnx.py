"""Reading ONNX models: `load` makes a Graph of one; `compare.check` compares it with onnxruntime."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from verifier.graph.advice import contradicts
from verifier.graph.advice import newer as beyond
from verifier.graph.answers import simplified
from verifier.graph.compare import check as check  # part of what this module offers
from verifier.graph.decided import Front
from verifier.graph.graph import Graph, Shape
from verifier.graph.importer import tensors
from verifier.graph.mixed import Reference, imported, runs
from verifier.graph.opened import opened, proto_of
from verifier.graph.repeated import REMARK, has_masks, repeated
from verifier.graph.restrict import restricted
from verifier.graph.tidy import OLDEST as OLDEST
from verifier.graph.tidy import converted, names_read, one_line
from verifier.values.arrays import Place
from verifier.values.errors import ModelError, UnsoundBound, memory_is_out
from verifier.values.shown import Shown

_KINDS = {"tensor(float)": "float32", "tensor(double)": "float64", "tensor(float16)": "float16"}
"""Types of inputs, as onnxruntime calls them."""


@dataclass(frozen=True, repr=False)
class Model(Shown):
    """A network as read from a file or from memory, and the means to run the original.

    Attributes:
        graph: the network; activations have their full ONNX shapes with batch size 1.
        path: the file; of a model in memory a text that names it.
        input_names, output_names: as the file declares them, in its order.
        input_shapes, output_shapes: full ONNX shapes, a symbolic batch dimension replaced by 1.
        input_dtype: `"float32"`, `"float64"` or `"float16"`; of inputs of several types that whose numbers all have.
        own_outputs: how many outputs are the model's own; those behind are tensors inside it that `load` was asked for.
        batched: whether the first dimension of every input and output is symbolic.
        decided: for each input, flat, the values of the entries that are fixed, NaN where one is free; or None.
        whole: with `decided`, for each input, flat, which entries matter only by what stands before their decimal
            point: the network is the same on all of (k − 1, k] below zero, (−1, 1), and [k, k + 1) above.
        front: with `decided`, where what is decided enters the network.
        precision: float32 where a model of doubles computes in float32 in places, else the type of its inputs.
        remarks: how it was read where that is not as it stands in the file, a line each.
        reference: where no runtime runs it (see `graph.mixed`), what the graph was compared with; `run` is then the
            graph in double precision.
    """

    graph: Graph
    path: Path | str
    input_names: tuple[str, ...]
    input_shapes: tuple[Shape, ...]
    input_dtype: str
    output_names: tuple[str, ...]
    output_shapes: tuple[Shape, ...]
    batched: bool
    own_outputs: int
    decided: tuple[np.ndarray, ...] | None = None
    whole: tuple[np.ndarray, ...] | None = None
    front: Front | None = None
    precision: str = ""
    remarks: tuple[str, ...] = ()
    reference: Reference | None = None
    _source: bytes | str = field(repr=False, compare=False, default=b"")
    _newer: bytes = field(repr=False, compare=False, default=b"")
    _origin: bytes = field(repr=False, compare=False, default=b"")
    _state: dict[str, Any] = field(repr=False, compare=False, default_factory=dict)

    def _said(self) -> list[tuple[str, Any]]:
        """Where it is from, inputs, outputs and size."""
        ends = (("input", self.input_names, self.input_shapes), ("output", self.output_names, self.output_shapes))
        told = [(what, f"{name} {list(s)}") for what, names, of in ends for name, s in zip(names, of, strict=True)]
        kind = "file" if isinstance(self.path, Path) else "model"
        return [(kind, self.path), *told, *self.graph.said(self.input_dtype)]

    @property
    def source(self) -> Path | bytes:
        """What `load` reads it from again: the file, or what was in memory; bytes of what was chosen of a file."""
        return self.path if isinstance(self.path, Path) and not self._origin else self._origin

    def session(self) -> Any:
        """The model in onnxruntime on the CPU, made at the first call."""
        if self.reference is not None:
            raise ModelError(f"{self.path}: {self.reference.remark}")
        if "session" not in self._state:
            import onnxruntime

            options = onnxruntime.SessionOptions()
            options.log_severity_level = 4  # what fails is raised; its log would stand beside our one line
            options.intra_op_num_threads = _threads()
            options.inter_op_num_threads = 1
            options.enable_cpu_mem_arena = False  # no quicker, and its blocks leave holes as sessions come and go
            if "plain" in self._state:
                options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
            for source in filter(None, (self._source, self._newer)):
                try:
                    session = onnxruntime.InferenceSession(source, options, providers=["CPUExecutionProvider"])
                except Exception as e:  # onnxruntime has no common type of error
                    if self._newer and source is self._source and not memory_is_out(e):
                        continue  # of an old operator set it has few kernels: what the file was converted to will do
                    raise _refused(self.path, "cannot run", e) from None
                self._state["session"] = session
                break
        return self._state["session"]

    def _repeated(self) -> Model | None:
        """The same with a row for each query in masks of attention, for onnxruntime."""
        if (source := repeated(self._source)) is None:
            return None
        return replace(self, remarks=(*self.remarks, REMARK), _source=source, _newer=b"", _state={})

    def unoptimised(self) -> Model:
        """The same, run by onnxruntime without its optimisation: node by node, as the file says."""
        return replace(self, _state={"plain": True})

    @property
    def second(self) -> Model | None:
        """The unoptimised model, where onnxruntime's optimised one computes something else; see `compare.check`."""
        return self._state.get("second")

    def take_second(self, second: Model) -> None:
        """Note that the optimised model computes something else than this one."""
        self._state["second"] = second

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
        if self.reference is not None:
            return self._in_doubles(given)
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

    def _in_doubles(self, given: list[np.ndarray]) -> np.ndarray:
        """The outputs as the graph computes them in double precision."""
        if "graph" not in self._state:
            self._state["graph"] = self.graph.cast(Place("numpy", "float64").array)
        with np.errstate(all="ignore"):  # what is no number is found out by who asks
            y = self._state["graph"].evaluate(*(a.astype(np.float64) for a in given))
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
            session = self.session()
            if "kinds" not in self._state:
                self._state["kinds"] = {i.name: _KINDS.get(i.type, self.input_dtype) for i in session.get_inputs()}
            kinds = self._state["kinds"]
            given = {n: a.astype(kinds[n], copy=False) for n, a in zip(self.input_names, x, strict=True)}
            return list(session.run(list(self.output_names), given))
        except ModelError:
            raise
        except Exception as e:  # onnxruntime has no common type of error
            raise _refused(self.path, "fails on", e) from None


def _refused(path: Path | str, does: str, e: Exception) -> Exception:
    """What to raise where onnxruntime raised `e`: want of memory is no fault of the model."""
    reason = one_line(e)
    if memory_is_out(e):
        return MemoryError(f"onnxruntime has no memory for {path}: {reason}")
    return ModelError(f"{path}: onnxruntime {does} this model: {reason}{beyond(reason)}")


def _threads() -> int:
    text = os.environ.get("OMP_NUM_THREADS", "1")
    return max(1, int(text)) if text.isdigit() else 1


def load(
    source: Any,
    also: Sequence[str] = (),
    decided: Sequence[np.ndarray] | None = None,
    parted: bool = False,
    fixed: Mapping[str, Any] | None = None,
    outputs: Sequence[str] | None = None,
) -> Model:
    """Read a network from an `.onnx` file, gzip-compressed or not, or from memory.

    Args:
        source: the file; or an `onnx.ModelProto`, or the bytes of one (what becomes of either later changes nothing).
        also: names of tensors inside it that become further outputs, behind its own.
        decided: for each input, flat, the values at which entries are fixed (NaN where one is free); the graph is then
            right for inputs with these values only, and what depends on nothing else is computed at once, where that is
            exact; what would round it is a node.
        parted: keep what is decided apart from the network, see `Front`.
        fixed: values of inputs by name, which are constants from then on.
        outputs: names of the outputs that it keeps, in this order; all when None.

    Raises:
        ModelError: if it cannot be read, or holds something that is not supported; one line.
    """
    path, proto, kept, origin = opened(source)
    remarks = simplified(proto.graph, (*also, *(outputs or ())))
    if fixed or outputs:
        kept = origin = restricted(path, proto, fixed, outputs)
    own = len(tensors(proto.graph))
    if also or remarks:
        kept = _expose(path, proto, also)
    newer = converted(path, proto)
    try:
        read, reference = imported(path, newer, kept, decided, parted)
    except ModelError as e:
        raise contradicts(newer, e, lambda: runs(kept, once=True)) from None
    if reference is not None:
        remarks = (*remarks, reference.remark)
    model = Model(
        path=path,
        own_outputs=own,
        remarks=remarks,
        reference=reference,
        _source=kept,
        _newer=b"" if newer is proto else newer.SerializeToString(),
        _origin=origin,
        **vars(read),
    )
    return _with_masks(model) if reference is None and has_masks(newer) else model


def _with_masks(model: Model) -> Model:
    """A model with masks of attention as onnxruntime can run it, see `graph.repeated`; as it is where nothing helps."""
    nothing = [np.zeros(s, model.input_dtype) for s in model.input_shapes]
    for m in (model, model._repeated()):
        with suppress(ModelError):
            if m is not None:
                m._call(nothing)
                return m
    return model


def inner(source: Any, names: Sequence[str]) -> Any:
    """A session of onnxruntime, not optimised, of the nodes alone that some tensors inside a model need.

    Raises:
        ModelError: there is none.
    """
    import onnxruntime

    proto, path = proto_of(source), source if isinstance(source, (str, Path)) else "ONNX model in memory"
    _expose(path, proto, names)
    needed, kept = set(names), []
    for node in reversed(proto.graph.node):
        if needed & set(node.output):
            needed |= names_read(node)
            kept.append(node)
    outputs = [o for o in proto.graph.output if o.name in names]
    for field_, values in (("node", kept[::-1]), ("output", outputs)):
        held = [type(v).FromString(v.SerializeToString()) for v in values]
        proto.graph.ClearField(field_)
        getattr(proto.graph, field_).extend(held)
    options = onnxruntime.SessionOptions()
    options.log_severity_level, options.intra_op_num_threads = 4, 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    try:
        return onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    except Exception as e:  # onnxruntime has no common type of error
        raise _refused(path, "cannot run", e) from None


def _expose(path: Path | str, proto: Any, names: Sequence[str]) -> bytes:
    """Make tensors outputs of the model, for onnxruntime, too: the changed model's bytes."""
    computed = {o for node in proto.graph.node for o in node.output if o}
    there = {o.name for o in proto.graph.output}
    for name in names:
        if name not in computed:
            raise ModelError(f"{path}: no node computes a tensor '{name}'; give the name of a node's output")
        if name not in there:
            proto.graph.output.add().name = name  # its type is inferred
            there.add(name)
    try:
        return bytes(proto.SerializeToString())
    except Exception:  # protobuf's error type depends on its implementation
        raise ModelError(f"{path}: too large to look at the tensors inside it") from None
