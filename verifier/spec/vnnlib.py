"""Reading a property file: `.vnnlib` or `.vnnlib.gz`, any version that is supported."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from verifier.spec import vnnlib1
from verifier.spec.property import Property
from verifier.values import given
from verifier.values.errors import PropertyError, UserError
from verifier.values.packed import is_packed, unpacked

if TYPE_CHECKING:  # a property of version 1.0 needs none of it
    from verifier.spec.query2 import Query2

MOST_TEXT = 2**30
"""Bytes that a packed property may unpack to."""
_VERSION = re.compile(rb"\(\s*vnnlib-version\b")


def read(path: str | Path) -> Property | Query2:
    """The property in a file, for version 2.0 the query; gzip is recognised by its content.

    Raises:
        PropertyError: the file cannot be read, or what it holds is not a property; one line, with line and column
            where there is a place to point at.
    """
    text = _content(given.path("path", path))
    try:
        if _VERSION.match(text, _blanks(text)):
            from verifier.spec.vnnlib2 import parse2  # only here: it imports the parser of the standard

            return parse2(text, str(path))
        return vnnlib1.parse(text, str(path))
    except MemoryError:
        raise PropertyError(f"{path}: the property does not fit in memory; split it into several files") from None


def _content(path: Path) -> bytes:
    try:
        data = path.read_bytes()
    except IsADirectoryError:
        raise PropertyError(f"{path}: is a folder; give a .vnnlib or .vnnlib.gz file") from None
    except FileNotFoundError:
        raise PropertyError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise PropertyError(f"{path}: cannot be read ({reason}); check the path and its permissions") from None
    try:
        return unpacked(data, MOST_TEXT) if is_packed(data) else data
    except UserError as error:
        raise PropertyError(f"{path}: {error}") from None


def _blanks(text: bytes) -> int:
    """The offset behind leading blanks and comments."""
    at = 3 if text.startswith(b"\xef\xbb\xbf") else 0
    while at < len(text):
        if text[at : at + 1] == b";":
            at = text.find(b"\n", at) + 1 or len(text)
        elif text[at : at + 1].isspace():
            at += 1
        else:
            break
    return at
