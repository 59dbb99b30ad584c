"""Which files an option names: what it reads or writes is declared where the option is, and refused where they meet."""

from __future__ import annotations

import argparse
import os
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from verifier.cli.write import check_place, is_stream
from verifier.values.errors import UserError
from verifier.values.extras import need

DATABASE = b"SQLite format 3\0"
"""How such a file begins."""
Files = Callable[[Any, argparse.Namespace], list[Path]]


@dataclass(frozen=True, eq=False)
class Reads:
    """The type of an option that names something to be read.

    Attributes:
        kind: what its text becomes.
        files: the files that a value stands for, asked only where one of them could be written to; None for the one
            that the value names.
    """

    kind: Callable[[str], Any] = str
    files: Files | None = None

    def __call__(self, text: str) -> Any:
        """The option's value."""
        return self.kind(text)


@dataclass(frozen=True, eq=False)
class Writes:
    """The type of an option that names something to be written.

    Attributes:
        stream: whether `-` stands for standard output.
        beside: endings of more files that are written beside it.
        within: for a folder, what the names of files look like that are written there.
        default: the value where the option is not given.
        unless: another option, with which nothing is written.
        extra: what has to be installed for it.
        plain: endings of files for which it need not.
    """

    stream: bool = False
    beside: tuple[str, ...] = ()
    within: tuple[str, ...] = ()
    default: Callable[[argparse.Namespace], Path] | None = None
    unless: str = ""
    extra: str = ""
    plain: tuple[str, ...] = ()

    def __call__(self, text: str) -> Path:
        """The option's value."""
        return Path(text)


@dataclass
class _Target:
    """What is written: a file, or files in a folder."""

    option: str
    path: Path
    within: tuple[str, ...] = ()
    _there: set[tuple[Any, ...]] | None = field(default=None, repr=False)

    def holds(self, path: Path) -> bool:
        """Whether writing would change that file."""
        if is_stream(path):
            return False
        if not self.within:
            return key(self.path) is not None and key(self.path) == key(path)
        if self._matches(path.name) and _same_folder(self.path, path.parent):
            return True
        if self._there is None:
            some = _listed(self.path)
            self._there = {k for p in some if self._matches(p.name) and (k := key(p)) is not None}
        return key(path) in self._there

    def exists(self) -> bool:
        """Whether there is something that could be a file behind what is read: a database of ours is none."""
        if self.within:
            return self.path.is_dir()
        try:
            if not self.path.is_file():  # nor is a pipe, which would wait for somebody who writes
                return False
            with self.path.open("rb") as f:
                return not f.read(len(DATABASE)).startswith(DATABASE)
        except OSError:
            return True

    def meets(self, other: _Target) -> bool:
        """Whether two options write to one file, or both to standard output."""
        if str(self.path) == "-":
            return str(other.path) == "-"
        if self.within and other.within:
            return _same_folder(self.path, other.path)
        return other.holds(self.path) if other.within else self.holds(other.path)

    def _matches(self, name: str) -> bool:
        return any(fnmatchcase(name, pattern) for pattern in self.within)


def check(command: argparse.ArgumentParser, a: argparse.Namespace) -> None:
    """Refuse, before anything runs, to write where nothing can be written, or over what is read or written besides.

    Names do not matter: links, relative paths and folders lead to the same file.

    Raises:
        UserError: names the options and the file.
    """
    targets = list(_targets(command, a))
    for k, t in enumerate(targets):
        for other in targets[:k]:
            if t.meets(other):
                where = "standard output" if str(t.path) == "-" else str(t.path)
                raise UserError(f"{where}: given for {other.option} and for {t.option}; name two files")
    there = any(t.exists() for t in targets)
    for option, reads, value in _given(command, a, Reads):
        files = [Path(value)]
        if there and reads.files is not None:
            files += reads.files(value, a)
        for path in files:
            for t in targets:
                if t.holds(path):
                    raise UserError(f"{path}: {t.option} would overwrite it, and {option} reads it; write elsewhere")


def _targets(command: argparse.ArgumentParser, a: argparse.Namespace) -> Iterator[_Target]:
    """What is written; refuses places where that is not possible."""
    for option, writes, value in _given(command, a, Writes):
        if writes.extra and value.suffix not in writes.plain:
            need(f"{option} {value}", writes.extra)
        if str(value) == "-":
            if not writes.stream:
                raise UserError(f"{option} -: cannot go to standard output; name a file (./- for one of that name)")
            yield _Target(option, value)
        elif writes.within:
            _check_folder(value)
            yield _Target(option, value, writes.within)
        else:
            check_place(value)
            yield from (_Target(option, Path(f"{value}{ending}")) for ending in ("", *writes.beside))


def _given(command: argparse.ArgumentParser, a: argparse.Namespace, kind: type) -> Iterator[tuple[str, Any, Any]]:
    """Options of a kind: name, type, and each value."""
    for option in command._actions:
        if isinstance(option.type, kind) and not getattr(a, getattr(option.type, "unless", ""), False):
            value = getattr(a, option.dest, None)
            default = getattr(option.type, "default", None)
            if value is None and default is not None:
                value = default(a)
            name = option.option_strings[-1] if option.option_strings else str(option.metavar)
            for each in value if isinstance(value, list) else [] if value is None else [value]:
                yield name, option.type, each


def key(path: Path) -> tuple[Any, ...] | None:
    """What two names of one file have in common; None for what is no file (a device, a pipe): nothing is lost there."""
    try:
        found = os.stat(path)
    except (OSError, ValueError):
        return (os.path.realpath(path),)
    return (found.st_dev, found.st_ino) if stat.S_ISREG(found.st_mode) else None


def _same_folder(a: Path, b: Path) -> bool:
    return os.path.realpath(a) == os.path.realpath(b)


def _listed(folder: Path) -> list[Path]:
    try:
        return list(folder.iterdir())
    except OSError:
        return []


def _check_folder(path: Path) -> None:
    """Refuse a folder that cannot be made, or written to; make none."""
    at = Path(os.path.realpath(path))
    while not at.exists() and at != at.parent:
        at = at.parent
    if not at.is_dir():
        raise UserError(f"{path}: no folder can be made there ({at} is a file); choose another place")
    if not os.access(at, os.W_OK):
        raise UserError(f"{path}: may not be written to; choose another place")
