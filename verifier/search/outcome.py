"""What a search reports, and to whom."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from verifier.spec.witness import Witness
from verifier.values.verdict import Verdict

Try = Callable[[np.ndarray, np.ndarray], Witness | None]
"""Points `[P, n]` and their groups `[P]` -> a witness, if one of them is a counterexample."""


@dataclass
class Progress:
    """Where a search stands; handed to whoever watches after every round.

    Attributes:
        bounded: domains bounded so far.  open: domains waiting.  rounds: batches so far.
        worst: the largest gap seen in the last round.
        stuck: domains that can be neither closed nor split.
    """

    bounded: int = 0
    open: int = 0
    rounds: int = 0
    worst: float = float("inf")
    stuck: int = 0


@dataclass(frozen=True)
class Outcome:
    """How a search ended, and with what."""

    verdict: Verdict
    witness: Witness | None = None
    progress: Progress = field(default_factory=Progress)
