"""How good a network is so far, by the cheap bounds: for logs and for choosing an epoch, not for claims.

`verifier certify` says what is proved, with rounding and with the search.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from verifier.graph.ops.relu import Relu
from verifier.train.bounds import interval
from verifier.train.method import Loss, box, worst_case
from verifier.train.model import Trainable
from verifier.train.recipe import DataOptions

BATCH = 500


@dataclass(frozen=True)
class Accuracy:
    """Shares in [0, 1] of the samples that are classified right, and proved so by interval bounds."""

    natural: float
    verified: float


def accuracy(net: Trainable, x: np.ndarray, y: np.ndarray, eps: float, data: DataOptions) -> Accuracy:
    """Accuracies of samples `[N, *shape]` with classes `[N]` on balls of radius eps, in evaluation mode."""
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
            bounds = interval(clean.graph, *box(part, eps, data.lower, data.upper))
            right += int(correct.sum())
            proved += int((worst_case(bounds.margins(label), label)[1] & correct).sum())
    net.module.train(training)
    return Accuracy(right / len(x), proved / len(x))


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
