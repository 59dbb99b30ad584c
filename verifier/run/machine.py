"""The machine that a result comes from: what its seconds mean depends on it."""

from __future__ import annotations

import hashlib
import os
import platform
import sys
from pathlib import Path
from typing import Any

from verifier.values.stored import memory as memory


def machine() -> dict[str, Any]:
    """Facts about this machine: system, processor, cores at hand, memory in GB (10⁹ bytes), host, Python."""
    return {
        "system": f"{platform.system()} {platform.release()}",
        "processor": _processor(),
        "cores": at_hand(),
        "memory_gb": round(memory() / 1e9, 1),
        "host": platform.node(),
        "python": platform.python_version(),
    }


def at_hand() -> int:
    """Cores that the system grants this process."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


DECIDING = ("attack", "bounds", "graph", "relax", "run", "search", "spec", "values")
"""Folders of the package that an answer can depend on."""


def version() -> str:
    """The package's version and a digest of the source that decides: where they differ, it is not the same run."""
    from verifier import __version__

    folder, digest = Path(__file__).resolve().parent.parent, hashlib.sha256()
    for path in sorted(path for name in DECIDING for path in (folder / name).rglob("*.py")):
        digest.update(path.relative_to(folder).as_posix().encode() + b"\0" + path.read_bytes())
    return f"{__version__}+{digest.hexdigest()[:8]}"


def _processor() -> str:
    if sys.platform == "linux":
        try:
            for line in Path("/proc/cpuinfo").read_text().splitlines():
                if line.startswith("model name"):
                    return line.split(":", 1)[1].strip()
        except OSError:
            pass
    return platform.processor() or platform.machine()
