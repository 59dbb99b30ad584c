"""A model with some of its inputs fixed, or with some of its tensors as its outputs: a change of the file's content.

What is fixed is a constant of the model from then on, for onnxruntime as for us, and whatever type it has; what only
other outputs need is not looked at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from verifier.graph.kinds import named
from verifier.values import given
from verifier.values.errors import ModelError, PropertyError

FLOATS = (1, 10, 11)
"""TensorProto types of inputs that may vary."""


def restricted(path: Path | str, proto: Any, fixed: Mapping[str, Any] | None, outputs: Sequence[str] | None) -> bytes:
    """Change a ModelProto (with all its data); its bytes.

    Args:
        fixed: the values of inputs by name, each in its input's shape, or flat.
        outputs: which outputs stay, in this order, or become ones (names of tensors inside, where the network is to
            end); all when None or empty.

    Raises:
        ModelError: there is no such input or output, or values do not fit.
    """
    for name, value in (fixed or {}).items():
        _fix(path, proto.graph, name, value)
    if outputs:
        _keep(path, proto.graph, outputs)
    try:
        return bytes(proto.SerializeToString())
    except Exception:  # protobuf's error type depends on its implementation
        raise ModelError(f"{path}: too large to be changed; export it with these inputs and outputs alone") from None


def inputs(graph: Any) -> list[Any]:
    """The inputs of a GraphProto that are no constants."""
    stored = {t.name for t in graph.initializer}
    return [v for v in graph.input if v.name not in stored]


def typed(v: Any) -> str:
    """Type and shape of a declared tensor in words; open dimensions by name."""
    tensor = v.type.tensor_type
    dims = ", ".join(str(d.dim_value or d.dim_param or "?") for d in tensor.shape.dim)
    return f"{named(tensor.elem_type)} [{dims}]"


def varies(v: Any) -> bool:
    """Whether a declared input is of real numbers, which may vary; others can only be fixed."""
    return v.type.tensor_type.elem_type in FLOATS


def _fix(path: Path | str, graph: Any, name: str, value: Any) -> None:
    from onnx import numpy_helper

    there = inputs(graph)
    v = next((v for v in there if v.name == name), None)
    if v is None:
        known = ", ".join(f"{v.name} {typed(v)}" for v in there) or "none"
        raise ModelError(f"{path}: no input '{name}' to be fixed; its inputs are {known}")
    graph.initializer.append(numpy_helper.from_array(_values(path, v, value), name))
    graph.input.remove(v)


def _values(path: Path | str, v: Any, value: Any) -> np.ndarray:
    """What an input is fixed at, in its type and shape."""
    from onnx import helper

    tensor, what = v.type.tensor_type, f"{path}: input '{v.name}' is {typed(v)}"
    dims = [d.dim_value if d.dim_value > 0 else 0 for d in tensor.shape.dim]
    try:
        plain = np.asarray(value)
        a = plain if plain.dtype.kind in "biu" else given.array(v.name, value, finite=False)
        dtype = np.dtype(helper.tensor_dtype_to_np_dtype(tensor.elem_type))
    except (PropertyError, KeyError, TypeError, ValueError):
        raise ModelError(f"{what}: it cannot be fixed at {given.shown(value)}; give an array of numbers") from None
    shape = a.shape
    if len(shape) != len(dims) or any(d not in (0, s) for d, s in zip(dims, shape, strict=True)):
        shape = tuple(d or 1 for d in dims)  # flat, or without its batch
    if a.size == 1:
        a = np.full(shape, a.reshape(()))  # one number for all entries, as everywhere
    if tensor.HasField("shape") and prod(shape) != a.size:
        raise ModelError(f"{what}: {a.size} values are given to fix it at; give one, or {prod(shape)} in its order")
    with np.errstate(all="ignore"):
        typed_values = a.astype(dtype)
    if dtype.kind in "iub" and not (typed_values == a).all():
        wrong = a.reshape(-1)[np.flatnonzero((typed_values != a).reshape(-1))[0]]
        raise ModelError(f"{what}: it cannot be fixed at {wrong:g}; give numbers of its type")
    if dtype.kind == "f" and (np.isfinite(a) & ~np.isfinite(typed_values)).any():
        raise ModelError(f"{what}: it cannot be fixed at numbers beyond its type; give smaller ones")
    return typed_values.reshape(shape)


def _keep(path: Path | str, graph: Any, names: Sequence[str]) -> None:
    known = {o.name: type(o).FromString(o.SerializeToString()) for o in graph.output}
    own = ", ".join(known)
    inside = {o for node in graph.node for o in node.output} - {""}
    for name in names:
        if name in inside and name not in known:
            known[name] = type(graph.output[0])(name=name)  # its type is inferred
        elif name not in known:
            raise ModelError(f"{path}: no output '{name}', nor a tensor inside; its outputs are {own}")
    if len(set(names)) < len(names):
        raise ModelError(f"{path}: an output is named twice ({', '.join(names)})")
    graph.ClearField("output")
    graph.output.extend(known[name] for name in names)
    needed = _needed(graph, set(names))
    kept = [type(n).FromString(n.SerializeToString()) for k, n in enumerate(graph.node) if k in needed]
    graph.ClearField("node")
    graph.node.extend(kept)


def _needed(graph: Any, names: set[str]) -> set[int]:
    """Which nodes some tensors depend on, in whatever order nodes stand."""
    from verifier.graph.importer import names_read  # which imports this module

    maker = {o: k for k, node in enumerate(graph.node) for o in node.output if o}
    found: set[int] = set()
    todo = [maker[n] for n in names if n in maker]
    while todo:
        k = todo.pop()
        if k not in found:
            found.add(k)
            todo += [maker[n] for n in names_read(graph.node[k]) if n in maker]
    return found
