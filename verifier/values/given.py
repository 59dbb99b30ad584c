"""What a caller gives, checked: each value as what it should be, or one line that says what it is and what to give.

Numbers may be of Python, numpy or torch, arrays without axes included; a truth value is no number, nor is a text.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from verifier.values.errors import PropertyError

INF = float("inf")
_LONGEST = 60


def shown(value: Any) -> str:
    """A value in a few words, on one line."""
    shape = getattr(value, "shape", None)
    if isinstance(shape, tuple) and len(shape) and not isinstance(value, np.generic):
        return f"an array of shape {list(map(int, shape))}"
    try:
        text = " ".join(repr(value).split())
    except Exception:  # a caller's own class may do anything
        text = f"a {type(value).__name__}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({type(value).__name__})"


def number(
    name: str, value: Any, *, least: float = -INF, most: float = INF, above: float = -INF, finite: bool = True
) -> float:
    """A number.

    Args:
        least, most: ends of its range; above: what it must exceed.
        finite: whether it must be.

    Raises:
        PropertyError: it is no number, is not a number (NaN), or lies outside.
    """
    plain, found = _plain(value), float("nan")
    if isinstance(plain, (int, float, np.integer, np.floating)) and not isinstance(plain, bool):
        try:
            found = float(plain)
        except OverflowError:
            found = INF if plain > 0 else -INF
    fits = least <= found <= most and (found > above or above == -INF)
    if not fits or (finite and not np.isfinite(found)):
        want = _range("finite number" if finite else "number", **_ends(least, most, above))
        raise PropertyError(f"{name} {shown(value)}: give {want}")
    return found


def whole(name: str, value: Any, *, least: float = -INF, most: float = INF) -> int:
    """A whole number.

    Raises:
        PropertyError: it is none (2.0 is none, nor is True), or lies outside.
    """
    plain = _plain(value)
    if isinstance(plain, bool) or not isinstance(plain, (int, np.integer)) or not least <= plain <= most:
        raise PropertyError(f"{name} {shown(value)}: give {_range('whole number', **_ends(least, most, -INF))}")
    return int(plain)


def flag(name: str, value: Any) -> bool:
    """A truth value.

    Raises:
        PropertyError: it is none.
    """
    plain = _plain(value)
    if not isinstance(plain, (bool, np.bool_)):
        raise PropertyError(f"{name} {shown(value)}: give True or False")
    return bool(plain)


def seconds(name: str, value: Any) -> float:
    """A time, infinite for None.

    Raises:
        PropertyError: it is no number, or negative.
    """
    return INF if value is None else number(name, value, least=0, finite=False)


def choice(name: str, value: Any, options: Iterable[str]) -> str:
    """One of some words.

    Raises:
        PropertyError: it is none of them.
    """
    known = tuple(options)
    if not isinstance(value, str) or value not in known:
        raise PropertyError(f"{name} {shown(value)}: use one of {', '.join(known)}")
    return str(value)


def call(name: str, value: Any) -> Callable[..., Any] | None:
    """Something that can be called, or None.

    Raises:
        PropertyError: it is neither.
    """
    if value is not None and not callable(value):
        raise PropertyError(f"{name} {shown(value)}: give a function, or None")
    found: Callable[..., Any] | None = value
    return found


def path(name: str, value: Any) -> Path:
    """A path.

    Raises:
        PropertyError: it is no text and no path.
    """
    if not isinstance(value, (str, Path)) or not str(value):
        raise PropertyError(f"{name} {shown(value)}: give the path of a file")
    return Path(value)


def norm(name: str, value: Any) -> float:
    """The norm of a ball: 1, 2 or infinity.

    Raises:
        PropertyError: it is another, or none.
    """
    try:
        found = number(name, value, finite=False)
    except PropertyError:
        found = 0.0
    if found not in (1, 2, INF):
        raise PropertyError(f"{name} {shown(value)} is not supported; use 1, 2 or float('inf')")
    return found


def array(name: str, value: Any, *, finite: bool = True) -> np.ndarray:
    """Numbers in double precision, in the shape that they have; NaN is refused.

    Raises:
        PropertyError: it is no array of real numbers, is empty, or some are not finite.
    """
    try:
        plain = _plain(value)
        a = np.asarray(plain)
        if a.dtype.kind == "O" and not any(isinstance(v, (str, bytes, complex)) for v in a.reshape(-1)):
            a = np.asarray(plain, np.float64)  # whole numbers too large for integers, fractions
        if a.dtype.kind not in "biuf" or (not a.ndim and a.dtype.kind == "b"):
            raise TypeError
        a = a.astype(np.float64)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last of tensors in a list
        raise PropertyError(f"{name}: not an array of numbers ({shown(value)}); give one") from None
    if not a.size or np.isnan(a).any() or (finite and not np.isfinite(a).all()):
        raise PropertyError(f"{name}: it must hold {'finite ' if finite else ''}numbers, at least one ({shown(value)})")
    return a


def vector(name: str, value: Any, *, finite: bool = True) -> np.ndarray:
    """As `array`, flattened row-major."""
    return array(name, value, finite=finite).reshape(-1)


def spread(name: str, value: Any, n: int, of: str, *, finite: bool = True) -> np.ndarray:
    """One number, or n, as a vector of as many.

    Args:
        of: what there are n of, in words.

    Raises:
        PropertyError: they are no numbers, or not as many.
    """
    a = vector(name, value, finite=finite)
    if len(a) not in (1, n):
        raise PropertyError(f"{name} has {len(a)} entries, {of} {n}; give one, or as many")
    return a


def classes(name: str, value: Any, count: int, most: int) -> np.ndarray:
    """Classes `[count]`, each from 0 to `most`, as 64-bit integers.

    Raises:
        PropertyError: they are not so many whole numbers in that range.
    """
    a, kind = vector(name, value), np.asarray(_plain(value)).dtype.kind
    wrong = (a < 0) | (a > most)
    if len(a) != count or wrong.any() or kind not in "iu":
        what = f"{a[wrong][0]:g} among them" if wrong.any() else f"{len(a)} numbers"
        raise PropertyError(f"{name}: {what}; give one class from 0 to {most} for each of {count} points")
    return a.astype(np.int64)


def _plain(value: Any) -> Any:
    """A tensor as an array, an array without axes as its entry."""
    if hasattr(value, "detach"):
        value = value.detach().cpu()
        value = value.numpy() if str(value.dtype) != "torch.bfloat16" else value.float().numpy()
    return value.item() if isinstance(value, np.ndarray) and value.ndim == 0 else value


def _ends(least: float, most: float, above: float) -> dict[str, float]:
    return {"least": least, "most": most, "above": above}


def _range(what: str, least: float, most: float, above: float) -> str:
    if least > -INF and most < INF:
        return f"a {what} from {least:g} to {most:g}"
    if least == 0:
        return f"a {what} that is not negative"
    if least > -INF or above > -INF:
        return f"a {what} above {above:g}" if above > -INF else f"a {what} of {least:g} or more"
    return f"a {what} up to {most:g}" if most < INF else f"a {what}"
