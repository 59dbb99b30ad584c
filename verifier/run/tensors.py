"""Inputs and outputs by name: sets of several inputs put together in the model's order, results taken apart again.

Several inputs are one, behind one another in the model's order; so are several outputs.  What is asked about one of
them is asked about its entries.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from verifier.graph.opened import in_memory, opened
from verifier.graph.restrict import inputs as declared
from verifier.graph.restrict import typed, varies
from verifier.run.model import Network, load, name_of, single
from verifier.values import given
from verifier.values.box import Ball, Box
from verifier.values.errors import PropertyError, UserError

INF = float("inf")
Named = tuple[tuple[str, tuple[int, ...]], ...]
"""Names and shapes."""


def tensors(net: Any, what: str = "input") -> Named:
    """Name and shape of each of a network's own inputs, or outputs (`what`), also where they were joined."""
    parts = getattr(net, "parts", None)
    own = parts[0].model if parts is not None and len(parts) == 1 else net
    shapes = getattr(own, f"{what}_shapes")
    letter = "x" if what == "input" else "y"
    names = getattr(own, f"{what}_names", None) or [f"{letter}{k or ''}" for k in range(len(shapes))]
    return tuple((str(name), tuple(s)) for name, s in zip(names, shapes, strict=True))


def listed(some: Named) -> str:
    """Names and shapes in words."""
    return ", ".join(f"{name} {list(shape)}" for name, shape in some) or "none"


def entries(some: Named, name: str, what: str, of: str) -> np.ndarray:
    """Where the entries of a tensor stand among those of all.

    Args:
        what: "input" or "output".  of: the network, in words.

    Raises:
        PropertyError: there is none of that name.
    """
    at = 0
    for known, shape in some:
        if known == name:
            return np.arange(at, at + prod(shape))
        at += prod(shape)
    raise PropertyError(f"{what} '{name}': {of} has no such {what}; it has {listed(some)}")


def place(net: Any, at: Any, what: str) -> Any:
    """An entry as it is named, as a number among all: (name, number), "name[number]", or a name with one entry.

    Whatever else it is comes back as it is.

    Raises:
        PropertyError: there is none of that name, or no such entry.
    """
    pair = at if _pair(at) else (at, None)
    if not isinstance(pair[0], str):
        return at
    some, written = tensors(net, what), re.fullmatch(r"(.*)\[(\d+)\]", str(at), re.DOTALL)
    if pair[1] is None and written and pair[0] not in dict(some):
        pair = (written[1], int(written[2]))
    where = entries(some, pair[0], what, name_of(net))
    if pair[1] is None and len(where) != 1:
        one = f"{pair[0]}[0], in Python ('{pair[0]}', 0)"
        raise PropertyError(f"{what} '{pair[0]}' has {len(where)} entries: say which, as {one}")
    return int(where[given.whole(f"{what} '{pair[0]}', entry", pair[1] or 0, least=0, most=len(where) - 1)])


def chosen(net: Any, outputs: Any) -> Any:
    """Outputs that are given by name, one or several, as the numbers of their entries; whatever else comes back.

    A name stands for all entries of that output; one entry is named as for `place`.

    Raises:
        PropertyError: there is none of that name, or no such entry.
    """
    names = [outputs] if isinstance(outputs, str) or _pair(outputs) else outputs
    if not isinstance(names, (list, tuple)) or not any(isinstance(n, str) or _pair(n) for n in names):
        return outputs
    some = tensors(net, "output")
    whole = {name: entries(some, name, "output", name_of(net)) for name, _ in some}
    found = (whole[n] if isinstance(n, str) and n in whole else place(net, n, "output") for n in names)
    return np.concatenate([given.vector("outputs", at) for at in found])


def _pair(at: Any) -> bool:
    """Whether it is an entry as (name, number)."""
    return isinstance(at, tuple) and len(at) == 2 and isinstance(at[0], str) and not isinstance(at[1], str)


def by_name(net: Any, x: Any, what: str = "input") -> dict[str, np.ndarray]:
    """Numbers of all inputs, behind one another, as each input's own, in its shape.

    Args:
        net: what `load` takes or returned.
        x: `[n]`.  what: "input", or "output" for numbers `[m]` of the outputs.

    Raises:
        PropertyError: they are not as many.
    """
    net, x = load(net), given.vector("x", x, finite=False)
    some = tensors(net, given.choice("what", what, ("input", "output")))
    size = sum(prod(s) for _, s in some)
    if len(x) != size:
        raise PropertyError(f"x has {len(x)} entries, the {what}s of {name_of(net)} {size}; give as many")
    return dict(parted(some, x))


def parted(some: Named, x: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Numbers `[n]` of tensors behind one another: each tensor's name, and its numbers in its shape."""
    at = 0
    for name, shape in some:
        yield name, x[at : at + prod(shape)].reshape(shape)
        at += prod(shape)


@dataclass(frozen=True, eq=False)
class About:
    """A network and a set of its inputs.

    Attributes:
        net: with one input and one output.
        inputs: the set; None for the whole space.
        counted: which entries of the input derivatives are taken by; None for all.
    """

    net: Network
    inputs: Box | Ball | None
    counted: np.ndarray | None = None


def about(model: Any, inputs: Any, wrt: Any = None) -> About:
    """A network, and a set however it is given, as one input and one set.

    Args:
        model: what `load` takes or returned.
        inputs: a `Box` or a `Ball` over all inputs behind one another; or sets by name, or in the model's order (see
            `input_set`).
        wrt: the name of an input, or several: derivatives by these alone count.  By default those count that are not
            fixed by their values.

    Raises:
        UserError: an input is missing or unknown, or what is given for one does not fit.
    """
    if inputs is None or isinstance(inputs, (Box, Ball)):
        net, found, fixed = load(model), inputs, set[str]()
    elif isinstance(inputs, (Mapping, list, tuple)):
        net, sets = _sets(model, inputs)
        found, fixed = _joined(net, sets, None, INF, None, None)
    else:
        raise UserError(
            f"inputs: a {type(inputs).__name__} is not an input set; give a Box or a Ball, or sets by the inputs' names"
        )
    return About(single(net), found, _counted(net, fixed, wrt))


def _counted(net: Any, fixed: set[str], wrt: Any) -> np.ndarray | None:
    some = tensors(net)
    if wrt is not None:
        names = [wrt] if isinstance(wrt, str) else wrt
        if not isinstance(names, (list, tuple)) or not names or not all(isinstance(n, str) for n in names):
            raise PropertyError(f"wrt {given.shown(wrt)}: give the name of an input, or several")
        return np.unique(np.concatenate([entries(some, n, "input", name_of(net)) for n in names]))
    if not fixed or len(fixed) == len(some):
        return None
    return np.concatenate([entries(some, n, "input", name_of(net)) for n, _ in some if n not in fixed])


def input_set(
    model: Any, inputs: Any, eps: Any = None, norm: float = INF, *, lo: Any = None, hi: Any = None
) -> Box | Ball:
    """A set of a network's inputs from what is said of each, over all of them behind one another in the model's order.

    Args:
        model: what `load` takes or returned.
        inputs: by name, or in the model's order, for each input a `Box`, a `Ball`, a pair `(lower, upper)`, or an
            array: the values at which it is fixed, or, with eps, its centre.
        eps: the radius about the arrays: one number for all of them, or radii by name, those without one being fixed.
        norm: of the ball, over all inputs together; lo, hi: the range of the arrays, numbers or by name.

    Raises:
        UserError: an input is missing or unknown, or what is given for one does not fit; or the set is neither a box
            nor a ball (balls of the ℓ1 or ℓ2 norm of several inputs, or beside inputs that vary otherwise).
    """
    if isinstance(inputs, (Box, Ball)):
        return inputs
    if not isinstance(inputs, (Mapping, list, tuple)):
        raise PropertyError(f"inputs {given.shown(inputs)}: give sets by the inputs' names, or in the model's order")
    return situated(model, inputs, eps, norm, lo=lo, hi=hi)[1]


def situated(
    model: Any, inputs: Any, eps: Any = None, norm: float = INF, *, lo: Any = None, hi: Any = None
) -> tuple[Network, Box | Ball]:
    """A network, loaded, with a set of its inputs: see `input_set`; what cannot vary is fixed as it is given.

    Raises:
        UserError: an input is missing or unknown, or what is given for one does not fit.
    """
    if isinstance(inputs, (Box, Ball)):
        return load(model), inputs
    if not isinstance(inputs, (Mapping, list, tuple)):
        what = given.shown(inputs)
        raise PropertyError(f"box {what}: give a Box or a Ball, or sets by the inputs' names, or in the model's order")
    net, sets = _sets(model, inputs)
    return net, _joined(net, sets, eps, given.norm("norm", norm), lo, hi)[0]


def fixed_alike(model: Any, inputs: Any) -> Network:
    """Another network, loaded; those of its inputs that cannot vary are fixed as they are given for the first one.

    Raises:
        UserError: it cannot be loaded, or what is given for such an input does not fit.
    """
    if isinstance(inputs, (Box, Ball)) or not _fresh(model):
        return load(model)
    names = [v.name for v in declared(opened(model)[1].graph)]
    if not isinstance(inputs, Mapping):
        inputs = dict(zip(names, inputs, strict=False))
    return _sets(model, {name: value for name, value in inputs.items() if name in names})[0]


def _fresh(model: Any) -> bool:
    """Whether it is an ONNX model still to be loaded."""
    return isinstance(model, (str, bytes)) or hasattr(model, "__fspath__") or in_memory(model)


def _sets(model: Any, inputs: Mapping[Any, Any] | Sequence[Any]) -> tuple[Network, dict[str, Any]]:
    """The network, with inputs that cannot vary fixed as they are given, and what is said of each of the others."""
    if not _fresh(model):
        net = load(model)
        return net, _ordered(inputs, [name for name, _ in tensors(net)], listed(tensors(net)), name_of(net))
    path, proto, _, _ = opened(model)
    ends = declared(proto.graph)
    sets = _ordered(inputs, [v.name for v in ends], ", ".join(f"{v.name} {typed(v)}" for v in ends), str(path))
    fixed = {}
    for v in ends:
        if not varies(v) and v.name in sets:
            fixed[v.name] = sets.pop(v.name)
            if isinstance(fixed[v.name], (Box, Ball, tuple)):
                raise PropertyError(f"input '{v.name}' is {typed(v)}: it can only be fixed; give its values, no set")
    return load(model, fixed=fixed), sets


def _ordered(inputs: Mapping[Any, Any] | Sequence[Any], names: list[str], known: str, of: str) -> dict[str, Any]:
    """By name what is given; refuses names that there are not."""
    if not isinstance(inputs, Mapping):
        if len(inputs) != len(names):
            raise PropertyError(
                f"inputs: a {type(inputs).__name__} of {len(inputs)}, but {of} has the inputs {known}; give a set for "
                "each, or a Box or a Ball over all of them"
            )
        return dict(zip(names, inputs, strict=True))
    for name in inputs:
        if name not in names:
            raise PropertyError(f"input {name!r}: {of} has no such input; it has {known}")
    return dict(inputs)


@dataclass(frozen=True, eq=False)
class _One:
    """What is said of one input, each `[k]`.

    Attributes:
        lower, upper: its box.
        center, eps: a ball of the maximum norm that holds it, or the ball of another norm that it is cut from.
        norm: of the ball; 0 where the input is fixed by its values.
        own: whether the ball was given for this input alone.
    """

    lower: np.ndarray
    upper: np.ndarray
    center: np.ndarray
    eps: np.ndarray
    norm: float
    own: bool = True


def _joined(net: Network, sets: dict[str, Any], eps: Any, norm: float, lo: Any, hi: Any) -> tuple[Box | Ball, set[str]]:
    """The set of all inputs, and the names of those that are fixed by their values.

    A box is also the ball about its middle that reaches beyond it, cut to it: so boxes and balls of the maximum norm
    are one ball of that norm together, and what is fixed joins any ball.
    """
    some = tensors(net)
    radii, low, high = (_of_each(what, v, some, net) for what, v in (("eps", eps), ("lo", lo), ("hi", hi)))
    ones: dict[str, _One] = {}
    for name, shape in some:
        if name not in sets:
            raise PropertyError(
                f"input '{name}' of shape {list(shape)}: nothing is given for it; give a Box, a Ball, a pair "
                "(lower, upper), or the values at which it is fixed"
            )
        radius, ends = radii.get(name), (low.get(name), high.get(name))
        ones[name] = _one(name, shape, sets[name], radius, norm, ends, isinstance(eps, Mapping))
    _one_set(ones)
    fixed = {name for name, one in ones.items() if not one.norm}
    parts = ("lower", "upper", "center", "eps")
    lower, upper, center, reach = (np.concatenate([getattr(one, part) for one in ones.values()]) for part in parts)
    round_ = next((one for one in ones.values() if one.norm in (1, 2)), None)
    if round_ is not None:
        return Ball(center, float(round_.eps.max(initial=0.0)), round_.norm, lo=lower, hi=upper), fixed
    balls = eps is not None or any(isinstance(v, Ball) for v in sets.values())
    return (Ball(center, reach, lo=lower, hi=upper) if balls and np.isfinite(reach).all() else Box(lower, upper)), fixed


def _one_set(ones: dict[str, _One]) -> None:
    """Refuse what is neither a box nor a ball."""
    moving = {name: one for name, one in ones.items() if one.norm}
    for name, one in moving.items():
        other = next((n for n, o in moving.items() if n != name and (one.own or o.own)), None)
        if one.norm in (1, 2) and other is not None:
            raise PropertyError(
                f"input '{name}' is a ball of norm {one.norm:g}, and '{other}' varies beside it, which together is no "
                "ball; give one radius for all that vary (input_set with eps and norm), or boxes"
            )


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
    return _One(box.lower, box.upper, value.center, np.broadcast_to(np.asarray(value.eps), n), value.norm, own)


def _of_each(what: str, value: Any, some: Named, net: Any) -> dict[str, Any]:
    """What is given by name, or for all."""
    if not isinstance(value, Mapping):
        return {} if value is None else {name: value for name, _ in some}
    for name in value:
        if name not in dict(some):
            raise PropertyError(f"{what} of input {name!r}: {name_of(net)} has no such input; it has {listed(some)}")
    return dict(value)
