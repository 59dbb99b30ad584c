"""`verifier bound`."""

from __future__ import annotations

import argparse
import json
import math
from typing import Any

from verifier.cli.inputs import GIVEN, asked, described, network, output_names, restricts, told
from verifier.cli.networks import models
from verifier.cli.write import Answer
from verifier.run.bound import bound
from verifier.run.pose import pose
from verifier.run.sets import Set
from verifier.values.box import Box
from verifier.values.errors import PropertyError, UserError


def command(a: argparse.Namespace) -> None:
    """Print bounds of every output on a set of inputs, or on the hull of the property's boxes."""
    net, names, inputs = _about(a)
    lower, upper = bound(net, inputs, a.method, device=a.device)
    names = names or output_names(net)
    rows = [(n, float(l), float(u)) for n, l, u in zip(names, lower, upper, strict=False)]  # products come last
    answer = Answer(a.json)
    answer.say("\n".join(f"{name} {low!r} {up!r}" for name, low, up in rows))
    ends = [{"name": name, "lower": _finite(low), "upper": _finite(up)} for name, low, up in rows]
    question = {k: _plain(getattr(a, k)) for k in ("model", "spec", *GIVEN, "output") if getattr(a, k) is not None}
    about = {"method": a.method, "outputs": ends, "question": question}
    answer.write(a.json, lambda: json.dumps(about, indent=1, allow_nan=False) + "\n")
    answer.done()


def _about(a: argparse.Namespace) -> tuple[Any, list[str], Set]:
    """The network, its outputs' names where a property gives them, and the set."""
    if a.spec is None:
        if not described(a):
            raise UserError("no set of inputs is given: name a SPEC, or use --input X --eps E, or --lower X --upper X")
        net, inputs = asked(a)
        return net, [], inputs
    if described(a):
        raise UserError("SPEC and --input: give one of them")
    # A bound is no verdict: the guide says that it holds for real numbers.
    posed = pose(network(a) if restricts(a) else models(a.model, None), a.spec, accept_real=True)
    prop = posed.prop
    if prop.n_disjuncts == 0:
        raise PropertyError(f"{a.spec}: the property contradicts itself: its input set is empty")
    return told(posed.net), posed.names(), Box(prop.lower.min(0), prop.upper.max(0))


def _plain(value: Any) -> Any:
    """An option's value as it is told: what was given once, without a name, alone."""
    if not isinstance(value, list):
        return value
    some = [v if isinstance(v, str) else v[1] if v[0] is None else f"{v[0]}={v[1]}" for v in value]
    return some[0] if len(some) == 1 else some


def _finite(value: float) -> float | None:
    """JSON has no infinity: null."""
    return value if math.isfinite(value) else None
