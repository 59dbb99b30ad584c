"""Comparing a model's operators with onnxruntime one by one, each on what onnxruntime hands to it.

A kernel of a double model may compute in single precision: its constants are rounded to that (the tanh form of Gelu,
Attention's scale), its attributes are (Shrink), or the standard says so (GroupNormalization's `stash_type`).  In the
output of a deep network such a difference cannot be told from another one; behind one operator alone it can.
"""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from verifier.graph.compare import TINY, UNIT, after
from verifier.graph.graph import Affine
from verifier.values.arrays import Place
from verifier.values.errors import ModelError

_SHORT = frozenset(("DFT", "STFT"))
"""Affine operators whose kernels multiply by constants of their own in single precision (one over the length)."""
_SAME = {"float32": 1e-4, "float64": 1e-4, "float16": 1e-2}
"""How far a model's own outputs may move, relative to the largest, where all others are handed out, too."""


@np.errstate(all="ignore")  # what is not defined is not compared
def agrees(model: Any, x: list[np.ndarray]) -> bool:
    """Whether every operator of a model is as it was read, up to rounding in the model's type.

    In a model of doubles it may be that of single precision for operators that are not affine, and for those whose
    weights are the kernel's own; the kernels of others that are affine compute in double precision, and weights that
    were read with too few bits are no rounding.

    Args:
        model: a `Model`, or several joined into one.
        x: one `[P, n]` for each of its inputs.
    """
    if hasattr(model, "parts"):
        return all(agrees(part.model, [x[0][:, at] for at in part.inputs]) for part in model.parts)
    if not hasattr(model, "source"):  # no file, nor what was one
        return False
    try:
        opened, expected = _opened(model), model.run(*x)
        found = opened.run(*x)
    except ModelError:  # it cannot be looked into
        return False
    some = np.isfinite(expected)
    most = np.max(np.abs(expected), 1, initial=0.0, where=some)[:, None]
    moved = np.abs(found[:, : expected.shape[1]] - expected)
    if not (moved <= _SAME[model.input_dtype] * most)[some].all():  # onnxruntime's optimised operators are others
        return False
    own = model.precision or model.input_dtype
    kinds = own, "float32" if own == "float64" else own
    graph = opened.graph.cast(Place("numpy", "float64").array)
    own_weights = _own(model)
    short = {i for i, name in zip(opened.graph.outputs, opened.output_names, strict=True) if name in own_weights}
    ends = np.cumsum([0, *(prod(s) for s in opened.output_shapes)])
    known = {i: found[:, ends[k] : ends[k + 1]] for k, i in enumerate(graph.outputs)}
    values: list[np.ndarray] = [np.zeros(0)] * len(graph.nodes)
    errors: list[dict[str, np.ndarray]] = [{}] * len(graph.nodes)
    bent = [False] * len(graph.nodes)
    for i, a in zip(graph.inputs, x, strict=True):
        values[i] = a.reshape(len(a), *graph.nodes[i].shape)
        errors[i] = {kind: np.zeros(values[i].shape) for kind in kinds}
    for i, node in enumerate(graph.nodes):
        if i in graph.inputs:
            continue
        v = [values[j] for j in node.inputs]
        y = values[i] = node.op.evaluate(*v)
        errors[i] = {
            kind: after(graph, i, v, [errors[j][kind] for j in node.inputs], y, UNIT[kind], TINY[kind])
            for kind in kinds
        }
        bent[i] = not isinstance(node.op, Affine) or any(bent[j] for j in node.inputs)
        bent[i] = bent[i] or i in short
        if i in known:
            there = known[i].reshape(y.shape)
            counts = np.isfinite(y) & np.isfinite(there)
            apart, unit = np.abs(y - there), kinds[bent[i]]
            if not (apart <= 4 * errors[i][unit])[counts].all():
                return False
            values[i], bent[i] = np.where(counts, there, y), False  # the next one begins with that
            errors[i] = {kind: np.zeros(y.shape) for kind in errors[i]}
    return True


def _own(model: Any) -> set[str]:
    """Results of operators whose weights are their kernels' own."""
    from verifier.graph.opened import opened  # only here, like the whole module

    _, proto, _, _ = opened(model.source)
    return {name for node in proto.graph.node if node.op_type in _SHORT for name in node.output}


def _opened(model: Any) -> Any:
    """The model with every tensor that its operators hand on as a further output.

    Raises:
        ModelError: some cannot be one.
    """
    from verifier.graph.from_onnx import load  # only here: it imports what imports this

    own = {*model.output_names, *model.input_names}
    inside = dict.fromkeys(n.name for n in model.graph.nodes if n.name not in own)
    return load(model.source, list(inside), model.decided, model.front is not None)
