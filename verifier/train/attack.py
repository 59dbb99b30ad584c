"""Gradient attacks for training: batched, within given boxes, on the network as the clean pass left it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from verifier.graph.graph import Graph
from verifier.train.method import check_number, check_whole
from verifier.train.model import Pass

Objective = Callable[[Tensor], Tensor]
"""Outputs `[B, K]` -> what is to become large, `[B]`."""


@dataclass(frozen=True)
class Attack:
    """Projected gradient ascent inside boxes.

    Source: Madry et al., *Towards Deep Learning Models Resistant to Adversarial Attacks*, 2018.

    Attributes:
        steps: of the sign of the gradient, from a uniform start.
        size: of a step, as a share of the half-width; `max(0.25, 2/steps)` where 0.
        restarts: how many starts; the worst point of all of them is kept.

    Raises:
        UserError: a field out of range.
    """

    steps: int = 8
    size: float = 0.0
    restarts: int = 1

    def __post_init__(self) -> None:
        check_whole(self, "steps", 0)
        check_number(self, "size", 0)
        check_whole(self, "restarts", 1)

    def points(
        self,
        clean: Pass,
        y: Tensor,
        lower: Tensor,
        upper: Tensor,
        generator: Generator | None = None,
        objective: Objective | None = None,
    ) -> Tensor:
        """Points `[B, *shape]` of the boxes where the cross-entropy is large; they carry no gradient.

        Args:
            clean: the network; its statistics stay as they are.
            y: `[B]` classes.
            lower, upper: `[B, *shape]`.
            generator: where the starts come from.
            objective: what is climbed instead of the cross-entropy.
        """
        graph, (lower, upper) = clean.detached(), (lower.detach(), upper.detach())
        climb = objective or (lambda z: F.cross_entropy(z, y, reduction="none"))
        half = (upper - lower) * (0.5 * (self.size or max(0.25, 2 / max(self.steps, 1))))
        best, value = lower, torch.full((len(y),), -torch.inf, dtype=lower.dtype, device=lower.device)
        for _ in range(self.restarts):
            x = torch.minimum(lower + _noise(lower, generator) * (upper - lower), upper)
            for step in range(self.steps + 1):
                now, slope = _value(graph, x, climb, step < self.steps)
                better = now > value
                value = torch.where(better, now, value)
                best = torch.where(better.reshape(-1, *(1,) * (x.ndim - 1)), x, best)
                if slope is not None:  # in place: with many points what counts is how often they are gone through
                    x = x.addcmul_(half, slope.sign()).clamp_(lower, upper)
        return best


def _noise(like: Tensor, generator: Generator | None) -> Tensor:
    """Uniform in [0, 1), drawn where the generator lives: it may be the CPU's, the same on every machine."""
    device = like.device if generator is None else generator.device
    return torch.rand(like.shape, generator=generator, dtype=like.dtype, device=device).to(like.device)


def _value(graph: Graph, x: Tensor, climb: Objective, slope: bool) -> tuple[Tensor, Tensor | None]:
    """The objective at x, and its gradient in x where asked for."""
    if not slope:
        with torch.no_grad():
            return climb(*graph.evaluate(x)), None
    x = x.detach().requires_grad_()
    with torch.enable_grad():
        value = climb(*graph.evaluate(x))
        (gradient,) = torch.autograd.grad(value.sum(), x)
    return value.detach(), gradient
