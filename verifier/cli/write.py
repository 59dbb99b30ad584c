"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from verifier.values.errors import UserError

STREAMS = ("-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1")
"""Names of standard output: what is written there comes after what stands there already."""


def is_stream(path: Path) -> bool:
    """Whether this is standard output."""
    return str(path) in STREAMS


def check_place(path: Path) -> None:
    """Refuse, before the work, a place where nothing can be written.

    Raises:
        UserError: the folder is missing or may not be written to, or the path is a folder.
    """
    if is_stream(path):
        return
    try:
        path.lstat()
    except (FileNotFoundError, NotADirectoryError):
        pass
    except (OSError, ValueError) as e:  # a name that is too long, or a folder that may not be entered
        raise UserError(f"{str(path)[:80]}: {getattr(e, 'strerror', None) or e}; choose another place") from None
    if path.is_dir():
        raise UserError(f"{path}: is a folder; give the name of a file")
    at = path if path.exists() and _stays(path) else Path(os.path.realpath(path)).parent
    if not at.exists():
        raise UserError(f"{path}: its folder does not exist; make it first")
    if at != path and not at.is_dir():
        raise UserError(f"{path}: {at} is a file, not a folder; choose another place")
    if not os.access(at, os.W_OK):
        raise UserError(f"{path}: may not be written to; choose another place")


def replace(path: Path, content: str | bytes) -> None:
    """Write a file, beside its old version until it is complete.

    Raises:
        UserError: it cannot be written.
    """
    target = path if _stays(path) else path.with_name(f".{path.name}.{os.getpid()}")
    try:
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        if target != path:
            os.replace(target, path)
    except OSError as e:
        raise UserError(f"{path}: cannot be written ({e.strerror}); choose another place") from None
    finally:  # also where an interrupt comes in between
        if target != path:
            target.unlink(missing_ok=True)


def check_folder(path: Path) -> None:
    """Refuse, before the work, a folder where nothing can be written; make it where it is missing.

    Raises:
        UserError: it cannot be made, or is no folder, or may not be written to.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise UserError(f"{path}: no folder can be made there ({e.strerror}); choose another place") from None
    if not os.access(path, os.W_OK):
        raise UserError(f"{path}: may not be written to; choose another place")


def write_tensors(folder: Path, witness: Any) -> None:
    """One ONNX TensorProto `NAME.pb` a variable; in double precision where it is declared real.

    Raises:
        UserError: the counterexample is of a property of version 1.0, or a file cannot be written.
    """
    if not witness.tensors:
        raise UserError("--serialise-assignments: only queries of version 2.0 have variables with names; leave it out")
    from onnx import numpy_helper

    for t in witness.tensors:
        values = t.values.astype("float64" if t.dtype == "real" else t.dtype).reshape(t.shape)
        replace(folder / f"{t.name}.pb", numpy_helper.from_array(values, t.name).SerializeToString())


def _stays(path: Path) -> bool:
    """A terminal, a pipe, /dev/null, a link: written to in place, never replaced by a file."""
    return path.is_symlink() or (path.exists() and not path.is_file())
