"""How much arrays that numpy has stored say they hold, looked at before they are read.

A small file may stand for terabytes, packed or by its header alone.
"""

from __future__ import annotations

import os
import zipfile
from collections.abc import Collection
from math import prod
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from verifier.values.errors import UserError

_MAGIC = b"\x93NUMPY"


def memory() -> int:
    """Bytes of memory: of the machine, or of the group of processes that this one is in, if that is less."""
    try:
        total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # the system does not say
        total = 8 * 10**9
    for name in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            total = min(total, int(Path(name).read_text()))
        except (OSError, ValueError):  # no such group, or "max"
            continue
    return total


def check(file: BinaryIO, names: Collection[str] = ()) -> None:
    """Refuse a `.npy` or `.npz` file whose arrays do not fit this machine's memory; read nothing but their headers.

    Args:
        file: at its start, and left there.
        names: of an `.npz` file, the arrays that are going to be read (none named: all).

    Raises:
        UserError: they are too large; a reason without the file's name.
        ValueError, OSError, EOFError, zipfile.BadZipFile: it is no such file, or damaged.
    """
    sizes: dict[str, int] = {}
    if file.read(len(_MAGIC)) == _MAGIC:
        file.seek(0)
        declared, there = _declared(file), os.fstat(file.fileno()).st_size
        if declared > there:
            raise ValueError(f"cut off: it says {declared:,} bytes of numbers, and has {there:,} in all")
        sizes["the array"] = declared
    else:
        file.seek(0)
        if zipfile.is_zipfile(file):
            with zipfile.ZipFile(file) as packed:
                for entry in packed.infolist():
                    name = entry.filename.removesuffix(".npy")
                    if not names or name in names:
                        with packed.open(entry) as member:
                            sizes[f"array {name}"] = max(entry.file_size, _declared(member))
    file.seek(0)
    if sum(sizes.values()) > memory():
        name = max(sizes, key=lambda k: sizes[k])
        raise UserError(
            f"{name} takes {sizes[name] / 1e9:,.3g} GB, and this machine has {memory() / 1e9:,.3g}; store less of it"
        )


def _declared(file: Any) -> int:
    """Bytes of numbers that an array's header announces; 0 where it is no array of ours to judge."""
    read = {
        (1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0,
    }.get(np.lib.format.read_magic(file))  # fmt: skip
    if read is None:
        return 0
    shape, _, dtype = read(file)
    return prod(map(int, shape)) * int(dtype.itemsize)
