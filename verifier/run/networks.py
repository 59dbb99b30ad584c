"""The competition's way to name several models in one field."""

from __future__ import annotations

import re

from verifier.values.errors import UserError

_PAIR = r"\(\s*(?:'([^']*)'|\"([^\"]*)\")\s*,\s*(?:'([^']*)'|\"([^\"]*)\")\s*,?\s*\)"
_FIELD = re.compile(rf"\s*\[\s*(?:{_PAIR}\s*(?:,\s*{_PAIR}\s*)*,?\s*)?\]\s*")


def is_field(text: str) -> bool:
    """Whether this begins as a list of pairs does; a file may be called so, too."""
    return text.lstrip().startswith("[")


def field(text: str) -> dict[str, str]:
    """Name -> file of `[('f','a.onnx'),('g','b.onnx')]`.

    Raises:
        UserError: it cannot be read, is empty, or says two things of one name.
    """
    if not _FIELD.fullmatch(text):
        raise UserError(f"{text}: neither a file nor a list of pairs; write [('f','a.onnx'),('g','b.onnx')]")
    found = re.findall(_PAIR, text)
    if not found:
        raise UserError(f"{text}: an empty list of networks; write [('f','a.onnx'),('g','b.onnx')]")
    return unique([(a or b, c or d) for a, b, c, d in found])


def unique(pairs: list[tuple[str, str]]) -> dict[str, str]:
    """Pairs of name and file as a mapping.

    Raises:
        UserError: one name has two files.
    """
    result: dict[str, str] = {}
    for name, path in pairs:
        if result.setdefault(name, path) != path:
            raise UserError(f"network {name}: given twice, as {result[name]} and {path}; leave one out")
    return result
