"""What a search reports, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from verifier.spec.witness import Witness
from verifier.values.verdict import Verdict

Try = Callable[[np.ndarray, np.ndarray], Witness | None]
"""Points `[P, n]` and their groups `[P]` -> a witness, if one of them is a counterexample."""


class Found(Exception):
    """A counterexample ends the search, wherever it is found."""

    def __init__(self, witness: Witness) -> None:
        super().__init__("found a counterexample")
        self.witness = witness


@dataclass
class Progress:
    """Where a search stands; handed to whoever watches after every round.

    Attributes:
        bounded: domains bounded so far.  open: domains waiting.  rounds: batches so far.
        closed: domains refuted so far.
        worst: the largest gap seen in the last round.
        stuck: domains that can be neither closed nor split.
    """

    bounded: int = 0
    open: int = 0
    rounds: int = 0
    worst: float = float("inf")
    stuck: int = 0
    closed: int = 0

    @property
    def late(self) -> str:
        """Where the search stood when its time was over, in words."""
        if self.worst == float("inf"):
            return "out of time before the first bounds were complete"
        return f"out of time: {self.open:,} parts are open, the largest gap is {self.worst:.3g}"

    def plus(self, other: Progress) -> Progress:
        """Of two searches about one question: domains of both, and the better one's gap."""
        names = ("bounded", "open", "rounds", "stuck", "closed")
        counts = {name: getattr(self, name) + getattr(other, name) for name in names}
        return Progress(**counts, worst=min(self.worst, other.worst))


@dataclass(frozen=True)
class Open:
    """A disjunct that is neither refuted nor satisfied.

    Attributes:
        disjunct: its number in the property.
        gap: how far the worst part of it is from being refuted, infinite where that has never been bounded.
        parts: how many parts of it are open.
        undecided: where neurons were split, how many were of either sign at the root.
    """

    disjunct: int
    gap: float
    parts: int
    undecided: int | None = None


@dataclass(frozen=True)
class Outcome:
    """How a search ended, and with what; for one without a decision also what it has left open."""

    verdict: Verdict
    witness: Witness | None = None
    progress: Progress = field(default_factory=Progress)
    rest: tuple[Open, ...] = ()
