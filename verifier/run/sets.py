"""What is said of each of several inputs, put together to one set over all of them behind one another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from verifier.values import given
from verifier.values.ball import Ball
from verifier.values.box import Box
from verifier.values.errors import PropertyError
from verifier.values.sets import Product

INF = float("inf")
Named = tuple[tuple[str, tuple[int, ...]], ...]
"""Names and shapes."""
Set = Box | Ball | Product
SETS = (Box, Ball, Product)


def listed(some: Named) -> str:
    """Names and shapes in words."""
    return ", ".join(f"{name} {list(shape)}" for name, shape in some) or "none"


@dataclass(frozen=True, eq=False)
class _One:
    """What is said of one input, each `[k]`.

    Attributes:
        lower, upper: its box.
        center, eps: a ball of the maximum norm that holds it, or the ball of another norm that it is cut from.
        norm: of the ball; 0 where the input is fixed by its values.
        ball: what was given as a ball, or as a centre and a radius.
        own: whether that was for this input alone.
    """

    lower: np.ndarray
    upper: np.ndarray
    center: np.ndarray
    eps: np.ndarray
    norm: float
    ball: Ball | None = None
    own: bool = True

    @property
    def curved(self) -> bool:
        """Whether it is more than a box."""
        return self.norm in (1, 2)


def joined(
    some: Named, of: str, sets: Mapping[str, Any], eps: Any = None, norm: Any = INF, lo: Any = None, hi: Any = None
) -> tuple[Set, set[str]]:
    """The set of all inputs, and the names of those that are fixed by their values.

    A box is also the ball about its middle that reaches beyond it, cut to it: so boxes and balls of the maximum norm
    are one ball of that norm together, and what is fixed joins any ball.  Whatever else varies beside a ball of another
    norm makes it a product.

    Args:
        some: the inputs.  of: whose, in words.  sets, eps, norm, lo, hi: see `tensors.input_set`.

    Raises:
        PropertyError: an input is missing, or what is given for one does not fit.
    """
    if not (isinstance(norm, Mapping) and norm):
        norm = given.norm("norm", norm)
    radii, low, high, norms = (
        _of_each(what, v, some, of) for what, v in (("eps", eps), ("lo", lo), ("hi", hi), ("norm", norm))
    )
    ones: dict[str, _One] = {}
    for name, shape in some:
        if name not in sets:
            raise PropertyError(
                f"input '{name}' of shape {list(shape)}: nothing is given for it; give a Box, a Ball, a pair "
                "(lower, upper), or the values at which it is fixed"
            )
        p, ends = given.norm("norm", norms.get(name, INF)), (low.get(name), high.get(name))
        named = isinstance(eps, Mapping) or isinstance(norm, Mapping)
        ones[name] = _one(name, shape, sets[name], radii.get(name), p, ends, named)
    fixed = {name for name, one in ones.items() if not one.norm}
    lower, upper, center, reach = (
        np.concatenate([getattr(one, part) for one in ones.values()]) for part in ("lower", "upper", "center", "eps")
    )
    moving = [one for one in ones.values() if one.norm]
    round_ = next((one for one in moving if one.curved), None)
    if round_ is not None and (len(moving) == 1 or not any(one.own for one in moving)):
        return Ball(center, float(round_.eps.max(initial=0.0)), round_.norm, lo=lower, hi=upper), fixed
    if round_ is not None:
        return _product(list(ones.values()), lower, upper), fixed
    balls = eps is not None or any(isinstance(v, Ball) for v in sets.values())
    return (Ball(center, reach, lo=lower, hi=upper) if balls and np.isfinite(reach).all() else Box(lower, upper)), fixed


def _product(ones: list[_One], lower: np.ndarray, upper: np.ndarray) -> Product:
    """Balls of their own each, one about all inputs that share a radius."""
    start = np.cumsum([0, *(len(one.lower) for one in ones)])
    entries = [np.arange(a, b) for a, b in zip(start, start[1:], strict=False)]
    every = [(at, one.ball) for at, one in zip(entries, ones, strict=True) if one.ball is not None and one.own]
    shared = [k for k, one in enumerate(ones) if one.ball is not None and not one.own]
    if shared:
        at, some = np.concatenate([entries[k] for k in shared]), [ones[k] for k in shared]
        center, reach = (np.concatenate([getattr(one, part) for one in some]) for part in ("center", "eps"))
        eps: Any = float(reach.max(initial=0.0)) if some[0].curved else reach
        every.append((at, Ball(center, eps, some[0].norm, lo=lower[at], hi=upper[at])))
    return Product(tuple(ball for _, ball in every), tuple(at for at, _ in every), lower, upper)


def _one(
    name: str, shape: tuple[int, ...], value: Any, eps: Any, norm: float, ends: tuple[Any, Any], named: bool
) -> _One:
    """What is given for one input.

    Raises:
        PropertyError: it does not fit.
    """
    n, of = prod(shape), f"its shape {list(shape)} has"
    if isinstance(value, tuple):
        if len(value) != 2:
            raise PropertyError(f"input '{name}': a tuple of {len(value)}; give a pair (lower, upper), or an array")
        value = Box(*(np.broadcast_to(given.spread(f"input '{name}'", v, n, of), n) for v in value))
    own = named or isinstance(value, (Box, Ball))
    if not isinstance(value, (Box, Ball)):
        center = np.broadcast_to(given.spread(f"input '{name}'", value, n, of), n)
        if eps is None:
            return _One(center, center, center, np.zeros(n), 0.0)
        value = Ball(center, eps, norm, lo=ends[0], hi=ends[1])
    have = len(value.lower if isinstance(value, Box) else value.center)
    if have != n:
        raise PropertyError(f"input '{name}' of shape {list(shape)}: the set has {have} entries; give {n}")
    if isinstance(value, Box):
        with np.errstate(over="ignore"):
            reach = value.upper - value.lower
        return _One(value.lower, value.upper, 0.5 * value.lower + 0.5 * value.upper, reach, INF)
    box = value.box()
    reach = np.broadcast_to(np.asarray(value.eps), n)
    return _One(box.lower, box.upper, value.center, reach, value.norm, value, own)


def _of_each(what: str, value: Any, some: Named, of: str) -> dict[str, Any]:
    """What is given by name, or for all."""
    if not isinstance(value, Mapping):
        return {} if value is None else {name: value for name, _ in some}
    for name in value:
        if name not in dict(some):
            raise PropertyError(f"{what} of input {name!r}: {of} has no such input; it has {listed(some)}")
    return dict(value)
