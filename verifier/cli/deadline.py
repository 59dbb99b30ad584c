"""An answer in time: the process's age counts, and where a step takes too long the clock gives the answer."""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable

from verifier.run.clock import since_start
from verifier.values.errors import Unwritten
from verifier.values.log import note

GRACE = 0.15
"""Seconds before the timeout at which the answer is due, so that it is printed in time."""
LEAST = 0.5
"""Seconds for reading the input where the timeout leaves none: bad input is refused whatever the timeout."""


class Deadline:
    """One answer, once, whoever comes first: the command or the clock.

    Attributes:
        left: seconds for the command, from when this was made.

    Args:
        timeout: seconds since the process was started.
        late: gives the answer in the command's place; then the process ends.
    """

    def __init__(self, timeout: float, late: Callable[[], None]) -> None:
        self.left = max(0.0, timeout - since_start() - GRACE)
        self._late, self._lock = late, threading.Lock()
        due = min(self.left + GRACE / 2 if self.left else LEAST, threading.TIMEOUT_MAX)
        self._timer = threading.Timer(due, self._ring)
        self._timer.daemon = True
        self._timer.start()

    def cancel(self) -> None:
        """Whatever comes, the clock is silent from now on."""
        self._timer.cancel()

    def claim(self) -> None:
        """The command answers; does not return if the clock was first."""
        self._lock.acquire()  # and never released: one answer
        self._timer.cancel()

    def _ring(self) -> None:
        if not self._lock.acquire(blocking=False):
            return
        status = 0
        note("cli", "out of time: what is known by now is the answer")
        try:
            self._late()
            sys.stdout.flush()
        except Unwritten as e:
            print(f"verifier: {e}", file=sys.stderr)
            status = 3
        except OSError:  # whoever read has left
            pass
        finally:
            os._exit(status)
