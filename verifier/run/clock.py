"""This process: how long it has been running, and how it treats freed memory."""

from __future__ import annotations

import os
import time

from verifier.values.system import system_library


def since_start() -> float:
    """Seconds since this process was started (since this module's first use, where the system does not tell)."""
    try:
        with open("/proc/self/stat", "rb") as f:
            ticks = int(f.read().rsplit(b")", 1)[1].split()[19])  # field 22: start, in ticks since boot
        return max(0.0, time.clock_gettime(time.CLOCK_BOOTTIME) - ticks / os.sysconf("SC_CLK_TCK"))
    except (OSError, AttributeError, ValueError, IndexError):
        return time.monotonic() - _FIRST


def keep_memory() -> None:
    """Keep freed memory for the next array instead of giving it back to the system (glibc; elsewhere nothing happens).

    Bounding makes and frees arrays of some hundred kilobytes all the time; mapping their pages anew each time costs
    more than computing what is in them (measured: elementwise steps of the backward walk take half the time with this).
    """
    mallopt = getattr(system_library(), "mallopt", None)
    if mallopt is None:
        return
    mallopt(-3, 1 << 28)  # M_MMAP_THRESHOLD: map only what is larger
    mallopt(-1, 1 << 29)  # M_TRIM_THRESHOLD: keep so much at the top of the heap
    mallopt(-8, 1)  # M_ARENA_MAX: one heap for all threads, so that each reuses what another has freed


_FIRST = time.monotonic()
