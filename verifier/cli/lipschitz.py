"""`verifier lipschitz` and `verifier monotone`."""

from __future__ import annotations

import argparse
import json
import sys
from math import inf
from pathlib import Path
from typing import Any

import numpy as np

from verifier.cli.inputs import input_set
from verifier.cli.progress import Watch
from verifier.cli.write import check_place, replace
from verifier.run.lipschitz import lipschitz
from verifier.run.model import load
from verifier.run.monotone import jacobian, monotone
from verifier.values.errors import UserError


def command(a: argparse.Namespace) -> None:
    """Print bounds of the local Lipschitz constant, then those of every functional."""
    pictures = None if a.jacobian is None else Path(a.jacobian)
    if pictures is not None and pictures.suffix not in (".csv", ".png"):
        raise UserError(f"--jacobian {pictures}: its name must end in .csv or .png")
    if pictures is not None and pictures == a.json:
        raise UserError(f"{pictures}: given for --json and for --jacobian; name two files")
    for path in (a.json, pictures):
        if path is not None:
            check_place(path)
    inputs, outputs, watch = input_set(a), _listed(a.outputs), Watch(a.quiet)
    net = load(a.model)
    try:
        found = lipschitz(
            net,
            inputs,
            _norm(a.norm),
            outputs=outputs,
            margins=a.margins,
            timeout=a.timeout,
            tolerance=a.tolerance,
            each=a.each,
            watch=lambda phase, search: _note(watch, phase, search),
        )
        entries = None if pictures is None else jacobian(net, inputs, outputs=outputs, margins=a.margins)
    finally:
        watch.close()
    p, q = (f"{v:g}" for v in found.norm)
    names = _names(outputs, a.margins, len(found.functionals))
    if a.json is not None:
        replace(a.json, json.dumps(_as_data(found, names), indent=1) + "\n")
    if pictures is not None and entries is not None:
        from verifier.cli.pictures import table, write_map

        if pictures.suffix == ".csv":
            replace(pictures, table(names, *entries))
        else:
            write_map(pictures, names, *entries, net.input_shapes[0])
    print(f"{found.lower!r} {found.upper!r}")
    if found.lowers is not None and found.uppers is not None and len(names) > 1:
        for name, low, up in zip(names, found.lowers, found.uppers, strict=True):
            print(f"{name} {float(low)!r} {float(up)!r}")
    met = "the bounds have met" if found.settled else "more time may narrow them"
    watch.say(
        f"from l{p} to l{q}: between {found.lower:.6g} and {found.upper:.6g} ({met}); by {found.why}, "
        f"{found.stats['parts']:,} parts, {found.stats['seconds']:.2f} s"
    )


def monotone_command(a: argparse.Namespace) -> None:
    """Print the direction, and bounds of the derivative."""
    if a.json is not None:
        check_place(a.json)
    watch = Watch(a.quiet)
    try:
        found = monotone(
            load(a.model),
            input_set(a),
            a.input_index,
            a.output_index,
            timeout=a.timeout,
            tolerance=a.tolerance,
            watch=lambda phase, search: _note(watch, phase, search),
        )
    finally:
        watch.close()
    points = {"rising": found.rising, "falling": found.falling}
    if a.json is not None:
        data: dict[str, Any] = {"direction": found.direction, "stats": found.stats}
        data |= {"lower": _finite(found.lower), "upper": _finite(found.upper)}
        data |= {name: None if x is None else x.tolist() for name, x in points.items()}
        replace(a.json, json.dumps(data, indent=1) + "\n")
    print(found.direction)
    print(f"derivative {found.lower!r} {found.upper!r}")
    if found.direction == "neither":
        for name, x in points.items():
            if x is not None:
                print(name, *(repr(float(v)) for v in x))
    watch.say(f"{found.direction}: {found.stats['parts']:,} parts, {found.stats['seconds']:.2f} s")
    sys.stdout.flush()


def _note(watch: Watch, phase: str, search: Any) -> None:
    if search is None:
        watch.note(phase, None)
    else:
        up, low = search.problem.norm(search.upper, True).max(), search.problem.norm(search.lower, False).max()
        watch.note(f"{phase}: {search.bounded:,} parts bounded, {len(search.pool):,} open, {low:.6g} to {up:.6g}", None)


def _norm(text: str | None) -> float | tuple[float, float] | None:
    if text is None:
        return None
    try:
        values = [inf if word.strip() in ("inf", "oo") else float(word) for word in text.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 2):
        raise UserError(f"--norm {text}: give 1, 2 or inf, or two of them for input and output, as 2,inf")
    return values[0] if len(values) == 1 else (values[0], values[1])


def _listed(text: str | None) -> list[int] | None:
    if text is None:
        return None
    try:
        return [int(word) for word in text.split(",")]
    except ValueError:
        raise UserError(f"--outputs {text}: give numbers of outputs, as 0,3") from None


def _names(outputs: list[int] | None, margins: int | None, K: int) -> list[str]:
    if margins is not None:
        return [f"Y_{margins}-Y_{j if j < margins else j + 1}" for j in range(K)]
    return [f"Y_{j}" for j in (range(K) if outputs is None else outputs)]


def _finite(value: float) -> float | None:
    """The number, or None where nothing is known: JSON has no infinity."""
    return float(value) if np.isfinite(value) else None


def _as_data(found: Any, names: list[str]) -> dict[str, Any]:
    each = {}
    if found.lowers is not None:
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
