"""How long a search may go on, and the clock that tells it: whatever a search decides by time, it asks here."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import Any

from verifier.values import given


class OutOfTime(Exception):
    """The deadline has passed in the middle of something that is of no use unless it is finished."""


class Clock:
    """Seconds as this machine counts them, from any moment on."""

    def now(self) -> float:
        """Seconds so far."""
        return time.monotonic()

    def count(self, work: float) -> None:
        """So many multiply-adds are due now, in one walk over a network: of no interest to one who can measure."""


class Work(Clock):
    """Seconds that work stands for: a search that goes by this clock does the same every time, on every machine.

    Only walks count, and they count before they begin, so what else a search does takes no time at all.
    """

    RATE = 1e10
    """Multiply-adds in a second: about what one core makes of small networks, all operations around them included."""
    LEAST = 2e6
    """What a walk takes, however small it is."""

    def __init__(self) -> None:
        self._done = 0.0

    def now(self) -> float:
        """Seconds so far."""
        return self._done / self.RATE

    def count(self, work: float) -> None:
        """So many multiply-adds are due now, in one walk over a network."""
        self._done += work + self.LEAST


MACHINE = Clock()


@dataclass(frozen=True)
class Budget:
    """A deadline on a clock (seconds), infinite by default."""

    deadline: float = float("inf")
    clock: Clock = field(default=MACHINE, repr=False)

    @staticmethod
    def seconds(s: float, clock: Clock = MACHINE) -> Budget:
        """From now on, `s` seconds."""
        return Budget(clock.now() + s, clock)

    @staticmethod
    def given(timeout: Any, name: str = "timeout") -> Budget:
        """What somebody gives a question: seconds from now on, None for all there are, or a budget.

        Raises:
            PropertyError: it is no number, or negative.
        """
        return timeout if isinstance(timeout, Budget) else Budget.seconds(given.seconds(name, timeout))

    def within(self, s: float) -> Budget:
        """From now on `s` seconds, but no longer than this budget."""
        return self if s >= self.left() else Budget.seconds(s, self.clock)

    def at_least(self, s: float) -> Budget:
        """The same, or `s` seconds from now on where that is more."""
        return self if self.left() >= s else Budget.seconds(s, self.clock)

    def left(self) -> float:
        """Seconds until the deadline; negative when it has passed."""
        return self.deadline - self.clock.now()

    def spent(self) -> bool:
        """Whether the deadline has passed."""
        return self.left() <= 0

    def check(self, work: float = 0.0) -> None:
        """Raise `OutOfTime` if the deadline has passed; otherwise so many multiply-adds are due, if any (see `Clock`).

        This is what is called between steps by whatever bounds (see `bounds.network.Tick`).
        """
        if self.spent():
            raise OutOfTime
        if work:
            self.clock.count(work)
