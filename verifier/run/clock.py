"""How long this process has been running: a timeout counts from its start, before the first import."""

from __future__ import annotations

import os
import time


def since_start() -> float:
    """Seconds since this process was started (since this module's first use, where the system does not tell)."""
    try:
        with open("/proc/self/stat", "rb") as f:
            ticks = int(f.read().rsplit(b")", 1)[1].split()[19])  # field 22: start, in ticks since boot
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError, ValueError, IndexError):
        return time.monotonic() - _FIRST


_FIRST = time.monotonic()
