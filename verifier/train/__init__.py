"""Training networks that can be certified: losses from bounds, what changes with time, runs that can be resumed.

Everything here is imported when it is first used.  A loop of one's own needs three of these names:

    net = verifier.train.Trainable(module, x[:1])
    method = verifier.train.IBP()
    for x, y in batches:
        loss = method.loss(net, x, y, *verifier.train.box(x, eps, domain=(0, 1)))
        loss.robust.mean().backward()
"""

from __future__ import annotations

import importlib
from typing import Any

_WHERE = {
    "METHODS": "verifier.train.methods",
    **dict.fromkeys(
        ("IBP", "CROWNIBP", "SABR", "TAPS", "STAPS", "MTLIBP", "CCIBP", "ExpIBP", "PGD", "TRADES"),
        "verifier.train.methods",
    ),
    "Attack": "verifier.train.attack",
    "Batch": "verifier.train.method",
    "Data": "verifier.train.data",
    "Loss": "verifier.train.method",
    "Method": "verifier.train.method",
    "Recipe": "verifier.train.recipe",
    "Robust": "verifier.train.method",
    "Trainable": "verifier.train.model",
    "Trained": "verifier.train.loop",
    "accuracy": "verifier.train.evaluate",
    "box": "verifier.train.method",
    "build": "verifier.train.architectures",
    "fit": "verifier.train.loop",
    "interval": "verifier.train.bounds",
    "parse": "verifier.train.recipe",
    "read_data": "verifier.train.data",
    "read_recipe": "verifier.train.recipe",
}

__all__ = sorted(_WHERE)


def __getattr__(name: str) -> Any:
    """Import a public name from where it lives."""
    if name not in _WHERE:
        raise AttributeError(f"module 'verifier.train' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name.removesuffix("_data").removesuffix("_recipe"))


def __dir__() -> list[str]:
    return __all__
