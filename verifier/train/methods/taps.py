"""Intervals through the first layers, attacks through the last."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from verifier.graph.graph import Graph
from verifier.train.attack import Attack
from verifier.train.bounds import Intervals, image, interval
from verifier.train.cut import cut
from verifier.train.method import Batch, Robust, check_number, check_whole, worst_case
from verifier.train.methods.adversarial import Adversarial

LINK = 0.5
"""The share of an interval, from either end, within which a point in it moves with that end (the paper's c)."""

BLOCK = 2**19
"""Numbers that the points of one block of samples hold, about, where they are attacked on a CPU."""


@dataclass(frozen=True)
class TAPS(Adversarial):
    """The product of the interval loss and of a loss that attacks the last layers within intervals of the first.

    Source: Mao et al., *Connecting Certified and Adversarial Training*, 2023, section 3.  While eps grows it is IBP.

    Attributes:
        attacked: how many nonlinear layers are attacked rather than bounded, at least 1.
        weight: the gradient of the attacked part counts so many times; positive.
        shrink: as in `SABR`.

    Raises:
        UserError: a field out of range.
    """

    attacked: int = 1
    weight: float = 4.0
    shrink: float = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_whole(self, "attacked", 1)
        check_number(self, "weight", 0, above=True)
        check_number(self, "shrink", 0, 1, above=True)

    def robust(self, batch: Batch) -> Robust:
        """See `Method.robust`."""
        part = Latent(self.attack(), self.attacked, self.weight, self.shrink)
        result = part.robust(batch, batch.lower, batch.upper)
        return result if self.shrink == 1 else result._replace(verified=None)


@dataclass(frozen=True)
class Latent:
    """What TAPS does on a given box.

    Attributes:
        attack: in the box of the layer where the network is cut.
        attacked, weight, shrink: see `TAPS`.
    """

    attack: Attack
    attacked: int
    weight: float
    shrink: float

    def robust(self, batch: Batch, lower: Tensor, upper: Tensor) -> Robust:
        """The loss on boxes `[B, *shape]`, and what intervals prove of them.

        Raises:
            ModelError: the network cannot be cut there.
        """
        graph, y = batch.clean.graph, batch.y
        bounds = interval(graph, lower, upper, shrink=self.shrink)
        loss, verified = worst_case(bounds.margins(y), y)
        place = cut(graph, self.attacked)
        if batch.progress >= 1:
            low, high = self._box(bounds, place.node)
            loss = _weighted(self._attacked(batch, place.behind, low, high), self.weight) * loss
        return Robust(loss, verified, bounds.layers)

    def _box(self, bounds: Intervals, at: int) -> tuple[Tensor, Tensor]:
        """The interval of the node where the network is cut."""
        if at in bounds.layers:
            return bounds.layers[at]
        node = bounds.graph.nodes[at]
        return image(node.op, *bounds.layers[node.inputs[0]], node.name, self.shrink)

    def _attacked(self, batch: Batch, behind: Graph, lower: Tensor, upper: Tensor) -> Tensor:
        """Cross-entropy `[B]` where each class has the margin that an attack of its own finds in the latent box.

        On a CPU a few samples at a time: what a step moves then stays in its caches.
        """
        points = (batch.clean.logits.shape[1] - 1) * lower[0].numel()
        block = max(1, BLOCK // points) if lower.device.type == "cpu" else len(lower)
        parts = zip(batch.y.split(block), lower.split(block), upper.split(block), strict=True)
        gaps = torch.cat([self._gaps(batch, behind, y, l, u) for y, l, u in parts])
        return torch.logsumexp(torch.cat([gaps.new_zeros(len(gaps), 1), gaps], 1), 1)

    def _gaps(self, batch: Batch, behind: Graph, y: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
        """How far the attacks of samples `[b]` bring each other class above the own one: `[b, K − 1]`."""
        b, K = len(y), batch.clean.logits.shape[1]
        other = ((y[:, None] + torch.arange(1, K, device=y.device)) % K).reshape(-1)  # one attack a wrong class
        y = y.repeat_interleave(K - 1)
        lower, upper = (a.repeat_interleave(K - 1, 0) for a in (lower, upper))

        def gap(z: Tensor) -> Tensor:
            return (z.gather(1, other[:, None]) - z.gather(1, y[:, None]))[:, 0]

        x = self.attack.points(replace(batch.clean, graph=behind), y, lower, upper, batch.generator, gap)
        return gap(behind.evaluate(linked(x, lower, upper))[0]).reshape(b, K - 1)


def linked(x: Tensor, lower: Tensor, upper: Tensor) -> Tensor:
    """Points x of boxes, all `[M, *shape]`, with a gradient in the boxes' ends.

    A point on an end moves with it; the further from it, the less, and not at all beyond a share `LINK` of the
    interval (the paper's rectified linear gradient connector).
    """
    with torch.no_grad():
        reach, open_ = LINK * (upper - lower), upper > lower
        with_lower = torch.where(open_, (1 - (x - lower) / reach).clamp(min=0.0), 0.5)
        with_upper = torch.where(open_, (1 - (upper - x) / reach).clamp(min=0.0), 0.5)
    return x + with_lower * (lower - lower.detach()) + with_upper * (upper - upper.detach())


def _weighted(a: Tensor, weight: float) -> Tensor:
    """The same number with so many times the gradient."""
    return a.detach() + weight * (a - a.detach())
