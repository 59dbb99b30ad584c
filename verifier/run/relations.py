"""Questions that bring their networks along: about one network on two inputs, two networks on one, ranges, balls."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from verifier.run.model import Network, load, name_of, single
from verifier.run.questions import middle, robustness
from verifier.run.sets import SETS, Set
from verifier.run.tensors import chosen, fixed_alike, in_order, place, situated, tensors
from verifier.search.budget import Budget
from verifier.spec import builders
from verifier.spec.property import Property
from verifier.spec.query2 import Declared, Query2, Variable
from verifier.values import given
from verifier.values.ball import Ball
from verifier.values.errors import PropertyError
from verifier.values.sets import curved
from verifier.values.shown import Shown
from verifier.values.verdict import Verdict

INF = float("inf")
Loaded = dict[str, Network]


@dataclass(frozen=True, eq=False, repr=False)
class Asked(Shown):
    """A question and what it is about; `verify(asked)` answers it, `verify(net, asked)` for another network.

    Attributes:
        networks: files or loaded networks by name.
        make: the property of one network, or the query of several, once they are loaded, and the set of inputs of the
            first one.
        situate: loads the first network, with the set of its inputs.
        beside: loads each of the others.
    """

    networks: Mapping[str, Any]
    make: Callable[[Loaded, Set], Property | Query2]
    situate: Callable[[Any], tuple[Network, Set]]
    beside: Callable[[Any], Network] = load

    def _said(self) -> list[tuple[str, Any]]:
        """Which question, about what."""
        return [("question", self.make.__qualname__.partition(".")[0]), *self.networks.items()]

    def posed(self, instead: Any = None) -> tuple[Loaded, Property | Query2]:
        """The networks, each file loaded once, and what is asked of them.

        Args:
            instead: another network in place of the first, or others by name.
        """
        given = dict(self.networks)
        if isinstance(instead, Mapping):
            unknown = [name for name in instead if name not in given]
            if unknown:
                raise PropertyError(f"no network `{unknown[0]}` in this question; it has {', '.join(given)}")
            given.update(instead)
        elif instead is not None:
            given[next(iter(given))] = instead
        (first, model), *others = given.items()
        net, inputs = self.situate(model)
        loaded, by_key = {first: net}, {_key(model): net}
        for name, other in others:
            if _key(other) not in by_key:
                by_key[_key(other)] = self.beside(other)
            loaded[name] = by_key[_key(other)]
        return loaded, self.make(loaded, inputs)


def _key(model: Any) -> Any:
    """What a network is known by: a file by its name."""
    return id(model) if hasattr(model, "graph") else str(model)


def monotonicity(
    net: Any,
    *,
    input: Any,
    box: Any,
    output: Any = 0,
    increasing: bool = True,
    tolerance: float = 0.0,
) -> Asked:
    """Does an output never fall (or rise) by more than `tolerance` when one input grows and the others stay?

    `unsat` means yes; `sat` shows two inputs X <= Z in the box, with outputs Y and W.

    Args:
        net: what `load` takes or returned.
        input, output: which entries, counted through all tensors; or (name, entry), "name[entry]", or the name of a
            tensor of one entry.
        box: where both inputs lie: a box or a ball of the maximum norm over all inputs; or such sets by the inputs'
            names, or in the model's order (see `input_set`).
        tolerance: not negative.  With 0 there may be counterexamples, but hardly a proof: two equal inputs give equal
            outputs, which no bound with rounding tells from a fall.

    Raises:
        PropertyError: (when it is asked) sizes or entries do not fit.
    """
    tolerance, increasing = given.number("tolerance", tolerance, least=0), given.flag("increasing", increasing)
    _entry("input", input)
    _entry("output", output)
    _is_set(box, BOXES)

    def make(loaded: Loaded, inputs: Set) -> Query2:
        f = loaded["f"]
        n, m = _sizes(f)
        at, out = _entry("input", input, f), _entry("output", output, f)
        low, high = _fitting(inputs, n)
        sign = 1.0 if increasing else -1.0
        fall, order = np.zeros(2 * m + n + 1), np.zeros(2 * m + n + 1)
        fall[out], fall[m + out] = -sign, sign  # sign·(W − Y) < −tolerance
        order[2 * m + at], order[2 * m + n] = 1.0, -1.0
        second = np.arange(n)
        second[at] = n
        prop = _strict(
            (np.append(low, low[at]), np.append(high, high[at])),
            [[(fall, -float(tolerance)), (order, 0.0)]],
            2 * m,
            "monotonicity",
        )
        nets = (_declared("f", f, "XY"), _declared("g", f, "ZW", equal_to="f"))
        return Query2(nets, (), prop, np.concatenate([np.arange(n), second]), "monotonicity")

    return Asked({"f": net}, make, _within(box))


def equivalent(f: Any, g: Any, box: Any, eps: float, *, outputs: Any = None) -> Asked:
    """Do two networks differ by at most `eps` in every output, over a box of inputs?

    `unsat` means yes; `sat` shows an input X (Z is the same) with outputs Y of f and W of g that are further apart.

    Args:
        f, g: what `load` takes or returned.
        box: over their inputs, which are as many; or by the names of those of f, or in order (see `input_set`).
        eps: not negative.
        outputs: which are compared: the name of an output of f, or several, or numbers of entries; all when None.

    Raises:
        PropertyError: (when it is asked) sizes do not fit, or f and g have inputs of the same names in another order.
    """
    eps = given.number("eps", eps, least=0)
    _is_set(box, BOXES)

    def make(loaded: Loaded, inputs: Set) -> Query2:
        one, other = loaded["f"], loaded["g"]
        (n, m), sizes = _sizes(one), _sizes(other)
        if sizes != (n, m):
            raise PropertyError(
                f"equivalent: {name_of(one)} has {n} inputs and {m} outputs, {name_of(other)} {sizes[0]} and "
                f"{sizes[1]}; compare networks with as many"
            )
        _in_one_order(one, other)
        disjuncts = []
        for k in np.arange(m) if outputs is None else _several(one, outputs):
            for sign in (1.0, -1.0):
                row = np.zeros(2 * m + n)
                row[k], row[m + k] = -sign, sign
                disjuncts.append([(row, -float(eps))])
        nets = (_declared("f", one, "XY"), _declared("g", other, "ZW", isomorphic_to="f"))
        prop = _strict(_fitting(inputs, n), disjuncts, 2 * m, "equivalent")
        if one is other:  # what a network gives twice is one number: no disjunct can hold
            none = np.zeros(0, np.int64)
            prop = replace(prop, box=none, literal=none, start=np.zeros(1, np.int64))
        return Query2(nets, (), prop, np.tile(np.arange(n), 2), "equivalent")

    return Asked({"f": f, "g": g}, make, _within(box), lambda model: fixed_alike(model, box))


def robust(
    net: Any,
    x: Any,
    eps: Any = None,
    *,
    label: int | None = None,
    norm: float = INF,
    lo: Any = None,
    hi: Any = None,
    output: Any = None,
) -> Asked:
    """Is every input within `eps` of x, in the ℓ1, ℓ2 or maximum norm, classified as x is?

    `unsat` means yes.

    Args:
        x: all inputs behind one another; or by name, or in order, each input's centre, or a set (see `input_set`).
        eps: the radius: one number, or radii by name, inputs without one being fixed; None where sets are given.
        label: the class to keep; what the network says of x, when None.
        norm: 1, 2 or infinity.  lo, hi: the valid range of inputs, or by name.
        output: the name of the output that holds the classes' scores; all outputs when None.

    Raises:
        PropertyError: the ball is none, or (when it is asked) does not fit.
    """
    label = None if label is None else given.whole("label", label, least=0)
    named = isinstance(x, Mapping) or in_order(x, eps)
    if not named and isinstance(eps, Mapping):
        raise PropertyError("eps goes by the inputs' names, x does not: give x by name, too, or in the model's order")
    ball = None if named else Ball(x, eps, norm, lo=lo, hi=hi)

    def situate(model: Any) -> tuple[Network, Set]:
        return situated(model, x, eps, norm, lo=lo, hi=hi) if ball is None else (load(model), ball)

    def make(loaded: Loaded, inputs: Set) -> Property:
        f = loaded["f"]
        (n, m), size = _sizes(f), len(inputs.box().lower)
        if size != n:
            raise PropertyError(f"robust: x has {size} entries, {name_of(f)} {n} inputs; give as many")
        at = np.arange(m) if output is None else _several(f, output)
        own = label
        if own is None:
            own = int(single(f).run(middle(inputs)[None])[0][at].argmax())
        return robustness(inputs, own).property(m, at)

    return Asked({"f": net}, make, situate)


def output_range(
    net: Any, box: Any, *, output: Any = 0, lower: float | None = None, upper: float | None = None
) -> Asked:
    """Does an output stay between two limits over a box of inputs?

    `unsat` means yes; `sat` shows an input with an output beyond one of them.  What the limits are, `find_range` finds.

    Args:
        net: what `load` takes or returned.  output: as of `monotonicity`.
        box: a box, a ball of any norm, or such by the inputs' names or in order (see `input_set`).

    Raises:
        PropertyError: no limit is given, one is not a number, lower exceeds upper, or (when it is asked) sizes do not
            fit.
    """
    ends = ((1.0, "lower", lower), (-1.0, "upper", upper))
    limits = [(sign, given.number(name, v)) for sign, name, v in ends if v is not None]
    _entry("output", output)
    _is_set(box)
    if not limits:
        raise PropertyError("output_range: give lower, upper or both as finite numbers; or use find_range to find them")
    if len(limits) == 2 and limits[0][1] > limits[1][1]:
        raise PropertyError(f"output_range: lower {limits[0][1]:g} exceeds upper {limits[1][1]:g}; correct them")

    def make(loaded: Loaded, inputs: Set) -> Property:
        n, m = _sizes(loaded["f"])
        row = np.zeros(m + n)
        row[_entry("output", output, loaded["f"])] = 1.0
        disjuncts = [[(sign * row, sign * v)] for sign, v in limits]
        return builders.on_set(_strict(_ends(inputs, n), disjuncts, m, "output_range"), inputs)

    return Asked({"f": net}, make, _within(box))


def find_range(
    net: Any, box: Any, *, output: Any = 0, timeout: float | Budget = 10.0, tolerance: float = 1e-3
) -> tuple[float, float]:
    """Limits that an output keeps over a box of inputs, as close as the time allows.

    Each side is halved between the best bound and the most extreme value met, until they are `tolerance` times the
    first bounds' width apart, or the time is up.  What is returned has been proved, whenever that is.

    Args:
        net: what `load` takes or returned.  output: as of `monotonicity`.
        box: a box, a ball of any norm, or such by the inputs' names or in order (see `input_set`).
        timeout: seconds.

    Raises:
        PropertyError: sizes do not fit.
    """
    from verifier.run.bound import bound
    from verifier.run.verify import verify

    _entry("output", output)
    _is_set(box)
    tolerance = given.number("tolerance", tolerance, least=0)
    budget = Budget.given(timeout)
    f, inputs = situated(net, box)
    n, m = _sizes(f)
    at = _entry("output", output, f)
    cut, (low, high) = curved(inputs), _ends(inputs, n)
    bounds = bound(f, inputs, "crown", rows=np.eye(m)[at])
    proved = [float(bounds[0][0]), float(bounds[1][0])]
    width = proved[1] - proved[0]
    x = np.random.default_rng(0).uniform(low, high, (256, n)).astype(f.input_dtype).astype(np.float64)
    x = x if cut is None else cut.rounded(x, f.input_dtype)
    y = single(f).run(np.clip(x, low, high))[:, at]
    for side, met in ((0, float(y.min())), (1, float(y.max()))):
        own = budget.within(budget.left() / (2 - side))
        while abs(met - proved[side]) > tolerance * width and not own.spent():
            middle = 0.5 * (met + proved[side])
            asked = output_range(f, inputs, output=at, **{("lower", "upper")[side]: middle})
            result = verify(asked, timeout=own)
            if result.verdict is Verdict.UNSAT:
                proved[side] = middle
            elif result.witness is not None:
                met = float(result.witness.y[at])
            else:
                break
    return proved[0], proved[1]


def _sizes(net: Network) -> tuple[int, int]:
    """How many entries all inputs have together, and all outputs."""
    return sum(prod(s) for s in net.input_shapes), sum(prod(s) for s in net.output_shapes)


def _entry(what: str, at: Any, net: Network | None = None) -> int:
    """An entry of a network's inputs or outputs as a number among all; without a network only its form is looked at."""
    if net is None:
        named = isinstance(at, str) or (isinstance(at, tuple) and len(at) == 2 and isinstance(at[0], str))
        return 0 if named else given.whole(what, at, least=0)
    i, n = place(net, at, what), _sizes(net)[what == "output"]
    if not 0 <= i < n:
        raise PropertyError(f"{what} {i} of {n}; give a number from 0 to {n - 1}")
    return int(i)


def _several(net: Network, outputs: Any) -> np.ndarray:
    """Entries of the outputs, by name or by number; each once."""
    some = given.vector("outputs", chosen(net, outputs))
    if not len(some) or (some != np.rint(some)).any():
        raise PropertyError(f"outputs {given.shown(outputs)}: give names of outputs, or numbers of entries")
    return np.unique([_entry("output", int(i), net) for i in some])


def _in_one_order(f: Network, g: Network) -> None:
    """Refuse networks with the same names of inputs in another order: positions would compare different inputs."""
    one, other = ([name for name, _ in tensors(net)] for net in (f, g))
    if one != other and sorted(one) == sorted(other):
        raise PropertyError(
            f"equivalent: {name_of(f)} has the inputs {', '.join(one)}, {name_of(g)} {', '.join(other)}; what is "
            "compared goes by position: export them in one order"
        )


def _within(inputs: Any) -> Callable[[Any], tuple[Network, Set]]:
    """What loads a network together with a set of its inputs."""
    return lambda model: situated(model, inputs)


def _is_set(inputs: Any, kinds: str = "") -> None:
    """Refuse at once what is neither a set nor sets of single inputs, and, with `kinds`, a set that is no box."""
    if isinstance(inputs, (Mapping, list, tuple)):
        return
    if not isinstance(inputs, SETS) or (kinds and curved(inputs) is not None):
        what = kinds or "a Box or a Ball"
        raise PropertyError(f"box {given.shown(inputs)}: give {what}, or such by name")


BOXES = "a Box, or a Ball of the maximum norm"
"""What questions are about that have an input twice."""


def _fitting(inputs: Set, n: int) -> tuple[np.ndarray, np.ndarray]:
    """The box's ends, `[n]` each."""
    _is_set(inputs, BOXES)
    return _ends(inputs, n)


def _ends(inputs: Set, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Those of the box around a set, `[n]` each."""
    box = inputs.box()
    if len(box.lower) != n:
        raise PropertyError(f"the box has {len(box.lower)} entries, the network {n} inputs; give as many")
    return box.lower, box.upper


def _strict(
    box: tuple[np.ndarray, np.ndarray], disjuncts: Sequence[Sequence[tuple[np.ndarray, float]]], m: int, source: str
) -> Property:
    """A property of rows over m outputs followed by all inputs; those that have to do with outputs hold strictly."""
    prop = builders.output_property(*box, disjuncts, source)
    A_y, A_x = prop.A_y[:, :m].copy(), prop.A_y[:, m:].copy()
    return replace(prop, A_y=A_y, A_x=A_x if A_x.any() else None, strict=np.asarray(A_y.any(1)))


def _declared(name: str, net: Network, letters: str, equal_to: str = "", isomorphic_to: str = "") -> Declared:
    """The network's variables: inputs by the first letter, outputs by the second, numbered where there are several."""

    def variables(kind: str, letter: str, shapes: tuple[tuple[int, ...], ...]) -> tuple[Variable, ...]:
        names = [letter] if len(shapes) == 1 else [f"{letter}_{k}" for k in range(len(shapes))]
        return tuple(Variable(v, kind, "real", s, "", 0) for v, s in zip(names, shapes, strict=True))

    ins, outs = variables("input", letters[0], net.input_shapes), variables("output", letters[1], net.output_shapes)
    return Declared(name, equal_to, isomorphic_to, ins, (), outs, 0)
