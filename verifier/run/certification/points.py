"""What is asked of images, and what is known of each."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any

import numpy as np

from verifier.values.shown import Shown, brief, picture


class Status(StrEnum):
    """What became of one image."""

    INCORRECT = "incorrect"
    """Another class wins, or ties, or some output is no number: nothing is bounded."""
    INTERVAL = "certified-interval"
    CROWN = "certified-crown"
    ALPHA = "certified-alpha"
    SEARCH = "certified-search"
    ATTACKED = "attacked"
    """A counterexample was replayed on the original model."""
    UNKNOWN = "unknown"
    ERROR = "error"
    """Something went wrong; it says nothing about the image."""

    @property
    def certified(self) -> bool:
        """Whether the image is proved robust."""
        return self in RUNGS


RUNGS = (Status.INTERVAL, Status.CROWN, Status.ALPHA, Status.SEARCH)
"""From cheap to dear; the status names the first that proves it."""

NAMES = dict(zip(RUNGS, ("interval bounds", "CROWN", "optimised slopes", "the search"), strict=True))
"""What rungs are called for a reader."""


@dataclass(frozen=True, eq=False, repr=False)
class Point(Shown):
    """What is known of one image on one ball.

    Attributes:
        index: its place in the data.  label: its class.
        predicted: the class that the original model gives it, -1 where some output is no number.
        eps: the ball's radius.
        status: what became of it.
        seconds: spent on it (its share, where images were bounded together).
        timeout: seconds that it was given.
        reason: one line, for `unknown` and `error`.
        witness: `[n]` the counterexample, exactly representable in the model's type, for `attacked`.
        becomes: the class that the original model gives the counterexample: the first of its rivals; None without one.
    """

    index: int
    label: int
    predicted: int
    eps: float
    status: Status
    seconds: float
    timeout: float
    reason: str = ""
    witness: np.ndarray | None = None
    becomes: int | None = None

    def _said(self) -> list[tuple[str, Any]]:
        """What became of it."""
        told = [("image", self.index), ("class", self.label), ("predicted", self.predicted), ("status", self.status)]
        why = [("reason", self.reason)] if self.reason else []
        hit = [("counterexample", brief(self.witness))] if self.witness is not None else []
        return [*told, ("eps", self.eps), *why, *hit, ("seconds", self.seconds)]

    def _below(self) -> str:
        """Its counterexample, where that looks like an image."""
        return "" if self.witness is None else picture((), None, self.witness, "counterexample")

    def settled(self, timeout: float) -> bool:
        """Whether there is nothing left to do with so much time: errors and shorter trials are done again."""
        if self.status is Status.ERROR:
            return False
        return self.status is not Status.UNKNOWN or self.timeout >= timeout


@dataclass(frozen=True, eq=False)
class ImageBatch:
    """B images with their balls.

    Attributes:
        index: `[B]` places in the data.  x: `[B, n]` centres, in double precision.  label: `[B]` classes.
        eps: `[B]` radii.
        predicted: `[B]` what the model says.
        spent: `[B]` seconds so far.
        left: `[B]` seconds that its search may take at most.
    """

    index: np.ndarray
    x: np.ndarray
    label: np.ndarray
    eps: np.ndarray
    predicted: np.ndarray
    spent: np.ndarray
    left: np.ndarray

    def __len__(self) -> int:
        """B."""
        return len(self.index)

    def take(self, at: np.ndarray | slice) -> ImageBatch:
        """Some of them."""
        return ImageBatch(**{name: value[at] for name, value in vars(self).items()})

    def after(self, seconds: float) -> ImageBatch:
        """The same, when all of them together have taken so many seconds more."""
        return replace(self, spent=self.spent + seconds / max(1, len(self)))

    def point(
        self, k: int, status: Status, timeout: float, reason: str = "", witness: np.ndarray | None = None
    ) -> Point:
        """What became of the k-th."""
        numbers = int(self.index[k]), int(self.label[k]), int(self.predicted[k]), float(self.eps[k])
        return Point(*numbers, status, float(self.spent[k]), timeout, reason, witness)


def batch(index: np.ndarray, x: np.ndarray, label: np.ndarray, eps: float | np.ndarray) -> ImageBatch:
    """Images `index` of data `x` `[N, n]`, `label` `[N]`, with radii `eps`, one or `[B]`."""
    B = len(index)
    radius = np.broadcast_to(np.asarray(eps, np.float64), (B,))
    return ImageBatch(index, x[index], label[index], radius, np.full(B, -1), np.zeros(B), np.full(B, np.inf))
