"""`verifier bound`."""

from __future__ import annotations

from verifier.run.bound import bound
from verifier.run.model import load
from verifier.run.verify import fits
from verifier.spec.vnnlib import read
from verifier.values.box import Box
from verifier.values.errors import PropertyError


def command(model: str, spec: str, method: str, device: str) -> None:
    """Print bounds of every output on the hull of the property's boxes."""
    net, prop = load(model), read(spec)
    fits(net, prop)
    if prop.n_disjuncts == 0:
        raise PropertyError(f"{spec}: the property contradicts itself: its input set is empty")
    box = Box(prop.lower.min(0), prop.upper.max(0))
    lower, upper = bound(net, box, method, device=device)
    for i, (a, b) in enumerate(zip(lower, upper, strict=True)):
        print(f"Y_{i} {float(a)!r} {float(b)!r}")
