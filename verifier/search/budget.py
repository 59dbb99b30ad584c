"""How long a search may go on."""

from __future__ import annotations

import time
from dataclasses import dataclass


class OutOfTime(Exception):
    """The deadline has passed in the middle of something that is of no use unless it is finished."""


@dataclass(frozen=True)
class Budget:
    """A deadline on the monotonic clock (seconds), infinite by default."""

    deadline: float = float("inf")

    @staticmethod
    def seconds(s: float) -> Budget:
        """From now on, `s` seconds."""
        return Budget(time.monotonic() + s)

    def left(self) -> float:
        """Seconds until the deadline; negative when it has passed."""
        return self.deadline - time.monotonic()

    def spent(self) -> bool:
        """Whether the deadline has passed."""
        return self.left() <= 0

    def check(self) -> None:
        """Raise `OutOfTime` if the deadline has passed."""
        if self.spent():
            raise OutOfTime
