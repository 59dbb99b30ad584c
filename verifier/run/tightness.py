"""How tight interval bounds are on a network, and where they lose."""

from __future__ import annotations

from typing import Any

import numpy as np

from verifier.run.model import load, name_of, one_input_one_output, single
from verifier.values import given
from verifier.values.errors import PropertyError
from verifier.values.extras import need


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
        net: a torch module, a file, or what `load` returned (quicker for a module that is asked again and again; its
            batch norms keep the statistics that they had then).
        x: `[B, *shape]` points, in the network's own units; for a network that is loaded also one input, or flat; of
            several inputs `[B, n]`, behind one another in the model's order.
        eps: the radius, a number, one for each input, or an array of x's shape; only its proportions matter.
        kind: `local`, of the linear piece at x (activations by their slope there), or `linear`, activations left out
            (the paper's deep linear network, the same at every point).
        per_output: whether the values `[B, K]` of all outputs, flat, are returned as a tensor, which carries gradients
            to a module's parameters; NaN where an output does not depend on the box: 0/0, which the mean leaves out
            (a dead output is neither tight nor loose, and counting it would hide what the others are).
        margins: `[B]` classes; then of the rows `z_y − z_j`, j ≠ y, in place of the outputs: `[B, K − 1]`.
        lo, hi: the range of the data, which boxes are cut to.

    Returns: the mean over outputs and points as a float (NaN where all are), or the tensor.

    Raises:
        UserError: sizes that don't fit, numbers that are not finite, a box without width; torch is not installed.
        ModelError: an operator without tightness, or an infinite slope.
    """
    need("tightness", "torch", "torch")
    import torch

    from verifier.train import tightness as core

    per_output = given.flag("per_output", per_output)
    graph, points, radius = _prepared(net, x, eps, kind, lo, hi)
    K = graph.nodes[graph.outputs[0]].size
    eye = torch.eye(K, dtype=points.dtype, device=points.device)
    if margins is None:
        values = core.by_parts(graph, points, radius, kind, eye)
        return values if per_output else float(core.mean(values.detach()))
    classes = torch.as_tensor(given.classes("margins", margins, len(points), K - 1), device=points.device)
    parts, order = [], []
    for y in classes.unique().tolist():  # one set of rows for all points of a class
        at = torch.nonzero(classes == y)[:, 0]
        rows = (eye[y] - eye)[[j for j in range(K) if j != y]]
        parts.append(core.by_parts(graph, points[at], radius[at], kind, rows))
        order.append(at)
    values = torch.cat(parts)[torch.cat(order).argsort()]
    return values if per_output else float(core.mean(values.detach()))


def profile(
    net: Any, x: Any, eps: float | Any = 1.0, *, kind: str = "local", lo: float | None = None, hi: float | None = None
) -> list[tuple[str, float]]:
    """Mean tightness up to every activation's input and up to the outputs: (name, tightness), first to last.

    Arguments and errors as of `tightness`; of wide layers, 32 neurons drawn at random are looked at.
    """
    need("tightness", "torch", "torch")
    import torch

    from verifier.train import tightness as core

    with torch.no_grad():
        graph, points, radius = _prepared(net, x, eps, kind, lo, hi)
        return core.profile(graph, points, radius, kind=kind)


def exact(net: Any, x: Any, *, kind: str = "local") -> bool:
    """Whether interval bounds are exact on the linear pieces at points x `[B, *shape]`, for every box.

    So they are if and only if all paths between an input and an output agree in sign.
    """
    return conflicts(net, x, kind=kind) == 0


def conflicts(net: Any, x: Any, *, kind: str = "local") -> int:
    """At how many (point, output, input) paths of both signs meet, which is where interval bounds lose.

    Of kind `linear` every point counts alike.  Arguments and errors as of `tightness`.
    """
    need("tightness", "torch", "torch")
    import torch

    from verifier.train import tightness as core

    with torch.no_grad():
        graph, points, _ = _prepared(net, x, 1.0, kind, None, None)
        step = core.few(graph, graph.nodes[graph.outputs[0]].size, kind, len(points))
        return sum(int(core.conflicts(graph, part, kind=kind).sum()) for part in points.split(step))


def _prepared(net: Any, x: Any, eps: Any, kind: str, lo: float | None, hi: float | None) -> tuple[Any, Any, Any]:
    """Graph, points and radii as torch tensors in double precision, where the module is; the largest radius is 1."""
    import torch

    from verifier.train.tightness import KINDS

    given.choice("kind", kind, KINDS)
    given.array("x", x)
    points = (x if isinstance(x, torch.Tensor) else torch.as_tensor(np.asarray(x))).detach()
    if isinstance(net, torch.nn.Module):
        own = next(net.parameters(), torch.zeros(1))
        net = load(net, (points[:1] if points.ndim > 1 else points[None]).to(own))
    net = single(load(net))
    one_input_one_output(net)
    shape = net.input_shapes[0]
    n = int(np.prod(shape))
    if not points.numel() or n not in (points.numel(), points[0].numel()):
        what = f"x of shape {list(points.shape)}"
        raise PropertyError(f"{what}: {name_of(net)} takes {n} numbers a point; give one point, or [B, *shape] of them")
    graph = net.graph.cast(_double)
    points = points.to(getattr(net, "device", "cpu"), torch.float64).reshape(-1, *graph.nodes[graph.inputs[0]].shape)
    r = torch.as_tensor(given.array("eps", eps), device=points.device)
    lo, hi = (None if v is None else given.number(name, v, finite=False) for name, v in (("lo", lo), ("hi", hi)))
    r = r.reshape(points.shape) if r.numel() == points.numel() else r.reshape(shape) if r.numel() == n else r
    try:
        r = r.expand(points.shape)
    except RuntimeError:
        raise PropertyError(f"eps of shape {list(r.shape)} for points {list(points.shape)}") from None
    if not bool((r >= 0).all()) or not bool(torch.isfinite(points).all()) or not bool(torch.isfinite(r + r).all()):
        raise PropertyError("x and eps must be finite, eps not negative")
    # Each side by itself: x - eps would round away a small eps.
    below = r if lo is None else torch.minimum(r, points - lo)
    above = r if hi is None else torch.minimum(r, hi - points)
    width = (below + above).flatten(1)
    if bool((width < 0).any()):
        raise PropertyError("some of x lie more than eps outside the range lo to hi of the data")
    top = width.amax(1, keepdim=True)
    if not bool((top > 0).all()):
        raise PropertyError("eps: a box without width has no tightness; only its proportions matter, so leave eps out")
    return graph, points, (width / top).reshape(points.shape)


def _double(a: Any) -> Any:
    """A parameter on torch in double precision; positions stay whole numbers."""
    import torch

    t = a if isinstance(a, torch.Tensor) else torch.as_tensor(np.asarray(a.toarray() if hasattr(a, "toarray") else a))
    return t.double() if t.is_floating_point() else t
