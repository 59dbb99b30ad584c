"""Files that are written whole or not at all."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

from verifier.values.errors import Unwritten, UserError

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


class Answer:
    """An answer on standard output first, then its files, each whatever becomes of the others.

    Args:
        alone: a file of data; where that is standard output, nothing else is said there.
    """

    def __init__(self, *alone: Path | None) -> None:
        self._alone = any(path is not None and is_stream(path) for path in alone)
        self._lost: list[str] = []

    def say(self, text: str) -> None:
        """Lines on standard output, at once."""
        if not self._alone:
            self._try(lambda: _out(text + "\n"), "standard output")

    def write(self, path: Path | None, content: Callable[[], str | bytes]) -> bool:
        """A file, where one is asked for; whether it is there now."""
        return path is not None and self._try(lambda: replace(path, content()), "standard output")

    def fail(self, why: str) -> None:
        """Something else could not be written."""
        self._lost.append(why)

    def also(self, write: Callable[[], None]) -> None:
        """Files that something else writes."""
        self._try(write, "a file")

    def done(self) -> None:
        """Say what could not be written.

        Raises:
            Unwritten: something could not.
        """
        if self._lost:
            raise Unwritten("; ".join(dict.fromkeys(self._lost)))

    def _try(self, write: Callable[[], None], what: str) -> bool:
        try:
            write()
            return True
        except BrokenPipeError:  # whoever read has left: they have what they wanted
            pass
        except Unwritten as e:
            self._lost.append(str(e))
        except OSError as e:
            self._lost.append(f"{e.filename or what}: cannot be written ({e.strerror})")
        return False


def _out(content: str | bytes) -> None:
    if isinstance(content, bytes):
        sys.stdout.buffer.write(content)
    else:
        sys.stdout.write(content)
    sys.stdout.flush()


def replace(path: Path, content: str | bytes) -> None:
    """Write a file, beside its old version until it is complete; or to standard output, where that is named.

    Raises:
        Unwritten: the file cannot be written.
        OSError: standard output cannot.
    """
    if is_stream(path):
        _out(content)
        return
    target = path if _stays(path) else path.with_name(f".{path.name}.{os.getpid()}")
    try:
        target.write_bytes(content.encode() if isinstance(content, str) else content)
        if target != path:
            os.replace(target, path)
    except OSError as e:
        raise Unwritten(f"{path}: cannot be written ({e.strerror}); choose another place") from None
    finally:  # also where an interrupt comes in between
        if target != path:
            with suppress(OSError):
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
        Unwritten: a file cannot be written.
    """
    from onnx import numpy_helper

    for t in witness.tensors:
        values = t.values.astype("float64" if t.dtype == "real" else t.dtype).reshape(t.shape)
        replace(folder / f"{t.name}.pb", numpy_helper.from_array(values, t.name).SerializeToString())


def _stays(path: Path) -> bool:
    """A terminal, a pipe, /dev/null, a link: written to in place, never replaced by a file."""
    return path.is_symlink() or (path.exists() and not path.is_file())
