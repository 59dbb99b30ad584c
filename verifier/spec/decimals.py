"""Decimal numbers kept exactly: parsed once, ranked exactly, rounded to doubles in a chosen direction.

A number is a sign and a magnitude; a magnitude is named by a *key*, an int64.  Short decimals (mantissa below 2**53,
power of ten within +-22) carry their digits in the key and never become Python objects; others are negative keys that
index a pool of exact ratios.  `rank` replaces keys by ranks, so that comparing numbers exactly is comparing integers:
zero has rank 0 and -v has the negated rank of v.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

ZERO = 32
"""The key of zero."""
_NUMBER = re.compile(rb"([+-]?)(\d*)(?:\.(\d*))?(?:[eE]([+-]?\d+))?")
_POWERS = np.array([float(10**k) for k in range(23)])
_MAX = float(np.finfo(np.float64).max)


class NotANumber(ValueError):
    """A token that is no decimal number, or one that is out of range; the message says what is wrong."""


@dataclass(frozen=True)
class Ranked:
    """What the ranks stand for: `near[r]` is the nearest double of magnitude r, `side[r]` the sign of (exact - near).

    The methods take signed ranks `[...]` and return doubles of the same shape.  `value` finds the number itself.
    """

    near: Floats
    side: NDArray[np.int8]
    value: Callable[[int], Fraction]

    def exact(self, rank: int) -> Fraction:
        """The number of a signed rank."""
        return self.value(rank) if rank >= 0 else -self.value(-rank)

    def down(self, rank: Ints) -> Floats:
        """The largest double that is not above the number."""
        near, side = self._signed(rank)
        return np.where(side < 0, np.nextafter(near, -np.inf), near)

    def up(self, rank: Ints) -> Floats:
        """The smallest double that is not below the number."""
        return -self.down(-rank) + 0.0

    def below(self, rank: Ints) -> Floats:
        """The largest double strictly below the number."""
        near, side = self._signed(rank)
        return np.where(side <= 0, np.nextafter(near, -np.inf), near)

    def above(self, rank: Ints) -> Floats:
        """The smallest double strictly above the number."""
        return -self.below(-rank) + 0.0

    def _signed(self, rank: Ints) -> tuple[Floats, NDArray[np.int8]]:
        negative = rank < 0
        at = np.abs(rank)
        near, side = self.near[at], self.side[at]
        return np.where(negative, -near, near) + 0.0, np.where(negative, -side, side)  # + 0.0: no negative zero


class Pool:
    """The exact magnitudes that do not fit a short key."""

    def __init__(self) -> None:
        self._keys: dict[object, int] = {}
        self._ratio: list[tuple[int, int]] = []
        self._near: list[float] = []
        self._side: list[int] = []

    def token(self, text: bytes) -> tuple[int, int]:
        """(key, sign) of a decimal number as written; raises NotANumber."""
        found = self._keys.get(text)
        if found is None:
            sign, numerator, denominator = parse(text)
            found = self._add(numerator, denominator) * 2 + (sign > 0)
            self._keys[text] = found
        return found >> 1, 1 if found & 1 else -1

    def fraction(self, value: Fraction | int) -> tuple[int, int]:
        """(key, sign) of an exact number; raises NotANumber when it is beyond the doubles."""
        ratio = (abs(value.numerator), value.denominator)
        found = self._keys.get(ratio)
        if found is None:
            found = self._add(*ratio)
            self._keys[ratio] = found
        return found, -1 if value < 0 else 1

    def _add(self, numerator: int, denominator: int) -> int:
        if not numerator:
            return ZERO
        try:
            near = numerator / denominator  # of integers: correctly rounded
        except OverflowError:
            raise NotANumber("number beyond the range of doubles") from None
        top, bottom = near.as_integer_ratio()
        left, right = numerator * bottom, top * denominator
        side = (left > right) - (left < right)
        if near == _MAX and side > 0:
            raise NotANumber("number beyond the range of doubles")
        self._ratio.append((numerator, denominator))
        self._near.append(near)
        self._side.append(side)
        return -len(self._ratio)

    def rank(self, keys: Ints) -> tuple[Ints, Ranked]:
        """Ranks `[N]` of the magnitudes `keys` `[N]`, and what the ranks stand for."""
        distinct = np.unique(np.append(keys, ZERO))
        n_slow = int(np.searchsorted(distinct, 0))
        near, side = _round_short(distinct[n_slow:])
        slow = -1 - distinct[:n_slow]
        near = np.concatenate([np.array(self._near)[slow] if n_slow else np.empty(0), near])
        side = np.concatenate([np.array(self._side, np.int8)[slow] if n_slow else np.empty(0, np.int8), side])
        order = np.lexsort((side, near))
        self._sort_ties(order, distinct, near, side)
        first = np.ones(len(order), bool)
        a, b = order[:-1], order[1:]
        first[1:] = (near[a] != near[b]) | (side[a] != side[b])
        for i in np.flatnonzero(~first & (side[order] != 0)):  # same double, same side: decide exactly
            first[i] = self._exact(int(distinct[order[i - 1]])) != self._exact(int(distinct[order[i]]))
        rank_of = np.empty(len(order), np.int64)
        rank_of[order] = np.cumsum(first) - 1
        chosen = order[first]
        found = distinct[chosen]
        return rank_of[np.searchsorted(distinct, keys)], Ranked(
            near[chosen], side[chosen], lambda rank: self._exact(int(found[rank]))
        )

    def _sort_ties(self, order: Ints, distinct: Ints, near: Floats, side: NDArray[np.int8]) -> None:
        """Order exactly, in place, the runs of numbers that share the nearest double and lie on the same side of it."""
        a, b = order[:-1], order[1:]
        same = (near[a] == near[b]) & (side[a] == side[b]) & (side[a] != 0)
        edges = np.flatnonzero(np.diff(np.concatenate([[0], same.astype(np.int8), [0]])))
        for begin, end in edges.reshape(-1, 2).tolist():
            run = order[begin : end + 1].tolist()
            order[begin : end + 1] = sorted(run, key=lambda i: self._exact(int(distinct[i])))

    def _exact(self, key: int) -> Fraction:
        if key < 0:
            return Fraction(*self._ratio[-1 - key])
        return Fraction(key >> 6) * Fraction(10) ** ((key & 63) - 32)


def parse(text: bytes) -> tuple[int, int, int]:
    """(sign, numerator, denominator) of a decimal number as written, exactly; raises NotANumber."""
    match = _NUMBER.fullmatch(text) if len(text) <= 1000 else None
    if len(text) > 1000:
        raise NotANumber("number of more than 1000 characters")
    if match is None:
        raise NotANumber("not a number")
    sign, whole, part, power = match.groups(b"")
    digits = whole + part
    if not digits:
        raise NotANumber("not a number")
    mantissa, exponent = int(digits), -len(part)
    if power:
        if len(power) > 6 or abs(int(power)) > 2000:
            raise NotANumber("number with an exponent beyond +-2000")
        exponent += int(power)
    if exponent >= 0:
        return (-1 if sign == b"-" else 1), mantissa * 10**exponent, 1
    return (-1 if sign == b"-" else 1), mantissa, 10**-exponent


def _round_short(keys: Ints) -> tuple[Floats, NDArray[np.int8]]:
    """Nearest doubles, and the signs of what is lost, of short keys: one correctly rounded operation each."""
    mantissa = (keys >> 6).astype(np.float64)
    power = (keys & 63) - 32
    scale = _POWERS[np.abs(power)]
    divide = power < 0
    near = np.where(divide, mantissa / scale, mantissa * scale)
    high, low = _product(np.where(divide, near, mantissa), scale)  # high + low is the product exactly
    lost = np.where(divide, (mantissa - high) - low, low)  # mantissa - high is exact: they nearly agree
    return near, np.sign(lost).astype(np.int8)


def _product(a: Floats, b: Floats) -> tuple[Floats, Floats]:
    """The product as a double and the exact rest (Dekker)."""
    a_high, a_low = _split(a)
    b_high, b_low = _split(b)
    high = a * b
    return high, ((a_high * b_high - high) + a_high * b_low + a_low * b_high) + a_low * b_low


def _split(a: Floats) -> tuple[Floats, Floats]:
    c = a * 134217729.0
    high = c - (c - a)
    return high, a - high
