"""Networks and sets of inputs as they are given on the command line.

One grammar for all commands: `[NAME=]VALUE`.  Without a name a value is of all inputs behind one another (a radius or
an end of a range: of each); with one it is of that input.  An input that is named without a radius and without ends is
fixed there: a constant of the network.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from verifier.run.model import Network, load, remarks
from verifier.run.sets import Set
from verifier.run.tensors import input_set, tensors
from verifier.values import stored
from verifier.values.ball import Ball
from verifier.values.box import Box
from verifier.values.errors import PropertyError, UserError, why

INF = float("inf")
TEXTS, NUMBERS = ("input", "lower", "upper"), ("eps", "lo", "hi", "ball")
GIVEN = (*TEXTS, *NUMBERS)
"""What may describe a set."""


@dataclass(frozen=True)
class Said:
    """What an option was given: `all`, without a name, and by name."""

    all: Any
    named: Mapping[str, Any]


@dataclass(frozen=True)
class Options:
    """What was said of inputs: centres and ends as text, radii and ranges as numbers; which can only be fixed."""

    input: Said
    lower: Said
    upper: Said
    eps: Said
    lo: Said
    hi: Said
    ball: Said
    whole: frozenset[str]

    @property
    def free(self) -> set[str]:
        """Inputs that are named and given more than their values."""
        return {*self.lower.named, *self.upper.named, *self.eps.named}

    @property
    def fixed(self) -> list[str]:
        """Inputs that are given by their values alone: a radius for all is not of those that can only be fixed."""
        return [n for n in self.input.named if n not in self.free and (n in self.whole or self.eps.all is None)]


def network(a: argparse.Namespace) -> Network:
    """The model with the inputs that `--input NAME=X` fixes, and the outputs that `--output` chooses.

    Raises:
        UserError: it cannot be read, or something else than that is given.
    """
    return load(a.model, fixed=fixings(a), outputs=getattr(a, "output", None))


def fixings(a: argparse.Namespace) -> dict[str, np.ndarray]:
    """What `--input NAME=X` fixes.

    Raises:
        UserError: a name is missing, or there is no such input.
    """
    said = _read(a)
    if said.input.all is not None:
        raise UserError(f"--input {said.input.all[:60]}: here it fixes inputs by name; write --input NAME=VALUES")
    return {name: _numbers("--input", text) for name, text in said.input.named.items()}


def restricts(a: argparse.Namespace) -> bool:
    """Whether inputs are fixed or outputs chosen."""
    return bool(getattr(a, "input", None) or getattr(a, "output", None))


def output_names(net: Network) -> list[str]:
    """What the outputs' entries are called: Y_0, Y_1, … of one output, else by the output's name."""
    some = tensors(net, "output")
    if len(some) == 1:
        return [f"Y_{i}" for i in range(prod(some[0][1]))]
    return [f"{name}[{i}]" for name, shape in some for i in range(prod(shape))]


def described(a: argparse.Namespace) -> bool:
    """Whether a set is described (inputs that are named may only be fixed)."""
    return any(getattr(a, name) is not None for name in GIVEN if name != "input") or centred(a)


def centred(a: argparse.Namespace) -> bool:
    """Whether a centre is given for all inputs together."""
    return a.input is not None and _read(a).input.all is not None


def alone(option: str, pairs: Sequence[tuple[str | None, float]] | None) -> float | None:
    """A number that can be given only once, and for no input by name.

    Raises:
        UserError: it is.
    """
    if pairs is None:
        return None
    if len(pairs) > 1 or pairs[0][0] is not None:
        raise UserError(f"{option}: give one number here, without a name")
    return pairs[0][1]


def asked(a: argparse.Namespace) -> tuple[Network, Set]:
    """The network, and the set that the options describe; what is to be said of how it was read is said.

    Raises:
        UserError: they contradict each other, or something cannot be read.
    """
    net, inputs = _asked(a)
    return told(net), inputs


def told(net: Network) -> Network:
    """The network; how it was read, where that is not as it stands in its file, is said on standard error."""
    for line in remarks(net):
        print(f"verifier: {line}", file=sys.stderr)
    return net


def _asked(a: argparse.Namespace) -> tuple[Network, Set]:
    spec = getattr(a, "spec", None)
    if spec is not None:
        if any(getattr(a, name) is not None for name in ("eps", "lower", "upper")) or centred(a):
            raise UserError("--spec and --input: give one of them")
        if any(getattr(a, name) is not None for name in ("ball", "lo", "hi")):
            raise UserError("--ball, --lo and --hi shape the set about --input; leave them out with --spec")
        hull = _hull(spec)
        return network(a), hull
    if (a.lower is None) != (a.upper is None):
        raise UserError("--lower and --upper: give both of them")
    if a.lower is None and (a.input is None or a.eps is None):
        others = ", --spec SPEC or --everywhere" if hasattr(a, "everywhere") else ", or --spec SPEC"
        raise UserError(f"no set of inputs is given: use --input X --eps E, --lower X --upper X{others}")
    said = _read(a)
    if a.lower is not None and (said.input.all is not None or (said.lower.all is not None and a.eps is not None)):
        raise UserError("--lower, --upper and --input: give one of them, or each with the names of its inputs")
    if said.input.named or said.lower.named or said.upper.named:
        return _by_name(a, said)
    if said.lower.all is not None:
        if any(getattr(a, name) is not None for name in ("ball", "lo", "hi")):
            raise UserError(
                "--ball, --lo and --hi shape the set about --input; leave them out with --lower and --upper"
            )
        net = _loaded(a, said, [])
        ends = (_numbers("--lower", said.lower.all), _numbers("--upper", said.upper.all))
        return net, _box(ends[0], ends[1], sum(prod(s) for s in net.input_shapes))
    if any(side.named for side in (said.eps, said.lo, said.hi, said.ball)):
        raise UserError("--eps, --lo, --hi or --ball NAME=…: give the centre by the same name, as --input NAME=X")
    center, norm = _numbers("--input", said.input.all), float(said.ball.all or INF)
    ball = Ball(center, said.eps.all, norm, lo=said.lo.all, hi=said.hi.all)
    return _loaded(a, said, []), ball


def _by_name(a: argparse.Namespace, said: Options) -> tuple[Network, Set]:
    """The network and the set, from what is said of each input."""
    if said.input.all is not None:
        raise UserError(f"--input {said.input.all[:60]}: name its input, too: --input NAME=X")
    net = _loaded(a, said, said.fixed)
    sets: dict[str, Any] = {n: _numbers("--input", v) for n, v in said.input.named.items() if n not in said.fixed}
    for name in {*said.lower.named, *said.upper.named}:
        if name in sets or not (name in said.lower.named and name in said.upper.named):
            raise UserError(f"input '{name}': give both --lower and --upper, or --input with --eps")
        sets[name] = tuple(_numbers("--lower", side.named[name]) for side in (said.lower, said.upper))
    if said.lower.all is not None:  # of all that nothing else is said of
        ends = _numbers("--lower", said.lower.all), _numbers("--upper", said.upper.all)
        sets |= {name: ends for name, _ in tensors(net) if name not in sets}
    missing = next((t for t in tensors(net) if t[0] not in sets), None)
    if missing is not None:
        name, shape = missing
        raise UserError(
            f"input '{name}' of shape {list(shape)}: nothing is given for it; fix it by --input {name}=X, or give a "
            f"radius, too, or --lower {name}=X --upper {name}=X"
        )
    if not sets:
        raise UserError("every input is fixed: give a radius (--eps), or --lower and --upper, for those that vary")
    radii = said.eps.all if said.eps.all is not None and not said.eps.named else dict(said.eps.named) or None
    if said.eps.all is not None and said.eps.named:
        radii = {n: said.eps.named.get(n, said.eps.all) for n in sets if not isinstance(sets[n], tuple)}
    lo, hi = (dict(side.named) if side.named else side.all for side in (said.lo, said.hi))
    norm = {n: float(p) for n, p in said.ball.named.items()} or float(said.ball.all or INF)
    return net, input_set(net, sets, radii, norm, lo=lo, hi=hi)


def _box(lower: np.ndarray, upper: np.ndarray, n: int) -> Box:
    """Ends, one number for all of n entries or each its own."""
    return Box(*(np.broadcast_to(v, n) if len(v) == 1 else v for v in (lower, upper)))


def _loaded(a: argparse.Namespace, said: Options, fixed: Sequence[str]) -> Network:
    """The model with some inputs fixed and some outputs left."""
    values = {n: _numbers("--input", said.input.named[n]) for n in fixed}
    return load(a.model, fixed=values, outputs=getattr(a, "output", None))


def _read(a: argparse.Namespace) -> Options:
    """What the options say; names are looked up in the model, where there may be any."""
    texts = [t for name in TEXTS for t in _some(a, name)]
    pairs = [name for option in NUMBERS for name, _ in _some(a, option)]
    known: dict[str, str] = {}
    whole: set[str] = set()
    if any("=" in t for t in texts) or any(pairs):
        from verifier.graph.opened import parse
        from verifier.graph.restrict import inputs, typed, varies

        ends = inputs(parse(Path(a.model)).graph)
        known, whole = {v.name: typed(v) for v in ends}, {v.name for v in ends if not varies(v)}
    texts_of = {name: _split(f"--{name}", _some(a, name), known, a) for name in TEXTS}
    numbers_of = {name: _once(f"--{name}", _some(a, name), known, a) for name in NUMBERS}
    return Options(**texts_of, **numbers_of, whole=frozenset(whole))


def _some(a: argparse.Namespace, option: str) -> list[Any]:
    """What an option was given, if it is one of these: `certify` has a radius and a range of its own."""
    value = getattr(a, option, None)
    return value if isinstance(value, list) else []


def _split(option: str, texts: Sequence[str], known: Mapping[str, str], a: argparse.Namespace) -> Said:
    """Texts by the input that they name."""
    pairs: list[tuple[str | None, Any]] = []
    for text in texts:
        name = max((n for n in known if text.startswith(f"{n}=")), key=len, default=None)
        if name is not None:
            pairs.append((name, text[len(name) + 1 :]))
        elif "=" in text and not Path(text).exists():
            pairs.append((text.partition("=")[0], text))  # refused below
        else:
            pairs.append((None, text))
    return _once(option, pairs, known, a)


def _once(
    option: str, pairs: Sequence[tuple[str | None, Any]], known: Mapping[str, str], a: argparse.Namespace
) -> Said:
    """Each at most once, with names that there are."""
    every, named = None, {}
    for name, value in pairs:
        if name is not None and name not in known:
            there = ", ".join(f"{n} {what}" for n, what in known.items())
            raise UserError(f"{option} {name}=…: {a.model} has no input '{name}'; it has {there}")
        if name in named or (name is None and every is not None):
            raise UserError(f"{option}: given twice{f' for {name}' if name else '; write NAME=VALUE for each input'}")
        if name is None:
            every = value
        else:
            named[name] = value
    return Said(every, named)


def _hull(spec: str) -> Box:
    """The hull of a property's input boxes."""
    from verifier.spec.property import Property
    from verifier.spec.vnnlib import read

    prop: Any = read(spec)
    if not isinstance(prop, Property):
        raise PropertyError(f"{spec}: a query of version 2.0 has no input box of its own; use --input and --eps")
    if prop.n_disjuncts == 0:
        raise PropertyError(f"{spec}: the property contradicts itself: its input set is empty")
    return Box(prop.lower.min(0), prop.upper.max(0))


def _numbers(option: str, text: str) -> np.ndarray:
    """Numbers from a file, or written out."""
    try:
        # Before any look at files: many numbers are longer than a file's name may be.
        return np.array([float(word) for word in text.replace(",", " ").split()])
    except ValueError:
        path = Path(text)
    try:
        if path.suffix == ".npy":
            with path.open("rb") as file:
                stored.check(file)
                values = np.load(file, allow_pickle=False)
            if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
                raise ValueError("its entries are not real numbers")
            return np.asarray(values, np.float64).reshape(-1)
        return np.array([float(word) for word in path.read_text(encoding="utf-8").replace(",", " ").split()])
    except UserError as e:
        raise UserError(f"{option} {text[:60]}: {e}") from None
    except (OSError, EOFError, ValueError) as e:
        reason = "there is no such file" if isinstance(e, FileNotFoundError) else why(e)
        raise UserError(f"{option} {text[:60]}: neither a file of numbers nor numbers ({reason})") from None
