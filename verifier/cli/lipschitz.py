"""`verifier lipschitz` and `verifier monotone`."""

from __future__ import annotations

import argparse
import json
import time
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from verifier.cli.deadline import Deadline
from verifier.cli.inputs import asked, described, network, output_names, told
from verifier.cli.progress import Watch
from verifier.cli.typed import entry
from verifier.cli.write import Answer
from verifier.run.lipschitz import Lipschitz, lipschitz
from verifier.run.monotone import jacobian, monotone
from verifier.run.tensors import chosen, place
from verifier.values.errors import UserError

if TYPE_CHECKING:
    from verifier.sensitivity.search import DerivativeSearch


def command(a: argparse.Namespace) -> None:
    """Print bounds of the local Lipschitz constant, then those of every functional."""
    pictures = a.jacobian
    if pictures is not None and pictures.suffix not in (".csv", ".png"):
        raise UserError(f"--jacobian {pictures}: its name must end in .csv or .png")
    if a.everywhere and (pictures is not None or a.each or a.spec is not None or described(a)):
        raise UserError("--everywhere: leave out --jacobian, --each and what describes a set of inputs")
    outputs, norm, report = _listed(a.outputs), _norm(a.norm), _Report(a, pictures)
    deadline = Deadline(a.timeout, report.late)
    ends = time.monotonic() + deadline.left
    if pictures is not None and pictures.suffix == ".png":
        ends -= min(DRAWING, 0.5 * deadline.left)
    try:
        net, inputs = (told(network(a)), None) if a.everywhere else asked(a)
        report.names, report.shape = output_names(net), net.input_shapes[0] if len(net.input_shapes) == 1 else ()
        outputs = _numbered(net, outputs)
        if pictures is not None and inputs is not None:
            report.watch.note("bounding the Jacobian", None)
            half = max(0.0, 0.5 * (ends - time.monotonic()))
            report.entries = jacobian(net, inputs, outputs=outputs, margins=a.margins, within=half)
        found = lipschitz(
            net,
            inputs,
            norm,
            wrt=a.wrt,
            outputs=outputs,
            margins=a.margins,
            timeout=max(0.0, ends - time.monotonic()),
            tolerance=a.tolerance,
            each=a.each,
            watch=report.note,
        )
        deadline.claim()
    finally:
        deadline.cancel()
        report.watch.close()
    report.write(found)


DRAWING = 2.0
"""Seconds that a picture may take, or half of what there is."""


class _Report:
    """Prints and writes what was found, or, where the time is up, what is known.

    Attributes:
        watch: the progress line.  entries: bounds of the Jacobian, once there are any.  shape: of the input.
        names: of the outputs' entries.
    """

    def __init__(self, a: argparse.Namespace, pictures: Path | None) -> None:
        self._a, self._pictures = a, pictures
        self._standing: Any = None
        self.watch, self.shape, self.names = Watch(a.quiet), tuple[int, ...](), list[str]()
        self.entries: tuple[np.ndarray, np.ndarray] | None = None

    def note(self, phase: str, standing: Any) -> None:
        """Progress."""
        self._standing = standing
        _note(self.watch, phase, standing.search)

    def late(self) -> None:
        """The time is up."""
        self.watch.close()
        if self._standing is not None:
            self._standing.stopped = "out of time"
            self.write(self._standing.result())
            return
        answer = Answer(self._a.json)
        answer.say("0.0 inf")
        late = {"lower": 0.0, "upper": None, "settled": False, "why": LATE}
        answer.write(self._a.json, lambda: json.dumps(late) + "\n")
        self.watch.say(LATE)
        answer.done()

    def write(self, found: Lipschitz) -> None:
        """Two numbers, those of each functional, then the files."""
        a, names = self._a, _names(self.names, self._a.margins, found.functionals)
        answer, lines = Answer(a.json), [f"{found.lower!r} {found.upper!r}"]
        if len(names) > 1:
            for name, low, up in zip(names, found.lowers, found.uppers, strict=True):
                lines.append(f"{name} {float(low)!r} {float(up)!r}")
        answer.say("\n".join(lines))
        answer.write(a.json, lambda: json.dumps(_as_data(found, names), indent=1) + "\n")
        answer.write(None if self.entries is None else self._pictures, lambda: self._drawn(names))
        p, q = (f"{v:g}" for v in found.norm)
        met = "the bounds have met" if found.settled else "more time may narrow them"
        self.watch.say(
            f"from l{p} to l{q}: between {found.lower:.6g} and {found.upper:.6g} ({met}); by {found.why}, "
            f"{found.stats['parts']:,} parts, {found.stats['seconds']:.2f} s"
        )
        answer.done()

    def _drawn(self, names: list[str]) -> str | bytes:
        """The Jacobian, as the file's name asks for it."""
        from verifier.cli.pictures import picture, table

        assert self._pictures is not None and self.entries is not None
        if self._pictures.suffix == ".csv":
            return table(names, *self.entries)
        return picture(names, *self.entries, self.shape)


LATE = "out of time while reading the input"


def monotone_command(a: argparse.Namespace) -> None:
    """Print the direction, and bounds of the derivative."""
    watch = Watch(a.quiet)

    def late() -> None:
        watch.close()
        answer = Answer(a.json)
        answer.say("unknown\nderivative -inf inf")
        answer.write(a.json, lambda: json.dumps({"direction": "unknown", "lower": None, "upper": None}) + "\n")
        answer.done()

    deadline = Deadline(a.timeout, late)
    try:
        found = monotone(
            *asked(a),
            a.input_index,
            a.output_index,
            timeout=deadline.left,
            tolerance=a.tolerance,
            watch=lambda phase, search: _note(watch, phase, search),
        )
        deadline.claim()
    finally:
        deadline.cancel()
        watch.close()
    points = {"rising": found.rising, "falling": found.falling}
    data: dict[str, Any] = {"direction": found.direction, "stats": found.stats}
    data |= {"lower": _finite(found.lower), "upper": _finite(found.upper)}
    data |= {name: None if x is None else x.tolist() for name, x in points.items()}
    answer, lines = Answer(a.json), [found.direction, f"derivative {found.lower!r} {found.upper!r}"]
    if found.direction == "neither":
        lines += [" ".join([name, *(repr(float(v)) for v in x)]) for name, x in points.items() if x is not None]
    answer.say("\n".join(lines))
    answer.write(a.json, lambda: json.dumps(data, indent=1) + "\n")
    stopped = f", {found.stats['stopped']}" if "stopped" in found.stats else ""
    watch.say(f"{found.direction}: {found.stats['parts']:,} parts, {found.stats['seconds']:.2f} s{stopped}")
    answer.done()


def _note(watch: Watch, phase: str, search: DerivativeSearch | None) -> None:
    if search is None:
        watch.note(phase, None)
    else:
        up, low = search.problem.norm(search.upper, True).max(), search.problem.norm(search.lower, False).max()
        open_ = len(search.frontier)
        watch.note(f"{phase}: {search.bounded:,} parts bounded, {open_:,} open, {low:.6g} to {up:.6g}", None)


def _norm(text: str | None) -> float | tuple[float, float] | None:
    if text is None:
        return None
    try:
        values = [inf if word.strip() in ("inf", "oo") else float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 2):
        raise UserError(f"--norm {text}: give a number from 1 to inf, or two of them for input and output, as 1.5,inf")
    return values[0] if len(values) == 1 else (values[0], values[1])


def _listed(text: str | None) -> list[Any] | None:
    """Which outputs: numbers, names, or numbers within names."""
    if text is None:
        return None
    try:
        return [entry(word) for word in text.split(",")]
    except argparse.ArgumentTypeError:
        raise UserError(f"--outputs {text}: give numbers of outputs, as 0,3, or names") from None


def _numbered(net: Any, outputs: list[Any] | None) -> list[int] | None:
    """The numbers of outputs that are named, among all."""
    if outputs is None:
        return None
    some = [chosen(net, at) if isinstance(at, str) else place(net, at, "output") for at in outputs]
    return [int(k) for at in some for k in np.ravel(at)]


def _names(of: list[str], margins: int | None, functionals: np.ndarray) -> list[str]:
    """What functionals `[K, m]` are called: an output's name, or two."""
    if margins is not None:
        i = margins % len(of)
        return [f"{of[i]}-{name}" for j, name in enumerate(of) if j != i]
    return [of[int(np.flatnonzero(row)[0])] for row in functionals]


def _finite(value: float) -> float | None:
    """The number, or None where nothing is known: JSON has no infinity."""
    return float(value) if np.isfinite(value) else None


def _as_data(found: Any, names: list[str]) -> dict[str, Any]:
    each = {n: [_finite(a), _finite(b)] for n, a, b in zip(names, found.lowers, found.uppers, strict=True)}
    return {
        "lower": found.lower,
        "upper": _finite(found.upper),
        "norm": [str(v) for v in found.norm],
        "functionals": each,
        "point": found.point.tolist(),
        "settled": found.settled,
        "why": found.why,
        "stats": found.stats,
    }
