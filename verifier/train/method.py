"""What a training method is: a loss from bounds."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch
from torch import Generator, Tensor
from torch.nn import functional as F

from verifier.train.model import Pass, Trainable
from verifier.values.errors import UserError
from verifier.values.given import shown

Layers = dict[int, tuple[Tensor, Tensor]]
"""Node of a graph -> lower and upper bounds `[B, *shape]`."""


@dataclass(frozen=True, eq=False)
class Loss:
    """What a method makes of one batch.

    Attributes:
        clean: cross-entropy `[B]` of the clean pass.
        robust: the method's own loss `[B]`.
        correct: `[B]` the clean pass classifies right.
        verified: `[B]` the bounds of this pass prove the sample's box; None where the method has no bounds of the
            whole box.
        layers: node of `graph` -> lower and upper bounds `[B, *shape]` of the nonlinear operators' inputs that the
            method used; None where it used none.
        clean_pass: the pass, with the network as it was in it.
    """

    clean: Tensor
    robust: Tensor
    correct: Tensor
    verified: Tensor | None
    layers: Layers | None
    clean_pass: Pass


@dataclass(frozen=True, eq=False)
class Batch:
    """What a method's bounds are asked about.

    Attributes:
        clean: the pass, with the network as it was in it.
        net: the model.
        y: `[B]` classes.
        lower, upper: `[B, *shape]` the box of each sample.
        generator: where random starts come from; torch's own where None.
        progress: how far eps has come, in [0, 1].
    """

    clean: Pass
    net: Trainable
    y: Tensor
    lower: Tensor
    upper: Tensor
    generator: Generator | None
    progress: float

    def cross_entropy(self, logits: Tensor) -> Tensor:
        """`[B]` of outputs `[B, K]`."""
        return F.cross_entropy(logits, self.y, reduction="none")


class Robust(NamedTuple):
    """A method's own part of a loss: `Loss.robust`, `Loss.verified`, `Loss.layers`."""

    loss: Tensor
    verified: Tensor | None = None
    layers: Layers | None = None


class Method(ABC):
    """A loss from bounds; a frozen dataclass whose fields are its hyper-parameters.

    A new method is one such class in a file of `train/methods` and a row in its table.
    """

    bounds_worst_case: ClassVar[bool] = False
    """Whether `robust` is never below the cross-entropy at any point of the box."""

    def loss(
        self,
        net: Trainable,
        x: Tensor,
        y: Tensor,
        lower: Tensor,
        upper: Tensor,
        *,
        generator: Generator | None = None,
        progress: float | None = None,
    ) -> Loss:
        """The loss of a batch.

        Args:
            net: the model; in training mode its batch norms take this batch's statistics.
            x: `[B, *shape]` the clean inputs.  y: `[B]` their classes, counted from 0.
            lower, upper: `[B, *shape]` the box of each, which must hold it.
            generator: where random starts come from; torch's own where None.
            progress: how far eps has come, in [0, 1]; all the way where None.

        Raises:
            UserError: a box that does not hold its input, or has none; a class there is not; no progress, where the
                method's loss changes with it.
            ModelError: as of `Trainable.clean`.
        """
        if progress is None and self.changes:
            raise UserError(
                f"{type(self).__name__}: its loss changes while eps grows; give progress, from 0 where eps is 0 to 1 "
                "where it has come all the way"
            )
        progress = 1.0 if progress is None else progress
        if not 0 <= progress <= 1:
            raise UserError(f"{type(self).__name__}: progress {progress}: give a number in [0, 1]")
        _check(net, x, y, lower, upper)
        clean = net.clean(x)
        correct = clean.logits.argmax(1) == y
        ce = F.cross_entropy(clean.logits, y, reduction="none")
        if torch.equal(lower, upper):  # the box is a point: the robust loss is the clean one, for every method
            return Loss(ce, ce, correct, correct, None, clean)
        robust = self.robust(Batch(clean, net, y, lower, upper, generator, progress))
        return Loss(ce, robust.loss, correct, robust.verified, robust.layers, clean)

    @property
    def changes(self) -> bool:
        """Whether the loss is another where eps has come all the way than on the way there."""
        return False

    @abstractmethod
    def robust(self, batch: Batch) -> Robust:
        """The method's own loss, on the network as the clean pass has it."""


def box(
    x: Tensor, eps: float | Tensor, domain: tuple[float | Tensor, float | Tensor] | None = None
) -> tuple[Tensor, Tensor]:
    """The ℓ∞ ball of radius eps about each of `[B, *shape]`.

    Args:
        eps: not negative; one number, or a tensor that broadcasts to x (`[C, 1, 1]` for channels that were normalised).
        domain: the least and the largest value that data can have, which boxes are cut to; numbers or tensors like
            eps.  Nothing is cut where None: only the caller knows whether x is in [0, 1], or was normalised.

    Raises:
        UserError: a negative eps, or one that is no number; an x outside of the domain, which its box would not hold.
    """
    try:
        good = bool((torch.as_tensor(eps) >= 0).all())
    except (TypeError, ValueError, RuntimeError):  # what torch makes no number of
        good = False
    if not good:
        raise UserError(f"eps {shown(eps)}: give a number that is not negative")
    lower, upper = x - eps, x + eps
    if domain is None:
        return lower, upper
    try:
        lo, hi = (torch.as_tensor(end, dtype=x.dtype, device=x.device) for end in domain)
    except (TypeError, ValueError, RuntimeError):
        raise UserError(
            f"domain {shown(domain)}: give the least and the largest value, two numbers or tensors"
        ) from None
    if not bool(((x >= lo) & (x <= hi)).all()):
        least, most = float(x.min()), float(x.max())
        raise UserError(f"x, from {least:g} to {most:g}, is not within the domain; give that of x as it is here")
    return torch.maximum(lower, lo), torch.minimum(upper, hi)


def _check(net: Trainable, x: Tensor, y: Tensor, lower: Tensor, upper: Tensor) -> None:
    """See that boxes hold their inputs and that classes are some of the network's, waiting for a device once.

    Raises:
        UserError: one doesn't, or isn't.
    """
    if lower.shape != x.shape or upper.shape != x.shape or y.shape != x.shape[:1] or y.is_floating_point():
        shapes = [list(a.shape) for a in (x, lower, upper, y)]
        raise UserError("x {}, lower {}, upper {}: give all of one shape; y {}: a whole number each".format(*shapes))
    wrong = torch.stack([~((lower <= x) & (x <= upper)).all(), (y < 0).any() | (y >= net.classes).any()])
    if not bool(wrong.any()):
        return
    if bool(wrong[1]):
        least, most = int(y.min()), int(y.max())
        raise UserError(f"classes are from {least} to {most}; the network has {net.classes}, counted from 0")
    outside = float((~((lower <= x) & (x <= upper))).double().mean())
    raise UserError(
        f"{outside:.2%} of x is not in its box (is NaN in one of them, or cut off); make it of x as it is here, with "
        "eps >= 0 and the domain that x has"
    )


def worst_case(margins: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """Cross-entropy `[B]` where every class comes as close as its lower margin `[B, K]` allows, and what is proved.

    The loss is `log Σ_j exp(−m_j)` with `m_y = 0` (Wong & Kolter 2018, Theorem 2): it grows where a margin falls.
    """
    loss = torch.logsumexp(-margins, 1)
    own = torch.zeros_like(margins, dtype=torch.bool).scatter(1, y[:, None], True)
    return loss, (margins.detach().masked_fill(own, torch.inf) > 0).all(1)


def check_number(
    unit: object, field: str, lowest: float = -math.inf, most: float = math.inf, above: bool = False
) -> None:
    """A field must be a finite number in `[lowest, most]`, or `(lowest, most]` where `above`.

    Raises:
        UserError: it isn't.
    """
    value = getattr(unit, field)
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
    if is_number and lowest <= value <= most and not (above and value == lowest):
        return
    low = "" if lowest == -math.inf else f" {'above' if above else 'at least'} {lowest:g}"
    high = "" if most == math.inf else f"{' and' if low else ''} at most {most:g}"
    raise UserError(f"{_named(unit, field)} = {value!r}: give a number{low}{high}")


def check_whole(unit: object, field: str, lowest: int) -> None:
    """A field must be a whole number, at least `lowest`.

    Raises:
        UserError: it isn't.
    """
    value = getattr(unit, field)
    if not isinstance(value, int) or isinstance(value, bool) or value < lowest:
        raise UserError(f"{_named(unit, field)} = {value!r}: give a whole number, at least {lowest}")


def check_switch(unit: object, field: str) -> None:
    """A field must be true or false.

    Raises:
        UserError: it isn't.
    """
    value = getattr(unit, field)
    if not isinstance(value, bool):
        raise UserError(f"{_named(unit, field)} = {value!r}: give true or false")


def _named(unit: object, field: str) -> str:
    """A field as users write it: Python's own words carry an underscore behind here."""
    return f"{type(unit).__name__}: {field.rstrip('_')}"
