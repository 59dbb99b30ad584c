"""What methods that attack during training have in common."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor

from verifier.train.attack import Attack
from verifier.train.bounds import interval
from verifier.train.method import Batch, Method, Robust, check_number, worst_case


@dataclass(frozen=True)
class Adversarial(Method):
    """A method that attacks; its fields are the attack's (`train.attack.Attack`).

    Attributes:
        steps: of the attack.
        size: of a step, as a share of the half-width of the box; `max(0.25, 2/steps)` where 0.
        restarts: how many random starts.

    Raises:
        UserError: a field out of range.
    """

    steps: int = 8
    size: float = 0.0
    restarts: int = 1

    def __post_init__(self) -> None:
        self.attack()

    def attack(self) -> Attack:
        """The attack of these fields."""
        return Attack(self.steps, self.size, self.restarts)


@dataclass(frozen=True)
class Mixed(Adversarial):
    """Between the loss of an attacked point and the loss of interval bounds.

    Source: De Palma et al., *Expressive Losses for Verified Robustness via Convex Combinations*, 2024: a family of
    losses that a coefficient moves from the one (alpha = 0, a lower bound of the worst case) to the other (alpha = 1).

    Attributes:
        alpha: the share of the bounds, in [0, 1].
        scale: the attack's box is so many times as wide as the bounds' (the authors take about 2 for small
            perturbations); at least 1.
        data_lower, data_upper: range of the data, which the larger box is cut to; it is not where None.

    Raises:
        UserError: a field out of range.
    """

    alpha: float = 0.5
    scale: float = 1.0
    data_lower: float | None = None
    data_upper: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        check_number(self, "alpha", 0, 1)
        check_number(self, "scale", 1)
        if self.data_lower is not None:
            check_number(self, "data_lower")
        if self.data_upper is not None:
            check_number(self, "data_upper", -math.inf if self.data_lower is None else self.data_lower)

    def robust(self, batch: Batch) -> Robust:
        """See `Method.robust`."""
        graph, (lower, upper) = batch.clean.graph, self.attacked(batch)
        x = self.attack().points(batch.clean, batch.y, lower, upper, batch.generator)
        (logits,) = graph.evaluate(x)
        bounds = interval(graph, batch.lower, batch.upper)
        margins = bounds.margins(batch.y)
        loss = self.combined(margins, logits.gather(1, batch.y[:, None]) - logits, batch)
        return Robust(loss, worst_case(margins.detach(), batch.y)[1], bounds.layers)

    def attacked(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The box that is attacked: the batch's, stretched about the clean inputs and cut to the data's range."""
        x, lower, upper = batch.clean.x, batch.lower, batch.upper
        if self.scale == 1:
            return lower, upper
        wide = (x + self.scale * (b - x) for b in (lower, upper))
        low, high = wide
        if self.data_lower is not None or self.data_upper is not None:
            low, high = (w.clamp(self.data_lower, self.data_upper) for w in (low, high))
        return torch.minimum(low, lower), torch.maximum(high, upper)  # never less than the box itself

    @abstractmethod
    def combined(self, bound: Tensor, attacked: Tensor, batch: Batch) -> Tensor:
        """The loss `[B]` of lower bounds of margins `[B, K]` and of margins at the attacked points `[B, K]`."""
