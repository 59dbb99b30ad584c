"""How tight interval bounds are on a network, and where they lose."""

from __future__ import annotations

from typing import Any

import numpy as np

from verifier.run.model import load, name_of, one_input_one_output
from verifier.values.errors import PropertyError, UserError

NUMBERS = 3e7
"""Numbers that rows under way may hold at once, in the widest layer."""


def tightness(
    net: Any,
    x: Any,
    eps: float | Any = 1.0,
    *,
    kind: str = "local",
    per_output: bool = False,
    margins: Any = None,
    lo: float | None = None,
    hi: float | None = None,
) -> Any:
    """Propagation tightness of a network: the exact output radius of its linear piece over the interval bounds' one.

    Source: Mao et al., *Understanding Certified Training with Interval Bound Propagation*, ICLR 2024, definition 3.

    Args:
        net: a torch module, a file, or what `load` returned.
        x: `[B, *shape]` (or one input, or flat) points.
        eps: the radius, a number or an array of x's shape; only its proportions matter.
        kind: `local`, of the linear piece at x (activations by their slope there), or `linear`, activations left out.
        per_output: whether the values `[B, K]` of all outputs are returned as a tensor, which carries gradients to a
            module's parameters; NaN where an output does not depend on the input.
        margins: `[B]` classes; then of the rows `z_y − z_j`, j ≠ y, in place of the outputs: `[B, K − 1]`.
        lo, hi: the range of the data, which boxes are cut to.

    Returns: the mean over outputs and points as a float (NaN where all are), or the tensor.

    Raises:
        UserError: sizes that don't fit.  ModelError: an operator without tightness.
    """
    import torch

    from verifier.train import tightness as core

    graph, points, radius = _prepared(net, x, eps, kind, lo, hi)
    classes = None if margins is None else torch.as_tensor(margins, dtype=torch.int64).reshape(-1)
    K = graph.nodes[graph.outputs[0]].size
    if classes is not None and (len(classes) != len(points) or not bool(((classes >= 0) & (classes < K)).all())):
        raise PropertyError(f"margins: one class from 0 to {K - 1} for each of {len(points)} points")
    widest = max(node.size for node in graph.nodes)
    parts, step = [], max(1, int(NUMBERS / (widest * K)))
    for at in range(0, len(points), step):
        here = slice(at, at + step)
        if classes is None:
            parts.append(core.tightness(graph, points[here], radius[here], kind=kind))
            continue
        for k, y in enumerate(classes[here].tolist(), at):
            eye = torch.eye(K, dtype=points.dtype)
            rows = (eye[y] - eye)[[j for j in range(K) if j != y]]
            parts.append(core.tightness(graph, points[k : k + 1], radius[k : k + 1], kind=kind, rows=rows))
    values = torch.cat(parts)
    return values if per_output else float(core.mean(values.detach()))


def profile(
    net: Any, x: Any, eps: float | Any = 1.0, *, kind: str = "local", lo: float | None = None, hi: float | None = None
) -> list[tuple[str, float]]:
    """Mean tightness up to every activation's input and up to the outputs: (name, tightness), first to last.

    Arguments and errors as of `tightness`; of wide layers, 32 neurons drawn at random are looked at.
    """
    import torch

    from verifier.train import tightness as core

    with torch.no_grad():
        graph, points, radius = _prepared(net, x, eps, kind, lo, hi)
        return core.profile(graph, points, radius, kind=kind)


def exact(net: Any, x: Any, *, kind: str = "local") -> bool:
    """Whether interval bounds are exact on the linear pieces at points x `[B, *shape]`, for every box.

    So they are if and only if all paths between an input and an output agree in sign.
    """
    import torch

    from verifier.train import tightness as core

    with torch.no_grad():
        graph, points, _ = _prepared(net, x, 1.0, kind, None, None)
        return core.conflicts(graph, points, kind=kind) == 0


def _prepared(net: Any, x: Any, eps: Any, kind: str, lo: float | None, hi: float | None) -> tuple[Any, Any, Any]:
    """Graph, points and radii as torch tensors in double precision."""
    import torch

    from verifier.train.tightness import KINDS

    if kind not in KINDS:
        raise UserError(f"kind {kind!r}: use one of {', '.join(KINDS)}")
    points = torch.as_tensor(np.asarray(x) if not isinstance(x, torch.Tensor) else x)
    if isinstance(net, torch.nn.Module):
        dtype = next((p.dtype for p in net.parameters()), torch.float32)
        net = load(net, points[:1].to(dtype) if points.ndim > 1 else points[None].to(dtype))
    net = load(net)
    one_input_one_output(net)
    shape = net.input_shapes[0]
    n = int(np.prod(shape))
    if not points.numel() or points.numel() % n:
        raise PropertyError(f"x: {points.numel()} numbers for inputs of {n} in {name_of(net)}")
    graph = net.graph.cast(_double)
    points = points.double().reshape(-1, *graph.nodes[graph.inputs[0]].shape)
    r = torch.as_tensor(eps, dtype=torch.float64).detach()
    r = r.reshape(points.shape) if r.numel() == points.numel() else r
    try:
        lower, upper = points - r, points + r
    except RuntimeError:
        raise PropertyError(f"eps of shape {list(r.shape)} for points {list(points.shape)}") from None
    if not bool((r >= 0).all()) or not bool(torch.isfinite(points).all()) or not bool(torch.isfinite(r).all()):
        raise PropertyError("x and eps must be finite, eps not negative")
    lower = lower if lo is None else lower.clamp(min=lo)
    upper = upper if hi is None else upper.clamp(max=hi)
    return graph, points, ((upper - lower) / 2).clamp(min=0.0)


def _double(a: Any) -> Any:
    """A parameter on torch in double precision; positions stay whole numbers."""
    import torch

    t = a if isinstance(a, torch.Tensor) else torch.as_tensor(np.asarray(a.toarray() if hasattr(a, "toarray") else a))
    return t.double() if t.is_floating_point() else t
