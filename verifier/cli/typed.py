"""What the text of an option becomes, where it is no plain word or number."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable


def radius(text: str) -> float:
    """A number, or a fraction such as 8/255.

    Raises:
        ArgumentTypeError: it is none.
    """
    top, slash, below = text.partition("/")
    try:
        return float(top) / (float(below) if slash else 1.0)
    except (ValueError, ZeroDivisionError):
        raise argparse.ArgumentTypeError(f"'{text}' where a number or a fraction such as 8/255 is due") from None


def _named(text: str, value: Callable[[str], float]) -> tuple[str | None, float]:
    """`[NAME=]VALUE`."""
    name, equals, rest = text.rpartition("=")
    return (name, value(rest)) if equals and name else (None, value(text))


def radii(text: str) -> tuple[str | None, float]:
    """A radius, of an input where it is named.

    Raises:
        ArgumentTypeError: it is none.
    """
    return _named(text, radius)


def ends(text: str) -> tuple[str | None, float]:
    """A number, of an input where it is named.

    Raises:
        ArgumentTypeError: it is none.
    """
    return _named(text, number)


def norms(text: str) -> tuple[str | None, str]:
    """The norm of a ball, as it is written, of an input where it is named.

    Raises:
        ArgumentTypeError: it is none.
    """
    name, _, norm = text.rpartition("=")
    if norm not in ("1", "2", "inf"):
        raise argparse.ArgumentTypeError(f"'{text}' where 1, 2 or inf is due, or NAME= and one of these")
    return name or None, norm


def entry(text: str) -> int | str | tuple[str, int]:
    """An entry by number, or by the name of its tensor and its number there.

    Raises:
        ArgumentTypeError: it is none.
    """
    found = re.fullmatch(r"(.+)\[(\d+)\]", text)
    if found:
        return found[1], int(found[2])
    if re.fullmatch(r"[+-]?\d+", text):
        return int(text)
    if not text or re.fullmatch(r"[-+.\d,e]+|nan", text):
        raise argparse.ArgumentTypeError(f"'{text}' where a whole number, NAME or NAME[I] is due")
    return text


def number(text: str) -> float:
    """A number.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"'{text}' where a number is due") from None


def seconds(text: str) -> float:
    """A time, not negative.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not value >= 0:
        raise argparse.ArgumentTypeError(f"'{text}' where a number of seconds is due, not negative")
    return value
