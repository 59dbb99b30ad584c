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
from verifier.run.sets import SETS, Named, Set, joined, listed
from verifier.values import given
from verifier.values.errors import PropertyError, UserError

INF = float("inf")


def tensors(net: Any, what: str = "input") -> Named:
    """Name and shape of each of a network's own inputs, or outputs (`what`), also where they were joined."""
    parts = getattr(net, "parts", None)
    own = parts[0].model if parts is not None and len(parts) == 1 else net
    shapes = getattr(own, f"{what}_shapes")
    letter = "x" if what == "input" else "y"
    names = getattr(own, f"{what}_names", None) or [f"{letter}{k or ''}" for k in range(len(shapes))]
    return tuple((str(name), tuple(s)) for name, s in zip(names, shapes, strict=True))


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
    inputs: Set | None
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
    if inputs is None or isinstance(inputs, SETS):
        net, found, fixed = load(model), inputs, set[str]()
    elif isinstance(inputs, (Mapping, list, tuple)):
        net, sets = _sets(model, inputs)
        found, fixed = joined(tensors(net), name_of(net), sets)
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


def input_set(model: Any, inputs: Any, eps: Any = None, norm: Any = INF, *, lo: Any = None, hi: Any = None) -> Set:
    """A set of a network's inputs from what is said of each, over all of them behind one another in the model's order.

    Args:
        model: what `load` takes or returned.
        inputs: by name, or in the model's order, for each input a `Box`, a `Ball`, a pair `(lower, upper)`, or an
            array: the values at which it is fixed, or, with eps, its centre.
        eps: the radius about the arrays: one number for all of them, or radii by name, those without one being fixed.
        norm: of the ball: one of all inputs together, unless radii or norms are given by name: then each has its own.
        lo, hi: the range of the arrays, numbers or by name.

    Returns: a box, or a ball, where the set is one; else a product of such (`values.sets.Product`).

    Raises:
        UserError: an input is missing or unknown, or what is given for one does not fit.
    """
    if isinstance(inputs, SETS):
        return inputs
    if not isinstance(inputs, (Mapping, list, tuple)):
        raise PropertyError(f"inputs {given.shown(inputs)}: give sets by the inputs' names, or in the model's order")
    return situated(model, inputs, eps, norm, lo=lo, hi=hi)[1]


def situated(
    model: Any, inputs: Any, eps: Any = None, norm: Any = INF, *, lo: Any = None, hi: Any = None
) -> tuple[Network, Set]:
    """A network, loaded, with a set of its inputs: see `input_set`; what cannot vary is fixed as it is given.

    Raises:
        UserError: an input is missing or unknown, or what is given for one does not fit.
    """
    if isinstance(inputs, SETS):
        return load(model), inputs
    if not isinstance(inputs, (Mapping, list, tuple)):
        what = given.shown(inputs)
        raise PropertyError(f"box {what}: give a Box or a Ball, or sets by the inputs' names, or in the model's order")
    net, sets = _sets(model, inputs)
    return net, joined(tensors(net), name_of(net), sets, eps, norm, lo, hi)[0]


def in_order(x: Any, eps: Any) -> bool:
    """Whether x lists what each input is, rather than being one array of numbers written as a list."""
    if not isinstance(x, (list, tuple)):
        return False
    if eps is None or isinstance(eps, Mapping) or any(isinstance(v, SETS) for v in x):
        return True
    try:
        return len({np.shape(v) for v in x}) > 1
    except ValueError:  # one of them is no array
        return False


def fixed_alike(model: Any, inputs: Any) -> Network:
    """Another network, loaded; those of its inputs that cannot vary are fixed as they are given for the first one.

    Raises:
        UserError: it cannot be loaded, or what is given for such an input does not fit.
    """
    if isinstance(inputs, SETS) or not _fresh(model):
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
            if isinstance(fixed[v.name], (*SETS, tuple)):
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
