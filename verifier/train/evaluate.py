"""How good a network is so far, by the cheap bounds: for logs and for choosing an epoch, not for claims.

`verifier certify` says what is proved, with rounding and with the search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from verifier.graph.graph import Graph
from verifier.graph.ops.relu import Relu
from verifier.train.backward import least, margin_rows
from verifier.train.bounds import interval
from verifier.train.method import Loss, box, worst_case
from verifier.train.model import Trainable
from verifier.train.recipe import DataOptions
from verifier.train.tightness import mean, tightness
from verifier.values.errors import ModelError, UserError

BATCH, FEW = 500, 50


@dataclass(frozen=True)
class Accuracy:
    """Shares in [0, 1] of the samples that are classified right, and proved so by interval bounds."""

    natural: float
    verified: float


def accuracy(
    net: Trainable, x: np.ndarray, y: np.ndarray, eps: float, data: DataOptions, *, linear: bool = False
) -> Accuracy:
    """Accuracies of samples `[N, *shape]` with classes `[N]` on balls of radius eps, in evaluation mode.

    Args:
        data: the range that boxes are cut to.
        linear: whether what intervals leave open is tried with linear bounds (CROWN-IBP, both kinds of lower lines).

    Raises:
        UserError: an input is not in the range; nothing can be said of a box that is cut to where it isn't.
    """
    if len(x) and not np.float32(data.lower) <= x.min() <= x.max() <= np.float32(data.upper):
        raise UserError(f"inputs from {x.min():g} to {x.max():g} are not in the range [{data.lower:g}, {data.upper:g}]")
    device = next(net.module.parameters()).device
    training = net.module.training
    net.module.eval()
    right = proved = 0
    with torch.no_grad():
        for at in range(0, len(x), BATCH):
            part = torch.from_numpy(x[at : at + BATCH]).to(device)
            label = torch.from_numpy(y[at : at + BATCH]).to(device)
            clean = net.clean(part)
            correct = clean.logits.argmax(1) == label
            lower, upper = box(part, eps, (data.lower, data.upper))
            bounds = interval(clean.graph, lower, upper)
            right += int(correct.sum())
            done = worst_case(bounds.margins(label), label)[1] & correct
            proved += int(done.sum())
            rest = torch.nonzero(correct & ~done).reshape(-1)
            for few in rest.split(FEW) if linear and len(rest) else ():
                proved += int(_linear(clean.graph, lower[few], upper[few], label[few]).sum())
    net.module.train(training)
    return Accuracy(right / len(x), proved / len(x))


def _linear(graph: Graph, lower: Tensor, upper: Tensor, y: Tensor) -> Tensor:
    """Which of the boxes linear bounds prove `[B]`."""
    bounds = interval(graph, lower, upper)
    (out,) = graph.outputs
    rows = margin_rows(y, graph.nodes[out].shape[0]).to(lower)
    try:
        found = [least(bounds, lower, upper, rows, flat=flat) for flat in (False, True)]
    except ModelError:  # an operator without linear bounds here
        return torch.zeros_like(y, dtype=torch.bool)
    return worst_case(torch.maximum(*found), y)[1]


SAMPLES = 16
"""Points at which tightness is looked at for a log."""


@torch.no_grad()
def tight(net: Trainable, x: Tensor) -> float | None:
    """Mean local tightness (`train.tightness`) at the first few of `[N, *shape]`; None where the network has none."""
    training = net.module.training
    net.module.eval()
    graph = net.clean(x[:SAMPLES]).graph.cast(lambda a: a.double() if a.is_floating_point() else a)
    net.module.train(training)
    points = x[:SAMPLES].double()
    try:
        value = float(mean(tightness(graph, points, torch.ones_like(points))))
    except ModelError:
        return None
    return value if value == value else None


def lifeless(loss: Loss) -> str | None:
    """One line about rectifiers that are dead on every box of a batch, a whole layer of them; None where none are."""
    layers = loss.layers or {}
    for node in loss.clean_pass.graph.nodes:
        dead = isinstance(node.op, Relu) and node.op.leak == 0 and node.inputs[0] in layers
        if dead and bool((layers[node.inputs[0]][1] <= 0).all()):
            return f"{node.name}: all neurons are dead, no gradient passes; lower lr, or let eps grow more slowly"
    return None


def shares(loss: Loss) -> dict[str, float | None]:
    """Shares of ReLU neurons that are dead, active or undecided on the boxes of a batch; None without bounds."""
    counts = torch.zeros(3)
    if loss.layers is not None:
        for node in loss.clean_pass.graph.nodes:
            if isinstance(node.op, Relu) and node.inputs[0] in loss.layers:
                lower, upper = (a.detach() for a in loss.layers[node.inputs[0]])
                dead, active = (upper <= 0).sum(), ((lower >= 0) & (upper > 0)).sum()
                counts += torch.stack([dead, active, lower.numel() - dead - active]).cpu()
    total = float(counts.sum())
    names = ("dead", "active", "unstable")
    return dict.fromkeys(names) if not total else {k: float(c) / total for k, c in zip(names, counts, strict=True)}
