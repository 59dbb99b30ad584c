"""Loading a network from whatever the user has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from math import prod
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from verifier.graph import from_onnx
from verifier.graph.graph import Graph, Tick, nothing
from verifier.graph.mixed import COMPUTED
from verifier.graph.opened import in_memory
from verifier.graph.passes.maxima import maxima_to_relu
from verifier.graph.passes.runner import simplify
from verifier.values import given
from verifier.values.arrays import Place
from verifier.values.errors import ModelError, PropertyError
from verifier.values.extras import need


class Network(Protocol):
    """What every loaded network offers: its graph, the type of its input, and the original to run."""

    @property
    def graph(self) -> Graph:
        """What it computes."""
        ...

    @property
    def input_dtype(self) -> str:
        """Type of its input."""
        ...

    @property
    def input_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One shape an input."""
        ...

    @property
    def output_shapes(self) -> tuple[tuple[int, ...], ...]:
        """One shape an output."""
        ...

    def run(self, x: np.ndarray) -> np.ndarray:
        """The original on `[P, n]`: `[P, m]`."""
        ...


def load(
    model: Any,
    example: Any = None,
    *,
    fixed: Mapping[str, Any] | None = None,
    outputs: str | Sequence[str] | None = None,
) -> Network:
    """A network from an `.onnx` or `.onnx.gz` file, from a model in memory, or from a torch module.

    Args:
        model: a file; an `onnx.ModelProto`, or its bytes; a module; or what this has returned.
        example: for a module an example input `[B, ...]`; a tuple of several, or a mapping by their names.
        fixed: of an ONNX model: values of inputs by name, in their shapes or flat.  They are constants from then on.
            Inputs of whole numbers or truth values can be nothing else.
        outputs: of an ONNX model: the name of an output, or several in the order that they are to have, or of a tensor
            inside, where the network then ends; what only others need is not read.

    Raises:
        ModelError: when it cannot be read or uses something unsupported, or has no such inputs or outputs.
        UnsoundBound: when the imported graph computes something else than the original.
    """
    if not isinstance(fixed, (Mapping, type(None))):
        raise PropertyError(f"fixed {given.shown(fixed)}: give values by the names of inputs, as {{'mask': [1, 0]}}")
    chosen = [outputs] if isinstance(outputs, str) else outputs or []
    if not isinstance(chosen, (list, tuple)) or not all(isinstance(name, str) for name in chosen):
        raise PropertyError(f"outputs {given.shown(outputs)}: give the name of an output, or several")
    if isinstance(model, (str, Path)) or in_memory(model):
        return from_onnx.load(model, fixed=fixed, outputs=chosen)
    if fixed or chosen:
        if not isinstance(model, from_onnx.Model):
            raise ModelError(f"{name_of(model)}: fixed and outputs are of ONNX models; export it")
        return replace(from_onnx.load(model.source, fixed=fixed, outputs=chosen), path=model.path)
    if hasattr(model, "parameters"):
        need(f"{type(model).__name__}, a torch module", "torch", "torch")
        from verifier.graph.from_torch import load_torch

        return load_torch(model, example)
    if hasattr(model, "graph") and hasattr(model, "run"):
        return model
    raise ModelError(
        f"{type(model).__name__}: give a file, or a torch module together with an example input; "
        "an onnx.ModelProto will do, too (of a model of scikit-learn: skl2onnx.to_onnx(model, X[:1]))"
    )


def name_of(model: Network) -> str:
    """A short name for messages."""
    return str(getattr(model, "path", None) or type(getattr(model, "module", model)).__name__)


def computed(model: Any) -> str:
    """How the outputs of a counterexample are computed, where that is not by the original."""
    return COMPUTED if any(getattr(m, "reference", None) is not None for m in _each(model)) else ""


def _each(model: Any) -> list[Any]:
    """A network, or those that are joined in it."""
    parts = getattr(model, "parts", None)
    return [model] if parts is None else [part.model for part in parts]


def remarks(model: Any) -> tuple[str, ...]:
    """How a network, or each of several joined ones, was read where that is not as it stands in its file."""
    said = (f"{name_of(m)}: {line}" for m in _each(model) for line in getattr(m, "remarks", ()))
    return tuple(dict.fromkeys(said))


def single(model: Network) -> Network:
    """A network with one input and one output: several are one, behind one another in the model's order."""
    if len(model.input_shapes) < 2 and len(model.output_shapes) < 2:
        return model
    from verifier.run.joint import flat  # only here: most have one of each

    return flat(model)


def one_input_one_output(model: Network) -> None:
    """Refuse a network that has several, or none.

    Raises:
        ModelError: it has.
    """
    for what, shapes in (("input", model.input_shapes), ("output", model.output_shapes)):
        if len(shapes) != 1:
            raise ModelError(
                f"{name_of(model)}: the network has {len(shapes) or 'no'} {what}{'s' * (len(shapes) > 1)}, where "
                f"exactly one is supported; export it with one {what} tensor"
            )
        if not prod(shapes[0]):
            raise ModelError(
                f"{name_of(model)}: its {what} has shape {list(shapes[0])}, and so no entries: there is nothing to ask "
                f"about; export a network whose {what} holds numbers"
            )


def boundable(model: Network, sample: np.ndarray | None = None, tick: Tick = nothing) -> Graph:
    """The network's graph on numpy in double precision, simplified and checked against the original.

    Args:
        sample: points of the input set to compare on (see `run.sample`), besides random ones.
        tick: called between steps, and before every node that is evaluated for the comparison.

    Raises:
        ModelError: several inputs or outputs.
        UnsoundBound: when the simplified graph computes something else.
    """
    one_input_one_output(model)
    graph = maxima_to_relu(simplify(model.graph.cast(Place("numpy", "float64").array), tick))
    if sample is not None and sample.shape[1] != graph.nodes[graph.inputs[0]].size:
        sample = None  # a set that does not fit is refused by who asks
    drawn = isinstance(model, from_onnx.Model) or hasattr(model, "parts")  # others are compared as they are loaded
    if sample is not None or drawn:
        from_onnx.check(model, graph, sample, drawn, tick)
    return graph


def second_run(model: Network) -> Callable[[np.ndarray], np.ndarray] | None:
    """How the original runs without optimisation, where that differs (see `compare.check`); for `Replay`."""
    second = getattr(model, "second", None)
    return None if second is None else second.run
