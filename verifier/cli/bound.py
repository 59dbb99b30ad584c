"""`verifier bound`."""

from __future__ import annotations

import argparse
import json
import math

from verifier.cli.inputs import input_set
from verifier.cli.networks import models
from verifier.cli.write import Answer
from verifier.run.bound import bound
from verifier.run.model import load
from verifier.run.pose import pose
from verifier.values.box import Ball, Box
from verifier.values.errors import PropertyError, UserError


def command(a: argparse.Namespace) -> None:
    """Print bounds of every output on a set of inputs, or on the hull of the property's boxes."""
    net, names, inputs = _about(a)
    lower, upper = bound(net, inputs, a.method, device=a.device)
    names = names or [f"Y_{k}" for k in range(len(lower))]
    rows = [(n, float(l), float(u)) for n, l, u in zip(names, lower, upper, strict=False)]  # products come last
    answer = Answer(a.json)
    answer.say("\n".join(f"{name} {low!r} {up!r}" for name, low, up in rows))
    ends = [{"name": name, "lower": _finite(low), "upper": _finite(up)} for name, low, up in rows]
    asked = {"model": a.model, "spec": a.spec, "input": a.input, "eps": a.eps, "ball": a.ball, "lo": a.lo, "hi": a.hi}
    about = {"method": a.method, "outputs": ends, "question": {k: v for k, v in asked.items() if v is not None}}
    answer.write(a.json, lambda: json.dumps(about, indent=1, allow_nan=False) + "\n")
    answer.done()


def _about(a: argparse.Namespace) -> tuple[object, list[str], Box | Ball]:
    """The network, its outputs' names where a property gives them, and the set."""
    if a.spec is None:
        if a.input is None or a.eps is None:
            raise UserError("no set of inputs is given: name a SPEC, or use --input X --eps E")
        return load(a.model), [], input_set(a)
    if any(v is not None for v in (a.input, a.eps, a.ball, a.lo, a.hi)):
        raise UserError("SPEC and --input: give one of them")
    # A bound is no verdict: the guide says that it holds for real numbers.
    posed = pose(models(a.model, None), a.spec, accept_real=True)
    prop = posed.prop
    if prop.n_disjuncts == 0:
        raise PropertyError(f"{a.spec}: the property contradicts itself: its input set is empty")
    return posed.net, posed.names(), Box(prop.lower.min(0), prop.upper.max(0))


def _finite(value: float) -> float | None:
    """JSON has no infinity: null."""
    return value if math.isfinite(value) else None
