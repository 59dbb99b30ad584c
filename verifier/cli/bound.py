"""`verifier bound`."""

from __future__ import annotations

from verifier.run.bound import bound
from verifier.run.pose import pose
from verifier.values.box import Box
from verifier.values.errors import PropertyError


def command(model: str | dict[str, str], spec: str, method: str, device: str) -> None:
    """Print bounds of every output on the hull of the property's boxes."""
    posed = pose(model, spec, accept_real=True)  # a bound is no verdict: the guide says that it holds for real numbers
    prop = posed.prop
    if prop.n_disjuncts == 0:
        raise PropertyError(f"{spec}: the property contradicts itself: its input set is empty")
    box = Box(prop.lower.min(0), prop.upper.max(0))
    lower, upper = bound(posed.net, box, method, device=device)
    for name, a, b in zip(posed.names(), lower, upper, strict=False):  # products of a query's variables come last
        print(f"{name} {float(a)!r} {float(b)!r}")
